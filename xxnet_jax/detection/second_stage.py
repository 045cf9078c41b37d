"""What Fast R-CNN (Girshick, 2015, arXiv 1504.08083) makes of regions; it is the second stage of Faster R-CNN, too.

    roi                  7x7 cells of features of each region
    fc6, fc7             4096 each, ReLU, dropout; with a residual backbone its last stage and a mean
    cls_score, bbox_pred logits of background and classes, and four offsets for each class

Where regions come from is left to those who use it: `faster_rcnn` proposes them, `fast_rcnn` is given them.
"""

import functools
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import normal

from xxnet_jax.detection.boxes import FAST_RCNN_STDS, decode_boxes
from xxnet_jax.detection.detector import Found, Objects, found_of_classes
from xxnet_jax.detection.roi import DETECTION_PYRAMID, roi_align, roi_pool, spatial_pyramid_pool, window_of_features
from xxnet_jax.detection.targets import Regions, region_losses, sample_regions
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Metrics
from xxnet_jax.metrics import Mean
from xxnet_jax.models import Network
from xxnet_jax.models.layers import Dtype, dropout, spatial_mean
from xxnet_jax.precision import at_least_float32

RegionPooling = Literal["align", "pool", "pyramid"]


@dataclass(frozen=True)
class RegionSettings:
    """The numbers of the second stage; by default those of the paper of Fast R-CNN.

    Attributes:
        dense: units of the hidden layers of the head.
        dropout_rate: behind each.
        pooling: "align" or "pool"; or "pyramid", that of SPP-net.
        bins: rows and columns of a region's features, but for a pyramid's.
        levels: bins along an axis, of each level of a pyramid.
        region_samples: regions of an image that are learnt from.
        region_objects: at most this part of them has an object.
        region_positive: IoU from which a region has an object.
        background_from, background_below: IoU of regions that are background; the paper of Fast R-CNN has .1, so that
            they are near objects, py-faster-rcnn's joint training 0.
        score_threshold: of detections.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
    """

    dense: tuple[int, ...] = (4096, 4096)
    dropout_rate: float = 0.5
    pooling: RegionPooling = "align"
    bins: int = 7
    levels: tuple[int, ...] = DETECTION_PYRAMID
    region_samples: int = 128
    region_objects: float = 0.25
    region_positive: float = 0.5
    background_from: float = 0.1
    background_below: float = 0.5
    score_threshold: float = 0.05
    detection_iou: float = 0.3
    max_detections: int = 100

    def __post_init__(self) -> None:
        if self.pooling not in get_args(RegionPooling):
            raise UnknownName("pooling of regions", self.pooling, get_args(RegionPooling))
        for item in fields(self):
            if isinstance(item.default, int) and getattr(self, item.name) < 1:
                raise InvalidArgument(f"{item.name} must be 1 or more, got {getattr(self, item.name)}")
        if not self.levels or min(self.levels) < 1:
            raise InvalidArgument(f"a pyramid needs a level of 1 bin or more, got {self.levels}")


class Windows(NamedTuple):
    """Where objects may be in the images of a batch.

    Attributes:
        boxes: float32 [batch, n, 4].
        valid: bool [batch, n]; the others are padding.
    """

    boxes: jax.Array
    valid: jax.Array


class RegionLesson(NamedTuple):
    """What the second stage said of a sample of regions, and what it should have said; see `targets.Regions`.

    Attributes:
        logits, deltas: [batch, k, 1 + classes] and [batch, k, classes, 4].
        labels, targets: int32 [batch, k] and [batch, k, 4].
    """

    logits: jax.Array
    deltas: jax.Array
    labels: jax.Array
    targets: jax.Array


class SecondStage(nn.Module):
    """A backbone, and what is made of regions of its map; others say which regions these are.

    Attributes:
        backbone: a network that ends at a map of features.
        stride: of that map, in pixels.
        num_classes: without background.
        settings: numbers.
        stage: the head, or None for dense layers.
        dtype, param_dtype: of computation and parameters of what stands on the backbone.
    """

    backbone: Network
    stride: int
    num_classes: int
    settings: RegionSettings = RegionSettings()
    stage: Network | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def learn(
        self, keys: jax.Array, features: jax.Array, windows: Windows, objects: Objects, *, train: bool
    ) -> RegionLesson:
        """What is said of a sample of windows and objects; within a compact method.

        Args:
            keys: of the draws, [batch].
            features: map of the backbone.
            windows: to draw from.
            objects: to learn from.
            train: whether dropout and batch normalization are in training.
        """
        s = self.settings
        sample = functools.partial(
            sample_regions,
            count=s.region_samples,
            foreground=s.region_objects,
            positive=s.region_positive,
            negative=(s.background_from, s.background_below),
        )
        regions: Regions = jax.vmap(sample)(keys, *windows, *objects)
        said = self.describe(features, regions.boxes, train=train)
        return RegionLesson(*said, regions.labels, regions.targets)

    def describe(self, features: jax.Array, boxes: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Logits [batch, k, 1 + classes] and offsets [batch, k, classes, 4] of regions [batch, k, 4]; within a compact
        method."""
        s = self.settings
        if s.pooling == "pyramid":
            if self.stage is not None:
                raise InvalidArgument("a residual stage is a head for maps, not for a pyramid: take another backbone")
            rows, columns = features.shape[1:3]
            pooled = spatial_pyramid_pool(features, s.levels, window_of_features(boxes, rows, columns, self.stride))
        else:
            pool = roi_align if s.pooling == "align" else roi_pool
            pooled = pool(features, boxes, s.bins, 1 / self.stride)
        x = pooled.reshape(-1, *pooled.shape[2:])
        options: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        if self.stage is not None:
            x = spatial_mean(self.stage(x, train=train))
        else:
            x = x.reshape(len(x), -1)
            for number, units in enumerate(s.dense, start=6):
                x = nn.relu(nn.Dense(units, **options, name=f"fc{number}")(x))
                x = dropout(x, s.dropout_rate, train=train)
        logits = nn.Dense(1 + self.num_classes, kernel_init=normal(0.01), **options, name="cls_score")(x)
        deltas = nn.Dense(4 * self.num_classes, kernel_init=normal(0.001), **options, name="bbox_pred")(x)
        count = boxes.shape[:2]
        return (
            at_least_float32(logits).reshape(*count, 1 + self.num_classes),
            at_least_float32(deltas).reshape(*count, self.num_classes, 4),
        )

    def detections(self, windows: Windows, content: jax.Array, logits: jax.Array, deltas: jax.Array) -> Found:
        """Each class moves its windows by its own offsets; then suppression among those of a class."""
        s = self.settings
        return found_of_classes(
            decode_boxes(deltas, windows.boxes[:, :, None], stds=FAST_RCNN_STDS),
            jnp.where(windows.valid[..., None], jax.nn.softmax(logits)[..., 1:], -jnp.inf),
            content,
            score_threshold=s.score_threshold,
            iou_threshold=s.detection_iou,
            max_detections=s.max_detections,
        )


def parts_of_regions(lesson: RegionLesson) -> dict[str, jax.Array]:
    """The losses "class" and "box" of each image, float32 [batch]."""
    of_class, of_box = jax.vmap(region_losses)(*lesson)
    return {"class": of_class, "box": of_box}


def sum_of_parts(parts: dict[str, jax.Array], mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """The mean over images of the sum of the parts of a loss, and metrics: "loss" and the parts.

    Args:
        parts: float32 [batch] each.
        mask: bool [batch], which images count.
    """
    means = {name: Mean.of(jnp.where(mask, values, 0), mask) for name, values in parts.items()}
    loss = Mean.of(jnp.where(mask, sum(parts.values()), 0), mask)
    return loss.value(), {"loss": loss, **means}
