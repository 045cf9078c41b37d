"""Metrics of semantic segmentation, from a confusion matrix of pixels (Long et al., 2015, section 5).

Matrices of several batches add up; the metrics of the sum are those of all pixels:

    confusion = sum(np.asarray(segmentation_confusion(y, p, 21), np.int64) for y, p in batches)
    segmentation_scores(confusion).mean_iou
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known, namespace
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.metrics.checks import mean_of_known
from xxnet_jax.metrics.labels import count_pairs


def segmentation_confusion(labels: Any, predictions: Any, num_classes: int, ignore: int | None = 255) -> Array:
    """Number of pixels of each true class (rows) that were given each class (columns), [num_classes, num_classes].

    NumPy gives int64. JAX gives int32, also under `jit`, enough for 2^31 pixels: add matrices up on the host.

    Args:
        labels: int [...], the true class of each pixel.
        predictions: int [...], of the same shape, such as the argmax of logits.
        num_classes: of both.
        ignore: pixels with this label do not count, whatever was predicted; None is no label.

    Raises:
        ValueError: the shapes differ, numbers that are not integers, num_classes < 1, or a class out of range, where
            the values are known. In a traced function such pixels do not count.
    """
    xp = namespace(labels, predictions)
    labels, predictions = xp.asarray(labels), xp.asarray(predictions)
    if labels.shape != predictions.shape:
        raise InvalidArgument(f"expected a prediction for each label, got shapes {labels.shape}, {predictions.shape}")
    if num_classes < 1:
        raise InvalidArgument(f"num_classes must be 1 or more, got {num_classes}")
    for name, array in (("labels", labels), ("predictions", predictions)):
        if array.size and not jnp.issubdtype(array.dtype, np.integer):
            raise InvalidArgument(f"expected {name} that are integers, got {array.dtype}: take the argmax of logits")
    # Wider before it is compared or multiplied: labels are often uint8.
    labels, predictions = (array.astype(np.int64 if xp is np else np.int32) for array in (labels, predictions))
    counted = xp.ones(labels.shape, bool) if ignore is None else labels != ignore
    valid = (labels >= 0) & (labels < num_classes) & (predictions >= 0) & (predictions < num_classes)
    if known(labels, predictions) and bool((counted & ~valid).any()):
        raise InvalidArgument(
            f"a class is out of range: labels are {_range(labels[counted])}, predictions "
            f"{_range(predictions[counted])}, expected 0 to {num_classes - 1}, or {ignore} for labels that do not count"
        )
    shape = (num_classes, num_classes)
    return count_pairs(xp, labels.ravel(), predictions.ravel(), shape, (counted & valid).ravel())


class SegmentationScores(NamedTuple):
    """Metrics of a confusion matrix n, where n_ij pixels of class i were given class j and t_i = sum_j n_ij.

    Attributes:
        pixel_accuracy: sum_i n_ii / sum_i t_i.
        mean_accuracy: mean over classes of `accuracy`.
        mean_iou: mean over classes of `iou`.
        frequency_weighted_iou: sum_i t_i iou_i / sum_i t_i.
        accuracy: n_ii / t_i, [classes].
        iou: n_ii / (t_i + sum_j n_ji - n_ii), [classes].
    """

    pixel_accuracy: Array
    mean_accuracy: Array
    mean_iou: Array
    frequency_weighted_iou: Array
    accuracy: Array
    iou: Array


def segmentation_scores(confusion: Any, *, absent: float = float("nan")) -> SegmentationScores:
    """Pixel accuracy, mean accuracy, mean IoU and frequency-weighted IoU; float64 in NumPy, float32 in JAX.

    A class without a true pixel has no accuracy, and one that was not predicted either has no IoU. A class that was
    only predicted has IoU 0.

    Args:
        confusion: [classes, classes], rows are true.
        absent: accuracy or IoU of classes that have none. NaN leaves them out of the means; 0 or 1 counts.

    Raises:
        ValueError: not a square matrix; no pixels, or negative numbers, where the values are known. The metrics of no
            pixels are NaN in a traced function.
    """
    xp = namespace(confusion)
    confusion = floats(xp, confusion)
    if confusion.ndim != 2 or confusion.shape[0] != confusion.shape[1] or not len(confusion):
        raise InvalidArgument(f"expected a confusion matrix [classes, classes], got shape {confusion.shape}")
    if known(confusion) and not (bool((confusion >= 0).all()) and 0 < float(confusion.sum()) < np.inf):
        raise InvalidArgument("a confusion matrix has numbers of pixels, 0 or more, and not all of them 0")
    right, true, predicted = xp.diagonal(confusion), confusion.sum(1), confusion.sum(0)
    total = confusion.sum()
    union = true + predicted - right
    accuracy, iou = divide(xp, right, true, absent), divide(xp, right, union, absent)
    return SegmentationScores(
        pixel_accuracy=divide(xp, right.sum(), total, np.nan),
        mean_accuracy=mean_of_known(xp, accuracy),
        mean_iou=mean_of_known(xp, iou),
        frequency_weighted_iou=divide(xp, (true * divide(xp, right, union, 0)).sum(), total, np.nan),
        accuracy=accuracy,
        iou=iou,
    )


def _range(values: Array) -> str:
    return f"{values.min()} to {values.max()}"
