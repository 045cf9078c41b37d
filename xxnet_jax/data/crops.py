"""Which window of a photograph a training image is: pure functions of a random generator and the photograph's size.

A window is resized to the network's input in one step, which gives what scaling the whole photograph and cutting gives
(see `images.cut`). Its generator comes from the example's draw, so that seed, epoch and place decide (see `loader`).
"""

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from xxnet_jax.data.augmentation import Augmentation
from xxnet_jax.errors import InvalidArgument


class Window(NamedTuple):
    """A rectangle of an image, in pixels from its upper left corner; edges may lie between pixels."""

    left: float
    top: float
    right: float
    bottom: float


class Crop(Protocol):
    """Chooses a window."""

    def __call__(self, rng: np.random.Generator, size: tuple[int, int], wanted: tuple[int, int]) -> Window:
        """A window of an image of `size` that becomes an image of the `wanted` size; both (height, width)."""
        ...


@dataclass(frozen=True)
class ScaledCrop:
    """A window of the wanted size, each place as likely, of the photograph scaled to a random shorter side.

    Krizhevsky et al., 2012, section 4.1 (256); Simonyan and Zisserman, 2015, section 3.1 (256 to 512); He et al., 2015,
    section 3.4 (256 to 480). Every whole number of pixels is as likely.

    Attributes:
        smallest, largest: shorter side of the scaled photograph.

    Raises:
        ValueError: the smallest is less than what is wanted.
    """

    smallest: int
    largest: int

    def __call__(self, rng: np.random.Generator, size: tuple[int, int], wanted: tuple[int, int]) -> Window:
        if self.smallest < max(wanted):
            raise InvalidArgument(
                f"a window of {wanted[0]}x{wanted[1]} cannot be cut out of a photograph whose shorter side is "
                f"{self.smallest}: take a larger smallest_side or a smaller image_size"
            )
        scale = int(rng.integers(self.smallest, self.largest, endpoint=True)) / min(size)
        top, left = (
            int(rng.integers(0, math.floor(side * scale + 1e-9) - length, endpoint=True))
            for side, length in zip(size, wanted, strict=True)
        )
        edges = (left, top, left + wanted[1], top + wanted[0])
        limits = (*size[::-1], *size[::-1])
        return Window(*(min(edge / scale, limit) for edge, limit in zip(edges, limits, strict=True)))


@dataclass(frozen=True)
class AreaCrop:
    """A window with a part of the photograph's area, uniform, and an aspect ratio whose logarithm is uniform.

    Szegedy et al., Going Deeper with Convolutions, 2015, section 6: 8 % to 100 %, 3/4 to 4/3. In whole pixels, each
    place as likely. Ten draws that do not fit are followed by the largest window in the middle with an allowed ratio,
    as in torchvision.

    Attributes:
        smallest, largest: part of the area.
        aspect: the largest ratio of width to height, and of height to width.
    """

    smallest: float
    largest: float
    aspect: float

    def __call__(self, rng: np.random.Generator, size: tuple[int, int], wanted: tuple[int, int]) -> Window:
        del wanted
        rows, columns = size
        for _ in range(10):
            area = rows * columns * rng.uniform(self.smallest, self.largest)
            ratio = self.aspect ** rng.uniform(-1, 1)
            height, width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < height <= rows and 0 < width <= columns:
                top = int(rng.integers(0, rows - height, endpoint=True))
                left = int(rng.integers(0, columns - width, endpoint=True))
                return Window(left, top, left + width, top + height)
        height = min(rows, max(1, round(columns * self.aspect)))
        width = min(columns, max(1, round(rows * self.aspect)))
        top, left = (rows - height) // 2, (columns - width) // 2
        return Window(left, top, left + width, top + height)


def crop_of(augmentation: Augmentation) -> Crop | None:
    """The crop that an augmentation asks for, if it does."""
    if augmentation.largest_area:
        return AreaCrop(augmentation.smallest_area, augmentation.largest_area, augmentation.largest_aspect)
    if augmentation.largest_side:
        return ScaledCrop(round(augmentation.smallest_side), round(augmentation.largest_side))
    return None
