"""Batch normalization: the worked example of the notes, its invariances, and population statistics."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xxnet_jax.models.layers import ConvUnit, Network, Norm, Stages
from xxnet_jax.models.normalization import BatchNorm
from xxnet_jax.training.batch_norm import recalibrate_batch_norm

ROW = np.array([1.0, 1.5, 1.2, 0.9, 1.7, 2.1, 3.1, 1.7])  # neuron 1 of the notes' example, 8 samples


class Normalized(Network):
    """Two convolutions with batch normalization."""

    num_classes: int | None = None

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for number, features in enumerate((3, 5), start=1):
            unit = ConvUnit(features, (3, 3), norm=Norm(momentum=0.5), name=f"unit{number}")
            yield f"unit{number}", (x := unit(x, train=train))

    def smallest_input(self) -> int:
        return 1


class OnlyNorm(Network):
    """The input, normalized."""

    num_classes: int | None = None

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        yield "bn", BatchNorm(use_running_average=not train, epsilon=1e-8, name="bn")(x)

    def smallest_input(self) -> int:
        return 1


def test_the_notes_example():
    """The row has mean 1.65 and variance .44, and is normalized to the numbers that the notes print."""
    images = jnp.asarray(ROW, jnp.float32).reshape(8, 1, 1, 1)
    model = OnlyNorm()
    variables = model.init(jax.random.key(0), images, train=False)
    applied: Any = model.apply(variables, images, train=True, mutable=["batch_stats"])
    normalized, mutated = applied
    printed = [-0.98, -0.23, -0.68, -1.13, 0.08, 0.68, 2.19, 0.08]
    np.testing.assert_allclose(np.ravel(normalized), printed, atol=0.005)  # two printed digits
    np.testing.assert_allclose(mutated["batch_stats"]["bn"]["mean"], 0.01 * 1.65, rtol=1e-5)


def test_population_statistics_of_the_notes_example():
    """One batch of the row: mean 1.65, variance 8 / 7 of .44."""
    images = jnp.asarray(ROW, jnp.float32).reshape(8, 1, 1, 1)
    model = OnlyNorm()
    variables: Any = model.init(jax.random.key(0), images, train=False)
    statistics = recalibrate_batch_norm(model, variables, [images])["batch_stats"]["bn"]
    np.testing.assert_allclose(statistics["mean"], [1.65], rtol=1e-6)
    np.testing.assert_allclose(statistics["var"], [0.44 * 8 / 7], rtol=1e-6)


def test_population_statistics_of_a_network():
    """Means of the batches' means and unbiased variances, of what each layer gets, as NumPy computes them."""
    rng = np.random.default_rng(0)
    batches = [jnp.asarray(rng.normal(size=(4, 6, 6, 2)), jnp.float32) for _ in range(3)]
    model = Normalized()
    variables: Any = model.init(jax.random.key(1), batches[0], train=False)
    found = recalibrate_batch_norm(model, variables, batches)
    inputs = []  # of the first norm: its convolution, by the definition
    kernel = np.asarray(variables["params"]["unit1"]["conv"]["kernel"], np.float64)
    for images in batches:
        padded = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
        inputs.append(np.einsum("bijcyx,yxcf->bijf", windows, kernel).reshape(-1, 3))
    statistics = found["batch_stats"]["unit1"]["bn"]
    np.testing.assert_allclose(statistics["mean"], np.mean([x.mean(0) for x in inputs], axis=0), atol=1e-6)
    np.testing.assert_allclose(statistics["var"], np.mean([x.var(0, ddof=1) for x in inputs], axis=0), rtol=1e-5)
    assert jax.tree.structure(found) == jax.tree.structure(variables)
    assert not np.allclose(found["batch_stats"]["unit2"]["bn"]["var"], 1)


@pytest.mark.parametrize("factor", [0.1, 3.0, 40.0])
def test_the_scale_of_weights_does_not_matter(factor: float):
    """BN(a W u) = BN(W u), du is the same, and the gradient of a W is 1 / a of that of W, for a > 0."""
    rng = np.random.default_rng(2)
    u, w = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in ((16, 4), (4, 3)))
    target = jnp.asarray(rng.normal(size=(16, 3)), jnp.float32)
    norm = nn.BatchNorm(use_running_average=False, epsilon=0.0)
    variables = norm.init(jax.random.key(0), u @ w)

    def loss(w: jax.Array, u: jax.Array) -> jax.Array:
        normalized: Any = norm.apply(variables, u @ w, mutable=["batch_stats"])[0]
        return jnp.sum(normalized * target)

    value, (dw, du) = jax.value_and_grad(loss, argnums=(0, 1))(w, u)
    scaled, (dw_scaled, du_scaled) = jax.value_and_grad(loss, argnums=(0, 1))(factor * w, u)
    tolerance: dict[str, Any] = {"rtol": 1e-3, "atol": 1e-4}  # float32 sums that nearly cancel
    np.testing.assert_allclose(scaled, value, **tolerance)
    np.testing.assert_allclose(du_scaled, du, **tolerance)
    np.testing.assert_allclose(factor * dw_scaled, dw, **tolerance)


def test_errors():
    """No batch, no norm, and a single value in a channel are named."""
    image = jnp.ones((1, 1, 1, 2))
    model = OnlyNorm()
    variables: Any = model.init(jax.random.key(0), image, train=False)
    with pytest.raises(ValueError, match="at least one batch"):
        recalibrate_batch_norm(model, variables, [])
    with pytest.raises(ValueError, match="larger batches"):
        recalibrate_batch_norm(model, variables, [image])
