"""How far colours alone go in segmentation: thresholds of red, green and blue, learnt from pixels.

    python experiments/checks/colour_thresholds.py voc:data/BCCD_masks

The baseline for a segmenter: scikit-learn's decision tree on the colour of a pixel, grown on so many pixels of the
training images (each class weighted alike), of the depth with the highest mean IoU on the validation split. Every
threshold is one of a colour; nothing is known of what is around the pixel but what a Gaussian of SMOOTH pixels leaves.
Images and masks are stretched to the size that the segmenter sees. Prints the IoU of each class on the test split, and
writes report.json into OUT.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from PIL import Image, ImageFilter
from rich.progress import track
from sklearn.tree import DecisionTreeClassifier

sys.path.append(str(Path(__file__).parents[1]))
from script import main

from xxnet_jax.data import VOID, ImageFormat, MasksDecoder, Source, open_source
from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.metrics.segmentation import segmentation_confusion, segmentation_scores


@dataclass(frozen=True)
class Arguments:
    """Learn thresholds, and count.

    Attributes:
        source: voc:FOLDER with masks.
        height: of the images.
        width: of the images.
        pixels: of the training images that the trees are grown on.
        depths: of the trees: of this many thresholds one after another.
        smooth: standard deviation of the Gaussian that images are smoothed with, in pixels; 0: not at all.
        seed: of the choice of pixels.
        out: folder for report.json.
    """

    source: Annotated[str, tyro.conf.Positional]
    height: int = 192
    width: int = 256
    pixels: int = 200_000
    depths: tuple[int, ...] = (2, 3, 4, 6, 8)
    smooth: float = 1.0
    seed: int = 0
    out: Path = Path("runs/colour_thresholds")


def pixels_of(source: Source, split: str, arguments: Arguments) -> tuple[np.ndarray, np.ndarray]:
    """Colours, uint8 [n, 3], and classes, [n], of all pixels of a split that are of a class."""
    decoder = MasksDecoder(ImageFormat(arguments.height, arguments.width, 3), len(source.classes))
    examples = source.examples(split)
    colours, classes = [], []
    for row in track(decoder.read_all(examples), f"pixels of {split}", len(examples), transient=True):
        image = Image.fromarray(row["image"]).filter(ImageFilter.GaussianBlur(arguments.smooth))
        known = row["label"] != VOID
        colours.append(np.asarray(image)[known])
        classes.append(row["label"][known])
    return np.concatenate(colours), np.concatenate(classes)


def colour_thresholds() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    source = open_source(arguments.source, task="segmentation")
    colours, classes = pixels_of(source, "train", arguments)
    chosen = np.random.default_rng(arguments.seed).choice(len(classes), min(arguments.pixels, len(classes)), False)

    def iou(tree: DecisionTreeClassifier, colours: np.ndarray, classes: np.ndarray) -> np.ndarray:
        found = np.asarray(tree.predict(colours)).astype(np.int64)
        return np.asarray(segmentation_scores(segmentation_confusion(classes, found, len(source.classes))).iou)

    validation = pixels_of(source, "validation", arguments)
    best, tree, depth = -1.0, DecisionTreeClassifier(), 0
    for each in arguments.depths:
        grown = DecisionTreeClassifier(max_depth=each, class_weight="balanced", random_state=arguments.seed)
        grown.fit(colours[chosen], classes[chosen])
        if (mean := float(np.nanmean(iou(grown, *validation)))) > best:
            best, tree, depth = mean, grown, each
    each_iou = iou(tree, *pixels_of(source, "test", arguments))
    report = {f"test/IoU/{name}": float(value) for name, value in zip(source.classes, each_iou, strict=True)}
    report = {"depth": depth, "validation/mIoU": best, "test/mIoU": float(np.nanmean(each_iou)), **report}
    for name, value in report.items():
        print(f"{name:30} {value:.4g}")
    make_folder(arguments.out)
    write_atomically(arguments.out / "report.json", json.dumps(report, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    main(colour_thresholds)
