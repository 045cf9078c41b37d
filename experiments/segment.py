"""Segment images with a trained network.

    python experiments/segment.py runs/bccd_fcn8s cells.jpg
    python experiments/segment.py runs/bccd_fcn8s photos/*.jpg --out masks

Writes into OUT, for each image, NAME.png: the number of the class of each pixel, with VOC's palette; and
segmented.png, the images beside their classes. Prints one JSON object for each image: the share of each class.
Images may have any size. Each is scaled to the shorter side that those of training had, and the scores are scaled back;
--shorter-side takes another, such as that of the image itself.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from script import main

from xxnet_jax.data import read_image
from xxnet_jax.data.masks import write_classes
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.segmentation.runs import SegmenterRun
from xxnet_jax.visualization.masks import plot_masks


@dataclass(frozen=True)
class Arguments:
    """Segment images.

    Attributes:
        run: the run folder of a segmenter.
        images: image files.
        step: of the run's checkpoint; by default the best one.
        shorter_side: to which images are scaled before they are scored, in pixels; by default that of training.
        out: folder for the masks and the picture.
    """

    run: Annotated[Path, tyro.conf.Positional]
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    step: int | None = None
    shorter_side: int | None = None
    out: Path = Path("masks")


def segment() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if not arguments.images:
        raise InvalidArgument("there is no image: give at least one file")
    names = [path.stem for path in arguments.images]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidArgument(f"several images are called {', '.join(twice)}: their masks would have one name")
    trained = SegmenterRun(arguments.run).load(arguments.step)
    classes = trained.config.classes
    side = trained.trained_side if arguments.shorter_side is None else arguments.shorter_side
    images = [read_image(path, trained.config.image_format.channels) for path in arguments.images]
    found: list[np.ndarray] = []
    for path, image in zip(arguments.images, images, strict=True):
        (mask,) = trained.segment([image], side)
        write_classes(arguments.out / f"{path.stem}.png", mask)
        found.append(mask)
        shares = np.bincount(mask.ravel(), minlength=len(classes)) / mask.size
        print(json.dumps({"image": str(path), "shares": dict(zip(classes, shares.round(4).tolist(), strict=True))}))
    plot_masks(images, found, classes, arguments.out / "segmented.png")
    return 0


if __name__ == "__main__":
    main(segment)
