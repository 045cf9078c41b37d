"""Boxes in detectors: regression targets and back, and which boxes to keep. Conversions, areas and overlaps are those
of `xxnet_jax.boxes`.

A box is (x1, y1, x2, y2) in continuous coordinates; with `inclusive=True`, first and last pixel. NumPy in, NumPy out;
JAX in, JAX out.
"""

import math
from collections.abc import Sequence

from xxnet_jax.arrays import Array, namespace
from xxnet_jax.boxes import clip as clip_boxes
from xxnet_jax.boxes import cxcywh_to_xyxy, xyxy_to_cxcywh, xyxy_to_xywh
from xxnet_jax.boxes import pairwise_giou as giou_matrix
from xxnet_jax.boxes import pairwise_iou as iou_matrix
from xxnet_jax.errors import InvalidArgument

__all__ = ["clip_boxes", "decode_boxes", "encode_boxes", "giou_matrix", "inside_image", "iou_matrix", "valid_boxes"]

NO_MEANS, UNIT_STDS = (0.0, 0.0, 0.0, 0.0), (1.0, 1.0, 1.0, 1.0)
FAST_RCNN_STDS = (0.1, 0.1, 0.2, 0.2)  # of the second stage's targets, by py-faster-rcnn's configuration
MAX_LOG_SCALE = math.log(1000 / 16)


def encode_boxes(
    boxes: Array,
    anchors: Array,
    *,
    means: Sequence[float] = NO_MEANS,
    stds: Sequence[float] = UNIT_STDS,
    inclusive: bool = False,
) -> Array:
    """What a regressor has to say to move an anchor to its box (Girshick et al., 2014, equations 6 to 9), [..., 4].

    ((x - x_a) / w_a, (y - y_a) / h_a, log(w / w_a), log(h / h_a)) of centres and sizes, less the means, in parts of
    the standard deviations. If the box or the anchor has no area, as padding does, there is no such number: before
    the normalization all four are 0, with gradients 0.

    Args:
        boxes: [..., 4].
        anchors: [..., 4], of as many axes; axes of length 1 are repeated.
        means: of the four targets (Fast R-CNN's normalization).
        stds: of the four targets.
        inclusive: coordinates are pixels, as in the code of Fast and Faster R-CNN.

    Raises:
        ValueError: shapes that do not fit each other, not four means or stds, or a std that is not above 0.
    """
    xp = namespace(boxes, anchors)
    box, anchor = (xyxy_to_cxcywh(xp.asarray(array), inclusive=inclusive) for array in (boxes, anchors))
    _check_pairs(box, anchor)
    proper = ((box[..., 2:] > 0) & (anchor[..., 2:] > 0)).all(-1, keepdims=True)
    size, anchor_size = (xp.where(proper, array[..., 2:], 1) for array in (box, anchor))
    shift = xp.where(proper, box[..., :2] - anchor[..., :2], 0) / anchor_size
    deltas = xp.concatenate([shift, xp.log(size / anchor_size)], -1)
    mean, std = _normalization(deltas, means, stds)
    return (deltas - mean) / std


def decode_boxes(
    deltas: Array,
    anchors: Array,
    *,
    means: Sequence[float] = NO_MEANS,
    stds: Sequence[float] = UNIT_STDS,
    max_log_scale: float | None = MAX_LOG_SCALE,
    inclusive: bool = False,
) -> Array:
    """Anchors moved by what a regressor says (Girshick et al., 2014, equations 1 to 4), [..., 4]; inverse of
    `encode_boxes`.

    With `inclusive`, py-faster-rcnn's own decoder forgets to take a pixel off, so its x2 and y2 are larger by 1: there
    encoding and decoding do not come back. Here they do.

    Args:
        deltas: [..., 4].
        anchors: [..., 4], of as many axes; axes of length 1 are repeated: [n, 1, 4] for a regressor per class.
        means: of the four targets.
        stds: of the four targets.
        max_log_scale: the largest log(w / w_a) and log(h / h_a); larger ones are cut to it, so that exp does not
            overflow. log(1000 / 16) is Detectron's and torchvision's; None is R-CNN's to Faster R-CNN's, without.
        inclusive: coordinates are pixels.

    Raises:
        ValueError: shapes that do not fit each other, not four means or stds, or a std that is not above 0.
    """
    xp = namespace(deltas, anchors)
    anchor = xyxy_to_cxcywh(xp.asarray(anchors), inclusive=inclusive)
    deltas = xp.asarray(deltas)
    _check_pairs(deltas, anchor)
    mean, std = _normalization(anchor, means, stds)
    deltas = deltas * std + mean
    scale = deltas[..., 2:] if max_log_scale is None else xp.minimum(deltas[..., 2:], max_log_scale)
    centre = anchor[..., :2] + deltas[..., :2] * anchor[..., 2:]
    return cxcywh_to_xyxy(xp.concatenate([centre, anchor[..., 2:] * xp.exp(scale)], -1), inclusive=inclusive)


def valid_boxes(boxes: Array, *, min_size: float = 0.0, min_area: float = 0.0, inclusive: bool = False) -> Array:
    """Which boxes can be used, bool [...]: finite, of positive area, and not smaller than asked for.

    Args:
        boxes: [..., 4].
        min_size: least width and least height (Faster R-CNN's proposals: 16 pixels of the unscaled image).
        min_area: least area.
        inclusive: coordinates are pixels.
    """
    xp = namespace(boxes)
    xywh = xyxy_to_xywh(boxes, inclusive=inclusive)
    size = xywh[..., 2:]
    large = ((size > 0) & (size >= min_size)).all(-1) & (size[..., 0] * size[..., 1] >= min_area)
    return large & xp.isfinite(xywh).all(-1)


def inside_image(boxes: Array, height: Array, width: Array, *, border: float = 0.0, inclusive: bool = False) -> Array:
    """Which boxes lie in an image and a border around it, bool [...]; Faster R-CNN trains on such anchors alone.

    Args:
        boxes: [..., 4].
        height: of the image, a number.
        width: of the image, a number.
        border: by how much a box may reach out.
        inclusive: the last pixel is width - 1, not width.
    """
    xp = namespace(boxes)
    boxes = xp.asarray(boxes)
    last = xp.stack([xp.asarray(side) - inclusive + border for side in (width, height)])
    return ((boxes[..., :2] >= -border) & (boxes[..., 2:] <= xp.broadcast_to(last, boxes[..., 2:].shape))).all(-1)


def _check_pairs(boxes: Array, anchors: Array) -> None:
    a, b = boxes.shape, anchors.shape
    fit = len(a) == len(b) and all(m == n or 1 in (m, n) for m, n in zip(a, b, strict=True))
    if not fit or a[-1:] != (4,) or b[-1:] != (4,):
        raise InvalidArgument(
            f"expected arrays [..., 4] of as many axes, with the same lengths or 1, got {a} and anchors {b}"
        )


def _normalization(like: Array, means: Sequence[float], stds: Sequence[float]) -> tuple[Array, Array]:
    """Means and stds as arrays that broadcast with `like`."""
    if len(means) != 4 or len(stds) != 4 or not all(std > 0 for std in stds):
        raise InvalidArgument(f"expected four means and four stds above 0, got {means} and {stds}")
    xp = namespace(like)
    shape = (1,) * (like.ndim - 1) + (4,)
    return xp.asarray(means, like.dtype).reshape(shape), xp.asarray(stds, like.dtype).reshape(shape)
