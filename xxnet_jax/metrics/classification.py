"""Metrics of predicted labels: accuracy, confusion matrices and what is derived from them.

Names and signatures follow scikit-learn. Labels are numbers or strings in NumPy; for JAX they are integers, and traced
functions need `labels`, as the shape of the result depends on them. 0 / 0 is `zero_division`, without a warning.

The notes' table has two slips: its miss rate is TN / (TP + FN) instead of FN / (TP + FN), its fall-out FP / (FP + FN)
instead of FP / (FP + TN). Its F1 of macro averages is another number than the mean of F1 over classes (Opitz & Burst,
2019): both are here, `f1_of_means` and `f1_score(average="macro")`.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, Literal, NamedTuple

import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known, namespace
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics.checks import average, check_finite, check_same_length, check_weights, mean_of_known
from xxnet_jax.metrics.labels import bincount, check_labels_in_range, count_pairs, labels_of, places

Average = Literal["binary", "micro", "macro", "weighted", "samples"]
AVERAGES = ("binary", "micro", "macro", "weighted", "samples")
COLUMNS = ("precision", "recall", "f1-score", "support")  # of a report


class Counts(NamedTuple):
    """Cells of the confusion matrix of a class against the rest; arrays for several classes, [classes]."""

    tp: Array
    fp: Array
    fn: Array
    tn: Array


class Rates(NamedTuple):
    """What is derived from a confusion matrix of two classes; see `rates`."""

    accuracy: Array
    ppv: Array
    tpr: Array
    tnr: Array
    fnr: Array
    fpr: Array
    false_omission_rate: Array
    false_discovery_rate: Array
    npv: Array
    positive_likelihood_ratio: Array
    negative_likelihood_ratio: Array
    diagnostic_odds_ratio: Array
    f1: Array
    mcc: Array
    informedness: Array


# --- Accuracy ---------------------------------------------------------------------------------------------------------


def accuracy_score(y_true: Any, y_pred: Any, *, normalize: bool = True, sample_weight: Any = None) -> Array:
    """Part of the examples whose label is right, or with `normalize=False` their number.

    Args:
        y_true: labels [n], or indicators [n, labels], of which all must be right.
        y_pred: of the same shape.
        normalize: divide by the sum of the weights.
        sample_weight: [n].

    Raises:
        ValueError: no examples, or other shapes.
    """
    xp, y_true, y_pred = _pair(y_true, y_pred, sample_weight)
    hits = floats(xp, (y_true == y_pred).reshape(len(y_true), -1).all(1))
    if normalize:
        return average(xp, hits, sample_weight)
    return hits.sum() if sample_weight is None else (hits * floats(xp, sample_weight)).sum()


def top_k_accuracy_score(
    y_true: Any, y_score: Any, *, k: int = 5, normalize: bool = True, sample_weight: Any = None
) -> Array:
    """Part of the examples whose label is among the `k` largest scores; the top-k error is 1 less it.

    Of equal scores those of larger labels are taken first, as in scikit-learn (which has k = 2 by default; here it is
    ImageNet's 5).

    Args:
        y_true: int [n], 0 .. classes - 1.
        y_score: [n, classes].
        k: 1 .. classes.
        normalize: divide by the sum of the weights.
        sample_weight: [n].

    Raises:
        ValueError: no examples, other shapes, NaN, a label that is not a class, or k out of range.
    """
    xp = namespace(y_true, y_score, sample_weight)
    y_true, y_score = xp.asarray(y_true), xp.asarray(y_score)
    check_same_length(y_true=y_true, y_score=y_score)
    check_weights(sample_weight, len(y_true))
    check_finite(y_score=y_score)
    if y_score.ndim != 2 or y_true.ndim != 1:
        raise InvalidArgument(
            f"expected y_true [n] and y_score [n, classes], got shapes {y_true.shape} and {y_score.shape}"
        )
    classes = y_score.shape[1]
    if not 1 <= k <= classes:
        raise InvalidArgument(f"k must be in 1..{classes}, the number of classes, got {k}")
    check_labels_in_range(y_true, classes)
    return accuracy_score(
        xp.ones_like(y_true, bool), label_ranks(y_true, y_score) < k, normalize=normalize, sample_weight=sample_weight
    )


def label_ranks(y_true: Array, y_score: Array) -> Array:
    """How many classes come before the true one, int [n]; of equal scores those of larger labels come first."""
    xp = namespace(y_true, y_score)
    own = xp.take_along_axis(y_score, y_true[:, None], 1)
    later = xp.arange(y_score.shape[1])[None] > y_true[:, None]
    return ((y_score > own) | ((y_score == own) & later)).sum(1)


# --- Confusion matrices -----------------------------------------------------------------------------------------------


def confusion_matrix(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Sequence[Any] | np.ndarray | None = None,
    sample_weight: Any = None,
    normalize: Literal["true", "pred", "all"] | None = None,
) -> Array:
    """Counts [classes, classes]: a row for each true label, a column for each predicted one.

    Args:
        y_true: labels [n].
        y_pred: labels [n].
        labels: rows and columns in this order; examples with others do not count. By default all that occur, sorted.
        sample_weight: [n].
        normalize: divide by the sum of the row ("true"), of the column ("pred") or of all; 0 / 0 is 0.

    Returns:
        int64, with weights that are not integers or with `normalize` floats; int32 and float32 in JAX.

    Raises:
        ValueError: other shapes; no labels; none of them occurs in y_true; an unknown `normalize`.
    """
    xp, y_true, y_pred = _pair(y_true, y_pred, sample_weight, empty=labels is not None)
    _check_one_dimension(y_true, y_pred)
    if normalize not in ("true", "pred", "all", None):
        raise UnknownName("normalization", str(normalize), ("true", "pred", "all"))
    kept = labels_of(labels, y_true, y_pred)
    number = len(kept)
    rows, columns = (places(xp, array, kept) for array in (y_true, y_pred))
    if labels is not None and len(y_true) and known(rows) and not np.any(np.asarray(rows) < number):
        raise InvalidArgument(f"none of the labels {list(labels)[:10]} occurs in y_true")
    inside = (rows < number) & (columns < number)
    matrix = count_pairs(xp, rows, columns, (number, number), inside, sample_weight)
    if normalize is None:
        return matrix
    matrix = floats(xp, matrix)
    match normalize:
        case "true":
            return divide(xp, matrix, matrix.sum(1, keepdims=True), 0.0)
        case "pred":
            return divide(xp, matrix, matrix.sum(0, keepdims=True), 0.0)
        case _:
            return divide(xp, matrix, matrix.sum(keepdims=True), 0.0)


def multilabel_confusion_matrix(
    y_true: Any,
    y_pred: Any,
    *,
    sample_weight: Any = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    samplewise: bool = False,
) -> Array:
    """For each label its matrix against the rest, [labels, 2, 2]: [[tn, fp], [fn, tp]].

    Args:
        y_true: labels [n], or indicators [n, labels].
        y_pred: of the same shape.
        sample_weight: [n].
        labels: which, in this order; columns, if there are indicators.
        samplewise: a matrix for each example instead; only of indicators.

    Raises:
        ValueError: as in `confusion_matrix`; a column that does not exist; `samplewise` without indicators.
    """
    xp, y_true, y_pred = _pair(y_true, y_pred, sample_weight)
    tp, fp, fn, tn = _counts(xp, y_true, y_pred, labels, sample_weight, samplewise)
    return xp.stack([xp.stack([tn, fp], -1), xp.stack([fn, tp], -1)], -2)


def rates(tp: Any, fp: Any, fn: Any, tn: Any, *, zero_division: float = np.nan) -> Rates:
    """The table that is derived from the matrix of two classes; arguments are counts or arrays of them.

    ppv (precision) TP / (TP + FP), tpr (recall, sensitivity) TP / (TP + FN), tnr (specificity) TN / (TN + FP), fnr
    (miss rate) FN / (TP + FN), fpr (fall-out) FP / (FP + TN), false omission rate FN / (TN + FN), false discovery rate
    FP / (TP + FP), npv TN / (TN + FN), likelihood ratios TPR / FPR and FNR / TNR (the smaller, the better), their
    quotient, the diagnostic odds ratio, F1, Matthews' correlation coefficient, and informedness TPR + TNR - 1.
    """
    xp = namespace(tp, fp, fn, tn)
    tp, fp, fn, tn = (floats(xp, count) for count in (tp, fp, fn, tn))

    def quotient(a: Array, b: Array) -> Array:
        return divide(xp, a, b, zero_division)

    tpr, fnr = quotient(tp, tp + fn), quotient(fn, tp + fn)
    tnr, fpr = quotient(tn, tn + fp), quotient(fp, tn + fp)
    return Rates(
        accuracy=quotient(tp + tn, tp + fp + fn + tn),
        ppv=quotient(tp, tp + fp),
        tpr=tpr,
        tnr=tnr,
        fnr=fnr,
        fpr=fpr,
        false_omission_rate=quotient(fn, tn + fn),
        false_discovery_rate=quotient(fp, tp + fp),
        npv=quotient(tn, tn + fn),
        positive_likelihood_ratio=quotient(tpr, fpr),
        negative_likelihood_ratio=quotient(fnr, tnr),
        diagnostic_odds_ratio=quotient(tp * tn, fp * fn),
        f1=quotient(2 * tp, 2 * tp + fp + fn),
        mcc=quotient(tp * tn - fp * fn, xp.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))),
        informedness=tpr + tnr - 1,
    )


def matthews_corrcoef(y_true: Any, y_pred: Any, *, labels: Any = None, sample_weight: Any = None) -> Array:
    """Correlation of true and predicted labels, -1 .. 1; of several classes as in Gorodkin (2004).

    0 where one of them is constant.

    Args:
        y_true: labels [n].
        y_pred: labels [n].
        labels: all that there are, which a traced function needs.
        sample_weight: [n].
    """
    return correlation_of(confusion_matrix(y_true, y_pred, labels=labels, sample_weight=sample_weight))


def correlation_of(matrix: Array) -> Array:
    """`matthews_corrcoef` of a confusion matrix [classes, classes]."""
    xp = namespace(matrix)
    matrix = floats(xp, matrix)
    true, predicted, total = matrix.sum(1), matrix.sum(0), matrix.sum()
    covariance = xp.trace(matrix) * total - (true * predicted).sum()
    variances = (total**2 - (true**2).sum()) * (total**2 - (predicted**2).sum())
    return divide(xp, covariance, xp.sqrt(variances), 0.0)


# --- Precision, recall, F ---------------------------------------------------------------------------------------------


def precision_recall_fscore_support(
    y_true: Any,
    y_pred: Any,
    *,
    beta: float = 1.0,
    labels: Sequence[Any] | np.ndarray | None = None,
    pos_label: Any = 1,
    average: Average | None = None,
    sample_weight: Any = None,
    zero_division: float = 0.0,
) -> tuple[Array, Array, Array, Array | None]:
    """Precision, recall, F-beta and number of true examples, for each class or as an average.

    F-beta is (1 + beta^2) P R / (beta^2 P + R) (van Rijsbergen, 1979): recall counts beta times as much as precision.

    Args:
        y_true: labels [n], or indicators [n, labels].
        y_pred: of the same shape.
        beta: 0 or more; infinity gives the recall.
        labels: which; by default all that occur, sorted.
        pos_label: the class of `average="binary"`.
        average: None: each class; "binary": `pos_label` alone; "micro": of the sums over classes; "macro": mean over
            classes; "weighted": by their true examples; "samples": mean over examples, of indicators.
        sample_weight: [n].
        zero_division: instead of 0 / 0; NaN leaves a class out of averages.

    Returns:
        Four arrays [classes], or three scalars and None.

    Raises:
        ValueError: as in `confusion_matrix`; beta < 0; an unknown average, or one that does not fit the labels.
    """
    if not beta >= 0:
        raise InvalidArgument(f"beta must be 0 or more, got {beta}")
    if average is not None and average not in AVERAGES:
        raise UnknownName("average", str(average), AVERAGES)
    xp, y_true, y_pred = _pair(y_true, y_pred, sample_weight)
    if average == "binary":
        labels = _binary_label(y_true, y_pred, pos_label)
    counts = _counts(xp, y_true, y_pred, labels, sample_weight, samplewise=average == "samples")
    scores = scores_of(counts, beta=beta, average=average, sample_weight=sample_weight, zero_division=zero_division)
    return *scores, counts.tp + counts.fn if average is None else None


def counts_of(matrix: Array) -> Counts:
    """Each class against the rest, from a confusion matrix [classes, classes]."""
    tp, there, named = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    return Counts(tp, named - tp, there - tp, matrix.sum() - there - named + tp)


def scores_of(
    counts: Counts,
    *,
    beta: float = 1.0,
    average: Average | None = None,
    sample_weight: Any = None,
    zero_division: float = 0.0,
) -> tuple[Array, Array, Array]:
    """Precision, recall and F-beta of counts [classes], or of examples [n] for the average "samples".

    Arguments as in `precision_recall_fscore_support`.
    """
    xp = namespace(*counts)
    tp, fp, fn = (floats(xp, count) for count in (counts.tp, counts.fp, counts.fn))
    if average == "micro":
        tp, fp, fn = (xp.sum(count, keepdims=True) for count in (tp, fp, fn))
    precision = divide(xp, tp, tp + fp, zero_division)
    recall = divide(xp, tp, tp + fn, zero_division)
    if np.isinf(beta):
        score = recall
    else:
        score = divide(xp, (1 + beta**2) * tp, (1 + beta**2) * tp + fp + beta**2 * fn, zero_division)
    if average is None:
        return precision, recall, score
    weights = {"weighted": tp + fn, "samples": sample_weight}.get(average)
    return tuple(mean_of_known(xp, values, weights) for values in (precision, recall, score))  # type: ignore[return-value]


def precision_score(y_true: Any, y_pred: Any, *, average: Average | None = "binary", **arguments: Any) -> Array:
    """TP / (TP + FP); arguments as in `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, average=average, **arguments)[0]


def recall_score(y_true: Any, y_pred: Any, *, average: Average | None = "binary", **arguments: Any) -> Array:
    """TP / (TP + FN); arguments as in `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, average=average, **arguments)[1]


def fbeta_score(
    y_true: Any, y_pred: Any, *, beta: float, average: Average | None = "binary", **arguments: Any
) -> Array:
    """F-beta; arguments as in `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, beta=beta, average=average, **arguments)[2]


def f1_score(y_true: Any, y_pred: Any, *, average: Average | None = "binary", **arguments: Any) -> Array:
    """F1, the harmonic mean of precision and recall; arguments as in `precision_recall_fscore_support`."""
    return precision_recall_fscore_support(y_true, y_pred, average=average, **arguments)[2]


def f1_of_means(y_true: Any, y_pred: Any, **arguments: Any) -> Array:
    """F1 of the macro averages of precision and recall, the notes' formula; arguments as in `f1_score`."""
    precision, recall, _, _ = precision_recall_fscore_support(y_true, y_pred, average="macro", **arguments)
    return divide(namespace(precision), 2 * precision * recall, precision + recall, arguments.get("zero_division", 0.0))


def classification_report(
    y_true: Any,
    y_pred: Any,
    *,
    labels: Sequence[Any] | np.ndarray | None = None,
    target_names: Sequence[str] | None = None,
    sample_weight: Any = None,
    digits: int = 2,
    output_dict: bool = False,
    zero_division: float = 0.0,
) -> str | dict[str, Any]:
    """Precision, recall, F1 and support of each class and their averages, as a table or as a dict.

    Args:
        y_true: labels [n], or indicators [n, labels].
        y_pred: of the same shape.
        labels: rows, in this order; by default all that occur, sorted.
        target_names: names of the rows.
        sample_weight: [n].
        digits: behind the decimal point.
        output_dict: the numbers as a dict.
        zero_division: instead of 0 / 0.

    Raises:
        ValueError: as in `confusion_matrix`; not a name for each label.
    """
    _, y_true, y_pred = _pair(y_true, y_pred, sample_weight)
    indicators = y_true.ndim == 2
    kept = list(range(y_true.shape[1]) if indicators and labels is None else labels_of(labels, y_true, y_pred))
    names = [str(label) for label in kept] if target_names is None else list(target_names)
    if len(names) != len(kept):
        raise InvalidArgument(f"expected a name for each of the {len(kept)} labels, got {len(names)}: {names[:10]}")
    options: Any = {"labels": kept, "sample_weight": sample_weight, "zero_division": zero_division}
    each = precision_recall_fscore_support(y_true, y_pred, **options)
    columns = [np.asarray(column) for column in each]
    rows: dict[str, list[Any]] = {name: [column[i] for column in columns] for i, name in enumerate(names)}
    everything = not indicators and set(np.unique(np.concatenate([y_true, y_pred]))) <= set(kept)
    averages: list[Average] = ["micro", "macro", "weighted", *(["samples"] if indicators else [])]  # type: ignore[list-item]
    for way in averages:
        means = precision_recall_fscore_support(y_true, y_pred, average=way, **options)[:3]
        rows[f"{way} avg"] = [*means, columns[3].sum()]
    if everything:  # then all micro averages are the accuracy
        rows = {("accuracy" if name == "micro avg" else name): row for name, row in rows.items()}
    if output_dict:
        return {
            name: float(row[0]) if name == "accuracy" else dict(zip(COLUMNS, map(float, row), strict=True))
            for name, row in rows.items()
        }
    return _table(rows, digits, len(names))


def _table(rows: dict[str, list[Any]], digits: int, classes: int) -> str:
    width = max(digits, *map(len, rows), len("weighted avg"))
    lines = [f"{'':>{width}} " + "".join(f" {name:>9}" for name in COLUMNS), ""]
    for number, (name, (*values, support)) in enumerate(rows.items()):
        if number == classes:
            lines.append("")
        cells = [f"{value:9.{digits}f}" for value in values]
        if name == "accuracy":
            cells[:2] = [" " * 9] * 2
        lines.append(f"{name:>{width}}  " + " ".join([*cells, f"{support:>9}"]))
    return "\n".join(lines) + "\n"


# --- Probabilities ----------------------------------------------------------------------------------------------------


def log_loss(
    y_true: Any, y_prob: Any, *, normalize: bool = True, sample_weight: Any = None, labels: Any = None
) -> Array:
    """Mean of -log p(true class); probabilities are kept above the smallest step of their type.

    Args:
        y_true: labels [n].
        y_prob: probabilities [n, classes] in the order of the sorted labels, or [n], of the second one of two.
        normalize: the mean; else the sum.
        sample_weight: [n].
        labels: all that there are; by default those that occur. A traced function needs them.

    Raises:
        ValueError: no examples, other shapes, fewer than two labels, numbers that are no probabilities, or do not sum
            to 1.
    """
    xp = namespace(y_true, y_prob, sample_weight)
    y_true, y_prob = xp.asarray(y_true), floats(xp, y_prob)
    check_same_length(y_true=y_true, y_prob=y_prob)
    check_weights(sample_weight, len(y_true))
    check_finite(y_prob=y_prob)
    if y_prob.ndim == 1:
        y_prob = xp.stack([1 - y_prob, y_prob], 1)
    kept = labels_of(None if labels is None else np.unique(np.asarray(labels)), y_true, y_true)
    if len(kept) < 2:
        raise InvalidArgument(f"y_true has the one label {kept[0]}: give all labels as `labels`")
    if y_prob.shape != (len(y_true), len(kept)):
        raise InvalidArgument(
            f"expected probabilities of shape {(len(y_true), len(kept))}, a column for each label, got {y_prob.shape}"
        )
    _check_probabilities(y_prob)
    columns = places(xp, y_true, kept)
    if known(columns) and np.any(np.asarray(columns) == len(kept)):
        raise InvalidArgument(f"y_true has labels that are not in {list(kept)[:10]}")
    step = np.finfo(y_prob.dtype).eps
    chosen = xp.take_along_axis(xp.clip(y_prob, step, 1 - step), columns[:, None], 1)[:, 0]
    losses = -xp.log(chosen)
    if normalize:
        return average(xp, losses, sample_weight)
    return losses.sum() if sample_weight is None else (losses * floats(xp, sample_weight)).sum()


def _check_probabilities(y_prob: Array) -> None:
    if not known(y_prob):
        return
    values = np.asarray(y_prob)
    if values.min() < 0 or values.max() > 1:
        raise InvalidArgument(
            f"expected probabilities in 0..1, got {values.min():g} .. {values.max():g}: are these logits? Use a softmax"
        )
    if not np.allclose(values.sum(1), 1, rtol=np.sqrt(np.finfo(values.dtype).eps)):
        raise InvalidArgument("the probabilities of an example do not sum to 1")


# --- What they share --------------------------------------------------------------------------------------------------


def _pair(y_true: Any, y_pred: Any, sample_weight: Any, *, empty: bool = False) -> tuple[ModuleType, Array, Array]:
    """Both as arrays of one shape."""
    xp = namespace(y_true, y_pred, sample_weight)
    y_true, y_pred = xp.asarray(y_true), xp.asarray(y_pred)
    if not (empty and len(y_true) == len(y_pred) == 0):
        check_same_length(y_true=y_true, y_pred=y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim not in (1, 2):
        raise InvalidArgument(
            f"expected labels [n], or indicators [n, labels], of one shape, got {y_true.shape} and {y_pred.shape}"
        )
    check_weights(sample_weight, len(y_true))
    check_finite(y_true=y_true, y_pred=y_pred)
    return xp, y_true, y_pred


def _check_one_dimension(y_true: Array, y_pred: Array) -> None:
    if y_true.ndim != 1:
        raise InvalidArgument(f"expected labels [n], got indicators {y_true.shape}: see multilabel_confusion_matrix")


def _counts(
    xp: ModuleType, y_true: Array, y_pred: Array, labels: Any, sample_weight: Any, samplewise: bool = False
) -> Counts:
    """For each label, or each example, how often it is rightly and wrongly there and not there."""
    if y_true.ndim == 2:
        return _indicator_counts(xp, y_true, y_pred, labels, sample_weight, samplewise)
    if samplewise:
        raise InvalidArgument(f"counts of each example need indicators [n, labels], got labels {y_true.shape}")
    kept = labels_of(labels, y_true, y_pred)
    number = len(kept)
    rows, columns = (places(xp, array, kept) for array in (y_true, y_pred))
    there, named = rows < number, columns < number
    true, predicted, both = (
        bincount(xp, cells, number, counted, sample_weight)
        for cells, counted in ((rows, there), (columns, named), (rows, there & (rows == columns)))
    )
    total = len(y_true) if sample_weight is None else xp.asarray(sample_weight).sum()
    return Counts(both, predicted - both, true - both, total - true - predicted + both)


def _indicator_counts(
    xp: ModuleType, y_true: Array, y_pred: Array, labels: Any, sample_weight: Any, samplewise: bool
) -> Counts:
    for name, array in (("y_true", y_true), ("y_pred", y_pred)):
        if known(array) and not np.isin(np.asarray(array), (0, 1)).all():
            raise InvalidArgument(f"expected indicators 0 and 1 in {name}")
    if labels is not None:
        columns = np.asarray(labels)
        check_labels_in_range(columns, y_true.shape[1])
        y_true, y_pred = y_true[:, columns], y_pred[:, columns]
    y_true, y_pred = y_true != 0, y_pred != 0
    cells = (y_true & y_pred, ~y_true & y_pred, y_true & ~y_pred, ~y_true & ~y_pred)
    if sample_weight is None:
        return Counts(*(cell.sum(1 if samplewise else 0) for cell in cells))
    weights = xp.asarray(sample_weight)[:, None]
    return Counts(*((cell * weights).sum(1 if samplewise else 0) for cell in cells))


def _binary_label(y_true: Array, y_pred: Array, pos_label: Any) -> list[Any]:
    if y_true.ndim == 2:
        raise InvalidArgument("average='binary' is of labels [n]: of indicators take another average")
    if known(y_true, y_pred):
        present = np.unique(np.concatenate([np.asarray(y_true), np.asarray(y_pred)]))
        if len(present) > 2:
            raise InvalidArgument(
                f"average='binary' is of two labels, and there are {len(present)}: take another average"
            )
        if len(present) == 2 and pos_label not in present:
            raise InvalidArgument(f"pos_label {pos_label!r} is none of the labels {present.tolist()}")
    return [pos_label]
