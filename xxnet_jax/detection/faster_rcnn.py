"""Faster R-CNN (Ren, He, Girshick and Sun: Faster R-CNN, Towards Real-Time Object Detection with Region Proposal
Networks, 2015, arXiv 1506.01497), Figure 2.

    backbone             image -> map of features, a cell for every 16 pixels
    rpn/conv             3x3 rpn_features, ReLU
    rpn/cls, rpn/reg     1x1, of each anchor: two logits, background and object, and four offsets
    proposals            anchors moved by the offsets, cut off, the best of them after non-maximum suppression
    roi                  7x7 cells of features of each proposal
    fc6, fc7             4096 each, ReLU, dropout; with a residual backbone its last stage and a mean
    cls_score, bbox_pred logits of background and classes, and four offsets for each class

                map at 800 x 600    anchors    from
    vgg16       50 x 38 x 512       17,100     block5_conv3; pooling rounds up, as Caffe does
    zfnet       50 x 38 x 256       17,100     conv5; convolutions padded by half their kernel (3 and 2 pixels)
    resnet18    50 x 38 x 256       17,100     conv4_block2, with conv5 as the head ("C4")
    resnet50    50 x 38 x 1024      17,100     conv4_block6, the same; torchvision's, the stride in the 3x3
    small       100 x 75 x 128      67,500     seven 3x3 of 16 to 128 features with batch normalization, stride 8: our
                                               own, after darknet_tiny, for training on a CPU

Both stages are trained together in one step, and the proposals that the second one learns from are constants for the
gradient: the paper's approximate joint training (section 3.2, iii). Its alternating training in four steps is not here.

Deviations:

- RoI align (He et al., 2017) in place of RoI pooling, which is `pooling="pool"`.
- Boxes are continuous: the anchors are the code's, converted.
- The two logits of an anchor lie together, where Caffe's 18 channels have those of background first.
- An object that no anchor overlaps has no best anchor; in py-faster-rcnn it had all of them.
- The paper's Caffe networks for ZF pool with a pixel of padding, which makes 51 x 39 cells.
- Normalization in a residual backbone is trained with the rest; the authors of ResNet kept it as it was.
"""

import functools
from dataclasses import dataclass, field, fields
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.initializers import normal

from xxnet_jax.boxes import pixels_to_continuous
from xxnet_jax.detection.anchors import generate_anchors, tile_anchors
from xxnet_jax.detection.boxes import FAST_RCNN_STDS, decode_boxes, encode_boxes
from xxnet_jax.detection.detector import (
    Found,
    Objects,
    check_call,
    check_classes,
    found_of_classes,
    remade,
    whole_canvas,
)
from xxnet_jax.detection.roi import roi_align, roi_pool
from xxnet_jax.detection.targets import (
    anchor_losses,
    assign_anchors,
    inside_window,
    propose,
    region_losses,
    sample_anchors,
    sample_regions,
)
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import Network, create_model
from xxnet_jax.models.alexnet import Convolution
from xxnet_jax.models.darknet import BATCH_NORM, table
from xxnet_jax.models.layers import Conv, Dtype, Stages, dropout, spatial_mean
from xxnet_jax.models.resnet import ResNet
from xxnet_jax.models.zfnet import AS_IN_ALEXNET
from xxnet_jax.precision import at_least_float32

RegionPooling = Literal["align", "pool"]


@dataclass(frozen=True)
class FasterRCNNSettings:
    """The numbers of the detector; by default the paper's and its code's. Lengths are pixels of the network's input.

    Attributes:
        ratios: height / width of the anchors.
        sizes: sides of the square anchors.
        rpn_features: of the 3x3 convolution; 512, with ZF 256.
        dense: units of the hidden layers of the head.
        dropout_rate: behind each.
        pooling: "align" or "pool".
        bins: rows and columns of a region's features.
        anchor_positive: IoU from which an anchor is an object.
        anchor_negative: IoU below which it is background.
        anchor_samples: anchors of an image that the first stage learns from.
        anchor_box_weight: lambda of equation 1. The distance of boxes is divided by the cells of the map: with 10 and
            2,400 cells a box weighs as much as a class; a smaller map needs less.
        min_size: of proposals.
        train_before, train_after: proposals before and after non-maximum suppression, in training.
        test_before, test_after: the same after it.
        proposal_iou: of that suppression.
        region_samples: regions of an image that the second stage learns from.
        region_objects: at most this part of them has an object.
        region_positive: IoU from which a region has an object.
        background_from, background_below: IoU of regions that are background; the paper of Fast R-CNN has .1, so that
            they are near objects, py-faster-rcnn's joint training 0.
        score_threshold: of detections.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
    """

    ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    sizes: tuple[float, ...] = (128.0, 256.0, 512.0)
    rpn_features: int = 512
    dense: tuple[int, ...] = (4096, 4096)
    dropout_rate: float = 0.5
    pooling: RegionPooling = "align"
    bins: int = 7
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


class FasterRCNN(nn.Module):
    """The detector; see the table above. `create_faster_rcnn` makes one by the name of its backbone.

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
    settings: FasterRCNNSettings = FasterRCNNSettings()
    stage: Network | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        content: jax.Array | None = None,
        objects: Objects | None = None,
        train: bool,
    ) -> Lesson | Found:
        """Detections, or, where the objects are given, what a loss is made of; then the stream "dropout" decides what
        is sampled, too.

        Args:
            images: float32 [batch, height, width, channels].
            content: float32 [batch, 4], the box of each image on the canvas; by default all of it.
            objects: to learn from.
            train: whether dropout and batch normalization are in training; needs objects.

        Raises:
            ValueError: training without objects, or images that the backbone does not take.
        """
        check_call(objects, train=train)
        if content is None:
            content = whole_canvas(images)
        features = self.backbone(images, train=train)
        logits, deltas = self._first_stage(features)
        anchors = jnp.asarray(self.anchors(*features.shape[1:3]))
        proposals, valid = self._proposals(anchors, logits, deltas, content, learns=objects is not None)
        if objects is None:
            return self._detections(proposals, valid, content, *self._second_stage(features, proposals, train=train))
        keys = jax.random.split(self.make_rng("dropout"), (len(images), 2))
        anchor_labels, anchor_targets = self._anchor_targets(keys[:, 0], anchors, content, objects)
        s = self.settings
        sample = functools.partial(
            sample_regions,
            count=s.region_samples,
            foreground=s.region_objects,
            positive=s.region_positive,
            negative=(s.background_from, s.background_below),
        )
        regions = jax.vmap(sample)(keys[:, 1], proposals, valid, *objects)
        said = self._second_stage(features, regions.boxes, train=train)
        return Lesson(logits, deltas, anchor_labels, anchor_targets, *said, regions.labels, regions.targets)

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
        self, anchors: jax.Array, logits: jax.Array, deltas: jax.Array, content: jax.Array, *, learns: bool
    ) -> tuple[jax.Array, jax.Array]:
        s = self.settings
        before, after = (s.train_before, s.train_after) if learns else (s.test_before, s.test_after)
        options = {"min_size": s.min_size, "before": before, "after": after, "iou_threshold": s.proposal_iou}
        logits, deltas = jax.lax.stop_gradient((logits, deltas))
        boxes = decode_boxes(deltas, anchors[None])
        return jax.vmap(functools.partial(propose, **options))(boxes, logits[..., 1] - logits[..., 0], content)

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

    def _second_stage(self, features: jax.Array, boxes: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:
        """Logits [batch, k, 1 + classes] and offsets [batch, k, classes, 4] of regions [batch, k, 4]."""
        s = self.settings
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

    def _detections(
        self, proposals: jax.Array, valid: jax.Array, content: jax.Array, logits: jax.Array, deltas: jax.Array
    ) -> Found:
        """Each class moves its proposals by its own offsets; then suppression among those of a class."""
        s = self.settings
        scores = jnp.where(valid[..., None], jax.nn.softmax(logits)[..., 1:], -jnp.inf)
        boxes = decode_boxes(deltas, proposals[:, :, None], stds=FAST_RCNN_STDS)
        return found_of_classes(
            boxes,
            scores,
            content,
            score_threshold=s.score_threshold,
            iou_threshold=s.detection_iou,
            max_detections=s.max_detections,
        )


def faster_rcnn_loss(settings: FasterRCNNSettings) -> LossFn:
    """The loss of a `Lesson`: the four parts of both stages added, those of anchors as in equation 1, the mean over
    images. Metrics are "loss" and the parts: "rpn_class", "rpn_box", "class" and "box".
    """

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        lesson: Lesson = outputs.prediction
        locations = lesson.anchor_labels.shape[1] // settings.anchors_per_cell
        of_anchors = jax.vmap(functools.partial(anchor_losses, locations=locations))
        rpn_class, rpn_box = of_anchors(*lesson[:4])
        of_class, of_box = jax.vmap(region_losses)(*lesson[4:])
        parts = {
            "rpn_class": rpn_class,
            "rpn_box": settings.anchor_box_weight * rpn_box,
            "class": of_class,
            "box": of_box,
        }
        mask = batch["mask"]
        means = {name: Mean.of(jnp.where(mask, values, 0), mask) for name, values in parts.items()}
        loss = Mean.of(jnp.where(mask, sum(parts.values()), 0), mask)
        return loss.value(), {"loss": loss, **means}

    return loss_fn


# --- Backbones -------------------------------------------------------------------------------------------------------


class LastStage(ResNet):
    """The last stage of a ResNet alone, on a map of features; its parameters have the same names."""

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        stage = len(self.depths) + 1
        for number in range(1, self.depths[-1] + 1):
            block = f"conv{stage}_block{number}"
            x = self._block(block, x, self.widths[-1], self._stride(stage, number), 0.0, train=train)
            yield f"{block}_out", x


@dataclass(frozen=True)
class Backbone:
    """A network of the zoo as the first part of a detector.

    Attributes:
        model: registered name.
        endpoint: where it ends.
        stride: of the map there, in pixels.
        knobs: of the network.
        last_stage: the rest of the network, a residual stage, is the head.
    """

    model: str
    endpoint: str
    stride: int
    knobs: dict[str, Any] = field(default_factory=dict)
    last_stage: bool = False


_ZF = (
    Convolution(96, 7, stride=2, padding=3, norm=True, pool=True),
    Convolution(256, 5, stride=2, padding=2, norm=True, pool=True),
    *AS_IN_ALEXNET,
)
_SMALL = table("3x3 16", "3x3 32", "3x3 64, 3x3 64", "3x3 128, 3x3 128, 3x3 128")
BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone("vgg16", "block5_conv3", 16, {"pool_padding": "CEIL"}),
    "zfnet": Backbone("zfnet", "conv5", 16, {"convolutions": _ZF, "pool_padding": "SAME"}),
    "resnet18": Backbone("resnet18", "conv4_block2_out", 16, last_stage=True),
    "resnet50": Backbone("resnet50.torchvision", "conv4_block6_out", 16, last_stage=True),
    "small": Backbone("darknet_tiny", "conv7", 8, {"stages": _SMALL, "norm": BATCH_NORM}),
}


def create_faster_rcnn(
    backbone: str,
    num_classes: int,
    settings: FasterRCNNSettings | None = None,
    *,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> FasterRCNN:
    """The detector on a backbone of the table above.

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
    if backbone not in BACKBONES:
        raise UnknownName("backbone", backbone, BACKBONES)
    check_classes(num_classes)
    chosen = BACKBONES[backbone]
    options: dict[str, Any] = {"num_classes": None, "dtype": dtype, "param_dtype": param_dtype}
    options |= chosen.knobs | knobs
    network = create_model(chosen.model, final_endpoint=chosen.endpoint, **options)
    stage = None
    if chosen.last_stage:
        stage = remade(create_model(chosen.model, **options), LastStage)
    return FasterRCNN(network, chosen.stride, num_classes, settings or FasterRCNNSettings(), stage, dtype, param_dtype)
