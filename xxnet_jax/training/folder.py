"""The run folder: what a training run leaves on disk.

config.json      the recipe and what was resolved from it
statistics.npz   of the training images, where the preprocessing needs them
parameters.csv   each parameter: path, shape, whether it is frozen, factor of its rate, weight decay
metrics.jsonl    one object a line: step, epoch, train/..., validation/..., time/...
checkpoints/     Orbax: the best one by validation, the last, and those of keep_epochs
curves.png       loss and accuracy over the steps
report.json      final figures; it is there when the run is finished
profile/         summary.txt, summary.json and a trace of a few steps, where --profile asked for it
tensorboard/     events, where tensorboardX is installed
"""

import fcntl
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax

from xxnet_jax.data import FITTED, ImageFormat, Statistics, preprocess
from xxnet_jax.errors import CannotWrite, ConfigMismatch, CorruptData, MissingData
from xxnet_jax.files import read_json_lines, write_atomically, write_csv
from xxnet_jax.training.recipe import Recipe, differences, recipe_from_json


@dataclass(frozen=True)
class RunConfig:
    """What must be known to use a trained network without its dataset.

    Attributes:
        recipe: as given.
        image_format: of the images that the network takes.
        source_size: (height, width) of the dataset's images where all have the same; others are resized to it before
            they are padded.
        preprocessing: from pixels to inputs.
        classes: names, by label.
        statistics: of the training images, where the preprocessing needs them.
    """

    recipe: Recipe
    image_format: ImageFormat
    source_size: tuple[int, int] | None
    preprocessing: str
    classes: tuple[str, ...]
    statistics: Statistics | None = None

    def inputs(self, images: jax.Array) -> jax.Array:
        """Inputs of the network, float32, of images [..., height, width, channels], uint8 or float32 in [0, 1]."""
        return preprocess(images, self.preprocessing, self.statistics)

    def to_json(self) -> str:
        """All but the statistics, which have a file of their own."""
        values = {"task": self.recipe.task, **asdict(replace(self, statistics=None))}
        del values["statistics"]
        return json.dumps(values, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, kind: type[Recipe] = Recipe) -> "RunConfig":
        values = json.loads(text)
        task = values.get("task", Recipe.task)
        if task != kind.task:
            raise ConfigMismatch(f"it is a run of {task}, where one of {kind.task} was expected")
        return cls(
            recipe=recipe_from_json(values["recipe"], kind),
            image_format=ImageFormat(**values["image_format"]),
            source_size=tuple(values["source_size"]) if values["source_size"] else None,
            preprocessing=values["preprocessing"],
            classes=tuple(values["classes"]),
        )


class RunFolder:
    """Paths and files of a run.

    Args:
        path: of the folder.
        kind: of its recipe.
    """

    def __init__(self, path: Path, kind: type[Recipe] = Recipe):
        self.path = path
        self.kind = kind

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def statistics(self) -> Path:
        return self.path / "statistics.npz"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def curves(self) -> Path:
        return self.path / "curves.png"

    @property
    def profile(self) -> Path:
        return self.path / "profile"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Make the folder, and keep a second training out of it.

        Raises:
            OSError: it cannot be written, or another process trains in it.
        """
        lock = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            file = lock.open("w")
        except OSError as error:
            raise CannotWrite(f"cannot write the run folder {self.path}: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise CannotWrite(
                    f"another process is training in {self.path}: wait for it, or name another --workdir"
                ) from error
            yield

    def config(self) -> RunConfig:
        """The configuration of the run.

        Raises:
            FileNotFoundError: there is no run here.
            ValueError: config.json cannot be read, or is that of a run for something else.
        """
        path = self.path / "config.json"
        if not path.is_file():
            raise MissingData(f"no run in {self.path}: {path.name} is missing")
        try:
            config = RunConfig.from_json(path.read_text(encoding="utf-8"), self.kind)
        except ConfigMismatch as error:
            raise ConfigMismatch(f"cannot use {path}: {error}") from error
        except (KeyError, TypeError, ValueError) as error:
            raise CorruptData(f"cannot read {path}: {error}") from error
        if config.preprocessing in FITTED:
            config = replace(config, statistics=Statistics.load(self.statistics))
        return config

    def check(self, config: RunConfig) -> None:
        """Refuse to continue the run in this folder, if there is one, with another configuration.

        Raises:
            ValueError: it is not; the message lists the differences.
        """
        path = self.path / "config.json"
        if path.exists():
            changed = differences(self.config().recipe, config.recipe)
            if changed:
                raise ConfigMismatch(
                    f"{self.path} holds a run with another configuration:\n  "
                    + "\n  ".join(changed)
                    + "\ngive it the old values to resume, or name another --workdir"
                )

    def begin(self, config: RunConfig, parameters: Sequence[Mapping[str, Any]]) -> None:
        """Write config.json, parameters.csv and, if there are any, the statistics."""
        if config.statistics is not None:
            config.statistics.save(self.statistics)
        write_csv(self.path / "parameters.csv", parameters)
        write_atomically(self.path / "config.json", config.to_json())

    def report(self) -> dict[str, Any] | None:
        """The final report, or None while the run is not finished.

        Raises:
            ValueError: report.json cannot be read.
        """
        path = self.path / "report.json"
        if not path.is_file():
            return None
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise CorruptData(f"cannot read {path}: {error}") from error

    def history(self) -> list[dict[str, Any]]:
        """What was logged, in the order of the steps, with the "seconds" of training and evaluation until then.

        The steps between two lines take the time that the rate of the second one says.

        Raises:
            ValueError: a line of metrics.jsonl is whole, but not one of a run.
        """
        batch_size = self.config().recipe.batch_size
        seconds, timed, lines = 0.0, 0, []
        for line in read_json_lines(self.metrics):
            if not (isinstance(line, dict) and {"step", "epoch"} <= line.keys()):
                raise CorruptData(f"{self.metrics} has a line without step and epoch: {str(line)[:80]}")
            if "time/examples_per_second" in line:
                seconds += (line["step"] - timed) * batch_size / line["time/examples_per_second"]
                timed = line["step"]
            seconds += line.get("time/evaluation_seconds", 0.0)
            lines.append({**line, "seconds": seconds})
        return lines

    def write_report(self, report: dict[str, Any]) -> None:
        """Finish the run."""
        write_atomically(self.path / "report.json", json.dumps(report, indent=2) + "\n")
