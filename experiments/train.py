"""Train a network by a recipe.

    python experiments/train.py                                   LeNet-5 on digits, the default recipe
    python experiments/train.py --optimizer nadam                 the same with another optimizer, at its own rate
    python experiments/train.py lenet5_mnist --data idx:FOLDER    another recipe
    python experiments/train.py resnet_imagenet --source fake     without its data: what steps cost but for their input

The run folder (--workdir, by default runs/RECIPE) gets config.json, metrics.jsonl, checkpoints, curves.png and
report.json. The same command again resumes a run that was interrupted.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from script import TrainArguments, finish, main, recipe_arguments, with_source

from xxnet_jax.training import Recipe, run
from xxnet_jax.training.processes import Processes

DEFAULT_RECIPE = "lenet5_digits"


@dataclass(frozen=True)
class Arguments(TrainArguments[Recipe]):
    """The recipe, and where it runs.

    Attributes:
        source: fake: noise in place of the recipe's data and splits, of the size of its images and with as many
            classes; fake?examples=64: so many examples in each split, in place of 1024.
        many: where the run has several processes.
    """

    source: str | None = None
    many: Annotated[Processes, tyro.conf.arg(name="")] = field(default_factory=Processes)


def train() -> int:
    name, arguments = recipe_arguments(Arguments, sys.argv[1:], DEFAULT_RECIPE)
    arguments.many.join()
    recipe = arguments.recipe if arguments.source is None else with_source(arguments.recipe, arguments.source)
    workdir = arguments.workdir or Path("runs") / name
    return finish(run(recipe, workdir, **arguments.reporting), workdir)


if __name__ == "__main__":
    main(train)
