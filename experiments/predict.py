"""Name what is on images, with a trained run.

    python experiments/predict.py runs/lenet5_digits image.png
    python experiments/predict.py lenet5 image.png                 the last run of this model in runs/
    python experiments/predict.py runs/lenet5_mnist photo.jpg --invert --threshold 50

Images may have any size and colour. Handwriting that is dark on light needs --invert for networks that were trained on
light digits on black; --threshold then makes a photograph's shades pure black and white.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from rich.bar import Bar
from rich.console import Console
from rich.table import Table
from script import main, open_run

from xxnet_jax.data import read_image
from xxnet_jax.errors import InvalidArgument


@dataclass(frozen=True)
class Arguments:
    """Name what is on images, with a trained run.

    Attributes:
        run: the run folder, or the name of a model: then its last run in runs/.
        images: image files.
        top_k: classes to show for each image.
        invert: swap dark and light, before anything else.
        threshold: pixels below it become 0, others 255.
        step: of the checkpoint; by default the best one.
        json: print one JSON object for each image instead.
    """

    run: Annotated[str, tyro.conf.Positional]
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    top_k: int = 3
    invert: bool = False
    threshold: int | None = None
    step: int | None = None
    json: bool = False


def predict() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.threshold is not None and not 0 <= arguments.threshold <= 255:
        raise InvalidArgument(f"the threshold must be in 0..255, got {arguments.threshold}")
    if arguments.top_k < 1:
        raise InvalidArgument(f"top-k must be at least 1, got {arguments.top_k}")
    trained = open_run(arguments.run).load(arguments.step)
    classes, channels = trained.config.classes, trained.config.image_format.channels
    images = [prepare(read_image(path, channels), arguments) for path in arguments.images]
    console = Console(highlight=False)
    for path, probabilities in zip(arguments.images, trained.predict(images), strict=True):
        ranking = np.argsort(-probabilities, kind="stable")[: arguments.top_k]
        top = [(classes[label], float(probabilities[label])) for label in ranking]
        if arguments.json:
            print(json.dumps({"image": str(path), "top": top}))
        else:
            console.print(chart(path, top))
    return 0


def prepare(image: np.ndarray, arguments: Arguments) -> np.ndarray:
    if arguments.invert:
        image = 255 - image
    if arguments.threshold is not None:
        image = np.where(image < arguments.threshold, 0, 255).astype(np.uint8)
    return image


def chart(path: Path, top: list[tuple[str, float]]) -> Table:
    table = Table(title=str(path), title_justify="left", show_header=False, box=None)
    for name, probability in top:
        table.add_row(name, Bar(1.0, 0.0, probability, width=30), f"{probability:6.1%}")
    return table


if __name__ == "__main__":
    main(predict)
