"""Compare runs: their learning curves in one picture, and a table of what differs and what came of it.

    python experiments/compare_runs.py runs/lenet5_digits runs/nadam
    python experiments/compare_runs.py runs/* --along seconds
    python experiments/compare_runs.py runs/adam_* runs/sgd_* --seeds       runs that differ in their seed are one

The folder of --out gets curves.png, and the table as runs.csv and runs.json; with --seeds also groups.csv. A run that
is not finished is compared as far as it has come.
"""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table
from run_table import Row
from script import main, open_run

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_atomically, write_csv
from xxnet_jax.training import Recipe
from xxnet_jax.training.folder import RunFolder
from xxnet_jax.training.recipe import varying
from xxnet_jax.visualization.curves import Along, plot_runs


@dataclass(frozen=True)
class Arguments:
    """Compare runs.

    Attributes:
        runs: run folders, or names of models: then the last run of each in runs/.
        along: what the curves are drawn along: epoch, step, or seconds of training and evaluation.
        seeds: runs that differ in nothing but their seed are drawn as their mean and range.
        out: folder for curves.png, runs.csv and runs.json.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    along: Along = "epoch"
    seeds: bool = False
    out: Path = Path("comparison")


@dataclass(frozen=True)
class Compared:
    """A run as it lies on disk.

    Attributes:
        name: of the folder, or its path where two have the same name.
        recipe: of the run.
        lines: what it logged.
        report: of the finished run, or None.
    """

    name: str
    recipe: Recipe
    lines: list[dict[str, Any]]
    report: dict[str, Any] | None


def compare() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    runs = read(arguments.runs)
    rows = table_of(runs)
    groups = grouped(runs) if arguments.seeds else {run.name: [run] for run in runs}
    out = arguments.out
    make_folder(out)
    plot_runs(
        {name: [run.lines for run in group] for name, group in groups.items()},
        out / "curves.png",
        along=arguments.along,
    )
    write_csv(out / "runs.csv", rows)
    write_atomically(out / "runs.json", json.dumps(rows, indent=2) + "\n")
    if arguments.seeds:
        rows = table_of_groups(groups)
        write_csv(out / "groups.csv", rows)
    show(rows)
    for run in runs:
        if run.report is None:
            print(f"{run.name} is not finished: it has logged {last_step(run)} steps")
    print(f"{out}/curves.png, runs.csv, runs.json{', groups.csv' if arguments.seeds else ''}")
    return 0


def read(names: Sequence[str]) -> list[Compared]:
    """The runs.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: none is named, one is named twice, or a file of one cannot be read.
    """
    folders: dict[Path, RunFolder] = {}
    for name in names:
        folder = open_run(name).folder
        if (path := folder.path.resolve()) in folders:
            raise InvalidArgument(f"{name} is named twice: name each run once")
        folders[path] = folder
    if not folders:
        raise InvalidArgument("there is no run to compare: name at least one folder")
    short = [path.name for path in folders]
    unique = len(set(short)) == len(short)
    return [
        Compared(path.name if unique else str(folder.path), folder.config().recipe, folder.history(), folder.report())
        for path, folder in folders.items()
    ]


def table_of(runs: Sequence[Compared]) -> list[Row]:
    """A row for each run: what differs in the configurations, and what came of it."""
    return [
        {"run": run.name, **differing, **outcome(run)}
        for run, differing in zip(runs, different_settings([run.recipe for run in runs]), strict=True)
    ]


def different_settings(recipes: Sequence[Recipe]) -> list[Row]:
    """Those that are not the same in all, several words as on the command line."""
    return [
        {name: " ".join(map(str, value)) if isinstance(value, tuple) else value for name, value in one.items()}
        for one in varying(recipes)
    ]


def outcome(run: Compared) -> Row:
    """Figures of a run: its best and its last validation, the last training loss, the test of the best checkpoint, and
    its seconds and speed."""
    validations = [line for line in run.lines if "validation/accuracy" in line]
    best = max(validations, key=lambda line: (line["validation/accuracy"], -line["validation/loss"]), default={})
    last = validations[-1] if validations else {}
    trained = next((line for line in reversed(run.lines) if "train/loss" in line), {})
    report = run.report or {}
    seconds = report.get("seconds", run.lines[-1]["seconds"] if run.lines else None)
    return {
        "finished": run.report is not None,
        "steps": last_step(run),
        "best_step": best.get("step"),
        "best_accuracy": best.get("validation/accuracy"),
        "best_loss": best.get("validation/loss"),
        "last_accuracy": last.get("validation/accuracy"),
        "last_loss": last.get("validation/loss"),
        "train_loss": trained.get("train/loss"),
        "test_accuracy": report.get("test/accuracy"),
        "test_loss": report.get("test/loss"),
        "seconds": None if seconds is None else round(seconds, 2),
        "examples_per_second": report.get("examples_per_second", trained.get("time/examples_per_second")),
    }


def last_step(run: Compared) -> int:
    return run.lines[-1]["step"] if run.lines else 0


def grouped(runs: Sequence[Compared]) -> dict[str, list[Compared]]:
    """Runs that differ in nothing but their seed, by what differs between the groups, or by the name of the first."""
    groups: dict[str, list[Compared]] = {}
    seedless = [replace(run.recipe, seed=0) for run in runs]
    for run, recipe in zip(runs, seedless, strict=True):
        groups.setdefault(repr(recipe), []).append(run)
    differing = different_settings([replace(group[0].recipe, seed=0) for group in groups.values()])
    names = [", ".join(f"{name} {value}" for name, value in one.items()) for one in differing]
    return {name or group[0].name: group for name, group in zip(names, groups.values(), strict=True)}


def table_of_groups(groups: Mapping[str, Sequence[Compared]]) -> list[Row]:
    """A row for each group: the mean of each figure over its runs, and the standard deviation where there are two."""
    rows = []
    for name, group in groups.items():
        row: Row = {"group": name, "runs": len(group), "finished": sum(run.report is not None for run in group)}
        outcomes = [outcome(run) for run in group]
        for figure in outcomes[0]:
            values = [one[figure] for one in outcomes if one[figure] is not None]
            if figure != "finished":
                row[figure] = statistics.fmean(values) if values else None
                row[f"{figure}_deviation"] = statistics.stdev(values) if len(values) > 1 else None
        rows.append(row)
    return rows


def show(rows: Sequence[Row]) -> None:
    """The table on its side, as settings and figures are many, and runs few; those that no run has are left out."""
    (label, *columns) = rows[0]
    table = Table(label, *(str(row[label]) for row in rows), box=None)
    for column in columns:
        deviation = f"{column}_deviation"
        if column.endswith("_deviation") or all(row[column] is None for row in rows):
            continue
        table.add_row(column, *(cell(row[column], row.get(deviation)) for row in rows))
    Console().print(table)


def cell(value: Any, deviation: float | None) -> str:
    match value:
        case None:
            return ""
        case float():
            text = f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
            return f"{text} ± {deviation:.2g}" if deviation else text
        case _:
            return str(value)


if __name__ == "__main__":
    main(compare)
