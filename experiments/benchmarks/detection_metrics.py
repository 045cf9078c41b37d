"""COCO's average precision of random detections: this project's evaluation against pycocotools.

    python experiments/benchmarks/detection_metrics.py
    python experiments/benchmarks/detection_metrics.py --classes 1

Each evaluates the same boxes in memory, from the arrays of each image or from pycocotools' index of them, to COCO's
twelve numbers; they must agree. "ratio" says how many times faster ours is: median and range over the rounds, in each
of which everyone has one turn. Figures go to results.csv in OUT.
"""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from script import main

from xxnet_jax.boxes import xyxy_to_xywh
from xxnet_jax.errors import InvalidArgument, XXNetError
from xxnet_jax.metrics.detection import Detections, GroundTruth, coco_average_precision

SIDE = 640  # of the images


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        images: number of images.
        boxes: objects of an image, and as many detections.
        classes: among which the objects are drawn.
        rounds: turns of each after the first; a turn is three evaluations.
        out: folder for the figures of one machine.
    """

    images: int = 5000
    boxes: int = 20
    classes: int = 80
    rounds: int = 3
    out: Path = Path("runs/benchmarks/detection_metrics")


def measure_detection_metrics() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if min(arguments.images, arguments.boxes, arguments.classes, arguments.rounds) < 1:
        raise InvalidArgument("images, boxes, classes and rounds must be 1 or more")
    case = {"images": arguments.images, "boxes": arguments.boxes, "classes": arguments.classes}
    table = results(arguments.out, "detection_metrics", {}, (*case, "peer"))
    if (*case.values(), "pycocotools") not in table:
        detections, truths = random_images(arguments)
        summaries: dict[str, list[float]] = {}
        runs: dict[str, Run] = {
            OURS: lambda: summaries.update(ours=ours(detections, truths, arguments.classes)),
            "pycocotools": pycocotools_run(detections, truths, arguments.classes, summaries),
        }
        timings = in_turns(runs, arguments.rounds)
        np.testing.assert_allclose(summaries["ours"], summaries["pycocotools"], atol=1e-6)
        for row in against_ours(timings, units=arguments.images):
            table.add({**case, **row})
    show("detection_metrics", list(table))
    print(f"{table.folder}/results.csv")
    return 0


def random_images(arguments: Arguments) -> tuple[list[Detections], list[GroundTruth]]:
    """Objects of all sizes, each detected once: displaced by a tenth of its sides, a fifth of them as another class."""
    random = np.random.default_rng(0)
    shape = (arguments.images, arguments.boxes)
    sides = np.exp(random.uniform(np.log(4), np.log(SIDE / 2), (*shape, 2))).round()
    corners = (random.random((*shape, 2)) * (SIDE - sides)).round()
    boxes = np.concatenate([corners, corners + sides], -1)
    labels, others = random.integers(0, arguments.classes, (2, *shape))
    found = (boxes + 0.1 * np.tile(sides, 2) * random.standard_normal(boxes.shape)).round()
    found[..., 2:] = np.maximum(found[..., 2:], found[..., :2] + 1)
    chosen = np.where(random.random(shape) < 0.8, labels, others)
    scores = random.random(shape)
    detections = [Detections(*image) for image in zip(found, scores, chosen, strict=True)]
    return detections, [GroundTruth(*image) for image in zip(boxes, labels, strict=True)]


def ours(detections: list[Detections], truths: list[GroundTruth], classes: int) -> list[float]:
    summary = coco_average_precision(detections, truths, classes).summary
    return [-1 if np.isnan(value) else value for value in summary.values()]


def pycocotools_run(
    detections: list[Detections], truths: list[GroundTruth], classes: int, summaries: dict[str, list[float]]
) -> Run:
    """An evaluation that leaves its twelve numbers.

    Raises:
        XXNetError: pycocotools is not installed.
    """
    try:
        from pycocotools.coco import COCO
        from pycocotools.cocoeval import COCOeval
    except ImportError as error:
        raise XXNetError("the peer pycocotools is not installed: pip install pycocotools") from error
    dataset: Any = COCO()
    dataset.dataset = {
        "info": {},
        "images": [{"id": image} for image in range(len(truths))],
        "categories": [{"id": label} for label in range(classes)],
        "annotations": annotations(truths),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
        found = dataset.loadRes(annotations(detections))

    def run() -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            evaluation = COCOeval(dataset, found, "bbox")
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        summaries["pycocotools"] = list(evaluation.stats)

    return run


def annotations(images: list[Any]) -> list[dict[str, Any]]:
    """Objects or detections as COCO's entries."""
    entries = []
    for number, image in enumerate(images):
        for i, (box, label) in enumerate(zip(xyxy_to_xywh(image.boxes).tolist(), image.labels.tolist(), strict=True)):
            entry = {"id": len(entries) + 1, "image_id": number, "category_id": label, "bbox": box}
            score = {"score": float(image.scores[i])} if isinstance(image, Detections) else {}
            entries.append({**entry, "area": box[2] * box[3], "iscrowd": 0, **score})
    return entries


if __name__ == "__main__":
    main(measure_detection_metrics)
