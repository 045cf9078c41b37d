"""Train a VGG to say where the object of an image is, and test it (appendix A of its paper).

    python experiments/train_localizer.py --data voc:FOLDER --classifier runs/vgg16_imagenet
    python experiments/train_localizer.py --data voc:FOLDER --per-class --freeze ^block       the dense layers alone

The run folder (--workdir, by default runs/localizer) is as that of train.py; "localized" is the part of central crops
in which the box of the true class has an IoU above .5. With a classifier the run begins with its layers, and at the end
both networks see whole images of the test split: dense.json has the error of the merged boxes of the likeliest class,
and of the five likeliest.
"""

import huge_pages  # noqa: F401  before what takes long: it may start Python anew

# isort: split
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from script import counted, finish, main

from xxnet_jax.data import open_source
from xxnet_jax.detection.crops import learnable
from xxnet_jax.detection.localization import DenseLocalizer, LocalizationRecipe, LocalizationRun, train_localizer
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import write_atomically
from xxnet_jax.metrics import localization_error
from xxnet_jax.metrics.matching import GroundTruth
from xxnet_jax.models.vgg import VGG
from xxnet_jax.training import LoopResult, Run, TrainedNetwork
from xxnet_jax.training.run import check_classes


@dataclass(frozen=True)
class Arguments:
    """The recipe, and where it runs.

    Attributes:
        recipe: what to do.
        classifier: run of a classifier with the same layers and classes, trained at the same scale.
        scales: shorter sides of whole images; by default the recipe's.
        workdir: the run folder.
        quiet: print only the result.
    """

    recipe: Annotated[LocalizationRecipe, tyro.conf.arg(name="")] = field(default_factory=LocalizationRecipe)
    classifier: Path | None = None
    scales: tuple[int, ...] = ()
    workdir: Path = Path("runs/localizer")
    quiet: bool = False


def localize() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    classifier = None if arguments.classifier is None else Run(arguments.classifier).load()
    variables = None if classifier is None else classifier.variables
    result = train_localizer(arguments.recipe, arguments.workdir, classifier=variables, quiet=arguments.quiet)
    if classifier is not None and not isinstance(result, LoopResult) and arguments.recipe.test_split:
        evaluate_whole_images(arguments, classifier)
    return finish(result, arguments.workdir)


def evaluate_whole_images(arguments: Arguments, classifier: TrainedNetwork) -> None:
    """The error of the merged boxes on the images of the test split that have an object."""
    trained, recipe = LocalizationRun(arguments.workdir), arguments.recipe
    if not isinstance(classifier.model, VGG):
        raise InvalidArgument(f"{arguments.classifier} is no VGG, but {classifier.config.recipe.model}")
    assert recipe.test_split is not None
    assert recipe.shorter_side is not None
    source = open_source(recipe.data, data_dir=recipe.data_dir, task="detection")
    check_classes(source, classifier.config)
    scales = arguments.scales or (recipe.shorter_side,)
    networks = trained.model, trained.restore()[0], classifier.model, classifier.variables
    localizer = DenseLocalizer(trained.config, *networks, scales)
    examples = source.examples(recipe.test_split)
    found, truths = [], []
    for example in map(learnable, counted(examples, len(examples), 1)):
        if len(example["labels"]):
            found.append(localizer(example["image"]))
            truths.append(GroundTruth(example["boxes"], example["labels"]))
    errors = {f"top{top}_error": localization_error(found, truths, source.num_classes, top=top) for top in (1, 5)}
    report = {"data": source.uri, "split": recipe.test_split, "images": len(truths), "scales": scales, **errors}
    write_atomically(arguments.workdir / "dense.json", json.dumps(report, indent=2) + "\n")
    print(f"whole images: {errors}; {arguments.workdir}/dense.json")


if __name__ == "__main__":
    main(localize)
