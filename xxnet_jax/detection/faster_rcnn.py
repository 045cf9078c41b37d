"""Faster R-CNN (Ren, He, Girshick and Sun: Faster R-CNN, Towards Real-Time Object Detection with Region Proposal
Networks, 2015, arXiv 1506.01497), Figure 2.

    backbone             image -> map of features, a cell for every 16 pixels
    rpn/conv             3x3 rpn_features, ReLU
    rpn/cls, rpn/reg     1x1, of each anchor: two logits, background and object, and four offsets
    proposals            anchors moved by the offsets, cut off, the best of them after non-maximum suppression
    the rest             Fast R-CNN on the proposals, see `second_stage`

With a backbone of stride 16 (see `backbones`) 800 x 600 pixels have 17,100 anchors, with "small" 67,500.

Both stages are trained together in one step, and the proposals that the second one learns from are constants for the
gradient: the paper's approximate joint training (section 3.2, iii). Its training in four steps is in `alternating`.

Deviations:

- RoI align (He et al., 2017) in place of RoI pooling, which is `pooling="pool"`.
- Boxes are continuous: the anchors are the code's, converted.
- The two logits of an anchor lie together, where Caffe's 18 channels have those of background first.
- An object that no anchor overlaps has no best anchor; in py-faster-rcnn it had all of them.
- Normalization in a residual backbone is trained with the rest; the authors of ResNet kept it as it was.
"""

import functools
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal

from xxnet_jax.boxes import pixels_to_continuous
from xxnet_jax.detection.anchors import generate_anchors, tile_anchors
from xxnet_jax.detection.backbones import create_parts
from xxnet_jax.detection.boxes import decode_boxes, encode_boxes
from xxnet_jax.detection.detector import Found, Objects, check_call, check_classes, whole_canvas
from xxnet_jax.detection.second_stage import (
    RegionLesson,
    RegionSettings,
    SecondStage,
    Windows,
    parts_of_regions,
    sum_of_parts,
)
from xxnet_jax.detection.targets import anchor_losses, assign_anchors, inside_window, propose, sample_anchors
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.models.layers import Conv, Dtype
from xxnet_jax.precision import at_least_float32

Learns = Literal["both", "proposals", "regions"]


@dataclass(frozen=True)
class FasterRCNNSettings(RegionSettings):
    """The numbers of the detector; by default the paper's and its code's. Lengths are pixels of the network's input.

    Those of the second stage are in `RegionSettings`.

    Attributes:
        ratios: height / width of the anchors.
        sizes: sides of the square anchors.
        rpn_features: of the 3x3 convolution; 512, with ZF 256.
        anchor_positive: IoU from which an anchor is an object.
        anchor_negative: IoU below which it is background.
        anchor_samples: anchors of an image that the first stage learns from.
        anchor_box_weight: lambda of equation 1. The distance of boxes is divided by the cells of the map: with 10 and
            2,400 cells a box weighs as much as a class; a smaller map needs less.
        min_size: of proposals.
        train_before, train_after: proposals before and after non-maximum suppression, in training.
        test_before, test_after: the same after it.
        proposal_iou: of that suppression.
        learns: whose losses count: those of both stages, or of one ("proposals", "regions"), as in a step of
            alternating training.
    """

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    sizes: tuple[float, ...] = (128.0, 256.0, 512.0)
    rpn_features: int = 512
    anchor_positive: float = 0.7
    anchor_negative: float = 0.3
    anchor_samples: int = 256
    anchor_box_weight: float = 10.0
    min_size: float = 16.0
    train_before: int = 12_000
    train_after: int = 2_000
    test_before: int = 6_000
    test_after: int = 300
    proposal_iou: float = 0.7
    learns: Learns = "both"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.learns not in get_args(Learns):
            raise UnknownName("part of Faster R-CNN that learns", self.learns, get_args(Learns))
        if not self.ratios or not self.sizes:
            raise InvalidArgument("a detector needs a ratio and a size of anchors at least")

    @property
    def anchors_per_cell(self) -> int:
        return len(self.ratios) * len(self.sizes)


class Lesson(NamedTuple):
    """What the two stages said of a sample of a batch, and what they should have said; see `targets`.

    Attributes:
        anchor_logits, anchor_deltas: [batch, n, 2] and [batch, n, 4].
        anchor_labels, anchor_targets: int32 [batch, n] and [batch, n, 4].
        region_logits, region_deltas: [batch, k, 1 + classes] and [batch, k, classes, 4].
        region_labels, region_targets: int32 [batch, k] and [batch, k, 4].
    """

    anchor_logits: jax.Array
    anchor_deltas: jax.Array
    anchor_labels: jax.Array
    anchor_targets: jax.Array
    region_logits: jax.Array
    region_deltas: jax.Array
    region_labels: jax.Array
    region_targets: jax.Array


class FasterRCNN(SecondStage):
    """The detector; see the table above. `create_faster_rcnn` makes one by the name of its backbone. Attributes: see
    `SecondStage`."""

    settings: FasterRCNNSettings = FasterRCNNSettings()  # type: ignore[assignment]  # modules are frozen

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        content: jax.Array | None = None,
        objects: Objects | None = None,
        proposes: bool = False,
        train: bool,
    ) -> Lesson | Found | Windows:
        """Detections, or, where the objects are given, what a loss is made of; then the stream "dropout" decides what
        is sampled, too.

        Args:
            images: float32 [batch, height, width, channels].
            content: float32 [batch, 4], the box of each image on the canvas; by default all of it.
            objects: to learn from.
            proposes: return the proposals of the first stage, as many as in training, in place of detections.
            train: whether dropout and batch normalization are in training; needs objects.

        Raises:
            ValueError: training without objects, or images that the backbone does not take.
        """
        check_call(objects, train=train)
        content = whole_canvas(images) if content is None else content
        features = self.backbone(images, train=train)
        logits, deltas = self._first_stage(features)
        anchors = jnp.asarray(self.anchors(*features.shape[1:3]))
        many = proposes or objects is not None
        windows = self._proposals(anchors, logits, deltas, content, many=many)
        if proposes:
            return windows
        if objects is None:
            return self.detections(windows, content, *self.describe(features, windows.boxes, train=train))
        keys = jax.random.split(self.make_rng("dropout"), (len(images), 2))
        anchor_labels, anchor_targets = self._anchor_targets(keys[:, 0], anchors, content, objects)
        lesson = self.learn(keys[:, 1], features, windows, objects, train=train)
        return Lesson(logits, deltas, anchor_labels, anchor_targets, *lesson)

    def anchors(self, rows: int, columns: int) -> np.ndarray:
        """Of a map, float32 [rows * columns * anchors of a cell, 4], continuous."""
        s = self.settings
        first = generate_anchors(s.ratios, [size / self.stride for size in s.sizes], self.stride)
        return tile_anchors(pixels_to_continuous(first), rows, columns, self.stride)

    def _first_stage(self, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Logits [batch, n, 2] and offsets [batch, n, 4] of all anchors."""
        options: dict[str, Any] = {"kernel_init": normal(0.01), "dtype": self.dtype, "param_dtype": self.param_dtype}
        count = self.settings.anchors_per_cell
        x = nn.relu(Conv(self.settings.rpn_features, (3, 3), **options, name="rpn_conv")(features))
        logits, deltas = (
            Conv(numbers * count, (1, 1), **options, name=name)(x) for numbers, name in ((2, "rpn_cls"), (4, "rpn_reg"))
        )
        batch = len(features)
        return at_least_float32(logits).reshape(batch, -1, 2), at_least_float32(deltas).reshape(batch, -1, 4)

    def _proposals(
        self, anchors: jax.Array, logits: jax.Array, deltas: jax.Array, content: jax.Array, *, many: bool
    ) -> Windows:
        s = self.settings
        before, after = (s.train_before, s.train_after) if many else (s.test_before, s.test_after)
        options = {"min_size": s.min_size, "before": before, "after": after, "iou_threshold": s.proposal_iou}
        logits, deltas = jax.lax.stop_gradient((logits, deltas))
        boxes = decode_boxes(deltas, anchors[None])
        scores = logits[..., 1] - logits[..., 0]
        return Windows(*jax.vmap(functools.partial(propose, **options))(boxes, scores, content))

    def _anchor_targets(
        self, keys: jax.Array, anchors: jax.Array, content: jax.Array, objects: Objects
    ) -> tuple[jax.Array, jax.Array]:
        s = self.settings

        def of_image(
            key: jax.Array, window: jax.Array, boxes: jax.Array, present: jax.Array
        ) -> tuple[jax.Array, jax.Array]:
            labels, matched = assign_anchors(
                anchors,
                inside_window(anchors, window),
                boxes,
                present,
                positive=s.anchor_positive,
                negative=s.anchor_negative,
            )
            return sample_anchors(key, labels, s.anchor_samples), encode_boxes(boxes[matched], anchors)

        return jax.vmap(of_image)(keys, content, objects.boxes, objects.present)


def faster_rcnn_loss(settings: FasterRCNNSettings) -> LossFn:
    """The loss of a `Lesson`: the four parts of both stages added, those of anchors as in equation 1, the mean over
    images. Metrics are "loss" and the parts: "rpn_class", "rpn_box", "class" and "box". Of a stage that does not learn
    there are none.
    """

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        lesson: Lesson = outputs.prediction
        parts: dict[str, jax.Array] = {}
        if settings.learns != "regions":
            locations = lesson.anchor_labels.shape[1] // settings.anchors_per_cell
            of_anchors = jax.vmap(functools.partial(anchor_losses, locations=locations))
            rpn_class, rpn_box = of_anchors(*lesson[:4])
            parts = {"rpn_class": rpn_class, "rpn_box": settings.anchor_box_weight * rpn_box}
        if settings.learns != "proposals":
            parts |= parts_of_regions(RegionLesson(*lesson[4:]))
        return sum_of_parts(parts, batch["mask"])

    return loss_fn


def create_faster_rcnn(
    backbone: str,
    num_classes: int,
    settings: FasterRCNNSettings | None = None,
    *,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> FasterRCNN:
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
    return FasterRCNN(network, stride, num_classes, settings or FasterRCNNSettings(), stage, dtype, param_dtype)
