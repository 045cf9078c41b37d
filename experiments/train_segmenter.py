"""Train a segmenter by a recipe.

    python experiments/train_segmenter.py                                     FCN-8s on BCCD's blood cells
    python experiments/train_segmenter.py bccd_fcn8s --upsampling 32          the same as FCN-32s
    python experiments/train_segmenter.py bccd_fcn8s --data voc:FOLDER        on other masks

The run folder (--workdir, by default runs/RECIPE) gets config.json, metrics.jsonl, checkpoints, curves.png and
report.json. The same command again resumes a run that was interrupted. segment.py uses it.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import sys
from pathlib import Path

import segmenters
from script import TrainArguments, finish, main, recipe_arguments

from xxnet_jax.segmentation.runs import SegmenterRecipe, run_segmenter

DEFAULT_RECIPE = "bccd_fcn8s"


def train_segmenter() -> int:
    name, arguments = recipe_arguments(TrainArguments[SegmenterRecipe], sys.argv[1:], DEFAULT_RECIPE, segmenters)
    workdir = arguments.workdir or Path("runs") / name
    return finish(run_segmenter(arguments.recipe, workdir, **arguments.reporting), workdir)


if __name__ == "__main__":
    main(train_segmenter)
