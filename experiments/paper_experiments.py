"""What the experiments of `papers/` are made of: cells of a grid, each a recipe, and what should be seen in them."""

import importlib
import itertools
import pkgutil
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import papers
from run_table import Row

from xxnet_jax.data import Decoder, open_source
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.training import Recipe, Run

Size = Literal["smoke", "small", "full"]
Word = Literal["agrees", "disagrees", "undecided"]
Results = Mapping[str, Sequence[Row]]  # cell -> a row for each seed

# What every run has; an experiment may measure more.
FIGURES = ("test_accuracy", "test_loss", "train_accuracy", "train_loss", "parameters", "steps", "images_per_second")

# --- Data of the small versions ---------------------------------------------------------------------------------------

MNIST = Recipe(
    model="lenet5",
    data="tfds:mnist",
    fit="pad",
    train_split="train[:6000]",
    validation_split=None,
    test_split="test[:5000]",
    schedule=ScheduleConfig(name="cosine"),
    batch_size=64,
    epochs=3,
    keep_last=1,
)
CIFAR10 = Recipe(
    data="tfds:cifar10",
    image_size=32,
    train_split="train[:5000]",
    validation_split=None,
    test_split="test[:2000]",
    schedule=ScheduleConfig(name="cosine"),
    batch_size=64,
    epochs=6,
    keep_last=1,
)
# Of half the width, and images of half the size.
SMALL_RESNET = replace(
    CIFAR10,
    image_size=16,
    model_options={"widths": (8, 16, 32), "stem_features": 8},
    optimizer="momentum",
    learning_rate=0.05,
    epochs=4,
)
# All of CIFAR-10, where a paper's own recipe is for ImageNet.
FULL_CIFAR10 = Recipe(
    data="tfds:cifar10",
    image_size=32,
    train_split="train[:-5000]",
    validation_split="train[-5000:]",
    augmentation="cifar",
    optimizer="momentum",
    learning_rate=0.05,
    schedule=ScheduleConfig(name="cosine", unit="fraction", warmup=0.1),
    l2=5e-4,
    batch_size=128,
    epochs=60,
)
# A few steps on noise: that everything runs.
SMOKE: dict[str, Any] = {
    "train_split": "train",
    "validation_split": None,
    "test_split": "test",
    "steps": None,
    "epochs": 2,
    "batch_size": 8,
    "devices": 1,
}
NOISE = {"mnist": "fake:28x28x1/10?examples=16", "cifar10": "fake:32x32x3/10?examples=16"}


def changed(recipe: Recipe, changes: Mapping[str, Any] | None = None, **more: Any) -> Recipe:
    """The recipe with other fields; those that are dictionaries, such as `model_options`, are merged."""
    merged: dict[str, Any] = {}
    for name, value in (*(changes or {}).items(), *more.items()):
        before = merged.get(name, getattr(recipe, name))
        merged[name] = {**before, **value} if isinstance(value, dict) else value
    return replace(recipe, **merged)


# --- Cells ------------------------------------------------------------------------------------------------------------

Cells = Mapping[str, Mapping[str, Any]]


def models(*names: str) -> Cells:
    """A cell for each network."""
    return {name: {"model": name} for name in names}


def options(**by_name: Any) -> Cells:
    """A cell for each value of one knob: options(shortcut=("A", "B"))."""
    ((knob, values),) = by_name.items()
    return {f"{knob} {value}": {"model_options": {knob: value}} for value in values}


def fields_of(**by_name: Any) -> Cells:
    """A cell for each value of one field of the recipe: fields_of(batch_size=(16, 64))."""
    ((name, values),) = by_name.items()
    return {f"{name} {value}": {name: value} for value in values}


def crossed(*axes: Cells) -> Cells:
    """Every combination of the cells of each axis."""
    cells = {}
    for combination in itertools.product(*(axis.items() for axis in axes)):
        changes: dict[str, Any] = {}
        for _, own in combination:
            for key, value in own.items():
                changes[key] = {**changes.get(key, {}), **value} if isinstance(value, dict) else value
        cells[", ".join(name for name, _ in combination)] = changes
    return cells


# --- Claims -----------------------------------------------------------------------------------------------------------


class Statistic(NamedTuple):
    """A figure over the seeds of a cell.

    Attributes:
        mean: over the runs that did not diverge; None where all did.
        deviation: the standard deviation of a run; None with fewer than two.
        runs: how many.
        diverged: of them.
    """

    mean: float | None
    deviation: float | None
    runs: int
    diverged: int


def statistic(rows: Sequence[Row], figure: str) -> Statistic:
    """Mean and deviation of a figure over the rows of a cell."""
    values = [row[figure] for row in rows if row[figure] is not None]
    return Statistic(
        statistics.fmean(values) if values else None,
        statistics.stdev(values) if len(values) > 1 else None,
        len(rows),
        sum(row["diverged"] for row in rows),
    )


class Finding(NamedTuple):
    """What came of one claim, and why, in words."""

    word: Word
    reason: str


Claim = Callable[[Results], Finding]


@dataclass(frozen=True)
class Better:
    """The claim that a figure of one cell is better than that of another.

    Runs of the same seed begin alike and see the same images in the same order, so they are compared with each other:
    where the mean of their differences is not larger than the differences' deviation, or there is one pair only, the
    claim is undecided. A cell in which a run diverged is worse than one in which none did.

    Attributes:
        first, second: cells.
        figure: of both; losses are better when they are less.
        other: figure of the second cell, where it is another one; then both are mostly the same cell.
        by: at least so much better; negative: worse by so much at most.
        less: less is better; by default for losses.
    """

    first: str
    second: str
    figure: str = "test_accuracy"
    other: str | None = None
    by: float = 0.0
    less: bool | None = None

    def __call__(self, results: Results) -> Finding:
        other = self.other or self.figure
        first = statistic(results[self.first], self.figure)
        second = statistic(results[self.second], other)
        less = self.figure.endswith("loss") if self.less is None else self.less
        cells = (self.first, self.second) if self.other is None else (words(self.figure), words(other))
        names = f"{cells[0]} {shown(first, self.figure)}, {cells[1]} {shown(second, other)}"
        names = names if self.other else f"{words(self.figure)}: {names}"
        if first.diverged or second.diverged:
            word: Word = "agrees" if not first.diverged else "disagrees" if not second.diverged else "undecided"
            return Finding(word, names)
        seconds = {row["seed"]: row[other] for row in results[self.second]}
        pairs = [(row[self.figure], seconds[row["seed"]]) for row in results[self.first] if row["seed"] in seconds]
        if len(pairs) < 2:
            return Finding("undecided", f"{names}; one run tells no spread")
        differences = [(theirs - own if less else own - theirs) - self.by for own, theirs in pairs]
        difference = statistics.fmean(differences)
        if abs(difference) <= statistics.stdev(differences):
            return Finding("undecided", names)
        return Finding("agrees" if difference > 0 else "disagrees", names)


def in_order(*cells: str, figure: str = "test_accuracy", less: bool | None = None) -> tuple[Better, ...]:
    """Each cell is better than the one that follows."""
    return tuple(Better(first, second, figure, less=less) for first, second in itertools.pairwise(cells))


def judge(claims: Sequence[Claim], results: Results) -> Finding:
    """All claims together: one that fails decides, then one that is undecided."""
    findings = [claim(results) for claim in claims]
    if not findings:
        return Finding("undecided", "no claim is about these cells alone")
    found = {finding.word for finding in findings}
    word: Word = "disagrees" if "disagrees" in found else "undecided" if "undecided" in found else "agrees"
    reasons = (f"{finding.reason} ({finding.word})" if len(found) > 1 else finding.reason for finding in findings)
    return Finding(word, "; ".join(dict.fromkeys(reasons)))


def first_images(run: Run, number: int) -> tuple[np.ndarray, np.ndarray]:
    """The first images of the test split, uint8 [number, height, width, channels], and their labels; fewer where there
    are not so many."""
    recipe = run.config.recipe
    assert recipe.test_split is not None
    examples = open_source(recipe.data, data_dir=recipe.data_dir).examples(recipe.test_split)
    decoder = Decoder(run.config.image_format, len(run.config.classes))
    decoded = list(decoder.read_all(examples.slice(0, min(number, len(examples)))))
    return np.stack([example["image"] for example in decoded]), np.array([example["label"] for example in decoded])


def steps_to(run: Run, accuracy: float) -> float:
    """The first logged step of a run at which the training accuracy since the line before was so high; without one,
    the step after its last."""
    lines = [line for line in run.folder.history() if "train/accuracy" in line]
    reached = (line["step"] for line in lines if line["train/accuracy"] >= accuracy)
    return next(reached, lines[-1]["step"] + 1)


def words(figure: str) -> str:
    return figure.replace("_", " ")


def shown(value: Statistic, figure: str) -> str:
    """Mean ± deviation, accuracies in percent, and how many runs diverged."""
    diverged = f"{value.diverged} of {value.runs} diverged" if value.diverged else ""
    if value.mean is None:
        return diverged or "-"
    if figure.endswith("accuracy"):
        text = f"{value.mean:.2%}" if value.deviation is None else f"{100 * value.mean:.2f} ± {value.deviation:.2%}"
        text = text.replace("%", " %")
    elif value.mean == round(value.mean) and not value.deviation:
        text = f"{value.mean:,.0f}"
    else:
        text = f"{value.mean:.4g}" + ("" if value.deviation is None else f" ± {value.deviation:.2g}")
    return f"{text}, {diverged}" if diverged else text


# --- Experiments ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Experiment:
    """An experiment of a paper.

    Attributes:
        claim: what the paper says.
        source: the paper, with table, figure or section.
        small: what all runs of the version for 2 cores have in common.
        full: the same of the paper's version.
        cells: name -> the fields of the recipe that the cell changes; `begin_with` may name a cell before it, whose
            parameters of the same seed it then begins with.
        expected: what is seen if the paper is right.
        figures: columns of the table; the first is drawn.
        measure: finds those of them that not every run has (`FIGURES`) in a finished run.
        smoke: further changes of the smoke version.
        seeds: runs of each cell.
    """

    claim: str
    source: str
    small: Recipe
    full: Recipe
    cells: Cells
    expected: tuple[Claim, ...]
    figures: tuple[str, ...] = ("test_accuracy", "train_loss")
    measure: Callable[[Run], Mapping[str, float]] | None = None
    smoke: Mapping[str, Any] = field(default_factory=dict)
    seeds: int = 3

    def recipe(self, size: Size, cell: str, seed: int, data: str | None = None) -> Recipe:
        """Of a run; `begin_with` is still the name of a cell."""
        base = self.full if size == "full" else self.small
        recipe = changed(base, {"data": data or base.data, **self.cells[cell], "seed": seed})
        if size != "smoke":
            return recipe
        noise = NOISE["mnist" if "mnist" in base.data else "cifar10"]
        return changed(recipe, {"data": data or noise, **SMOKE, **self.smoke})

    def only(self, cells: Sequence[str]) -> "Experiment":
        """The experiment with some of its cells, and the claims that are about these alone.

        Raises:
            ValueError: there is no such cell.
        """
        for cell in cells:
            if cell not in self.cells:
                raise UnknownName("cell", cell, self.cells)
        kept = {cell: changes for cell, changes in self.cells.items() if cell in cells}
        claims = (claim for claim in self.expected if isinstance(claim, Better))
        expected = tuple(claim for claim in claims if {claim.first, claim.second} <= kept.keys())
        return replace(self, cells=kept, expected=self.expected if len(kept) == len(self.cells) else expected)

    @property
    def measured(self) -> tuple[str, ...]:
        """The figures that `measure` finds."""
        return tuple(figure for figure in self.figures if figure not in FIGURES)


def experiment_names() -> list[str]:
    """The files of `experiments/papers`."""
    return sorted(module.name for module in pkgutil.iter_modules(papers.__path__))


def load_experiment(name: str) -> tuple[Experiment, str]:
    """An experiment and its docstring.

    Raises:
        ValueError: unknown name.
    """
    if name not in experiment_names():
        raise UnknownName("experiment", name, experiment_names())
    module = importlib.import_module(f"papers.{name}")
    return module.EXPERIMENT, module.__doc__ or ""


def by_cell(rows: Iterable[Row], cells: Iterable[str]) -> Results:
    """The rows of each cell, by seed.

    Raises:
        ValueError: a cell has none.
    """
    rows = sorted(rows, key=lambda row: row["seed"])
    results = {cell: [row for row in rows if row["cell"] == cell] for cell in cells}
    if missing := [cell for cell, own in results.items() if not own]:
        raise InvalidArgument(f"there is no run of {', '.join(missing)}: run the experiment to its end")
    return results
