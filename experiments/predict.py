"""Name what is on images, with a trained run or with published weights.

    python experiments/predict.py runs/lenet5_digits image.png
    python experiments/predict.py lenet5 image.png                 the last run of this model in runs/
    python experiments/predict.py runs/lenet5_mnist photo.jpg --invert --threshold 50
    python experiments/predict.py --model mobilenet_v2 --weights PATH photo.jpg
    python experiments/predict.py --model resnet50 --weights imagenet photos/*.jpg --plot photos.png

Images may have any size and colour. Handwriting that is dark on light needs --invert for networks that were trained on
light digits on black; --threshold then makes a photograph's shades pure black and white.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from script import main, open_run

from xxnet_jax.data import read_image
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import model_info
from xxnet_jax.pretrained import load_network
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.visualization.predictions import plot_predictions

Ranking = list[tuple[str, float]]


@dataclass(frozen=True)
class Arguments:
    """Name what is on images.

    Attributes:
        images: image files; without --model, before them the run folder, or the name of a model: then its last run in
            runs/.
        model: a registered network, with --weights.
        weights: a file, the folder of a run, or imagenet: what is published for the network, downloaded on request.
        model_options: knobs of the network, such as alpha 0.75.
        top_k: classes to show for each image.
        invert: swap dark and light, before anything else.
        threshold: pixels below it become 0, others 255.
        step: of the run's checkpoint; by default the best one.
        batch_size: images that are looked at together.
        json: print one JSON object for each image instead.
        plot: file for a picture of the images and their classes.
    """

    images: Annotated[tuple[str, ...], tyro.conf.Positional]
    model: str | None = None
    weights: str | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    top_k: int = 3
    invert: bool = False
    threshold: int | None = None
    step: int | None = None
    batch_size: int = 32
    json: bool = False
    plot: Path | None = None


def predict() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    check(arguments)
    paths = [Path(path) for path in arguments.images[0 if arguments.model else 1 :]]
    classes, channels, probabilities_of = classifier(arguments)
    console = Console(highlight=False)
    shown: list[tuple[np.ndarray, Ranking]] = []
    for first in range(0, len(paths), arguments.batch_size):
        batch = paths[first : first + arguments.batch_size]
        images = [prepare(read_image(path, channels), arguments) for path in batch]
        for path, image, probabilities in zip(batch, images, probabilities_of(images), strict=True):
            ranking = np.argsort(-probabilities, kind="stable")[: arguments.top_k]
            top = [(classes[int(label)], float(probabilities[label])) for label in ranking]
            if arguments.json:
                print(json.dumps({"image": str(path), "top": top}), flush=True)
            else:
                console.print(chart(path, top))
            shown.append((image, top))
    if arguments.plot is not None:
        plot_predictions(shown, arguments.plot)
    return 0


def check(arguments: Arguments) -> None:
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 255:
        raise InvalidArgument(f"the threshold must be in 0..255, got {arguments.threshold}")
    for name in ("top_k", "batch_size"):
        if getattr(arguments, name) < 1:
            raise InvalidArgument(f"{name.replace('_', '-')} must be at least 1, got {getattr(arguments, name)}")
    if (arguments.model is None) != (arguments.weights is None):
        raise InvalidArgument("--model and --weights go together: the registered network, and a file or 'imagenet'")
    if len(arguments.images) < (1 if arguments.model else 2):
        raise InvalidArgument("there is no image: give at least one file")


def classifier(arguments: Arguments) -> tuple[Sequence[str], int, Callable[[list[np.ndarray]], np.ndarray]]:
    """Names of classes, channels of the images, and from images to probabilities."""
    if arguments.model is None or arguments.weights is None:
        trained = open_run(arguments.images[0]).load(arguments.step)
        return trained.config.classes, trained.config.image_format.channels, trained.predict
    options: dict[str, Any] = arguments.model_options
    network = load_network(arguments.model, arguments.weights, **options)
    return network.classes, model_info(arguments.model).input_shape[-1], network.predict


def prepare(image: np.ndarray, arguments: Arguments) -> np.ndarray:
    if arguments.invert:
        image = 255 - image
    if arguments.threshold is not None:
        image = np.where(image < arguments.threshold, 0, 255).astype(np.uint8)
    return image


def chart(path: Path, top: Ranking) -> Table:
    table = Table(title=str(path), title_justify="left", show_header=False, box=None)
    for name, probability in top:
        table.add_row(name, Bar(1.0, 0.0, probability, width=30), f"{probability:6.1%}")
    return table


if __name__ == "__main__":
    main(predict)
