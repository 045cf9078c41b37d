"""Metrics of scores against scikit-learn and SciPy, and the notes' examples."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
import sklearn.metrics as theirs
from hypothesis import given, settings

from xxnet_jax import metrics as ours

NOTES = [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """scikit-learn warns of what is not defined; here it is NaN, as documented."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def drawn(seed: int, examples: int = 300, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels 0 and 1, scores that know something of them, many of which are equal, and weights with zeros."""
    random = np.random.default_rng(seed)
    y_true = (random.uniform(size=examples) < random.uniform()).astype(int)
    scores = y_true * random.uniform(-1, 2) + random.normal(size=examples)
    weights = random.integers(0, 4, examples) * random.choice([1, 0.37])
    weights[0] = 1
    return y_true, scores.round(1) if ties else scores, weights


seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([1, 2, 7, 300])


# --- Curves -----------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(seeds, sizes, st.booleans(), st.booleans(), st.booleans())
def test_roc_curve(seed: int, examples: int, ties: bool, weighted: bool, drop: bool):
    """scikit-learn's points and thresholds; NaN where there are no examples of a class."""
    y_true, scores, weights = drawn(seed, examples, ties)
    options: Any = {"sample_weight": weights if weighted else None, "drop_intermediate": drop, "pos_label": 1}
    for found, expected in zip(
        ours.roc_curve(y_true, scores, **options), theirs.roc_curve(y_true, scores, **options), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


@settings(max_examples=100)
@given(seeds, sizes, st.booleans(), st.booleans(), st.booleans())
def test_precision_recall_curve(seed: int, examples: int, ties: bool, weighted: bool, drop: bool):
    """scikit-learn's points and thresholds; recall is 1 where nothing is positive."""
    y_true, scores, weights = drawn(seed, examples, ties)
    options: Any = {"sample_weight": weights if weighted else None, "drop_intermediate": drop, "pos_label": 1}
    for found, expected in zip(
        ours.precision_recall_curve(y_true, scores, **options),
        theirs.precision_recall_curve(y_true, scores, **options),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_curves_of_the_notes():
    """Four examples: points, areas, and the largest distance of the rates."""
    fpr, tpr, thresholds = ours.roc_curve(*NOTES)
    np.testing.assert_allclose(fpr, [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(tpr, [0, 0.5, 0.5, 1, 1])
    np.testing.assert_allclose(thresholds, [np.inf, 0.8, 0.4, 0.35, 0.1])
    precision, recall, _ = ours.precision_recall_curve(*NOTES)
    np.testing.assert_allclose(precision, [0.5, 2 / 3, 0.5, 1, 1])
    np.testing.assert_allclose(recall, [1, 1, 0.5, 0.5, 0])
    np.testing.assert_allclose(ours.average_precision_score(*NOTES), 0.8333333333333333, rtol=1e-14)
    assert ours.ks_statistic(*NOTES) == (0.5, 0.8)


@given(seeds, st.booleans())
def test_rates_rise_when_the_threshold_falls(seed: int, weighted: bool):
    """The notes say that both rates fall with it: they go from (0, 0) to (1, 1)."""
    y_true, scores, weights = drawn(seed)
    y_true[:2] = 0, 1
    weights[:2] = 1
    fpr, tpr, thresholds = ours.roc_curve(y_true, scores, sample_weight=weights if weighted else None)
    assert (np.diff(thresholds) < 0).all()
    assert (np.diff(fpr) >= 0).all()
    assert (np.diff(tpr) >= 0).all()
    np.testing.assert_allclose([fpr[0], tpr[0], fpr[-1], tpr[-1]], [0, 0, 1, 1])


@given(seeds, st.booleans())
def test_kolmogorov_smirnov(seed: int, ties: bool):
    """The statistic is SciPy's of the two samples of scores, where positives tend to be higher."""
    y_true, scores, _ = drawn(seed, 200, ties)
    y_true[:2] = 0, 1
    expected: Any = scipy.stats.ks_2samp(scores[y_true == 1], scores[y_true == 0], alternative="less", method="asymp")
    np.testing.assert_allclose(ours.ks_statistic(y_true, scores).statistic, expected.statistic, rtol=1e-9, atol=1e-12)


@given(seeds, st.booleans())
def test_trapezoids(seed: int, falling: bool):
    """scikit-learn's area, of falling x too."""
    random = np.random.default_rng(seed)
    x, y = np.sort(random.normal(size=20).round(1)), random.normal(size=20)
    x = x[::-1] if falling else x
    np.testing.assert_allclose(ours.auc(x, y), theirs.auc(x, y), rtol=1e-12)


# --- Areas ------------------------------------------------------------------------------------------------------------


@settings(max_examples=100)
@given(seeds, sizes, st.booleans(), st.booleans())
def test_areas(seed: int, examples: int, ties: bool, weighted: bool):
    """scikit-learn's AUC and average precision; NaN and 0 where there are no examples of a class."""
    y_true, scores, weights = drawn(seed, examples, ties)
    options: Any = {"sample_weight": weights if weighted else None}
    for name in ("roc_auc_score", "average_precision_score"):
        found, expected = (
            getattr(ours, name)(y_true, scores, **options),
            getattr(theirs, name)(y_true, scores, **options),
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-14, err_msg=name)


@given(seeds, sizes, st.booleans(), st.integers(1, 500))
def test_three_ways_to_the_area(seed: int, examples: int, ties: bool, block: int):
    """Trapezoids, pairs in blocks of any size, and ranks agree; SciPy's U over the number of pairs is the same."""
    y_true, scores, _ = drawn(seed, examples, ties)
    expected = ours.roc_auc_score(y_true, scores)
    np.testing.assert_allclose(ours.roc_auc_by_pairs(y_true, scores, block=block), expected, rtol=1e-12)
    np.testing.assert_allclose(ours.roc_auc_by_ranks(y_true, scores), expected, rtol=1e-12)
    if len(set(y_true)) == 2:
        u = scipy.stats.mannwhitneyu(scores[y_true == 1], scores[y_true == 0], method="asymptotic").statistic
        np.testing.assert_allclose(u / (y_true.sum() * (1 - y_true).sum()), expected, rtol=1e-12)


def test_area_of_the_notes():
    """.75; with the notes' n1 (n1 + 2) / 2 in place of n1 (n1 + 1) / 2 it would be .5."""
    for area in (ours.roc_auc_score, ours.roc_auc_by_pairs, ours.roc_auc_by_ranks):
        assert area(*NOTES) == 0.75


@given(seeds, st.integers(2, 9))
def test_area_does_not_depend_on_the_balance(seed: int, times: int):
    """Each positive `times` times changes precision, not AUC; nor does any rising function of the scores."""
    y_true, scores, _ = drawn(seed)
    y_true[:2] = 0, 1
    repeated = np.where(y_true == 1, times, 1)
    area = ours.roc_auc_score(y_true, scores)
    many = ours.roc_auc_score(np.repeat(y_true, repeated), np.repeat(scores, repeated))
    np.testing.assert_allclose(many, area, rtol=1e-12)
    np.testing.assert_allclose(ours.roc_auc_score(y_true, np.arctan(scores)), area, rtol=1e-12)
    np.testing.assert_allclose(ours.roc_auc_score(1 - y_true, -scores), area, rtol=1e-12)
    np.testing.assert_allclose(ours.roc_auc_score(y_true, -scores), 1 - area, rtol=1e-9, atol=1e-12)


def probabilities(seed: int, classes: int = 4, examples: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y_true = np.concatenate([np.arange(classes), random.integers(0, classes, examples)])
    y_prob = random.dirichlet(np.ones(classes), len(y_true)).round(2)
    y_prob[:, 0] = 1 - y_prob[:, 1:].sum(1)
    return y_true, y_prob, random.integers(1, 4, len(y_true)) * 0.3


@given(seeds, st.sampled_from([None, "micro", "macro", "weighted", "samples"]), st.booleans())
def test_areas_of_several_labels(seed: int, average: Any, weighted: bool):
    """scikit-learn's averages over the columns of indicators."""
    random = np.random.default_rng(seed)
    y_true = random.integers(0, 2, (60, 4))
    y_true[0], y_true[1] = 0, 1
    y_true[:, 0], y_true[:, 1] = 1 - y_true[:, 2], y_true[:, 3]  # for samples: never all the same
    y_true[:2] = [[0, 1, 1, 1], [1, 0, 0, 0]]
    scores = random.normal(size=(60, 4)).round(1)
    options: Any = {"average": average, "sample_weight": random.uniform(size=60) if weighted else None}
    for name in ("roc_auc_score", "average_precision_score"):
        found, expected = (
            getattr(ours, name)(y_true, scores, **options),
            getattr(theirs, name)(y_true, scores, **options),
        )
        np.testing.assert_allclose(found, expected, rtol=1e-12, err_msg=name)


@given(seeds, st.sampled_from([None, "macro", "weighted"]), st.booleans())
def test_areas_of_classes(seed: int, average: Any, weighted: bool):
    """One against the rest, one against one, and average precision of classes are scikit-learn's."""
    y_true, y_prob, weights = probabilities(seed)
    options: Any = {"average": average, "sample_weight": weights if weighted else None}
    expected = theirs.roc_auc_score(y_true, y_prob, multi_class="ovr", **options)
    np.testing.assert_allclose(ours.roc_auc_score(y_true, y_prob, multi_class="ovr", **options), expected, rtol=1e-12)
    expected = theirs.average_precision_score(y_true, y_prob, **options)
    np.testing.assert_allclose(ours.average_precision_score(y_true, y_prob, **options), expected, rtol=1e-12)
    if average is not None:
        expected = theirs.roc_auc_score(y_true, y_prob, multi_class="ovo", average=average)
        found = ours.roc_auc_score(y_true, y_prob, multi_class="ovo", average=average)
        np.testing.assert_allclose(found, expected, rtol=1e-12)


@given(seeds)
def test_the_positive_label(seed: int):
    """The larger of two labels, strings too; a curve may name another one."""
    y_true, scores, _ = drawn(seed)
    y_true[:2] = 0, 1
    names = np.array(["ham", "spam"])[y_true]
    np.testing.assert_allclose(ours.roc_auc_score(names, scores), theirs.roc_auc_score(names, scores), rtol=1e-12)
    for found, expected in zip(
        ours.roc_curve(names, -scores, pos_label="ham"), theirs.roc_curve(names, -scores, pos_label="ham"), strict=True
    ):
        np.testing.assert_allclose(found, expected, rtol=1e-12)


# --- JAX --------------------------------------------------------------------------------------------------------------


@settings(max_examples=10)
@given(seeds, st.booleans())
def test_under_jit(seed: int, weighted: bool):
    """The areas can be traced, and are the same in float32."""
    y_true, scores, weights = drawn(seed)
    y_true[:2] = 0, 1
    weights = weights if weighted else np.ones(len(y_true))
    weights[:2] = 1
    options: Any = {"sample_weight": weights}
    traced = jax.jit(
        lambda y, s, w: (
            ours.roc_auc_score(y, s, sample_weight=w),
            ours.average_precision_score(y, s, sample_weight=w),
            ours.roc_auc_by_ranks(y == 1, s),
        )
    )
    found = traced(y_true, jnp.asarray(scores, jnp.float32), jnp.asarray(weights, jnp.float32))
    expected = (
        theirs.roc_auc_score(y_true, scores, **options),
        theirs.average_precision_score(y_true, scores, **options),
        theirs.roc_auc_score(y_true, scores),
    )
    np.testing.assert_allclose(found, expected, rtol=2e-5)
    y_class, y_prob, _ = probabilities(seed)
    y_prob = y_prob.astype(np.float32)  # which makes some scores equal
    found = jax.jit(lambda y, p: ours.roc_auc_score(y, p, multi_class="ovr"))(y_class, y_prob)
    np.testing.assert_allclose(found, theirs.roc_auc_score(y_class, y_prob, multi_class="ovr"), rtol=2e-5)


# --- Errors -----------------------------------------------------------------------------------------------------------

FOUR = np.array([0, 1, 1, 0]), np.array([0.1, 0.2, 0.3, 0.4])
THREE_CLASSES = np.array([0, 1, 2]), np.eye(3)
WRONG: dict[str, Callable[[], Any]] = {
    "expected as many of each": lambda: ours.roc_auc_score([0, 1], [0.5]),
    "there are no examples": lambda: ours.roc_curve([], []),
    "NaN or infinity in y_score": lambda: ours.roc_auc_score([0, 1], [0.5, np.nan]),
    "a weight of sample_weight is negative": lambda: ours.roc_curve(*FOUR, sample_weight=[1, 1, 1, -1]),
    "all weights of sample_weight are 0": lambda: ours.roc_auc_score(*FOUR, sample_weight=np.zeros(4)),
    "expected two labels, got 3": lambda: ours.average_precision_score([0, 1, 2], [0.1, 0.2, 0.3]),
    r"labels \[n\] and scores \[n\]": lambda: ours.precision_recall_curve(*THREE_CLASSES),
    "need multi_class 'ovr' or 'ovo'": lambda: ours.roc_auc_score(*THREE_CLASSES),
    "2 labels and scores of 3 classes": lambda: ours.roc_auc_score([0, 1, 1], np.eye(3), multi_class="ovr"),
    "labels that are not in": lambda: ours.roc_auc_score([0, 1, 7], np.eye(3), multi_class="ovr", labels=[0, 1, 2]),
    "takes average 'macro' or 'weighted'": lambda: ours.roc_auc_score(*THREE_CLASSES, multi_class="ovo", average=None),
    "unknown average 'mean'": lambda: ours.roc_auc_score(np.eye(2), np.eye(2), average="mean"),  # type: ignore[arg-type]
    "scores to fit": lambda: ours.roc_auc_score(np.eye(2), np.ones((2, 3))),
    "at least 2 points": lambda: ours.auc([1.0], [1.0]),
    "x must rise or fall": lambda: ours.auc([0.0, 1.0, 0.5], [0.0, 1.0, 1.0]),
    "cannot be traced": lambda: jax.jit(ours.roc_curve)(*map(jnp.asarray, FOUR)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_measured_is_an_error(message: str):
    """Each says what was wrong and what was expected."""
    with pytest.raises(ValueError, match=message):
        WRONG[message]()
