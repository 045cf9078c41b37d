"""Metrics of predicted labels against scikit-learn, and the notes' examples."""

import warnings
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics as theirs
from hypothesis import given, settings

from xxnet_jax import metrics as ours

AVERAGES = [None, "micro", "macro", "weighted"]
ZOO = (["cat", "dog", "pig", "cat", "dog", "pig"], ["cat", "pig", "dog", "cat", "cat", "dog"])


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """scikit-learn warns of what is not defined; ours has an argument for it."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="sklearn")
        yield


def drawn(seed: int, classes: int = 4, examples: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True labels, of which some are rare, predictions that are right half of the time, and weights with zeros."""
    random = np.random.default_rng(seed)
    y_true = random.choice(classes, examples, p=random.dirichlet(np.full(classes, 0.5)))
    y_pred = np.where(random.uniform(size=examples) < 0.5, y_true, random.integers(0, classes, examples))
    weights = random.integers(0, 4, examples) * random.choice([1, 0.37])
    weights[0] = 1
    return y_true, y_pred, weights


seeds = st.integers(0, 2**32 - 1)
sizes = st.sampled_from([1, 2, 7, 300])


# --- Accuracy ---------------------------------------------------------------------------------------------------------


@given(seeds, sizes, st.booleans(), st.booleans())
def test_accuracy(seed: int, examples: int, normalize: bool, weighted: bool):
    """scikit-learn's, with and without weights, as a share and as a count."""
    y_true, y_pred, weights = drawn(seed, 4, examples)
    options: Any = {"normalize": normalize, "sample_weight": weights + 0.5 if weighted else None}
    expected = theirs.accuracy_score(y_true, y_pred, **options)
    np.testing.assert_allclose(ours.accuracy_score(y_true, y_pred, **options), expected, rtol=1e-12)


def test_accuracy_of_the_notes():
    """Half of four; two of four; a row of indicators counts as a whole."""
    assert ours.accuracy_score([0, 1, 2, 3], [0, 2, 1, 3]) == 0.5
    assert ours.accuracy_score([0, 1, 2, 3], [0, 2, 1, 3], normalize=False) == 2
    assert ours.accuracy_score(np.array([[0, 1], [1, 1]]), np.ones((2, 2), int)) == 0.5


@given(seeds, st.integers(3, 12), st.booleans())
def test_top_k_accuracy(seed: int, classes: int, ties: bool):
    """scikit-learn's for each k, with weights and with equal scores; all classes are always enough."""
    random = np.random.default_rng(seed)
    y_true, scores, weights = (
        random.integers(0, classes, 50),
        random.normal(size=(50, classes)),
        random.uniform(size=50),
    )
    if ties:
        scores = scores.round()
    for k in range(1, classes + 1):
        expected = theirs.top_k_accuracy_score(y_true, scores, k=k, sample_weight=weights, labels=range(classes))
        found = ours.top_k_accuracy_score(y_true, scores, k=k, sample_weight=weights)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert ours.top_k_accuracy_score(y_true, scores, k=classes) == 1


# --- Confusion matrices -----------------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(seeds, sizes, st.sampled_from(["true", "pred", "all", None]), st.booleans(), st.booleans())
def test_confusion_matrix(seed: int, examples: int, normalize: Any, weighted: bool, strings: bool):
    """scikit-learn's numbers and types, of strings too; labels may be chosen and put in another order."""
    y_true, y_pred, weights = drawn(seed, 5, examples)
    if strings:
        names = np.array(["ant", "bird", "cat", "dog", "eel"])
        y_true, y_pred = names[y_true], names[y_pred]
    chosen = np.random.default_rng(seed).permutation(np.unique(y_true))[:3]
    for labels in (None, chosen):
        options: Any = {"labels": labels, "normalize": normalize, "sample_weight": weights if weighted else None}
        expected = theirs.confusion_matrix(y_true, y_pred, **options)
        found = ours.confusion_matrix(y_true, y_pred, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
        assert found.dtype == expected.dtype


def test_confusion_matrices_of_the_notes():
    """Rows are true labels, columns predicted ones."""
    matrix = [[2, 0, 0], [0, 0, 1], [1, 0, 2]]
    y_true, y_pred = [2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2]
    np.testing.assert_array_equal(ours.confusion_matrix(y_true, y_pred), matrix)
    animals = ["ant", "bird", "cat"]
    found = ours.confusion_matrix([animals[i] for i in y_true], [animals[i] for i in y_pred], labels=animals)
    np.testing.assert_array_equal(found, matrix)
    np.testing.assert_array_equal(ours.confusion_matrix([0, 1, 0, 1], [1, 1, 1, 0]).ravel(), [0, 2, 1, 1])
    for way, rows in {
        "true": [[1, 0, 0], [0, 0, 1], [1 / 3, 0, 2 / 3]],
        "pred": [[2 / 3, 0, 0], [0, 0, 1 / 3], [1 / 3, 0, 2 / 3]],
        "all": [[1 / 3, 0, 0], [0, 0, 1 / 6], [1 / 6, 0, 1 / 3]],
    }.items():
        np.testing.assert_allclose(ours.confusion_matrix(y_true, y_pred, normalize=way), rows)  # type: ignore[arg-type]


def test_nothing_in_a_confusion_matrix():
    """Without examples all counts of the given labels are zero."""
    np.testing.assert_array_equal(ours.confusion_matrix([], [], labels=[0, 1]), np.zeros((2, 2)))


@given(seeds, st.booleans(), st.booleans())
def test_multilabel_confusion_matrix(seed: int, weighted: bool, samplewise: bool):
    """scikit-learn's, of labels and of indicators, for chosen labels, and for each example."""
    y_true, y_pred, weights = drawn(seed)
    sample_weight = weights if weighted else None
    for labels in (None, [3, 1]):
        expected = theirs.multilabel_confusion_matrix(y_true, y_pred, labels=labels, sample_weight=sample_weight)
        found = ours.multilabel_confusion_matrix(y_true, y_pred, labels=labels, sample_weight=sample_weight)
        np.testing.assert_allclose(found, expected)
        options: Any = {"labels": labels, "sample_weight": sample_weight, "samplewise": samplewise}
        rows = indicators(seed)
        np.testing.assert_allclose(
            ours.multilabel_confusion_matrix(*rows, **options),
            theirs.multilabel_confusion_matrix(*rows, **options),
            atol=1e-12,
        )


def indicators(seed: int, examples: int = 300, labels: int = 4) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    y_true, y_pred = (random.uniform(size=(2, examples, labels)) < random.uniform(size=(2, 1, labels))).astype(int)
    return y_true, y_pred


def test_multilabel_matrices_of_the_notes():
    """[[tn, fp], [fn, tp]] of each label, and of each example."""
    pair = np.array([[1, 0, 1], [0, 1, 0]]), np.array([[1, 0, 0], [0, 1, 1]])
    expected = [[[1, 0], [0, 1]], [[1, 0], [0, 1]], [[0, 1], [1, 0]]]
    np.testing.assert_array_equal(ours.multilabel_confusion_matrix(*pair), expected)
    expected = [[[1, 0], [1, 1]], [[1, 1], [0, 1]]]
    np.testing.assert_array_equal(ours.multilabel_confusion_matrix(*pair, samplewise=True), expected)
    expected = [[[3, 1], [0, 2]], [[5, 0], [1, 0]], [[2, 1], [1, 2]]]
    found = ours.multilabel_confusion_matrix(
        ["cat", "ant", "cat", "cat", "ant", "bird"],
        ["ant", "ant", "cat", "cat", "ant", "cat"],
        labels=["ant", "bird", "cat"],
    )
    np.testing.assert_array_equal(found, expected)


# --- What is derived from them ----------------------------------------------------------------------------------------


def test_table_of_the_notes():
    """35 true and 10 false positives, 5 false and 50 true negatives.

    The notes' miss rate TN / (TP + FN) would be 1.25, their fall-out FP / (FP + FN) .667.
    """
    found = ours.rates(tp=35, fp=10, fn=5, tn=50)
    expected = ours.Rates(
        accuracy=0.85,
        ppv=0.7777777777777778,
        tpr=0.875,
        tnr=0.8333333333333334,
        fnr=0.125,
        fpr=0.16666666666666666,
        false_omission_rate=0.09090909090909091,
        false_discovery_rate=0.2222222222222222,
        npv=0.9090909090909091,
        positive_likelihood_ratio=5.25,
        negative_likelihood_ratio=0.15,
        diagnostic_odds_ratio=35.0,
        f1=0.8235294117647058,
        mcc=0.6975184488828855,
        informedness=0.7083333333333335,
    )
    np.testing.assert_allclose(found, expected, rtol=1e-14)


@given(seeds, sizes, st.booleans())
def test_rates_of_two_classes(seed: int, examples: int, weighted: bool):
    """scikit-learn's precision, recall, likelihood ratios and Matthews' coefficient; NaN where they are 0 / 0."""
    y_true, y_pred, weights = drawn(seed, 2, examples)
    sample_weight = weights + 0.1 if weighted else None
    matrix = ours.confusion_matrix(y_true, y_pred, labels=[0, 1] if 1 in y_true else None, sample_weight=sample_weight)
    if matrix.shape != (2, 2):
        return
    (tn, fp), (fn, tp) = matrix
    found = ours.rates(tp=tp, fp=fp, fn=fn, tn=tn)
    options: Any = {"sample_weight": sample_weight, "zero_division": np.nan}
    np.testing.assert_allclose(found.ppv, theirs.precision_score(y_true, y_pred, **options), rtol=1e-12)
    np.testing.assert_allclose(found.tpr, theirs.recall_score(y_true, y_pred, **options), rtol=1e-12)
    np.testing.assert_allclose(found.tnr, theirs.recall_score(y_true, y_pred, pos_label=0, **options), rtol=1e-12)
    np.testing.assert_allclose(found.npv, theirs.precision_score(y_true, y_pred, pos_label=0, **options), rtol=1e-12)
    np.testing.assert_allclose(found.f1, theirs.f1_score(y_true, y_pred, **options), rtol=1e-12)
    mcc = theirs.matthews_corrcoef(y_true, y_pred, sample_weight=sample_weight)
    np.testing.assert_allclose(np.nan_to_num(found.mcc), mcc, rtol=1e-9, atol=1e-12)
    if np.isfinite(found.positive_likelihood_ratio) and np.isfinite(found.negative_likelihood_ratio):
        ratios = theirs.class_likelihood_ratios(y_true, y_pred, sample_weight=sample_weight, labels=[0, 1])
        np.testing.assert_allclose((found.positive_likelihood_ratio, found.negative_likelihood_ratio), ratios)
    np.testing.assert_allclose(found.fnr + found.tpr, 1 if 1 in y_true else np.nan)
    np.testing.assert_allclose(found.informedness, found.tpr - found.fpr, atol=1e-12)


@given(seeds, sizes, st.booleans())
def test_matthews_coefficient(seed: int, examples: int, weighted: bool):
    """scikit-learn's of several classes; 0 where all predictions are the same."""
    y_true, y_pred, weights = drawn(seed, 4, examples)
    sample_weight = weights + 0.1 if weighted else None
    expected = theirs.matthews_corrcoef(y_true, y_pred, sample_weight=sample_weight)
    np.testing.assert_allclose(
        ours.matthews_corrcoef(y_true, y_pred, sample_weight=sample_weight), expected, rtol=1e-9, atol=1e-12
    )
    assert ours.matthews_corrcoef(y_true, np.zeros_like(y_true)) == 0


@settings(max_examples=100)
@given(
    seeds,
    sizes,
    st.sampled_from(AVERAGES),
    st.sampled_from([0.0, 0.5, 1.0, 2.0, np.inf]),
    st.sampled_from([0.0, 1.0, np.nan]),
)
def test_precision_recall_fscore(seed: int, examples: int, average: Any, beta: float, zero_division: float):
    """scikit-learn's, for each class and averaged, with weights, chosen labels, and 0 / 0 as asked for."""
    y_true, y_pred, weights = drawn(seed, 5, examples)
    for sample_weight in (None, weights):
        for labels in (None, [4, 0, 7]):
            options: Any = {
                "average": average,
                "beta": beta,
                "labels": labels,
                "sample_weight": sample_weight,
                "zero_division": zero_division,
            }
            compare(y_true, y_pred, options)


@settings(max_examples=50)
@given(seeds, st.sampled_from([*AVERAGES, "samples"]), st.booleans())
def test_precision_recall_fscore_of_indicators(seed: int, average: Any, weighted: bool):
    """scikit-learn's of several labels an example, averaged over examples too."""
    y_true, y_pred = indicators(seed)
    weights = np.random.default_rng(seed).integers(0, 3, len(y_true)) if weighted else None
    for labels in (None, [2, 0]):
        compare(y_true, y_pred, {"average": average, "labels": labels, "sample_weight": weights, "zero_division": 0.0})


def compare(y_true: np.ndarray, y_pred: np.ndarray, options: dict[str, Any]) -> None:
    found: Any = ours.precision_recall_fscore_support(y_true, y_pred, **options)
    expected = theirs.precision_recall_fscore_support(y_true, y_pred, **options)
    for mine, other in zip(found, expected, strict=True):
        if other is None:
            assert mine is None
        else:
            np.testing.assert_allclose(mine, other, rtol=1e-12)


@given(seeds, sizes)
def test_two_classes(seed: int, examples: int):
    """Precision, recall, F1 and F2 of the positive class are scikit-learn's."""
    y_true, y_pred, _ = drawn(seed, 2, examples)
    for name in ("precision_score", "recall_score", "f1_score"):
        found, expected = getattr(ours, name)(y_true, y_pred), getattr(theirs, name)(y_true, y_pred)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    expected = theirs.fbeta_score(y_true, y_pred, beta=2)
    np.testing.assert_allclose(ours.fbeta_score(y_true, y_pred, beta=2), expected, rtol=1e-12)


def test_averages_of_the_notes():
    """Cats, dogs and pigs."""
    for average, expected in {
        "macro": (0.2222222222222222, 0.3333333333333333, 0.26666666666666666),
        "micro": (1 / 3, 1 / 3, 1 / 3),
        "weighted": (0.2222222222222222, 0.3333333333333333, 0.26666666666666666),
    }.items():
        *found, support = ours.precision_recall_fscore_support(*ZOO, average=average)  # type: ignore[arg-type]
        np.testing.assert_allclose(found, expected, rtol=1e-14)
        assert support is None
    each: Any = ours.precision_recall_fscore_support(*ZOO, labels=["pig", "dog", "cat"])
    for found, expected in zip(each, ([0, 0, 2 / 3], [0, 0, 1], [0, 0, 0.8], [2, 2, 2]), strict=True):
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    ("y_true", "y_pred", "mean_of_f1", "f1_of_means"),
    [
        ([2, 0, 2, 2, 0, 1], [0, 0, 2, 2, 0, 2], 0.48888888888888893, 0.49382716049382713),
        ([0, 0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2, 0, 1], 0.5738095238095238, 0.5833333333333334),
    ],
)
def test_two_macro_f1(y_true: list[int], y_pred: list[int], mean_of_f1: float, f1_of_means: float):
    """The notes' formula, F1 of the mean precision and recall, is not what their code gives, the mean of F1."""
    np.testing.assert_allclose(ours.f1_score(y_true, y_pred, average="macro"), mean_of_f1, rtol=1e-14)
    np.testing.assert_allclose(ours.f1_of_means(y_true, y_pred), f1_of_means, rtol=1e-14)


def test_micro_average_is_that_of_the_mean_matrix():
    """Of the matrices of one class against the rest, averaged element by element, as the notes say."""
    y_true, y_pred = [0, 0, 0, 0, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 2, 2, 2, 0, 1]
    (tn, fp), (fn, tp) = ours.multilabel_confusion_matrix(y_true, y_pred).mean(0)
    np.testing.assert_allclose([[tn, fp], [fn, tp]], [[16 / 3, 4 / 3], [4 / 3, 2]])
    found = ours.rates(tp=tp, fp=fp, fn=fn, tn=tn)
    np.testing.assert_allclose((found.ppv, found.tpr, found.f1), 0.6)


@given(seeds, st.floats(0.01, 100))
def test_f_beta_lies_between_precision_and_recall(seed: int, beta: float):
    """It is their weighted harmonic mean, so it tends to precision for small beta and to recall for large."""
    y_true, y_pred, _ = drawn(seed, 2)
    if not (y_true & y_pred).any():
        return
    precision, recall = ours.precision_score(y_true, y_pred), ours.recall_score(y_true, y_pred)
    score = ours.fbeta_score(y_true, y_pred, beta=beta)
    share = 1 / (1 + beta**2)
    np.testing.assert_allclose(score, 1 / (share / precision + (1 - share) / recall), rtol=1e-12)
    assert min(precision, recall) - 1e-12 <= score <= max(precision, recall) + 1e-12


@given(seeds, sizes, st.integers(1, 5))
def test_report(seed: int, examples: int, digits: int):
    """The text and the dict are scikit-learn's."""
    y_true, y_pred, weights = drawn(seed, 4, examples)
    y_pred[0] = y_true[0]  # scikit-learn writes counts as 1.0 where nothing is right
    for options in ({}, {"labels": [2, 0]}, {"sample_weight": weights + 0.5}):
        arguments: Any = {**options, "digits": digits, "zero_division": 0.0}
        expected = theirs.classification_report(y_true, y_pred, **arguments)
        assert ours.classification_report(y_true, y_pred, **arguments) == expected
        numbers: Any = ours.classification_report(y_true, y_pred, output_dict=True, **arguments)
        expected_numbers: Any = theirs.classification_report(y_true, y_pred, output_dict=True, **arguments)
        for name, row in expected_numbers.items():
            assert numbers[name] == pytest.approx(row, rel=1e-12)


def test_report_of_indicators():
    """The same with several labels an example, with names."""
    pair, names = indicators(5), ["a", "b", "c", "a long name"]
    options: Any = {"zero_division": 0}
    expected = theirs.classification_report(*pair, target_names=names, **options)
    assert ours.classification_report(*pair, target_names=names) == expected


# --- Probabilities ----------------------------------------------------------------------------------------------------


@given(seeds, st.integers(2, 6), st.booleans(), st.booleans())
def test_log_loss(seed: int, classes: int, normalize: bool, weighted: bool):
    """scikit-learn's, of certain predictions too, and -log p for one example."""
    random = np.random.default_rng(seed)
    y_true = random.integers(0, classes, 60)
    y_prob = random.dirichlet(np.full(classes, 0.05), 60)  # many are nearly 0 or 1
    weights = random.uniform(size=60) if weighted else None
    options: Any = {"normalize": normalize, "sample_weight": weights, "labels": np.arange(classes)}
    expected = theirs.log_loss(y_true, y_prob, **options)
    np.testing.assert_allclose(ours.log_loss(y_true, y_prob, **options), expected, rtol=1e-10)
    if classes == 2:
        expected = theirs.log_loss(y_true, y_prob[:, 1], **options)
        np.testing.assert_allclose(ours.log_loss(y_true, y_prob[:, 1], **options), expected, rtol=1e-10)
    np.testing.assert_allclose(ours.log_loss(["b"], [[0.5, 0.25, 0.25]], labels=["a", "b", "c"]), np.log(4))


# --- JAX --------------------------------------------------------------------------------------------------------------


@given(seeds, st.booleans())
@settings(max_examples=10)
def test_under_jit(seed: int, weighted: bool):
    """Traced functions give the same in float32; counts are exact."""
    y_true, y_pred, weights = drawn(seed)
    weights = weights if weighted else np.ones(len(y_true))
    labels = (0, 1, 2, 3)
    scores = np.random.default_rng(seed).dirichlet(np.ones(4), len(y_true))

    @jax.jit
    def traced(true: Any, pred: Any, weight: Any, score: Any) -> Any:
        return {
            "accuracy": ours.accuracy_score(true, pred, sample_weight=weight),
            "top2": ours.top_k_accuracy_score(true, score, k=2, sample_weight=weight),
            "confusion": ours.confusion_matrix(true, pred, labels=labels, sample_weight=weight),
            "counts": ours.confusion_matrix(true, pred, labels=labels),
            "f1": ours.f1_score(true, pred, average="macro", labels=labels, sample_weight=weight),
            "mcc": ours.matthews_corrcoef(true, pred, labels=labels, sample_weight=weight),
            "log_loss": ours.log_loss(true, score, labels=labels, sample_weight=weight),
        }

    found = traced(y_true, y_pred, jnp.asarray(weights, jnp.float32), jnp.asarray(scores, jnp.float32))
    expected = {
        "accuracy": theirs.accuracy_score(y_true, y_pred, sample_weight=weights),
        "top2": theirs.top_k_accuracy_score(y_true, scores, k=2, sample_weight=weights, labels=labels),
        "confusion": theirs.confusion_matrix(y_true, y_pred, labels=labels, sample_weight=weights),
        "counts": theirs.confusion_matrix(y_true, y_pred, labels=labels),
        "f1": theirs.f1_score(y_true, y_pred, average="macro", labels=labels, sample_weight=weights),
        "mcc": theirs.matthews_corrcoef(y_true, y_pred, sample_weight=weights),
        "log_loss": theirs.log_loss(y_true, scores, labels=labels, sample_weight=weights),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=2e-5, atol=2e-6, err_msg=name)
    assert found["counts"].dtype == jnp.int32


# --- Errors -----------------------------------------------------------------------------------------------------------

PAIR = ([0, 1, 1], [0, 1, 0])
WRONG = {
    "expected as many of each, got 2 of y_true, 3 of y_pred": lambda: ours.accuracy_score([0, 1], [0, 1, 1]),
    "there are no examples": lambda: ours.accuracy_score([], []),
    r"expected labels \[n\], or indicators": lambda: ours.accuracy_score([[0, 1]], [0]),
    r"expected sample_weight of shape \(3,\)": lambda: ours.accuracy_score(*PAIR, sample_weight=[1, 2]),
    "a weight of sample_weight is negative: -1": lambda: ours.accuracy_score(*PAIR, sample_weight=[1, 2, -1]),
    "NaN or infinity in sample_weight": lambda: ours.accuracy_score(*PAIR, sample_weight=[1, 2, np.nan]),
    "NaN or infinity in y_true": lambda: ours.confusion_matrix([0, np.nan], [0.0, 1.0]),
    "there are no labels": lambda: ours.confusion_matrix(*PAIR, labels=[]),
    "none of the labels .* occurs in y_true": lambda: ours.confusion_matrix(*PAIR, labels=[5, 6]),
    "unknown normalization 'rows'": lambda: ours.confusion_matrix(*PAIR, normalize="rows"),  # type: ignore[arg-type]
    "see multilabel_confusion_matrix": lambda: ours.confusion_matrix([[0, 1]], [[1, 1]]),
    "need indicators": lambda: ours.multilabel_confusion_matrix(*PAIR, samplewise=True),
    "expected indicators 0 and 1 in y_pred": lambda: ours.f1_score([[0, 1]], [[2, 1]], average="micro"),
    "beta must be 0 or more": lambda: ours.fbeta_score(*PAIR, beta=-1),
    "unknown average 'mean'": lambda: ours.f1_score(*PAIR, average="mean"),  # type: ignore[arg-type]
    "is of two labels, and there are 3": lambda: ours.f1_score([0, 1, 2], [0, 1, 1]),
    "pos_label 7 is none of the labels": lambda: ours.f1_score(*PAIR, pos_label=7),
    "of indicators take another average": lambda: ours.f1_score([[0, 1]], [[1, 1]]),
    "a name for each of the 2 labels, got 1": lambda: ours.classification_report(*PAIR, target_names=["a"]),
    "k must be in 1..3": lambda: ours.top_k_accuracy_score([0], [[1.0, 2.0, 3.0]], k=4),
    "expected labels in 0..2, got 3 .. 3": lambda: ours.top_k_accuracy_score([3], [[1.0, 2.0, 3.0]], k=1),
    "the one label 1": lambda: ours.log_loss([1, 1], [0.5, 0.5]),
    "are these logits": lambda: ours.log_loss([0, 1], [[2.0, -1.0], [0.0, 1.0]]),
    "do not sum to 1": lambda: ours.log_loss([0, 1], [[0.2, 0.2], [0.0, 1.0]]),
    "a column for each label": lambda: ours.log_loss([0, 1], [[0.2, 0.4, 0.4], [0.0, 0.5, 0.5]]),
    "labels that are not in": lambda: ours.log_loss([0, 2], [0.5, 0.5], labels=[0, 1]),
    "a traced function needs `labels`": lambda: jax.jit(ours.confusion_matrix)(jnp.arange(3), jnp.arange(3)),
}


@pytest.mark.parametrize("message", WRONG)
def test_what_cannot_be_measured_is_an_error(message: str):
    """Each says what was wrong and what was expected."""
    with pytest.raises(ValueError, match=message):
        WRONG[message]()
