"""Teach a pretrained network other classes: first a new classifier, then the layers behind an endpoint with it.

    python experiments/finetune.py --weights imagenet --data folder:PHOTOS
    python experiments/finetune.py --model resnet50.torchvision --weights resnet50.pth --frozen-through conv4_block6_out
    python experiments/finetune.py --model resnet20 --weights runs/resnet20_cifar10 --head 0 --data folder:FOLDER

PHOTOS has train/CLASS/*.jpg, validation/CLASS/*.jpg and test/CLASS/*.jpg. In the first phase everything but the new
classifier is frozen, in the second what stands before --frozen-through; batch normalization of frozen layers takes its
running statistics. The phases are runs in WORKDIR/head and WORKDIR/deep, each with config.json, metrics.jsonl,
checkpoints, curves.png and report.json. The same command again resumes what was interrupted.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from script import finish, load_recipe, main, recipe_names

from xxnet_jax.pretrained import freeze_through, load_weights
from xxnet_jax.training import LoopResult, Recipe, Run, run

DEFAULT_RECIPE = "finetune_inception_v3"
FROZEN_THROUGH = {"inception_v3": "mixed8"}


@dataclass(frozen=True)
class Arguments:
    """Fine-tune.

    Attributes:
        recipe: network and data, and how the second phase trains.
        weights: a file, the folder of a run, or imagenet: what is published for the network, downloaded on request.
        head: features of a dense layer before the new classifier, 0 for none.
        head_epochs: of the first phase.
        head_optimizer: of the first phase.
        head_learning_rate: of the first phase; by default the optimizer's own.
        frozen_through: endpoint up to which the second phase leaves everything as it is, or "none"; by default mixed8
            of Inception v3, as in the notes, and none of other networks.
        deep: whether there is a second phase.
        workdir: folder of both runs; by default runs/RECIPE.
        quiet: print only the results.
    """

    recipe: Annotated[Recipe, tyro.conf.arg(name="")]
    weights: str
    head: int = 1024
    head_epochs: int = 10
    head_optimizer: str = "rmsprop"
    head_learning_rate: float | None = None
    frozen_through: str | None = None
    deep: bool = True
    workdir: Path | None = None
    quiet: bool = False


def finetune() -> int:
    words = sys.argv[1:]
    name = words.pop(0) if words and not words[0].startswith("-") else DEFAULT_RECIPE
    default, about = load_recipe(name)
    arguments = tyro.cli(
        Arguments,
        prog=f"finetune.py {name}",
        description=f"{__doc__}\n{about}\nRecipes: {', '.join(recipe_names())}.",
        args=words,
        default=Arguments(default, weights=tyro.MISSING),
    )
    workdir = arguments.workdir or Path("runs") / name
    knobs: dict[str, Any] = dict(arguments.recipe.model_options)
    first, second = phases(arguments, knobs)

    variables = load_weights(first.model, arguments.weights, num_classes=None, **knobs)
    result = run(first, workdir / "head", initial=variables, quiet=arguments.quiet)
    status = finish(result, workdir / "head")
    if isinstance(result, LoopResult) or not arguments.deep:
        return status
    variables = Run(workdir / "head").load().variables
    result = run(second, workdir / "deep", initial=variables, quiet=arguments.quiet)
    return finish(result, workdir / "deep")


def phases(arguments: Arguments, knobs: dict[str, Any]) -> tuple[Recipe, Recipe]:
    """The recipes of both."""
    recipe = replace(arguments.recipe, model_options={**knobs, "new_head": arguments.head})
    first = replace(
        recipe,
        optimizer=arguments.head_optimizer,
        learning_rate=arguments.head_learning_rate,
        optimizer_options={},
        epochs=arguments.head_epochs,
        steps=None,
        freeze=(*recipe.freeze, freeze_through(recipe.model, **knobs)),
    )
    endpoint = arguments.frozen_through or FROZEN_THROUGH.get(recipe.model, "none")
    if endpoint == "none":
        return first, recipe
    return first, replace(recipe, freeze=(*recipe.freeze, freeze_through(recipe.model, endpoint, **knobs)))


if __name__ == "__main__":
    main(finetune)
