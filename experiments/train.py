"""Train a network by a recipe.

    python experiments/train.py                                   LeNet-5 on digits, the default recipe
    python experiments/train.py --optimizer nadam                 the same with another optimizer, at its own rate
    python experiments/train.py lenet5_mnist --data idx:FOLDER    another recipe

The run folder (--workdir, by default runs/RECIPE) gets config.json, metrics.jsonl, checkpoints, curves.png and
report.json. The same command again resumes a run that was interrupted.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import re
import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from script import finish, load_recipe, main, recipe_names

from xxnet_jax.training import Recipe, run
from xxnet_jax.training.processes import Processes

DEFAULT_RECIPE = "lenet5_digits"


@dataclass(frozen=True)
class Arguments:
    """The recipe, and where it runs.

    Attributes:
        recipe: what to do.
        workdir: the run folder; by default runs/RECIPE.
        quiet: print only the result.
        profile: before training, run a few steps and say where their time goes; a trace goes into profile/.
        many: where the run has several processes.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    workdir: Path | None = None
    quiet: bool = False
    profile: bool = False
    many: Annotated[Processes, tyro.conf.arg(name="")] = field(default_factory=Processes)


def train() -> int:
    words = sys.argv[1:]
    name = words.pop(0) if words and not words[0].startswith("-") else DEFAULT_RECIPE
    default, about = load_recipe(name)
    arguments = tyro.cli(
        Arguments,
        prog=f"train.py {name}",
        description=f"{about}\nRecipes: {', '.join(recipe_names())}.",
        args=words,
        default=Arguments(default),
    )
    arguments.many.join()
    recipe = arguments.recipe
    if recipe.optimizer != default.optimizer:  # the recipe's values were meant for the recipe's optimizer
        given = {match[1].replace("-", "_") for word in words if (match := re.match("--([a-z-_]+)", word))}
        own: dict[str, Any] = {"learning_rate": None, "optimizer_options": {}}
        recipe = replace(recipe, **{name: value for name, value in own.items() if name not in given})
    workdir = arguments.workdir or Path("runs") / name
    result = run(recipe, workdir, quiet=arguments.quiet, profile=arguments.profile)
    return finish(result, workdir)


if __name__ == "__main__":
    main(train)
