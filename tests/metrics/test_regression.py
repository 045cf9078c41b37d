"""Errors of regression, against scikit-learn and the worked examples of the notes."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics import regression

Y, PREDICTED = [3, -0.5, 2, 7], [2.5, 0.0, 2, 8]
Y2, PREDICTED2 = [[0.5, 1], [-1, 1], [7, -6]], [[0, 2], [-1, 2], [8, -5]]

SAME_AS_SKLEARN = ["mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score"]
ALL: dict[str, Callable[..., Any]] = {
    **{name: getattr(regression, name) for name in SAME_AS_SKLEARN},
    "root_of_mean": lambda *data, **options: regression.root_mean_squared_error(*data, root_of_mean=True, **options),
    "explained_sum_of_squares_ratio": regression.explained_sum_of_squares_ratio,
    "median_absolute_percentage_error": regression.median_absolute_percentage_error,
    "trimmed_mean_absolute_error": lambda *data, **options: regression.trimmed_mean_absolute_error(
        *data, threshold=1.4142, **options
    ),
}
seeds = st.integers(0, 2**32 - 1)


def random_targets(seed: int, examples: int, outputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets and predictions with ties [examples, outputs], and weights of which some are 0; their sums are exact."""
    rng = np.random.default_rng(seed)
    y = rng.normal(size=(examples, outputs)).round(1) * 10.0 ** rng.integers(-3, 4, outputs)
    predicted = y + rng.normal(size=y.shape).round(1)
    return y, predicted, np.append(rng.choice([0, 0.5, 1, 3.75], examples - 1), 1)


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "options", "expected"),
    [
        ("mean_absolute_error", (Y, PREDICTED), {}, 0.5),
        ("mean_absolute_error", (Y2, PREDICTED2), {}, 0.75),
        ("mean_absolute_error", (Y2, PREDICTED2), {"multioutput": "raw_values"}, [0.5, 1.0]),
        ("mean_absolute_error", (Y2, PREDICTED2), {"multioutput": [0.3, 0.7]}, 0.85),
        ("mean_squared_error", (Y, PREDICTED), {}, 0.375),
        ("mean_squared_error", (Y2, PREDICTED2), {}, 0.7083333333333334),
        ("mean_squared_error", (Y2, PREDICTED2), {"multioutput": "raw_values"}, [5 / 12, 1.0]),
        ("mean_squared_error", (Y2, PREDICTED2), {"multioutput": [0.3, 0.7]}, 0.825),
        ("root_mean_squared_error", (Y, PREDICTED), {}, 0.6123724356957945),
        ("root_mean_squared_error", (Y2, PREDICTED2), {"multioutput": "raw_values"}, [0.6454972243679028, 1.0]),
        ("r2_score", (Y, PREDICTED), {}, 0.9486081370449679),
        ("r2_score", ([1, 3, 7, 10, 12], [1, 3, 7, 10, 12]), {}, 1.0),
        ("r2_score", ([1, 3, 7, 10, 12], [6.6] * 5), {}, 0.0),
    ],
)
def test_worked_examples_of_the_notes(name: str, data: tuple, options: dict, expected: Any):
    """The examples of the notes have the values that are printed there, within a rounding of float64."""
    np.testing.assert_allclose(ALL[name](*data, **options), expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("name", SAME_AS_SKLEARN)
@given(seed=seeds, examples=st.integers(2, 300), outputs=st.integers(1, 5))
def test_equals_scikit_learn(name: str, seed: int, examples: int, outputs: int):
    """With and without weights, and for each `multioutput`, the value is scikit-learn's.

    Both are float64 sums of at most 300 terms in another order.
    """
    y, predicted, weights = random_targets(seed, examples, outputs)
    y[0] = y[1] + 1  # scikit-learn's R^2 of equal numbers is that of the rounding of their mean
    averages: list[Any] = ["uniform_average", "raw_values", np.arange(outputs) + 0.5]
    averages += ["variance_weighted"] if name == "r2_score" else []
    for sample_weight in (None, weights + 0.25):
        for multioutput in averages if outputs > 1 else averages[:2]:
            options = {"sample_weight": sample_weight, "multioutput": multioutput}
            value = ALL[name](y, predicted, **options)
            expected = getattr(sklearn.metrics, name)(y, predicted, **options)
            np.testing.assert_allclose(value, expected, rtol=1e-11, atol=1e-12)
            assert value.dtype == np.float64
            assert np.shape(value) == np.shape(expected)


@pytest.mark.parametrize("name", ALL)
@given(seed=seeds, examples=st.integers(5, 300), outputs=st.integers(1, 4))
def test_a_weight_is_a_number_of_copies(name: str, seed: int, examples: int, outputs: int):
    """Whole weights give the value of examples that are repeated so often, and weight 0 leaves an example out."""
    y, predicted, _ = random_targets(seed, examples, outputs)
    predicted[0], y[1] = y[0], y[0] + 1  # something is left by the trimming, and varies
    copies = np.random.default_rng(seed).integers(0, 4, examples)
    copies[:2] = 1
    repeated = [np.repeat(array, copies, axis=0) for array in (y, predicted)]
    value = ALL[name](y, predicted, sample_weight=copies, multioutput="raw_values")
    np.testing.assert_allclose(value, ALL[name](*repeated, multioutput="raw_values"), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", ALL)
def test_a_list_is_a_column(name: str):
    """[n] and [n, 1] are the same, in targets and predictions, also of each other."""
    column = np.array(PREDICTED)[:, None]
    assert ALL[name](Y, PREDICTED) == ALL[name](Y, column) == ALL[name](np.array(Y)[:, None], column)
    assert ALL[name](Y, PREDICTED).shape == ()
    assert ALL[name](Y, PREDICTED, multioutput="raw_values").shape == (1,)


def test_mean_absolute_error_sums_over_as_many_as_it_divides_by():
    """Slip of the notes: 1/m stands before a sum to n. The mean of two errors of 1 and 3 is 2, whatever the outputs."""
    assert regression.mean_absolute_error([0, 0], [1, 3]) == 2
    assert regression.mean_absolute_error([[0] * 5] * 2, [[1] * 5, [3] * 5]) == 2


def test_root_of_several_outputs():
    """Slip of the notes: they take the root of the mean over outputs, which scikit-learn gave up; both are there.

    The mean of roots is that of today's scikit-learn; the root of the mean has the value of the code in the notes.
    """
    both = regression.root_mean_squared_error
    weights = [0.3, 0.7]
    assert both(Y2, PREDICTED2) == pytest.approx(0.8227486121839513, rel=1e-14)
    assert both(Y2, PREDICTED2, multioutput=weights) == pytest.approx(0.8936491673103708, rel=1e-14)
    assert both(Y2, PREDICTED2, root_of_mean=True) == pytest.approx(0.8416254115301732, rel=1e-14)
    assert both(Y2, PREDICTED2, multioutput=weights, root_of_mean=True) == pytest.approx(0.9082951062292475, rel=1e-14)
    raw = both(Y2, PREDICTED2, multioutput="raw_values", root_of_mean=True)
    np.testing.assert_allclose(raw, [np.sqrt(5 / 12), 1], rtol=1e-14)


def test_r2_is_not_the_explained_share():
    """Slip of the notes: R^2 = SSR / SST is called the same as 1 - SSE / SST. For these predictions SSR / SST is above
    1 (35.4375 / 29.1875), which no R^2 can be."""
    assert regression.explained_sum_of_squares_ratio(Y, PREDICTED) == pytest.approx(35.4375 / 29.1875, rel=1e-14)
    assert regression.r2_score(Y, PREDICTED) == pytest.approx(1 - 1.5 / 29.1875, rel=1e-14)


@given(seed=seeds, examples=st.integers(10, 300), inputs=st.integers(1, 4))
def test_least_squares_explain_their_r2(seed: int, examples: int, inputs: int):
    """For a weighted least-squares fit with an intercept, on its own data, SSR / SST is R^2.

    The fit is NumPy's, within 1e-9 or so of the optimum.
    """
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(examples), rng.normal(size=(examples, inputs))])
    y, weights = x.sum(1) + rng.normal(size=examples), rng.uniform(0.1, 2, examples)
    scale = np.sqrt(weights)
    fitted = x @ np.linalg.lstsq(x * scale[:, None], y * scale, rcond=None)[0]
    share = regression.explained_sum_of_squares_ratio(y, fitted, sample_weight=weights)
    np.testing.assert_allclose(share, regression.r2_score(y, fitted, sample_weight=weights), rtol=1e-8)
    np.testing.assert_allclose(share, sklearn.metrics.r2_score(y, fitted, sample_weight=weights), rtol=1e-8)


@pytest.mark.parametrize("force_finite", [True, False])
def test_r2_of_constant_targets(force_finite: bool):
    """Where the target does not vary, R^2 is 1 for a perfect and 0 for another prediction; with `force_finite=False`
    NaN and -infinity; as in scikit-learn."""
    y = np.array([[0, 2, 1], [0, 2, 3], [0, 2, 7]])
    predicted = y + np.array([[0, 1, 0], [0, 0, 0], [0, 0, 1]])
    value = regression.r2_score(y, predicted, multioutput="raw_values", force_finite=force_finite)
    of_third = 1 - 1 / ((np.array([1, 3, 7]) - 11 / 3) ** 2).sum()
    expected = [1, 0, of_third] if force_finite else [np.nan, -np.inf, of_third]
    np.testing.assert_allclose(value, expected, rtol=1e-14)
    weighted = regression.r2_score(y, predicted, multioutput="variance_weighted", force_finite=force_finite)
    assert weighted == pytest.approx(of_third, rel=1e-14)  # only the third has weight
    constant = regression.r2_score(y[:, :2], predicted[:, :2], multioutput="variance_weighted")
    assert constant == 0.5 == sklearn.metrics.r2_score(y[:, :2], predicted[:, :2], multioutput="variance_weighted")


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("examples", [2, 11, 50])
def test_a_constant_is_not_told_by_its_rounded_mean(xp: Any, examples: int):
    """A target of equal numbers is constant, although their mean is rounded (ten times .1 have the mean .0999...)."""
    rng = np.random.default_rng(examples)
    y, weights = np.full(examples, 0.1), rng.uniform(0.1, 1, examples)
    y[0], weights[0] = 100.0, 0.0  # an example that does not count
    y, weights = xp.asarray(y), xp.asarray(weights)
    assert regression.r2_score(y, y + 1, sample_weight=weights) == 0
    assert regression.r2_score(y, y, sample_weight=weights) == 1


# --- Robust errors ----------------------------------------------------------------------------------------------------


def test_median_of_relative_errors():
    """Slip of the notes: the relative error is divided by y and not by |y|, so that one of the four is -1 and the
    median .0714. With |y| it is the mean of 1/7 and 1/6. (They call it MAPE, which is the name of the mean.)"""
    value = regression.median_absolute_percentage_error(Y, PREDICTED)
    assert value == pytest.approx(0.15476190476190477, rel=1e-14)
    assert value == pytest.approx((1 / 6 + 1 / 7) / 2, rel=1e-14)


@given(seed=seeds, examples=st.integers(1, 300), outputs=st.integers(1, 4), quantile=st.floats(0, 1))
def test_quantiles_equal_numpy(seed: int, examples: int, outputs: int, quantile: float):
    """Every quantile of the relative errors, 0 and 1 too, is NumPy's of the same definition."""
    y, predicted, _ = random_targets(seed, examples, outputs)
    relative = np.abs(y - predicted) / np.maximum(np.abs(y), np.finfo(np.float64).eps)
    for q in (quantile, 0.0, 0.25, 0.5, 0.9, 1.0):
        value = regression.median_absolute_percentage_error(y, predicted, quantile=q, multioutput="raw_values")
        np.testing.assert_allclose(value, np.quantile(relative, q, 0, method="averaged_inverted_cdf"), rtol=1e-14)


@given(seed=seeds, examples=st.integers(2, 300), outputs=st.integers(1, 4))
def test_weighted_median_equals_scikit_learn(seed: int, examples: int, outputs: int):
    """The weighted median, zero weights and ties among them, is scikit-learn's of the relative errors."""
    y, predicted, weights = random_targets(seed, examples, outputs)
    relative = np.abs(y - predicted) / np.maximum(np.abs(y), np.finfo(np.float64).eps)
    value = regression.median_absolute_percentage_error(y, predicted, sample_weight=weights, multioutput="raw_values")
    expected = sklearn.metrics.median_absolute_error(
        np.zeros_like(y), relative, sample_weight=weights, multioutput="raw_values"
    )
    np.testing.assert_allclose(value, expected, rtol=1e-14)


@pytest.mark.parametrize("xp", [np, jnp])
def test_quantiles_survive_rounded_weights(xp: Any):
    """Ten weights of .1, whose sums are rounded, have the quantiles of ten weights of 1."""
    predicted = xp.asarray(1 + np.arange(10.0))
    for tenth in range(11):
        options: dict[str, Any] = {"quantile": tenth / 10}
        value = regression.median_absolute_percentage_error(
            xp.ones(10), predicted, sample_weight=xp.full(10, 0.1), **options
        )
        assert value == np.quantile(np.arange(10.0), tenth / 10, method="averaged_inverted_cdf")


@pytest.mark.parametrize(("quantile", "expected"), [(0, 2), (0.25, 2), (0.5, 2.5), (0.75, 3), (1, 3)])
def test_quantiles_pass_over_weights_of_zero(quantile: float, expected: float):
    """Of the errors 1, 2, 3, 4 with the weights 0, 1, 1, 0 the least is 2, the median 2.5 and the largest 3."""
    value = regression.median_absolute_percentage_error(
        [1] * 4, [2, 3, 4, 5], quantile=quantile, sample_weight=[0, 1, 1, 0]
    )
    assert value == expected


def test_a_target_of_zero_has_a_huge_relative_error():
    """Where the target is 0 the relative error is finite and huge, as in scikit-learn; and 0 for the prediction 0."""
    value = regression.median_absolute_percentage_error([0.0], [1.0])
    assert value == sklearn.metrics.mean_absolute_percentage_error([0.0], [1.0]) == 1 / np.finfo(np.float64).eps
    assert regression.median_absolute_percentage_error([0.0], [0.0]) == 0
    assert regression.median_absolute_percentage_error([0.0, 1.0, 1.0], [1.0, 1.5, 1.5]) == 0.5


@given(seed=seeds, examples=st.integers(2, 300), threshold=st.floats(0, 3))
def test_trimming_equals_the_mean_of_the_rest(seed: int, examples: int, threshold: float):
    """The trimmed error is scikit-learn's mean absolute error of the examples that are left, one output at a time."""
    y, predicted, weights = random_targets(seed, examples, outputs=2)
    predicted[-1] = y[-1]  # so that one of them is left
    value = regression.trimmed_mean_absolute_error(
        y, predicted, threshold=threshold, sample_weight=weights, multioutput="raw_values"
    )
    for output in range(2):
        each = [(t, p, w) for t, p, w in zip(y[:, output], predicted[:, output], weights, strict=True)]
        left = [(t, p, w) for t, p, w in each if (abs(t - p) / abs(t) <= threshold if t else t == p)]
        true, rest, weight = zip(*left, strict=True)
        expected = sklearn.metrics.mean_absolute_error(true, rest, sample_weight=weight)
        np.testing.assert_allclose(value[output], expected, rtol=1e-12, atol=1e-15)


def test_trimming_worked_example():
    """An outlier of 1000 % spoils the mean of errors 1, 2 and 100, not the trimmed one; what lies on the threshold is
    kept, and an infinite threshold keeps all."""
    y, predicted = [10, 10, 10], [11, 12, 110]
    trimmed = regression.trimmed_mean_absolute_error
    assert [trimmed(y, predicted, threshold=threshold) for threshold in (0.1, 0.2, 5)] == [1, 1.5, 1.5]
    assert trimmed(y, predicted, threshold=np.inf) == regression.mean_absolute_error(y, predicted) == 103 / 3
    assert trimmed([-10, -10], [-11, 110], threshold=0.5) == 1  # of a negative target too


# --- JAX --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("multioutput", ["uniform_average", "raw_values", "weights"])
@pytest.mark.parametrize("name", ALL)
def test_jax_equals_numpy(name: str, multioutput: str):
    """JAX arrays give JAX's float32, under `jit` too, within its rounding of the float64 value."""
    y, predicted, weights = random_targets(3, 200, 3)
    y, predicted = y / np.abs(y).max(0), predicted / np.abs(y).max(0)
    options: dict[str, Any] = {"multioutput": np.array([1.0, 2, 0]) if multioutput == "weights" else multioutput}
    expected = ALL[name](y, predicted, sample_weight=weights, **options)

    def of(y: jax.Array, predicted: jax.Array, weights: jax.Array) -> jax.Array:
        return ALL[name](y, predicted, sample_weight=weights, **options)

    arrays = [jnp.asarray(array, jnp.float32) for array in (y, predicted, weights)]
    for value in (of(*arrays), jax.jit(of)(*arrays)):
        assert isinstance(value, jax.Array)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=2e-5)


def test_half_precision_is_summed_in_float32():
    """bfloat16 predictions, which have 8 bits, are averaged in float32: 256 errors of 1 and one of 1.5."""
    y = jnp.zeros(257, jnp.bfloat16)
    value = regression.mean_absolute_error(y, jnp.ones(257, jnp.bfloat16).at[0].set(1.5))
    assert value.dtype == jnp.float32
    assert float(value) == pytest.approx(257.5 / 257, rel=1e-6)


@pytest.mark.parametrize("name", ["mean_absolute_error", "mean_squared_error", "root_mean_squared_error", "r2_score"])
def test_gradients(name: str):
    """The gradient is that of the definition; where the prediction is perfect it is 0, or one of the slopes of |x|."""
    y, predicted = np.array([1.0, 2.0, 4.0]), np.array([1.5, 1.0, 4.5])
    error = predicted - y
    expected = {
        "mean_absolute_error": np.sign(error) / 3,
        "mean_squared_error": 2 * error / 3,
        "root_mean_squared_error": error / 3 / np.sqrt((error**2).mean()),
        "r2_score": -2 * error / ((y - y.mean()) ** 2).sum(),
    }[name]
    gradient = jax.grad(lambda predicted: ALL[name](jnp.asarray(y), predicted))
    np.testing.assert_allclose(gradient(jnp.asarray(predicted)), expected, rtol=1e-5)
    slope = 1 / 3 if name == "mean_absolute_error" else 0
    np.testing.assert_array_less(abs(gradient(jnp.asarray(y))), slope + 1e-6)


# --- What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (([], []), {}, "no examples"),
        (([1, 2], [1, 2, 3]), {}, "2 of y_true, 3 of y_pred"),
        (([[1, 2], [3, 4]], [1, 2]), {}, "as many outputs in y_pred as in y_true, 2, got 1"),
        (([[[1]], [[2]]], [1, 2]), {}, r"y_true of shape \[n\] or \[n, outputs\], got \(2, 1, 1\)"),
        ((1.0, 2.0), {}, "y_true of shape"),
        ((np.ones((2, 0)), np.ones((2, 0))), {}, "y_true of shape"),
        (([1, np.nan], [1, 2]), {}, "NaN or infinity in y_true"),
        (([1, 2], [np.inf, 2]), {}, "NaN or infinity in y_pred"),
        ((jnp.array([1, jnp.nan]), jnp.array([1.0, 2])), {}, "NaN or infinity in y_true"),
        ((["a", "b"], [1, 2]), {}, "real numbers"),
        (([1, 2j], [1, 2]), {}, "real numbers"),
        (([[1, 2], [3]], [1, 2]), {}, "cannot be"),
        (([1, 2], [1, 2]), {"sample_weight": [1]}, r"sample_weight of shape \(2,\), got \(1,\)"),
        (([1, 2], [1, 2]), {"sample_weight": [1, -1]}, "sample_weight is negative: -1"),
        (([1, 2], [1, 2]), {"sample_weight": [1, np.nan]}, "NaN or infinity in sample_weight"),
        (([1, 2], [1, 2]), {"sample_weight": [0, 0]}, "all weights of sample_weight are 0"),
        (([1, 2], [1, 2]), {"multioutput": "mean"}, "multioutput to be uniform_average, raw_values.* got 'mean'"),
        (([1, 2], [1, 2]), {"multioutput": [1, 2]}, r"multioutput of shape \(1,\), got \(2,\)"),
        ((Y2, PREDICTED2), {"multioutput": [0, 0]}, "all weights of multioutput are 0"),
    ],
)
def test_wrong_arguments(name: str, data: tuple, options: dict, message: str):
    """What cannot be measured is an error that says what was wrong."""
    with pytest.raises(InvalidArgument, match=message):
        ALL[name](*data, **options)


@pytest.mark.parametrize("name", ["r2_score", "explained_sum_of_squares_ratio"])
def test_one_example_does_not_vary(name: str):
    """The share of the variation of a single example is an error (a warning and NaN in scikit-learn)."""
    with pytest.raises(InvalidArgument, match="two or more"):
        ALL[name]([1.0], [1.0])


def test_share_of_no_variation():
    """SSR / SST of a constant target is an error, and NaN where the values are not known."""
    with pytest.raises(InvalidArgument, match="constant"):
        regression.explained_sum_of_squares_ratio([2, 2], [1, 3])
    assert jnp.isnan(jax.jit(regression.explained_sum_of_squares_ratio)(jnp.array([2, 2]), jnp.array([1, 3])))


def test_variance_weights_are_for_r2_only():
    """Outputs can be weighted by variance in R^2 only, as in scikit-learn."""
    with pytest.raises(InvalidArgument, match="variance_weighted"):
        regression.mean_squared_error(Y, PREDICTED, multioutput="variance_weighted")


@pytest.mark.parametrize("quantile", [-0.1, 1.1, np.nan])
def test_quantiles_are_shares(quantile: float):
    """A quantile outside [0, 1] is an error."""
    with pytest.raises(InvalidArgument, match=r"quantile in \[0, 1\]"):
        regression.median_absolute_percentage_error(Y, PREDICTED, quantile=quantile)


@pytest.mark.parametrize("threshold", [-0.1, np.nan])
def test_thresholds_are_not_negative(threshold: float):
    """A threshold that no error can meet is an error."""
    with pytest.raises(InvalidArgument, match="threshold of 0 or more"):
        regression.trimmed_mean_absolute_error(Y, PREDICTED, threshold=threshold)


def test_everything_trimmed():
    """If nothing is left there is no mean: an error, and NaN where the values are not known."""
    with pytest.raises(InvalidArgument, match=r"above 0\.5: nothing is left"):
        regression.trimmed_mean_absolute_error([1, 1], [2, 3], threshold=0.5)
    traced = jax.jit(lambda y, p: regression.trimmed_mean_absolute_error(y, p, threshold=0.5))
    assert jnp.isnan(traced(jnp.array([1, 1]), jnp.array([2, 3])))
