"""YOLO v2 (Redmon and Farhadi: YOLO9000: Better, Faster, Stronger, 2016, arXiv 1612.08242, section 2).

    darknet19                              darknet_tiny                       small
    Darknet-19 without its classifier      its first six convolutions         nine convolutions of 16 to 256 features
    head1, head2    3x3 1024, 3x3 1024     pooled with stride 1, then         3x3 128
                                             3x3 1024, 3x3 1024
    passthrough     1x1 64 of conv13,                                         1x1 32 of conv6
                      2x2 pixels to channels
    fused           3x3 1024 of both                                          3x3 192 of both
    prediction      1x1 anchors x (5 + classes)

                    parameters, VOC    at                  from
    darknet19       50,655,389         416: 13x13x5        the authors' yolov2-voc.cfg
                    67,137,565                             the paper's, without the 1x1 64 (`squeezed=0`)
    darknet_tiny    15,861,773         416: 13x13x5        their yolov2-tiny-voc.cfg
    small                              320x256: 20x16x5    our own, after both, stride 16, for training on a CPU

All convolutions but the last one are normalized, with max(x, .1 x) behind. For each cell of the map and each anchor the
last one gives (t_x, t_y, t_w, t_h, t_o) and a logit for each class. With the cell's corner (c_x, c_y) and the anchor's
sides (p_w, p_h), all in cells, the box has the centre (sigmoid(t_x) + c_x, sigmoid(t_y) + c_y) and the sides
(p_w exp(t_w), p_h exp(t_h)); its confidence is sigmoid(t_o), and the score of a class is that times its softmax.

`location="anchor"` is what the paper had before, and Faster R-CNN has: the centre is that of the cell, moved by t_x p_w
and t_y p_h, wherever that leads. (The paper writes minus for plus.)

`reorganization` says which channel a pixel of the passthrough becomes. "darknet" is what Darknet's layer does, which
takes the map for one of a quarter of the channels and twice the sides; its weights need that. "space_to_depth" keeps
the four pixels of a place together, pixel by pixel in the order of rows.

Deviations:

- The last convolution begins near zero, so that the boxes begin as the anchors.
- exp(t) is cut off at 62.5, as in Faster R-CNN.
- Epsilon of the normalization is added to the variance (1e-5), as by Darknet on GPU; on CPU it adds 1e-6 to the root.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.linen.initializers import normal

from xxnet_jax.boxes import cxcywh_to_xyxy, iou, shape_iou, xyxy_to_cxcywh
from xxnet_jax.detection.anchors import YOLO_V2_ANCHORS
from xxnet_jax.detection.boxes import MAX_LOG_SCALE, valid_boxes
from xxnet_jax.detection.detector import (
    Found,
    Objects,
    check_call,
    check_classes,
    found_of_classes,
    remade,
    whole_canvas,
)
from xxnet_jax.detection.targets import best_objects
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import create_model
from xxnet_jax.models.darknet import BATCH_NORM, INITIALIZERS, TINY, Darknet, table
from xxnet_jax.models.layers import Conv, ConvUnit, Dtype, check_images, max_pool
from xxnet_jax.precision import at_least_float32

Location = Literal["direct", "anchor"]
Reorganization = Literal["darknet", "space_to_depth"]
PRIOR_WEIGHT = 0.01  # of the boxes that no object is matched with, at the beginning


@dataclass(frozen=True)
class YoloV2Settings:
    """The numbers of the detector; by default those of the authors' yolov2-voc.cfg.

    Attributes:
        anchors: (width, height) of each, in cells of the map.
        location: "direct" or "anchor", see the top of this file.
        coordinate_weight: of boxes, times 2 - the part of the canvas that the object takes.
        object_weight: of the confidence where there is an object.
        background_weight: of the confidence where there is none.
        class_weight: of the classes.
        ignore_iou: where there is no object, but the predicted box overlaps one by more than this, the confidence is
            not learnt from.
        rescore: the confidence of an object is to be the IoU of its predicted box, not 1.
        prior_images: until so many images were seen, boxes without an object are drawn to the anchors.
        score_threshold: of detections.
        detection_iou: of the suppression among detections of a class.
        max_detections: of an image.
    """

    anchors: tuple[tuple[float, float], ...] = YOLO_V2_ANCHORS["voc"]
    location: Location = "direct"
    coordinate_weight: float = 1.0
    object_weight: float = 5.0
    background_weight: float = 1.0
    class_weight: float = 1.0
    ignore_iou: float = 0.6
    rescore: bool = True
    prior_images: int = 12_800
    score_threshold: float = 0.005
    detection_iou: float = 0.45
    max_detections: int = 100

    def __post_init__(self) -> None:
        if self.location not in get_args(Location):
            raise UnknownName("location of boxes", self.location, get_args(Location))
        if not self.anchors or not all(len(anchor) == 2 and min(anchor) > 0 for anchor in self.anchors):
            raise InvalidArgument(f"expected anchors (width, height) above 0, one at least, got {self.anchors}")
        if self.max_detections < 1:
            raise InvalidArgument(f"max_detections must be 1 or more, got {self.max_detections}")


class Lesson(NamedTuple):
    """What the network said of a batch, and the objects that were there.

    Attributes:
        predictions: float32 [batch, rows, columns, anchors, 5 + classes]: t_x, t_y, t_w, t_h, t_o and logits.
        objects: with boxes in cells.
    """

    predictions: jax.Array
    objects: Objects


# --- The network -----------------------------------------------------------------------------------------------------


def space_to_depth(x: jax.Array, reorganization: Reorganization = "darknet") -> jax.Array:
    """2x2 pixels to channels: [batch, height, width, channels] to [batch, height / 2, width / 2, 4 channels].

    Args:
        x: the map.
        reorganization: "space_to_depth", channel (2 dy + dx) channels + c, or "darknet", see the top of this file.

    Raises:
        ValueError: sides that are odd, or, for Darknet, channels that are no multiple of 4.
    """
    batch, height, width, channels = x.shape
    if height % 2 or width % 2 or (reorganization == "darknet" and channels % 4):
        raise InvalidArgument(
            f"expected a map of even sides, and for Darknet's order of channels by the four, got {x.shape}"
        )
    if reorganization == "space_to_depth":
        x = x.reshape(batch, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return x.reshape(batch, height // 2, width // 2, -1)
    planes = x.transpose(0, 3, 1, 2).reshape(batch, channels // 4 * height, 2, width, 2)
    planes = planes.transpose(0, 2, 4, 1, 3).reshape(batch, -1, height // 2, width // 2)
    return planes.transpose(0, 2, 3, 1)


class TwoMaps(Darknet):
    """Darknet without its classifier, which gives a map on the way, too: (that map, the last one).

    Attributes:
        passthrough: endpoint of the map.
    """

    passthrough: str = ""

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> tuple[jax.Array, jax.Array]:  # type: ignore[override]
        check_images(images, self.smallest_input())
        maps = dict(self.features(images.astype(self.dtype), train=train))
        return maps[self.passthrough], list(maps.values())[-1]


@dataclass(frozen=True)
class Backbone:
    """A network of the zoo as the first part of the detector, and what stands on it; see the table above.

    Attributes:
        model: registered name.
        stride: of its last map, in pixels.
        knobs: of the network.
        pool: 2x2 max pooling with stride 1 comes first.
        head: features of the 3x3 convolutions on the last map.
        passthrough: endpoint of a map of half the stride; None: there is none.
        squeezed: features of its 1x1 convolution; 0: it is taken as it is.
        reorganization: of its pixels.
        fused: features of the 3x3 convolution on both.
    """

    model: str
    stride: int
    knobs: dict[str, Any] = field(default_factory=dict, hash=False)
    pool: bool = False
    head: tuple[int, ...] = (1024, 1024)
    passthrough: str | None = None
    squeezed: int = 64
    reorganization: Reorganization = "darknet"
    fused: int = 1024


_SMALL = table("3x3 16", "3x3 32", "3x3 64", "3x3 128, 1x1 64, 3x3 128", "3x3 256, 1x1 128, 3x3 256")
BACKBONES: dict[str, Backbone] = {
    "darknet19": Backbone("darknet19", 32, passthrough="conv13"),
    "darknet_tiny": Backbone("darknet_tiny", 32, {"stages": TINY[:6], "norm": BATCH_NORM}, pool=True),
    "small": Backbone(
        "darknet_tiny",
        16,
        {"stages": _SMALL, "norm": BATCH_NORM},
        head=(128,),
        passthrough="conv6",
        squeezed=32,
        reorganization="space_to_depth",
        fused=192,
    ),
}


class YoloV2(nn.Module):
    """The detector; see the table above. `create_yolo_v2` makes one by the name of its backbone.

    Attributes:
        backbone: a network that ends at a map of features; `TwoMaps` where there is a passthrough.
        around: what stands on it.
        num_classes: how many.
        settings: numbers.
        probabilities: logits [..., classes] -> probabilities of the classes, given an object.
        dtype, param_dtype: of computation and parameters of what stands on the backbone.
    """

    backbone: Darknet
    around: Backbone
    num_classes: int
    settings: YoloV2Settings = YoloV2Settings()
    probabilities: Callable[[jax.Array], jax.Array] = jax.nn.softmax
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
        """Detections, or, where the objects are given, what a loss is made of.

        Args:
            images: float32 [batch, height, width, channels]; any sides that are multiples of the stride.
            content: float32 [batch, 4], the box of each image on the canvas; by default all of it.
            objects: to learn from.
            train: whether batch normalization is in training; needs objects.

        Raises:
            ValueError: training without objects, or images of other sides.
        """
        check_call(objects, train=train)
        stride = self.around.stride
        if any(side % stride for side in images.shape[1:3]):
            raise InvalidArgument(f"expected images whose sides are multiples of {stride}, got {images.shape[1:3]}")
        predictions = self._predictions(images, train=train)
        if objects is not None:
            return Lesson(predictions, objects._replace(boxes=objects.boxes / stride))
        s = self.settings
        boxes = jax.vmap(functools.partial(predicted_boxes, settings=s))(predictions)
        confidence = jax.nn.sigmoid(predictions[..., 4:5])
        scores = (confidence * self.probabilities(predictions[..., 5:])).reshape(len(images), -1, self.num_classes)
        return found_of_classes(
            stride * boxes[:, :, None],
            scores,
            whole_canvas(images) if content is None else content,
            score_threshold=s.score_threshold,
            iou_threshold=s.detection_iou,
            max_detections=s.max_detections,
        )

    def _predictions(self, images: jax.Array, *, train: bool) -> jax.Array:
        """Of each cell and anchor, float32; see `Lesson`."""
        around = self.around
        if isinstance(self.backbone, TwoMaps):
            fine, x = self.backbone(images, train=train)
        else:
            fine, x = None, self.backbone(images, train=train)
        if around.pool:
            x = max_pool(x, 2, 1, padding="SAME")
        for number, features in enumerate(around.head, start=1):
            x = self._unit(features, 3, f"head{number}")(x, train=train)
        if fine is not None:
            if around.squeezed:
                fine = self._unit(around.squeezed, 1, "passthrough")(fine, train=train)
            x = jnp.concatenate([space_to_depth(fine, around.reorganization), x], -1)
            x = self._unit(around.fused, 3, "fused")(x, train=train)
        count = len(self.settings.anchors)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        last = Conv(count * (5 + self.num_classes), (1, 1), kernel_init=normal(0.01), **dtypes, name="prediction")
        return at_least_float32(last(x)).reshape(*x.shape[:3], count, -1)

    def _unit(self, features: int, size: int, name: str) -> ConvUnit:
        return ConvUnit(
            features,
            (size, size),
            norm=self.backbone.norm,
            activation=functools.partial(nn.leaky_relu, negative_slope=self.backbone.negative_slope),
            kernel_init=INITIALIZERS["darknet"],
            dtype=self.dtype,
            param_dtype=self.param_dtype,
            name=name,
        )


def create_yolo_v2(
    backbone: str,
    num_classes: int,
    settings: YoloV2Settings | None = None,
    *,
    probabilities: Callable[[jax.Array], jax.Array] = jax.nn.softmax,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> YoloV2:
    """The detector on a backbone of the table above.

    Args:
        backbone: a name of `BACKBONES`.
        num_classes: how many.
        settings: by default those of the authors for VOC.
        probabilities: see `YoloV2`.
        dtype: of the computation.
        param_dtype: of the parameters.
        **knobs: attributes of `Backbone`, or knobs of its network, in place of the table's.

    Raises:
        ValueError: no such backbone or knob, or no class.
    """
    if backbone not in BACKBONES:
        raise UnknownName("backbone", backbone, BACKBONES)
    check_classes(num_classes)
    own = {item.name for item in fields(Backbone)} - {"model", "knobs"}
    around = replace(BACKBONES[backbone], **{name: value for name, value in knobs.items() if name in own})
    if around.reorganization not in get_args(Reorganization):
        raise UnknownName("reorganization", around.reorganization, get_args(Reorganization))
    options: dict[str, Any] = {"num_classes": None, "dtype": dtype, "param_dtype": param_dtype}
    options |= around.knobs | {name: value for name, value in knobs.items() if name not in own}
    network: Any = create_model(around.model, **options)
    if around.passthrough is not None:
        network = remade(network, TwoMaps, passthrough=around.passthrough)
    settings = settings or YoloV2Settings()
    return YoloV2(network, around, num_classes, settings, probabilities, dtype, param_dtype)


# --- Boxes -----------------------------------------------------------------------------------------------------------


def decode_locations(
    locations: jax.Array, cells: jax.Array, anchors: jax.Array, location: Location = "direct"
) -> jax.Array:
    """Boxes (x1, y1, x2, y2), [..., 4], in cells; inverse of `encode_locations`.

    Args:
        locations: [..., 4]: sigmoid(t_x), sigmoid(t_y), t_w, t_h; with "anchor" t_x and t_y as they are.
        cells: [..., 2], column and row.
        anchors: [..., 2], sides.
        location: see the top of this file.
    """
    moved = locations[..., :2] if location == "direct" else 0.5 + anchors * locations[..., :2]
    sides = anchors * jnp.exp(jnp.minimum(locations[..., 2:], MAX_LOG_SCALE))
    return cxcywh_to_xyxy(jnp.concatenate([cells + moved, sides], -1))


def encode_locations(
    boxes: jax.Array, cells: jax.Array, anchors: jax.Array, location: Location = "direct"
) -> jax.Array:
    """What the network should say of boxes of some area, [..., 4]; see `decode_locations` (Darknet's
    `delta_region_box`).
    """
    box = xyxy_to_cxcywh(boxes)
    moved = box[..., :2] - cells
    if location == "anchor":
        moved = (moved - 0.5) / anchors
    return jnp.concatenate([moved, jnp.log(box[..., 2:] / anchors)], -1)


def activated(predictions: jax.Array, location: Location = "direct") -> jax.Array:
    """The locations of predictions [..., 5 + classes], [..., 4]; see `decode_locations`."""
    centre = predictions[..., :2]
    return jnp.concatenate([jax.nn.sigmoid(centre) if location == "direct" else centre, predictions[..., 2:4]], -1)


class Places(NamedTuple):
    """Where each prediction of an image stands: row by row, and the anchors of a cell together.

    Attributes:
        cells: float32 [n, 2], column and row.
        anchors: float32 [n, 2], sides.
    """

    cells: jax.Array
    anchors: jax.Array


def places_of(rows: int, columns: int, anchors: tuple[tuple[float, float], ...]) -> Places:
    """The places of a map."""
    row, column, anchor = jnp.meshgrid(*(jnp.arange(n) for n in (rows, columns, len(anchors))), indexing="ij")
    cells = jnp.stack([column, row], -1).reshape(-1, 2).astype(jnp.float32)
    return Places(cells, jnp.asarray(anchors, jnp.float32)[anchor.reshape(-1)])


def predicted_boxes(predictions: jax.Array, *, settings: YoloV2Settings) -> jax.Array:
    """Boxes of an image in cells, [n, 4], of predictions [rows, columns, anchors, 5 + classes]."""
    rows, columns, _, numbers = predictions.shape
    places = places_of(rows, columns, settings.anchors)
    locations = activated(predictions.reshape(-1, numbers), settings.location)
    return decode_locations(locations, *places, settings.location)


# --- Loss ------------------------------------------------------------------------------------------------------------


def match_objects(
    boxes: jax.Array, present: jax.Array, rows: int, columns: int, anchors: tuple[tuple[float, float], ...]
) -> jax.Array:
    """Which object each prediction of an image has to tell of, int32 [rows * columns * anchors]; -1 for none.

    An object belongs to the cell of its centre, and to the anchor whose shape overlaps its own most, of equal ones the
    first. Of several objects that belong to one prediction the last has it, as in Darknet.

    Args:
        boxes: [m, 4], in cells; m may be 0.
        present: bool [m]; those without area are left out, too.
        rows, columns: of the map.
        anchors: sides, in cells.
    """
    count, places = boxes.shape[0], rows * columns * len(anchors)
    if not count:
        return jnp.full(places, -1, jnp.int32)
    x, y, width, height = jnp.moveaxis(xyxy_to_cxcywh(boxes), -1, 0)
    column, row = (
        jnp.clip(jnp.floor(centre), 0, last - 1).astype(jnp.int32) for centre, last in ((x, columns), (y, rows))
    )
    best = jnp.argmax(shape_iou(jnp.stack([width, height], -1), jnp.asarray(anchors, jnp.float32)), 1)
    place = (row * columns + column) * len(anchors) + best.astype(jnp.int32)
    place = jnp.where(present & valid_boxes(boxes), place, places)
    return jnp.full(places, -1, jnp.int32).at[place].max(jnp.arange(count, dtype=jnp.int32), mode="drop")


class Parts(NamedTuple):
    """The parts of an image's loss, float32 [] each; sums over predictions.

    Attributes:
        box: of locations.
        object: of the confidence where there is an object.
        background: of the confidence where there is none.
        classes: of the logits.
    """

    box: jax.Array
    object: jax.Array
    background: jax.Array
    classes: jax.Array


ClassLoss = Callable[[jax.Array, jax.Array], jax.Array]  # logits [n, classes], labels [n] -> [n]


def image_losses(
    predictions: jax.Array,
    boxes: jax.Array,
    labels: jax.Array,
    present: jax.Array,
    *,
    young: jax.Array | bool = False,
    settings: YoloV2Settings,
    class_loss: ClassLoss = optax.softmax_cross_entropy_with_integer_labels,
) -> Parts:
    """The loss of an image, whose gradient is what Darknet's region layer sends back.

    These are halves of squared differences, of the locations of `encode_locations` and of sigmoid(t_o), and the
    cross-entropy of classes. Where there is an object, the location is to be its own, with the weight
    coordinate_weight (2 - its part of the canvas), and the confidence the IoU of the predicted box, or 1. Elsewhere the
    confidence is to be 0, unless the predicted box overlaps an object by more than ignore_iou.

    Args:
        predictions: [rows, columns, anchors, 5 + classes].
        boxes: [m, 4], in cells.
        labels: int [m].
        present: bool [m].
        young: whether the network has seen few images: then locations without an object are drawn to the anchors, with
            the weight .01.
        settings: weights.
        class_loss: of the classes, before its weight.
    """
    s = settings
    rows, columns, _, numbers = predictions.shape
    places = places_of(rows, columns, s.anchors)
    owner = match_objects(boxes, present, rows, columns, s.anchors)
    matched, index = owner >= 0, jnp.maximum(owner, 0)
    said = predictions.reshape(-1, numbers)
    locations, confidence = activated(said, s.location), jax.nn.sigmoid(said[:, 4])
    seen = jax.lax.stop_gradient(decode_locations(locations, *places, s.location))
    neutral = jnp.concatenate([places.cells + 0.5, places.anchors], -1)
    wanted = cxcywh_to_xyxy(neutral)  # where no object is matched, the anchor itself
    if boxes.shape[0]:
        wanted = jnp.where(matched[:, None], boxes[index], wanted)

    difference = locations - encode_locations(wanted, *places, s.location)
    part = jnp.prod(xyxy_to_cxcywh(wanted)[:, 2:], -1) / (rows * columns)
    weight = jnp.where(matched, s.coordinate_weight * (2 - part), jnp.where(young, PRIOR_WEIGHT, 0))
    box = jnp.sum(weight * jnp.sum(jnp.square(difference), -1)) / 2

    target = iou(seen, wanted) if s.rescore else jnp.ones_like(confidence)
    of_objects = jnp.sum(jnp.where(matched, jnp.square(confidence - target), 0)) / 2
    overlap, _ = best_objects(seen, boxes, present & valid_boxes(boxes))
    empty = ~matched & (overlap <= s.ignore_iou)
    of_background = jnp.sum(jnp.where(empty, jnp.square(confidence), 0)) / 2

    label = labels[index] if boxes.shape[0] else index
    classes = jnp.sum(jnp.where(matched, class_loss(said[:, 5:], label), 0))
    return Parts(box, s.object_weight * of_objects, s.background_weight * of_background, s.class_weight * classes)


def is_young(step: jax.Array, batch_size: int, settings: YoloV2Settings) -> jax.Array:
    """Whether fewer than prior_images were seen before this training step."""
    return step * batch_size < settings.prior_images


def loss_of_parts(parts: Parts, mask: jax.Array) -> tuple[jax.Array, Metrics]:
    """The mean over images of the sum of their parts, each [batch]; metrics are "loss" and the parts."""
    each = {"box": parts.box, "object": parts.object, "background": parts.background, "class": parts.classes}
    loss = Mean.of(jnp.where(mask, sum(parts), 0), mask)
    return loss.value(), {"loss": loss, **{name: Mean.of(jnp.where(mask, x, 0), mask) for name, x in each.items()}}


def yolo_v2_loss(settings: YoloV2Settings, batch_size: int) -> LossFn:
    """The loss of a `Lesson`: the mean over images of `image_losses`. Metrics are "loss" and its parts: "box",
    "object", "background" and "class".

    Args:
        settings: of the detector.
        batch_size: of training, over all devices, by which images are counted.
    """

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        lesson: Lesson = outputs.prediction
        young = is_young(outputs.step, batch_size, settings)
        of_image = functools.partial(image_losses, young=young, settings=settings)
        return loss_of_parts(jax.vmap(of_image)(lesson.predictions, *lesson.objects), batch["mask"])

    return loss_fn
