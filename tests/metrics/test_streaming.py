"""The mean that is kept as a sum and a weight."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xxnet_jax.metrics import Mean

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
