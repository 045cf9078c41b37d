"""Batch normalization against Flax's, and its scopes against NumPy."""

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xxnet_jax.models.backend import plain_operations
from xxnet_jax.models.normalization import BatchNorm, BatchNormScope, batch_norm_scope


@pytest.fixture(autouse=True, params=["as for CPU", "plain"])
def operations(request: pytest.FixtureRequest) -> Iterator[None]:
    """Everything holds with the gradient written out, and with the one by differentiation."""
    with plain_operations() if request.param == "plain" else contextlib.nullcontext():
        yield


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


def assert_near(found: Any, expected: Any) -> None:
    """Equal but for the order of sums in float32."""
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * float(np.abs(expected).max()))


@pytest.mark.parametrize("scale", [True, False])
@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (8, 3), (1, 2, 2, 1)])
def test_is_flaxs(shape: tuple[int, ...], running: bool, scale: bool):
    """Outputs, statistics and gradients, while training and afterwards."""
    x, variables = random_images(*shape), random_variables(shape[-1], scale)
    options: dict[str, Any] = {"use_running_average": running, "momentum": 0.9, "epsilon": 1e-3, "use_scale": scale}
    found, expected = (outcome(kind(**options), variables, x) for kind in (BatchNorm, nn.BatchNorm))
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert_near(a, b)


def test_in_bfloat16():
    """Output in bfloat16; statistics in float32, of sums in float32."""
    x, variables = random_images(64, 8, 8, 3).astype(jnp.bfloat16), random_variables(3)
    layer = BatchNorm(use_running_average=False, momentum=0.0, dtype=jnp.bfloat16)
    found = outcome(layer, variables, x)
    assert found["y"].dtype == jnp.bfloat16
    of_x, expected = (each["gradients"][1] for each in (found, outcome(nn.BatchNorm(False), variables, x)))
    assert of_x.dtype == jnp.bfloat16
    np.testing.assert_allclose(
        of_x.astype(jnp.float32), expected.astype(jnp.float32), rtol=0, atol=0.03 * float(jnp.abs(expected).max())
    )
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
    alone = [outcome(nn.BatchNorm(use_running_average=False), variables, part) for part in jnp.split(x, len(groups))]
    of_params, of_x = found["gradients"]
    assert_near(of_x, jnp.concatenate([of_part for _, of_part in (part["gradients"] for part in alone)]))
    for name, leaf in of_params.items():
        assert_near(leaf, sum(part["gradients"][0][name] for part in alone))


def test_over_mapped_devices():
    """With an axis name, shares of a batch are normalized as the batch."""
    x, variables = random_images(6, 4, 5, 3), random_variables(3)
    layer = BatchNorm(use_running_average=False, momentum=0.9)
    expected = outcome(layer, variables, x)

    with batch_norm_scope(BatchNormScope(axis_name="data")):
        of_share = functools.partial(outcome, layer, variables)
        found = jax.vmap(of_share, axis_name="data")(x.reshape(3, 2, 4, 5, 3))
    assert_near(found["y"].reshape(x.shape), expected["y"])
    for name, values in found["statistics"].items():
        assert_near(values, np.stack([expected["statistics"][name]] * 3))
    (of_params, of_x), (whole_params, whole_x) = found["gradients"], expected["gradients"]
    assert_near(of_x.reshape(x.shape), whole_x)
    jax.tree.map(lambda shares, whole: assert_near(shares.sum(0), whole), of_params, whole_params)


@pytest.mark.parametrize("shape", [(4, 5, 6, 3), (8, 3)])
def test_second_derivatives(shape: tuple[int, ...]):
    """The gradient of the squared norm of the gradients is that of Flax's."""
    x, variables = random_images(*shape), random_variables(shape[-1])

    def second(layer: nn.Module) -> Any:
        def norm(params: Any, x: jax.Array) -> jax.Array:
            gradients = outcome(layer, {**variables, "params": params}, x)["gradients"]
            return sum((jnp.sum(leaf**2) for leaf in jax.tree.leaves(gradients)), jnp.zeros(()))

        return jax.grad(norm, argnums=(0, 1))(variables["params"], x)

    jax.tree.map(assert_near, *(second(kind(use_running_average=False)) for kind in (BatchNorm, nn.BatchNorm)))


def test_gradients_of_the_running_statistics():
    """They follow the images as mean and variance do."""
    x, variables = random_images(4, 5, 6, 3), random_variables(3)
    weights = random_images(2, 3)

    def loss(x: jax.Array) -> jax.Array:
        layer = BatchNorm(use_running_average=False, momentum=0.9)
        statistics: Any = layer.apply(variables, x, mutable=["batch_stats"])[1]["batch_stats"]
        return jnp.sum(jnp.stack([statistics["mean"], statistics["var"]]) * weights)

    axes = (0, 1, 2)
    expected = jax.grad(lambda x: 0.1 * jnp.sum(jnp.stack([x.mean(axes), x.var(axes)]) * weights))(x)
    assert_near(jax.grad(loss)(x), expected)


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
