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
    padding = ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0))
    images = jax.lax.pad(images, jnp.array(outside, images.dtype), padding)
    height, width = size
    rows, columns = (max(0, n - k + 1) for n, k in zip(images.shape[1:3], size, strict=True))  # where windows begin
    return [
        images[:, i : i + rows : strides[0], j : j + columns : strides[1]] for i in range(height) for j in range(width)
    ]


def _patch_product(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """One matrix product with the patches of the images."""
    taps = shifted(images, kernel.shape[:2], strides, pads)
    patches = taps[0] if len(taps) == 1 else jnp.stack(taps, axis=3)
    batch, rows, columns = patches.shape[:3]
    weights = kernel.reshape(-1, kernel.shape[-1])
    return (patches.reshape(-1, len(weights)) @ weights).reshape(batch, rows, columns, -1)


def _depthwise(images: jax.Array, kernel: jax.Array, strides: tuple[int, int], pads: Pads) -> jax.Array:
    """A group per channel: a sum of weighted shifted images."""
    channels = images.shape[-1]
    weights = kernel.reshape(-1, 1, 1, 1, channels, kernel.shape[-1] // channels)
    taps = shifted(images, kernel.shape[:2], strides, pads)
    y = functools.reduce(operator.add, (tap[..., None] * weight for tap, weight in zip(taps, weights, strict=True)))
    return y.reshape(*y.shape[:3], -1)


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
