"""Protocols of detection, written out for one box at a time in fractions, and COCO's own evaluation."""

import contextlib
import io
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from xxnet_jax.metrics.detection import ERRORS, Detections, GroundTruth

Images = tuple[list[Detections], list[GroundTruth]]


def overlap(a: np.ndarray, b: np.ndarray, one: int) -> Fraction:
    """IoU of boxes of integers, as a fraction; `one` is 1 if they are pixels."""
    (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = (map(int, box) for box in (a, b))
    width, height = min(ax2, bx2) - max(ax1, bx1) + one, min(ay2, by2) - max(ay1, by1) + one
    if width <= 0 or height <= 0:
        return Fraction(0)
    both = (ax2 - ax1 + one) * (ay2 - ay1 + one) + (bx2 - bx1 + one) * (by2 - by1 + one)
    return Fraction(width * height, both - width * height)


def ranked(detections: Sequence[Detections], label: int) -> list[tuple[int, int]]:
    """(image, detection) of a class by falling score; equal ones in order."""
    rows = [(i, j) for i, found in enumerate(detections) for j in range(len(found.boxes)) if found.labels[j] == label]
    return sorted(rows, key=lambda row: -detections[row[0]].scores[row[1]])


def voc_verdicts(images: Images, label: int, one: int) -> list[tuple[tuple[int, int], str]]:
    """The kit's assignment: "right", "wrong" or "ignored" for each detection of a class in order of scores."""
    detections, truths = images
    taken: set[tuple[int, int]] = set()
    verdicts = []
    for i, j in ranked(detections, label):
        largest, which = Fraction(0), -1
        for k, box in enumerate(truths[i].boxes):
            if truths[i].labels[k] == label and overlap(detections[i].boxes[j], box, one) > largest:
                largest, which = overlap(detections[i].boxes[j], box, one), k
        if largest < Fraction(1, 2):
            verdict = "wrong"
        elif truths[i].difficult[which]:
            verdict = "ignored"
        else:
            verdict = "wrong" if (i, which) in taken else "right"
            taken.add((i, which))
        verdicts.append(((i, j), verdict))
    return verdicts


def number_of_objects(truths: Sequence[GroundTruth], label: int) -> int:
    return sum(int(((truth.labels == label) & ~truth.difficult).sum()) for truth in truths)


def voc_by_hand(images: Images, label: int, recalls: str, one: int) -> tuple[float, list[tuple[Fraction, Fraction]]]:
    """Average precision of a class, and its curve of (precision, recall)."""
    objects = number_of_objects(images[1], label)
    if objects == 0:
        return np.nan, []
    right = wrong = 0
    curve = []
    for _, verdict in voc_verdicts(images, label, one):
        right, wrong = right + (verdict == "right"), wrong + (verdict == "wrong")
        curve.append((Fraction(right, max(right + wrong, 1)), Fraction(right, objects)))
    if recalls == "11":
        levels = [Fraction(k, 10) for k in range(11)]
        return float(sum(max((p for p, r in curve if r >= level), default=0) for level in levels) / Fraction(11)), curve
    total = best = Fraction(0)
    before = [Fraction(0), *(recall for _, recall in curve)]
    for (precision, recall), previous in zip(reversed(curve), reversed(before[:-1]), strict=True):
        best = max(best, precision)
        total += (recall - previous) * best
    return float(total), curve


def errors_by_hand(images: Images, classes: int, similar: Sequence[Sequence[int]], one: int) -> np.ndarray:
    """Hoiem et al.'s kinds of the first N detections of each class."""
    detections, truths = images
    counts = np.zeros((classes, 5), int)
    for label in range(classes):
        verdicts = [(row, verdict) for row, verdict in voc_verdicts(images, label, one) if verdict != "ignored"]
        for (i, j), verdict in verdicts[: number_of_objects(truths, label)]:
            near = {
                int(other)
                for box, other in zip(truths[i].boxes, truths[i].labels, strict=True)
                if overlap(detections[i].boxes[j], box, one) >= Fraction(1, 10)
            }
            if verdict == "right":
                kind = "correct"
            elif label in near:
                kind = "localization"
            elif any(label in group and set(group) & near for group in similar):
                kind = "similar"
            else:
                kind = "other" if near else "background"
            counts[label, ERRORS.index(kind)] += 1
    return counts


def pycocotools(images: Images, classes: int, **parameters: Any) -> COCOeval:
    """COCO's own evaluation; class and image numbers from 1."""
    annotations, results = [], []
    for i, (found, truth) in enumerate(zip(*images, strict=True), start=1):
        for box, label, crowd, area in zip(truth.boxes, truth.labels, truth.crowd, truth.area, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i,
                    "category_id": int(label) + 1,
                    "bbox": as_coco(box),
                    "area": float(area),
                    "iscrowd": int(crowd),
                }
            )
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            results.append({"image_id": i, "category_id": int(label) + 1, "bbox": as_coco(box), "score": float(score)})
    dataset: Any = COCO()
    dataset.dataset = {
        "info": {},
        "images": [{"id": i} for i in range(1, len(images[0]) + 1)],
        "categories": [{"id": k} for k in range(1, classes + 1)],
        "annotations": annotations,
    }
    with contextlib.redirect_stdout(io.StringIO()):
        dataset.createIndex()
        # it cannot read an empty list of results
        evaluation = COCOeval(dataset, dataset.loadRes(results) if results else COCO(), "bbox")
        for name, value in parameters.items():
            setattr(evaluation.params, name, value)
        evaluation.evaluate()
        evaluation.accumulate()
        if not parameters:
            evaluation.summarize()
    return evaluation


def as_coco(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = box.tolist()
    return [x1, y1, x2 - x1, y2 - y1]


def or_nan(values: np.ndarray) -> np.ndarray:
    """pycocotools writes -1 where there are no objects."""
    return np.where(values == -1, np.nan, values)
