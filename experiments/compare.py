"""Run an experiment of a paper: a grid of networks, data and recipes, each with several seeds.

    python experiments/compare.py --list
    python experiments/compare.py degradation --data folder:FOLDER          # small: minutes on 2 cores
    python experiments/compare.py degradation --size full                   # as the paper has it
    python experiments/compare.py --report                                  # docs/experiments.md from docs/experiments/

The folder (--out, by default runs/papers/EXPERIMENT_SIZE) gets runs/ (a run folder for each cell and seed), results.csv
(a row for each run, with hardware, date and commit), runs.jsonl (the same with learning curves), summary.md (means,
deviations, and the verdict: what the paper claims, and whether these runs agree) and plot.png. The same command again
goes on where an interrupted one was; seeds may be added, what is finished is not repeated. --publish also puts
results.csv, summary.md and plot.png into docs/experiments.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import csv
import json
import os
import shutil
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from paper_experiments import (
    FIGURES,
    Experiment,
    Results,
    Size,
    by_cell,
    experiment_names,
    judge,
    load_experiment,
    shown,
    statistic,
    words,
)
from provenance import hardware, provenance, public_name
from run_table import Row, RunTable, markdown_table
from script import finish, main

from xxnet_jax.errors import ConfigMismatch, Diverged, InvalidArgument, MissingData
from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.training import LoopResult, Recipe, Run, run
from xxnet_jax.training.folder import RunFolder
from xxnet_jax.visualization.experiments import plot_experiment

PUBLISHED = Path(__file__).parents[1] / "docs" / "experiments"
TEXT = ("cell", "size", "data", "hardware", "date", "commit", "changes")  # columns of results.csv that are no numbers
HEAD = """# The papers' experiments

Made by `python experiments/compare.py --report` from the tables in `docs/experiments/`. Each is one command; `small` is
sized for 2 cores, `--size full` is the paper's. Runs of the same seed are compared: a claim counts as seen where the
mean of their differences is larger than its deviation over the seeds, and as undecided where it is not. Small networks
on a part of the images need not show what large ones do on all of them: a line that disagrees is a result, too.

"""
REST = """
## Not run here yet

Not in the size `small`, that is: in the size `smoke`, a few steps on noise, the tests run one cell of each.

"""


@dataclass(frozen=True)
class Arguments:
    """Run an experiment of a paper.

    Attributes:
        experiment: name; --list shows them.
        size: smoke (a few steps on noise), small (2 cores) or full (the paper's).
        data: URI of the dataset, in place of the experiment's.
        cells: only these, of the grid; by default all.
        seeds: runs of each cell; by default the experiment's, or 1 in the size smoke.
        out: the folder; by default runs/papers/EXPERIMENT_SIZE.
        quiet: print only the result.
        publish: also write to docs/experiments.
        list: show the experiments.
        report: write docs/experiments.md.
    """

    experiment: Annotated[str | None, tyro.conf.Positional] = None
    size: Size = "small"
    data: str | None = None
    cells: tuple[str, ...] = ()
    seeds: int | None = None
    out: Path | None = None
    quiet: bool = False
    publish: bool = False
    list: bool = False
    report: bool = False

    def __post_init__(self) -> None:
        if self.seeds is not None and self.seeds < 1:
            raise InvalidArgument(f"seeds must be at least 1, got {self.seeds}")
        if (self.experiment is None) != (self.list or self.report):
            raise InvalidArgument("name an experiment, or give --list or --report")


# --- Runs -------------------------------------------------------------------------------------------------------------


class Comparison:
    """Runs what is missing."""

    def __init__(self, name: str, experiment: Experiment, arguments: Arguments):
        self.experiment, self.data = experiment, arguments.data
        self.size: Size = arguments.size
        self.seeds = arguments.seeds or (1 if arguments.size == "smoke" else experiment.seeds)
        self.folder = arguments.out or Path("runs/papers") / f"{name}_{arguments.size}"
        config = {"experiment": name, "size": self.size, "data": self.data, "figures": list(experiment.figures)}
        self.table = RunTable(self.folder, config, ("cell", "seed"))
        self.quiet = arguments.quiet

    def run(self) -> LoopResult | None:
        """Run each cell with each seed that has not been run; what ended it, if a signal did.

        Raises:
            ValueError: a finished run was of another recipe.
        """
        todo = [(cell, seed) for seed in range(self.seeds) for cell in self.experiment.cells]
        for number, (cell, seed) in enumerate(todo, start=1):
            recipe = self.recipe(cell, seed)
            changes = differing(recipe)
            if (cell, seed) in self.table:
                if (old := self.table[cell, seed]["changes"]) != changes:
                    raise ConfigMismatch(
                        f"{self.folder} has a run of {cell} with another recipe:\n  {old} -> {changes}\n"
                        "name another --out"
                    )
                continue
            folder = self.run_folder(cell, seed)
            row: Row = {"cell": cell, "seed": seed, "size": self.size, "data": public_name(recipe.data)}
            try:
                report = run(recipe, folder, quiet=True)
                if isinstance(report, LoopResult):
                    return report
                row |= self.figures(report, Run(folder)) | {"diverged": 0}
            except Diverged:
                row |= dict.fromkeys((*FIGURES, *self.experiment.measured)) | {"diverged": 1}
            curve = learning_curve(RunFolder(folder))
            origin = {"hardware": hardware(), **provenance()}
            self.table.add({**row, **origin, "changes": changes, "curve": curve})
            if not self.quiet:
                print(f"[{number}/{len(todo)}] {cell}, seed {seed}: {describe(row, self.experiment)}", flush=True)
        return None

    def recipe(self, cell: str, seed: int) -> Recipe:
        recipe = self.experiment.recipe(self.size, cell, seed, self.data)
        if recipe.begin_with is not None and recipe.begin_with in self.experiment.cells:
            return replace(recipe, begin_with=str(self.run_folder(recipe.begin_with, seed)))
        return recipe

    def run_folder(self, cell: str, seed: int) -> Path:
        return self.folder / "runs" / f"{cell.replace('/', '-').replace(', ', '_').replace(' ', '_')}_{seed}"

    def figures(self, report: dict[str, Any], finished: Run) -> Row:
        trained = [line for line in finished.folder.history() if "train/loss" in line]
        last = trained[-1] if trained else {}
        row: Row = {
            "test_accuracy": report.get("test/accuracy"),
            "test_loss": report.get("test/loss"),
            "train_accuracy": last.get("train/accuracy"),
            "train_loss": last.get("train/loss"),
            "parameters": report["parameters"],
            "steps": report["step"],
            "images_per_second": last.get("time/examples_per_second"),
        }
        measured = dict(self.experiment.measure(finished)) if self.experiment.measure else {}
        return row | {figure: float(measured[figure]) for figure in self.experiment.measured}


def differing(recipe: Recipe) -> str:
    """What a recipe has other than the default, as JSON; paths of data and runs are left out."""
    default, own = asdict(Recipe()), asdict(recipe)
    apart = ("data", "data_dir", "begin_with", "seed")
    return json.dumps({key: own[key] for key in own if own[key] != default[key] and key not in apart})


def learning_curve(folder: RunFolder) -> list[list[float]]:
    """[epoch, training loss] of each line that a run logged."""
    lines = folder.history() if folder.metrics.exists() else []
    return [[line["epoch"], line["train/loss"]] for line in lines if "train/loss" in line]


def describe(row: Row, experiment: Experiment) -> str:
    if row["diverged"]:
        return "diverged"
    return ", ".join(f"{words(name)} {shown(statistic([row], name), name)}" for name in experiment.figures)


# --- Report -----------------------------------------------------------------------------------------------------------


def table_of(experiment: Experiment, results: Results) -> list[dict[str, str]]:
    """A line for each cell, in words."""
    return [
        {
            "": cell,
            "seeds": str(len(rows)),
            **{words(figure): shown(statistic(rows, figure), figure) for figure in experiment.figures},
        }
        for cell, rows in results.items()
    ]


def summary(name: str, experiment: Experiment, results: Results) -> str:
    """What was claimed, what came of it, and the table, as Markdown."""
    rows = [row for own in results.values() for row in own]
    verdict = judge(experiment.expected, results)
    again = command(name, rows[0]["size"], rows[0]["data"])
    facts = {key: ", ".join(sorted({row[key] for row in rows})) for key in ("data", "hardware", "date", "commit")}
    seen = "leaves it **undecided**" if verdict.word == "undecided" else f"**{verdict.word}**"
    return f"""# {name}

{experiment.source}

The paper claims: {experiment.claim}.

This run {seen}: {verdict.reason}.

`{again}` on {facts["data"]}; {facts["hardware"]}, {facts["date"]}, commit {facts["commit"]}.

{markdown_table(table_of(experiment, results))}"""


def command(name: str, size: str, data: str) -> str:
    kind = data.split(":")[0]
    given = f" --data {kind}:FOLDER" if kind in ("folder", "idx", "tar") else ""
    return f"python experiments/compare.py {name} --size {size}{given}"


def write_results(name: str, comparison: Comparison) -> str:
    """Write summary.md and plot.png; the summary."""
    experiment = comparison.experiment
    rows = [row for row in comparison.table if row["cell"] in experiment.cells]
    results = by_cell(rows, experiment.cells)
    text = summary(name, experiment, results)
    write_atomically(comparison.folder / "summary.md", text)
    plot(results, experiment, comparison.folder / "plot.png", title=f"{name}, {comparison.size}")
    return text


def plot(results: Results, experiment: Experiment, out: Path, *, title: str) -> None:
    """Draw the first figure of each cell; of a single cell, all figures of the same kind."""
    figure = experiment.figures[0]
    factor, unit = (100, ", %") if figure.endswith("accuracy") else (1, "")
    if len(results) == 1:
        ((cell, rows),) = results.items()
        names = [name for name in experiment.figures if name not in FIGURES]
        values = {words(name): [row[name] for row in rows if row[name] is not None] for name in names}
        quantity = cell
    else:
        values = {
            cell: [factor * row[figure] for row in rows if row[figure] is not None] for cell, rows in results.items()
        }
        quantity = words(figure) + unit
    curves = {cell: [row["curve"] for row in rows] for cell, rows in results.items()}
    plot_experiment(values, curves, out, quantity=quantity, title=title)


def publish(name: str, folder: Path) -> None:
    target = PUBLISHED / name
    make_folder(target)
    for file in ("results.csv", "summary.md", "plot.png"):
        shutil.copyfile(folder / file, target / file)


def read_results(path: Path) -> list[Row]:
    """The rows of a results.csv."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [
        {key: value if key in TEXT else float(value) if value else None for key, value in row.items()} for row in rows
    ]


def write_report(folder: Path, page: Path) -> str:
    """The page of all experiments in a folder; their summaries are made anew, as a verdict is the experiment's."""
    lines = []
    for path in sorted(folder.glob("*/results.csv")):
        name = path.parent.name
        experiment, _ = load_experiment(name)
        results = by_cell(read_results(path), experiment.cells)
        write_atomically(path.parent / "summary.md", summary(name, experiment, results))
        row = results[next(iter(results))][-1]
        where = os.path.relpath(path.parent, page.parent)
        lines.append(
            {
                "experiment": f"[{name}]({where}/summary.md)",
                "the paper claims": cited(experiment),
                "our result": in_brief(experiment, results),
                "plot": f"[plot]({where}/plot.png)",
                "command": f"`{command(name, row['size'], row['data'])}`",
                "hardware": row["hardware"],
                "date": row["date"],
            }
        )
    if not lines:
        raise MissingData(f"there is no results.csv in a folder of {folder}: run an experiment with --publish")
    text = HEAD + markdown_table(lines)
    if rest := not_run(folder):
        text += REST + markdown_table(rest)
    write_atomically(page, text)
    return text


def not_run(folder: Path) -> list[dict[str, str]]:
    """A line for each experiment without results in a folder."""
    names = [name for name in experiment_names() if not (folder / name / "results.csv").exists()]
    experiments = {name: load_experiment(name)[0] for name in names}
    return [
        {
            "experiment": name,
            "the paper claims": cited(experiment),
            "command": f"`{command(name, 'small', experiment.small.data)}`",
        }
        for name, experiment in experiments.items()
    ]


def cited(experiment: Experiment) -> str:
    return f"{experiment.claim} ({experiment.source})"


def in_brief(experiment: Experiment, results: Results) -> str:
    """The verdict with what it rests on; of many claims only how many were seen."""
    verdict, claims = judge(experiment.expected, results), experiment.expected
    if len(claims) <= 3:
        return f"**{verdict.word}**: {verdict.reason}"
    counts = Counter(claim(results).word for claim in claims)
    verbs = {
        "agrees": ("agrees", "agree"),
        "undecided": ("is undecided", "are undecided"),
        "disagrees": ("disagrees", "disagree"),
    }
    seen = ", ".join(f"{counts[word]} {verb[counts[word] > 1]}" for word, verb in verbs.items() if counts[word])
    return f"**{verdict.word}**: of {len(claims)} comparisons {seen}"


def show_list() -> None:
    for name in experiment_names():
        experiment, about = load_experiment(name)
        first = about.strip().splitlines()[0]
        print(f"{name:24}{first}\n{'':24}{len(experiment.cells)} cells x {experiment.seeds} seeds; {experiment.source}")
        results = PUBLISHED / name / "results.csv"
        if results.exists():
            rows = read_results(results)
            verdict = judge(experiment.expected, by_cell(rows, experiment.cells)).word
            print(f"{'':24}{verdict} here ({rows[0]['size']}, {rows[0]['hardware']}, {rows[0]['date']})")


def compare() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.list:
        show_list()
        return 0
    if arguments.report:
        page = PUBLISHED.with_suffix(".md")
        write_report(PUBLISHED, page)
        print(page)
        return 0
    assert arguments.experiment is not None
    name = arguments.experiment
    experiment, _ = load_experiment(name)
    if arguments.cells:
        experiment = experiment.only(arguments.cells)
    comparison = Comparison(name, experiment, arguments)
    interrupted = comparison.run()
    if interrupted is not None:
        return finish(interrupted, comparison.folder)
    print(write_results(name, comparison), end="")
    print(f"{len(comparison.table)} runs; {comparison.folder}/results.csv, summary.md, plot.png")
    if arguments.publish:
        publish(name, comparison.folder)
        write_report(PUBLISHED, PUBLISHED.with_suffix(".md"))
    return 0


if __name__ == "__main__":
    main(compare)
