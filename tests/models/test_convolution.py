"""The lowerings of convolutions on CPU against XLA's convolution."""

import re
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from xxnet_jax.models import convolution
from xxnet_jax.models.convolution import Conv, convolve

LAYOUT: Any = ("NHWC", "HWIO", "NHWC")


class Case(NamedTuple):
    """Shapes of a convolution, and whether XLA's is left to do it."""

    image: tuple[int, int, int]
    kernel: tuple[int, int]
    features: int
    strides: tuple[int, int] = (1, 1)
    groups: int = 1
    xla: bool = False


CASES = {
    "1x1": Case((5, 7, 9), (1, 1), 4),
    "1x1 with strides": Case((5, 7, 9), (1, 1), 4, strides=(2, 3)),
    "one channel": Case((9, 7, 1), (5, 4), 3, xla=True),
    "kernel of the image's size": Case((4, 5, 12), (4, 5), 7),
    "kernel larger than the image": Case((2, 2, 12), (3, 3), 7),
    "many channels": Case((6, 5, 384), (3, 3), 4),
    "many channels of a large map": Case((18, 17, 384), (3, 3), 4, xla=True),
    "many features": Case((9, 7, 9), (2, 3), 384, xla=True),
    "many features with strides": Case((9, 8, 9), (3, 2), 384, strides=(2, 3), xla=True),
    "features of a large map": Case((17, 18, 9), (3, 3), 96, xla=True),
    "common": Case((9, 7, 12), (3, 3), 4, xla=True),
    "with strides": Case((9, 7, 12), (3, 3), 4, strides=(2, 2), xla=True),
    "depthwise": Case((9, 8, 6), (3, 2), 6, groups=6),
    "depthwise with strides and multiplier": Case((9, 8, 6), (3, 2), 18, strides=(2, 3), groups=6),
    "two groups": Case((9, 7, 24), (3, 3), 10, groups=2, xla=True),
    "two groups with strides": Case((9, 7, 24), (3, 3), 10, strides=(2, 2), groups=2, xla=True),
    "many groups": Case((9, 7, 24), (3, 3), 24, groups=12),
    "many groups with strides": Case((9, 7, 24), (3, 3), 36, strides=(2, 1), groups=12),
}


def random_pair(case: Case, batch: int, dtype: Any = jnp.float32) -> tuple[jax.Array, jax.Array]:
    """Images, and a kernel that keeps their size."""
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, *case.image))
    channels = case.image[-1] // case.groups
    kernel = random.normal(0, (np.prod(case.kernel) * channels) ** -0.5, (*case.kernel, channels, case.features))
    return jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)


PADDINGS: dict[str, Any] = {"valid": "VALID", "same": "SAME", "pixels": ((2, 0), (1, 3))}
ANY_PADDING = ("common", "with strides", "depthwise with strides and multiplier")


@pytest.mark.parametrize(
    ("case", "padding"),
    [
        pytest.param(case, padding, id=f"{name}-{word}")
        for name, case in CASES.items()
        for word, padding in PADDINGS.items()
        if word == "pixels" or name in ANY_PADDING
    ],
)
def test_lowerings_are_xlas(case: Case, padding: Any):
    """Result and both gradients equal `lax.conv_general_dilated`, also under vmap; sums in float32 differ in order."""
    x, kernel = random_pair(case, batch=2)

    def of(function: Any) -> Any:
        def call(x, kernel):
            return function(x, kernel, case.strides, padding, dimension_numbers=LAYOUT, feature_group_count=case.groups)

        return call

    def with_gradients(function: Any) -> Any:
        y, gradients = jax.vjp(of(function), x, kernel)
        return y, *gradients(jnp.cos(y))

    ours, xlas = with_gradients(convolve), with_gradients(jax.lax.conv_general_dilated)
    for found, expected in zip(ours, xlas, strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    jaxpr = str(jax.make_jaxpr(of(convolve))(x, kernel))
    assert ("conv_general_dilated" in jaxpr) == case.xla
    assert set(re.findall(r"feature_group_count=(\d+)", jaxpr)) <= {"1"}
    many = jax.vmap(of(convolve), in_axes=(None, 0))(x, jnp.stack([kernel, 2 * kernel]))
    np.testing.assert_allclose(many[1], 2 * many[0], rtol=0, atol=1e-5 * np.abs(many[1]).max())


@pytest.mark.parametrize("rows", [1, 2, 3])
@pytest.mark.parametrize("strides", [(1, 1), (2, 1), (3, 2)])
def test_kernel_gradient_by_bands(strides: tuple[int, int], rows: int, monkeypatch):
    """However many rows a band has, the gradient of a kernel is XLA's, of a gradient of 6 rows, too."""
    x, kernel = random_pair(Case((5 * strides[0] + 3, 9, 4), (3, 2), 5), batch=2)

    def gradient(function: Any) -> jax.Array:
        y, gradients = jax.vjp(lambda k: function(x, k, strides, "VALID", dimension_numbers=LAYOUT), kernel)
        assert y.shape[1] == 6
        return gradients(jnp.cos(y))[0]

    columns = (9 - 2) // strides[1] + 1
    monkeypatch.setattr(convolution, "BAND_BYTES", 4 * rows * 2 * columns * 3 * 2 * 4)
    found, expected = gradient(convolve), gradient(jax.lax.conv_general_dilated)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    jaxpr = str(jax.make_jaxpr(lambda: gradient(convolve))())
    assert f"length={6 // rows}" in jaxpr


# Those whose gradients are written out.
WRITTEN = [name for name in CASES if name.startswith(("depthwise", "common", "with", "many channels", "many features"))]


@pytest.mark.parametrize("name", WRITTEN)
def test_second_derivatives(name: str):
    """The gradient of the norm of a gradient is XLA's."""
    case = CASES[name]
    x, kernel = random_pair(case, batch=2)
    options: Any = {"dimension_numbers": LAYOUT, "feature_group_count": case.groups}

    def second(function: Any) -> Any:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return jnp.sum(jnp.sin(function(x, kernel, case.strides, "SAME", **options)))

        def norm(x: jax.Array, kernel: jax.Array) -> jax.Array:
            return sum((jnp.sum(g**2) for g in jax.grad(loss, argnums=(0, 1))(x, kernel)), jnp.zeros(()))

        return jax.grad(norm, argnums=(0, 1))(x, kernel)

    for found, expected in zip(second(convolve), second(jax.lax.conv_general_dilated), strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", WRITTEN)
@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_gradients_on_eight_devices(name: str, dtype: Any, tolerance: float):
    """Of a batch divided over devices, values and gradients are XLA's in float32 on one, to the bits of the format."""
    case = CASES[name]
    x, kernel = random_pair(case, 8, dtype)

    def outcome(function: Any, x: jax.Array, kernel: jax.Array) -> Any:
        def loss(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
            y = function(x, kernel, case.strides, "SAME", dimension_numbers=LAYOUT, feature_group_count=case.groups)
            return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

        gradients, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(x, kernel)
        assert {leaf.dtype for leaf in (y, *gradients)} == {x.dtype}
        return y, *gradients

    over_devices = jax.device_put(
        x, NamedSharding(jax.make_mesh((8,), ("data",), (AxisType.Auto,)), PartitionSpec("data"))
    )
    expected = outcome(jax.lax.conv_general_dilated, x.astype(jnp.float32), kernel.astype(jnp.float32))
    for found, exact in zip(outcome(convolve, over_devices, kernel), expected, strict=True):
        np.testing.assert_allclose(found.astype(jnp.float32), exact, rtol=0, atol=tolerance * np.abs(exact).max())


@pytest.mark.parametrize("options", [{"kernel_dilation": 2}, {"input_dilation": 2, "padding": 1}])
def test_dilation_is_left_to_xla(options: Any):
    """Dilated convolutions are Flax's, layer and all."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 9, 8, 3)), jnp.float32)
    layer = Conv(4, (3, 3), **options)
    variables = layer.init(jax.random.key(0), x)
    expected = layer.clone(conv_general_dilated=None).apply(variables, x)
    np.testing.assert_array_equal(layer.apply(variables, x), expected)  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_dtype(case: Case):
    """A convolution of bfloat16 arrays is bfloat16."""
    x = jax.ShapeDtypeStruct((2, *case.image), jnp.bfloat16)
    kernel = jax.ShapeDtypeStruct((*case.kernel, case.image[-1] // case.groups, case.features), jnp.bfloat16)
    options: Any = {"dimension_numbers": LAYOUT, "feature_group_count": case.groups}
    found = jax.eval_shape(lambda x, k: convolve(x, k, case.strides, "SAME", **options), x, kernel)
    assert found.dtype == jnp.bfloat16
