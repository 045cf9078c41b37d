"""Pooling, convolution, dropout and the network interface, against XLA's reductions, SciPy and NumPy."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.signal import correlate

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.backend import materialized
from xxnet_jax.models.layers import (
    Conv,
    Network,
    auxiliary_pool,
    avg_pool,
    check_images,
    dropout,
    max_pool,
    smallest_side,
    spatial_mean,
    windows_along,
)

SHAPE = (2, 7, 10, 3)  # odd and even, so that windows do not fit
# (window, stride, padding): disjoint, overlapping, and with gaps between windows
POOLS = [
    (2, None, "VALID"),
    (2, None, "SAME"),
    (3, 2, "VALID"),
    (3, 2, "SAME"),
    (3, 1, "SAME"),
    (2, 3, "VALID"),
    (2, None, "CEIL"),
    (3, 2, "CEIL"),
    (2, 3, "CEIL"),
    (3, 2, 1),
]
every_pool = pytest.mark.parametrize(("window", "stride", "padding"), POOLS)

# Three values only, so that nearly every window has a tie for its maximum.
ties = arrays.arrays(np.float32, SHAPE, elements=st.integers(-1, 1).map(float))


def starts(size: int, window: int, stride: int, padding: str | int) -> list[int]:
    """Where the windows begin, by the definition of the padding."""
    match padding:
        case "VALID":
            return list(range(0, size - window + 1, stride))
        case "SAME":  # TensorFlow: the smaller half of what is missing comes before
            count = -(-size // stride)
            before = max((count - 1) * stride + window - size, 0) // 2
            return [stride * i - before for i in range(count)]
        case "CEIL":  # Caffe, PyTorch: until the last pixel is covered, but none begins outside
            found = [0]
            while found[-1] + window < size and found[-1] + stride < size:
                found.append(found[-1] + stride)
            return found
        case int():
            return list(range(-padding, size + padding - window + 1, stride))
    raise AssertionError(padding)


def reduce_window(x: jax.Array, window: int, stride: int | None, padding: str | int) -> jax.Array:
    """XLA's own maximum over windows, whose gradient is its select-and-scatter."""
    step = stride or window
    pads: Any = padding
    if padding not in ("VALID", "SAME"):
        firsts = [starts(size, window, step, padding) for size in x.shape[1:3]]
        rows, columns = (
            (-first[0], max(0, first[-1] + window - size)) for first, size in zip(firsts, x.shape[1:3], strict=True)
        )
        pads = ((0, 0), rows, columns, (0, 0))
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, window, window, 1), (1, step, step, 1), pads)


@jax.jit
def with_gradients(x: jax.Array) -> Any:
    """(values, gradients) of every pool by both implementations, in one compilation."""

    def of(implementation: Any, pool: Any) -> tuple[jax.Array, jax.Array]:
        values, gradient = jax.vjp(lambda y: implementation(y, *pool), x)
        # Integer cotangents: sums over overlapping windows are exact in any order.
        return values, gradient(jnp.arange(values.size, dtype=x.dtype).reshape(values.shape) % 17 - 8)[0]

    return [(of(max_pool, pool), of(reduce_window, pool)) for pool in POOLS]


@given(ties)
def test_max_pool_is_xlas(x: np.ndarray):
    """Values and gradients equal XLA's reduce-window bit by bit, also where every window has ties."""
    for pool, (ours, xlas) in zip(POOLS, with_gradients(jnp.asarray(x)), strict=True):
        np.testing.assert_array_equal(ours[0], xlas[0], err_msg=f"values {pool}")
        np.testing.assert_array_equal(ours[1], xlas[1], err_msg=f"gradients {pool}")


def test_max_pool_of_infinities_is_xlas():
    """Windows of -inf, which is also what padding holds, and of +inf have XLA's values and gradients."""
    x = np.random.default_rng(0).choice([-np.inf, 0.0, np.inf], SHAPE, p=[0.8, 0.1, 0.1]).astype(np.float32)
    for pool, (ours, xlas) in zip(POOLS, with_gradients(jnp.asarray(x)), strict=True):
        np.testing.assert_array_equal(ours[0], xlas[0], err_msg=f"values {pool}")
        np.testing.assert_array_equal(ours[1], xlas[1], err_msg=f"gradients {pool}")


@every_pool
def test_max_pool_propagates_nan(window: int, stride: int | None, padding: Any):
    """A window with a NaN, wherever in the window it lies, is NaN, and no other window is."""
    x = np.random.default_rng(1).standard_normal(SHAPE).astype(np.float32)
    x[np.random.default_rng(2).random(SHAPE) < 0.05] = np.nan
    found = np.asarray(jax.jit(lambda y: max_pool(y, window, stride, padding))(x))
    holds_nan = reduce_window(jnp.asarray(np.isnan(x), jnp.float32), window, stride, padding)
    np.testing.assert_array_equal(np.isnan(found), np.asarray(holds_nan) == 1)
    assert np.isnan(found).any()
    assert not np.isnan(found).all()


def test_max_pool_in_bfloat16():
    """The dtype of the input is kept, and bfloat16 is compared as it is."""
    x = jnp.asarray(np.random.default_rng(3).standard_normal(SHAPE), jnp.bfloat16)
    pool = jax.jit(lambda y: max_pool(y, 3, 2, "SAME"))
    assert pool(x).dtype == jnp.bfloat16
    np.testing.assert_array_equal(pool(x), pool(x.astype(jnp.float32)).astype(jnp.bfloat16))


def test_max_pool_under_vmap():
    """Mapped over a leading axis, each element is pooled as by itself."""
    x = jnp.asarray(np.random.default_rng(4).standard_normal((3, *SHAPE)), jnp.float32)
    pool = jax.jit(lambda y: max_pool(y, 3, 2, "SAME"))
    np.testing.assert_array_equal(jax.jit(jax.vmap(pool))(x), np.stack([pool(y) for y in x]))


def windows(size: int, window: int, stride: int, padding: str | int) -> list[slice]:
    """The pixels that each window covers, padding left out."""
    return [slice(max(start, 0), start + window) for start in starts(size, window, stride, padding)]


@every_pool
@pytest.mark.parametrize("size", [SHAPE[1:3], (2, 3), (13, 6)])
def test_pools_by_their_definition(size: tuple[int, int], window: int, stride: int | None, padding: Any):
    """Each output is the mean, or the maximum, of the pixels that its window covers; padding is not counted."""
    step = stride or window
    rows, columns = (windows(side, window, step, padding) for side in size)
    assert [windows_along(side, window, step, padding) for side in size] == [len(rows), len(columns)]
    if not (rows and columns):
        return
    x = np.random.default_rng(5).normal(-3, 1, (2, *size, 3)).astype(np.float32)
    for pool, value in ((avg_pool, np.mean), (max_pool, np.max)):
        expected = np.stack([[value(x[:, i, j].astype(np.float64), axis=(1, 2)) for j in columns] for i in rows])
        found = pool(jnp.asarray(x), window, stride, padding)
        # float32 means of up to 9 numbers near -3.
        np.testing.assert_allclose(found, expected.transpose(2, 0, 1, 3), rtol=1e-5)


def test_avg_pool_keeps_nan():
    """A NaN behind a ReLU in the same program spoils the windows that see it, in its image alone."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 6, 6, 4)), jnp.float32).at[1].set(jnp.nan)
    found = jax.jit(lambda y: avg_pool(jax.nn.relu(y + y), 2))(x)
    assert (
        np.isnan(found).all(axis=(1, 2, 3)).tolist()
        == np.isnan(found).any(axis=(1, 2, 3)).tolist()
        == [False, True, False]
    )


def test_smallest_side():
    """The first image whose map has the pixels asked for; an unknown padding is refused by name."""
    assert smallest_side(lambda side: windows_along(side, 3, 2, "CEIL")) == 2
    assert smallest_side(lambda side: windows_along(side, 3, 2), 6) == 13
    with pytest.raises(InvalidArgument, match="'CEIL' or an integer, not 'HALF'"):
        windows_along(7, 3, 2, "HALF")  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_spatial_mean(dtype: Any):
    """The mean over pixels, summed in float32; NaN is kept behind a ReLU in the same program."""
    x = jnp.asarray(np.random.default_rng(0).normal(3, 1, (2, 7, 9, 5)), dtype)
    expected = np.asarray(x, np.float64).mean(axis=(1, 2))
    found = spatial_mean(x)
    assert found.dtype == dtype
    # a rounding to the 24 or 8 bits of the result, and float32 sums of 63 numbers near 3
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, rtol=1e-6 if dtype == jnp.float32 else 2**-8)
    spoilt = jax.jit(lambda y: spatial_mean(jax.nn.relu(y + y)))(x.at[1].set(jnp.nan))
    assert np.isnan(np.asarray(spoilt, np.float32)).all(axis=1).tolist() == [False, True]


def test_auxiliary_pool():
    """Maps of 14 to 16 pixels are pooled by 5x5 windows with stride 3, others by 4x4 regions that cover the map."""
    for side in (1, 3, 4, 6, 8, 14, 16, 19):
        x = np.random.default_rng(0).normal(size=(1, side, side, 2))
        if 14 <= side <= 16:
            edges = [(3 * i, 3 * i + 5) for i in range(4)]
        else:
            edges = [(int(np.floor(side * i / 4)), int(np.ceil(side * (i + 1) / 4))) for i in range(4)]
        expected = [[x[:, a:b, c:d].mean(axis=(1, 2)) for c, d in edges] for a, b in edges]
        found = np.asarray(auxiliary_pool(jnp.asarray(x, jnp.float32), 4))
        np.testing.assert_allclose(found.transpose(1, 2, 0, 3), expected, rtol=1e-5, atol=1e-6)


def test_avg_pool_of_ones_is_one():
    """The mean of ones is exactly one in every window, at the border too."""
    for pool in POOLS:
        np.testing.assert_array_equal(avg_pool(jnp.ones(SHAPE), *pool), 1)


@pytest.mark.parametrize("pool", [avg_pool, max_pool])
def test_pools_keep_the_dtype(pool: Any):
    """A pool of bfloat16 maps is bfloat16, so that the layer after it stays in the dtype of the computation."""
    for dtype in (jnp.bfloat16, jnp.float32):
        assert jax.eval_shape(lambda x: pool(x, 2, padding="SAME"), jnp.ones(SHAPE, dtype)).dtype == dtype


def test_pool_worked_example():
    """SAME pooling of 3x3 pixels by 2 pads at the bottom and at the right, as TensorFlow does."""
    x = jnp.arange(1.0, 10.0).reshape(1, 3, 3, 1)

    @jax.jit
    def pools(y: jax.Array) -> Any:
        return [
            pool(y, 2, padding=padding)[0, :, :, 0] for pool in (max_pool, avg_pool) for padding in ("SAME", "VALID")
        ]

    expected = [[[5, 6], [8, 9]], [[5]], [[3, 4.5], [7.5, 9]], [[3]]]
    for found, values in zip(pools(x), expected, strict=True):
        np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("padding", ["VALID", "SAME"])
def test_conv_is_scipys_correlation(padding: str):
    """`Conv` sums, over input maps, SciPy's 2-D cross-correlations, plus the bias; parameters are `kernel`, `bias`."""
    random = np.random.default_rng(6)
    x = random.standard_normal(SHAPE)
    kernel, bias = random.standard_normal((3, 5, 3, 4)), random.standard_normal(4)
    layer = Conv(4, (3, 5), padding=padding)
    params = {"kernel": jnp.asarray(kernel, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    shapes = jax.eval_shape(layer.init, jax.random.key(0), jnp.zeros(SHAPE))["params"]
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    mode = padding.lower()
    expected = np.stack(
        [
            [sum(correlate(image[..., i], kernel[..., i, o], mode) for i in range(3)) + bias[o] for o in range(4)]
            for image in x
        ]
    )
    found = layer.apply({"params": params}, jnp.asarray(x, jnp.float32))
    # float32 sums of 45 products of normal numbers.
    np.testing.assert_allclose(np.asarray(found), expected.transpose(0, 2, 3, 1), rtol=1e-5, atol=1e-5)


class Dropped(nn.Module):
    """Nothing but dropout."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        return dropout(x, self.rate, train=train)


@pytest.mark.parametrize("rate", [0.2, 0.5])
def test_dropout(rate: float):
    """While training a share `rate` of the units is zero, the others are divided by 1 - rate; else nothing happens."""
    x = jnp.full(20_000, 3.0)

    @jax.jit
    def dropped(seed: Any) -> Any:
        return Dropped(rate).apply({}, x, train=True, rngs={"dropout": jax.random.key(seed)})

    zero = np.asarray(dropped(0)) == 0
    np.testing.assert_allclose(dropped(0)[~zero], 3 / (1 - rate), rtol=1e-6)
    # Five standard deviations of a binomial share; the key is fixed.
    assert abs(zero.mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / x.size)
    np.testing.assert_array_equal(dropped(0), dropped(0))
    assert np.any(dropped(0) != dropped(1))
    np.testing.assert_array_equal(Dropped(rate).apply({}, x, train=False), x)


def test_materialized_is_the_identity():
    """Its value, gradient, second derivative and batches are those of x."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4)), jnp.float32)

    def cubes(x: jax.Array) -> jax.Array:
        return jnp.sum(materialized(x) ** 3)

    np.testing.assert_array_equal(materialized(x), x)
    np.testing.assert_allclose(jax.jit(jax.grad(cubes))(x), 3 * x**2, rtol=1e-6)
    np.testing.assert_allclose(jax.jvp(jax.grad(cubes), (x,), (x,))[1], 6 * x**2, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(jax.grad(cubes))(x), 3 * x**2, rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((32, 32, 1), "batch, height, width, channels"),
        ((8, 784), "batch, height, width, channels"),
        ((8, 3, 32, 32), "channels-first"),
        ((8, 1, 28, 28), "channels-first"),
        ((8, 31, 40, 3), "31x40 .*smallest size is 32x32"),
        ((8, 40, 31, 3), "40x31 .*smallest size is 32x32"),
        ((8, 0, 0, 3), "0x0 .*smallest size is 32x32"),
    ],
)
def test_check_images_refuses(shape: tuple[int, ...], message: str):
    """What is not a batch of large enough NHWC images is a ValueError that says what it should have been."""
    smallest = 28 if shape[-1] == 28 else 32
    with pytest.raises(ValueError, match=message):
        check_images(jax.ShapeDtypeStruct(shape, jnp.float32), smallest)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("shape", "smallest"),
    [
        ((1, 32, 32, 1), 32),
        ((2, 32, 99, 3), 32),
        ((2, 32, 32, 32), 32),  # a feature map
        ((0, 32, 32, 3), 32),  # no images
        ((2, 1, 1, 1), 1),  # one pixel of one channel is channels-last and channels-first alike
        ((2, 3, 3, 3), 1),
    ],
)
def test_check_images_accepts(shape: tuple[int, ...], smallest: int):
    """Batches of NHWC images of the smallest size and above pass, whatever the number of channels."""
    check_images(jax.ShapeDtypeStruct(shape, jnp.float32), smallest)  # type: ignore[arg-type]


class Pooled(Network):
    """No layers at all."""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        return self.pooled_features(images)


def test_pooled_features():
    """Features are the map itself, its mean or its maximum over pixels, and another pooling is a ValueError."""
    x = jnp.asarray(np.random.default_rng(7).standard_normal(SHAPE), jnp.float32)
    maps, mean, maximum = (np.asarray(Pooled(None, p).apply({}, x, train=False)) for p in (None, "avg", "max"))
    np.testing.assert_array_equal(maps, x)
    # float32 means of 70 normal numbers.
    np.testing.assert_allclose(mean, maps.mean(axis=(1, 2), dtype=np.float64), atol=1e-6)
    np.testing.assert_array_equal(maximum, maps.max(axis=(1, 2)))
    pooling: Any = "sum"
    with pytest.raises(ValueError, match="not 'sum'"):
        Pooled(None, pooling).apply({}, x, train=False)
