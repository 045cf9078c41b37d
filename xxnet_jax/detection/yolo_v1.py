"""YOLO (Redmon, Divvala, Girshick and Farhadi: You Only Look Once, 2015, arXiv 1506.02640), Figure 3.

    darknet24                              darknet_tiny (Fast YOLO)        small
    the 24 convolutions of Figure 3        nine convolutions               seven of 16 to 256 features, normalized
    dense1    4096, leaky, dropout         256, leaky                      1024, leaky, dropout
    dense2                                 4096, leaky, dropout
    output    rows x columns x (5 boxes + classes)

                    parameters, VOC    at       map            from
    darknet24       271,703,550        448      7x7x1024       the paper
    darknet_tiny    45,089,374         448      7x7x1024       the authors' file; the paper only counts convolutions
    small                              320x256  8x10x64        our own, for training on a CPU

The image is divided into a grid of cells; the cell that has the centre of an object tells of it. The numbers of the
output come in blocks, as in the authors' files: for all cells the classes, for all cells and boxes the confidences, for
all cells and boxes (x, y, sqrt(w), sqrt(h)). There (x, y) is the place in the cell, from 0 to 1, and w and h are parts
of the canvas. Nothing is behind the last layer: all of them, probabilities, too, are learnt by squared differences.

The score of a class is that of the cell times the confidence of the box. `inference` says what becomes of the scores:

- "zeroing", Darknet's: those below the threshold become 0, then non-maximum suppression of each class sets more of them
  to 0 and deletes no box; a box has the class of its best score, and is a detection if that is not 0.
- "argmax": each box has its best class; those below the threshold go, then those that better ones of their class
  suppress, or better ones of any class (`by_class=False`).

Its training: the first twenty convolutions are those of a classifier, `darknet20`, trained on ImageNet at 224; 135
epochs on VOC 2007 and 2012 with batches of 64, momentum .9, decay .0005, rates from .001 up to .01 for 75 epochs, then
.001 and .0001 for 30 each; images scaled and moved by up to 20 %, exposure and saturation changed by up to 1.5.
"""

import functools
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, get_args

import flax.linen as nn
import jax
import jax.numpy as jnp

from xxnet_jax.boxes import cxcywh_to_xyxy, pairwise_iou, xyxy_to_cxcywh
from xxnet_jax.detection.boxes import valid_boxes
from xxnet_jax.detection.detector import (
    Found,
    Objects,
    check_call,
    check_classes,
    clip_to_window,
    taken,
    whole_canvas,
)
from xxnet_jax.detection.nms import batched_nms, nms, zero_suppressed
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.models import create_model
from xxnet_jax.models.darknet import BATCH_NORM, Darknet, table
from xxnet_jax.models.layers import Dtype, dropout
from xxnet_jax.precision import at_least_float32

Inference = Literal["zeroing", "argmax"]
FARTHEST = 20.0  # a box without overlap is responsible if its distance is less, as in Darknet
LARGEST = 1e6  # side of a box in canvases: what a network says early in training has finite corners


@dataclass(frozen=True)
class YoloV1Settings:
    """The numbers of the detector; by default those of the paper and of the authors' yolov1.cfg.

    Attributes:
        grid: rows and columns of cells.
        boxes: of a cell.
        coordinate_weight: lambda_coord of equation 3.
        object_weight: of the confidence of the responsible box.
        background_weight: lambda_noobj, of the other confidences.
        class_weight: of the classes of a cell with an object.
        rescore: the confidence of an object is to be the IoU of its predicted box, not 1.
        dropout_rate: behind the last hidden layer.
        inference: "zeroing" or "argmax", see the top of this file.
        by_class: with "argmax", only boxes of the same class suppress each other.
        score_threshold: of detections; for images that people look at .2.
        detection_iou: of the suppression.
        max_detections: of an image.
    """

    grid: tuple[int, int] = (7, 7)
    boxes: int = 2
    coordinate_weight: float = 5.0
    object_weight: float = 1.0
    background_weight: float = 0.5
    class_weight: float = 1.0
    rescore: bool = True
    dropout_rate: float = 0.5
    inference: Inference = "zeroing"
    by_class: bool = True
    score_threshold: float = 0.001
    detection_iou: float = 0.5
    max_detections: int = 100

    def __post_init__(self) -> None:
        if self.inference not in get_args(Inference):
            raise UnknownName("inference", self.inference, get_args(Inference))
        if min(*self.grid, self.boxes, self.max_detections) < 1:
            raise InvalidArgument(
                f"grid, boxes and max_detections must be 1 or more, got {self.grid}, {self.boxes} and "
                f"{self.max_detections}"
            )


class Said(NamedTuple):
    """What the network says of the cells, row by row; [..., cells, ...] for one image or a batch.

    Attributes:
        classes: float32 [..., cells, classes].
        confidences: float32 [..., cells, boxes].
        locations: float32 [..., cells, boxes, 4], (x, y, sqrt(w), sqrt(h)).
    """

    classes: jax.Array
    confidences: jax.Array
    locations: jax.Array


class Lesson(NamedTuple):
    """What the network said of a batch, and the objects that were there.

    Attributes:
        said: of the cells.
        objects: with boxes in parts of the canvas.
    """

    said: Said
    objects: Objects


def in_blocks(output: jax.Array, cells: int, boxes: int, classes: int) -> Said:
    """The blocks of an output [..., cells * (5 * boxes + classes)]: for VOC 980, 98 and 392 numbers."""
    first, second = cells * classes, cells * (classes + boxes)
    before = output.shape[:-1]
    return Said(
        output[..., :first].reshape(*before, cells, classes),
        output[..., first:second].reshape(*before, cells, boxes),
        output[..., second:].reshape(*before, cells, boxes, 4),
    )


# --- The network -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Backbone:
    """The convolutions, and the dense layers on them; see the table above.

    Attributes:
        model: registered name.
        knobs: of the network.
        dense: units of the hidden layers.
    """

    model: str
    knobs: dict[str, Any] = field(default_factory=dict, hash=False)
    dense: tuple[int, ...] = (4096,)


_SMALL = table("3x3 16", "3x3 32", "3x3 64", "3x3 128", "3x3 256", "3x3 256, 1x1 64")
BACKBONES: dict[str, Backbone] = {
    "darknet24": Backbone("darknet24"),
    "darknet_tiny": Backbone("darknet_tiny", dense=(256, 4096)),
    "small": Backbone("darknet_tiny", {"stages": _SMALL, "norm": BATCH_NORM}, dense=(1024,)),
}


class YoloV1(nn.Module):
    """The detector; see the table above. `create_yolo_v1` makes one by the name of its backbone.

    Attributes:
        backbone: a network that ends at a map of features.
        dense: units of the hidden layers.
        num_classes: how many.
        settings: numbers.
        dtype, param_dtype: of computation and parameters of what stands on the backbone.
    """

    backbone: Darknet
    dense: tuple[int, ...]
    num_classes: int
    settings: YoloV1Settings = YoloV1Settings()
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
            images: float32 [batch, height, width, channels]; always of the same size.
            content: float32 [batch, 4], the box of each image on the canvas; by default all of it.
            objects: to learn from.
            train: whether dropout and batch normalization are in training; needs objects.

        Raises:
            ValueError: training without objects, or images that the backbone does not take.
        """
        check_call(objects, train=train)
        said = self._said(images, train=train)
        height, width = images.shape[1:3]
        canvas = jnp.asarray([width, height, width, height], jnp.float32)
        if objects is not None:
            return Lesson(said, objects._replace(boxes=objects.boxes / canvas[None, None]))
        boxes = located(said.locations, self.settings.grid) * canvas[None, None, None]
        scores = said.confidences[..., None] * said.classes[..., None, :]
        boxes, scores = boxes.reshape(len(images), -1, 4), scores.reshape(len(images), -1, self.num_classes)
        window = whole_canvas(images) if content is None else content
        return jax.vmap(functools.partial(detections, settings=self.settings))(boxes, scores, window)

    def _said(self, images: jax.Array, *, train: bool) -> Said:
        s = self.settings
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = self.backbone(images, train=train)
        x = x.reshape(len(x), -1)
        for number, units in enumerate(self.dense, start=1):
            x = nn.leaky_relu(nn.Dense(units, **dtypes, name=f"dense{number}")(x), self.backbone.negative_slope)
        x = dropout(x, s.dropout_rate, train=train)
        cells = s.grid[0] * s.grid[1]
        x = nn.Dense(cells * (5 * s.boxes + self.num_classes), **dtypes, name="output")(x)
        return in_blocks(at_least_float32(x), cells, s.boxes, self.num_classes)


def create_yolo_v1(
    backbone: str,
    num_classes: int,
    settings: YoloV1Settings | None = None,
    *,
    dtype: Dtype = jnp.float32,
    param_dtype: Dtype = jnp.float32,
    **knobs: Any,
) -> YoloV1:
    """The detector on a backbone of the table above.

    Args:
        backbone: a name of `BACKBONES`.
        num_classes: how many.
        settings: by default the paper's.
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
    chosen = replace(BACKBONES[backbone], **{name: value for name, value in knobs.items() if name in own})
    options: dict[str, Any] = {"num_classes": None, "dtype": dtype, "param_dtype": param_dtype}
    options |= chosen.knobs | {name: value for name, value in knobs.items() if name not in own}
    network: Any = create_model(chosen.model, **options)
    return YoloV1(network, chosen.dense, num_classes, settings or YoloV1Settings(), dtype, param_dtype)


# --- Boxes -----------------------------------------------------------------------------------------------------------


def corners_of(grid: tuple[int, int]) -> jax.Array:
    """Column and row of each cell, float32 [cells, 2], row by row."""
    row, column = jnp.meshgrid(*(jnp.arange(n) for n in grid), indexing="ij")
    return jnp.stack([column, row], -1).reshape(-1, 2).astype(jnp.float32)


def located(locations: jax.Array, grid: tuple[int, int]) -> jax.Array:
    """Boxes (x1, y1, x2, y2) in parts of the canvas, [..., cells, boxes, 4]; inverse of `location_of`.

    Args:
        locations: [..., cells, boxes, 4], (x, y, sqrt(w), sqrt(h)).
        grid: rows and columns.
    """
    before = (1,) * (locations.ndim - 3)
    corners = corners_of(grid).reshape(*before, -1, 1, 2)
    sides = jnp.asarray(grid[::-1], jnp.float32).reshape(*before, 1, 1, 2)
    lengths = jnp.minimum(jnp.square(locations[..., 2:]), LARGEST)
    return cxcywh_to_xyxy(jnp.concatenate([(locations[..., :2] + corners) / sides, lengths], -1))


def location_of(boxes: jax.Array, grid: tuple[int, int]) -> tuple[jax.Array, jax.Array]:
    """What the network should say of boxes, and the number of the cell that has to.

    Args:
        boxes: [..., 4], in parts of the canvas.
        grid: rows and columns.

    Returns:
        (locations, cells): [..., 4] and int32 [...].
    """
    rows, columns = grid
    box = xyxy_to_cxcywh(boxes)
    x, y = box[..., 0] * columns, box[..., 1] * rows
    column, row = (jnp.clip(jnp.floor(at), 0, last - 1) for at, last in ((x, columns), (y, rows)))
    sides = jnp.sqrt(jnp.maximum(box[..., 2:], 0))
    locations = jnp.concatenate([jnp.stack([x - column, y - row], -1), sides], -1)
    return locations, (row * columns + column).astype(jnp.int32)


def detections(boxes: jax.Array, scores: jax.Array, window: jax.Array, *, settings: YoloV1Settings) -> Found:
    """The detections of an image, without the axis of the batch; see the top of this file.

    Args:
        boxes: [n, 4].
        scores: [n, classes].
        window: [4], to which boxes are cut off.
        settings: numbers.
    """
    s = settings
    boxes = clip_to_window(boxes, window)
    if s.inference == "zeroing":
        scores = zero_suppressed(boxes, jnp.maximum(scores, 0), s.detection_iou, s.score_threshold)
    labels, best = jnp.argmax(scores, -1).astype(jnp.int32), jnp.max(scores, -1)
    ranked = jnp.where((best >= s.score_threshold) & (best > 0), best, -jnp.inf)
    if s.inference == "zeroing":
        kept, valid = nms(boxes, ranked, jnp.inf, s.max_detections)  # in order; nothing more is suppressed
    elif s.by_class:
        kept, valid = batched_nms(boxes, ranked, labels, s.detection_iou, s.max_detections)
    else:
        kept, valid = nms(boxes, ranked, s.detection_iou, s.max_detections)
    return taken(boxes, best, labels, kept, valid)


# --- Loss ------------------------------------------------------------------------------------------------------------


class Parts(NamedTuple):
    """The five sums of equation 3 of an image, with their weights, float32 [] each."""

    centre: jax.Array
    size: jax.Array
    object: jax.Array
    background: jax.Array
    classes: jax.Array


def owners_of(cells: jax.Array, there: jax.Array, count: int) -> jax.Array:
    """Which object each cell tells of, int32 [count]; -1 for none. Of several in a cell the first is taken.

    Args:
        cells: int [m], of the objects; m may be 0.
        there: bool [m].
        count: of cells.
    """
    number = cells.shape[0]
    first = jnp.full(count, number, jnp.int32)
    first = first.at[jnp.where(there, cells, count)].min(jnp.arange(number, dtype=jnp.int32), mode="drop")
    return jnp.where(first < number, first, -1)


def responsible(predicted: jax.Array, wanted: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Which box of each cell is responsible for its object, int32 [cells], and the IoU of it, [cells].

    It is the one with the highest IoU; where none overlaps the object, the nearest one by the root of the squared
    differences of centre and sides, if that is less than 20; of equal ones the first. (The paper has the IoU alone.)

    Args:
        predicted: [cells, boxes, 4].
        wanted: [cells, 4].
    """
    overlap = pairwise_iou(predicted, wanted[:, None])[..., 0]
    difference = xyxy_to_cxcywh(predicted) - xyxy_to_cxcywh(wanted)[:, None]
    distance = jnp.minimum(jnp.sqrt(jnp.sum(jnp.square(difference), -1)), FARTHEST)
    overlaps = jnp.any(overlap > 0, 1)
    best = jnp.where(overlaps, jnp.argmax(overlap, 1), jnp.argmin(distance, 1)).astype(jnp.int32)
    return best, jnp.take_along_axis(overlap, best[:, None], 1)[:, 0]


def image_losses(
    said: Said, boxes: jax.Array, labels: jax.Array, present: jax.Array, *, settings: YoloV1Settings
) -> Parts:
    """The five sums of the loss of an image (equation 3).

    Args:
        said: of the cells.
        boxes: [m, 4], in parts of the canvas; m may be 0.
        labels: int [m].
        present: bool [m]; those without area are left out, too.
        settings: weights.
    """
    s = settings
    count, classes = said.classes.shape
    zero = jnp.zeros((), jnp.float32)
    if not boxes.shape[0]:
        background = s.background_weight * jnp.sum(jnp.square(said.confidences))
        return Parts(zero, zero, zero, background, zero)
    locations, cells = location_of(boxes, s.grid)
    owner = owners_of(cells, present & valid_boxes(boxes), count)
    occupied, index = owner >= 0, jnp.maximum(owner, 0)
    predicted = jax.lax.stop_gradient(located(said.locations, s.grid))
    best, overlap = responsible(predicted, boxes[index])
    is_best = occupied[:, None] & (jnp.arange(s.boxes)[None] == best[:, None])

    of_location = jnp.square(said.locations - locations[index][:, None])
    of_location = s.coordinate_weight * jnp.where(is_best[..., None], of_location, 0)
    target = overlap if s.rescore else jnp.ones_like(overlap)
    of_object = jnp.where(is_best, jnp.square(said.confidences - target[:, None]), 0)
    of_background = jnp.where(is_best, 0, jnp.square(said.confidences))
    of_classes = jnp.square(said.classes - jax.nn.one_hot(labels[index], classes))
    return Parts(
        jnp.sum(of_location[..., :2]),
        jnp.sum(of_location[..., 2:]),
        s.object_weight * jnp.sum(of_object),
        s.background_weight * jnp.sum(of_background),
        s.class_weight * jnp.sum(jnp.where(occupied[:, None], of_classes, 0)),
    )


def yolo_v1_loss(settings: YoloV1Settings) -> LossFn:
    """The loss of a `Lesson`: the mean over images of equation 3. Metrics are "loss" and its five sums: "centre",
    "size", "object", "background" and "class".
    """

    def loss_fn(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
        del rng
        lesson: Lesson = outputs.prediction
        parts = jax.vmap(functools.partial(image_losses, settings=settings))(lesson.said, *lesson.objects)
        mask = batch["mask"]
        names = ("centre", "size", "object", "background", "class")
        means = {name: Mean.of(jnp.where(mask, sums, 0), mask) for name, sums in zip(names, parts, strict=True)}
        loss = Mean.of(jnp.where(mask, sum(parts), 0), mask)
        return loss.value(), {"loss": loss, **means}

    return loss_fn
