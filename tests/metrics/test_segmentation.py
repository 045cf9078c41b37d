"""Metrics of segmentation, against scikit-learn and sums over pixels in plain Python."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import accuracy_score, confusion_matrix, jaccard_score, recall_score

from xxnet_jax.metrics.segmentation import segmentation_confusion, segmentation_scores

CLASSES, SHAPE = 4, (2, 5, 6)  # fixed shapes: one compilation
images_of_labels = arrays.arrays(np.uint8, SHAPE, elements=st.sampled_from([0, 1, 2, 3, 255]))
images_of_predictions = arrays.arrays(np.int32, SHAPE, elements=st.integers(0, CLASSES - 1))
compiled_confusion = jax.jit(segmentation_confusion, static_argnums=(2, 3))
compiled_scores = jax.jit(segmentation_scores)


@given(images_of_labels, images_of_predictions)
def test_confusion_is_sklearns(labels: np.ndarray, predictions: np.ndarray):
    """The matrix is scikit-learn's for the pixels that are not ignored, in NumPy, in JAX and under jit."""
    counted = labels != 255
    expected = np.zeros((CLASSES, CLASSES), int)
    if counted.any():
        expected = confusion_matrix(labels[counted], predictions[counted], labels=range(CLASSES))
    found = segmentation_confusion(labels, predictions, CLASSES)
    assert found.dtype == np.int64
    np.testing.assert_array_equal(found, expected)
    for function in (segmentation_confusion, compiled_confusion):
        found = function(jnp.asarray(labels), jnp.asarray(predictions), CLASSES, 255)
        assert found.dtype == jnp.int32
        np.testing.assert_array_equal(found, expected)


@given(images_of_labels, images_of_predictions)
def test_scores_are_sklearns(labels: np.ndarray, predictions: np.ndarray):
    """Accuracies and IoU are scikit-learn's accuracy, recall and Jaccard index over pixels; means are over the classes
    that have a value, and frequency-weighted IoU is its average weighted by true pixels."""
    labels[0, 0, 0] = 1  # at least one counts
    counted = labels != 255
    y, p = labels[counted], predictions[counted]
    confusion = segmentation_confusion(labels, predictions, CLASSES)
    found = segmentation_scores(confusion)
    some = [k for k in range(CLASSES) if (y == k).any() or (p == k).any()]
    true = [k for k in range(CLASSES) if (y == k).any()]
    each: Any = None  # scikit-learn's annotations lack it
    iou = jaccard_score(y, p, labels=some, average=each)
    recall = recall_score(y, p, labels=true, average=each)
    # float64, a few roundings
    np.testing.assert_allclose(found.iou[some], iou, rtol=1e-13)
    np.testing.assert_allclose(found.accuracy[true], recall, rtol=1e-13)
    assert np.isnan(np.delete(found.iou, some)).all()
    assert np.isnan(np.delete(found.accuracy, true)).all()
    weighted = jaccard_score(y, p, labels=true, average="weighted")
    expected = [accuracy_score(y, p), np.mean(recall), np.mean(iou), weighted]
    np.testing.assert_allclose(found[:4], expected, rtol=1e-13)
    for function in (segmentation_scores, compiled_scores):
        in_jax = function(jnp.asarray(confusion))
        assert all(value.dtype == jnp.float32 for value in in_jax)
        for ours, value in zip(in_jax, found, strict=True):
            np.testing.assert_allclose(ours, value, rtol=1e-6)  # float32, a few roundings


def test_worked_example():
    """Of 10 pixels, 5 of class 0 (3 right), 4 of class 1 (all right) and 1 of class 2 (given 0): pixel accuracy 7/10,
    mean accuracy (3/5 + 1 + 0)/3, IoU 3/6, 4/6 and 0, weighted by frequency (5 * 3/6 + 4 * 4/6) / 10."""
    scores = segmentation_scores([[3, 2, 0], [0, 4, 0], [1, 0, 0]])
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3, 0], rtol=1e-15)
    expected = [0.7, (0.6 + 1) / 3, (1 / 2 + 2 / 3) / 3, (2.5 + 8 / 3) / 10]
    np.testing.assert_allclose(scores[:4], expected, rtol=1e-15)


def test_batches_add_up():
    """The sum of the matrices of batches is the matrix of all pixels; the mean of their mean IoU is something else."""
    random = np.random.default_rng(0)
    labels, predictions = random.integers(0, 4, (2, 3, 8, 8))
    parts = [segmentation_confusion(y, p, 4) for y, p in zip(labels, predictions, strict=True)]
    np.testing.assert_array_equal(sum(parts), confusion_matrix(labels.ravel(), predictions.ravel()))
    whole = segmentation_scores(sum(parts))
    assert whole.mean_iou == pytest.approx(jaccard_score(labels.ravel(), predictions.ravel(), average="macro"))
    assert np.mean([segmentation_scores(part).mean_iou for part in parts]) != pytest.approx(whole.mean_iou)


def test_absent_classes():
    """A class that is neither there nor predicted is left out of the means, or counts as it is told; one that was only
    predicted has IoU 0, and no accuracy."""
    confusion = np.array([[6, 2, 0], [0, 0, 0], [0, 0, 0]])
    scores = segmentation_scores(confusion)
    np.testing.assert_array_equal(scores.iou, [0.75, 0, np.nan])
    np.testing.assert_array_equal(scores.accuracy, [0.75, np.nan, np.nan])
    assert (scores.mean_iou, scores.mean_accuracy) == (0.375, 0.75)
    assert scores.frequency_weighted_iou == 0.75
    for absent in (0.0, 1.0):
        scores = segmentation_scores(confusion, absent=absent)
        np.testing.assert_array_equal(scores.iou, [0.75, 0, absent])
        assert scores.mean_iou == (0.75 + absent) / 3
        assert scores.mean_accuracy == (0.75 + 2 * absent) / 3
        assert scores.frequency_weighted_iou == 0.75


def test_ignored_label():
    """Any label can be the one that does not count, also a class or a negative number; None counts all pixels."""
    labels, predictions = np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])
    assert segmentation_confusion(labels, predictions, 3, ignore=None).sum() == 4
    assert segmentation_confusion(labels, predictions, 3, ignore=1).tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert segmentation_confusion(labels - 1, predictions, 3, ignore=-1).tolist() == [[0, 1, 1], [0, 0, 1], [0, 0, 0]]
    # where the label does not count, a prediction may be anything
    assert segmentation_confusion([255, 0], [77, 0], 1).tolist() == [[1]]
    assert segmentation_confusion([], [], 2).tolist() == [[0, 0], [0, 0]]


def test_many_classes_of_uint8():
    """Labels in uint8 do not overflow: with 150 classes the last cell is right."""
    label = np.full((2, 3), 149, np.uint8)
    assert segmentation_confusion(label, label, 150)[149, 149] == 6
    assert segmentation_confusion(jnp.asarray(label), jnp.asarray(label), 150)[149, 149] == 6


def test_traced_values_out_of_range_do_not_count():
    """Under jit, where values cannot be looked at, pixels with a class out of range are left out; and the scores of no
    pixels are NaN."""
    labels, predictions = jnp.array([0, 1, 7, -1, 1]), jnp.array([0, 3, 0, 0, -2])
    assert compiled_confusion(labels, predictions, 2, 255).tolist() == [[1, 0], [0, 0]]
    scores = compiled_scores(jnp.zeros((2, 2), jnp.int32))
    assert all(np.isnan(value).all() for value in scores)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize(
    ("labels", "predictions", "classes", "message"),
    [
        ([0, 1], [0], 2, r"\(2,\), \(1,\)"),
        ([0, 1], [[0, 1]], 2, r"\(2,\), \(1, 2\)"),
        ([0, 2], [0, 1], 2, "labels are 0 to 2, predictions 0 to 1, expected 0 to 1"),
        ([0, 1], [0, -1], 2, "predictions -1 to 0"),
        ([0, 1], [0.2, 0.8], 2, "argmax"),
        ([0, 1], [0, 1], 0, "1 or more, got 0"),
    ],
)
def test_what_cannot_be_counted(kind, labels, predictions, classes, message):
    """Shapes that differ, classes out of range and numbers that are not classes are a ValueError that says so."""
    with pytest.raises(ValueError, match=message):
        segmentation_confusion(kind(labels), kind(predictions), classes)


@pytest.mark.parametrize(
    ("confusion", "message"),
    [
        (np.ones((2, 3)), r"got shape \(2, 3\)"),
        (np.ones(4), r"got shape \(4,\)"),
        (np.zeros((0, 0)), r"got shape \(0, 0\)"),
        (np.zeros((2, 2)), "not all of them 0"),
        (np.array([[1, -1], [0, 1]]), "0 or more"),
        (np.array([[1, np.nan], [0, 1]]), "0 or more"),
    ],
)
def test_what_is_no_confusion_matrix(confusion, message):
    """Another shape, negative numbers, NaN or no pixels are a ValueError."""
    with pytest.raises(ValueError, match=message):
        segmentation_scores(confusion)
