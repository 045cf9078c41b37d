"""The views of a photograph that the papers' test protocols show to a network; pure functions, all uint8.

A protocol scales the photograph as a whole (bilinear, antialiased), cuts squares of the network's size out of it, or
takes all of it, and may add the mirror image of each view.
"""

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from xxnet_jax.data.images import central_square, fit_image, scaled, squares
from xxnet_jax.errors import InvalidArgument

GRID = 5  # crops along each side of the photograph (Simonyan and Zisserman, 2015, section 4.3)


def mirrored(views: Iterable[np.ndarray]) -> list[np.ndarray]:
    """Each view [height, width, channels], followed by its mirror image, left for right."""
    return [image for view in views for image in (view, view[:, ::-1])]


def corners_and_centre(image: np.ndarray, size: int) -> list[np.ndarray]:
    """Five squares [size, size, channels]: upper left, upper right, lower left, lower right, middle.

    Raises:
        ValueError: the image is smaller than the square.
    """
    bottom, right = _margins(image, size)
    places = [*itertools.product((0, bottom), (0, right)), (bottom // 2, right // 2)]
    return [_square(image, top, left, size) for top, left in places]


def centre_crop(image: np.ndarray, size: int, scales: Sequence[int]) -> list[np.ndarray]:
    """One square [size, size, channels] for each scale, from the middle of the photograph scaled to that shorter side.

    Raises:
        ValueError: a scale is less than the size.
    """
    return [central_square(image, size, side) for side in scales]


def ten_crop(image: np.ndarray, size: int, scales: Sequence[int]) -> list[np.ndarray]:
    """Corners and centre of the central square of the scaled photograph, and their mirror images, for each scale.

    Krizhevsky et al., 2012, section 4.1: "the four corner patches and the center patch" of 224x224 in 256x256.

    Raises:
        ValueError: a scale is less than the size.
    """
    return mirrored(view for side in scales for view in corners_and_centre(central_square(image, side, side), size))


def googlenet_crops(image: np.ndarray, size: int, scales: Sequence[int]) -> list[np.ndarray]:
    """36 views for each scale: 3 squares x (4 corners, the centre, the square resized) x 2 mirror images.

    Szegedy et al., Going Deeper with Convolutions, 2015, section 7: of the scaled photograph the left, central and
    right square, "in the case of portrait images, we take the top, center and bottom squares"; four scales give 144.

    Raises:
        ValueError: a scale is less than the size.
    """
    return mirrored(
        view
        for side in scales
        for square in squares(image, side)
        for view in (*corners_and_centre(square, size), fit_image(square, size, size))
    )


def grid_crops(image: np.ndarray, size: int, scales: Sequence[int]) -> list[np.ndarray]:
    """50 views for each scale: a regular grid of 5x5 squares that reaches from edge to edge, and their mirror images.

    Simonyan and Zisserman, 2015, section 3.2, "multi-crop": three scales give 150.

    Raises:
        ValueError: a scale is less than the size.
    """
    views = []
    for side in scales:
        photograph = scaled(image, side)
        rows, columns = (np.rint(np.linspace(0, margin, GRID)).astype(int) for margin in _margins(photograph, size))
        views += [_square(photograph, top, left, size) for top, left in itertools.product(rows, columns)]
    return mirrored(views)


def whole(image: np.ndarray, shorter_side: int, step: int = 1) -> np.ndarray:
    """The photograph scaled to this shorter side, its longer one cut at both ends to that plus a multiple of `step`.

    With a step of 1 nothing is cut.
    """
    photograph = scaled(image, shorter_side)
    rows, columns = (shorter_side + (side - shorter_side) // step * step for side in photograph.shape[:2])
    top, left = (photograph.shape[0] - rows) // 2, (photograph.shape[1] - columns) // 2
    return photograph[top : top + rows, left : left + columns]


def _margins(image: np.ndarray, size: int) -> tuple[int, int]:
    """How far a square can be moved down and to the right."""
    rows, columns = image.shape[:2]
    if min(rows, columns) < size:
        raise InvalidArgument(f"a square of {size} cannot be cut from an image of {rows}x{columns}: take larger scales")
    return rows - size, columns - size


def _square(image: np.ndarray, top: int, left: int, size: int) -> np.ndarray:
    return image[top : top + size, left : left + size]
