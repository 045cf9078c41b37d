"""Runs of detectors: the same loop, folder and checkpoints as other runs, with objects for labels.

`run_detector(recipe, workdir)` trains by a `DetectorRecipe` and resumes what was begun; `DetectorRun(workdir)` looks at
it. The best checkpoint is the one with the highest mean average precision at an IoU of .5 on the validation split (area
under the curve, as in PASCAL VOC since 2010).
"""

import functools
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.data import (
    Decoder,
    ImageFormat,
    Loader,
    ObjectsAugmentation,
    ObjectsDecoder,
    ObjectsFormat,
    Source,
    make_loader,
)
from xxnet_jax.data.crops import Window
from xxnet_jax.data.objects import ObjectsExample, ObjectsFit, Search, cropped, in_image, make_example
from xxnet_jax.data.preprocessing import check_preprocessing
from xxnet_jax.data.source import Examples, IndexedExamples
from xxnet_jax.data.source import Task as TaskName
from xxnet_jax.detection import backbones, fast_rcnn, faster_rcnn, yolo_v1, yolo_v2
from xxnet_jax.detection.detector import Found, Objects
from xxnet_jax.detection.faster_rcnn import FasterRCNNSettings
from xxnet_jax.detection.grouping import SETTINGS, selective_search
from xxnet_jax.detection.second_stage import RegionSettings, Windows
from xxnet_jax.detection.yolo_v1 import YoloV1Settings
from xxnet_jax.detection.yolo_v2 import YoloV2Settings
from xxnet_jax.errors import CorruptData, InvalidArgument, UnknownName
from xxnet_jax.files import make_folder, read_npz, write_npz
from xxnet_jax.losses import Batch, LossFn
from xxnet_jax.metrics.detection import voc_average_precision
from xxnet_jax.metrics.matching import Detections, GroundTruth
from xxnet_jax.models import model_info
from xxnet_jax.precision import FORMATS
from xxnet_jax.training.dispatch import InputFn, compile_eval_step
from xxnet_jax.training.evaluation import Evaluate, Evaluation
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.recipe import OF_CLASSIFIERS, Recipe
from xxnet_jax.training.run import TaskRun, Trained, check_classes, input_function, run
from xxnet_jax.training.sharding import make_mesh, own_rows, put, replicated
from xxnet_jax.training.task import Task

Pairs = tuple[list[Detections], list[GroundTruth]]
DetectorName = Literal["fast_rcnn", "faster_rcnn", "yolo_v1", "yolo_v2"]


class Detector(NamedTuple):
    """What runs of a detector need of it.

    Attributes:
        backbones: by name; each has the name of its `model`.
        create: `(backbone, classes, settings, **knobs) -> module`.
        loss: recipe -> loss function.
    """

    backbones: Mapping[str, Any]
    create: Callable[..., nn.Module]
    loss: Callable[["DetectorRecipe"], LossFn]


WITH_WINDOWS: DetectorName = "fast_rcnn"
# The settings of each are the recipe's field of its name.
DETECTORS: dict[str, Detector] = {
    "fast_rcnn": Detector(backbones.BACKBONES, fast_rcnn.create_fast_rcnn, lambda recipe: fast_rcnn.fast_rcnn_loss),
    "faster_rcnn": Detector(
        backbones.BACKBONES,
        faster_rcnn.create_faster_rcnn,
        lambda recipe: faster_rcnn.faster_rcnn_loss(recipe.faster_rcnn),
    ),
    "yolo_v1": Detector(yolo_v1.BACKBONES, yolo_v1.create_yolo_v1, lambda recipe: yolo_v1.yolo_v1_loss(recipe.yolo_v1)),
    "yolo_v2": Detector(
        yolo_v2.BACKBONES,
        yolo_v2.create_yolo_v2,
        lambda recipe: yolo_v2.yolo_v2_loss(recipe.yolo_v2, recipe.batch_size),
    ),
}


@dataclass(frozen=True)
class DetectorRecipe(Recipe):
    """How to train one detector on one dataset.

    The fields of `Recipe` that follow here last mean the same; what is for classifiers alone must be left as it is.

    Attributes:
        model: the backbone, a name of the `BACKBONES` of `xxnet_jax.detection.backbones`, `yolo_v1` or `yolo_v2`.
        data: voc:FOLDER, coco:FOLDER?annotations=FILE or tfds:voc/2007.
        batch_size: images, over all devices.
        height: of the canvas on which images are laid.
        width: of the canvas.
        canvas_fit: letterbox, corner or stretch.
        resize_to: images are scaled to this shorter side, or less if they would not fit; by default as large as fits.
        max_objects: of an image; more are left out of training, the smallest first.
        changes_of_objects: random changes of training images.
        canvases: multi-scale training: heights and widths, one of which every 10 batches are laid on, at random;
            height and width are those of the evaluation.
        detector: fast_rcnn, faster_rcnn, yolo_v1 or yolo_v2.
        fast_rcnn: its numbers, if it is the detector.
        faster_rcnn: the same.
        yolo_v1: the same.
        yolo_v2: the same.
        proposals: where Fast R-CNN looks: fast or quality, selective search; or the folder of a run of Faster R-CNN,
            whose first stage proposes.
        windows: of an image that Fast R-CNN looks at, the likeliest ones.
        windows_cache: folder that keeps the windows of selective search.
    """

    task: ClassVar[TaskName] = "detection"
    of_others = (*OF_CLASSIFIERS, "begin_with")

    model: str = "vgg16"
    data: str = ""
    batch_size: int = 2
    height: int = 600
    width: int = 1000
    canvas_fit: ObjectsFit = "corner"
    resize_to: int | None = None
    max_objects: int = 64
    changes_of_objects: ObjectsAugmentation = field(default_factory=ObjectsAugmentation)
    canvases: tuple[tuple[int, int], ...] = ()
    detector: DetectorName = "faster_rcnn"
    fast_rcnn: RegionSettings = field(default_factory=RegionSettings)
    faster_rcnn: FasterRCNNSettings = field(default_factory=FasterRCNNSettings)
    yolo_v1: YoloV1Settings = field(default_factory=YoloV1Settings)
    yolo_v2: YoloV2Settings = field(default_factory=YoloV2Settings)
    proposals: str = "fast"
    windows: int = 2000
    windows_cache: str = "runs/windows"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.detector not in DETECTORS:
            raise UnknownName("detector", self.detector, DETECTORS)
        if self.canvases and self.steps_per_call != 1:
            raise InvalidArgument("steps on canvases of several sizes are calls of their own: give steps_per_call 1")
        if self.canvases:
            check_sizes(self)
        if self.canvases and self.resize_to:
            raise InvalidArgument("resize_to would keep the images as they are on all canvases: leave one of them out")
        if self.windows < 1:
            raise InvalidArgument(f"windows must be 1 or more, got {self.windows}")
        self.format_of(3)

    def format_of(self, channels: int) -> ObjectsFormat:
        """The canvas."""
        return ObjectsFormat(
            self.height,
            self.width,
            channels,
            self.max_objects,
            self.canvas_fit,
            self.resize_to,
            max_windows=self.windows if self.detector == WITH_WINDOWS else 0,
        )

    def without_effect(self) -> frozenset[str]:
        """See `Recipe.without_effect`."""
        return super().without_effect() | {"windows_cache"}


def resolve(recipe: DetectorRecipe, source: Source) -> RunConfig:
    """What the recipe leaves to the backbone and the dataset."""
    known = DETECTORS[recipe.detector].backbones
    if recipe.model not in known:
        raise UnknownName("backbone", recipe.model, known)
    if recipe.proposals not in SETTINGS and not Path(recipe.proposals).is_dir():
        raise UnknownName("way to propose, nor folder of a run", recipe.proposals, SETTINGS)
    preprocessing = recipe.preprocessing or model_info(known[recipe.model].model).preprocessing
    check_preprocessing(preprocessing)
    canvas = ImageFormat(*recipe.format_of(source.image_shape[-1]).shape)
    return RunConfig(recipe, canvas, None, preprocessing, source.classes)


def check_sizes(recipe: DetectorRecipe) -> None:
    """Refuse other sizes than the recipe's where the detector cannot take them."""
    if recipe.detector == "yolo_v1":
        raise InvalidArgument("the dense layers of yolo_v1 take images of one size: leave canvases out")


def on_canvas(config: RunConfig, height: int, width: int) -> RunConfig:
    """The configuration with another canvas: a network without dense layers takes images of other sizes.

    Images are laid on it as large as fits.

    Raises:
        ValueError: the detector has dense layers, or does not take images of this size.
    """
    check_sizes(recipe_of(config))
    recipe = replace(recipe_of(config), height=height, width=width, resize_to=None)
    return replace(
        config, recipe=recipe, image_format=ImageFormat(*recipe.format_of(config.image_format.channels).shape)
    )


def recipe_of(config: RunConfig) -> DetectorRecipe:
    assert isinstance(config.recipe, DetectorRecipe)
    return config.recipe


def objects_decoder(config: RunConfig) -> ObjectsDecoder:
    """Lays the images of a run on its canvas."""
    recipe = recipe_of(config)
    canvas = recipe.format_of(config.image_format.channels)
    search = search_of(recipe) if recipe.detector == WITH_WINDOWS else None
    options = recipe.skip_corrupt, recipe.changes_of_objects, recipe.canvases, search
    return ObjectsDecoder(canvas, len(config.classes), *options)


def search_of(recipe: DetectorRecipe) -> Search:
    """What finds the windows of Fast R-CNN in an image."""
    if recipe.proposals in SETTINGS:
        return Searched(recipe.proposals, Path(recipe.windows_cache))
    return Proposed(Path(recipe.proposals))


def build_detector(config: RunConfig) -> nn.Module:
    """The network of a run."""
    recipe = recipe_of(config)
    formats, options = FORMATS[recipe.precision]._asdict(), dict(recipe.model_options)
    create, settings = DETECTORS[recipe.detector].create, getattr(recipe, recipe.detector)
    return create(recipe.model, len(config.classes), settings, **formats, **options)


def detector_loss(recipe: DetectorRecipe) -> LossFn:
    """The loss that a run trains with, without its penalty."""
    return DETECTORS[recipe.detector].loss(recipe)


def detector_inputs(loader: Loader, config: RunConfig) -> InputFn:
    """The input function of a run; random changes are made on the host."""
    return input_function(loader, config.inputs)


def places(batch: Mapping[str, Any]) -> dict[str, Any]:
    """What the network is called with: where the images lie, and windows, where the decoder finds some."""
    given = {"content": batch["content"]}
    if "windows" in batch:
        given["windows"] = Windows(batch["windows"], batch["window_mask"])
    return given


def arguments(batch: Batch) -> dict[str, Any]:
    """What the network is called with in training: `places`, and the objects.

    Difficult objects and crowds are not learnt from, as in py-faster-rcnn.
    """
    present = batch["object_mask"] & ~batch["difficult"] & ~batch["crowd"]
    return {**places(batch), "objects": Objects(batch["boxes"], batch["labels"], present)}


# --- Evaluation ------------------------------------------------------------------------------------------------------


def true_objects(examples: Examples[ObjectsExample], decoder: Decoder) -> Iterator[GroundTruth | None]:
    """The objects of each example, in pixels of its image; None for a corrupt one, if they are skipped.

    As in training, they are cut off at the edges of the image, and what has no area there is left out.
    """
    for example in readable(examples, decoder):
        if example is None:
            yield None
            continue
        rows, columns = example["image"].shape[:2]
        seen = cropped(example, Window(0, 0, columns, rows))
        yield GroundTruth(seen["boxes"], seen["labels"], seen["difficult"], seen["crowd"])


def readable(examples: Examples[ObjectsExample], decoder: Decoder) -> Iterator[ObjectsExample | None]:
    """Each example; None for a corrupt one, if they are skipped."""
    if not isinstance(examples, IndexedExamples):
        yield from examples
        return
    for index in range(len(examples)):
        try:
            yield examples[index]
        except CorruptData:
            if not decoder.skip_corrupt:
                raise
            yield None


def detections_of(found: Found, batch: Mapping[str, Any]) -> list[Detections]:
    """Of each image of a batch, in its own pixels.

    Args:
        found: arrays of NumPy.
        batch: has "content", "scale" and "size".
    """
    boxes = in_image(found.boxes, batch["content"], batch["scale"], batch["size"])
    return [
        Detections(boxes[i][valid], found.scores[i][valid], found.labels[i][valid])
        for i, valid in enumerate(found.valid)
    ]


def make_detect(model: nn.Module, loader: Loader, inputs: InputFn, mesh: Mesh) -> Any:
    """`detect(variables)`: the detections of every image of the loader, None where it is masked."""

    def step(variables: dict[str, Any], batch: Batch) -> tuple[dict[str, Any], dict[str, Any]]:
        found = model.apply(variables, batch["image"], **places(batch), train=False)
        return {}, {"found": found, **{key: batch[key] for key in ("content", "scale", "size", "mask")}}

    detect_batch = compile_eval_step(step, inputs, mesh)
    resident = put(loader.resident, replicated(mesh))

    def detect(variables: dict[str, Any]) -> list[Detections | None]:
        results: list[Detections | None] = []
        for batch in loader.batches():
            told = jax.device_get(detect_batch(variables, resident, batch)[1])
            found = detections_of(told["found"], {**told, "scale": np.where(told["scale"] > 0, told["scale"], 1)})
            results += [each if there else None for each, there in zip(found, told["mask"], strict=True)]
        return results[: loader.num_examples]

    return detect


def detector_of_split(
    config: RunConfig, model: nn.Module, source: Source, split: str, *, decoder: Decoder, mesh: Mesh
) -> Any:
    """`pairs(variables)`: detections and objects of all images of a split, but for corrupt ones."""
    examples = source.examples(split)
    recipe = config.recipe
    batch_size = -(-recipe.batch_size // mesh.size) * mesh.size
    loader = make_loader(
        examples, decoder, batch_size, train=False, resident=recipe.resident, rows=own_rows(mesh, batch_size)
    )
    truths = list(true_objects(examples, decoder))
    detect = make_detect(model, loader, detector_inputs(loader, config), mesh)

    def pairs(variables: dict[str, Any]) -> Pairs:
        return paired(detect(variables), truths, split)

    return pairs


def paired(found: Iterable[Detections | None], truths: Iterable[GroundTruth | None], split: str) -> Pairs:
    """Detections and objects of the images of a split that have both.

    Raises:
        ValueError: there is none.
    """
    both = [(one, other) for one, other in zip(found, truths, strict=True) if one is not None and other is not None]
    if not both:
        raise CorruptData(f"there is no image to evaluate in {split}")
    return [one for one, _ in both], [other for _, other in both]


def average_precisions(pairs: Pairs, source: Source, split: str) -> dict[str, float]:
    """The mean "mAP" at an IoU of .5, and "AP/CLASS" of each class with objects.

    Raises:
        ValueError: there are no objects.
    """
    result = voc_average_precision(*pairs, source.num_classes)
    if math.isnan(result.mean_average_precision):
        raise InvalidArgument(f"{split} of {source.uri} has no objects: it has no average precision")
    each = zip(source.classes, result.average_precision.tolist(), strict=True)
    return {"mAP": result.mean_average_precision} | {f"AP/{name}": ap for name, ap in each if not math.isnan(ap)}


def detection_evaluator(
    config: RunConfig, model: nn.Module, source: Source, split: str, *, decoder: Decoder, mesh: Mesh
) -> Evaluate:
    """`evaluate(variables)` of a split: its `average_precisions`.

    Raises (when it is called):
        ValueError: the split has no objects.
    """
    pairs = detector_of_split(config, model, source, split, decoder=decoder, mesh=mesh)

    def evaluate(variables: dict[str, Any]) -> Evaluation:
        return Evaluation(average_precisions(pairs(variables), source, split), {})

    return evaluate


DETECTION = Task(
    DetectorRecipe,
    "mAP",
    resolve,
    objects_decoder,
    build_detector,
    detector_loss,
    detector_inputs,
    detection_evaluator,
    arguments,
)
run_detector = functools.partial(run, task=DETECTION)


# --- Using a run -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedDetector(Trained):
    """A trained detector."""

    model: nn.Module

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """What is found in images, uint8 [height, width, channels] of any size, in pixels of each."""
        if not images:
            raise InvalidArgument("there is no image to look at")
        decoder = objects_decoder(self.config)
        batch = decoder.stack((decoder(make_example(image, (), ())) for image in images), len(images))
        return detections_of(jax.device_get(self._apply(self.variables, batch["image"], places(batch))), batch)

    @functools.cached_property
    def _apply(self) -> Any:
        def found(variables: Any, images: jax.Array, given: dict[str, Any]) -> Any:
            return self.model.apply(variables, self.config.inputs(images), **given, train=False)

        return jax.jit(found)

    def propose(self, image: np.ndarray) -> np.ndarray:
        """Proposals of the first stage, float32 [n, 4], the likeliest first, in pixels of an image that fits the canvas
        as it is."""
        canvas = np.zeros((1, *self.config.image_format.shape), np.uint8)
        rows, columns = image.shape[:2]
        canvas[0, :rows, :columns] = image
        proposed = jax.device_get(self._propose(self.variables, canvas, np.array([[0, 0, columns, rows]], np.float32)))
        return proposed.boxes[0][proposed.valid[0]]

    @functools.cached_property
    def _propose(self) -> Any:
        def proposed(variables: Any, images: jax.Array, content: jax.Array) -> Any:
            options: Any = {"content": content, "proposes": True, "train": False}
            return self.model.apply(variables, self.config.inputs(images), **options)

        return jax.jit(proposed)


class DetectorRun(TaskRun[TrainedDetector]):
    """The run folder of a detector."""

    task = DETECTION
    trained = TrainedDetector

    def pairs(self, split: str, source: Source, canvas: tuple[int, int] | None = None) -> Any:
        """`pairs(variables)`: detections and objects of all images of a split of a source with the run's classes.

        Args:
            split: such as test, or train[:100].
            source: of the images.
            canvas: height and width; by default the recipe's.

        Raises:
            ValueError: the source has other classes.
        """
        check_classes(source, self.config)
        config = self.config if canvas is None else on_canvas(self.config, *canvas)
        decoder = objects_decoder(config)
        return detector_of_split(config, self.model, source, split, decoder=decoder, mesh=make_mesh(1))


# --- Where Fast R-CNN looks ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searched:
    """Windows of selective search, kept on disk.

    Attributes:
        settings: "fast" or "quality".
        cache: folder that keeps them.
    """

    settings: str
    cache: Path

    def __call__(self, image: np.ndarray) -> np.ndarray:
        return selective_search(image, self.settings, cache=self.cache)[0]


@dataclass(frozen=True)
class Proposed:
    """Proposals of the first stage of a run's best checkpoint, kept in the folder of the run.

    Attributes:
        run: its folder.
    """

    run: Path

    def __call__(self, image: np.ndarray) -> np.ndarray:
        pixels = np.ascontiguousarray(image)
        name = hashlib.sha256(json.dumps(pixels.shape).encode() + pixels.tobytes()).hexdigest()
        file = self.run / "proposals" / f"{name}.npz"
        if file.exists():
            return read_npz(file, "boxes")[0]
        boxes = _detector(self.run).propose(image)
        make_folder(file.parent)
        write_npz(file, boxes=boxes)
        return boxes


@functools.lru_cache(maxsize=1)
def _detector(path: Path) -> TrainedDetector:
    return DetectorRun(path).load()
