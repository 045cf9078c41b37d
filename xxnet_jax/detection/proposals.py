"""Where to look for objects without learning: windows in a grid, images in several sizes, regions that may be letters.

Selective search has a file of its own, `grouping`.
"""

import importlib
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from xxnet_jax.boxes import area, pairwise_iou, xywh_to_xyxy
from xxnet_jax.data.images import fit_image
from xxnet_jax.detection.grouping import checked_image
from xxnet_jax.errors import InvalidArgument, XXNetError


def sliding_windows(height: int, width: int, sizes: Sequence[tuple[int, int]], stride: float = 0.5) -> np.ndarray:
    """Windows of fixed sizes in a grid over an image, that together cover it.

    In each direction the first window begins at the image's first pixel and the last ends at its last; those between
    are a stride apart, the last two maybe less.

    Args:
        height, width: of the image, in pixels.
        sizes: (height, width) of the windows; a size that is larger than the image gives none.
        stride: from one window to the next, as a part of the window's side; in whole pixels, 1 at least.

    Returns:
        Boxes, float32 [n, 4], (x1, y1, x2, y2) in continuous coordinates: size by size, row by row.

    Raises:
        ValueError: a side or the stride is not positive.
    """
    if min((height, width, *(side for size in sizes for side in size))) < 1 or not stride > 0:
        raise InvalidArgument(
            f"expected positive sides and a positive stride, got an image of {height}x{width}, windows "
            f"{list(sizes)}, stride {stride:g}"
        )
    boxes = [np.zeros((0, 4), np.float32)]
    for rows, columns in sizes:
        if rows <= height and columns <= width:
            tops, lefts = _starts(height, rows, stride), _starts(width, columns, stride)
            y, x = (grid.ravel() for grid in np.meshgrid(tops, lefts, indexing="ij"))
            boxes.append(np.stack([x, y, x + columns, y + rows], 1).astype(np.float32))
    return np.concatenate(boxes)


def _starts(length: int, side: int, stride: float) -> np.ndarray:
    last = length - side
    return np.append(np.arange(0, last, max(1, round(stride * side))), last)


def image_pyramid(image: np.ndarray, factor: float = 1.5, smallest_side: int = 32) -> list[tuple[float, np.ndarray]]:
    """An image in smaller and smaller sizes: windows of one size in all of them are windows of many sizes.

    Args:
        image: uint8 [height, width, channels].
        factor: between one size and the next, above 1.
        smallest_side: the shorter side is at least so long, but for the image itself.

    Returns:
        (scale, image) from 1 down; coordinates divided by the scale are those in the first image, to half a pixel.

    Raises:
        ValueError: the factor is not above 1, or the side not positive.
    """
    if not factor > 1 or smallest_side < 1:
        raise InvalidArgument(f"expected a factor above 1 and a side of 1 or more, got {factor:g} and {smallest_side}")
    height, width = image.shape[:2]
    levels = max(0, math.floor(math.log(min(height, width) / smallest_side, factor) + 1e-9))
    scales = [factor**-level for level in range(levels + 1)]
    return [(scale, fit_image(image, round(height * scale), round(width * scale))) for scale in scales]


class TextRegions(NamedTuple):
    """Regions of an image that may be letters.

    Attributes:
        boxes: rectangles around them, float32 [n, 4], (x1, y1, x2, y2) in continuous coordinates.
        mask: whether a pixel is in the convex hull of a region, also of one whose box was suppressed; bool [h, w].
    """

    boxes: np.ndarray
    mask: np.ndarray


def text_regions(
    image: np.ndarray,
    *,
    delta: int = 5,
    min_area: int = 10,
    max_area: int = 14400,
    max_variation: float = 0.5,
    iou_threshold: float = 0.4,
) -> TextRegions:
    """Maximally stable extremal regions, dark ones and bright ones, by OpenCV (Matas et al., 2002).

    As a threshold rises through all levels of gray, the parts below it grow. A part R(i) is stable where its variation
    |R(i) - R(i - delta)| / |R(i)| is at a minimum. OpenCV finds next to none in drawings, whose edges have few
    levels of gray.

    Args:
        image: uint8 [height, width, 1 or 3].
        delta: levels of gray.
        min_area, max_area: of a region, in pixels.
        max_variation: of a stable region.
        iou_threshold: boxes that overlap a larger one by more are left out.

    Raises:
        ValueError: not such an image.
        XXNetError: OpenCV is not installed.
    """
    try:
        cv2 = importlib.import_module("cv2")
    except ImportError as error:
        raise XXNetError("OpenCV is not installed: pip install 'xxnet_jax[detection]'") from error
    gray = np.ascontiguousarray(checked_image(image, 1)[..., 0])
    detector = cv2.MSER_create(delta=delta, min_area=min_area, max_area=max_area, max_variation=max_variation)
    regions, rectangles = detector.detectRegions(gray) if min(gray.shape) > 2 else ((), ())  # OpenCV fails on lines
    mask = np.zeros(gray.shape, np.uint8)
    for region in regions:
        cv2.fillConvexPoly(mask, cv2.convexHull(region), 1)
    boxes = xywh_to_xyxy(np.reshape(rectangles, (-1, 4))).astype(np.float32)
    return TextRegions(_distinct(boxes, iou_threshold), mask.astype(bool))


def _distinct(boxes: np.ndarray, iou_threshold: float) -> np.ndarray:
    """Boxes [n, 4] from the largest on, without those that overlap one that stays."""
    left = boxes[np.argsort(-area(boxes), kind="stable")]
    kept = [left[:0]]
    while len(left):
        kept.append(left[:1])
        left = left[pairwise_iou(left[:1], left)[0] <= iou_threshold]
    return np.concatenate(kept)
