"""Cats and dogs of CIFAR-10, from weights of the other eight classes and from scratch.

    python experiments/checks/cats_and_dogs.py FOLDER       # FOLDER/train/CLASS/*, FOLDER/test/CLASS/*

ResNet-20 is trained on eight classes by its own recipe, for the first two epochs of it. Then it learns to tell cats
from dogs with few images: fine-tuned (a new classifier in front of the frozen network, then all of it), and from
scratch with as many epochs in all. Both get the same learning rates; the best by validation goes on with further seeds.
The difference of the means on test is compared with twice the larger standard deviation. Takes 20 minutes on 2 CPU
cores, resumable.
"""

import json
import statistics
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from xxnet_jax.errors import MissingData, XXNetError
from xxnet_jax.files import write_atomically
from xxnet_jax.optimizers import ScheduleConfig
from xxnet_jax.pretrained import freeze_through, load_weights
from xxnet_jax.training import Recipe, Run, run

sys.path.append(str(Path(__file__).parents[1]))
from recipes.resnet20_cifar10 import RECIPE as EIGHT_CLASSES

PETS = ("cat", "dog")


@dataclass(frozen=True)
class Arguments:
    """Fine-tuning against training from scratch.

    Attributes:
        cifar: folder of CIFAR-10's images.
        images: of each of the two classes, to train on; as many again validate.
        steps: of the network on eight classes.
        head_epochs: of the new classifier alone.
        epochs: of the rest; from scratch it is both.
        rates: to choose from.
        seeds: of the best rate.
        workdir: for the runs, table.csv and result.json.
    """

    cifar: Annotated[Path, tyro.conf.Positional]
    images: int = 250
    steps: int = 560
    head_epochs: int = 5
    epochs: int = 15
    rates: tuple[float, ...] = (0.003, 0.01, 0.03, 0.1)
    seeds: int = 3
    workdir: Path = Path("runs/cats_and_dogs")


def compare() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    folder = arguments.workdir
    eight, two = folder / "eight", folder / "two"
    link(arguments.cifar, eight, exclude=PETS)
    link(arguments.cifar, two, include=PETS, limit=2 * arguments.images)

    print("ResNet-20 on eight classes")
    run(replace(EIGHT_CLASSES, data=f"folder:{eight}", steps=arguments.steps), folder / "eight_classes")
    recipe = Recipe(
        model="resnet20",
        model_options={"new_head": 0},
        data=f"folder:{two}",
        train_split="train[:50%]",
        validation_split="train[50%:]",
        augmentation="cifar",
        optimizer="momentum",
        schedule=ScheduleConfig(name="cosine"),
        l2=1e-4,
        batch_size=50,
        evaluate_every=10,
    )
    ways = {"fine-tuned": finetuned, "from scratch": from_scratch}
    found: dict[str, Any] = {}
    for way, train in ways.items():
        scores = {rate: train(arguments, recipe, rate, seed=0) for rate in arguments.rates}
        best = max(scores, key=lambda rate: scores[rate]["validation/accuracy"])
        reports = [train(arguments, recipe, best, seed=seed) for seed in range(arguments.seeds)]
        test = [report["test/accuracy"] for report in reports]
        found[way] = {
            "rate": best,
            "validation_by_rate": {str(rate): score["validation/accuracy"] for rate, score in scores.items()},
            "test": test,
            "mean": statistics.mean(test),
            "deviation": statistics.stdev(test),
        }
    return report(found, folder)


def finetuned(arguments: Arguments, recipe: Recipe, rate: float, seed: int) -> dict[str, Any]:
    """A new classifier by RMSProp in front of the frozen network, then all of it."""
    folder = arguments.workdir / f"finetuned_{rate:g}_{seed}"
    initial = load_weights("resnet20", arguments.workdir / "eight_classes", num_classes=None)
    head = replace(
        recipe,
        optimizer="rmsprop",
        learning_rate=1e-3,
        schedule=ScheduleConfig(),
        epochs=arguments.head_epochs,
        freeze=(freeze_through("resnet20"),),
        seed=seed,
    )
    finished(run(head, folder / "head", initial=initial, quiet=True))
    initial = Run(folder / "head").load().variables
    deep = replace(recipe, learning_rate=rate, epochs=arguments.epochs, seed=seed)
    return finished(run(deep, folder / "deep", initial=initial, quiet=True))


def from_scratch(arguments: Arguments, recipe: Recipe, rate: float, seed: int) -> dict[str, Any]:
    folder = arguments.workdir / f"scratch_{rate:g}_{seed}"
    epochs = arguments.head_epochs + arguments.epochs
    return finished(run(replace(recipe, learning_rate=rate, epochs=epochs, seed=seed), folder, quiet=True))


def finished(result: Any) -> dict[str, Any]:
    if not isinstance(result, dict):
        raise SystemExit(130)
    return result


def link(
    cifar: Path, folder: Path, *, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), limit: int = 0
) -> None:
    """Images of some classes as links, evenly mixed by name; of training images so many of each class, if limited."""
    for split in ("train", "test"):
        if not (cifar / split).is_dir():
            raise MissingData(
                f"there is no folder {cifar / split}: expected {cifar}/train/CLASS/* and {cifar}/test/CLASS/*"
            )
        for source in sorted((cifar / split).iterdir()):
            if source.name in exclude or (include and source.name not in include):
                continue
            target = folder / split / source.name
            target.mkdir(parents=True, exist_ok=True)
            files = sorted(source.iterdir())
            for file in files[: limit if limit and split == "train" else None]:
                if not (target / file.name).exists():
                    (target / file.name).symlink_to(file.resolve())


def report(found: dict[str, Any], folder: Path) -> int:
    table = Table("", "rate", "test accuracy", "seeds", title="Cats and dogs", title_justify="left", box=None)
    for way, row in found.items():
        seeds = ", ".join(f"{value:.2%}" for value in row["test"])
        table.add_row(way, f"{row['rate']:g}", f"{row['mean']:.2%} ± {row['deviation']:.2%}", seeds)
    Console(width=120).print(table)
    fine, scratch = found.values()
    difference = fine["mean"] - scratch["mean"]
    twice = 2 * max(fine["deviation"], scratch["deviation"])
    agrees = difference > twice
    found |= {"difference": difference, "two_deviations": twice, "better": agrees}
    write_atomically(folder / "result.json", json.dumps(found, indent=2) + "\n")
    print(f"fine-tuning is {difference:+.2%} better; two standard deviations are {twice:.2%}; {folder}/result.json")
    return 0 if agrees else 1


if __name__ == "__main__":
    try:
        sys.exit(compare())
    except XXNetError as error:
        sys.exit(f"error: {error}")
