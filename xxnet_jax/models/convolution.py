"""Convolution: the one place where its lowering is chosen.

XLA's convolution on CPU is good at what is common and slow at the rest, up to 77 times
(`experiments/benchmarks/convolution.py`). There, what is slow is written as sums and matrix products; elsewhere all of
it is XLA's. Results differ by the order of sums alone.
"""

import contextlib
import contextvars
import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

Padding = str | Sequence[tuple[int, int]]
Pads = tuple[tuple[int, int], ...]

FEW_GROUPS = 8  # so many are computed one by one; more would compile for long
MANY_CHANNELS = 512
FEW_BYTES = 2**23  # of the array of patches
PATCH_BYTES = 2**28


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
        lowering = _cpu_lowering(inputs.shape, kernel.shape, tuple(pads), steps, options.get("feature_group_count", 1))
        if lowering is not None:
            return lowering(inputs, kernel, steps, tuple(pads))
    return jax.lax.conv_general_dilated(inputs, kernel, strides, padding, **options)


_plain = contextvars.ContextVar("_plain", default=False)


def for_cpu() -> bool:
    """Whether to write things as they run well on CPU: it is the backend, and nobody asked for `plain_operations`."""
    return jax.default_backend() == "cpu" and not _plain.get()


@contextlib.contextmanager
def plain_operations() -> Iterator[None]:
    """What is traced within has plain convolutions, pools and means on CPU too: for comparison, and to count them."""
    token = _plain.set(True)
    try:
        yield
    finally:
        _plain.reset(token)


class Conv(nn.Conv):
    """`flax.linen.Conv` (parameters `kernel`, `bias`), lowered by `convolve`."""

    conv_general_dilated: Callable[..., jax.Array] | None = convolve


Lowering = Callable[[jax.Array, jax.Array, tuple[int, int], Pads], jax.Array]


def _cpu_lowering(
    images: tuple[int, ...], kernel: tuple[int, ...], pads: Pads, strides: tuple[int, int], groups: int
) -> Lowering | None:
    """What is faster than XLA's convolution for these shapes, if anything is."""
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
    pixels = batch * math.prod(
        (side + sum(pad) - size) // step + 1
        for side, pad, size, step in zip(sides, pads, kernel[:2], strides, strict=True)
    )
    patch_bytes = 4 * pixels * height * width * channels
    if strides != (1, 1) or patch_bytes > PATCH_BYTES:
        return None
    larger_than_the_image = height >= sides[0] or width >= sides[1]
    few_weights = height * width * channels <= 32 or (channels <= 8 and patch_bytes <= FEW_BYTES)
    return _patch_product if larger_than_the_image or few_weights or channels >= MANY_CHANNELS else None


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


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _channel_by_channel(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A sum of weighted shifted images, with a kernel [height, width, 1, channels].

    Its gradients are written out: by differentiation the first would be a sum of as many padded images, slow to run and
    to compile.
    """
    taps = shifted(images, kernel.shape[:2], strides, pads)
    weights = kernel.reshape(-1, 1, 1, 1, kernel.shape[-1])
    return functools.reduce(operator.add, (tap * weight for tap, weight in zip(taps, weights, strict=True)))


def _forward(
    images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads
) -> tuple[Any, tuple[jax.Array, jax.Array]]:
    return _channel_by_channel(images, kernel, strides, pads), (images, kernel)


def _backward(
    strides: tuple[int, int], pads: Pads, saved: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[Any, jax.Array]:
    """Of the images: the gradient, its places set apart by the strides, seen by the kernel turned round.

    Of a weight: the sum of the gradient times what the weight sees, a row of the kernel at a time, so that no more than
    a row of shifted images is kept.
    """
    images, kernel = saved
    height, width = kernel.shape[:2]
    padding = []
    for pixels, k, step, (low, _), places in zip(
        images.shape[1:3], kernel.shape[:2], strides, pads, gradient.shape[1:3], strict=True
    ):
        before = k - 1 - low
        padding.append((before, pixels + k - 1 - before - (step * (places - 1) + 1), step - 1))
    apart = _padded(gradient, padding)
    of_images = _channel_by_channel(apart, kernel[::-1, ::-1], (1, 1), ((0, 0), (0, 0)))

    padded = _padded(images, ((*pads[0], 0), (*pads[1], 0)))

    def of_row(row: jax.Array) -> jax.Array:
        seen = jax.lax.dynamic_slice_in_dim(padded, row, strides[0] * (gradient.shape[1] - 1) + 1, axis=1)
        taps = shifted(seen, (1, width), strides, ((0, 0), (0, 0)))
        return jnp.stack([jnp.sum(tap * gradient, axis=(0, 1, 2)) for tap in taps])

    return of_images, jax.lax.map(of_row, jnp.arange(height)).reshape(kernel.shape)


_channel_by_channel.defvjp(_forward, _backward)


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
    layout = ("NHWC", "HWIO", "NHWC")
    return jnp.concatenate([convolve(x, k, strides, pads, dimension_numbers=layout) for x, k in towers], axis=-1)
