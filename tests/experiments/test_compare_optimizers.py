"""The comparison of optimizers: its problems, its search, its figures, and the script."""

import csv
import itertools
import json
import math
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
import script
from compare_optimizers import Arguments, Comparison, compare, grid, neighbour, score
from hypothesis import given, settings
from hypothesis import strategies as st
from optimizer_problems import FUNCTIONS, NETWORKS, SOLVED, FunctionProblem, Member, curve, make_problem
from PIL import Image
from run_table import RunTable

from xxnet_jax.files import read_json_lines
from xxnet_jax.optimizers import default_learning_rate
from xxnet_jax.training import run

# ------------------------------------------------------------------------------------------------ functions


def numpy_quadratic(w: np.ndarray) -> float:
    turn = np.exp(-1j * np.pi / 6) * (w[0] + 1j * w[1])
    return float(turn.real**2 / 2 + 10 * turn.imag**2)


def numpy_beale(w: np.ndarray) -> float:
    return float(sum((c - w[0] * (1 - w[1] ** n)) ** 2 for n, c in enumerate((1.5, 2.25, 2.625), start=1)))


ORACLES = {"quadratic": numpy_quadratic, "rosenbrock": scipy.optimize.rosen, "beale": numpy_beale}


@pytest.mark.parametrize("name", FUNCTIONS)
@settings(max_examples=10)
@given(x=st.floats(-5, 5, width=32), y=st.floats(-5, 5, width=32))
def test_values_of_functions(name: str, x: float, y: float):
    """Each function is SciPy's, or its formula in float64, at any point."""
    point = np.array([x, y], np.float32)
    expected = ORACLES[name](point.astype(np.float64))
    # A few float32 operations; differences of terms of the size of the powers of the coordinates lose some digits.
    size = (1 + np.abs(point).max()) ** {"quadratic": 2, "rosenbrock": 4, "beale": 8}[name]
    np.testing.assert_allclose(FUNCTIONS[name].value(jnp.asarray(point)), expected, rtol=1e-4, atol=1e-6 * size)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_minima_of_functions(name: str):
    """Value and gradient are zero at the minimum, the curvature there is positive, SciPy finds no other one from the
    start, and both lie in the picture."""
    function = FUNCTIONS[name]
    minimum = jnp.array(function.minimum, jnp.float32)
    assert float(function.value(minimum)) == 0
    np.testing.assert_array_equal(jax.grad(function.value)(minimum), 0)
    curvatures = np.linalg.eigvalsh(jax.hessian(function.value)(minimum))
    assert (curvatures > 0).all()
    if name == "quadratic":
        np.testing.assert_allclose(curvatures, [1, 20], rtol=1e-5)
    options = {"xatol": 1e-6}
    found: Any = scipy.optimize.minimize(ORACLES[name], np.array(function.start), method="Nelder-Mead", options=options)
    np.testing.assert_allclose(found.x, function.minimum, atol=1e-4)
    left, right, bottom, top = function.box
    for x, y in (function.start, function.minimum):
        assert left < x < right
        assert bottom < y < top


def test_starts_of_seeds():
    """Seed 0 starts at the classic point, every other one at its own point near it, the same each time."""
    problem = FunctionProblem("beale", "paper", None)
    starts = np.stack([problem.start(seed) for seed in range(20)])
    np.testing.assert_array_equal(starts[0], np.array(FUNCTIONS["beale"].start, np.float32))
    np.testing.assert_array_equal(starts, [problem.start(seed) for seed in range(20)])
    assert len(np.unique(starts, axis=0)) == 20
    distances = np.linalg.norm(starts[1:] - starts[0], axis=1)
    assert 0.02 < distances.mean() < 0.4  # of a normal of deviation .1 in each coordinate: .125 on average


def numpy_path(optimizer: str, rate: float, start: np.ndarray, steps: int) -> np.ndarray:
    """Points [steps + 1, 2] on the quadratic, in float64, by the equations of the papers."""
    turned = np.array([[math.cos(math.pi / 6), math.sin(math.pi / 6)], [-math.sin(math.pi / 6), math.cos(math.pi / 6)]])
    hessian = turned.T @ np.diag([1.0, 20.0]) @ turned
    w, m, v, points = start.astype(np.float64), np.zeros(2), np.zeros(2), [start.astype(np.float64)]
    for t in range(1, steps + 1):
        g = hessian @ w
        if optimizer == "sgd":
            w = w - rate * g
        else:
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
            w = w - rate * (m / (1 - 0.9**t)) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        points.append(w)
    return np.array(points)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_figures_of_a_function(optimizer: str):
    """Path, value, distance, steps to the minimum and score of each member are those of the update in float64."""
    problem = FunctionProblem("quadratic", "paper", 200)
    members = [Member(seed, rate) for seed in (0, 1) for rate in (0.003, 0.03, 0.09, 0.3)]
    seen: list[tuple[int, float]] = []
    rows = list(problem.runs(optimizer, members, lambda step, loss: seen.append((step, loss))))
    assert len(rows) == len(members) == len(seen)
    solved = 0
    for member, row in zip(members, rows, strict=True):
        assert member.learning_rate is not None
        path = numpy_path(optimizer, member.learning_rate, problem.start(member.seed), 200)
        values = np.array([numpy_quadratic(w) for w in path])
        if optimizer == "sgd" and member.learning_rate == 0.3:
            # |1 - .3 x 20|^n grows beyond float32 at some step; the path and the value are of the same step
            first = int(np.flatnonzero(values > np.finfo(np.float32).max)[0])
            assert abs(row["diverged_at"] - first) <= 1
            assert (row["score"], row["loss"], row["steps_to_minimum"]) == (None, None, None)
            assert row["curve"][-1][0] < first
            continue
        assert row["diverged_at"] is None
        # 200 updates in float32
        np.testing.assert_allclose(row["loss"], values[-1], rtol=5e-3, atol=1e-9)
        np.testing.assert_allclose(row["distance"], np.linalg.norm(path[-1]), rtol=5e-3, atol=1e-5)
        above = [n for n, value in enumerate(values) if value > SOLVED]
        if above[-1] < 200:
            solved += 1
            assert abs(row["steps_to_minimum"] - (above[-1] + 1)) <= 1  # a value next to 1e-6 may fall on either side
            assert row["score"] == -row["steps_to_minimum"] / 200
        else:
            assert row["steps_to_minimum"] is None
            np.testing.assert_allclose(row["score"], -1 - np.log1p(values[-1]), rtol=5e-3)
        assert [step for step, _ in row["curve"]] == list(range(2, 201, 2))
        np.testing.assert_allclose(row["curve"][0][1], values[1:3].mean(), rtol=1e-3)
    assert 0 < solved < len(members) - 1


@given(st.integers(1, 300), st.data())
def test_curves(steps: int, data: st.DataObject):
    """At most 100 parts, which cover the run without gap or overlap up to its end or its divergence, each with the mean
    of its losses."""
    losses = np.random.default_rng(steps).uniform(size=data.draw(st.integers(1, steps)))
    if len(losses) < steps:
        losses[-1] = np.nan
    found = curve(losses, steps)
    assert len(found) <= 100
    start = 0
    for end, mean in found:
        assert start < end <= len(losses)
        assert mean == pytest.approx(losses[start:end].mean())
        start = end
    if len(losses) == steps:
        assert start == steps
    else:
        assert len(losses) - start <= max(1, math.ceil(steps / 100))


# ------------------------------------------------------------------------------------------------ grid


@given(st.floats(1e-5, 10), st.floats(1e-5, 10), st.integers(1, 6), st.integers(1, 4))
def test_grids_share_their_numbers(one: float, other: float, decades: int, per_decade: int):
    """A grid has the default within half a step of its middle and a constant ratio; where two grids overlap their
    numbers are the same, so that one optimizer's runs can be compared with another's at a rate."""
    grids = [grid(default, 2 * decades, per_decade) for default in (one, other)]
    for rates, default in zip(grids, (one, other), strict=True):
        assert len(rates) == 2 * decades * per_decade + 1
        assert abs(math.log10(rates[len(rates) // 2] / default)) <= 0.5 / per_decade + 1e-3
        for low, high in itertools.pairwise(rates):
            assert math.log10(high / low) == pytest.approx(1 / per_decade, abs=1e-3)  # rates have four digits
            assert neighbour(low, 1, per_decade) == high
            assert neighbour(high, -1, per_decade) == low
    low, high = max(grids[0][0], grids[1][0]), min(grids[0][-1], grids[1][-1])
    shared = [{rate for rate in rates if low <= rate <= high} for rates in grids]
    assert shared[0] == shared[1]


# ------------------------------------------------------------------------------------------------ search


class MadeUp:
    """A problem whose scores are a function of rate and seed, and which remembers what was run."""

    name, steps, batch_size = "made up", 3, 1

    def __init__(self, scores: Any = None):
        self.scores = scores
        self.ran: list[tuple[str, float, int]] = []

    def config(self) -> dict[str, Any]:
        return {"steps": self.steps}

    def good_score(self, best: float, margin: float) -> float:
        return best - margin / 100

    def runs(self, optimizer: str, members: Sequence[Member], progress: Any) -> Iterator[dict[str, Any]]:
        for member in members:
            assert member.learning_rate is not None
            self.ran.append((optimizer, member.learning_rate, member.seed))
            value = self.scores(member.learning_rate, member.seed)
            yield {"score": value, "diverged_at": None if value is not None else 2, "seconds": 0.1, "loss": value}


def comparison(folder: Path, scores: Any = None) -> tuple[Comparison, MadeUp]:
    problem = MadeUp(scores)
    return Comparison(problem, RunTable(folder, {}, ("optimizer", "learning_rate", "seed")), quiet=True), problem


@pytest.mark.parametrize("peak", [-5, -4, -2.5, -2, 0, 1.5, 30])
def test_search_finds_the_peak(tmp_path, peak):
    """The range grows towards a better rate beyond its end, four times at most; then the best rate and its neighbours
    are run with all seeds, and nothing is run twice."""
    compared, problem = comparison(tmp_path, lambda rate, seed: -abs(math.log10(rate) - peak) + 0.01 * seed)
    compared.search("sgd", Arguments("quadratic", seeds=3))
    first = sorted(rate for _, rate, seed in problem.ran if seed == 0)
    exponents = np.round(2 * np.log10(first)).astype(int)
    assert exponents.tolist() == list(range(exponents[0], exponents[-1] + 1))  # default .01, four decades, two each
    low, high = -8, 0
    if 2 * peak <= low:
        low = max(2 * peak - 1, low - 4)
    if 2 * peak >= high:
        high = min(2 * peak + 1, high + 4)
    assert (exponents[0], exponents[-1]) == (low, high)
    best = min(max(2 * peak, low), high)
    again = sorted(round(2 * math.log10(rate)) for _, rate, seed in problem.ran if seed == 2)
    assert again == [n for n in (best - 1, best, best + 1) if low <= n <= high]
    assert len(problem.ran) == len(set(problem.ran)) == len(compared.table) == len(first) + 2 * len(again)
    assert compared.best("sgd") == pytest.approx(10 ** (best / 2), rel=1e-3)


def test_search_with_rates_of_the_user(tmp_path):
    """Given rates are all there is, in any order; the range does not grow."""
    compared, problem = comparison(tmp_path, lambda rate, seed: rate)
    compared.search("sgd", Arguments("quadratic", rates=(0.5, 0.1, 0.3), seeds=2))
    pairs = [(0.1, 0), (0.3, 0), (0.3, 1), (0.5, 0), (0.5, 1)]  # the neighbour of the best one has both seeds, too
    assert sorted(problem.ran) == [("sgd", rate, seed) for rate, seed in pairs]


def test_search_goes_on(tmp_path):
    """What is in the folder is not run again: neither by the same command nor by one with more seeds or optimizers."""
    scores = lambda rate, seed: -abs(math.log10(rate) + 2)  # noqa: E731
    compared, problem = comparison(tmp_path, scores)
    compared.search("sgd", Arguments("quadratic", seeds=2))
    before = len(problem.ran)
    assert before == 9 + 3
    for optimizer, seeds, more in (("sgd", 2, 0), ("sgd", 4, 6), ("adam", 2, 12), ("adam", 2, 0)):
        compared, problem = comparison(tmp_path, scores)
        compared.search(optimizer, Arguments("quadratic", seeds=seeds))
        assert len(problem.ran) == more, (optimizer, seeds)


def test_a_search_that_was_interrupted(tmp_path):
    """What was finished before an interruption is kept, and the rest makes the same table."""
    count = itertools.count()

    def scores(rate: float, seed: int) -> float:
        if next(count) == 5:
            raise KeyboardInterrupt
        return -abs(math.log10(rate) + 2)

    compared, _ = comparison(tmp_path / "parts", scores)
    with pytest.raises(KeyboardInterrupt):
        compared.search("sgd", Arguments("quadratic"))
    assert len(RunTable(tmp_path / "parts", {}, ("optimizer", "learning_rate", "seed"))) == 5
    compared, problem = comparison(tmp_path / "parts", scores)
    compared.search("sgd", Arguments("quadratic"))
    assert len(problem.ran) == 15 - 5
    whole, _ = comparison(tmp_path / "whole", scores)
    whole.search("sgd", Arguments("quadratic"))
    assert list(compared.table) == list(whole.table)


# ------------------------------------------------------------------------------------------------ judgement

scores_of_seeds = st.lists(st.sampled_from([0.0, 0.5, 0.7, 0.8, 0.9, 1.0, None]), min_size=1, max_size=2)


@settings(max_examples=200)
@given(st.lists(scores_of_seeds, min_size=1, max_size=6), st.sampled_from([10.0, 25.0, 1000.0]))
def test_best_and_good_rates(scores: list[list[float | None]], margin: float):
    """The best rate has the best mean score of those with the most seeds; a rate with a run that diverged is the worst.
    Good are the rates around it, without a gap, whose score is at most the margin lower."""

    class Table(list):
        """Rows alone."""

    compared = Comparison.__new__(Comparison)
    compared.problem = MadeUp()
    rates = [10.0**n for n in range(len(scores))]
    rows = [
        {"optimizer": "sgd", "learning_rate": rate, "seed": seed, "score": value}
        for rate, values in zip(rates, scores, strict=True)
        for seed, value in enumerate(values)
    ]
    compared.table = Table(np.random.default_rng(0).permutation(np.array(rows, object)))  # type: ignore[assignment]
    means = [-math.inf if None in values else sum(map(float, values)) / len(values) for values in scores]  # type: ignore[arg-type]
    most = max(map(len, scores))
    candidates = [n for n, values in enumerate(scores) if len(values) == most]
    top = max(means[n] for n in candidates)
    best = compared.best("sgd")
    chosen = rates.index(best)
    assert chosen in candidates
    assert means[chosen] == pytest.approx(top)
    assert score(compared.rows("sgd", best)) == pytest.approx(means[chosen])

    good = compared.good_rates("sgd", margin)
    first, last = rates.index(good[0]), rates.index(good[-1])
    assert good == rates[first : last + 1]
    assert first <= chosen <= last
    lowest = means[chosen] - margin / 100
    close = 1e-9  # where a score is just at the margin, rounding decides
    for n in range(first, last + 1):
        assert n == chosen or means[n] >= lowest - close
    for beyond in (first - 1, last + 1):
        assert not 0 <= beyond < len(rates) or means[beyond] <= lowest + close


# ------------------------------------------------------------------------------------------------ the script

QUADRATIC = ("quadratic", "--steps", "300", "--seeds", "2", "--quiet")


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """The folder of a comparison of two optimizers on a function."""
    folder = tmp_path_factory.mktemp("compared") / "quadratic"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["compare", *QUADRATIC, "--optimizers", "sgd", "adam", "--out", str(folder)])
        with pytest.raises(SystemExit) as end:
            script.main(compare)
    assert not end.value.code
    return folder


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_a_comparison_leaves(compared):
    """Configuration, every run with and without its curve, a summary for programs and for people, and pictures."""
    assert {path.name for path in compared.iterdir()} == {
        *("config.json", "runs.jsonl", "results.csv", "summary.csv", "summary.md"),
        *("rates.png", "losses.png", "trajectories.png"),
    }
    assert json.loads((compared / "config.json").read_text()) == {"problem": "quadratic", "steps": 300, "like": "paper"}
    rows, lines = read_csv(compared / "results.csv"), read_json_lines(compared / "runs.jsonl")
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        assert line.pop("curve")[-1][0] <= 300
        assert {name: "" if value is None else str(value) for name, value in line.items()} == row
    for picture in compared.glob("*.png"):
        with Image.open(picture) as image:
            image.verify()
    summary = (compared / "summary.md").read_text().splitlines()
    assert len(summary) == 4
    assert [line.split("|")[1].strip() for line in summary] == ["optimizer", "---", "sgd", "adam"]


def test_the_summary_follows_from_the_results(compared):
    """Best rate, figures over its seeds, range of good rates and counts, recomputed from results.csv alone."""
    results = read_csv(compared / "results.csv")
    for line in read_csv(compared / "summary.csv"):
        own = [row for row in results if row["optimizer"] == line["optimizer"]]
        by_rate: dict[float, list[dict[str, str]]] = {}
        for row in own:
            by_rate.setdefault(float(row["learning_rate"]), []).append(row)
        means = {
            rate: -math.inf
            if any(row["score"] == "" for row in rows)
            else statistics.fmean(float(row["score"]) for row in rows)
            for rate, rows in by_rate.items()
        }
        best = max((rate for rate, rows in by_rate.items() if len(rows) == 2), key=means.__getitem__)
        assert float(line["learning_rate"]) == best
        assert int(line["seeds"]) == 2
        for name in ("steps_to_minimum", "loss"):
            values = [float(row[name]) for row in by_rate[best]]  # 300 steps are enough for both
            assert float(line[name]) == pytest.approx(statistics.fmean(values))
            assert float(line[f"{name}_std"]) == pytest.approx(statistics.stdev(values))
        good = {rate for rate, mean in means.items() if mean >= -1}  # the minimum was reached
        ordered = sorted(means)
        inside = [rate for rate in ordered if float(line["good_from"]) <= rate <= float(line["good_to"])]
        assert best in inside
        assert set(inside) <= good
        for beyond in (ordered.index(inside[0]) - 1, ordered.index(inside[-1]) + 1):
            assert not 0 <= beyond < len(ordered) or ordered[beyond] not in good
        assert float(line["good_decades"]) == pytest.approx(math.log10(inside[-1] / inside[0]), abs=0.01)
        assert int(line["runs"]) == len(own)
        assert int(line["diverged"]) == sum(row["diverged_at"] != "" for row in own)
        rates = sorted(float(row["learning_rate"]) for row in own if row["seed"] == "0")
        assert len(rates) >= 9
        default = default_learning_rate(line["optimizer"])
        assert rates[0] <= default <= rates[-1]


def test_the_same_command_again_runs_nothing(compared, call, monkeypatch):
    """Results stay as they are, byte for byte, and the table is printed again."""
    before = {name: (compared / name).read_bytes() for name in ("runs.jsonl", "results.csv", "summary.csv")}
    monkeypatch.setattr(FunctionProblem, "runs", None)  # must not be called
    status, output, errors = call(compare, *QUADRATIC, "--optimizers", "sgd", "adam", "--out", compared)
    assert (status, errors) == (0, "")
    assert output.startswith((compared / "summary.md").read_text())
    assert {name: (compared / name).read_bytes() for name in before} == before


def test_another_optimizer_adds_its_rows(compared, call, tmp_path):
    """The runs before stay as they are, at the head of the file; the summary has just what was asked for."""
    folder = tmp_path / "copy"
    folder.mkdir()
    for path in compared.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    before = (folder / "runs.jsonl").read_bytes()
    status, _, _ = call(compare, *QUADRATIC, "--optimizers", "momentum", "--rates", "0.01", "--out", folder)
    assert status == 0
    content = (folder / "runs.jsonl").read_bytes()
    assert content.startswith(before)
    added = [json.loads(line) for line in content[len(before) :].splitlines()]
    assert [(row["optimizer"], row["learning_rate"], row["seed"]) for row in added] == [
        ("momentum", 0.01, 0),
        ("momentum", 0.01, 1),
    ]
    assert [line["optimizer"] for line in read_csv(folder / "summary.csv")] == ["momentum"]


def test_another_problem_in_the_same_folder(compared, call):
    """Other steps, or another convention, are refused with the differences."""
    before = (compared / "runs.jsonl").read_bytes()
    words = (*QUADRATIC[:2], "99", *QUADRATIC[3:], "--like", "keras", "--optimizers", "sgd", "--out", compared)
    status, _, errors = call(compare, *words)
    assert status == 2
    assert errors.startswith("error: ")
    assert "steps: 300 -> 99" in errors
    assert "like: 'paper' -> 'keras'" in errors
    assert (compared / "runs.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rates", "-0.1"], "rates must be positive"),
        (["--rates", "0.1", "nan"], "rates must be positive"),
        (["--optimizers", "sgd", "adma"], "unknown optimizer 'adma': did you mean adam"),
        (["--steps", "0"], "steps must be at least 1, got 0"),
        (["--seeds", "0"], "seeds must be positive, got 0"),
        (["--margin", "-1"], "margin must be positive, got -1"),
        (["--like", "optax", "--optimizers", "sgd"], "like='optax' has no default learning rate for sgd"),
        (["--like", "keras", "--optimizers", "nadamax"], "like='keras' has no nadamax"),
    ],
)
def test_mistakes_on_the_command_line(call, tmp_path, monkeypatch, words, message):
    """Exit status 2 with the message, and neither a traceback nor a run."""
    monkeypatch.setenv("COLUMNS", "200")  # tyro breaks lines
    status, _, errors = call(compare, "quadratic", *words, "--out", tmp_path / "out")
    assert status == 2
    assert message in errors
    assert "Traceback" not in errors
    assert not (tmp_path / "out" / "runs.jsonl").exists()


@pytest.mark.parametrize("words", [["--rates"], ["--optimizers"]])
def test_empty_lists_on_the_command_line(call, tmp_path, words):
    """No rate, or no optimizer, is a mistake, too."""
    status, _, errors = call(compare, "quadratic", "--steps", "5", *words, "--out", tmp_path / "out")
    assert status == 2
    assert "Traceback" not in errors


def test_a_network_is_compared(call, tmp_path):
    """A run in the table is the run of the same recipe: loss, and accuracy on validation and test images."""
    folder = tmp_path / "out"
    words = ("--steps", "6", "--rates", "0.01", "--optimizers", "sgd", "--seeds", "1", "--quiet", "--out", folder)
    status, output, errors = call(compare, "digits_lenet5", *words)
    assert (status, errors) == (0, "")
    (row,) = read_json_lines(folder / "runs.jsonl")
    recipe = replace(
        NETWORKS["digits_lenet5"], steps=6, optimizer="sgd", learning_rate=0.01, log_every=6, evaluate_every=6
    )
    report = run(recipe, tmp_path / "run", quiet=True)
    assert isinstance(report, dict)
    # the same program but for where the rate comes from; images counted
    for split in ("validation", "test"):
        assert row[f"{split}_accuracy"] == pytest.approx(report[f"{split}/accuracy"], abs=1e-9)
        assert row[f"{split}_loss"] == pytest.approx(report[f"{split}/loss"], rel=1e-5)
    (line,) = [line for line in read_json_lines(tmp_path / "run" / "metrics.jsonl") if "train/loss" in line]
    assert row["loss"] == pytest.approx(line["train/loss"], rel=1e-5)
    assert row["score"] == row["validation_accuracy"]
    assert [step for step, _ in row["curve"]] == [1, 2, 3, 4, 5, 6]
    assert f"{100 * row['test_accuracy']:.2f}" in output
    assert (folder / "rates.png").is_file()
    assert not (folder / "trajectories.png").exists()


def test_problems_by_name():
    """Steps and data can be given; a function has its own steps, and no data."""
    problem = make_problem("beale", "torch", None, None)
    assert (problem.name, problem.steps) == ("beale", FUNCTIONS["beale"].steps)
    assert problem.config() == {"steps": FUNCTIONS["beale"].steps, "like": "torch"}
    assert make_problem("beale", "paper", 7, None).steps == 7
