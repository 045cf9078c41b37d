"""Make masks of boxes: the ellipse in each box, for objects that are round, such as cells.

    python experiments/ellipse_masks.py voc:data/BCCD data/BCCD_masks

OUT becomes a folder for `voc:OUT` in segmentation: JPEGImages (copies), SegmentationClass, ImageSets/Segmentation with
the splits of the source, and classes.txt: the background and the source's classes. Where ellipses lie on each other,
the smaller object is on top.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageDraw
from rich.progress import track
from script import main

from xxnet_jax.boxes import area
from xxnet_jax.data import Source, open_source
from xxnet_jax.data.masks import write_classes
from xxnet_jax.data.sources.voc import AnnotatedExamples
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_atomically


@dataclass(frozen=True)
class Arguments:
    """Make masks of boxes.

    Attributes:
        source: voc:FOLDER, or another one of image files with boxes.
        out: folder, which must not be there yet.
    """

    source: Annotated[str, tyro.conf.Positional]
    out: Annotated[Path, tyro.conf.Positional]


def ellipses(height: int, width: int, boxes: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """uint8 [height, width]: 0, or 1 + the label of the smallest object in whose ellipse a pixel is."""
    mask = Image.new("L", (width, height))
    draw = ImageDraw.Draw(mask)
    for index in np.argsort(-area(boxes), kind="stable"):
        x1, y1, x2, y2 = boxes[index].tolist()
        draw.ellipse((x1, y1, x2 - 1, y2 - 1), fill=1 + int(labels[index]))  # PIL's last pixel is inside
    return np.asarray(mask)


def make_masks(source: Source, out: Path) -> None:
    """Write the folder.

    Raises:
        ValueError: it is there already, or the source has no image files.
    """
    if out.exists():
        raise InvalidArgument(f"{out} is there already: remove it, or give another folder")
    folder = out.with_name(f".{out.name}.part")
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        make_folder(folder / name)
    for split, examples in source.splits.items():
        if not isinstance(examples, AnnotatedExamples):
            raise InvalidArgument(f"{source.uri} has no image files: take voc: or coco:")
        for image, example in zip(examples.images, track(examples, f"masks of {split}", len(examples)), strict=True):
            height, width = example["image"].shape[:2]
            shutil.copy(image.path, folder / "JPEGImages" / image.path.name)
            mask = ellipses(height, width, example["boxes"], example["labels"])
            write_classes(folder / "SegmentationClass" / f"{image.path.stem}.png", mask)
        names = "".join(f"{image.path.stem}\n" for image in examples.images)
        file = {"validation": "val"}.get(split, split)
        write_atomically(folder / "ImageSets" / "Segmentation" / f"{file}.txt", names)
    write_atomically(folder / "classes.txt", "".join(f"{name}\n" for name in ("background", *source.classes)))
    folder.rename(out)


def ellipse_masks() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.source, task="detection")
    make_masks(source, arguments.out)
    print(f"{arguments.out}: masks of {', '.join(f'{len(found)} ({split})' for split, found in source.splits.items())}")
    return 0


if __name__ == "__main__":
    main(ellipse_masks)
