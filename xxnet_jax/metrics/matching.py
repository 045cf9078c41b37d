"""Detections and the objects that they are matched with: what the metrics of detectors share. NumPy, float64.

Boxes of all images lie in one table, and pairs of a detection and an object are rows of arrays: only pairs in the same
image (and of the same class), and only those that overlap enough, so memory does not grow with images times images.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax import boxes as of_boxes
from xxnet_jax.arrays import divide
from xxnet_jax.errors import InvalidArgument

PAIRS_AT_ONCE = 1 << 18  # of which overlaps are computed: tens of MB


@dataclass(frozen=True, eq=False)
class Detections:
    """What a detector found in one image; any order, any number, also none.

    Attributes:
        boxes: float [n, 4], (x1, y1, x2, y2).
        scores: float [n], the higher the surer.
        labels: int [n], classes from 0 on.

    Raises:
        ValueError: lengths that differ, NaN or infinity, labels that are not integers, a box with x2 < x1 or y2 < y1.
    """

    boxes: Any
    scores: Any
    labels: Any

    def __post_init__(self):
        _set(self, boxes=_checked_boxes(self.boxes), labels=_checked_labels(self.labels))
        _set(self, scores=np.asarray(self.scores, np.float64))
        _check_lengths(self, "scores", "labels")
        if not np.isfinite(self.scores).all():
            raise InvalidArgument("a score is NaN or infinite: such detections cannot be ranked, leave them out")


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The objects of one image; it may have none.

    Attributes:
        boxes: float [n, 4], (x1, y1, x2, y2).
        labels: int [n], classes from 0 on.
        difficult: bool [n], objects that need not be found (PASCAL VOC); none without it.
        crowd: bool [n], boxes around groups of objects (COCO); none without it.
        area: float [n], of the objects, which COCO takes from their masks; that of the boxes without it.

    Raises:
        ValueError: lengths that differ, NaN or infinity, labels that are not integers, a box with x2 < x1 or y2 < y1.
    """

    boxes: Any
    labels: Any
    difficult: Any = None
    crowd: Any = None
    area: Any = None

    def __post_init__(self):
        _set(self, boxes=_checked_boxes(self.boxes), labels=_checked_labels(self.labels))
        none = np.zeros(len(self.boxes), bool)
        _set(self, difficult=none if self.difficult is None else np.asarray(self.difficult, bool))
        _set(self, crowd=none if self.crowd is None else np.asarray(self.crowd, bool))
        area = of_boxes.area(self.boxes) if self.area is None else np.asarray(self.area, np.float64)
        _set(self, area=area)
        _check_lengths(self, "labels", "difficult", "crowd", "area")
        if not (np.isfinite(area) & (area >= 0)).all():
            raise InvalidArgument("the area of an object is negative, NaN or infinite")


class DetectionTable(NamedTuple):
    """Detections of all images, [d, ...]; `image` is the position of each one's image."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    image: np.ndarray

    def take(self, rows: np.ndarray) -> "DetectionTable":
        return DetectionTable(*(column[rows] for column in self))


class ObjectTable(NamedTuple):
    """Objects of all images, [o, ...]."""

    boxes: np.ndarray
    labels: np.ndarray
    difficult: np.ndarray
    crowd: np.ndarray
    area: np.ndarray
    image: np.ndarray


class Pairs(NamedTuple):
    """A detection and an object that overlap: rows in their tables and the overlap, [p], in order of the detections."""

    detection: np.ndarray
    object: np.ndarray
    overlap: np.ndarray


def tables(
    detections: Sequence[Detections], truths: Sequence[GroundTruth], num_classes: int
) -> tuple[DetectionTable, ObjectTable]:
    """All images in two tables.

    Raises:
        ValueError: no images, or not as many of detections as of truths; num_classes < 1; a label outside of 0 ...
            num_classes - 1.
    """
    if num_classes < 1:
        raise InvalidArgument(f"num_classes must be 1 or more, got {num_classes}")
    if len(detections) != len(truths):
        raise InvalidArgument(
            f"expected detections and truths of the same images, got {len(detections)} and {len(truths)}: an image "
            "without any has an empty entry"
        )
    if not len(truths):
        raise InvalidArgument("there are no images")
    found = DetectionTable(*_joined(detections, "boxes", "scores", "labels"), image=_images(detections))
    true = ObjectTable(*_joined(truths, "boxes", "labels", "difficult", "crowd", "area"), image=_images(truths))
    for what, table in (("detection", found), ("object", true)):
        wrong = np.flatnonzero((table.labels < 0) | (table.labels >= num_classes))
        if len(wrong):
            raise InvalidArgument(
                f"a label of a {what} in image {table.image[wrong[0]]} is {table.labels[wrong[0]]}: expected 0 to "
                f"{num_classes - 1}, as num_classes is {num_classes}"
            )
    return found, true


def class_and_image(table: DetectionTable | ObjectTable) -> np.ndarray:
    """A number for each class in each image, int64 [rows]."""
    return (table.labels << 32) | table.image


def overlapping(
    found: DetectionTable,
    true: ObjectTable,
    keys: tuple[np.ndarray, np.ndarray],
    least: float,
    *,
    crowds: bool = False,
    inclusive: bool = False,
) -> Pairs:
    """Pairs with the same key whose intersection over union is `least` or more.

    Args:
        found: detections.
        true: objects.
        keys: int [d] of the detections, [o] of the objects.
        least: overlap.
        crowds: with a crowd, the overlap is intersection over area of the detection.
        inclusive: coordinates are pixels, see `xxnet_jax.boxes`.
    """
    by_key = np.argsort(keys[1], kind="stable")
    sorted_keys = keys[1][by_key]
    first = np.searchsorted(sorted_keys, keys[0], "left")
    count = np.searchsorted(sorted_keys, keys[0], "right") - first
    parts = []
    for rows in _blocks(count):
        detection, place = _each_with_each(rows, first, count)
        row = by_key[place]
        a, b = found.boxes[detection], true.boxes[row]
        overlap = of_boxes.iou(a, b, inclusive=inclusive)
        if crowds:
            crowd = true.crowd[row]
            inside = divide(np, of_boxes.intersection(a, b), of_boxes.area(a), 0)
            overlap = np.where(crowd, inside, overlap)
        enough = overlap >= least
        parts.append(Pairs(detection[enough], row[enough], overlap[enough]))
    return Pairs(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def best_of_each(pairs: Pairs) -> Pairs:
    """The pair of the largest overlap of each detection; of equal ones, the one with the first object."""
    order = np.lexsort((pairs.object, -pairs.overlap, pairs.detection))
    firsts = order[_starts(pairs.detection[order])]
    return Pairs(*(column[firsts] for column in pairs))


def ranks(keys: np.ndarray) -> np.ndarray:
    """Position of each row among those with its key, which follow each other: 0, 1, ..., int [rows]."""
    starts = _starts(keys)
    lengths = np.diff(np.append(starts, len(keys)))
    return np.arange(len(keys)) - np.repeat(starts, lengths)


class Matches(NamedTuple):
    """Of each detection under each setting, bool [d, settings].

    Attributes:
        found: it has an object.
        ignored: and that is one that need not be found.
    """

    found: np.ndarray
    ignored: np.ndarray


def match_in_turn(
    pairs: Pairs, rank: np.ndarray, thresholds: np.ndarray, ignored: np.ndarray, crowd: np.ndarray
) -> Matches:
    """COCO's matching: in the order of scores, each detection takes the object that it overlaps most and that is free.

    An object that must be found comes before one that need not; of equal overlaps the last object is taken; a crowd is
    never used up. Detections of the same rank are in different images or of different classes, so they cannot compete:
    they take their turn together, under all settings.

    Args:
        pairs: of the same image and class.
        rank: int [d], of each detection in its image and class.
        thresholds: [settings], the least overlap.
        ignored: bool [objects, settings], that need not be found.
        crowd: bool [objects].
    """
    matches = Matches(*(np.zeros((len(rank), len(thresholds)), bool) for _ in Matches._fields))
    taken = np.zeros(ignored.shape, bool)
    # Within a detection the better pair comes later, so the best is the maximum of the position.
    order = np.lexsort((pairs.object, pairs.overlap, pairs.detection, rank[pairs.detection]))
    pairs = Pairs(*(column[order] for column in pairs))
    turns = np.append(_starts(rank[pairs.detection]), len(order))
    for start, stop in itertools.pairwise(turns):
        detection, row, overlap = (column[start:stop] for column in pairs)
        starts = _starts(detection)
        fits = (overlap[:, None] >= thresholds[None]) & (~taken[row] | crowd[row, None])
        position = np.arange(1, len(row) + 1, dtype=np.int32)[:, None]
        preference = fits * (position + np.where(ignored[row], 0, np.int32(len(row))))
        best = np.maximum.reduceat(preference, starts, axis=0)
        which, setting = np.nonzero(best)
        chosen = row[(best[which, setting] - 1) % len(row)]
        taken[chosen, setting] = True
        matches.found[detection[starts[which]], setting] = True
        matches.ignored[detection[starts[which]], setting] = ignored[chosen, setting]
    return matches


def _starts(keys: np.ndarray) -> np.ndarray:
    """Where another key begins."""
    changes = np.ones(len(keys), bool)
    changes[1:] = keys[1:] != keys[:-1]
    return np.flatnonzero(changes)


def _blocks(count: np.ndarray) -> Iterator[slice]:
    """Slices of the rows with about PAIRS_AT_ONCE pairs each; one at least."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    cuts = np.searchsorted(ends, np.arange(PAIRS_AT_ONCE, total, PAIRS_AT_ONCE)) + 1
    edges = [0, *np.unique(cuts).tolist(), len(count)]
    return (slice(start, stop) for start, stop in itertools.pairwise(edges))


def _each_with_each(rows: slice, first: np.ndarray, count: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Row r with first[r], first[r] + 1, ... : count[r] pairs each."""
    first, count = first[rows], count[rows]
    row = np.repeat(np.arange(rows.start, rows.start + len(count)), count)
    offset = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, np.repeat(first, count) + offset


def _joined(images: Sequence[Any], *names: str) -> list[np.ndarray]:
    return [np.concatenate([getattr(image, name) for image in images]) for name in names]


def _images(images: Sequence[Any]) -> np.ndarray:
    return np.repeat(np.arange(len(images)), [len(image.boxes) for image in images])


def _set(instance: Any, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(instance, name, value)  # frozen


def _checked_boxes(boxes: Any) -> np.ndarray:
    array = np.asarray(boxes, np.float64)
    if array.size == 0:
        return array.reshape(0, 4)
    if array.ndim != 2 or array.shape[1] != 4:
        raise InvalidArgument(f"expected boxes [n, 4], got shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidArgument("a coordinate of a box is NaN or infinite")
    wrong = np.flatnonzero((array[:, 2:] < array[:, :2]).any(axis=1))
    if len(wrong):
        raise InvalidArgument(
            f"box {wrong[0]} is {array[wrong[0]].tolist()}: expected x1 <= x2 and y1 <= y2; for (x, y, width, height) "
            "there is xxnet_jax.boxes.xywh_to_xyxy"
        )
    return array


def _checked_labels(labels: Any) -> np.ndarray:
    array = np.asarray(labels)
    if array.size and array.dtype.kind not in "iu":
        raise InvalidArgument(f"expected labels that are integers, got {array.dtype}")
    return array.astype(np.int64)


def _check_lengths(image: Any, *names: str) -> None:
    for name in names:
        if getattr(image, name).shape != (len(image.boxes),):
            raise InvalidArgument(
                f"expected {name} of shape ({len(image.boxes)},), as there are {len(image.boxes)} boxes, got "
                f"{getattr(image, name).shape}"
            )
