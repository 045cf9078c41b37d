"""Metrics of scores: ROC and precision-recall curves, the areas under them, the Kolmogorov-Smirnov statistic.

Names and signatures follow scikit-learn. Examples of equal score are taken together: none of them comes first. The
areas run in traced functions; the curves do not, as they have a point for each score that occurs.

The notes' formula of AUC by ranks subtracts n1 (n1 + 2) / 2; it is n1 (n1 + 1) / 2, and equal scores share their mean
rank. Their true and false positive rates fall with the threshold; they rise when it falls.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known, namespace
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics.checks import average, check_finite, check_same_length, check_weights
from xxnet_jax.metrics.labels import check_labels_in_range

Averaging = Literal["micro", "macro", "weighted", "samples"]
AVERAGINGS = ("micro", "macro", "weighted", "samples")


class KS(NamedTuple):
    """The Kolmogorov-Smirnov statistic, and the threshold at which it is reached."""

    statistic: Array
    threshold: Array


# --- Curves -----------------------------------------------------------------------------------------------------------


def roc_curve(
    y_true: Any, y_score: Any, *, pos_label: Any = 1, sample_weight: Any = None, drop_intermediate: bool = True
) -> tuple[Array, Array, Array]:
    """False and true positive rates and their thresholds, from (0, 0) at infinity to (1, 1).

    Args:
        y_true: labels [n], positive where they are `pos_label`.
        y_score: [n], the higher the more likely positive.
        pos_label: the positive label.
        sample_weight: [n].
        drop_intermediate: leave out points on the line between their neighbours.

    Returns:
        fpr, tpr, thresholds [points]; NaN where there is no example of a class.

    Raises:
        ValueError: no examples, other shapes, NaN; a traced function.
    """
    tp, fp, thresholds = _points(y_true, y_score, pos_label, sample_weight)
    if drop_intermediate and len(tp) > 2:
        bends = (np.diff(fp, 2) != 0) | (np.diff(tp, 2) != 0)
        kept = np.concatenate([[True], bends, [True]])
        tp, fp, thresholds = tp[kept], fp[kept], thresholds[kept]
    tp, fp = np.append(0, tp), np.append(0, fp)
    return divide(np, fp, fp[-1], np.nan), divide(np, tp, tp[-1], np.nan), np.append(np.inf, thresholds)


def precision_recall_curve(
    y_true: Any, y_score: Any, *, pos_label: Any = 1, sample_weight: Any = None, drop_intermediate: bool = False
) -> tuple[Array, Array, Array]:
    """Precision and recall at rising thresholds, and behind them the point (1, 0), which has no threshold.

    Args:
        y_true: labels [n], positive where they are `pos_label`.
        y_score: [n], the higher the more likely positive.
        pos_label: the positive label.
        sample_weight: [n].
        drop_intermediate: leave out points between two of the same recall.

    Returns:
        precision [points + 1], recall [points + 1], thresholds [points]; the recall is 1 where nothing is positive.

    Raises:
        ValueError: no examples, other shapes, NaN; a traced function.
    """
    tp, fp, thresholds = _points(y_true, y_score, pos_label, sample_weight)
    if drop_intermediate and len(tp) > 2:
        changes = np.diff(tp) != 0
        kept = np.concatenate([[True], changes[:-1] | changes[1:], [True]])
        tp, fp, thresholds = tp[kept], fp[kept], thresholds[kept]
    precision = divide(np, tp, tp + fp, 0.0)
    recall = divide(np, tp, tp[-1], 1.0)
    return np.append(precision[::-1], 1), np.append(recall[::-1], 0), thresholds[::-1]


def ks_statistic(y_true: Any, y_score: Any, *, pos_label: Any = 1, sample_weight: Any = None) -> KS:
    """The largest TPR - FPR over thresholds, 0 .. 1: the distance between the distributions of both classes' scores.

    Args:
        y_true: labels [n], positive where they are `pos_label`.
        y_score: [n], the higher the more likely positive.
        pos_label: the positive label.
        sample_weight: [n].
    """
    fpr, tpr, thresholds = roc_curve(y_true, y_score, pos_label=pos_label, sample_weight=sample_weight)
    best = int(np.argmax(tpr - fpr))
    return KS((tpr - fpr)[best], thresholds[best])


def auc(x: Any, y: Any) -> Array:
    """Area under a curve by trapezoids.

    Args:
        x: [points], rising or falling.
        y: [points].

    Raises:
        ValueError: fewer than two points, other shapes, or x goes to and fro.
    """
    xp = namespace(x, y)
    x, y = floats(xp, x), floats(xp, y)
    check_same_length(x=x, y=y)
    if len(x) < 2:
        raise InvalidArgument("an area needs at least 2 points, got 1")
    steps = xp.diff(x)
    if known(x) and np.any(np.asarray(steps) < 0) and np.any(np.asarray(steps) > 0):
        raise InvalidArgument("x must rise or fall throughout")
    area = xp.trapezoid(y, x)
    return xp.where(steps.sum() < 0, -area, area)


# --- Areas ------------------------------------------------------------------------------------------------------------


def roc_auc_score(
    y_true: Any,
    y_score: Any,
    *,
    average: Averaging | None = "macro",
    sample_weight: Any = None,
    multi_class: Literal["raise", "ovr", "ovo"] = "raise",
    labels: Any = None,
) -> Array:
    """Area under the ROC curve: the probability that a positive example has a higher score than a negative one.

    It depends on the order of the scores alone, and not on how many positives there are.

    Args:
        y_true: 0 and 1 [n]; or indicators [n, labels]; or classes [n].
        y_score: [n]; or [n, labels]; or probabilities [n, classes].
        average: over labels or classes: None, each; "macro", mean; "weighted", by positives; "micro", of all entries;
            "samples", over examples.
        sample_weight: [n].
        multi_class: of classes: "ovr", each against the rest, or "ovo", each against each other (Hand & Till, 2001).
        labels: the classes, in the order of the columns; by default those that occur, sorted.

    Returns:
        float [], or [labels] with average None; NaN where a label has examples of one kind only.

    Raises:
        ValueError: no examples, other shapes, NaN, or an average that does not fit.
    """
    xp, y_true, y_score = _scored(y_true, y_score, sample_weight)
    if y_true.ndim == 2:
        return _averaged(roc_auc, y_true, y_score, average, sample_weight)
    if y_score.ndim == 1:
        _check_two_labels(y_true)
        return roc_auc(_positive(xp, y_true, labels), y_score, sample_weight)
    if multi_class not in ("ovr", "ovo"):
        raise InvalidArgument(
            f"scores of {y_score.shape[1]} classes need multi_class 'ovr' or 'ovo', got {multi_class!r}"
        )
    classes = _classes(labels, y_true, y_score)
    if multi_class == "ovr":
        members = y_true[:, None] == xp.asarray(classes)[None]
        return _averaged(roc_auc, members, y_score, average, sample_weight)
    if sample_weight is not None or average not in ("macro", "weighted"):
        raise InvalidArgument("multi_class='ovo' takes average 'macro' or 'weighted', and no sample_weight")
    return _one_against_one(xp, y_true, y_score, classes, weighted=average == "weighted")


def average_precision_score(
    y_true: Any, y_score: Any, *, average: Averaging | None = "macro", sample_weight: Any = None
) -> Array:
    """Sum of precision times the step in recall over thresholds, without interpolation.

    Args:
        y_true: 0 and 1 [n], indicators [n, labels], or classes 0 .. [n].
        y_score: [n] or [n, labels].
        average: as in `roc_auc_score`.
        sample_weight: [n].

    Returns:
        float [], or [labels] with average None; 0 where nothing is positive.
    """
    xp, y_true, y_score = _scored(y_true, y_score, sample_weight)
    if y_score.ndim == 1:
        _check_two_labels(y_true)
        return average_precision(_positive(xp, y_true, None), y_score, sample_weight)
    if y_true.ndim == 1:
        check_labels_in_range(y_true, y_score.shape[1])
        y_true = y_true[:, None] == xp.arange(y_score.shape[1])[None]
    return _averaged(average_precision, y_true, y_score, average, sample_weight)


def roc_auc(positive: Array, scores: Array, weights: Any = None) -> Array:
    """Area under the ROC curve of one label: bool [n] and scores [n]; NaN if all or none are positive."""
    xp = namespace(positive, scores, weights)
    tp, fp = _cumulated(xp, positive, scores, weights)[:2]
    width, height = xp.diff(fp, prepend=0), tp - xp.diff(tp, prepend=0) / 2
    # Within a group of equal scores all stand at its end, so only the first step of it has a width.
    return divide(xp, (width * height).sum(), tp[-1] * fp[-1], xp.nan)


def roc_auc_by_pairs(positive: Any, scores: Any, *, block: int = 2**22) -> Array:
    """The same by its meaning: the part of the pairs of a positive and a negative in which the positive's score is
    higher, ties as half a pair. O(n1 n0) comparisons, `block` at a time.
    """
    positive, scores = np.asarray(positive, bool), np.asarray(scores, np.float64)
    check_same_length(positive=positive, scores=scores)
    high, low = scores[positive], scores[~positive]
    rows = max(1, block // max(1, len(low)))
    won = 0.0
    for first in range(0, len(high), rows):
        part = high[first : first + rows, None]
        won += (part > low).sum() + (part == low).sum() / 2
    return divide(np, np.float64(won), np.float64(len(high) * len(low)), np.nan)


def roc_auc_by_ranks(positive: Any, scores: Any) -> Array:
    """The same by ranks (Mann & Whitney, 1947): (sum of the positives' ranks - n1 (n1 + 1) / 2) / (n1 n0), where equal
    scores share their mean rank. O(n log n).
    """
    xp = namespace(positive, scores)
    positive, scores = xp.asarray(positive, bool), floats(xp, scores)
    check_same_length(positive=positive, scores=scores)
    ordered = xp.sort(scores)
    below, not_above = (xp.searchsorted(ordered, scores, side=side) for side in ("left", "right"))
    ranks = floats(xp, below + not_above + 1) / 2
    n1, n0 = floats(xp, positive.sum()), floats(xp, (~positive).sum())
    return divide(xp, xp.where(positive, ranks, 0).sum() - n1 * (n1 + 1) / 2, n1 * n0, xp.nan)


def average_precision(positive: Array, scores: Array, weights: Any = None) -> Array:
    """Average precision of one label: bool [n] and scores [n]; 0 if none is positive."""
    xp = namespace(positive, scores, weights)
    tp, fp = _cumulated(xp, positive, scores, weights)[:2]
    precision = divide(xp, tp, tp + fp, 0.0)
    return divide(xp, (precision * xp.diff(tp, prepend=0)).sum(), tp[-1], 0.0)


# --- What they share --------------------------------------------------------------------------------------------------


def _cumulated(xp: ModuleType, positive: Array, scores: Array, weights: Any) -> tuple[Array, Array, Array]:
    """Weight of positives and of negatives whose score is at least as high, and the scores, falling; all [n]."""
    order = xp.argsort(-scores, stable=True)
    scores, positive = scores[order], positive[order]
    each = xp.ones_like(scores) if weights is None else floats(xp, weights)[order]
    ends = xp.searchsorted(-scores, -scores, side="right") - 1  # of the group of equal scores
    return xp.cumsum(xp.where(positive, each, 0))[ends], xp.cumsum(xp.where(positive, 0, each))[ends], scores


def _points(y_true: Any, y_score: Any, pos_label: Any, sample_weight: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weight of true and false positives at each score that occurs, falling."""
    if not known(y_true, y_score, sample_weight):
        raise InvalidArgument(
            "a curve has a point for each score that occurs: it cannot be traced, call it without jit"
        )
    _, y_true, y_score = _scored(np.asarray(y_true), np.asarray(y_score), sample_weight)
    if y_true.ndim != 1 or y_score.ndim != 1:
        raise InvalidArgument(f"a curve is of labels [n] and scores [n], got {y_true.shape} and {y_score.shape}")
    _check_two_labels(y_true)
    if sample_weight is not None:  # what does not count makes no point
        counted = np.asarray(sample_weight) != 0
        y_true, y_score, sample_weight = y_true[counted], y_score[counted], np.asarray(sample_weight)[counted]
        check_same_length(positive_weights=y_true)
    tp, fp, scores = _cumulated(np, y_true == pos_label, y_score, sample_weight)
    last = np.append(np.diff(scores) != 0, True)
    return tp[last], fp[last], scores[last]


def _scored(y_true: Any, y_score: Any, sample_weight: Any) -> tuple[ModuleType, Array, Array]:
    xp = namespace(y_true, y_score, sample_weight)
    y_true, y_score = xp.asarray(y_true), floats(xp, y_score)
    check_same_length(y_true=y_true, y_score=y_score)
    check_weights(sample_weight, len(y_true))
    check_finite(y_true=y_true, y_score=y_score)
    if y_score.ndim not in (1, 2) or (y_true.ndim != 1 and y_true.shape != y_score.shape):
        raise InvalidArgument(
            f"expected labels [n] or [n, labels] and scores to fit, got {y_true.shape} and {y_score.shape}"
        )
    return xp, y_true, y_score


def _check_two_labels(y_true: Array) -> None:
    if known(y_true) and len(present := np.unique(np.asarray(y_true))) > 2:
        raise InvalidArgument(f"expected two labels, got {len(present)}: give scores [n, classes]")


def _positive(xp: ModuleType, y_true: Array, labels: Any) -> Array:
    """Which examples have the larger label of two; a traced function takes 0 and 1."""
    if y_true.dtype == bool:
        return y_true
    if not known(y_true):
        return y_true == 1
    present = np.unique(np.asarray(y_true) if labels is None else np.asarray(labels))
    return y_true == (1 if set(present.tolist()) <= {-1, 0, 1} else present[-1])


def _classes(labels: Any, y_true: Array, y_score: Array) -> np.ndarray:
    if labels is None and not known(y_true):
        classes = np.arange(y_score.shape[1])
    else:
        classes = np.unique(np.asarray(y_true) if labels is None else np.asarray(labels))
    if len(classes) != y_score.shape[1]:
        raise InvalidArgument(f"{len(classes)} labels and scores of {y_score.shape[1]} classes: give all as `labels`")
    if known(y_true) and not np.isin(np.asarray(y_true), classes).all():
        raise InvalidArgument(f"y_true has labels that are not in {classes[:10].tolist()}")
    return classes


def _averaged(
    score: Callable[..., Array], y_true: Array, y_score: Array, way: Averaging | None, sample_weight: Any
) -> Array:
    """The score of the columns of indicators, averaged."""
    if way is not None and way not in AVERAGINGS:
        raise UnknownName("average", str(way), AVERAGINGS)
    xp = namespace(y_true, y_score, sample_weight)
    y_true = y_true != 0
    if way == "micro":
        repeated = None if sample_weight is None else xp.repeat(xp.asarray(sample_weight), y_true.shape[1])
        return score(y_true.ravel(), y_score.ravel(), repeated)
    if way == "samples":
        scores = xp.stack([score(*row) for row in zip(y_true, y_score, strict=True)])
        return average(xp, scores, sample_weight)
    scores = xp.stack([score(*column, sample_weight) for column in zip(y_true.T, y_score.T, strict=True)])
    if way is None:
        return scores
    if way == "macro":
        return scores.mean()
    each = xp.ones(len(y_true)) if sample_weight is None else floats(xp, sample_weight)
    positives = (y_true * each[:, None]).sum(0)
    present = positives > 0  # a label without positives has no weight, and no area
    return divide(xp, xp.where(present, scores * positives, 0).sum(), positives.sum(), 0.0)


def _one_against_one(xp: ModuleType, y_true: Array, y_score: Array, classes: np.ndarray, *, weighted: bool) -> Array:
    scores, weights = [], []
    for i, a in enumerate(classes):
        for j, b in enumerate(classes[:i]):
            pair = floats(xp, (y_true == a) | (y_true == b))  # the others weigh nothing
            areas = roc_auc(y_true == a, y_score[:, i], pair), roc_auc(y_true == b, y_score[:, j], pair)
            scores.append((areas[0] + areas[1]) / 2)
            weights.append(pair.sum())
    return average(xp, xp.stack(scores), xp.stack(weights) if weighted else None)
