"""Fast R-CNN (Girshick: Fast R-CNN, 2015, arXiv 1504.08083), Figure 1.

    backbone             image -> map of features, once for all windows
    windows              given, by selective search or another detector's first stage
    the rest             see `second_stage`: features of each window, dense layers, a softmax and offsets of boxes

All of it is trained in one stage, with 64 to 128 windows of each of a few images (section 2.3). The paper's networks
are "vgg16" and smaller ones; see `backbones`.

Deviations:

- RoI align (He et al., 2017) in place of RoI pooling, which is `pooling="pool"`.
- Of the windows, the objects themselves are among those that are learnt from, as in the paper's code.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from xxnet_jax.detection.backbones import create_parts
from xxnet_jax.detection.detector import Found, Objects, check_call, check_classes, whole_canvas
from xxnet_jax.detection.second_stage import (
    RegionLesson,
    RegionSettings,
    SecondStage,
    Windows,
    parts_of_regions,
    sum_of_parts,
)
from xxnet_jax.losses import Batch, Metrics, Outputs
from xxnet_jax.models.layers import Dtype


class FastRCNN(SecondStage):
    """The detector; `create_fast_rcnn` makes one by the name of its backbone. Attributes: see `SecondStage`."""

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        content: jax.Array | None = None,
        windows: Windows | None = None,
        objects: Objects | None = None,
        train: bool,
    ) -> RegionLesson | Found:
        """Detections, or, where the objects are given, what a loss is made of; then the stream "dropout" decides what
        is sampled, too.

        Args:
            images: float32 [batch, height, width, channels].
            content: float32 [batch, 4], the box of each image on the canvas; by default all of it.
            windows: where to look; by default at the whole image.
            objects: to learn from.
            train: whether dropout and batch normalization are in training; needs objects.

        Raises:
            ValueError: training without objects, or images that the backbone does not take.
        """
        check_call(objects, train=train)
        content = whole_canvas(images) if content is None else content
        if windows is None:
            windows = Windows(content[:, None], jnp.ones((len(images), 1), bool))
        features = self.backbone(images, train=train)
        if objects is None:
            return self.detections(windows, content, *self.describe(features, windows.boxes, train=train))
        keys = jax.random.split(self.make_rng("dropout"), len(images))
        return self.learn(keys, features, windows, objects, train=train)


def fast_rcnn_loss(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
    """The loss of a `RegionLesson` (equation 1 of the paper, lambda 1), the mean over images. Metrics are "loss",
    "class" and "box"."""
    del rng
    return sum_of_parts(parts_of_regions(outputs.prediction), batch["mask"])


def create_fast_rcnn(
    backbone: str,
    num_classes: int,
    settings: RegionSettings | None = None,
    *,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> FastRCNN:
    """The detector on a backbone.

    Args:
        backbone: a name of `BACKBONES`.
        num_classes: without background.
        settings: by default the paper's.
        dtype: of the computation.
        param_dtype: of the parameters.
        **knobs: of the backbone's network, in place of the table's.

    Raises:
        ValueError: no such backbone or knob, or no class.
    """
    check_classes(num_classes)
    network, stride, stage = create_parts(backbone, dtype=dtype, param_dtype=param_dtype, **knobs)
    return FastRCNN(network, stride, num_classes, settings or RegionSettings(), stage, dtype, param_dtype)
