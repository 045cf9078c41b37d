"""SPP-net (He, Zhang, Ren and Sun: Spatial Pyramid Pooling in Deep Convolutional Networks for Visual Recognition, 2014,
arXiv 1406.4729), section 4.

    convolutions         once over the image, in each of a few sizes
    windows              of selective search; each in the size of the image in which its area is nearest to 224x224
    pyramid              maxima of 6x6 + 3x3 + 2x2 + 1x1 bins of its part of the map
    the rest             as R-CNN: dense layers, support vector machines, suppression, moved boxes

Training is in stages, see `region_systems`. The classifier, which takes images of any size, is the network of `crops`
with several levels; with several `sizes` that is its multi-size training. Then the dense layers are fine-tuned on
windows, the convolutions stay as they are (section 4.1): that is Fast R-CNN with `pooling="pyramid"` and a frozen
backbone, of whose outputs the machines take the place. Here is what is SPP-net's own: how windows get their features.
"""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from xxnet_jax.boxes import area
from xxnet_jax.data.images import fit_image
from xxnet_jax.detection.crops import Features, PyramidNetwork
from xxnet_jax.errors import InvalidArgument

SCALES = (480, 576, 688, 864, 1200)  # shorter sides of the paper
NOMINAL = 224
FEWEST = 64  # windows that are described together


def nearest_scales(boxes: np.ndarray, factors: Sequence[float], nominal: float = NOMINAL) -> np.ndarray:
    """The scale in which the number of pixels of each box is nearest to nominal x nominal, int [n] (section 4.1).

    Args:
        boxes: [n, 4], in pixels of the image.
        factors: by which the image is scaled; of equally near ones the first.
        nominal: side of the square.
    """
    scaled = area(boxes)[:, None] * np.square(np.asarray(factors, np.float64))[None]
    return np.abs(scaled - nominal**2).argmin(1)


@dataclass(frozen=True)
class MappedWindows:
    """`(image, boxes) -> features`: the convolutions see the image once in each size, windows are parts of the maps.

    Attributes:
        network: with a pyramid.
        variables: of it; others are passed over.
        inputs: makes inputs of uint8 images.
        scales: shorter sides of the image, in pixels.
        nominal: see `nearest_scales`.
    """

    network: PyramidNetwork
    variables: dict[str, Any]
    inputs: Callable[[jax.Array], jax.Array]
    scales: tuple[int, ...] = SCALES
    nominal: float = NOMINAL

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> Features:
        """Of windows [n, 4] of an image, uint8 [height, width, channels]; n may be 0."""
        height, width = image.shape[:2]
        factors = [scale / min(height, width) for scale in self.scales]
        chosen = nearest_scales(boxes, factors, self.nominal)
        places, parts = [], []
        for number in np.unique(chosen) if len(boxes) else (0,):
            sides = [max(1, round(side * factors[number])) for side in (height, width)]
            rows = np.flatnonzero(chosen == number)
            scale = np.array([sides[1] / width, sides[0] / height] * 2, np.float32)
            # Powers of two, so that what is compiled sees few shapes.
            room = max(FEWEST, 1 << (len(rows) - 1).bit_length()) if len(rows) else FEWEST
            windows = np.zeros((1, room, 4), np.float32)
            windows[0, : len(rows)] = boxes[rows] * scale
            scaled = fit_image(image, sides[0], sides[1])[None]
            told = jax.device_get(self._describe(self.variables, scaled, windows))
            places.append(rows)
            parts.append([values[0, : len(rows)] for values in told])
        order = np.argsort(np.concatenate(places))
        return Features(*(np.concatenate(values)[order] for values in zip(*parts, strict=True)))

    @functools.cached_property
    def _describe(self) -> Any:
        def described(variables: Any, images: jax.Array, windows: jax.Array) -> Any:
            options: Any = {"windows": windows, "describes": True, "train": False}
            return self.network.apply(variables, self.inputs(images), **options)

        return jax.jit(described)


def check_scales(scales: tuple[int, ...], nominal: float) -> None:
    """Refuse sizes that make no sense."""
    if not scales or min(scales) < 1 or not nominal > 0:
        raise InvalidArgument(f"expected shorter sides of 1 pixel or more, one at least, got {scales} and {nominal:g}")
