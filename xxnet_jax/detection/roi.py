"""Features of regions, all of one size: RoI pooling, RoI align, and spatial pyramid pooling. JAX, of fixed shapes.

Feature maps are [height, width, channels], or [batch, height, width, channels] with as many boxes for each image.
Padding of boxes gives numbers without meaning, finite ones if the features are: mask what is made of them.
"""

import functools
import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from xxnet_jax.arrays import Array, over_blocks, rows_within
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.precision import at_least_float32

MEMORY = 1 << 24  # bytes for what boxes need in between, at a time: larger ones leave the caches of a CPU
FARTHEST = 1 << 20  # cells, to which boxes are cut, so that integers do not overflow
PYRAMID = (4, 2, 1)  # 21 bins: He et al., 2014, section 2.3, for classification
DETECTION_PYRAMID = (6, 3, 2, 1)  # 50 bins: section 4.1, for detection

Size = int | tuple[int, int]

# --- RoI pooling -----------------------------------------------------------------------------------------------------


def roi_pool(features: Array, boxes: Array, output_size: Size = 7, spatial_scale: float = 1 / 16) -> jax.Array:
    """Maximum of each bin of each box, [n, rows, columns, channels] (Girshick, 2015, section 2.1).

    A box covers the cells from round(scale x1) to round(scale x2), both included, as in the code of Fast R-CNN and in
    torchvision's `roi_pool`; halves are rounded away from 0. Bin i of n of a length a has the cells from floor(i a / n)
    to ceil((i + 1) a / n), so bins may share cells. What of a bin lies outside the map does not count, and a bin
    without cells is 0; a box of negative size covers one cell. The bounds are computed with integers; torchvision's, in
    floating numbers, are a cell longer in rare sizes.

    The gradient of a bin goes to its largest cell; equal ones share it, where torchvision takes the first. Boxes have
    no gradient.

    Args:
        features: [height, width, channels], or with a batch in front.
        boxes: [n, 4] in pixels of the image, or [batch, n, 4]; n may be 0; outside the image too.
        output_size: bins, (rows, columns) or a number for both.
        spatial_scale: cells per pixel, 1 / stride.

    Returns:
        [n, rows, columns, channels], or with the batch in front, in the format of the features.

    Raises:
        ValueError: shapes that do not fit each other, or an output size below 1.
    """
    size = _size(output_size)
    features, boxes = _checked(features, boxes)
    scaled = at_least_float32(boxes) * spatial_scale
    whole = jnp.trunc(scaled)
    # Not floor(x + 1/2), which rounds twice.
    rounded = whole + jnp.sign(scaled) * (jnp.abs(scaled - whole) >= 0.5)
    windows = jnp.clip(jnp.nan_to_num(rounded), -FARTHEST, FARTHEST).astype(jnp.int32)
    return _of_images(functools.partial(max_over_windows, output_size=size), features, windows)


def max_over_windows(features: Array, windows: jax.Array, output_size: tuple[int, int]) -> jax.Array:
    """Maximum of each bin of windows of a map, as `roi_pool` does once its boxes are rounded.

    The maximum over any interval is that of two intervals whose length is a power of two, and these are computed once
    for all windows: each bin takes four numbers, whatever its size.

    Args:
        features: [height, width, channels].
        windows: int32 [n, 4], (first column, first row, last column, last row).
        output_size: bins, (rows, columns).

    Returns:
        [n, rows, columns, channels].
    """
    height, width, channels = features.shape
    top, below, level_y, empty_y = _bins(windows[:, 1], windows[:, 3], output_size[0], height)
    left, right, level_x, empty_x = _bins(windows[:, 0], windows[:, 2], output_size[1], width)
    table = _powers(_powers(features, 0), 2).reshape(-1, channels)  # [levels, height, levels, width, channels]
    levels_x = width.bit_length()

    def at(row: jax.Array, column: jax.Array) -> jax.Array:
        y = (level_y * height + row)[:, :, None]
        x = (level_x * width + column)[:, None, :]
        return table[y * (levels_x * width) + x]

    largest = functools.reduce(jnp.maximum, (at(top, left), at(top, right), at(below, left), at(below, right)))
    return jnp.where((empty_y[:, :, None] | empty_x[:, None, :])[..., None], 0, largest)


def _bins(first: jax.Array, last: jax.Array, bins: int, size: int) -> tuple[jax.Array, ...]:
    """The bins of intervals of cells along an axis, int32 [n, bins] each: the starts of the two intervals of length
    2^level that cover a bin, the level, and whether it has no cells."""
    length = jnp.maximum(last - first + 1, 1)[:, None]
    bin_ = jnp.arange(bins, dtype=jnp.int32)[None, :]
    start = jnp.clip(first[:, None] + bin_ * length // bins, 0, size)
    stop = jnp.clip(first[:, None] - (-(bin_ + 1) * length) // bins, 0, size)
    empty = stop <= start
    start = jnp.minimum(start, size - 1)
    level = 31 - jax.lax.clz(jnp.where(empty, 1, stop - start))
    return start, jnp.where(empty, start, stop - (1 << level)), level, empty


def _powers(features: Array, axis: int) -> jax.Array:
    """Maxima over the 1, 2, 4, ... entries along an axis from each one on, stacked before it; the end is repeated."""
    size = features.shape[axis]
    levels = [features]
    for level in range(1, size.bit_length()):
        shifted = jnp.minimum(jnp.arange(size) + (1 << (level - 1)), size - 1)
        levels.append(jnp.maximum(levels[-1], jnp.take(levels[-1], shifted, axis)))
    return jnp.stack(levels, axis)


# --- RoI align -------------------------------------------------------------------------------------------------------


def roi_align(
    features: Array,
    boxes: Array,
    output_size: Size = 7,
    spatial_scale: float = 1 / 16,
    *,
    sampling_ratio: int = 2,
    aligned: bool = True,
) -> jax.Array:
    """Mean of samples in each bin of each box, interpolated bilinearly, [n, rows, columns, channels] (He et al., 2017,
    section 3); torchvision's `roi_align`.

    The weight of a cell in a bin is a product of one of its row and one of its column, so all boxes are two products of
    matrices; so are the gradients, of the features and of the boxes. A sample outside the map is taken from its border,
    and is 0 if it is more than a cell away from it.

    Args:
        features: [height, width, channels], or with a batch in front.
        boxes: [n, 4] in pixels of the image, continuous, or [batch, n, 4]; n may be 0; outside the image too. A box
            with a coordinate that is NaN gives 0.
        output_size: bins, (rows, columns) or a number for both.
        spatial_scale: cells per pixel, 1 / stride.
        sampling_ratio: samples of a bin along each axis; 0 for as many as it has cells, rounded up, and at most as many
            as the map has. (torchvision's default is that.)
        aligned: the centre of the first cell is at half a cell; without it at 0, and boxes are widened to a cell at
            least, as in the first code. (torchvision's default is that.)

    Returns:
        [n, rows, columns, channels], or with the batch in front, in the format of the features.

    Raises:
        ValueError: shapes that do not fit each other, an output size below 1, or a sampling ratio below 0.
    """
    size = _size(output_size)
    if sampling_ratio < 0:
        raise InvalidArgument(f"sampling_ratio must be 1 or more, or 0 for as many as needed, got {sampling_ratio}")
    features, boxes = _checked(features, boxes)
    scaled = at_least_float32(boxes) * spatial_scale - (0.5 if aligned else 0.0)

    def of_image(features: Array, boxes: Array) -> jax.Array:
        height, width, channels = features.shape
        map_ = at_least_float32(features)
        samples = functools.partial(_sample_weights, sampling_ratio=sampling_ratio, aligned=aligned)
        product = functools.partial(jnp.einsum, precision="highest")

        def of_boxes(boxes: Array) -> jax.Array:
            of_rows = samples(boxes[:, 1], boxes[:, 3], size[0], height)
            of_columns = samples(boxes[:, 0], boxes[:, 2], size[1], width)
            if height > width:
                return product("nqw,npwc->npqc", of_columns, product("nph,hwc->npwc", of_rows, map_))
            return product("nph,nqhc->npqc", of_rows, product("nqw,hwc->nqhc", of_columns, map_))

        block = rows_within(MEMORY, (size[0], size[1] + min(height, width), channels))
        return over_blocks(jnp, of_boxes, boxes, block).astype(features.dtype)

    return _of_images(of_image, features, scaled)


def _sample_weights(
    low: jax.Array, high: jax.Array, bins: int, size: int, *, sampling_ratio: int, aligned: bool
) -> jax.Array:
    """Weight of each of `size` cells in each bin of intervals, along one axis, [n, bins, size]."""
    length = high - low if aligned else jnp.maximum(high - low, 1)
    step = length / bins
    most = sampling_ratio or size
    count = jnp.full_like(step, sampling_ratio) if sampling_ratio else jnp.clip(jnp.ceil(step), 0, size)
    count = jax.lax.stop_gradient(jnp.nan_to_num(count))[:, None, None]
    bin_ = jnp.arange(bins, dtype=step.dtype)[None, :, None]
    sample = jnp.arange(most, dtype=step.dtype)[None, None, :]
    place = low[:, None, None] + step[:, None, None] * (bin_ + (sample + 0.5) / jnp.maximum(count, 1))
    counts = (place >= -1) & (place <= size) & (sample < count)
    inside = jnp.clip(jnp.where(counts, place, 0), 0, size - 1)[..., None]
    cell = jnp.arange(size, dtype=step.dtype).reshape(1, 1, 1, size)
    weight = jnp.where(counts[..., None], jnp.maximum(1 - jnp.abs(inside - cell), 0), 0)
    return jnp.sum(weight, 2) / jnp.maximum(count, 1)


# --- Spatial pyramid pooling -----------------------------------------------------------------------------------------


def spatial_pyramid_pool(features: Array, levels: Sequence[int] = PYRAMID, windows: Array | None = None) -> jax.Array:
    """Maxima of 4 x 4, 2 x 2 and 1 x 1 bins of a map of any size, as one vector (He et al., 2014, section 2.2).

    Bin i of n of a length a has the cells from floor(i a / n) to ceil((i + 1) a / n): for the paper's sizes the same as
    its rule of windows and strides, which gives another number of bins for others. A map with fewer cells than bins is
    allowed: its bins share them.

    Args:
        features: [height, width, channels], or with a batch in front.
        levels: bins along an axis, of each level; DETECTION_PYRAMID has 50 bins.
        windows: int32 [n, 4] or [batch, n, 4], of the map, from `window_of_features`; the whole map without it.

    Returns:
        [(windows,) bins * channels], or with the batch in front: level by level, row by row, the channels of a bin
        together. With levels 4, 2, 1 and 256 channels 5,376 numbers.

    Raises:
        ValueError: no level or one below 1, or shapes that do not fit each other.
    """
    if not len(levels) or min(levels) < 1:
        raise InvalidArgument(f"expected levels of 1 bin or more, one at least, got {tuple(levels)}")
    features = jnp.asarray(features)
    if windows is not None:
        features, windows = _checked(features, windows)
        pooled = [
            _of_images(functools.partial(max_over_windows, output_size=(level, level)), features, windows)
            for level in levels
        ]
        return jnp.concatenate([each.reshape(*windows.shape[:-1], -1) for each in pooled], -1)
    if features.ndim not in (3, 4) or min(features.shape[-3:-1]) < 1:
        raise InvalidArgument(f"expected features [(batch,) height, width, channels], got {features.shape}")
    lead = features.shape[:-3]
    pooled = [_adaptive_max(_adaptive_max(features, level, -3), level, -2) for level in levels]
    return jnp.concatenate([each.reshape(*lead, -1) for each in pooled], -1)


def _adaptive_max(features: Array, bins: int, axis: int) -> jax.Array:
    """Maximum over each of the bins of a whole axis, which has one entry for each bin then."""
    size = features.shape[axis]
    bounds = [(i * size // bins, -(-(i + 1) * size // bins)) for i in range(bins)]
    parts = [jax.lax.slice_in_dim(features, start, stop, axis=axis % features.ndim) for start, stop in bounds]
    return jnp.stack([jnp.max(part, axis) for part in parts], axis)


def window_of_features(boxes: Array, height: int, width: int, stride: float = 16, *, offset: float = 0.0) -> jax.Array:
    """The cells of a map whose centres lie within a box, int32 [..., 4], (first column, first row, last column, last
    row) (He et al., 2014, appendix A).

    Cell x' has its centre at stride x' + offset of the image: the first one is floor((x1 - offset) / stride) + 1, the
    last ceil((x2 - offset) / stride) - 1. Where there is none between, the one in the middle is taken; windows are cut
    to the map, and a box outside has the cell of the border next to it.

    Args:
        boxes: [..., 4] in pixels of the image.
        height: of the map, in cells.
        width: of the map.
        stride: pixels per cell, the product of all strides.
        offset: centre of the first cell; 0 if each layer is padded by half its kernel.

    Raises:
        ValueError: a map without cells, a stride that is not above 0, or boxes of another shape.
    """
    boxes = at_least_float32(jnp.asarray(boxes))
    if boxes.ndim < 1 or boxes.shape[-1] != 4 or min(height, width) < 1 or stride <= 0:
        raise InvalidArgument(
            f"expected boxes [..., 4], a map of a cell or more and a stride above 0, got {boxes.shape}, {height} x "
            f"{width}, stride {stride}"
        )
    cells = jnp.nan_to_num((boxes - offset) / stride)
    first, last = jnp.floor(cells[..., :2]) + 1, jnp.ceil(cells[..., 2:]) - 1
    middle = jnp.floor((first + last) / 2)
    empty = last < first
    window = jnp.concatenate([jnp.where(empty, middle, first), jnp.where(empty, middle, last)], -1)
    largest = jnp.asarray([width - 1, height - 1] * 2, window.dtype)
    return jnp.clip(window, 0, jnp.broadcast_to(largest, window.shape)).astype(jnp.int32)


def _of_images(function: Callable[[jax.Array, jax.Array], jax.Array], features: Array, boxes: Array) -> jax.Array:
    return (jax.vmap(function) if features.ndim == 4 else function)(features, boxes)


def _size(output_size: Size) -> tuple[int, int]:
    rows, columns = (output_size, output_size) if isinstance(output_size, int) else output_size
    if min(rows, columns) < 1:
        raise InvalidArgument(f"output_size must be 1 or more, got {output_size}")
    return rows, columns


def _checked(features: Array, boxes: Array) -> tuple[jax.Array, jax.Array]:
    features, boxes = jnp.asarray(features), jnp.asarray(boxes)
    fit = features.ndim in (3, 4) and boxes.ndim == features.ndim - 1 and boxes.shape[-1] == 4
    if not fit or boxes.shape[:-2] != features.shape[:-3] or math.prod(features.shape[-3:-1]) == 0:
        raise InvalidArgument(
            "expected features [(batch,) height, width, channels] with a cell or more and boxes [(batch,) n, 4], got "
            f"{features.shape} and {boxes.shape}"
        )
    return features, boxes
