"""Localisation as VGG does it (Simonyan and Zisserman: Very Deep Convolutional Networks for Large-Scale Image
Recognition, 2015, arXiv 1409.1556, appendix A): the last layer of a classifier says a box, not classes.

The box is (x of the centre, y of the centre, width, height), here in parts of the side of the network's input; one for
all classes (`vgg16.localization`, 4 outputs) or one for each (`per_class`, 4 for each class). It is learnt by the
Euclidean loss. The network begins with a classifier that was trained at the same scale, but for the last layer, which
is random; all layers are trained, or the dense ones (freeze "^block").

Two ways of testing: the central crop alone, and the box of the true class (`LOCALIZATION`'s evaluation: "localized" is
the part of images with an IoU above .5); or the networks applied to the whole image, whose many boxes are merged
(`DenseLocalizer`).

What the paper leaves open: of several objects the largest is to be found; in training the window is drawn from the
scaled image, and the box may reach out of it; the paper refers for the merging to OverFeat (Sermanet et al., 2014,
section 4.4), whose measure of closeness is the distance of centres and the common area: here it is the IoU.
"""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.boxes import area, clip, cxcywh_to_xyxy, iou, pairwise_iou, xyxy_to_cxcywh
from xxnet_jax.data import Decoder, ImageFormat, Loader, Source, make_loader
from xxnet_jax.data.images import scaled, with_channels
from xxnet_jax.data.loader import generator
from xxnet_jax.data.objects import ObjectsExample
from xxnet_jax.data.preprocessing import check_preprocessing
from xxnet_jax.data.source import Task as TaskName
from xxnet_jax.detection.crops import learnable
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import Batch, LossFn, Metrics, Outputs
from xxnet_jax.metrics import Mean
from xxnet_jax.metrics.matching import Detections
from xxnet_jax.models import create_model, model_info
from xxnet_jax.models.vgg import VGG
from xxnet_jax.precision import FORMATS
from xxnet_jax.training.dispatch import InputFn
from xxnet_jax.training.evaluation import Evaluate, make_evaluate
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.recipe import Recipe
from xxnet_jax.training.run import TaskRun, Trained, input_function, run
from xxnet_jax.training.sharding import own_rows
from xxnet_jax.training.task import Task


@dataclass(frozen=True)
class LocalizationRecipe(Recipe):
    """How to train a network that says where the object of an image is.

    Attributes:
        model: a VGG.
        data: voc:FOLDER, coco:FOLDER?annotations=FILE or tfds:voc/2007.
        per_class: a box for each class, not one for all.
        fit: crop: images are scaled to `shorter_side` and a square of `image_size` is cut out.
        shorter_side: the paper's S, 256 or 384.
    """

    task: ClassVar[TaskName] = "detection"

    model: str = "vgg16.localization"
    data: str = ""
    per_class: bool = False
    fit: Any = "crop"
    shorter_side: int | None = 256
    learning_rate: float | None = 1e-3
    optimizer: str = "momentum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.fit != "crop" or self.shorter_side is None:
            raise InvalidArgument("localisation cuts windows out of scaled images: give fit crop and a shorter_side")


def resolve(recipe: LocalizationRecipe, source: Source) -> RunConfig:
    """What the recipe leaves to the network and the dataset."""
    info = model_info(recipe.model)
    side = recipe.image_size or info.input_shape[0]
    assert recipe.shorter_side is not None
    if recipe.shorter_side < side:
        raise InvalidArgument(f"a square of {side} cannot be cut from a shorter side of {recipe.shorter_side}")
    preprocessing = recipe.preprocessing or info.preprocessing
    check_preprocessing(preprocessing)
    form = ImageFormat(side, side, source.image_shape[-1], "crop", recipe.shorter_side)
    return RunConfig(recipe, form, None, preprocessing, source.classes)


def localization_recipe(config: RunConfig) -> LocalizationRecipe:
    assert isinstance(config.recipe, LocalizationRecipe)
    return config.recipe


def build_localizer(config: RunConfig) -> VGG:
    """The network of a run.

    Raises:
        ValueError: it is no VGG.
    """
    recipe = localization_recipe(config)
    options: dict[str, Any] = dict(recipe.model_options)
    outputs = 4 * (len(config.classes) if recipe.per_class else 1)
    model = create_model(recipe.model, num_classes=outputs, **FORMATS[recipe.precision]._asdict(), **options)
    if not isinstance(model, VGG):
        raise InvalidArgument(f"localisation is VGG's, got {recipe.model}: list_models.py shows vgg*")
    return model


class LocalizationDecoder(Decoder):
    """Makes of an image with objects a row: image uint8 [side, side, channels], label int32 and box float32 [4] of its
    largest object, mask; an image without objects is masked. Without a draw the window is the central one."""

    def __call__(self, example: ObjectsExample, draw: np.ndarray | None = None) -> dict[str, Any]:
        example = learnable(example)
        if not len(example["labels"]):
            return self.blank()
        largest = int(area(example["boxes"]).argmax())
        self.check_label(int(example["labels"][largest]))
        side, shorter = self.format.height, self.format.shorter_side
        assert shorter is not None
        image = scaled(with_channels(example["image"], self.format.channels), shorter)
        factors = [new / old for new, old in zip(image.shape[1::-1], example["image"].shape[1::-1], strict=True)]
        free = [length - side for length in image.shape[:2]]
        if draw is None:
            top, left = (room // 2 for room in free)
        else:
            rng = generator(draw)
            top, left = (int(rng.integers(0, room, endpoint=True)) for room in free)
        box = example["boxes"][largest] * np.tile(factors, 2) - np.array([left, top, left, top])
        return {
            "image": image[top : top + side, left : left + side],
            "label": np.int32(example["labels"][largest]),
            "box": (xyxy_to_cxcywh(box) / side).astype(np.float32),
            "mask": np.bool_(True),
        }

    def blank(self) -> dict[str, Any]:
        return {**super().blank(), "box": np.zeros(4, np.float32)}

    @property
    def varies(self) -> bool:
        return True


def localization_decoder(config: RunConfig) -> LocalizationDecoder:
    """Decodes the images of a run."""
    return LocalizationDecoder(config.image_format, len(config.classes), config.recipe.skip_corrupt)


def boxes_of_class(outputs: jax.Array, labels: jax.Array) -> jax.Array:
    """The box of the true class, [batch, 4], of outputs [batch, 4] or [batch, 4 * classes]."""
    boxes = outputs.reshape(len(outputs), -1, 4)
    own = labels if boxes.shape[1] > 1 else jnp.zeros_like(labels)
    return jnp.take_along_axis(boxes, own[:, None, None], 1)[:, 0]


def euclidean_loss(outputs: Outputs, batch: Batch, rng: jax.Array) -> tuple[jax.Array, Metrics]:
    """Half the squared distance of the box of the true class, the mean over images. Metrics: "loss"; "iou", the mean;
    and "localized", the part of images with an IoU above .5."""
    del rng
    mask = batch["mask"]
    predicted = boxes_of_class(outputs.prediction, batch["label"])
    losses = jnp.sum(jnp.square(predicted - batch["box"]), -1) / 2
    overlap = iou(cxcywh_to_xyxy(predicted), cxcywh_to_xyxy(batch["box"]))
    values = {"loss": losses, "iou": overlap, "localized": (overlap > 0.5).astype(jnp.float32)}
    means = {name: Mean.of(jnp.where(mask, value, 0), mask) for name, value in values.items()}
    return means["loss"].value(), means


def localization_loss(recipe: LocalizationRecipe) -> LossFn:
    """The loss of a run."""
    del recipe
    return euclidean_loss


def localization_inputs(loader: Loader, config: RunConfig) -> InputFn:
    """The input function of a run; windows are drawn on the host."""
    return input_function(loader, config.inputs)


def localization_evaluator(
    config: RunConfig, model: VGG, source: Source, split: str, *, decoder: Decoder, mesh: Mesh
) -> Evaluate:
    """`evaluate(variables)` of the central crops of a split."""
    batch_size = -(-config.recipe.batch_size // mesh.size) * mesh.size
    rows = own_rows(mesh, batch_size)
    loader = make_loader(source.examples(split), decoder, batch_size, train=False, resident=False, rows=rows)

    def step(variables: dict[str, Any], batch: Batch) -> tuple[Metrics, dict[str, Any]]:
        prediction = model.apply(variables, batch["image"], train=False)
        outputs = Outputs(prediction, {}, jnp.zeros((), jnp.int32))
        return euclidean_loss(outputs, batch, jax.random.key(0))[1], {}

    return make_evaluate(step, loader, localization_inputs(loader, config), mesh)


LOCALIZATION = Task(
    LocalizationRecipe,
    "localized",
    resolve,
    localization_decoder,
    build_localizer,
    localization_loss,
    localization_inputs,
    localization_evaluator,
)


class LocalizationRun(TaskRun[Trained]):
    """The run folder of localisation."""

    task = LOCALIZATION


def train_localizer(
    recipe: LocalizationRecipe, workdir: Path, *, classifier: Mapping[str, Any] | None = None, quiet: bool = False
) -> Any:
    """Train by a recipe, as `run` does.

    Args:
        recipe: what to do.
        workdir: the run folder.
        classifier: variables of a classifier with the same layers, to begin with; its last layer is left out.
        quiet: print nothing.
    """
    initial = dict(classifier or {})
    if initial:
        initial["params"] = {name: leaf for name, leaf in initial["params"].items() if name != "predictions"}
    return run(recipe, workdir, task=LOCALIZATION, initial=initial, quiet=quiet)


# --- Whole images ----------------------------------------------------------------------------------------------------


def boxes_of_map(outputs: np.ndarray, side: int, stride: int, factors: Sequence[float]) -> np.ndarray:
    """Boxes in pixels of an image, [rows * columns, boxes of a place, 4], of what the network says at each place; sizes
    below 0 are taken for 0.

    Args:
        outputs: [rows, columns, 4 * boxes of a place], in parts of the window of that place.
        side: of the windows, in pixels of the scaled image.
        stride: from one window to the next.
        factors: (x, y), by which the image was scaled.
    """
    rows, columns, _ = outputs.shape
    y, x = np.meshgrid(np.arange(rows) * stride, np.arange(columns) * stride, indexing="ij")
    first = np.stack([x, y, x, y], -1).reshape(-1, 1, 4)
    said = outputs.reshape(rows * columns, -1, 4) * side
    said[..., 2:] = np.maximum(said[..., 2:], 0)
    boxes = cxcywh_to_xyxy(said) + first
    return boxes / np.tile(factors, 2)


def merge_boxes(boxes: np.ndarray, scores: np.ndarray, iou_threshold: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Greedy merging: the two boxes that overlap most become one, with the mean of the coordinates of all that are in
    it and the sum of their scores; until no two overlap enough.

    Args:
        boxes: [n, 4]; n may be 0.
        scores: [n].
        iou_threshold: least IoU of two that are merged.

    Returns:
        Boxes [m, 4] and scores [m], the highest score first.
    """
    boxes, scores = np.asarray(boxes, np.float64), np.asarray(scores, np.float64)
    members = np.ones(len(boxes))
    while len(boxes) > 1:
        overlap = np.triu(pairwise_iou(boxes, boxes), 1)
        one, other = np.unravel_index(overlap.argmax(), overlap.shape)
        if overlap[one, other] < iou_threshold:
            break
        weights = members[[one, other]]
        boxes[one] = weights @ boxes[[one, other]] / weights.sum()
        scores[one] += scores[other]
        members[one] += members[other]
        boxes, scores, members = (np.delete(values, other, 0) for values in (boxes, scores, members))
    order = np.argsort(-scores, kind="stable")
    return boxes[order], scores[order]


@dataclass(frozen=True)
class DenseLocalizer:
    """Classes of an image and their boxes, by networks that see all of it (the paper's second way of testing).

    Attributes:
        config: of the run of the box network.
        model: the box network.
        variables: of it.
        classifier: a network of the same windows, with a class for each of the run's.
        classifier_variables: of it.
        scales: shorter sides.
        top: classes of an image.
        iou_threshold: of the merging.
    """

    config: RunConfig
    model: VGG
    variables: dict[str, Any]
    classifier: VGG
    classifier_variables: dict[str, Any]
    scales: tuple[int, ...] = (256,)
    top: int = 5
    iou_threshold: float = 0.5

    def __post_init__(self) -> None:
        side = self.config.image_format.height
        if not self.scales or min(self.scales) < side:
            raise InvalidArgument(f"scales must be {side} or more, the side of the network, got {self.scales}")
        if self.classifier.num_classes != len(self.config.classes):
            raise InvalidArgument(
                f"the classifier has {self.classifier.num_classes} classes, the boxes are of {len(self.config.classes)}"
            )

    def __call__(self, image: np.ndarray) -> Detections:
        """Of an image, uint8 [height, width, channels] of any size: for each of the likeliest classes the merged box
        with the highest score, which is at most 1."""
        boxes, scores = zip(*(self._of_scale(image, scale) for scale in self.scales), strict=True)
        boxes, scores = np.concatenate(boxes), np.concatenate(scores)  # [places, boxes, 4], [places, classes]
        found = []
        for label in np.argsort(-scores.mean(0), kind="stable")[: self.top]:
            own = boxes[:, label if boxes.shape[1] > 1 else 0]
            merged, rated = merge_boxes(own, scores[:, label] / len(scores), self.iou_threshold)
            found.append((clip(merged[0], *image.shape[:2]), rated[0], label))
        return Detections(*map(np.stack, zip(*found, strict=True)))

    def _of_scale(self, image: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        form = self.config.image_format
        larger = scaled(with_channels(image, form.channels), scale)
        factors = [new / old for new, old in zip(larger.shape[1::-1], image.shape[1::-1], strict=True)]
        outputs, scores = jax.device_get(self._apply(self.variables, self.classifier_variables, larger[None]))
        boxes = boxes_of_map(outputs[0], form.height, 2 ** len(self.model.blocks), factors)
        return boxes, scores.reshape(len(boxes), -1)

    @functools.cached_property
    def _apply(self) -> Any:
        model, classifier = self.model.clone(spatial=True), self.classifier.clone(spatial=True)

        def said(variables: Any, classifier_variables: Any, images: jax.Array) -> Any:
            inputs = self.config.inputs(images)
            logits: Any = classifier.apply(classifier_variables, inputs, train=False)
            return model.apply(variables, inputs, train=False), jax.nn.softmax(logits, -1)

        return jax.jit(said)
