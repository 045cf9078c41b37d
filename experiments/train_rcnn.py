"""Train R-CNN or SPP-net by a recipe, stage by stage.

    python experiments/train_rcnn.py                                         R-CNN on BCCD's blood cells
    python experiments/train_rcnn.py bccd_sppnet --data voc:FOLDER           SPP-net

The folder (--workdir, by default runs/RECIPE) gets the runs of both trainings of the network, the machines and
regressions (regions.npz), and report.json. The same command again goes on where one was interrupted: what is done is
not done again. evaluate_detector.py and detect.py use it as they use a run of train_detector.py.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import regions
import tyro
from script import load_recipe, main, recipe_names

from xxnet_jax.detection.region_systems import train_system
from xxnet_jax.training import LoopResult


@dataclass(frozen=True)
class Arguments:
    """Train R-CNN or SPP-net.

    Attributes:
        recipe: a file of experiments/regions.
        data: another dataset than the recipe's, such as voc:FOLDER.
        data_dir: folder of prepared TFDS datasets.
        windows_cache: folder that keeps the windows of selective search.
        seed: of both trainings.
        workdir: the folder; by default runs/RECIPE.
        quiet: print only the result.
    """

    recipe: Annotated[str, tyro.conf.Positional] = "bccd_rcnn"
    data: str | None = None
    data_dir: str | None = None
    windows_cache: str | None = None
    seed: int | None = None
    workdir: Path | None = None
    quiet: bool = False


def train_rcnn() -> int:
    arguments = tyro.cli(Arguments, description=f"{__doc__}\nRecipes: {', '.join(recipe_names(regions))}.")
    recipe, _ = load_recipe(arguments.recipe, regions)
    names = ("data", "data_dir", "windows_cache", "seed")
    changes: dict[str, Any] = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    recipe = replace(
        recipe, pretraining=replace(recipe.pretraining, **changes), finetuning=replace(recipe.finetuning, **changes)
    )
    workdir = arguments.workdir or Path("runs") / arguments.recipe
    result = train_system(recipe, workdir, quiet=arguments.quiet)
    if isinstance(result, LoopResult):
        assert result.interrupted is not None
        print(f"{result.interrupted.name}: saved step {result.step}; run the same command again to resume")
        return 128 + result.interrupted.value
    for name, value in result.items():
        if name.endswith("/mAP") or "/AP/" in name:
            print(f"{name:24} {value:.4f}")
    print(f"{workdir}/report.json, regions.npz")
    return 0


if __name__ == "__main__":
    main(train_rcnn)
