"""Evaluate a detector on a split, by every protocol.

    python experiments/evaluate_detector.py runs/bccd_small                  the best checkpoint, on the test split
    python experiments/evaluate_detector.py runs/bccd_small --split validation
    python experiments/evaluate_detector.py runs/bccd_yolo_v2 --canvases 192 256 320 416     192x256 and 320x416, too

RUN/evaluation/SPLIT then has report.json and the precision-recall curves of the classes: mean average precision as in
VOC 2007 (11 recalls) and since VOC 2010 (area under the curve), both at an IoU of .5, and COCO's twelve figures. For
each canvas there is VOC 2010's, and the images per second, one after another, from pixels to detections.
"""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from script import main

from xxnet_jax.data import open_source
from xxnet_jax.detection.region_systems import TrainedSystem, open_detector
from xxnet_jax.detection.runs import DetectorRun, TrainedDetector, on_canvas
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_atomically
from xxnet_jax.metrics.detection import coco_average_precision, voc_average_precision
from xxnet_jax.visualization.classification import plot_precision_recall

TIMED = 20  # images whose median time is taken


@dataclass(frozen=True)
class Arguments:
    """Evaluate a detector on a split.

    Attributes:
        run: the run folder.
        split: by default the recipe's test split.
        data: another dataset than the recipe's, of the same classes.
        data_dir: folder of prepared TFDS datasets; by default the recipe's.
        step: of the checkpoint; by default the best one.
        canvases: heights and widths of other canvases than the recipe's on which to test the same network, too.
        out: folder for report.json and the picture; by default RUN/evaluation/SPLIT.
    """

    run: Annotated[Path, tyro.conf.Positional]
    split: str | None = None
    data: str | None = None
    data_dir: str | None = None
    step: int | None = None
    canvases: tuple[tuple[int, int], ...] = ()
    out: Path | None = None


def evaluate_detector() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    run = open_detector(arguments.run)
    recipe, classes = run.config.recipe, run.config.classes
    if arguments.canvases and not isinstance(run, DetectorRun):
        raise InvalidArgument("a system of stages sees images in sizes of its own: leave canvases out")
    split = arguments.split or recipe.test_split
    if split is None:
        raise InvalidArgument("the recipe names no test split: give one with --split")
    source = open_source(
        arguments.data or recipe.data, data_dir=arguments.data_dir or recipe.data_dir, task="detection"
    )
    trained = run.load(arguments.step)
    images = [example["image"] for example in itertools.islice(source.examples(split), TIMED)]
    detections, truths = run.pairs(split, source)(trained.variables)

    voc_2007 = voc_average_precision(detections, truths, len(classes), recalls="11")
    voc_2010 = voc_average_precision(detections, truths, len(classes))
    coco = coco_average_precision(detections, truths, len(classes))
    figures = {
        "VOC2007/mAP": voc_2007.mean_average_precision,
        "VOC2010/mAP": voc_2010.mean_average_precision,
        **{f"COCO/{name}": value for name, value in coco.summary.items()},
    }
    each = {
        name: {
            "objects": int(voc_2010.objects[label]),
            "VOC2007": number(voc_2007.average_precision[label]),
            "VOC2010": number(voc_2010.average_precision[label]),
            "COCO": number(coco.average_precision()[label]),
        }
        for label, name in enumerate(classes)
    }
    print(f"after {trained.step} training steps, {split} of {source.uri}, {len(truths)} images:")
    for name, values in each.items():
        print(f"  {name:20} " + "  ".join(f"{key} {show(value)}" for key, value in values.items()))
    for name, value in figures.items():
        print(f"{name:20} {show(number(value))}")

    sizes = [canvas_figures(trained, images, voc_2010.mean_average_precision)]
    for canvas in arguments.canvases:
        assert isinstance(trained, TrainedDetector)
        assert isinstance(run, DetectorRun)
        other = replace(trained, config=on_canvas(trained.config, *canvas))
        found, objects = run.pairs(split, source, canvas)(trained.variables)
        precision = voc_average_precision(found, objects, len(classes)).mean_average_precision
        sizes.append(canvas_figures(other, images, precision))
    for size in sizes:
        print(f"{size['canvas']:20} {show(size['VOC2010/mAP'])}  {size['images_per_second']:.1f} images/s")

    out = arguments.out or run.folder.path / "evaluation" / split
    make_folder(out)
    report = {
        "model": recipe.model,
        "data": source.uri,
        "split": split,
        "step": trained.step,
        "images": len(truths),
        **{name: number(value) for name, value in figures.items()},
        "classes": each,
        "canvases": sizes,
    }
    write_atomically(out / "report.json", json.dumps(report, indent=2) + "\n")
    found = {name: curve for name, curve in zip(classes, voc_2010.curves, strict=True) if len(curve.scores)}
    curves = {name: (curve.recall, curve.precision) for name, curve in found.items() if each[name]["objects"]}
    plot_precision_recall(curves, {name: each[name]["VOC2010"] for name in curves}, out / "precision_recall.png")
    print(f"{out}/report.json, precision_recall.png")
    return 0


def canvas_figures(
    trained: TrainedDetector | TrainedSystem, images: Sequence[np.ndarray], precision: Any
) -> dict[str, Any]:
    """Mean average precision and speed on the canvas of a detector; what is compiled first is not timed."""
    seconds = []
    for image in [images[0], *images]:
        started = time.perf_counter()
        trained.detect([image])
        seconds.append(time.perf_counter() - started)
    canvas = trained.config.image_format
    return {
        "canvas": f"{canvas.height}x{canvas.width}",
        "VOC2010/mAP": number(precision),
        "images_per_second": 1 / float(np.median(seconds[1:])),
    }


def number(value: Any) -> float | None:
    """None in place of NaN, which JSON has not."""
    return None if np.isnan(value) else float(value)


def show(value: Any) -> str:
    return "-" if value is None else f"{value:.4f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    main(evaluate_detector)
