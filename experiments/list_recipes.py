"""List the recipes: networks, data, optimizer, schedule, batch, decay, augmentation, published accuracies.

python experiments/list_recipes.py
python experiments/list_recipes.py --markdown docs/recipes.md
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from rich.console import Console
from rich.table import Table
from run_table import markdown_table
from script import main, recipe_module, recipe_names

from xxnet_jax.files import write_atomically
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.optimizers.factory import default_learning_rate
from xxnet_jax.training import Recipe


@dataclass(frozen=True)
class Arguments:
    """List the recipes.

    Attributes:
        markdown: write the table, with published accuracies, into this file.
    """

    markdown: Path | None = None


def list_recipes() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    rows = [facts(name) for name in recipe_names()]
    if arguments.markdown is not None:
        write_atomically(arguments.markdown, MARKDOWN_HEAD + markdown_table(rows))
        print(f"{len(rows)} recipes: {arguments.markdown}")
        return 0
    table = Table(box=None)
    shown = ("recipe", "networks", "data", "optimizer", "schedule", "length", "batch")
    for column in shown:
        table.add_column(column)
    for row in rows:
        table.add_row(*(row[column] for column in shown))
    Console(width=150).print(table)
    return 0


MARKDOWN_HEAD = """# Recipes

Made by `python experiments/list_recipes.py --markdown docs/recipes.md`. `python experiments/train.py RECIPE` is the
command for the first network of a line, `--model NETWORK` for the others; `train.py RECIPE --help` says where each
number comes from, what differs from the paper, and which further commands there are. Decay is the L2 term of the loss,
which acts on the gradient. Published accuracies are top-1 / top-5 in percent, of the protocol in brackets: they are the
papers', not measured here. `--source fake` runs any of them on noise.

"""


def facts(name: str) -> dict[str, str]:
    """The row of a recipe."""
    module = recipe_module(name)
    recipe: Recipe = module.RECIPE
    networks = dict.fromkeys((recipe.model, *getattr(module, "NETWORKS", ())))
    return {
        "recipe": name,
        "networks": ", ".join(networks),
        "data": recipe.data,
        "optimizer": optimizer(recipe),
        "schedule": schedule(recipe.schedule),
        "length": f"{recipe.steps:,} steps" if recipe.steps else f"{recipe.epochs} epochs",
        "batch": str(recipe.batch_size),
        "decay": decay(recipe),
        "augmentation": augmentation(recipe),
        "besides": besides(recipe),
        "published": published(getattr(module, "PUBLISHED", {})),
    }


def optimizer(recipe: Recipe) -> str:
    rate = recipe.learning_rate
    if rate is None:
        rate = default_learning_rate(recipe.optimizer, recipe.like)
    options = ", ".join(f"{name} {value:g}" for name, value in recipe.optimizer_options.items())
    return f"{recipe.optimizer} at {rate:g}" + (f" ({options})" if options else "")


def schedule(config: ScheduleConfig) -> str:
    """What the rate does, in words: "x 0.1 at 30, 60 epochs"."""
    config = config.resolved()
    unit = "of the training" if config.unit == "fraction" else config.unit
    match config.name:
        case "plateau":
            times = f", {config.max_reductions} times" if config.max_reductions else ""
            text = f"x {config.decay_rate:g} at a plateau{times}"
        case "multistep":
            text = f"x {config.decay_rate:g} at {', '.join(f'{at:,g}' for at in config.boundaries)} {unit}"
        case "exponential" | "step":
            text = f"x {config.decay_rate:g} every {config.every:,g} {unit}"
        case "polynomial":
            text = f"polynomial of degree {config.power:g}"
        case name:
            text = name
    if not config.warmup:
        return text
    start = "from 0" if config.warmup_rate is None else f"at x {config.warmup_rate:g}"
    return f"{text}; warm-up {start} for {config.warmup:.3g} {unit}"


def decay(recipe: Recipe) -> str:
    if not recipe.l2:
        return ""
    where = {"kernel$": "kernels", "": "all parameters"}.get(recipe.l2_pattern, f"`{recipe.l2_pattern}`")
    return f"{recipe.l2:g}, {where}"


def augmentation(recipe: Recipe) -> str:
    options = ", ".join(f"{name} {value:.3g}" for name, value in recipe.augmentation_options.items())
    return " with ".join(filter(None, (recipe.augmentation, options)))


def besides(recipe: Recipe) -> str:
    """Regularization and preprocessing that are not the network's own."""
    facts = {
        "label smoothing": recipe.label_smoothing,
        "average": recipe.ema_decay,
        "clipped to norm": recipe.clip_norm,
        "preprocessing": recipe.preprocessing,
        **{name.replace("_", " "): value for name, value in recipe.model_options.items()},
    }
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)


def published(figures: Mapping[str, Mapping[str, tuple[float, float | None]]]) -> str:
    def accuracy(top1: float, top5: float | None) -> str:
        return f"{top1:.4g}" if top5 is None else f"{top1:.4g} / {top5:.4g}"

    protocols = {
        protocol: ", ".join(f"{network} {accuracy(*each)}" for network, each in networks.items())
        for protocol, networks in figures.items()
    }
    return "; ".join(f"{text} ({protocol})" for protocol, text in protocols.items() if text)


if __name__ == "__main__":
    main(list_recipes)
