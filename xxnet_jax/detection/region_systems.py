"""R-CNN and SPP-net from data to detections: stages, each of which is done once and kept in the run folder.

    system.json          the recipe
    pretraining/         run of a classifier of objects
    finetuning/          run of the network on windows
    features/            windows of the training images, and their features; removed at the end
    regions.npz          machines and regressions
    report.json          final figures; it is there when all is finished

The same call again goes on where one was interrupted, within the two trainings, too. What is R-CNN's own is in `rcnn`,
SPP-net's in `sppnet`, what both do in `crops` and `region_learning`.
"""

import functools
import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from xxnet_jax.data import ObjectsDecoder, Source, open_source
from xxnet_jax.data.objects import ObjectsExample
from xxnet_jax.data.source import Examples, IndexedExamples
from xxnet_jax.detection.backbones import create_parts
from xxnet_jax.detection.crops import (
    CROPS,
    CropRecipe,
    CropRun,
    CropSettings,
    Features,
    PyramidNetwork,
    crop_decoder,
    learnable,
)
from xxnet_jax.detection.rcnn import WarpedWindows
from xxnet_jax.detection.region_learning import (
    Described,
    RegionImage,
    RegionLearning,
    RegionModel,
    TrueObjects,
    detect_regions,
    learn_regions,
)
from xxnet_jax.detection.runs import (
    DETECTION,
    DetectorRecipe,
    DetectorRun,
    average_precisions,
    objects_decoder,
    paired,
    readable,
    true_objects,
)
from xxnet_jax.detection.sppnet import NOMINAL, SCALES, MappedWindows, check_scales
from xxnet_jax.errors import ConfigMismatch, CorruptData, InvalidArgument, MissingData
from xxnet_jax.files import make_folder, read_npz, write_atomically, write_npz
from xxnet_jax.metrics.matching import Detections, GroundTruth
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.loop import LoopResult
from xxnet_jax.training.recipe import recipe_from_json, settings
from xxnet_jax.training.run import check_classes, run, versions

DescribeWindows = Callable[[np.ndarray, np.ndarray], Features]


@dataclass(frozen=True)
class RCNNRecipe:
    """How to train R-CNN.

    Attributes:
        pretraining: of the network, on objects.
        finetuning: on windows; it begins with the network before, but for the last layer.
        learning: of machines and regressions.
    """

    system: ClassVar[str] = "rcnn"

    pretraining: CropRecipe = field(default_factory=lambda: CropRecipe(crops=CropSettings(of="objects")))
    finetuning: CropRecipe = field(default_factory=CropRecipe)
    learning: RegionLearning = field(default_factory=RegionLearning)

    def __post_init__(self) -> None:
        check_same(self.pretraining, self.finetuning.model, self.finetuning.crops.levels, self.finetuning.crops.dense)

    def finetune(self, workdir: Path, initial: dict[str, Any], *, quiet: bool) -> dict[str, Any] | LoopResult:
        """The second stage."""
        return run(self.finetuning, workdir, task=CROPS, initial=initial, quiet=quiet)

    def load(self, workdir: Path) -> tuple[RunConfig, ObjectsDecoder, DescribeWindows]:
        """Of the second stage: its configuration, what finds windows, and what describes them."""
        trained = CropRun(workdir)
        config = trained.config
        crops = self.finetuning.crops
        describe = WarpedWindows(trained.model, trained.restore()[0], config.inputs, crops)
        return config, crop_decoder(config).objects, describe


@dataclass(frozen=True)
class SPPNetRecipe:
    """How to train SPP-net.

    Attributes:
        pretraining: of the network, on objects, in several sizes.
        finetuning: of its dense layers on windows, by Fast R-CNN with `pooling="pyramid"` and a frozen backbone.
        learning: of machines and regressions.
        scales: shorter sides in which the convolutions see an image.
        nominal: side of the square that each window's number of pixels comes near to.
    """

    system: ClassVar[str] = "sppnet"

    pretraining: CropRecipe = field(default_factory=lambda: CropRecipe(crops=CropSettings(of="objects")))
    finetuning: DetectorRecipe = field(default_factory=lambda: DetectorRecipe(detector="fast_rcnn"))
    learning: RegionLearning = field(default_factory=RegionLearning)
    scales: tuple[int, ...] = SCALES
    nominal: float = NOMINAL

    def __post_init__(self) -> None:
        detector = self.finetuning.fast_rcnn
        if self.finetuning.detector != "fast_rcnn":
            raise InvalidArgument(
                f"SPP-net is fine-tuned as fast_rcnn, not as {self.finetuning.detector}: set detector"
            )
        if detector.pooling != "pyramid":
            raise InvalidArgument(f"SPP-net pools by a pyramid, not by {detector.pooling}: set fast_rcnn.pooling")
        check_same(self.pretraining, self.finetuning.model, detector.levels, detector.dense)
        check_scales(self.scales, self.nominal)

    def finetune(self, workdir: Path, initial: dict[str, Any], *, quiet: bool) -> dict[str, Any] | LoopResult:
        """The second stage."""
        return run(self.finetuning, workdir, task=DETECTION, initial=initial, quiet=quiet)

    def load(self, workdir: Path) -> tuple[RunConfig, ObjectsDecoder, DescribeWindows]:
        """Of the second stage: its configuration, what finds windows, and what describes them."""
        trained = DetectorRun(workdir)
        config, detector = trained.config, self.finetuning.fast_rcnn
        parts = create_parts(self.finetuning.model, **dict(self.finetuning.model_options))
        outputs = 1 + len(config.classes)
        network = PyramidNetwork(parts.backbone, parts.stride, outputs, detector.levels, detector.dense, 0.0)
        describe = MappedWindows(network, trained.restore()[0], config.inputs, self.scales, self.nominal)
        return config, objects_decoder(config), describe


RegionRecipe = RCNNRecipe | SPPNetRecipe
SYSTEMS: dict[str, type[RCNNRecipe] | type[SPPNetRecipe]] = {kind.system: kind for kind in (RCNNRecipe, SPPNetRecipe)}


def check_same(pretraining: CropRecipe, model: str, levels: tuple[int, ...], dense: tuple[int, ...]) -> None:
    """Refuse a second stage whose network is another one."""
    first = (pretraining.model, pretraining.crops.levels, pretraining.crops.dense)
    if first != (model, levels, dense):
        raise InvalidArgument(
            f"backbone, levels and dense layers must be the same in both trainings, got {first} and "
            f"{(model, levels, dense)}"
        )


# --- The folder ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SystemFolder:
    """Files of a system; see above."""

    path: Path

    @property
    def pretraining(self) -> Path:
        return self.path / "pretraining"

    @property
    def finetuning(self) -> Path:
        return self.path / "finetuning"

    @property
    def features(self) -> Path:
        return self.path / "features"

    @property
    def regions(self) -> Path:
        return self.path / "regions.npz"

    def begin(self, recipe: RegionRecipe) -> None:
        """Write system.json, or see that it is the one that is there.

        Raises:
            ValueError: the folder holds a system with another recipe; the message lists the differences.
            OSError: it cannot be written.
        """
        path = self.path / "system.json"
        if not path.exists():
            make_folder(self.path)
            write_atomically(path, json.dumps({"system": recipe.system, **asdict(recipe)}, indent=2) + "\n")
        elif (old := self.recipe()) != recipe:
            each: list[Any] = [old, recipe]
            before, after = ({"system": one.system, **settings(one)} for one in each)
            changed = [
                f"{name}: {before.get(name)!r} -> {after.get(name)!r}"
                for name in {**before, **after}
                if before.get(name) != after.get(name)
            ]
            raise ConfigMismatch(
                f"{self.path} holds a system with another recipe:\n  "
                + "\n  ".join(changed)
                + "\ngive it the old values to go on, or name another --workdir"
            )

    def recipe(self) -> RegionRecipe:
        """The recipe of the system.

        Raises:
            FileNotFoundError: there is no system here.
            ValueError: system.json cannot be read.
        """
        path = self.path / "system.json"
        if not path.is_file():
            raise MissingData(f"no system in {self.path}: system.json is missing")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            kind: Any = SYSTEMS[values.pop("system")]
            recipe: Any = recipe_from_json(values, kind)
            return recipe
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptData(f"cannot read {path}: {error}") from error

    def report(self) -> dict[str, Any] | None:
        """The final report, or None."""
        path = self.path / "report.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def write_report(self, report: dict[str, Any]) -> None:
        """Finish the system."""
        write_atomically(self.path / "report.json", json.dumps(report, indent=2) + "\n")

    def model(self) -> RegionModel | None:
        """Machines and regressions, or None."""
        return RegionModel(*read_npz(self.regions, *RegionModel._fields)) if self.regions.exists() else None


# --- Training --------------------------------------------------------------------------------------------------------


def train_system(recipe: RegionRecipe, workdir: Path, *, quiet: bool = False) -> dict[str, Any] | LoopResult:
    """All stages that are not done yet, an evaluation of validation and test split, and the report.

    Args:
        recipe: of R-CNN or SPP-net.
        workdir: the folder.
        quiet: print nothing.

    Returns:
        The report, or the `LoopResult` of a training that a signal ended.

    Raises:
        XXNetError: what the user should mend.
    """
    folder = SystemFolder(workdir)
    folder.begin(recipe)
    if (report := folder.report()) is not None:
        return report
    say: Callable[[str], None] = (lambda text: None) if quiet else functools.partial(print, flush=True)
    result = run(recipe.pretraining, folder.pretraining, task=CROPS, quiet=quiet)
    if isinstance(result, LoopResult):
        return result
    result = recipe.finetune(folder.finetuning, _beginning(folder.pretraining), quiet=quiet)
    if isinstance(result, LoopResult):
        return result

    finetuning = recipe.finetuning
    source = open_source(finetuning.data, data_dir=finetuning.data_dir, download=finetuning.download, task="detection")
    began = time.perf_counter()
    config, decoder, describe = recipe.load(folder.finetuning)
    model = folder.model()
    if model is None:
        say(f"features of the windows of {finetuning.train_split}")
        images = _training_images(source.examples(finetuning.train_split), decoder, describe, folder.features)
        say(f"machines and regressions of {len(config.classes)} classes")
        model = learn_regions(images, len(config.classes), recipe.learning)
        write_npz(folder.regions, **model._asdict())
    shutil.rmtree(folder.features, ignore_errors=True)
    trained = TrainedSystem(config, decoder, describe, model, recipe.learning)
    report = {
        "system": recipe.system,
        "model": finetuning.model,
        "data": finetuning.data,
        "finetuning": {"step": result["step"], "best_step": result["best_step"], "seconds": result["seconds"]},
        "seconds_of_regions": round(time.perf_counter() - began, 2),
    }
    for name, split in (("validation", finetuning.validation_split), ("test", finetuning.test_split)):
        if split is not None:
            say(f"windows of {split}")
            figures = average_precisions(trained.pairs(split, source), source, split)
            report |= {f"{name}/{key}": value for key, value in figures.items()}
    report |= {"versions": versions(), "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    folder.write_report(report)
    return report


def _beginning(pretraining: Path) -> dict[str, Any]:
    """The variables of the classifier of objects, but for those of its outputs."""
    variables = CropRun(pretraining).restore()[0]
    params = {name: values for name, values in variables["params"].items() if name != "cls_score"}
    return {**variables, "params": params}


def _training_images(
    examples: Examples[ObjectsExample], decoder: ObjectsDecoder, describe: DescribeWindows, folder: Path
) -> list[RegionImage]:
    """The images that can be read, with the features of their windows on disk, where they are made once."""
    if not isinstance(examples, IndexedExamples):
        raise InvalidArgument("windows are looked at several times: give data whose images can be read in any order")
    make_folder(folder)
    images = []
    for number, example in enumerate(readable(examples, decoder)):
        if example is None:
            continue
        example = learnable(example)
        objects = TrueObjects(example["boxes"], example["labels"])
        file = folder / f"{number}.npz"
        if not file.exists():
            boxes = np.concatenate([objects.boxes, decoder.windows(example["image"])])
            write_npz(file, boxes=boxes, hidden=describe(example["image"], boxes).hidden)

        def windows(file: Path = file) -> Described:
            return Described(*read_npz(file, *Described._fields))

        def pool(boxes: np.ndarray, number: int = number) -> np.ndarray:
            return describe(learnable(examples[number])["image"], boxes).pooled

        images.append(RegionImage(example["image"].shape[:2], windows, pool, objects))
    return images


# --- Using a system --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TrainedSystem:
    """A system as it finds objects.

    Attributes:
        config: of the run of its network.
        decoder: finds windows.
        describe: their features.
        variables: machines and regressions.
        learning: numbers of detection.
        step: as of other detectors; a system has no checkpoints.
    """

    config: RunConfig
    decoder: ObjectsDecoder
    describe: DescribeWindows
    variables: RegionModel
    learning: RegionLearning
    step: int = 0

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """What is found in images, uint8 [height, width, channels] of any size, in pixels of each."""
        if not images:
            raise InvalidArgument("there is no image to look at")
        return [self._detect(image) for image in images]

    def pairs(self, split: str, source: Source) -> tuple[list[Detections], list[GroundTruth]]:
        """Detections and objects of all images of a split that can be read."""
        examples = source.examples(split)
        found = (
            None if example is None else self._detect(example["image"]) for example in readable(examples, self.decoder)
        )
        return paired(found, true_objects(examples, self.decoder), split)

    def _detect(self, image: np.ndarray) -> Detections:
        boxes = self.decoder.windows(image)

        def windows() -> Described:
            return Described(boxes, self.describe(image, boxes).hidden)

        def pool(chosen: np.ndarray) -> np.ndarray:
            return self.describe(image, chosen).pooled

        described = RegionImage(image.shape[:2], windows, pool)
        return detect_regions(described, self.variables, self.learning, self.decoder.objects_format.max_windows)


class SystemRun:
    """The folder of a system, to use it as `DetectorRun` is used."""

    def __init__(self, path: Path):
        self.folder = SystemFolder(path)
        self.recipe = self.folder.recipe()
        self.config, self._decoder, self._describe = self.recipe.load(self.folder.finetuning)

    def load(self, step: int | None = None) -> TrainedSystem:
        """The system.

        Raises:
            FileNotFoundError: its machines are not learnt yet.
            ValueError: a step was asked for.
        """
        if step is not None:
            raise InvalidArgument(f"{self.recipe.system} has no checkpoints: leave the step out")
        model = self.folder.model()
        if model is None:
            raise MissingData(f"{self.folder.path} is not trained to the end: run the same command again")
        return TrainedSystem(self.config, self._decoder, self._describe, model, self.recipe.learning)

    def pairs(self, split: str, source: Source) -> Callable[[Any], tuple[list[Detections], list[GroundTruth]]]:
        """`pairs(machines)`: detections and objects of all images of a split of a source with the system's classes."""
        check_classes(source, self.config)
        return lambda model: replace(self.load(), variables=model).pairs(split, source)


def open_detector(path: Path) -> DetectorRun | SystemRun:
    """The run of a detector, or the system, in a folder."""
    return SystemRun(path) if (path / "system.json").is_file() else DetectorRun(path)
