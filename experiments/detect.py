"""Find objects in images with a trained detector.

    python experiments/detect.py runs/bccd_small cells.jpg
    python experiments/detect.py runs/bccd_small photos/*.jpg --threshold 0.7 --out found.png

Prints one JSON object for each image: its objects, the surest first, each with class, score and box (x1, y1, x2, y2) in
pixels of the image; and draws them on one picture. Images may have any size and colour.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from script import main

from xxnet_jax.data import read_image
from xxnet_jax.detection.region_systems import open_detector
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import write_atomically
from xxnet_jax.metrics.matching import Detections
from xxnet_jax.visualization.detections import plot_detections


@dataclass(frozen=True)
class Arguments:
    """Find objects in images.

    Attributes:
        run: the run folder of a detector.
        images: image files.
        threshold: least score of what is shown.
        step: of the run's checkpoint; by default the best one.
        out: PNG file of the images with boxes; the JSON lines are written beside it, too.
    """

    run: Annotated[Path, tyro.conf.Positional]
    images: Annotated[tuple[Path, ...], tyro.conf.Positional]
    threshold: float = 0.5
    step: int | None = None
    out: Path = Path("detections.png")


def detect() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if not 0 <= arguments.threshold <= 1:
        raise InvalidArgument(f"the threshold must be in 0..1, got {arguments.threshold}")
    if not arguments.images:
        raise InvalidArgument("there is no image: give at least one file")
    if arguments.out.suffix != ".png":
        raise InvalidArgument(f"the picture is a PNG: {arguments.out} must end in .png")
    trained = open_detector(arguments.run).load(arguments.step)
    classes, channels = trained.config.classes, trained.config.image_format.channels
    images = [read_image(path, channels) for path in arguments.images]
    shown: list[Detections] = []
    lines: list[str] = []
    for path, image in zip(arguments.images, images, strict=True):
        (found,) = trained.detect([image])
        sure = found.scores >= arguments.threshold
        kept = Detections(found.boxes[sure], found.scores[sure], found.labels[sure])
        shown.append(kept)
        lines.append(json.dumps({"image": str(path), "objects": described(kept, classes)}))
        print(lines[-1], flush=True)
    boxes, labels, scores = (
        [np.asarray(getattr(each, name)) for each in shown] for name in ("boxes", "labels", "scores")
    )
    plot_detections(images, boxes, labels, classes, arguments.out, scores=scores)
    write_atomically(arguments.out.with_suffix(".jsonl"), "\n".join(lines) + "\n")
    return 0


def described(found: Detections, classes: tuple[str, ...]) -> list[dict[str, object]]:
    return [
        {"class": classes[int(label)], "score": round(float(score), 4), "box": [round(float(edge), 2) for edge in box]}
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True)
    ]


if __name__ == "__main__":
    main(detect)
