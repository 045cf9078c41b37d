"""Losses per example, the penalty, and the loss function of a classifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.special import log_softmax
from sklearn.metrics import log_loss

from xxnet_jax.losses import (
    Outputs,
    classification_loss,
    cross_entropy,
    l2_penalty,
    segmentation_loss,
    smooth_l1,
    squared_error,
)
from xxnet_jax.training import Recipe
from xxnet_jax.training.run import recipe_loss

BATCH, CLASSES = 6, 5
random = np.random.default_rng(0)
LOGITS = random.normal(0, 3, (BATCH, CLASSES)).astype(np.float32)
LABELS = np.array([0, 4, 2, 2, 1, 3], np.int32)
SOFT = random.dirichlet(np.ones(CLASSES), BATCH).astype(np.float32)
ONE_HOT = np.eye(CLASSES)[LABELS]

logits_arrays = arrays.arrays(np.float32, (BATCH, CLASSES), elements=st.floats(-50, 50, width=32))
labels_arrays = arrays.arrays(np.int32, BATCH, elements=st.integers(0, CLASSES - 1))


def outputs(logits: Any, auxiliary: dict[str, jax.Array] | None = None, step: int = 0) -> Outputs:
    return Outputs(jnp.asarray(logits), auxiliary or {}, jnp.asarray(step, jnp.int32))


def batch(labels: Any = LABELS, mask: Any = (1,) * BATCH) -> dict[str, jax.Array]:
    return {"label": jnp.asarray(labels), "mask": jnp.asarray(mask, jnp.float32)}


KEY = jax.random.key(0)


# ------------------------------------------------------------------------------------------------ cross-entropy


@given(logits_arrays, labels_arrays)
def test_cross_entropy_is_log_loss(logits: np.ndarray, labels: np.ndarray):
    """The mean over examples is scikit-learn's log loss of the softmax probabilities."""
    found = np.asarray(cross_entropy(jnp.asarray(logits), jnp.asarray(labels)))
    assert found.shape == (BATCH,)
    assert found.dtype == np.float32
    log_probabilities = log_softmax(logits.astype(np.float64), axis=1)
    # log_loss clips at 2^-52, which a difference of 36 in logits would reach: compare those that it does not clip.
    expected = -log_probabilities[np.arange(BATCH), labels]
    # The logarithm of a sum of five numbers, and a difference of numbers up to 100, in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-5)
    if log_probabilities.min() > -30:
        reference = log_loss(labels, np.exp(log_probabilities), labels=range(CLASSES))
        np.testing.assert_allclose(found.mean(), reference, rtol=1e-5, atol=2e-5)


def test_cross_entropy_of_uniform_logits_is_log_of_classes():
    """Equal logits cost log(classes), whatever the label and whatever the smoothing."""
    logits = jnp.full((BATCH, CLASSES), 3.0)
    for smoothing in (0.0, 0.1, 0.9):
        np.testing.assert_allclose(cross_entropy(logits, jnp.asarray(LABELS), smoothing), np.log(CLASSES), rtol=1e-6)


@pytest.mark.parametrize("labels", [LABELS, ONE_HOT.astype(np.float32), SOFT], ids=["integer", "one-hot", "soft"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_cross_entropy_formula(labels: np.ndarray, smoothing: float):
    """-sum_k ((1 - e) q_k + e / K) log softmax_k, for labels as integers and as probabilities."""
    q = ONE_HOT if labels.ndim == 1 else labels.astype(np.float64)
    q = (1 - smoothing) * q + smoothing / CLASSES
    expected = -np.sum(q * log_softmax(LOGITS.astype(np.float64), axis=1), axis=1)
    found = cross_entropy(jnp.asarray(LOGITS), jnp.asarray(labels), smoothing)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # float32 sums of five terms


def test_cross_entropy_gradient():
    """The gradient with respect to the logits is softmax - q."""
    for labels, q in ((LABELS, ONE_HOT), (SOFT, SOFT.astype(np.float64))):
        gradient = jax.jit(jax.grad(lambda logits, labels=labels: cross_entropy(logits, jnp.asarray(labels)).sum()))
        expected = np.exp(log_softmax(LOGITS.astype(np.float64), axis=1)) - q
        np.testing.assert_allclose(gradient(jnp.asarray(LOGITS)), expected, atol=1e-6)  # of numbers up to 1


@pytest.mark.parametrize("soft", [False, True], ids=["integer", "soft"])
def test_huge_logits_do_not_overflow(soft: bool):
    """Logits of 1e4 and 1e30 give the exact loss, the difference to the largest, and a finite gradient."""
    logits = jnp.array([[1e4, -1e4, 0], [1e4, -1e4, 0], [1e30, 0, -1e30]], jnp.float32)
    labels = jnp.eye(3) if soft else jnp.arange(3)
    np.testing.assert_allclose(cross_entropy(logits, labels), [0, 2e4, 2e30], rtol=1e-6)
    gradient = jax.jit(jax.grad(lambda x: cross_entropy(x, labels).sum()))(logits)
    np.testing.assert_array_equal(gradient, [[0, 0, 0], [1, -1, 0], [1, 0, -1]])


def test_bfloat16_logits_are_computed_in_float32():
    """bfloat16 logits give the float32 loss of the same numbers."""
    logits = jnp.asarray(LOGITS, jnp.bfloat16)
    for loss in (cross_entropy, squared_error):
        found = loss(logits, jnp.asarray(LABELS))
        assert found.dtype == jnp.float32
        np.testing.assert_array_equal(found, loss(logits.astype(jnp.float32), jnp.asarray(LABELS)))


@pytest.mark.parametrize("smoothing", [-0.1, 1.0, 2.0])
def test_bad_label_smoothing(smoothing: float):
    """Smoothing outside [0, 1) is a ValueError with the value."""
    with pytest.raises(ValueError, match=rf"label_smoothing.*{smoothing}"):
        cross_entropy(jnp.asarray(LOGITS), jnp.asarray(LABELS), smoothing)


@pytest.mark.parametrize("loss", [cross_entropy, squared_error])
def test_shapes_that_would_broadcast_are_refused(loss: Any):
    """Labels of another batch or of another number of classes are refused, and so are logits of rank 1."""
    with pytest.raises((AssertionError, ValueError)):
        loss(jnp.asarray(LOGITS), jnp.asarray(LABELS[:1]))
    with pytest.raises((AssertionError, ValueError)):
        loss(jnp.asarray(LOGITS), jnp.asarray(SOFT[:, :1]))
    with pytest.raises((AssertionError, ValueError)):
        loss(jnp.asarray(LOGITS[0]), jnp.asarray(LABELS[0]))


# ------------------------------------------------------------------------------------------------ squared error


@given(logits_arrays, labels_arrays)
def test_squared_error_formula(predictions: np.ndarray, labels: np.ndarray):
    """The mean over outputs of the squared difference, to one-hot targets where labels are integers."""
    expected = np.square(predictions.astype(np.float64) - np.eye(CLASSES)[labels]).mean(axis=1)
    found = squared_error(jnp.asarray(predictions), jnp.asarray(labels))
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # a mean of five positive float32 numbers
    same = squared_error(jnp.asarray(predictions), jnp.asarray(np.eye(CLASSES)[labels], jnp.float32))
    np.testing.assert_array_equal(found, same)


# ------------------------------------------------------------------------------------------------ penalty

PARAMS = {
    "C1": {"kernel": random.normal(size=(5, 5, 1, 2)).astype(np.float32), "bias": np.ones(2, np.float32)},
    "F6": {"kernel": random.normal(size=(4, 3)).astype(np.float32), "bias": np.full(3, 2, np.float32)},
    "output": {"kernel": random.normal(size=(3, 2)).astype(np.float32), "bias": np.zeros(2, np.float32)},
}


@pytest.mark.parametrize(
    ("pattern", "paths"),
    [
        ("F6/kernel", ["F6/kernel"]),
        ("(F6|output)/kernel$", ["F6/kernel", "output/kernel"]),
        ("kernel", ["C1/kernel", "F6/kernel", "output/kernel"]),
        ("^F6/", ["F6/kernel", "F6/bias"]),
        (".", [f"{layer}/{kind}" for layer in PARAMS for kind in ("kernel", "bias")]),
    ],
)
def test_l2_penalty(pattern: str, paths: list[str]):
    """Half the sum of squares of the parameters whose path the expression matches, TensorFlow's `l2_loss`."""
    leaves = [PARAMS[layer][kind].astype(np.float64) for layer, kind in (path.split("/") for path in paths)]
    expected = sum(np.sum(leaf**2) / 2 for leaf in leaves)
    found = l2_penalty(PARAMS, pattern)
    assert (found.shape, found.dtype) == ((), jnp.float32)
    np.testing.assert_allclose(found, expected, rtol=1e-5)  # a float32 sum of up to 75 squares


def test_l2_penalty_gradient_is_the_parameter():
    """The gradient is w for a parameter that is penalized, and zero for the others."""
    params = jax.tree.map(jnp.asarray, PARAMS)
    gradient = jax.jit(jax.grad(lambda tree: l2_penalty(tree, "F6/kernel")))(params)
    np.testing.assert_array_equal(gradient["F6"]["kernel"], PARAMS["F6"]["kernel"])
    assert not any(gradient[layer][kind].any() for layer, kind in (("F6", "bias"), ("C1", "kernel")))


def test_l2_pattern_without_match():
    """A pattern that matches nothing is a ValueError that quotes it and lists the paths."""
    with pytest.raises(ValueError, match=r"'F7/kernel' matches no parameter.*C1/bias, C1/kernel, F6/bias"):
        l2_penalty(PARAMS, "F7/kernel")


# ------------------------------------------------------------------------------------------------ loss function


@pytest.mark.parametrize("labels", [LABELS, SOFT], ids=["integer", "soft"])
def test_classification_loss(labels: np.ndarray):
    """The loss is the mean over unmasked examples; accuracy is the share whose largest logit is at the label, or at the
    largest probability of a soft label."""
    mask = np.array([1, 1, 0, 1, 1, 0], bool)
    target = ONE_HOT if labels.ndim == 1 else labels.astype(np.float64)
    right = np.array([1, 1, 1, -1, 1, -1])  # three of the four unmasked examples
    logits = (5 * right[:, None] * target + 0.1 * LOGITS).astype(np.float32)
    loss, metrics = classification_loss(label_smoothing=0.1)(outputs(logits), batch(labels, mask), KEY)
    q = 0.9 * target + 0.1 / CLASSES
    each = -np.sum(q * log_softmax(logits.astype(np.float64), axis=1), axis=1)
    np.testing.assert_allclose(loss, each[mask].mean(), rtol=1e-5)  # float32 sums of a few terms
    np.testing.assert_allclose(metrics["loss"].value(), each[mask].mean(), rtol=1e-5)
    hits = logits.argmax(axis=1) == target.argmax(axis=1)
    assert hits[mask].mean() == 0.75
    assert float(metrics["accuracy"].value()) == 0.75
    assert set(metrics) == {"loss", "accuracy"}
    assert float(metrics["accuracy"].weight) == mask.sum()
    assert (loss.shape, loss.dtype) == ((), jnp.float32)


def test_squared_error_as_loss_function():
    """`classification_loss("squared_error")` is the mean squared error to one-hot targets."""
    loss, _ = classification_loss("squared_error")(outputs(LOGITS), batch(), KEY)
    np.testing.assert_allclose(loss, np.square(LOGITS.astype(np.float64) - ONE_HOT).mean(), rtol=1e-5)


MASK = np.array([1, 0, 1, 1, 0, 1], bool)


def spoilt(bad: float) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Logits that are `bad` where MASK is not set, and their batch."""
    logits, labels = LOGITS.copy(), LABELS.copy()
    logits[~MASK], labels[~MASK] = bad, 0
    return jnp.asarray(logits), batch(labels, MASK)


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_masked_examples_do_not_count(name: str, bad: float):
    """Whatever logits and labels a masked example has, NaN included, loss and metrics are the other examples'."""
    loss_fn = classification_loss(name)
    logits, contents = spoilt(bad)
    compiled = jax.jit(lambda x, y: loss_fn(outputs(x), y, KEY))
    loss, metrics = compiled(logits, contents)
    loss_alone, metrics_alone = compiled(LOGITS[MASK], batch(LABELS[MASK], np.ones(4)))
    # The same four numbers, perhaps added in another order.
    np.testing.assert_allclose(loss, loss_alone, rtol=1e-6)
    for key in metrics_alone:
        np.testing.assert_allclose(metrics[key].value(), metrics_alone[key].value(), rtol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy", "squared_error"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_masked_examples_have_no_gradient(name: str, bad: float):
    """Whatever logits a masked example has, NaN included, its gradient is zero and the others' are their own."""
    loss_fn = classification_loss(name)
    logits, contents = spoilt(bad)
    gradient = jax.jit(jax.grad(lambda x: loss_fn(outputs(x), contents, KEY)[0]))(logits)
    alone = batch(LABELS[MASK], np.ones(4))
    gradient_alone = jax.jit(jax.grad(lambda x: loss_fn(outputs(x), alone, KEY)[0]))(LOGITS[MASK])
    np.testing.assert_allclose(gradient[MASK], gradient_alone, rtol=1e-6, atol=1e-8)  # perhaps divided in another order
    np.testing.assert_array_equal(gradient[~MASK], 0)


def test_a_batch_that_is_all_masked():
    """A batch of masked examples only has loss 0, gradient 0 and weight 0."""
    loss_fn = classification_loss()
    contents = batch(mask=np.zeros(BATCH))
    graded = jax.jit(jax.value_and_grad(lambda x: loss_fn(outputs(x), contents, KEY), has_aux=True))
    (loss, metrics), gradient = graded(LOGITS)
    assert float(loss) == float(metrics["loss"].weight) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_auxiliary_heads_with_a_constant_weight():
    """Each auxiliary head adds its own cross-entropy times the weight; accuracy is the main head's."""
    heads = {"aux1": jnp.asarray(LOGITS[::-1].copy()), "aux2": jnp.asarray(2 * LOGITS)}
    main, metrics_main = classification_loss()(outputs(LOGITS), batch(), KEY)
    parts = [
        log_loss(LABELS, np.exp(log_softmax(np.float64(x), axis=1)), labels=range(CLASSES)) for x in heads.values()
    ]
    for weight in (0.3, 1.0):
        loss_fn = classification_loss(auxiliary_weight=weight)
        loss, metrics = loss_fn(outputs(LOGITS, heads), batch(), KEY)
        np.testing.assert_allclose(loss, main + weight * sum(parts), rtol=1e-5)  # float32 sums of a few terms
        np.testing.assert_allclose(metrics["accuracy"].value(), metrics_main["accuracy"].value())
    default, _ = classification_loss()(outputs(LOGITS, heads), batch(), KEY)
    np.testing.assert_allclose(default, main + 0.3 * sum(parts), rtol=1e-5)


def test_auxiliary_weight_as_a_function_of_the_step():
    """A weight that is a function is called with the step, also when the step is traced."""
    heads = {"aux": jnp.asarray(LOGITS[::-1].copy())}
    main, _ = classification_loss()(outputs(LOGITS), batch(), KEY)
    head, _ = classification_loss()(outputs(heads["aux"]), batch(), KEY)
    loss_fn = classification_loss(auxiliary_weight=lambda step: 0.5 * 0.1**step)

    @jax.jit
    def loss_at(step: jax.Array) -> jax.Array:
        return loss_fn(Outputs(jnp.asarray(LOGITS), heads, step), batch(), KEY)[0]

    for step in range(3):
        np.testing.assert_allclose(loss_at(jnp.asarray(step)), main + 0.5 * 0.1**step * head, rtol=1e-5)


def test_auxiliary_weight_of_a_recipe():
    """With a half-life of ten steps it is .5, .25 and .125 after none, ten and twenty; without one it stays."""
    heads = {"aux": jnp.asarray(LOGITS[::-1].copy())}
    main, _ = classification_loss()(outputs(LOGITS), batch(), KEY)
    head, _ = classification_loss()(outputs(heads["aux"]), batch(), KEY)
    for half_life, weights in ((10, (0.5, 0.25, 0.125)), (None, (0.5, 0.5, 0.5))):
        loss_fn = recipe_loss(Recipe(auxiliary_weight=0.5, auxiliary_half_life=half_life))
        for step, weight in zip((0, 10, 20), weights, strict=True):
            loss, _ = loss_fn(Outputs(jnp.asarray(LOGITS), heads, jnp.asarray(step)), batch(), KEY)
            np.testing.assert_allclose(loss, main + weight * head, rtol=1e-5)


def test_bad_loss_names():
    """An unknown loss is a ValueError that lists the known ones, and so is smoothing where it has no meaning."""
    with pytest.raises(ValueError, match=r"'crossentropy'.*cross_entropy, squared_error"):
        classification_loss("crossentropy")
    with pytest.raises(ValueError, match=r"smoothing.*squared_error"):
        classification_loss("squared_error", label_smoothing=0.1)


def test_smooth_l1_is_huber_with_slope_one():
    """Half the square near 0, a line beyond; against a sum in float64, and with gradients of at most 1."""
    random = np.random.default_rng(0)
    predictions, targets = (random.normal(size=(20, 4)).astype(np.float32) * 2 for _ in range(2))
    difference = np.abs(predictions.astype(np.float64) - targets)
    expected = np.where(difference < 1, difference**2 / 2, difference - 0.5).sum(-1)
    losses = smooth_l1(jnp.asarray(predictions), jnp.asarray(targets))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    gradient = jax.grad(lambda x: smooth_l1(x, jnp.asarray(targets)).sum())(predictions)
    np.testing.assert_allclose(gradient, np.clip(predictions - targets, -1, 1), atol=1e-6)


# ------------------------------------------------------------------------------------------------ segmentation


def test_segmentation_loss_is_scikit_learns_of_the_pixels():
    """The mean over all pixels that are of a class and of an image; the others have no gradient, not even of NaN."""
    logits = random.normal(0, 3, (3, 4, 5, CLASSES)).astype(np.float32)
    labels = random.integers(0, CLASSES, (3, 4, 5))
    labels[random.random(labels.shape) < 0.3] = 255
    mask = np.array([1, 0, 1], np.float32)
    counted = (labels != 255) & (mask[:, None, None] > 0)
    logits[~counted] = np.nan
    loss_fn = segmentation_loss(255)

    def loss(logits: jax.Array) -> Any:
        return loss_fn(outputs(logits), {"label": jnp.asarray(labels), "mask": jnp.asarray(mask)}, KEY)

    (value, metrics), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(logits))
    chosen = logits[counted].astype(np.float64)
    probabilities = np.exp(log_softmax(chosen, axis=-1))
    assert float(value) == pytest.approx(log_loss(labels[counted], probabilities, labels=range(CLASSES)), rel=1e-5)
    assert float(metrics["accuracy"].value()) == pytest.approx((chosen.argmax(-1) == labels[counted]).mean())
    assert not np.any(gradient[~counted])
    expected = (probabilities - np.eye(CLASSES)[labels[counted]]) / counted.sum()
    np.testing.assert_allclose(gradient[counted], expected, atol=1e-6)
