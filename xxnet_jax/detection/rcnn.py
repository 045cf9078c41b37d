"""R-CNN (Girshick, Donahue, Darrell and Malik: Rich feature hierarchies for accurate object detection and semantic
segmentation, 2014, arXiv 1311.2524), Figure 1.

    selective search     about 2,000 windows of an image
    warp                 each becomes an image of 227x227, see `warps`
    network              a pass for each: features of the last map (pool5) and of the last hidden layer (fc7)
    machines             a linear support vector machine for each class, see `region_learning`
    boxes                suppression in each class, then a regression moves what is left

Training is in stages, see `region_systems`: the network learns to classify images, then windows (see `crops`); then the
machines are learnt, then the regressions. Here is what is R-CNN's own: how windows get their features.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from xxnet_jax.detection.crops import CropSettings, Features, PyramidNetwork

AT_ONCE = 128  # windows


@dataclass(frozen=True)
class WarpedWindows:
    """`(image, boxes) -> features`: each window goes through the network by itself.

    Attributes:
        network: of the crops.
        variables: of it.
        inputs: makes inputs of uint8 images.
        crops: how windows are warped.
    """

    network: PyramidNetwork
    variables: dict[str, Any]
    inputs: Callable[[jax.Array], jax.Array]
    crops: CropSettings

    def __call__(self, image: np.ndarray, boxes: np.ndarray) -> Features:
        """Of windows [n, 4] of an image, uint8 [height, width, channels]; n may be 0."""
        size = self.crops.sizes[0]
        parts = []
        for start in range(0, max(len(boxes), 1), AT_ONCE):
            some = boxes[start : start + AT_ONCE]
            warped = np.zeros((AT_ONCE, size, size, image.shape[-1]), np.uint8)
            for number, box in enumerate(some):
                warped[number] = self.crops.cut(image, box, size)
            told = jax.device_get(self._describe(self.variables, warped))
            parts.append([values[: len(some)] for values in told])
        return Features(*map(np.concatenate, zip(*parts, strict=True)))

    @functools.cached_property
    def _describe(self) -> Any:
        def described(variables: Any, images: jax.Array) -> Any:
            return self.network.apply(variables, self.inputs(images), describes=True, train=False)

        return jax.jit(described)
