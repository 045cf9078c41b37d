"""Faster R-CNN trained in four steps (Ren, He, Girshick and Sun, 2015, arXiv 1506.01497, section 3.2).

1. The first stage is trained, with its backbone.
2. Fast R-CNN is trained on what step 1 proposes, with a backbone of its own that begins as that of step 1 did.
3. The first stage is trained anew on the backbone of step 2, which stays as it is from now on.
4. The second stage of step 2 is trained further on what step 3 proposes: one network, as after joint training.

Each step is a run in a folder of its own, step1 to step4, and is resumed as any other; step4 is the detector. In steps
1 and 3 nothing is detected yet, so there is no validation, and the last checkpoint counts."""

import re
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from xxnet_jax.detection.runs import DetectorRecipe, DetectorRun, run_detector
from xxnet_jax.detection.second_stage import RegionSettings
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.training.loop import LoopResult

BACKBONE, FIRST_STAGE = "^backbone/", "^rpn_"
SECOND_STAGE = "^(fc|cls_score|bbox_pred|stage/)"


def steps_of(recipe: DetectorRecipe, workdir: Path) -> tuple[DetectorRecipe, ...]:
    """The recipes of the four steps, each as long as the one that is given.

    Raises:
        ValueError: it is not that of a Faster R-CNN, or trains only a part.
    """
    both = recipe.faster_rcnn
    if recipe.detector != "faster_rcnn" or both.learns != "both":
        raise InvalidArgument("the four steps are those of a Faster R-CNN: leave detector and faster_rcnn.learns out")
    proposing = replace(both, learns="proposals")
    second_stage = RegionSettings(**{item.name: getattr(both, item.name) for item in fields(RegionSettings)})
    of_windows: dict[str, Any] = {"proposals": str(workdir / "step1"), "windows": both.train_after}
    unseen: dict[str, Any] = {"validation_split": None, "test_split": None}
    return (
        replace(recipe, faster_rcnn=proposing, freeze=(*recipe.freeze, SECOND_STAGE), **unseen),
        replace(recipe, detector="fast_rcnn", fast_rcnn=second_stage, **of_windows),
        replace(recipe, faster_rcnn=proposing, freeze=(*recipe.freeze, SECOND_STAGE, BACKBONE), **unseen),
        replace(recipe, faster_rcnn=replace(both, learns="regions"), freeze=(*recipe.freeze, FIRST_STAGE, BACKBONE)),
    )


def train_alternately(
    recipe: DetectorRecipe, workdir: Path, *, initial: Mapping[str, Any] | None = None, quiet: bool = False
) -> dict[str, Any] | LoopResult:
    """The four steps that are not done yet.

    Args:
        recipe: of a Faster R-CNN trained jointly.
        workdir: folder of the folders step1 to step4.
        initial: variables that steps 1 and 2 begin with in place of random ones, such as those of a classifier.
        quiet: print nothing.

    Returns:
        The report of step 4, or the `LoopResult` of a step that a signal ended.

    Raises:
        XXNetError: what the user should mend.
    """
    result: dict[str, Any] | LoopResult = {}
    begin: Mapping[str, Any] | None = initial
    for number, step in enumerate(steps_of(recipe, workdir), start=1):
        if number == 3:
            begin = variables_of(workdir / "step2")
        elif number == 4:
            begin = joined(variables_of(workdir / "step2"), variables_of(workdir / "step3"))
        result = run_detector(step, workdir / f"step{number}", initial=begin, quiet=quiet)
        if isinstance(result, LoopResult):
            return result
    return result


def variables_of(path: Path) -> dict[str, Any]:
    """Of the best checkpoint of a run."""
    return DetectorRun(path).restore()[0]


def joined(second: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of step 2, and from step 3 those of the first stage."""
    params = {name: values for name, values in first["params"].items() if re.match(FIRST_STAGE, name)}
    return {**second, "params": {**second["params"], **params}}
