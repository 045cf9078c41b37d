"""Windows of an image as images of one size, the input of R-CNN (Girshick, Donahue, Darrell and Malik, Rich feature
hierarchies for accurate object detection and semantic segmentation, 2014, arXiv 1311.2524, appendix A and Figure 7).

    anisotropic           (D) the window is stretched to a square
    isotropic_context     (B) the smallest square around the window, of the image
    isotropic_fill        (C) the same square, in which what is not of the window has one colour

Around it comes context: a border that is so many pixels wide in the result, of the image or, with `isotropic_fill`, of
the colour. The paper takes 16 pixels of 227 and the first form. Where a window reaches out of the image, there is the
colour, too.
"""

import math
from typing import Literal, get_args

import numpy as np

from xxnet_jax.data.images import cut
from xxnet_jax.errors import InvalidArgument, UnknownName

Warp = Literal["anisotropic", "isotropic_context", "isotropic_fill"]


def warp(
    image: np.ndarray,
    box: np.ndarray,
    size: int,
    form: Warp = "anisotropic",
    context: float = 0.0,
    colour: np.ndarray | None = None,
) -> np.ndarray:
    """A window of an image, uint8 [size, size, channels] (bilinear, antialiased).

    Args:
        image: uint8 [height, width, channels].
        box: [4], (x1, y1, x2, y2) in pixels, continuous; maybe outside. One without area is taken for a pixel.
        size: side of the result.
        form: see above.
        context: border in pixels of the result, less than half of it.
        colour: of what is missing, uint8 [channels]: by default the mean of the window. (The paper has the mean of the
            training images, which then is subtracted.)

    Raises:
        ValueError: unknown form, a size below 1, or more context than there is room for.
    """
    if form not in get_args(Warp):
        raise UnknownName("warp", form, get_args(Warp))
    if size < 1 or not 0 <= 2 * context < size:
        raise InvalidArgument(f"context must be in [0, size / 2), got {context:g} and size {size}")
    inside = _pixels(image, box)
    fill: np.ndarray = np.rint(inside.mean((0, 1))).astype(np.uint8) if colour is None else colour
    x1, y1, x2, y2 = map(float, box)
    centre, sides = ((x1 + x2) / 2, (y1 + y2) / 2), np.maximum((x2 - x1, y2 - y1), 1.0)
    source, origin = image, (0, 0)
    if form != "anisotropic":
        if form == "isotropic_fill":
            source, origin = inside, _first_pixel(image, box)
        sides = np.full(2, sides.max())
    half = sides / 2 * size / (size - 2 * context)
    window = (centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1])
    return _cut_anywhere(source, origin, window, size, fill)


def _first_pixel(image: np.ndarray, box: np.ndarray) -> tuple[int, int]:
    """Column and row of the first whole pixel of a window that is in the image."""
    rows, columns = image.shape[:2]
    left, top = (round(float(edge)) for edge in box[:2])
    return min(max(left, 0), columns - 1), min(max(top, 0), rows - 1)


def _pixels(image: np.ndarray, box: np.ndarray) -> np.ndarray:
    """The whole pixels of a window in the image, one at least."""
    left, top = _first_pixel(image, box)
    right, bottom = (round(float(edge)) for edge in box[2:])
    return image[top : max(bottom, top + 1), left : max(right, left + 1)]


def _cut_anywhere(
    source: np.ndarray,
    origin: tuple[int, int],
    window: tuple[float, float, float, float],
    size: int,
    colour: np.ndarray,
) -> np.ndarray:
    """A window of a plane of one colour on which the source lies with its first pixel at `origin`."""
    x1, y1, x2, y2 = window
    # Pixels around the window that take part where it is scaled down.
    margin = [math.ceil(max(1.0, length / size)) + 1 for length in (x2 - x1, y2 - y1)]
    left, top = math.floor(x1) - margin[0], math.floor(y1) - margin[1]
    right, bottom = math.ceil(x2) + margin[0], math.ceil(y2) + margin[1]
    plane = np.empty((bottom - top, right - left, source.shape[-1]), np.uint8)
    plane[:] = colour
    column, row = origin
    rows, columns = source.shape[:2]
    low = max(left, column), max(top, row)
    high = min(right, column + columns), min(bottom, row + rows)
    if low[0] < high[0] and low[1] < high[1]:
        part = source[low[1] - row : high[1] - row, low[0] - column : high[0] - column]
        plane[low[1] - top : high[1] - top, low[0] - left : high[0] - left] = part
    return cut(plane, (x1 - left, y1 - top, x2 - left, y2 - top), size, size)
