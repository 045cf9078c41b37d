"""Metrics of detectors: average precision by PASCAL VOC's and COCO's protocols, errors by their kind, localisation.

All take the detections and the objects of the same images in the same order: lists of `Detections` and `GroundTruth`,
one for each image. They are NumPy in float64, on the host. A class without objects has no average precision: it is NaN,
and is left out of means (pycocotools writes -1).
"""

import itertools
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known, namespace
from xxnet_jax.boxes import area, shape_iou
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics.checks import mean_of_known
from xxnet_jax.metrics.matching import (
    Detections,
    DetectionTable,
    GroundTruth,
    ObjectTable,
    best_of_each,
    class_and_image,
    match_in_turn,
    overlapping,
    ranks,
    tables,
)

__all__ = [
    "COCO_AREAS",
    "ERRORS",
    "VOC_SIMILAR",
    "COCOResult",
    "Curve",
    "Detections",
    "ErrorBreakdown",
    "GroundTruth",
    "VOCResult",
    "average_best_iou",
    "coco_average_precision",
    "error_breakdown",
    "localization_error",
    "voc_average_precision",
]

# --- PASCAL VOC ------------------------------------------------------------------------------------------------------

CORRECT, IGNORED, WRONG = 1, 0, -1
ELEVEN = np.arange(11) / 10  # recalls of VOC 2007


class Curve(NamedTuple):
    """Precision and recall of the detections down to each score, [n], from the highest score on.

    Detections of difficult objects count in neither, but have an entry; precision is 0 before the first that counts.
    """

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class VOCResult:
    """Average precision by the protocol of PASCAL VOC.

    Attributes:
        average_precision: float64 [classes], NaN for classes without objects.
        objects: int [classes], without the difficult ones.
        curves: of each class; recall is NaN without objects.
    """

    average_precision: np.ndarray
    objects: np.ndarray
    curves: tuple[Curve, ...]

    @property
    def mean_average_precision(self) -> float:
        """Over the classes with objects; NaN if there are none."""
        return float(mean_of_known(np, self.average_precision))


def voc_average_precision(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    num_classes: int,
    *,
    iou_threshold: float = 0.5,
    recalls: Literal["all", "11"] = "all",
    inclusive: bool = False,
) -> VOCResult:
    """Average precision of each class, and its mean, as the development kit of PASCAL VOC computes them.

    From the highest score on, a detection belongs to the object of its class that it overlaps most (of equal ones the
    first). With an IoU of `iou_threshold` or more it is right, unless the object was found before: then it is wrong.
    If the object is difficult, it counts neither way. Equal scores keep the order of the images. Crowds count as other
    objects do.

    Source: Everingham et al., 2010, "The PASCAL Visual Object Classes (VOC) Challenge", section 4.2, and the kit
    (VOCevaldet.m), which takes an overlap of exactly .5 for enough.

    Args:
        detections: of each image.
        truths: the objects of each image.
        num_classes: labels are below it.
        iou_threshold: in (0, 1].
        recalls: "11" is VOC 2007's mean of the best precision at a recall of at least 0, .1, ... 1; "all" is the area
            under the curve of these, as since 2010. A recall of exactly 3/10 reaches .3, which Matlab's 0:.1:1 misses.
        inclusive: coordinates are pixels, as in VOC's annotations; see `xxnet_jax.boxes`.

    Raises:
        ValueError: no images, another number of detections than of truths, labels out of range, an unknown argument.
    """
    _check_threshold(iou_threshold)
    if recalls not in ("all", "11"):
        raise InvalidArgument(f"recalls must be 'all' (VOC 2010 and later) or '11' (VOC 2007), got {recalls!r}")
    average = _area_under if recalls == "all" else _eleven_points
    found, true = tables(detections, truths, num_classes)
    found, outcome = _voc_outcomes(found, true, iou_threshold, inclusive)
    objects = np.bincount(true.labels[~true.difficult], minlength=num_classes)
    curves = []
    for rows, positives in zip(_rows_of_classes(found, num_classes), objects, strict=True):
        right, wrong = (np.cumsum(outcome[rows] == kind) for kind in (CORRECT, WRONG))
        recall = divide(np, right, positives, np.nan)
        curves.append(Curve(divide(np, right, right + wrong, 0), recall, found.scores[rows]))
    precisions = [average(curve) if positives else np.nan for curve, positives in zip(curves, objects, strict=True)]
    return VOCResult(np.array(precisions), objects, tuple(curves))


def _voc_outcomes(
    found: DetectionTable, true: ObjectTable, iou_threshold: float, inclusive: bool
) -> tuple[DetectionTable, np.ndarray]:
    """Detections by class and falling score, and whether each is CORRECT, IGNORED or WRONG, int [d]."""
    found = found.take(np.lexsort((-found.scores, found.labels)))
    keys = class_and_image(found), class_and_image(true)
    claims = best_of_each(overlapping(found, true, keys, iou_threshold, inclusive=inclusive))
    _, first = np.unique(claims.object, return_index=True)
    outcome = np.full(len(found.labels), WRONG)
    outcome[claims.detection[first]] = CORRECT
    outcome[claims.detection[true.difficult[claims.object]]] = IGNORED
    return found, outcome


def _area_under(curve: Curve) -> float:
    """Area under the precision that is reached at a recall or at any higher one."""
    return float(np.sum(np.diff(curve.recall, prepend=0) * _envelope(curve.precision)))


def _eleven_points(curve: Curve) -> float:
    best = np.append(_envelope(curve.precision), 0)
    return float(best[np.searchsorted(curve.recall, ELEVEN)].mean())


# --- COCO ------------------------------------------------------------------------------------------------------------

COCO_AREAS: dict[str, tuple[float, float]] = {
    "all": (0, 1e10),
    "small": (0, 32**2),
    "medium": (32**2, 96**2),
    "large": (96**2, 1e10),
}
COCO_THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
COCO_RECALLS = np.linspace(0, 1, 101)
NEARLY_ONE = 1 - 1e-10  # pycocotools' limit of a threshold: equal boxes reach 1 despite rounding


@dataclass(frozen=True, eq=False)
class COCOResult:
    """Average precision and recall by the protocol of COCO; NaN where a class has no objects in a range of areas.

    Attributes:
        precision: float64 [thresholds, 101 recalls, classes, areas, maximums]: curves of precision.
        recall: float64 [thresholds, classes, areas, maximums]: of all detections.
        iou_thresholds: IoU.
        areas: names of the ranges; the first is the one of "AP".
        max_detections: of a class in an image; "AP" is with the last.
    """

    precision: np.ndarray
    recall: np.ndarray
    iou_thresholds: tuple[float, ...]
    areas: tuple[str, ...]
    max_detections: tuple[int, ...]

    def average_precision(self, iou_threshold: float | None = None, area: str | None = None) -> np.ndarray:
        """Of each class, [classes], with the most detections; over all thresholds and of the first area, or of one.

        Raises:
            ValueError: it was not evaluated at that threshold or area.
        """
        chosen = slice(None)
        if iou_threshold is not None:
            (close,) = np.nonzero(np.isclose(self.iou_thresholds, iou_threshold))
            if not len(close):
                raise InvalidArgument(f"no IoU threshold {iou_threshold}: there are {self.iou_thresholds}")
            chosen = slice(close[0], close[0] + 1)
        return self.precision[chosen, :, :, self._area(area), -1].mean(axis=(0, 1))

    def average_recall(self, max_detections: int | None = None, area: str | None = None) -> np.ndarray:
        """Of each class, [classes], over all thresholds; with the most detections and of the first area, or of one.

        Raises:
            ValueError: it was not evaluated with that number or area.
        """
        if max_detections not in (None, *self.max_detections):
            raise InvalidArgument(f"no maximum of {max_detections} detections: there are {self.max_detections}")
        most = -1 if max_detections is None else self.max_detections.index(max_detections)
        return self.recall[:, :, self._area(area), most].mean(axis=0)

    @property
    def mean_average_precision(self) -> float:
        """COCO's "AP": over all thresholds and the classes with objects."""
        return float(mean_of_known(np, self.average_precision()))

    @property
    def summary(self) -> dict[str, float]:
        """Means over the classes with objects, by COCO's names and in its order; twelve by default.

        AP, AP50, AP75, AP_small, AP_medium, AP_large, AR1, AR10, AR100, AR_small, AR_medium, AR_large.
        """
        single = [limit for limit in (0.5, 0.75) if np.isclose(self.iou_thresholds, limit).any()]
        values = {
            "AP": self.average_precision(),
            **{f"AP{100 * limit:.0f}": self.average_precision(limit) for limit in single},
            **{f"AP_{area}": self.average_precision(area=area) for area in self.areas[1:]},
            **{f"AR{most}": self.average_recall(most) for most in self.max_detections},
            **{f"AR_{area}": self.average_recall(area=area) for area in self.areas[1:]},
        }
        return {name: float(mean_of_known(np, value)) for name, value in values.items()}

    def _area(self, name: str | None) -> int:
        if name is None:
            return 0
        if name not in self.areas:
            raise InvalidArgument(f"no area '{name}': there are {', '.join(self.areas)}")
        return self.areas.index(name)


def coco_average_precision(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    num_classes: int,
    *,
    iou_thresholds: Sequence[float] = COCO_THRESHOLDS,
    areas: Mapping[str, tuple[float, float]] = COCO_AREAS,
    max_detections: Sequence[int] = (1, 10, 100),
) -> COCOResult:
    """Average precision and average recall, equal to pycocotools' for boxes.

    Of each class in each image the detections with the highest scores are taken in turn. Each takes, of the free
    objects with an IoU of the threshold or more, the one that it overlaps most. Objects outside of a range of areas and
    crowds need not be found; neither they nor what takes them counts. A crowd can be taken any number of times, and its
    overlap is intersection over area of the detection. A detection without object is wrong if its area is in the range.
    Precision is read at 101 recalls. Difficult objects count as others do.

    Source: Lin et al., 2014, "Microsoft COCO"; cocodataset.org, "Detection Evaluation"; pycocotools 2.0.

    Args:
        detections: of each image.
        truths: the objects of each image.
        num_classes: labels are below it.
        iou_thresholds: in (0, 1].
        areas: name -> smallest and largest area in pixels, both included.
        max_detections: of a class in an image, rising; matched is with the last.

    Raises:
        ValueError: no images, another number of detections than of truths, labels out of range, or thresholds, areas
            or maximums that cannot be used.
    """
    for threshold in iou_thresholds:
        _check_threshold(threshold)
    if not (len(iou_thresholds) and len(areas)):
        raise InvalidArgument("at least one IoU threshold and one range of areas are needed")
    if not len(max_detections) or list(max_detections) != sorted({int(most) for most in max_detections if most > 0}):
        raise InvalidArgument(f"max_detections must be rising numbers above 0, got {tuple(max_detections)}")
    found, true = tables(detections, truths, num_classes)
    thresholds = np.minimum(iou_thresholds, NEARLY_ONE)
    settings = _Settings(thresholds, np.array(list(areas.values())), tuple(max_detections))
    evaluated = _coco_outcomes(found, true, settings)
    shape = (len(iou_thresholds), len(areas), len(max_detections))
    precision = np.full((num_classes, len(COCO_RECALLS), *shape), np.nan)
    recall = np.full((num_classes, *shape), np.nan)
    objects = _objects_in_ranges(true, settings, num_classes)
    for label, rows in enumerate(_rows_of_classes(evaluated.found, num_classes)):
        _fill_class(evaluated.take(rows), objects[label], settings.max_detections, precision[label], recall[label])
    return COCOResult(
        precision.transpose(2, 1, 0, 3, 4),
        recall.transpose(1, 0, 2, 3),
        tuple(map(float, iou_thresholds)),
        tuple(areas),
        settings.max_detections,
    )


class _Settings(NamedTuple):
    thresholds: np.ndarray  # [T]
    ranges: np.ndarray  # [A, 2]
    max_detections: tuple[int, ...]

    def outside(self, area: np.ndarray) -> np.ndarray:
        """Whether an area is outside of each range, bool [n, A]."""
        return (area[:, None] < self.ranges[None, :, 0]) | (area[:, None] > self.ranges[None, :, 1])

    def for_each_threshold(self, flags: np.ndarray) -> np.ndarray:
        """[n, A] to [n, T * A]."""
        return np.tile(flags, (1, len(self.thresholds)))


class _Outcomes(NamedTuple):
    """Detections by class, image and falling score, their rank there, and whether each counts and how, [d, T * A]."""

    found: DetectionTable
    rank: np.ndarray
    right: np.ndarray
    wrong: np.ndarray

    def take(self, rows: Any) -> "_Outcomes":
        return _Outcomes(self.found.take(rows), self.rank[rows], self.right[rows], self.wrong[rows])


def _coco_outcomes(found: DetectionTable, true: ObjectTable, settings: _Settings) -> _Outcomes:
    found = found.take(np.lexsort((-found.scores, class_and_image(found))))
    rank = ranks(class_and_image(found))
    kept = rank < settings.max_detections[-1]
    found, rank = found.take(kept), rank[kept]
    keys = class_and_image(found), class_and_image(true)
    pairs = overlapping(found, true, keys, settings.thresholds.min(), crowds=True)
    ignored = settings.for_each_threshold(settings.outside(true.area) | true.crowd[:, None])
    thresholds = np.repeat(settings.thresholds, len(settings.ranges))
    matches = match_in_turn(pairs, rank, thresholds, ignored, true.crowd)
    outside = settings.for_each_threshold(settings.outside(area(found.boxes)))
    return _Outcomes(found, rank, matches.found & ~matches.ignored, ~matches.found & ~outside)


def _objects_in_ranges(true: ObjectTable, settings: _Settings, num_classes: int) -> np.ndarray:
    """Objects of each class that must be found, int [classes, A]."""
    counts = np.zeros((num_classes, len(settings.ranges)), int)
    np.add.at(counts, true.labels, ~settings.outside(true.area) & ~true.crowd[:, None])
    return counts


def _fill_class(
    outcomes: _Outcomes, objects: np.ndarray, maximums: tuple[int, ...], precision: np.ndarray, recall: np.ndarray
) -> None:
    """Write the precision [R, T, A, M] and the recall [T, A, M] of a class."""
    by_score = np.argsort(-outcomes.found.scores, kind="stable")
    for m, most in enumerate(maximums):
        rows = by_score[outcomes.rank[by_score] < most]
        right, wrong = (np.cumsum(flags[rows].T, axis=1) for flags in (outcomes.right, outcomes.wrong))
        best = _envelope(right / (right + wrong + np.spacing(1)))
        shape = (*precision.shape[1:3], len(rows))
        right, best = right.reshape(shape), best.reshape(shape)
        for a in np.flatnonzero(objects):
            needed = np.searchsorted(np.arange(objects[a] + 1) / objects[a], COCO_RECALLS)
            for t in range(len(right)):
                recall[t, a, m] = right[t, a, -1] / objects[a] if len(rows) else 0
                precision[:, t, a, m] = np.append(best[t, a], 0)[np.searchsorted(right[t, a], needed)]


# --- Errors by their kind --------------------------------------------------------------------------------------------

ERRORS = ("correct", "localization", "similar", "other", "background")

# The sets of Hoiem et al. in the alphabetical order of VOC's 20 classes: vehicles; animals and person; furniture; what
# flies.
VOC_SIMILAR = ((0, 1, 3, 5, 6, 13, 18), (2, 7, 9, 11, 12, 14, 16), (8, 10, 17), (0, 2))


@dataclass(frozen=True, eq=False)
class ErrorBreakdown:
    """What the first detections of each class are.

    Attributes:
        counts: int [classes, 5], in the order of ERRORS.
    """

    counts: np.ndarray

    @property
    def fractions(self) -> np.ndarray:
        """Of the detections that were looked at, float64 [classes, 5]; NaN for a class of which there were none."""
        return divide(np, self.counts, self.counts.sum(axis=1, keepdims=True), np.nan)

    @property
    def mean(self) -> dict[str, float]:
        """Error -> fraction, the mean over classes, as in the figure of YOLO's paper."""
        return {name: float(mean_of_known(np, column)) for name, column in zip(ERRORS, self.fractions.T, strict=True)}


def error_breakdown(
    detections: Sequence[Detections],
    truths: Sequence[GroundTruth],
    num_classes: int,
    similar: Iterable[Collection[int]],
    *,
    inclusive: bool = False,
) -> ErrorBreakdown:
    """What the N best detections of each class are, where N is the number of its objects, by the first that holds:

    correct: the object of the class that it overlaps most has IoU >= .5, and no better detection found it;
    localization: an object of the class has IoU >= .1, also when it was found before;
    similar: an object of a similar class has IoU >= .1;
    other: an object of any other class has IoU >= .1;
    background: none of these.

    Difficult objects are not among the N, and detections that belong to one are passed over.

    Source: Hoiem et al., 2012, "Diagnosing error in object detectors", section 2.2; Redmon et al., 2016, "You only look
    once", section 4.2, which leaves duplicates and IoU of exactly .5 or .1 open: here they are as in Hoiem et al.

    Args:
        detections: of each image.
        truths: the objects of each image.
        num_classes: labels are below it.
        similar: sets of classes that are similar to each other; VOC_SIMILAR for PASCAL VOC.
        inclusive: coordinates are pixels, see `xxnet_jax.boxes`.

    Raises:
        ValueError: no images, another number of detections than of truths, labels out of range, also in `similar`.
    """
    found, true = tables(detections, truths, num_classes)
    kind = _relations(num_classes, similar)
    found, outcome = _voc_outcomes(found, true, 0.5, inclusive)
    counted = outcome != IGNORED
    found, outcome = found.take(counted), outcome[counted]
    objects = np.bincount(true.labels[~true.difficult], minlength=num_classes)
    first = ranks(found.labels) < objects[found.labels]
    found, outcome = found.take(first), outcome[first]

    pairs = overlapping(found, true, (found.image, true.image), 0.1, inclusive=inclusive)
    error = np.full(len(outcome), ERRORS.index("background"))
    np.minimum.at(error, pairs.detection, kind[found.labels[pairs.detection], true.labels[pairs.object]])
    error[outcome == CORRECT] = ERRORS.index("correct")
    counts = np.bincount(found.labels * len(ERRORS) + error, minlength=num_classes * len(ERRORS))
    return ErrorBreakdown(counts.reshape(num_classes, len(ERRORS)))


def _relations(num_classes: int, similar: Iterable[Collection[int]]) -> np.ndarray:
    """The error of a detection of one class on an object of another, int [classes, classes]: indices in ERRORS."""
    kind = np.full((num_classes, num_classes), ERRORS.index("other"))
    for group in similar:
        labels = np.array(sorted(group), int)
        if len(labels) and (labels[0] < 0 or labels[-1] >= num_classes):
            raise InvalidArgument(f"expected sets of classes from 0 to {num_classes - 1} in similar, got {group}")
        kind[np.ix_(labels, labels)] = ERRORS.index("similar")
    np.fill_diagonal(kind, ERRORS.index("localization"))
    return kind


# --- Localisation, anchors -------------------------------------------------------------------------------------------


def localization_error(
    predictions: Sequence[Detections],
    truths: Sequence[GroundTruth],
    num_classes: int,
    *,
    top: int = 5,
    iou_threshold: float = 0.5,
    inclusive: bool = False,
) -> float:
    """Part of the images of which none of the `top` predictions is right (ILSVRC's localisation task).

    A prediction is right if it overlaps any object of its class with an IoU of more than the threshold. Of more than
    `top` those with the highest scores count, of equal scores the first; with none an image is wrong.

    Source: Russakovsky et al., 2015, "ImageNet Large Scale Visual Recognition Challenge", section 4.2.

    Args:
        predictions: of each image: a class, a box and a score.
        truths: the objects of each image.
        num_classes: labels are below it.
        top: predictions of an image that count.
        iou_threshold: in [0, 1).
        inclusive: coordinates are pixels, see `xxnet_jax.boxes`.

    Raises:
        ValueError: no images, an image without objects, another number of predictions than of truths, labels out of
            range, top < 1.
    """
    if top < 1 or not 0 <= iou_threshold < 1:
        raise InvalidArgument(f"expected top >= 1 and 0 <= iou_threshold < 1, got {top} and {iou_threshold}")
    found, true = tables(predictions, truths, num_classes)
    empty = np.setdiff1d(np.arange(len(truths)), true.image)
    if len(empty):
        raise InvalidArgument(f"image {empty[0]} has no object: there is nothing to localise, leave it out")
    found = found.take(np.lexsort((-found.scores, found.image)))
    found = found.take(ranks(found.image) < top)
    keys = class_and_image(found), class_and_image(true)
    pairs = overlapping(found, true, keys, iou_threshold, inclusive=inclusive)
    right = np.unique(found.image[pairs.detection[pairs.overlap > iou_threshold]])
    return 1 - len(right) / len(truths)


def average_best_iou(shapes: Array, anchors: Array) -> Array:
    """Mean over boxes of the IoU with the anchor that fits best, centres together (YOLOv2, table 1), a scalar.

    Args:
        shapes: widths and heights of boxes [n, 2]; NumPy, or JAX, also traced.
        anchors: widths and heights [k, 2].

    Raises:
        ValueError: no boxes or no anchors, another shape, or a width or height that is negative, NaN or infinite.
    """
    xp = namespace(shapes, anchors)
    shapes, anchors = floats(xp, shapes), floats(xp, anchors)
    for name, array in (("shapes", shapes), ("anchors", anchors)):
        if array.ndim != 2 or array.shape[1] != 2 or not len(array):
            raise InvalidArgument(f"expected {name} [n, 2] with n > 0, got {array.shape}")
        if known(array) and not bool((np.isfinite(array) & (array >= 0)).all()):
            raise InvalidArgument(f"a width or height in {name} is negative, NaN or infinite")
    return shape_iou(shapes, anchors).max(axis=1).mean()


# --- What they share -------------------------------------------------------------------------------------------------


def _envelope(precision: np.ndarray) -> np.ndarray:
    """The largest precision here or later along the last axis."""
    return np.maximum.accumulate(precision[..., ::-1], axis=-1)[..., ::-1]


def _rows_of_classes(found: DetectionTable, num_classes: int) -> list[slice]:
    """Where each class lies in a table in order of classes."""
    edges = np.searchsorted(found.labels, np.arange(num_classes + 1)).tolist()
    return [slice(start, stop) for start, stop in itertools.pairwise(edges)]


def _check_threshold(iou_threshold: float) -> None:
    if not 0 < iou_threshold <= 1:
        raise InvalidArgument(f"an IoU threshold must be in (0, 1], got {iou_threshold}")
