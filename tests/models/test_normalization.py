"""Batch normalization against Flax's, and its scopes against NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xxnet_jax.models.normalization import BatchNorm, BatchNormScope, batch_norm_scope


def random_images(*shape: int) -> jax.Array:
    """Channels of different means and deviations."""
    random = np.random.default_rng(0)
    x = random.normal(size=shape) * random.uniform(0.1, 3, shape[-1]) + random.normal(size=shape[-1])
    return jnp.asarray(x, jnp.float32)


def random_variables(channels: int, scale: bool = True) -> Any:
    random = np.random.default_rng(1)
    params = {"scale": random.uniform(0.5, 2, channels), "bias": random.normal(size=channels)}
    if not scale:
        del params["scale"]
    statistics = {"mean": random.normal(size=channels), "var": random.uniform(0.5, 2, channels)}
    as_float32 = lambda x: jnp.asarray(x, jnp.float32)  # noqa: E731
    return jax.tree.map(as_float32, {"params": params, "batch_stats": statistics})


def outcome(layer: nn.Module, variables: Any, x: jax.Array) -> Any:
    """Output, running statistics afterwards, and gradients of a sum of cubes."""

    def loss(params: Any, x: jax.Array) -> Any:
        y, mutated = layer.apply({**variables, "params": params}, x, mutable=["batch_stats"])
        return jnp.sum(y.astype(jnp.float32) ** 3), (y, mutated["batch_stats"])

    gradients, (y, statistics) = jax.grad(loss, argnums=(0, 1), has_aux=True)(variables["params"], x)
    return {"y": y, "statistics": statistics, "gradients": gradients}


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (8, 3), (1, 2, 2, 1)])
def test_is_flaxs(shape: tuple[int, ...], running: bool, scale: bool):
    """Outputs, statistics and gradients, while training and afterwards."""
    x, variables = random_images(*shape), random_variables(shape[-1], scale)
    options: dict[str, Any] = {"use_running_average": running, "momentum": 0.9, "epsilon": 1e-3, "use_scale": scale}
    found, expected = (outcome(kind(**options), variables, x) for kind in (BatchNorm, nn.BatchNorm))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5 * float(jnp.abs(b).max()))


def test_in_bfloat16():
    """Output in bfloat16; statistics in float32, of sums in float32."""
    x, variables = random_images(64, 8, 8, 3), random_variables(3)
    layer = BatchNorm(use_running_average=False, momentum=0.0, dtype=jnp.bfloat16)
    found = outcome(layer, variables, x.astype(jnp.bfloat16))
    assert found["y"].dtype == jnp.bfloat16
    exact = np.asarray(x.astype(jnp.bfloat16), np.float64)
    assert found["statistics"]["mean"].dtype == jnp.float32
    np.testing.assert_allclose(found["statistics"]["mean"], exact.mean((0, 1, 2)), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found["statistics"]["var"], exact.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("examples", [1, 2, 3, 6])
def test_ghost_batches(examples: int):
    """Neighbours are normalized by their own moments; the running ones follow the mean over the groups."""
    x, variables = random_images(6, 4, 5, 3), random_variables(3)
    with batch_norm_scope(BatchNormScope(examples)):
        found = outcome(BatchNorm(use_running_average=False, momentum=0.9), variables, x)
    groups = np.asarray(x, np.float64).reshape(6 // examples, -1, 3)
    mean, var = groups.mean(1), groups.var(1)
    params, before = jax.tree.map(np.asarray, (variables["params"], variables["batch_stats"]))
    y = (groups - mean[:, None]) / np.sqrt(var[:, None] + 1e-5) * params["scale"] + params["bias"]
    np.testing.assert_allclose(found["y"], y.reshape(x.shape), rtol=1e-4, atol=1e-5)
    for name, moments in (("mean", mean), ("var", var)):
        expected = 0.9 * before[name] + 0.1 * moments.mean(0)
        np.testing.assert_allclose(found["statistics"][name], expected, rtol=1e-5)


def test_over_mapped_devices():
    """With an axis name, shares of a batch are normalized as the batch."""
    x, variables = random_images(6, 4, 5, 3), random_variables(3)
    layer = BatchNorm(use_running_average=False, momentum=0.9)
    expected = outcome(layer, variables, x)

    def of_share(x: jax.Array) -> Any:
        y, mutated = layer.apply(variables, x, mutable=["batch_stats"])
        return y, mutated["batch_stats"]

    with batch_norm_scope(BatchNormScope(axis_name="data")):
        y, statistics = jax.vmap(of_share, axis_name="data")(x.reshape(3, 2, 4, 5, 3))
    np.testing.assert_allclose(y.reshape(x.shape), expected["y"], rtol=1e-5, atol=1e-5)
    for name, values in statistics.items():
        np.testing.assert_allclose(values, np.stack([expected["statistics"][name]] * 3), rtol=1e-5)


def test_batch_that_cannot_be_divided():
    """The error has both sizes."""
    layer, variables = BatchNorm(use_running_average=False), random_variables(3)
    with (
        batch_norm_scope(BatchNormScope(4)),
        pytest.raises(ValueError, match="6 examples cannot be divided into groups of 4"),
    ):
        layer.apply(variables, random_images(6, 2, 2, 3), mutable=["batch_stats"])


def test_inference_has_no_groups():
    """The scope is one of training: any batch can be evaluated."""
    x, variables = random_images(5, 2, 2, 3), random_variables(3)
    layer = BatchNorm(use_running_average=True)
    expected = layer.apply(variables, x)
    with batch_norm_scope(BatchNormScope(4, "data")):
        np.testing.assert_array_equal(layer.apply(variables, x), expected)
