"""What runs of recipes came to, beside what the papers report: docs/results.md.

    python experiments/results_table.py nin_cifar10 runs/nin_cifar10       adds a run of a recipe, or its new state
    python experiments/results_table.py                                    writes the page anew

docs/results (--folder) keeps a row for each network, dataset and machine in results.csv; a run that is not finished is
there as far as it has come, and marked. Call it on the machine of the run: hardware and commit are those of now.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro
from compare_runs import Compared, different_settings, outcome, read
from list_recipes import published
from provenance import hardware, provenance, public_name
from run_table import Row, RunTable, markdown_table
from script import main, recipe_module

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import write_atomically
from xxnet_jax.models import count_parameters
from xxnet_jax.training import Recipe, Run

RESULTS = Path(__file__).parents[1] / "docs" / "results"
WITHOUT_EFFECT = ("log_every", "evaluate_every", "keep_last", "devices")  # not of the command that is shown
RATE = "time/examples_per_second"
HEAD = """# Results

Made by `python experiments/results_table.py` from `results/results.csv`. Each row is one run: "steps" are those made,
of those that the recipe has; test is the accuracy of the best checkpoint on the whole test split, in percent;
"published" is what the paper reports for the whole training (the protocol in brackets); images/s is the median of
what the run logged, on a machine that may have had other work. A run that is cut short, as most here are that ran on
a CPU, is no reproduction: it shows that the recipe learns, and how fast it runs.

"""


@dataclass(frozen=True)
class Arguments:
    """Add a run, and write the page.

    Attributes:
        recipe: of the run.
        run: its folder.
        folder: of the table; the page is FOLDER.md.
    """

    recipe: Annotated[str | None, tyro.conf.Positional] = None
    run: Annotated[str | None, tyro.conf.Positional] = None
    folder: Path = RESULTS


def results_table() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if (arguments.recipe is None) != (arguments.run is None):
        raise InvalidArgument("name a recipe and a run folder, or neither")
    table = RunTable(arguments.folder, {}, ("network", "data", "hardware"))
    if arguments.recipe is not None and arguments.run is not None:
        table.add(row_of(arguments.recipe, arguments.run))
    page = arguments.folder.with_suffix(".md")
    write_atomically(page, HEAD + (markdown_table([shown(row) for row in table]) if len(table) else ""))
    print(page)
    return 0


def row_of(name: str, folder: str) -> Row:
    """The row of a run.

    Raises:
        FileNotFoundError: there is no such run.
        ValueError: unknown recipe, or the run's network is none of its.
    """
    (compared,) = read([folder])
    module = recipe_module(name)
    recipe, networks = module.RECIPE, {module.RECIPE.model, *getattr(module, "NETWORKS", ())}
    if compared.recipe.model not in networks:
        raise InvalidArgument(f"{folder} trains {compared.recipe.model}, the recipe {name} is for {sorted(networks)}")
    figures = getattr(module, "PUBLISHED", {})
    of_network = {
        protocol: {network: value for network, value in each.items() if network == compared.recipe.model}
        for protocol, each in figures.items()
    }
    state = outcome(compared)
    rates = [line[RATE] for line in compared.lines if RATE in line]  # not over the whole run: it compiles first
    return {
        "network": compared.recipe.model,
        "data": public_name(compared.recipe.data),
        "command": command(name, recipe, compared.recipe),
        "steps": state["steps"],
        "of_steps": steps_of(recipe, compared),
        "finished": state["finished"],
        "test_accuracy": state["test_accuracy"],
        "validation_accuracy": state["best_accuracy"],
        "train_loss": state["train_loss"],
        "parameters": count_parameters(Run(Path(folder)).template().params),
        "images_per_second": statistics.median(rates) if rates else None,
        "published": published(of_network).replace(f"{compared.recipe.model} ", ""),
        "hardware": hardware(),
        **provenance(),
        "date": (compared.report or {}).get("finished", time.strftime("%Y-%m-%d"))[:10],
        "jax": jax.__version__,
    }


def steps_of(recipe: Recipe, run: Compared) -> int:
    """Steps of the whole recipe with the run's batches."""
    if recipe.steps:
        return recipe.steps
    last = run.lines[-1]
    return recipe.epochs * round(last["step"] / last["epoch"])


def command(name: str, recipe: Recipe, run: Recipe) -> str:
    """The words that make this run of the recipe."""
    tables = {field for field, value in asdict(run).items() if isinstance(value, Mapping) and field != "schedule"}
    words = [f"train.py {name}"]
    for setting, value in different_settings([recipe, run])[1].items():
        field, _, key = setting.partition(".")
        if field == "data":
            words.append(f"--data {run.data.partition(':')[0]}:FOLDER")
        elif field in tables:
            words.append(f"--{field.replace('_', '-')} {key} {value}")
        elif field not in WITHOUT_EFFECT:
            words.append(f"--{setting.replace('_', '-')} {quoted(value)}")
    return " ".join(words)


def quoted(value: Any) -> str:
    text = str(value)
    return f'"{text}"' if set(text) & set("[]* ") else text


def shown(row: Row) -> Row:
    """A row as the page has it."""

    def percent(value: float | None) -> str:
        return "" if value is None else f"{100 * value:.2f}"

    steps = f"{row['steps']:,} of {row['of_steps']:,}"
    return {
        "network": row["network"],
        "data": row["data"],
        "command": f"`{row['command']}`",
        "steps": steps if row["finished"] else f"{steps}, unfinished",
        "test %": percent(row["test_accuracy"]),
        "validation %": percent(row["validation_accuracy"]),
        "published %": row["published"],
        "parameters": f"{row['parameters']:,}",
        "images/s": "" if row["images_per_second"] is None else f"{row['images_per_second']:,.0f}",
        "hardware": row["hardware"],
        "date": row["date"],
        "commit": row["commit"],
    }


if __name__ == "__main__":
    main(results_table)
