"""The papers' experiments: cells, claims, verdicts, tables, resuming; each experiment in a few steps."""

import csv
import importlib
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import compare as script_of_experiments
import jax
import numpy as np
import paper_experiments
import pytest
from compare import Comparison, compare, read_results, summary, table_of, write_report
from hypothesis import given
from hypothesis import strategies as st
from paper_experiments import (
    SMOKE,
    Better,
    Experiment,
    Finding,
    by_cell,
    changed,
    crossed,
    experiment_names,
    fields_of,
    in_order,
    judge,
    load_experiment,
    options,
    shown,
    statistic,
    steps_to,
)
from PIL import Image

from xxnet_jax.data import open_source
from xxnet_jax.errors import ConfigMismatch, Diverged, InvalidArgument, UnknownName
from xxnet_jax.files import write_csv
from xxnet_jax.training import Recipe, Run, run
from xxnet_jax.training.run import build_model, recipe_optimizer, resolve
from xxnet_jax.training.state import abstract_state

TINY = Experiment(
    claim="two are better than one",
    source="Nobody, 2000, Table 0",
    small=changed(
        Recipe(validation_split=None, data="fake:32x32x1/10?examples=16"),
        model="lenet5",
        model_options={"convolutions": (2, 2), "dense": (4,), "names": ("C1", "S2", "C3", "S4", "F6", "output")},
        batch_size=8,
        epochs=2,
        devices=1,
    ),
    full=Recipe(),
    cells={
        "one": {},
        "two": {"model_options": {"activation": "relu"}},
        "three": {"begin_with": "one", "learning_rate": 0.01},
    },
    expected=(Better("two", "one"),),
    figures=("test_accuracy", "train_loss", "weights"),
    measure=lambda run: {"weights": float(sum(leaf.size for leaf in jax.tree.leaves(run.load().variables["params"])))},
    seeds=2,
)


def row(cell: str, seed: int, **figures: Any) -> dict[str, Any]:
    return {"cell": cell, "seed": seed, "diverged": 0, **figures}


def rows_of(cell: str, values: Sequence[float | None], figure: str = "test_accuracy") -> list[dict[str, Any]]:
    return [row(cell, seed, **{figure: value}) | {"diverged": int(value is None)} for seed, value in enumerate(values)]


# ------------------------------------------------------------------------------------------------ recipes and cells


def test_changes_are_merged():
    """Fields replace, dictionaries are merged, and the recipe that was changed stays as it was."""
    recipe = Recipe(model_options={"activation": "relu", "dropout_rate": 0.5}, epochs=3)
    new = changed(recipe, {"model_options": {"dropout_rate": 0.2, "dense": (3, (4,))}, "epochs": 5}, batch_size=7)
    assert new == replace(
        recipe,
        model_options={"activation": "relu", "dropout_rate": 0.2, "dense": (3, (4,))},
        epochs=5,
        batch_size=7,
    )
    assert recipe.model_options == {"activation": "relu", "dropout_rate": 0.5}
    twice = changed(recipe, {"model_options": {"dense": (3,)}}, model_options={"dropout_rate": 0.1})
    assert twice.model_options == {"activation": "relu", "dropout_rate": 0.1, "dense": (3,)}


def test_crossed_axes():
    """Every combination, in order, with the changes of both and their dictionaries merged."""
    cells = crossed(options(activation=("tanh", "relu")), {"": {"model_options": {"dropout_rate": 0.5}}})
    assert list(cells.values()) == [
        {"model_options": {"activation": "tanh", "dropout_rate": 0.5}},
        {"model_options": {"activation": "relu", "dropout_rate": 0.5}},
    ]
    assert list(crossed(fields_of(epochs=(1, 2)), fields_of(seed=(3, 4)))) == [
        "epochs 1, seed 3",
        "epochs 1, seed 4",
        "epochs 2, seed 3",
        "epochs 2, seed 4",
    ]


def test_sizes():
    """Small and full have the experiment's recipes, smoke a few steps on noise, and a given dataset is taken."""
    experiment = replace(TINY, full=Recipe(epochs=99, data="tfds:cifar10"), smoke={"learning_rate": 7.0})
    assert experiment.recipe("full", "two", 4) == Recipe(
        epochs=99, data="tfds:cifar10", seed=4, model_options={"activation": "relu"}
    )
    assert experiment.recipe("small", "one", 1) == replace(TINY.small, seed=1)
    assert experiment.recipe("small", "one", 1, "digits").data == "digits"
    smoke = experiment.recipe("smoke", "three", 0)
    assert (smoke.epochs, smoke.batch_size, smoke.learning_rate) == (SMOKE["epochs"], SMOKE["batch_size"], 7.0)
    assert smoke.data.startswith("fake:")


# ------------------------------------------------------------------------------------------------ claims

FIGURES = st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=5)


@given(values=FIGURES)
def test_statistics(values: list[float]):
    """Mean and deviation are NumPy's; a run that diverged is counted apart."""
    found = statistic([*rows_of("a", [*values, None])], "test_accuracy")
    assert found.mean is not None
    assert found.deviation is not None
    np.testing.assert_allclose(found.mean, np.mean(values), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.deviation, np.std(values, ddof=1), rtol=1e-9, atol=1e-6)
    assert (found.runs, found.diverged) == (len(values) + 1, 1)


@given(first=FIGURES, second=FIGURES, by=st.sampled_from([0.0, -5.0, 3.0]), less=st.booleans())
def test_better(first: list[float], second: list[float], by: float, less: bool):
    """A difference of runs of the same seed counts where it exceeds its deviation; the sides may be exchanged."""
    results = {"a": rows_of("a", first), "b": rows_of("b", second)}
    common = min(len(first), len(second))
    differences = np.subtract(first[:common], second[:common]) * (-1 if less else 1) - by
    difference, spread = np.mean(differences), np.std(differences, ddof=1)
    if math.isclose(abs(difference), spread, rel_tol=1e-6, abs_tol=1e-9):
        return
    expected = "undecided" if abs(difference) < spread else "agrees" if difference > 0 else "disagrees"
    assert Better("a", "b", by=by, less=less)(results).word == expected
    opposite = {"agrees": "disagrees", "disagrees": "agrees", "undecided": "undecided"}[expected]
    assert Better("b", "a", by=-by, less=less)(results).word == opposite


def test_losses_are_better_when_they_are_less():
    results = {"a": rows_of("a", [0.1, 0.11], "train_loss"), "b": rows_of("b", [0.5, 0.51], "train_loss")}
    assert Better("a", "b", "train_loss")(results).word == "agrees"
    assert Better("a", "b", "train_loss", less=False)(results).word == "disagrees"


def test_another_figure_of_the_other_cell():
    results = {"a": [row("a", seed, low=seed / 100, high=1 + seed / 100) for seed in range(3)]}
    assert Better("a", "a", "high", "low")(results).word == "agrees"
    assert Better("a", "a", "high", "low")(results).reason == "high 1.01 ± 0.01, low 0.01 ± 0.01"


@pytest.mark.parametrize(
    ("first", "second", "word"),
    [
        ([0.5, 0.6], [0.9, None], "agrees"),  # a cell with a run that diverged is the worse one
        ([None, None], [0.1, 0.1], "disagrees"),
        ([None, 0.9], [None, 0.1], "undecided"),
        ([0.9], [0.1], "undecided"),  # one run has no spread
        ([0.9, 0.9], [0.1], "undecided"),
        ([0.3, 0.9], [0.1, 0.8], "agrees"),  # better with each seed, though the seeds differ by more
        ([0.5, 0.5], [0.5, 0.5], "undecided"),
    ],
)
def test_diverged_and_single_runs(first: list[float | None], second: list[float | None], word: str):
    results = {"a": rows_of("a", first), "b": rows_of("b", second)}
    assert Better("a", "b")(results).word == word


@pytest.mark.parametrize(
    ("words", "word"),
    [
        (["agrees", "agrees"], "agrees"),
        (["agrees", "undecided"], "undecided"),
        (["undecided", "disagrees", "agrees"], "disagrees"),
    ],
)
def test_verdicts(words: list[Any], word: str):
    """What fails decides, then what is undecided; each claim's own word is told where they differ."""
    claims = [lambda results, each=each: Finding(each, f"{each}!") for each in words]
    verdict = judge(claims, {})
    assert verdict.word == word
    assert (f"{words[0]}! ({words[0]})" in verdict.reason) == (len(set(words)) > 1)


def test_in_order():
    assert in_order("a", "b", "c", figure="f") == (Better("a", "b", "f"), Better("b", "c", "f"))


@pytest.mark.parametrize(
    ("values", "figure", "text"),
    [
        ([0.5, 0.6], "test_accuracy", "55.00 ± 7.07 %"),
        ([0.5], "test_accuracy", "50.00 %"),
        ([2.0, 4.0], "train_loss", "3 ± 1.4"),
        ([1234.0, 1234.0], "parameters", "1,234"),
        ([0.25, None], "test_accuracy", "25.00 %, 1 of 2 diverged"),
        ([None], "test_loss", "1 of 1 diverged"),
    ],
)
def test_figures_in_words(values: list[float | None], figure: str, text: str):
    assert shown(statistic(rows_of("a", values, figure), figure), figure) == text


# ------------------------------------------------------------------------------------------------ runs


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> Experiment:
    """An experiment that takes seconds, under the name of a real one; its runs draw no curves of their own."""
    monkeypatch.setattr(importlib.import_module("xxnet_jax.training.run"), "_plot", lambda *_: None)
    monkeypatch.setattr(script_of_experiments, "load_experiment", lambda name: (TINY, "Tiny."))
    return TINY


def begun(folder: Path) -> dict[str, float]:
    return {path.parent.name: path.stat().st_mtime for path in folder.glob("runs/*/report.json")}


def test_runs_and_files(call, tiny: Experiment, tmp_path: Path):
    """A run for each cell and seed, as training by its recipe gives it; the table has NumPy's means and deviations."""
    status, output, errors = call(compare, "shortcuts", "--out", tmp_path)
    assert (status, errors) == (0, "")
    with (tmp_path / "results.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["cell"], row["seed"]) for row in rows] == [
        (cell, str(seed)) for seed in (0, 1) for cell in ("one", "two", "three")
    ]
    assert {row["weights"] for row in rows} == {rows[0]["parameters"] + ".0"}
    for column in ("hardware", "date", "commit"):
        assert all(row[column] for row in rows)
    alone = run(TINY.recipe("small", "two", 1), tmp_path / "alone", quiet=True)
    assert isinstance(alone, dict)
    assert float(rows[4]["test_loss"]) == alone["test/loss"]
    losses = [float(row["train_loss"]) for row in rows if row["cell"] == "two"]
    assert f"{np.mean(losses):.4g} ± {np.std(losses, ddof=1):.2g}" in output
    assert (tmp_path / "summary.md").read_text(encoding="utf-8") in output
    with Image.open(tmp_path / "plot.png") as picture:
        assert picture.width > 500


def test_a_cell_begins_with_another(call, tiny: Experiment, tmp_path: Path):
    """`begin_with` is the run of that cell with the same seed."""
    assert call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)[0] == 0
    recipe = Run(tmp_path / "runs" / "three_0").config.recipe
    assert recipe.begin_with == str(tmp_path / "runs" / "one_0")


def test_what_is_finished_is_not_repeated(call, tiny: Experiment, tmp_path: Path):
    """The same command does nothing again, more seeds add runs, and fewer leave them out of no table."""
    call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)
    first = begun(tmp_path)
    _, output, _ = call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)
    assert begun(tmp_path) == first
    assert "[" not in output.splitlines()[0]
    call(compare, "shortcuts", "--out", tmp_path, "--seeds", 2)
    assert {name: when for name, when in begun(tmp_path).items() if name.endswith("_0")} == first
    assert len(read_results(tmp_path / "results.csv")) == 6


def test_a_killed_experiment_goes_on(call, tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed in the middle of its second run, the experiment ends with the results of one that nobody disturbed."""

    class Killed(BaseException):
        pass

    call(compare, "shortcuts", "--out", tmp_path / "whole", "--seeds", 1)
    real, calls = script_of_experiments.run, []

    def killed_in_the_second(recipe: Recipe, folder: Path, **options: Any) -> Any:
        calls.append(folder.name)
        if len(calls) == 2:
            real(replace(recipe, epochs=1, schedule=recipe.schedule), folder, **options)  # its first half is on disk
            (folder / "report.json").unlink()
            raise Killed
        return real(recipe, folder, **options)

    monkeypatch.setattr(script_of_experiments, "run", killed_in_the_second)
    experiment = script_of_experiments.load_experiment("shortcuts")[0]
    arguments = script_of_experiments.Arguments("shortcuts", seeds=1, out=tmp_path / "parts")
    with pytest.raises(Killed):
        Comparison("shortcuts", experiment, arguments).run()
    monkeypatch.setattr(script_of_experiments, "run", real)
    call(compare, "shortcuts", "--out", tmp_path / "parts", "--seeds", 1)
    whole, parts = (read_results(tmp_path / name / "results.csv") for name in ("whole", "parts"))
    apart = ("images_per_second", "date", "commit")
    for one, other in zip(whole, parts, strict=True):
        assert {k: v for k, v in one.items() if k not in apart} == {k: v for k, v in other.items() if k not in apart}


def test_a_changed_experiment_is_refused(call, tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A folder with runs of other recipes or another size is an error that names the difference."""
    call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)
    other = replace(TINY, small=replace(TINY.small, learning_rate=0.5))
    monkeypatch.setattr(script_of_experiments, "load_experiment", lambda name: (other, ""))
    status, _, errors = call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)
    assert status == 2
    assert "learning_rate" in errors
    with pytest.raises(ConfigMismatch, match="size: 'small' -> 'full'"):
        Comparison("shortcuts", TINY, script_of_experiments.Arguments("shortcuts", size="full", out=tmp_path))


def test_a_run_that_diverges_is_a_result(call, tiny: Experiment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """It is recorded as such, drawn, counted in the table, and not tried again."""
    real = script_of_experiments.run

    def diverges(recipe: Recipe, folder: Path, **options: Any) -> Any:
        if recipe.model_options.get("activation") == "relu":
            raise Diverged("the loss of step 3 is nan")
        return real(recipe, folder, **options)

    monkeypatch.setattr(script_of_experiments, "run", diverges)
    status, output, _ = call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)
    assert status == 0
    assert "| two | 1 | 1 of 1 diverged |" in output
    assert "**disagrees**" in output
    rows = read_results(tmp_path / "results.csv")
    assert [row["test_accuracy"] is None for row in rows] == [row["cell"] == "two" for row in rows]
    monkeypatch.setattr(script_of_experiments, "run", lambda *words, **options: pytest.fail("it ran again"))
    assert call(compare, "shortcuts", "--out", tmp_path, "--seeds", 1)[0] == 0


def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A line for each experiment with its claim, verdict, command and plot, from results.csv alone."""
    monkeypatch.setattr(script_of_experiments, "load_experiment", lambda name: (TINY, ""))
    origin = {"hardware": "2 cores", "date": "2026-11-29", "commit": "abc", "size": "small", "data": "folder:cifar10"}
    rows = [
        {**row(cell, seed, test_accuracy=accuracy + seed / 1000, train_loss=1.5, weights=12.0), **origin}
        for seed in range(2)
        for cell, accuracy in (("one", 0.5), ("two", 0.7), ("three", 0.6))
    ]
    folder = tmp_path / "docs" / "experiments" / "tiny"
    folder.mkdir(parents=True)
    write_csv(folder / "results.csv", rows)
    page = tmp_path / "docs" / "experiments.md"
    text = write_report(folder.parent, page)
    assert page.read_text(encoding="utf-8") == text
    (line,) = (line for line in text.splitlines() if line.startswith("| [tiny]"))
    for part in (
        "[tiny](experiments/tiny/summary.md)",
        "two are better than one (Nobody, 2000, Table 0)",
        "**agrees**: test accuracy: two 70.05 ± 0.07 %, one 50.05 ± 0.07 %",
        "`python experiments/compare.py tiny --size small --data folder:FOLDER`",
        "[plot](experiments/tiny/plot.png)",
        "2 cores | 2026-11-29",
    ):
        assert part in line
    rest = text.partition("## Not run here yet")[2]
    assert [row.split(" | ")[0] for row in rest.splitlines()[6:]] == [f"| {name}" for name in experiment_names()]
    assert (folder / "summary.md").read_text(encoding="utf-8") == summary("tiny", TINY, by_cell(rows, TINY.cells))
    assert table_of(TINY, by_cell(rows, TINY.cells))[0]["weights"] == "12"


def test_the_page_is_made_of_the_tables(tmp_path: Path):
    """docs/experiments.md and each summary are what `--report` writes: nobody edits them by hand."""
    published = script_of_experiments.PUBLISHED
    if not published.exists():
        pytest.skip("no results are published")
    for path in published.glob("*/results.csv"):
        (tmp_path / "experiments" / path.parent.name).mkdir(parents=True)
        (tmp_path / "experiments" / path.parent.name / "results.csv").write_bytes(path.read_bytes())
    text = write_report(tmp_path / "experiments", tmp_path / "experiments.md")
    assert published.with_suffix(".md").read_text(encoding="utf-8") == text
    for path in (tmp_path / "experiments").glob("*/summary.md"):
        own = published / path.parent.name
        assert (own / "summary.md").read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
        assert (own / "plot.png").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name an experiment"),
        (["shortcuts", "--seeds", 0], "seeds must be at least 1"),
        (["shortcutz"], "did you mean shortcuts"),
        (["shortcuts", "--list"], "name an experiment, or give"),
    ],
)
def test_wrong_arguments(call, words: list[Any], message: str):
    status, _, errors = call(compare, *words)
    assert status == 2
    assert message in errors


def test_missing_cells():
    with pytest.raises(InvalidArgument, match="no run of b"):
        by_cell(rows_of("a", [1.0]), ["a", "b"])
    with pytest.raises(UnknownName, match="did you mean degradation"):
        load_experiment("degradations")


def test_steps_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The first logged step with the accuracy; one more than the last where it was never reached."""
    lines = [{"step": step, "train/accuracy": accuracy} for step, accuracy in ((5, 0.2), (10, 0.5), (15, 0.4))]

    class Seen:
        class folder:
            history = staticmethod(lambda: lines)

    assert [steps_to(Seen, accuracy) for accuracy in (0.1, 0.5, 0.6)] == [5, 10, 16]  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------ the experiments


def test_list(call):
    """`--list` names every file of papers/ with its first line."""
    status, output, _ = call(compare, "--list")
    assert status == 0
    for name in experiment_names():
        assert name in output
        assert (load_experiment(name)[1].splitlines()[0]) in output


@pytest.mark.parametrize("name", experiment_names())
def test_experiments_are_well_formed(name: str):
    """Claims are about cells and figures that exist; recipes of each size can be made, and no cell repeats another;
    the docstring tells the sizes, and the file is short."""
    experiment, about = load_experiment(name)
    assert about.count("Small: ") == about.count("Full: ") == 1
    file = Path(paper_experiments.papers.__path__[0]) / f"{name}.py"
    assert len(file.read_text(encoding="utf-8").splitlines()) < 80
    known = {*paper_experiments.FIGURES, *experiment.figures}
    for claim in experiment.expected:
        if isinstance(claim, Better):
            assert {claim.first, claim.second} <= experiment.cells.keys()
            assert {claim.figure, claim.other or claim.figure} <= known
    assert (experiment.measure is None) == (not experiment.measured)
    for size in ("small", "full"):
        recipes = [repr(experiment.recipe(size, cell, 0)) for cell in experiment.cells]
        assert len(set(recipes)) == len(recipes)


@pytest.mark.full_size
@pytest.mark.parametrize("name", experiment_names())
def test_networks_of_all_cells(name: str):
    """Every cell's network, small and full, takes the images that its recipe gives it."""
    experiment, _ = load_experiment(name)
    seen = set()
    for size in ("smoke", "full"):
        for cell in experiment.cells:
            recipe = replace(experiment.recipe(size, cell, 0), data="fake:32x32x3/10?examples=8")
            source = open_source(recipe.data)
            config = resolve(recipe, source)
            network = (recipe.model, repr(recipe.model_options), config.image_format.shape)
            if network not in seen:
                seen.add(network)
                abstract_state(build_model(config), recipe_optimizer(recipe), config.image_format.shape)


def test_some_cells():
    """Claims about other cells are left out; without any the verdict is undecided."""
    assert TINY.only(["two", "one"]).expected == TINY.expected
    assert list(TINY.only(["two", "one"]).cells) == ["one", "two"]
    few = TINY.only(["three"])
    assert few.expected == ()
    assert judge(few.expected, {}).word == "undecided"
    with pytest.raises(UnknownName, match="did you mean three"):
        TINY.only(["tree"])


@pytest.mark.parametrize("name", experiment_names())
def test_smoke(name: str, call, tmp_path: Path):
    """Each experiment runs: a few steps of its first cell, its measurements, table, verdict and plot."""
    experiment, _ = load_experiment(name)
    cells = list(experiment.cells)[:1]
    status, output, errors = call(compare, name, "--size", "smoke", "--out", tmp_path, "--cells", *cells)
    assert (status, errors) == (0, "")
    assert experiment.claim in output
    rows = read_results(tmp_path / "results.csv")
    assert [row["cell"] for row in rows] == cells
    for row in rows:
        for figure in experiment.figures:
            assert row["diverged"] or math.isfinite(row[figure])
