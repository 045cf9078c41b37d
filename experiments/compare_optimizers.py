"""Compare optimizers: the best learning rate of each, how good it is over seeds, how wide the range of good rates is.

    python experiments/compare_optimizers.py digits_lenet5
    python experiments/compare_optimizers.py mnist_2c2d --data idx:FOLDER
    python experiments/compare_optimizers.py rosenbrock

Each optimizer is run at rates around its default with one seed; while the best rate is the lowest or the highest, the
range grows. Then the best rate and its two neighbours are run with the other seeds. Networks are judged on validation
images and reported on test images; functions are judged by the steps until the value stays below 1e-6. The same command
again goes on where an interrupted one was; rates, seeds and optimizers may be added.

The folder (--out, by default runs/optimizers/PROBLEM) gets results.csv (every run), runs.jsonl (the same with loss
curves), summary.csv and summary.md (one line per optimizer), rates.png, and losses.png or trajectories.png.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from optimizer_problems import PROBLEMS, FunctionProblem, Member, Problem, make_problem
from run_table import Row, RunTable, markdown_table
from script import main

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import write_atomically, write_csv
from xxnet_jax.optimizers import Like, default_learning_rate, optimizer_info
from xxnet_jax.training.logging import Progress
from xxnet_jax.visualization.optimizers import plot_losses, plot_rates, plot_trajectories

EIGHT = ("sgd", "momentum", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam")
EXTENSIONS = 4  # rates that may be added while the best one is at the end of the range


@dataclass(frozen=True)
class Arguments:
    """Compare optimizers.

    Attributes:
        problem: network and data, or function.
        optimizers: names.
        like: whose definitions: paper, optax, keras, torch or notes.
        rates: learning rates of all optimizers; by default decades of them around the default of each.
        decades: width of the range of rates.
        per_decade: rates in a decade.
        seeds: runs at the best rate and its neighbours.
        steps: of each run; by default the problem's.
        margin: percent points of accuracy below an optimizer's best within which a rate is good.
        data: URI of the dataset, in place of the problem's.
        out: the folder; by default runs/optimizers/PROBLEM.
        quiet: print only the table.
    """

    problem: Annotated[Literal[PROBLEMS], tyro.conf.Positional] = "digits_lenet5"  # type: ignore[valid-type]
    optimizers: tuple[str, ...] = EIGHT
    like: Like = "paper"
    rates: tuple[float, ...] | None = None
    decades: float = 4.0
    per_decade: int = 2
    seeds: int = 3
    steps: int | None = None
    margin: float = 1.0
    data: str | None = None
    out: Path | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("seeds", "per_decade", "decades", "margin"):
            if not getattr(self, name) > 0:
                raise InvalidArgument(f"{name} must be positive, got {getattr(self, name)}")
        if self.steps is not None and self.steps < 1:
            raise InvalidArgument(f"steps must be at least 1, got {self.steps}")
        if self.rates is not None and not all(0 < rate < math.inf for rate in self.rates):
            raise InvalidArgument(f"rates must be positive, got {self.rates}")
        if not self.optimizers or self.rates == ():
            raise InvalidArgument("give at least one optimizer, and at least one rate where rates are given")
        for optimizer in self.optimizers:
            optimizer_info(optimizer)


# --- Search -----------------------------------------------------------------------------------------------------------


def grid(default: float, decades: float, per_decade: int) -> list[float]:
    """Rates 10^(n / per_decade) over so many decades around the default; all optimizers share these numbers."""
    centre = round(math.log10(default) * per_decade)
    side = round(decades * per_decade / 2)
    return [grid_rate(n, per_decade) for n in range(centre - side, centre + side + 1)]


def grid_rate(n: int, per_decade: int) -> float:
    return float(f"{10 ** (n / per_decade):.4g}")


def neighbour(rate: float, step: int, per_decade: int) -> float:
    """The rate so many steps of the grid away."""
    return grid_rate(round(math.log10(rate) * per_decade) + step, per_decade)


class Comparison:
    """Runs what is missing, and knows the best rates."""

    def __init__(self, problem: Problem, table: RunTable, quiet: bool):
        self.problem, self.table, self.quiet = problem, table, quiet

    def search(self, optimizer: str, arguments: Arguments) -> None:
        """Each rate with one seed, then the best one and its neighbours with the others."""
        if arguments.rates is not None:
            rates, extensions = sorted(arguments.rates), 0
        else:
            default = default_learning_rate(optimizer, arguments.like)
            rates, extensions = grid(default, arguments.decades, arguments.per_decade), EXTENSIONS
        self.run(optimizer, [(rate, 0) for rate in rates], "one seed each")
        best = self.best_of_first_seed(optimizer, rates)
        while extensions and best in (rates[0], rates[-1]):
            new = neighbour(best, -1 if best == rates[0] else 1, arguments.per_decade)
            self.run(optimizer, [(new, 0)], "the best rate was at the end of the range")
            rates, extensions = sorted([*rates, new]), extensions - 1
            best = self.best_of_first_seed(optimizer, rates)
        near = rates[max(rates.index(best) - 1, 0) : rates.index(best) + 2]
        self.run(optimizer, [(rate, seed) for rate in near for seed in range(arguments.seeds)], "the best rates again")

    def run(self, optimizer: str, members: Iterable[tuple[float, int]], purpose: str) -> None:
        """Run each (rate, seed) that has not been run."""
        todo = [Member(seed, rate) for rate, seed in members if (optimizer, rate, seed) not in self.table]
        if not todo:
            return
        steps, done = self.problem.steps, 0
        progress = Progress(len(todo) * steps, 0, self.problem.batch_size, enabled=not self.quiet)
        progress.line(f"{optimizer}: {len(todo)} runs of {steps:,} steps, {purpose}")

        def on_step(step: int, loss: float) -> None:
            progress.update(done * steps + step, {"loss": loss})

        try:
            for member, row in zip(todo, self.problem.runs(optimizer, todo, on_step), strict=True):
                done += 1
                key = {"optimizer": optimizer, "learning_rate": member.learning_rate, "seed": member.seed}
                self.table.add({**key, "steps": steps, **row})
                progress.line(f"  rate {member.learning_rate:<9.4g} seed {member.seed}  {describe(row)}")
        finally:
            progress.close()

    def best_of_first_seed(self, optimizer: str, rates: list[float]) -> float:
        return max(rates, key=lambda rate: score(self.rows(optimizer, rate)[:1]))

    def rates(self, optimizer: str) -> list[float]:
        return sorted({row["learning_rate"] for row in self.table if row["optimizer"] == optimizer})

    def rows(self, optimizer: str, rate: float) -> list[Row]:
        """The runs at a rate, in the order of their seeds."""
        chosen = [row for row in self.table if (row["optimizer"], row["learning_rate"]) == (optimizer, rate)]
        return sorted(chosen, key=lambda row: row["seed"])

    def best(self, optimizer: str) -> float:
        """The rate with the best mean score, among those that were run with all seeds."""
        runs = {rate: self.rows(optimizer, rate) for rate in self.rates(optimizer)}
        most = max(map(len, runs.values()))
        return max((rate for rate in runs if len(runs[rate]) == most), key=lambda rate: score(runs[rate]))

    def good_rates(self, optimizer: str, margin: float) -> list[float]:
        """The rates around the best one without a gap that are still good (see `Problem.good_score`)."""
        rates, best = self.rates(optimizer), self.best(optimizer)
        enough = self.problem.good_score(score(self.rows(optimizer, best)), margin)
        good = [rate == best or score(self.rows(optimizer, rate)) >= enough for rate in rates]
        first = last = rates.index(best)
        while first > 0 and good[first - 1]:
            first -= 1
        while last + 1 < len(rates) and good[last + 1]:
            last += 1
        return rates[first : last + 1]


def score(rows: list[Row]) -> float:
    """Mean score; minus infinity if a run diverged."""
    values = [row["score"] for row in rows]
    return -math.inf if None in values else statistics.fmean(values)


def describe(row: Row) -> str:
    if row["diverged_at"] is not None:
        return f"diverged at step {row['diverged_at']}"
    shown = (f"{name.replace('_', ' ')} {row[name]:.4g}" for name in FIGURES if row.get(name) is not None)
    return f"{'  '.join(shown)}  {row['seconds']:.1f} s"


FIGURES = ("validation_accuracy", "test_accuracy", "steps_to_minimum", "loss")


# --- Report -----------------------------------------------------------------------------------------------------------


def summary(comparison: Comparison, optimizers: Iterable[str], margin: float) -> list[Row]:
    """One line per optimizer: the best rate and its figures over the seeds, and the range of good rates."""
    lines = []
    for optimizer in optimizers:
        best = comparison.best(optimizer)
        rows = comparison.rows(optimizer, best)
        good = comparison.good_rates(optimizer, margin)
        figures: Row = {}
        for name in ("test_accuracy", "validation_accuracy", "steps_to_minimum", "loss"):
            values = [row[name] for row in rows if row.get(name) is not None]
            if name in rows[0]:
                figures[name] = statistics.fmean(values) if values else None
                figures[f"{name}_std"] = statistics.stdev(values) if len(values) > 1 else None
        every = [row for rate in comparison.rates(optimizer) for row in comparison.rows(optimizer, rate)]
        lines.append(
            {
                "optimizer": optimizer,
                "learning_rate": best,
                "seeds": len(rows),
                **figures,
                "good_from": good[0],
                "good_to": good[-1],
                "good_decades": round(math.log10(good[-1] / good[0]), 2),
                "runs": len(every),
                "diverged": sum(row["diverged_at"] is not None for row in every),
            }
        )
    return lines


def for_people(line: Row) -> dict[str, str]:
    """A line of the summary in words."""

    def mean(name: str, scale: float, digits: int) -> str:
        if line[name] is None:
            return "not reached"
        spread = line[f"{name}_std"]
        return f"{scale * line[name]:.{digits}f}" + ("" if spread is None else f" ± {scale * spread:.{digits}f}")

    cells = {"optimizer": line["optimizer"], "best rate": f"{line['learning_rate']:g}", "seeds": str(line["seeds"])}
    if "test_accuracy" in line:
        cells |= {
            "test accuracy, %": mean("test_accuracy", 100, 2),
            "validation, %": mean("validation_accuracy", 100, 2),
        }
    else:
        cells["steps to the minimum"] = mean("steps_to_minimum", 1, 0)
    cells["training loss" if "test_accuracy" in line else "last value"] = (
        f"{line['loss']:.3g}" if line["loss"] is not None else "-"
    )
    cells["good rates"] = f"{line['good_from']:g} to {line['good_to']:g} ({line['good_decades']:.1f} decades)"
    cells["diverged"] = f"{line['diverged']} of {line['runs']}"
    return cells


def report(comparison: Comparison, arguments: Arguments, folder: Path) -> str:
    """Write summary and plots; returns the table."""
    problem = comparison.problem
    lines = summary(comparison, arguments.optimizers, arguments.margin)
    write_csv(folder / "summary.csv", lines)
    table = markdown_table([for_people(line) for line in lines])
    write_atomically(folder / "summary.md", table)
    best = {line["optimizer"]: line["learning_rate"] for line in lines}
    chosen = [row for row in comparison.table if row["optimizer"] in best]
    plot_rates(chosen, best, folder / "rates.png", title=problem.name)
    if isinstance(problem, FunctionProblem):
        paths = {
            optimizer: problem.path(optimizer, np.array([rate]), problem.start(0)[None])[0][0]
            for optimizer, rate in best.items()
        }
        plot_trajectories(problem.function, paths, best, folder / "trajectories.png", title=problem.name)
    at_best = [row for row in chosen if row["learning_rate"] == best[row["optimizer"]]]
    quantity = "value" if isinstance(problem, FunctionProblem) else "training loss"
    plot_losses(at_best, best, folder / "losses.png", title=problem.name, quantity=quantity)
    return table


def compare() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    folder = arguments.out or Path("runs/optimizers") / arguments.problem
    problem = make_problem(arguments.problem, arguments.like, arguments.steps, arguments.data)
    config: dict[str, Any] = {"problem": problem.name, **problem.config()}
    comparison = Comparison(problem, RunTable(folder, config, ("optimizer", "learning_rate", "seed")), arguments.quiet)
    for optimizer in arguments.optimizers:
        comparison.search(optimizer, arguments)
    print(report(comparison, arguments, folder), end="")
    print(f"{len(comparison.table)} runs; {folder}/results.csv, summary.csv, summary.md, *.png")
    return 0


if __name__ == "__main__":
    main(compare)
