"""Train a detector by a recipe.

    python experiments/train_detector.py                                     Faster R-CNN on BCCD's blood cells
    python experiments/train_detector.py bccd_yolo_v2                        YOLO v2 on the same
    python experiments/train_detector.py bccd_small --optimizer adam         the same with another optimizer
    python experiments/train_detector.py bccd_small --data voc:FOLDER        on other objects
    python experiments/train_detector.py bccd_fast_rcnn                      Fast R-CNN, on windows of selective search
    python experiments/train_detector.py bccd_small --alternating            Faster R-CNN in the paper's four steps

The run folder (--workdir, by default runs/RECIPE) gets config.json, metrics.jsonl, checkpoints, curves.png and
report.json; of alternating training each step has such a folder in it, and step4 is the detector. The same command
again resumes a run that was interrupted. evaluate_detector.py and detect.py use it.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import sys
from dataclasses import dataclass
from pathlib import Path

import detectors
from script import TrainArguments, finish, main, recipe_arguments

from xxnet_jax.detection.alternating import train_alternately
from xxnet_jax.detection.runs import DetectorRecipe, run_detector

DEFAULT_RECIPE = "bccd_small"


@dataclass(frozen=True)
class Arguments(TrainArguments[DetectorRecipe]):
    """The recipe, and where it runs.

    Attributes:
        alternating: train Faster R-CNN in four steps, each as long as the recipe says, not jointly.
    """

    alternating: bool = False


def train_detector() -> int:
    name, arguments = recipe_arguments(Arguments, sys.argv[1:], DEFAULT_RECIPE, detectors)
    workdir = arguments.workdir or Path("runs") / name
    if arguments.alternating:
        return finish(train_alternately(arguments.recipe, workdir, quiet=arguments.quiet), workdir / "step4")
    return finish(run_detector(arguments.recipe, workdir, **arguments.reporting), workdir)


if __name__ == "__main__":
    main(train_detector)
