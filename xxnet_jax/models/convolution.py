"""Convolution: the one place where its lowering is chosen.

XLA's convolution on CPU is good at what is common, slow at the rest, up to 77 times, and slower at gradients than it
needs to be (`experiments/benchmarks/operations.py`). There, what is slow is written as sums and matrix products;
elsewhere all of it is XLA's. Results differ by the order of sums alone.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xxnet_jax.models.backend import for_cpu, materialized

Padding = str | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], ...]

LAYOUT = ("NHWC", "HWIO", "NHWC")
FEW_GROUPS = 8  # so many are computed one by one; more would compile for long
MANY_CHANNELS = 384
SMALL_MAP = 14 * 14  # pixels
CACHED_BYTES = 3 * 2**24
PATCH_BYTES = 2**28  # of the array of patches
BAND_BYTES = 2**22  # of that of a band of rows


def convolve(
    inputs: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding, **options: Any
) -> jax.Array:
    """`jax.lax.conv_general_dilated` of images [batch, height, width, channels] with a kernel [height, width, in, out].

    Args:
        inputs: images.
        kernel: [height, width, channels / groups, features].
        strides: of rows and columns.
        padding: "SAME", "VALID", or pixels before and after rows and columns.
        **options: further ones of `jax.lax.conv_general_dilated`.
    """
    dilations = (options.get(name) or (1,) for name in ("lhs_dilation", "rhs_dilation"))
    plain = kernel.ndim == 4 and all(set(dilation) == {1} for dilation in dilations)
    if plain and for_cpu():
        size, steps = kernel.shape[:2], (strides[0], strides[1])
        pads = jax.lax.padtype_to_pads(inputs.shape[1:3], size, steps, padding) if isinstance(padding, str) else padding
        form = _form_on_cpu(inputs.shape, kernel.shape, tuple(pads), steps, options.get("feature_group_count", 1))
        return form(inputs, kernel, steps, tuple(pads))
    return jax.lax.conv_general_dilated(inputs, kernel, strides, padding, **options)


class Conv(nn.Conv):
    """`flax.linen.Conv` (parameters `kernel`, `bias`), lowered by `convolve`."""

    conv_general_dilated: Callable[..., jax.Array] | None = convolve


Form = Callable[[jax.Array, jax.Array, tuple[int, int], Pads], jax.Array]


def _form_on_cpu(
    images: tuple[int, ...], kernel: tuple[int, ...], pads: Pads, strides: tuple[int, int], groups: int
) -> Form:
    """The form of a convolution that is fast for these shapes."""
    batch, *sides, channels = images
    height, width = kernel[:2]
    if groups == channels > 1:
        return _depthwise
    if groups > FEW_GROUPS:
        return functools.partial(_grouped_product, groups=groups)
    if groups > 1:
        return functools.partial(_group_by_group, groups=groups)
    if height == width == 1:
        return _patch_product
    patch_bytes = 4 * batch * math.prod(_map_size(images, kernel, strides, pads)) * height * width * channels
    if strides != (1, 1) or patch_bytes > PATCH_BYTES:
        return _ungrouped
    larger_than_the_image = height >= sides[0] or width >= sides[1]
    return _patch_product if larger_than_the_image else _ungrouped


def _map_size(images: Sequence[int], kernel: Sequence[int], strides: tuple[int, int], pads: Pads) -> tuple[int, int]:
    """Rows and columns of the result."""
    rows, columns = (
        (side + sum(pad) - size) // step + 1
        for side, pad, size, step in zip(images[1:3], pads, kernel[:2], strides, strict=True)
    )
    return rows, columns


def shifted(
    images: jax.Array,
    size: Sequence[int],
    strides: Sequence[int],
    pads: Sequence[tuple[int, int]],
    outside: float = 0.0,
) -> list[jax.Array]:
    """What each place of a window sees, in row order: height * width arrays [batch, rows, columns, channels].

    Args:
        images: [batch, height, width, channels].
        size: height and width of the window.
        strides: of rows and columns.
        pads: pixels before and after rows and columns.
        outside: their value.
    """
    images = _padded(images, ((*pads[0], 0), (*pads[1], 0)), outside)
    height, width = size
    rows, columns = (max(0, n - k + 1) for n, k in zip(images.shape[1:3], size, strict=True))  # where windows begin
    return [
        images[:, i : i + rows : strides[0], j : j + columns : strides[1]] for i in range(height) for j in range(width)
    ]


def _padded(images: jax.Array, padding: Sequence[tuple[int, int, int]], outside: float = 0.0) -> jax.Array:
    """Images with so many pixels before, after and between (`jax.lax.pad`) their rows and their columns."""
    return jax.lax.pad(images, jnp.array(outside, images.dtype), ((0, 0, 0), *padding, (0, 0, 0)))


def _around(
    gradient: jax.Array, images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads
) -> list[tuple[int, int]]:
    """Padding of a gradient whose places are set apart by the strides: the kernel turned round fits once a pixel."""
    padding = []
    for pixels, size, step, (low, _), places in zip(
        images.shape[1:3], kernel.shape[:2], strides, pads, gradient.shape[1:3], strict=True
    ):
        before = size - 1 - low
        padding.append((before, pixels + size - 1 - before - (step * (places - 1) + 1)))
    return padding


def _with_gradients(gradients: Callable[..., tuple[jax.Array, jax.Array]]) -> Callable[[Form], Form]:
    """Decorates a form with gradients(strides, pads, (images, kernel), gradient of the result)."""

    def decorate(convolution: Form) -> Form:
        decorated: Any = jax.custom_vjp(convolution, nondiff_argnums=(2, 3))

        def forward(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> Any:
            return convolution(images, kernel, strides, pads), (images, kernel)

        decorated.defvjp(forward, gradients)
        return decorated

    return decorate


def _xla(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, **options: Any) -> jax.Array:
    return jax.lax.conv_general_dilated(images, kernel, strides, pads, dimension_numbers=LAYOUT, **options)


def _image_gradient(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, gradient: jax.Array
) -> jax.Array:
    """The gradient, its places set apart by the strides, seen by the kernel turned round.

    With many features: a product that gives the gradients of all patches, which are added up.
    """
    features = kernel.shape[-1]
    patch_bytes = 4 * (gradient.size // features) * (kernel.size // features)
    if features >= MANY_CHANNELS and patch_bytes <= CACHED_BYTES:
        return jax.vjp(lambda x: _patch_product(x, kernel, strides, pads), images)[1](gradient)[0]
    turned = materialized(jnp.swapaxes(kernel[::-1, ::-1], 2, 3))
    around = _around(gradient, images, kernel, strides, pads)
    return _xla(gradient, turned, (1, 1), tuple(around), lhs_dilation=strides)


def _kernel_gradient(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, gradient: jax.Array
) -> jax.Array:
    """With many features a product for each place of the kernel: of what it sees and the gradient. With few a product
    for each band of rows: of what their places see and the gradient.

    XLA's own is slow at few features (`experiments/benchmarks/operations.py`), and a product with all patches at once
    would wait for memory.
    """
    features, pixels = kernel.shape[-1], math.prod(gradient.shape[1:3])
    if features >= 192 or (features >= 96 and pixels >= SMALL_MAP):
        of_features = gradient.reshape(-1, features)
        taps = shifted(images, kernel.shape[:2], strides, pads)
        products = [tap.reshape(-1, tap.shape[-1]).T @ of_features for tap in taps]
        return jnp.stack(products).reshape(kernel.shape)
    padded = _padded(images, ((*pads[0], 0), (*pads[1], 0)))
    rows = _rows_of_a_band(images, kernel, gradient)

    def of_band(number: jax.Array) -> jax.Array:
        first, seen_rows = rows * number, strides[0] * (rows - 1) + kernel.shape[0]
        seen = jax.lax.dynamic_slice_in_dim(padded, strides[0] * first, seen_rows, axis=1)
        patches = jnp.concatenate(shifted(seen, kernel.shape[:2], strides, ((0, 0), (0, 0))), axis=-1)
        band = jax.lax.dynamic_slice_in_dim(gradient, first, rows, axis=1)
        sums = jnp.promote_types(gradient.dtype, jnp.float32)
        return jnp.matmul(
            patches.reshape(-1, patches.shape[-1]).T, band.reshape(-1, features), preferred_element_type=sums
        )

    products = jax.lax.map(of_band, jnp.arange(gradient.shape[1] // rows))
    return jnp.sum(products, axis=0).astype(kernel.dtype).reshape(kernel.shape)


def _rows_of_a_band(images: jax.Array, kernel: jax.Array, gradient: jax.Array) -> int:
    """As many rows of the gradient, all in equal bands, as have patches that stay in a cache."""
    batch, rows, columns, features = gradient.shape
    row_bytes = images.dtype.itemsize * batch * columns * (kernel.size // features)
    return max(n for n in range(1, rows + 1) if rows % n == 0 and (n == 1 or n * row_bytes <= BAND_BYTES))


def _ungrouped_gradients(
    strides: tuple[int, int], pads: Pads, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, jax.Array]:
    images, kernel = saved
    return (
        _image_gradient(images, kernel, strides, pads, gradient),
        _kernel_gradient(images, kernel, strides, pads, gradient),
    )


@_with_gradients(_ungrouped_gradients)
def _ungrouped(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """XLA's convolution, or a product with patches where a small map has many channels; and so each gradient."""
    rows, columns = _map_size(images.shape, kernel.shape, strides, pads)
    if images.shape[-1] >= MANY_CHANNELS and rows * columns <= SMALL_MAP:
        return _patch_product(images, kernel, strides, pads)
    return _xla(images, kernel, strides, pads)


def _patch_product(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """One matrix product with the patches of the images."""
    taps = shifted(images, kernel.shape[:2], strides, pads)
    patches = taps[0] if len(taps) == 1 else jnp.stack(taps, axis=3)
    batch, rows, columns = patches.shape[:3]
    weights = kernel.reshape(-1, kernel.shape[-1])
    return (patches.reshape(-1, len(weights)) @ weights).reshape(batch, rows, columns, -1)


def _depthwise(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A group per channel."""
    multiplier = kernel.shape[-1] // images.shape[-1]
    repeated = jnp.repeat(images, multiplier, axis=-1) if multiplier > 1 else images
    return _channel_by_channel(repeated, kernel, strides, pads)


def _channel_by_channel_gradients(
    strides: tuple[int, int], pads: Pads, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[Any, jax.Array]:
    """Of the images: the gradient, its places set apart by the strides, seen by the kernel turned round.

    Of a weight: the sum of the gradient times what the weight sees, a row of the kernel at a time, so that no more than
    a row of shifted images is kept.
    """
    images, kernel = saved
    height, width = kernel.shape[:2]
    around = _around(gradient, images, kernel, strides, pads)
    apart = _padded(gradient, [(*pad, step - 1) for pad, step in zip(around, strides, strict=True)])
    of_images = _channel_by_channel(apart, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))

    padded = _padded(images, ((*pads[0], 0), (*pads[1], 0)))

    def of_row(row: jax.Array) -> jax.Array:
        seen = jax.lax.dynamic_slice_in_dim(padded, row, strides[0] * (gradient.shape[1] - 1) + 1, axis=1)
        taps = shifted(seen, (1, width), strides, ((0, 0), (0, 0)))
        return jnp.stack([jnp.sum(tap * gradient, axis=(0, 1, 2)) for tap in taps])

    return of_images, jax.lax.map(of_row, jnp.arange(height)).reshape(kernel.shape)


@_with_gradients(_channel_by_channel_gradients)
def _channel_by_channel(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A sum of weighted shifted images, with a kernel [height, width, 1, channels].

    Its gradients are written out: by differentiation the first would be a sum of as many padded images, slow to run and
    to compile.
    """
    taps = shifted(images, kernel.shape[:2], strides, pads)
    weights = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
    return functools.reduce(operator.add, (tap * weight for tap, weight in zip(taps, weights, strict=True)))


def _grouped_product(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, *, groups: int
) -> jax.Array:
    """One product with patches for each group, in a batch."""
    patches = jnp.stack(shifted(images, kernel.shape[:2], strides, pads), axis=3)
    batch, rows, columns, taps, channels = patches.shape
    patches = patches.reshape(-1, taps, groups, channels // groups)
    y = jnp.einsum("ptgc,tcgf->pgf", patches, kernel.reshape(taps, channels // groups, groups, -1))
    return y.reshape(batch, rows, columns, -1)


def _group_by_group(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads, *, groups: int
) -> jax.Array:
    """A convolution for each group."""
    towers = zip(jnp.split(images, groups, axis=-1), jnp.split(kernel, groups, axis=-1), strict=True)
    return jnp.concatenate([convolve(x, k, strides, pads, dimension_numbers=LAYOUT) for x, k in towers], axis=-1)
