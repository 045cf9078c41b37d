"""Metrics that are kept as sums: the mean, and those of a classifier."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from xxnet_jax.metrics import Mean, create_metrics, metric_names
from xxnet_jax.metrics.streaming import OF_LAYERS, examples_of

PARTS, EACH = 4, 6  # fixed shapes: one compilation
values_of_parts = arrays.arrays(np.float32, (PARTS, EACH), elements=st.floats(-1e3, 1e3, width=32))
weights_of_parts = arrays.arrays(np.float32, (PARTS, EACH), elements=st.sampled_from([0.0, 0.5, 1.0, 3.0]))


@given(values_of_parts, weights_of_parts)
def test_sum_of_parts_is_the_whole(values: np.ndarray, weights: np.ndarray):
    """The sum of the means of parts, in whatever order, is the weighted mean of all examples, and not the mean of the
    parts' means."""
    parts = [Mean.of(jnp.asarray(v), jnp.asarray(w)) for v, w in zip(values, weights, strict=True)]
    forwards = parts[0] + parts[1] + parts[2] + parts[3]
    pairwise = (parts[3] + parts[1]) + (parts[2] + parts[0])
    whole = np.average(values.astype(np.float64).ravel(), weights=weights.ravel()) if weights.any() else 0.0
    # 24 products of up to 3e3 are added in float32, and cancel: 24 * 3e3 * 2^-24, over a weight of .5 at least.
    for mean in (forwards, pairwise, Mean.of(jnp.asarray(values.ravel()), jnp.asarray(weights.ravel()))):
        np.testing.assert_allclose(mean.value(), whole, rtol=1e-6, atol=0.01)
        assert mean.weight == weights.sum()  # halves are exact


def test_worked_example():
    """Losses 1, 2, 6 with the last one masked have mean 1.5; with another batch of a single 3 the mean is 2."""
    first = Mean.of(jnp.array([1.0, 2.0, 6.0]), jnp.array([True, True, False]))
    assert (float(first.total), float(first.weight), float(first.value())) == (3.0, 2.0, 1.5)
    assert float((first + Mean.of(jnp.array([3.0]))).value()) == 2.0


def test_without_weights_every_value_counts_once():
    """Without weights the result is the plain mean, of booleans and integers too, and float32."""
    for values in (
        jnp.array([True, False, False, True]),
        jnp.array([1, 0, 0, 1]),
        jnp.array([1, 0, 0, 1], jnp.bfloat16),
    ):
        mean = Mean.of(values)
        assert float(mean.value()) == 0.5
        assert mean.value().dtype == mean.total.dtype == mean.weight.dtype == jnp.float32


@pytest.mark.parametrize("size", [0, 3])
def test_nothing_counted_is_zero(size: int):
    """The mean of no examples, or of masked ones only, is 0, and adding it to another mean changes nothing."""
    empty = Mean.of(jnp.full(size, 7.0), jnp.zeros(size))
    assert float(empty.value()) == 0.0
    assert float((empty + Mean.of(jnp.array([4.0, 6.0]))).value()) == 5.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_masked_values_may_be_anything(bad: float):
    """A value of weight zero does not count, not even as NaN or infinity, and an unmasked NaN is not hidden."""
    values = jnp.array([1.0, bad, 3.0])
    assert float(Mean.of(values, jnp.array([1, 0, 1])).value()) == 2.0
    assert not np.isfinite(Mean.of(values, jnp.array([1, 1, 1])).value())


def test_gradient_of_the_value():
    """The gradient of the mean is weight / sum of weights for each value, and zero where nothing was counted."""
    values = jnp.array([1.0, -2.0, 5.0])
    gradient = jax.grad(lambda v, w: Mean.of(v, w).value())
    np.testing.assert_allclose(gradient(values, jnp.array([1.0, 0.0, 3.0])), [0.25, 0, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(gradient(values, jnp.zeros(3)), [0, 0, 0])


@pytest.mark.parametrize("shape", [(2,), (4,), (1,), (), (3, 1), (1, 3)])
def test_shapes_must_be_equal(shape: tuple[int, ...]):
    """Weights of another shape than the values are a ValueError that shows both shapes, and do not broadcast."""
    with pytest.raises(ValueError, match=r"shape \(3,\), weights \(" + ", ".join(map(str, shape))):
        Mean.of(jnp.ones(3), jnp.ones(shape))


def test_a_mean_is_a_pytree():
    """Means go through jit and through sums over trees as other arrays do."""
    means = {"loss": Mean.of(jnp.array([1.0, 3.0])), "accuracy": Mean.of(jnp.array([0.0, 1.0]))}
    doubled = jax.jit(lambda tree: jax.tree.map(lambda leaf: 2 * leaf, tree))(means)
    assert (float(doubled["loss"].total), float(doubled["loss"].weight)) == (8.0, 4.0)
    assert float(doubled["accuracy"].value()) == 0.5


# --- Metrics of a classifier ------------------------------------------------------------------------------------------

EXAMPLES = 240
NAMES = ("top1", "top3", *(name for name in metric_names() if name not in ("top5", *OF_LAYERS)))


def drawn(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Logits that know something of the labels, labels of which some are rare, and which examples count."""
    random = np.random.default_rng(seed)
    labels = random.choice(classes, EXAMPLES, p=random.dirichlet(np.ones(classes)))
    labels[:classes] = np.arange(classes)
    logits = random.normal(size=(EXAMPLES, classes)) + 2 * np.eye(classes)[labels]
    mask = random.uniform(size=EXAMPLES) < 0.9
    mask[:classes] = True
    return logits.astype(np.float32), labels, mask


def results(metrics: dict[str, Any], states: dict[str, Any]) -> dict[str, Any]:
    return {name: value for key, metric in metrics.items() for name, value in metric.result(states[key]).items()}


@settings(max_examples=15)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5]))
def test_streaming_figures(seed: int, classes: int):
    """All figures are scikit-learn's of the examples that count; the areas those of the scores in their bins."""
    logits, labels, mask = drawn(seed, classes)
    metrics: dict[str, Any] = create_metrics([name for name in NAMES if classes > 2 or name != "top3"], classes)
    states = {name: metric.update(metric.init(), logits, labels, mask) for name, metric in metrics.items()}
    found = results(metrics, states)

    logits, labels = logits[mask].astype(np.float64), labels[mask]
    predicted = logits.argmax(1)
    scores = np.stack([logits[:, c] - np.logaddexp.reduce(np.delete(logits, c, 1), 1) for c in range(classes)], 1)
    truth = np.eye(classes)[labels]
    if classes == 2:
        scores, truth = scores[:, 1:], truth[:, 1:]
    expected = {
        "top1": sklearn.metrics.accuracy_score(labels, predicted),
        "confusion": sklearn.metrics.confusion_matrix(labels, predicted),
        "precision": sklearn.metrics.precision_score(labels, predicted, average="macro", zero_division=0),  # type: ignore[arg-type]
        "recall": sklearn.metrics.recall_score(labels, predicted, average="macro"),
        "f1": sklearn.metrics.f1_score(labels, predicted, average="macro"),
        "mcc": sklearn.metrics.matthews_corrcoef(labels, predicted),
    }
    if classes > 2:
        expected["top3"] = sklearn.metrics.top_k_accuracy_score(labels, logits, k=3)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-12, err_msg=name)
    for name, area in (("auc", "roc_auc_score"), ("average_precision", "average_precision_score")):
        # A bin is 1/64 wide: the order of a few scores is lost.
        np.testing.assert_allclose(found[name], getattr(sklearn.metrics, area)(truth, scores), atol=5e-3, err_msg=name)
        binned = [
            getattr(sklearn.metrics, area)(y, s, sample_weight=w)
            for y, s, w in map(examples_of, found["score_histogram"])
        ]
        np.testing.assert_allclose(found[name], np.mean(binned), rtol=1e-6, err_msg=name)
    for column, histogram in enumerate(found["score_histogram"]):
        _, centres, _ = examples_of(histogram)
        for truth_value in (0, 1):
            inside = scores[truth[:, column] == truth_value, column]
            counts = np.histogram(inside, np.append(centres[::2] - 1 / 128, 16))[0]
            # float32 puts a score on the border of two bins into either.
            assert np.abs(counts - histogram[:, truth_value]).sum() <= 4


@settings(max_examples=10)
@given(st.integers(0, 2**32 - 1))
def test_streaming_over_parts(seed: int):
    """Over random parts in random order, merged as they come, the counts are exactly those of all at once."""
    logits, labels, mask = drawn(seed, 5)
    metrics: dict[str, Any] = create_metrics(NAMES, 5)
    parts = np.random.default_rng(seed).permutation(EXAMPLES).reshape(6, -1)
    for metric in metrics.values():
        whole = metric.update(metric.init(), logits, labels, mask)
        states = [metric.update(metric.init(), logits[part], labels[part], jnp.asarray(mask[part])) for part in parts]
        merged = metric.init()
        for state in states:
            merged = metric.merge(merged, state)
        np.testing.assert_array_equal(merged, whole)
        assert merged.dtype == jnp.int32


def test_streaming_over_devices():
    """Of examples that lie on 8 devices the counts are those of one."""
    logits, labels, mask = drawn(0, 5)
    metrics: dict[str, Any] = create_metrics(NAMES, 5)
    devices = Mesh(np.array(jax.devices()[:8]), ("data",))
    divided = jax.device_put((logits, labels, mask), NamedSharding(devices, PartitionSpec("data")))
    assert len(divided[0].sharding.device_set) == 8
    for metric in metrics.values():
        found = jax.jit(metric.count, out_shardings=NamedSharding(devices, PartitionSpec()))(*divided)
        np.testing.assert_array_equal(found, metric.count(*map(jnp.asarray, (logits, labels, mask))))


def test_nothing_was_counted():
    """Figures of no examples are NaN, and the state is that of a batch without any that counts."""
    metrics: dict[str, Any] = create_metrics(NAMES, 5)
    logits, labels, mask = drawn(0, 5)
    for metric in metrics.values():
        empty = metric.update(metric.init(), logits, labels, np.zeros_like(mask))
        np.testing.assert_array_equal(empty, metric.init())
    found = results(metrics, {name: metric.init() for name, metric in metrics.items()})
    assert all(
        np.isnan(found[name]) for name in ("top1", "top3", "f1", "precision", "recall", "auc", "average_precision")
    )


def test_names_of_metrics():
    """One word may hold several; what comes of the same counts is counted once."""
    metrics: dict[str, Any] = create_metrics(["top5, f1", "mcc,auc"], 10)
    assert list(metrics) == ["top5", "confusion", "scores"]
    assert list(create_metrics([], 10)) == []
    with pytest.raises(ValueError, match=r"expected logits \[batch, classes\]"):
        metrics["top5"].update(metrics["top5"].init(), np.ones((3, 10)), np.ones(2, int))
    with pytest.raises(ValueError, match="unknown metric 'acu': did you mean auc"):
        create_metrics(["acu"], 10)
    with pytest.raises(ValueError, match=r"top11 needs k in 1\.\.10"):
        create_metrics(["top11"], 10)
