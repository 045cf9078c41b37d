"""Boxes: conversions between their forms, areas, and how much two of them overlap.

A box is (x1, y1, x2, y2) in continuous coordinates, the last axis of an array [..., 4]: it reaches from x1 to x2, and
is x2 - x1 wide. With `inclusive=True` the numbers are the first and the last pixel inside, as in the annotations of
PASCAL VOC and in the code of Fast(er) R-CNN: it is x2 - x1 + 1 wide. A box whose width or height comes out negative is
empty: its area is 0, and it overlaps nothing.

NumPy or lists in, NumPy out; JAX in, JAX out, also under `jit` and `grad`, with finite gradients for boxes without
area. Floating numbers keep their format if it has 32 bits or more; integers become float64 in NumPy, float32 in JAX.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from xxnet_jax.arrays import Array, divide, namespace
from xxnet_jax.errors import InvalidArgument

# --- Other forms -----------------------------------------------------------------------------------------------------


def xyxy_to_xywh(boxes: Array, *, inclusive: bool = False) -> Array:
    """(x1, y1, x2, y2) to (x1, y1, width, height), as COCO writes boxes."""
    xp, x1, y1, x2, y2 = _numbers(boxes)
    return xp.stack([x1, y1, x2 - x1 + inclusive, y2 - y1 + inclusive], -1)


def xywh_to_xyxy(boxes: Array, *, inclusive: bool = False) -> Array:
    """(x1, y1, width, height) to (x1, y1, x2, y2)."""
    xp, x, y, width, height = _numbers(boxes)
    return xp.stack([x, y, x + width - inclusive, y + height - inclusive], -1)


def xyxy_to_cxcywh(boxes: Array, *, inclusive: bool = False) -> Array:
    """(x1, y1, x2, y2) to (x of the centre, y of the centre, width, height).

    The centre is x1 + width / 2 with pixels too (the `bbox_transform` of Fast R-CNN): pixel i reaches from i to i + 1.
    """
    xp, x, y, width, height = _numbers(xyxy_to_xywh(boxes, inclusive=inclusive))
    return xp.stack([x + width / 2, y + height / 2, width, height], -1)


def cxcywh_to_xyxy(boxes: Array, *, inclusive: bool = False) -> Array:
    """(x of the centre, y of the centre, width, height) to (x1, y1, x2, y2)."""
    xp, x, y, width, height = _numbers(boxes)
    corners = xp.stack([x - width / 2, y - height / 2, width, height], -1)
    return xywh_to_xyxy(corners, inclusive=inclusive)


def swap_xy(boxes: Array) -> Array:
    """(x1, y1, x2, y2) to (y1, x1, y2, x2), as TensorFlow writes boxes, and back."""
    xp, x1, y1, x2, y2 = _numbers(boxes)
    return xp.stack([y1, x1, y2, x2], -1)


def pixels_to_continuous(boxes: Array) -> Array:
    """(first pixel, last pixel) to continuous coordinates: (x1, y1, x2, y2) to (x1, y1, x2 + 1, y2 + 1)."""
    xp, x1, y1, x2, y2 = _numbers(boxes)
    return xp.stack([x1, y1, x2 + 1, y2 + 1], -1)


def clip(boxes: Array, height: Any, width: Any, *, inclusive: bool = False) -> Array:
    """The part of each box that lies in an image; one that lies outside becomes a line or a point of its border.

    Args:
        boxes: [..., 4].
        height: of the image, a number.
        width: of the image, a number.
        inclusive: the last pixel is width - 1, not width.
    """
    xp, x1, y1, x2, y2 = _numbers(boxes)
    right, bottom = (xp.asarray(side, x1.dtype) - inclusive for side in (width, height))
    return xp.stack([xp.clip(x1, 0, right), xp.clip(y1, 0, bottom), xp.clip(x2, 0, right), xp.clip(y2, 0, bottom)], -1)


# --- Areas and overlaps ----------------------------------------------------------------------------------------------


def area(boxes: Array, *, inclusive: bool = False) -> Array:
    """Width times height, [...]."""
    xp, *box = _numbers(boxes)
    return _area(xp, box, inclusive)


def intersection(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """Area that two boxes have in common, [...], of pairs: both arrays are [..., 4].

    Raises:
        ValueError: the shapes differ.
    """
    return _of_pairs(_intersection, a, b, inclusive)


def iou(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """Intersection over union of pairs, [...]; 0 for two boxes without area.

    Args:
        a: [..., 4].
        b: [..., 4], of the same shape.
        inclusive: coordinates are pixels, see above.

    Raises:
        ValueError: the shapes differ.
    """
    return _of_pairs(_iou, a, b, inclusive)


def pairwise_iou(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """Intersection over union of each box of `a` [..., n, 4] with each of `b` [..., m, 4], [..., n, m].

    Raises:
        ValueError: an array has no axis of boxes, or the axes before it differ.
    """
    return _of_all(_iou, a, b, inclusive)


def giou(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """Generalized intersection over union of pairs, [...], in [-1, 1] (Rezatofighi et al., 2019, algorithm 2).

    IoU - (C - U) / C, where U is the area of the union and C that of the smallest box around both. Unlike IoU it has a
    gradient where the boxes are apart. The loss is 1 - GIoU. Where C is 0, it is 0.

    Args:
        a: [..., 4].
        b: [..., 4], of the same shape.
        inclusive: coordinates are pixels, see above.

    Raises:
        ValueError: the shapes differ.
    """
    return _of_pairs(_giou, a, b, inclusive)


def pairwise_giou(a: Array, b: Array, *, inclusive: bool = False) -> Array:
    """Generalized intersection over union of each box of `a` [..., n, 4] with each of `b` [..., m, 4], [..., n, m].

    Raises:
        ValueError: an array has no axis of boxes, or the axes before it differ.
    """
    return _of_all(_giou, a, b, inclusive)


def shape_iou(a: Array, b: Array) -> Array:
    """Intersection over union of each shape of `a` [n, 2] with each of `b` [m, 2], their centres together, [n, m].

    A shape is (width, height). 1 - this is the distance by which YOLOv2 clusters boxes to anchors (Redmon and Farhadi,
    2017, section 2).

    Raises:
        ValueError: an array is not [..., 2].
    """
    xp, a, b = _floating(a, b, size=2)
    width_a, height_a, width_b, height_b = a[:, None, 0], a[:, None, 1], b[None, :, 0], b[None, :, 1]
    common = xp.minimum(width_a, width_b) * xp.minimum(height_a, height_b)
    return divide(xp, common, width_a * height_a + width_b * height_b - common, 0)


# --- The same of coordinates apart: lists of x1, y1, x2, y2, which broadcast ------------------------------------------

Corners = list[Array]


def _extent(xp: ModuleType, low: Array, high: Array, inclusive: bool) -> Array:
    return xp.maximum(high - low + inclusive, 0)


def _area(xp: ModuleType, box: Corners, inclusive: bool) -> Array:
    return _extent(xp, box[0], box[2], inclusive) * _extent(xp, box[1], box[3], inclusive)


def _intersection(xp: ModuleType, a: Corners, b: Corners, inclusive: bool) -> Array:
    low = [xp.maximum(a[i], b[i]) for i in (0, 1)]
    high = [xp.minimum(a[i], b[i]) for i in (2, 3)]
    return _area(xp, low + high, inclusive)


def _intersection_and_union(xp: ModuleType, a: Corners, b: Corners, inclusive: bool) -> tuple[Array, Array]:
    common = _intersection(xp, a, b, inclusive)
    return common, _area(xp, a, inclusive) + _area(xp, b, inclusive) - common


def _iou(xp: ModuleType, a: Corners, b: Corners, inclusive: bool) -> Array:
    return divide(xp, *_intersection_and_union(xp, a, b, inclusive), 0)


def _giou(xp: ModuleType, a: Corners, b: Corners, inclusive: bool) -> Array:
    common, union = _intersection_and_union(xp, a, b, inclusive)
    low = [xp.minimum(a[i], b[i]) for i in (0, 1)]
    high = [xp.maximum(a[i], b[i]) for i in (2, 3)]
    around = _area(xp, low + high, inclusive)
    return divide(xp, common, union, 0) - divide(xp, around - union, around, 0)


def _of_pairs(function: Callable[..., Array], a: Array, b: Array, inclusive: bool) -> Array:
    xp, a, b = _floating(a, b)
    if a.shape != b.shape:
        raise InvalidArgument(
            f"expected pairs of boxes in arrays of the same shape, got {a.shape} and {b.shape}: pairwise_iou and "
            "pairwise_giou are for each box with each"
        )
    return function(xp, _split(a), _split(b), inclusive)


def _of_all(function: Callable[..., Array], a: Array, b: Array, inclusive: bool) -> Array:
    xp, a, b = _floating(a, b)
    if a.ndim < 2 or b.ndim < 2 or a.shape[:-2] != b.shape[:-2]:
        raise InvalidArgument(f"expected boxes of shapes [..., n, 4] and [..., m, 4], got {a.shape} and {b.shape}")
    return function(xp, _split(a[..., :, None, :]), _split(b[..., None, :, :]), inclusive)


def _split(boxes: Array) -> Corners:
    return [boxes[..., i] for i in range(boxes.shape[-1])]


def _numbers(boxes: Array) -> tuple[ModuleType, Array, Array, Array, Array]:
    """The namespace, and each of the four numbers of a box."""
    xp, boxes = _floating(boxes)
    first, second, third, fourth = _split(boxes)
    return xp, first, second, third, fourth


def _floating(*arrays: Any, size: int = 4) -> tuple[Any, ...]:
    """The namespace, and the arrays as floating numbers.

    Raises:
        ValueError: the last axis of an array has not `size` numbers.
    """
    xp = namespace(*arrays)
    arrays = tuple(_at_least_float32(xp, xp.asarray(array)) for array in arrays)
    for array in arrays:
        if array.ndim == 0 or array.shape[-1] != size:
            raise InvalidArgument(f"expected an array [..., {size}], got shape {array.shape}")
    return xp, *arrays


def _at_least_float32(xp: ModuleType, array: Array) -> Array:
    if not jnp.issubdtype(array.dtype, np.floating):
        return array.astype(np.float64 if xp is np else np.float32)
    return array.astype(jnp.promote_types(array.dtype, np.float32))
