"""Agreement of partitions and silhouettes, against scikit-learn and counts by hand."""

import functools
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sklearn.metrics
import sklearn.metrics.cluster
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics import clustering

SCORES = [
    "rand_score",
    "adjusted_rand_score",
    "mutual_info_score",
    "normalized_mutual_info_score",
    "adjusted_mutual_info_score",
]
AVERAGES = ["arithmetic", "geometric", "min", "max"]
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(1, 8)


def ours_and_theirs(name: str, **options: Any) -> tuple[Callable[..., Any], Callable[..., Any]]:
    ours, theirs = (functools.partial(getattr(module, name), **options) for module in (clustering, sklearn.metrics))
    return ours, theirs


def compiled(xp: Any, score: Callable[..., Any]) -> Callable[..., Any]:
    """The score of lists in NumPy, or compiled for JAX once for all partitions of as many examples."""
    return score if xp is np else jax.jit(functools.partial(score, num_labels=8))


def random_partitions(seed: int, examples: int, classes: int, clusters: int) -> tuple[np.ndarray, np.ndarray]:
    """Two partitions that agree in a random share of the examples, with clusters of different sizes."""
    rng = np.random.default_rng(seed)
    true = rng.choice(classes, examples, p=rng.dirichlet(np.ones(classes)))
    return true, np.where(rng.random(examples) < rng.random(), true % clusters, rng.integers(0, clusters, examples))


# --- Agreement --------------------------------------------------------------------------------------------------------


@given(seed=seeds, examples=st.integers(1, 300), classes=sizes, clusters=sizes)
def test_contingency_equals_scikit_learn(seed: int, examples: int, classes: int, clusters: int):
    """The table is scikit-learn's, of numbers, negative ones and texts; with `num_labels` it has a row and a column for
    each label, also for those that do not occur."""
    true, predicted = random_partitions(seed, examples, classes, clusters)
    expected = sklearn.metrics.cluster.contingency_matrix(true, predicted)
    for labels in (predicted, predicted - 3, predicted.astype(str), predicted / 2, predicted.tolist()):
        table = clustering.contingency_matrix(true, labels)
        np.testing.assert_array_equal(table, expected)
        assert table.dtype == np.int64
    full = clustering.contingency_matrix(true, predicted, num_labels=9)
    assert full.shape == (9, 9)
    np.testing.assert_array_equal(full[np.ix_(np.unique(true), np.unique(predicted))], expected)
    assert full.sum() == examples
    traced = jax.jit(functools.partial(clustering.contingency_matrix, num_labels=9))(true, predicted)
    assert traced.dtype == jnp.int32
    np.testing.assert_array_equal(traced, full)


@pytest.mark.parametrize("name", SCORES)
@given(seed=seeds, examples=st.integers(2, 400), classes=sizes, clusters=sizes)
def test_equals_scikit_learn(name: str, seed: int, examples: int, classes: int, clusters: int):
    """The scores are scikit-learn's, with each average of the entropies, and do not depend on how labels are given.

    An adjusted score divides the rounding of 1e-15 by what is left for chance.
    """
    true, predicted = random_partitions(seed, examples, classes, clusters)
    for method in AVERAGES if "mutual_info" in name and name != "mutual_info_score" else [None]:
        ours, theirs = ours_and_theirs(name, **({"average_method": method} if method else {}))
        value = ours(true, predicted)
        assert value.dtype == np.float64
        np.testing.assert_allclose(value, theirs(true, predicted), rtol=1e-10, atol=1e-12)
        np.testing.assert_allclose(ours(list(true), predicted.astype(str)), value, rtol=1e-12, atol=1e-14)
        np.testing.assert_allclose(ours(true, predicted, num_labels=10), value, rtol=1e-12, atol=1e-14)


@given(seed=seeds, examples=st.integers(2, 60), classes=sizes, clusters=sizes)
def test_rand_index_counts_pairs(seed: int, examples: int, classes: int, clusters: int):
    """The Rand index is the share of pairs about which both partitions say the same, counted one by one."""
    true, predicted = random_partitions(seed, examples, classes, clusters)
    same = [
        (true[i] == true[j]) == (predicted[i] == predicted[j]) for i, j in itertools.combinations(range(examples), 2)
    ]
    assert clustering.rand_score(true, predicted) == pytest.approx(np.mean(same), rel=1e-13, abs=1e-14)


def test_expected_information_is_the_mean_over_permutations():
    """The adjusted score subtracts the mean mutual information over all orders of the labels, here of all 720."""
    true, predicted = [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 1, 2]
    information = [sklearn.metrics.mutual_info_score(true, order) for order in itertools.permutations(predicted)]
    largest = max(sklearn.metrics.mutual_info_score(labels, labels) for labels in (true, predicted))
    expected = (information[0] - np.mean(information)) / (largest - np.mean(information))
    value = clustering.adjusted_mutual_info_score(true, predicted, average_method="max")
    assert value == pytest.approx(expected, rel=1e-10)


def test_worked_examples():
    """Of 4 examples in pairs (0 1)(2 3) against (0 1 2)(3) 3 of the 6 pairs are judged alike; crossed partitions have
    no information, and the adjusted Rand index -1/2; equal ones have log 2 nats, whatever the names."""
    assert clustering.rand_score([0, 0, 1, 1], [0, 0, 0, 1]) == 0.5
    assert clustering.adjusted_rand_score([0, 0, 1, 1], [0, 1, 0, 1]) == -0.5
    assert clustering.mutual_info_score([0, 0, 1, 1], [0, 1, 0, 1]) == 0
    assert clustering.mutual_info_score([0, 0, 1, 1], ["b", "b", "a", "a"]) == np.log(2)
    assert clustering.normalized_mutual_info_score([0, 0, 1, 1], [0, 0, 1, 2]) == pytest.approx(0.8, rel=1e-14)


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("name", ["rand_score", "adjusted_rand_score"])
def test_degenerate_partitions_of_pairs(name: str, xp: Any):
    """One cluster, all examples apart, a single example: equal partitions have 1, others what scikit-learn says."""
    ours, theirs = ours_and_theirs(name)
    ours = compiled(xp, ours)
    one, apart, halves = [0, 0, 0, 0], [0, 1, 2, 3], [0, 0, 1, 1]
    for true, predicted in itertools.product([one, apart, halves], repeat=2):
        value = ours(xp.asarray(true), xp.asarray(predicted))
        assert value == (1 if true == predicted else pytest.approx(theirs(true, predicted), abs=1e-7))
    assert ours(xp.asarray([5]), xp.asarray([7])) == 1 == theirs([5], [7])


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("method", AVERAGES)
@pytest.mark.parametrize("name", ["normalized_mutual_info_score", "adjusted_mutual_info_score"])
def test_degenerate_partitions_of_information(name: str, method: str, xp: Any):
    """Equal partitions have exactly 1, also without any entropy (one cluster) or room for chance (all apart); one
    cluster against several has 0; all as in scikit-learn, which finds the second by its rounding."""
    ours, theirs = ours_and_theirs(name, average_method=method)
    ours = compiled(xp, ours)
    one, apart, halves = [0, 0, 0, 0, 0], [0, 1, 2, 3, 4], [0, 0, 1, 1, 1]
    for labels in (one, apart, halves):
        renamed = [7 - label for label in labels]
        assert ours(xp.asarray(labels), xp.asarray(renamed)) == 1 == pytest.approx(theirs(labels, renamed), abs=1e-9)
    for true, predicted in ((one, halves), (halves, one), (one, apart), (apart, one)):
        assert ours(xp.asarray(true), xp.asarray(predicted)) == 0 == theirs(true, predicted)


@pytest.mark.parametrize("xp", [np, jnp])
def test_adjusted_information_against_single_examples(xp: Any):
    """If all examples are apart, every partition tells as much as it can: 1 of the smaller entropy, whose whole is
    expected, and 0 beyond chance of the others."""
    apart, halves = xp.arange(6), xp.asarray([0, 0, 1, 1, 1, 2])
    for method in AVERAGES:
        score = compiled(xp, functools.partial(clustering.adjusted_mutual_info_score, average_method=method))
        for true, predicted in ((apart, halves), (halves, apart)):
            assert score(true, predicted) == pytest.approx(1 if method == "min" else 0, abs=1e-5)


@given(seed=seeds, clusters=st.integers(2, 6))
def test_chance_is_near_zero(seed: int, clusters: int):
    """Of independent partitions the adjusted scores are near 0 (spread 1/n or so), while the Rand index is not."""
    true, predicted = np.random.default_rng(seed).integers(0, clusters, (2, 4000))
    assert abs(clustering.adjusted_rand_score(true, predicted)) < 0.01
    assert abs(clustering.adjusted_mutual_info_score(true, predicted)) < 0.01
    assert clustering.rand_score(true, predicted) > 0.4


@pytest.mark.parametrize("name", SCORES)
def test_symmetry(name: str):
    """Classes and clusters can be exchanged."""
    true, predicted = random_partitions(5, 300, 4, 7)
    ours = getattr(clustering, name)
    np.testing.assert_allclose(ours(true, predicted), ours(predicted, true), rtol=1e-12)


@pytest.mark.parametrize("name", SCORES)
def test_scores_of_jax(name: str):
    """JAX labels give float32, eager and under `jit` with the static number of labels, within its rounding."""
    true, predicted = random_partitions(5, 3000, 5, 7)
    ours, theirs = ours_and_theirs(name)
    traced = jax.jit(functools.partial(ours, num_labels=10))
    for value in (ours(jnp.asarray(true), jnp.asarray(predicted)), traced(true, predicted)):
        assert isinstance(value, jax.Array)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, theirs(true, predicted), rtol=1e-5, atol=1e-6)


def test_blocks_of_expected_information():
    """The budget changes the memory of the adjusted score, and not its value, in NumPy and under `jit`."""
    true, predicted = random_partitions(2, 500, 8, 6)
    ours = clustering.adjusted_mutual_info_score
    expected = ours(true, predicted)
    np.testing.assert_allclose(ours(true, predicted, budget=1), expected, rtol=1e-13)
    traced = jax.jit(functools.partial(ours, num_labels=8, budget=1))(true, predicted)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)


# --- Silhouettes ------------------------------------------------------------------------------------------------------


def random_clusters(seed: int, examples: int, clusters: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """Points with ties, around centres, and their labels, of which the last one occurs once."""
    rng = np.random.default_rng(seed)
    labels = np.append(rng.integers(0, clusters - 1, examples - 1), clusters - 1)
    labels[: clusters - 1] = range(clusters - 1)
    return (labels[:, None] + rng.normal(size=(examples, d))).round(1), labels


@pytest.mark.parametrize(
    ("metric", "name", "options", "scipys"),
    [
        ("euclidean", "euclidean", {}, {}),
        ("manhattan", "cityblock", {}, {}),
        ("minkowski", "minkowski", {"p": 3}, {"p": 3}),
        ("hamming", "hamming", {"fraction": True}, {}),
    ],
)
@given(seed=seeds, examples=st.integers(4, 200), clusters=st.integers(2, 6), d=st.integers(1, 5))
def test_silhouettes_equal_scikit_learn(
    metric: str, name: Any, options: dict, scipys: dict, seed: int, examples: int, clusters: int, d: int
):
    """Silhouettes are scikit-learn's of SciPy's distances, with 0 for the cluster of one, and so is their mean; also in
    blocks of one row, and for labels that are texts."""
    x, labels = random_clusters(seed, examples, min(clusters, examples - 1), d)
    distances = cdist(x, x, name, **scipys)
    expected: Any = sklearn.metrics.silhouette_samples(distances, labels, metric="precomputed")
    value = clustering.silhouette_samples(x, labels, metric=metric, **options)
    assert value.dtype == np.float64
    assert value[-1] == 0
    np.testing.assert_allclose(value, expected, rtol=1e-9, atol=1e-11)  # b - a cancels
    by_rows = clustering.silhouette_samples(x.tolist(), labels.astype(str), metric=metric, budget=1, **options)
    np.testing.assert_allclose(by_rows, value, rtol=1e-9, atol=1e-11)
    score = clustering.silhouette_score(x, labels, metric=metric, **options)
    expected_score = sklearn.metrics.silhouette_score(distances, labels, metric="precomputed")
    np.testing.assert_allclose(score, expected_score, rtol=1e-9, atol=1e-11)


def test_silhouette_worked_example():
    """Of 0, 1 | 4 | 10, 12 on a line: for 0 a = 1 and b = 4, so 3/4; for 1 a = 1 and b = 3, so 2/3; 4 is alone; for 10
    a = 2 and b = 6, so 2/3; for 12 a = 2 and b = 8, so 3/4."""
    x, labels = [[0.0], [1.0], [4.0], [10.0], [12.0]], [0, 0, 1, 2, 2]
    np.testing.assert_allclose(clustering.silhouette_samples(x, labels), [3 / 4, 2 / 3, 0, 2 / 3, 3 / 4], rtol=1e-14)
    assert clustering.silhouette_score(x, labels) == pytest.approx((3 / 2 + 4 / 3) / 5, rel=1e-14)


@pytest.mark.parametrize("xp", [np, jnp])
def test_silhouettes_of_equal_points(xp: Any):
    """Where all points are equal, a = b = 0 and the silhouette is 0, as in scikit-learn, without NaN."""
    x, labels = np.ones((6, 2)), [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(clustering.silhouette_samples(xp.asarray(x), labels), 0)
    np.testing.assert_array_equal(sklearn.metrics.silhouette_samples(x, labels), 0)


def test_silhouettes_of_jax():
    """JAX points give float32, eager and under `jit` in blocks with the static number of labels, of which some do not
    occur; and the score has a finite gradient, also at equal points, that is the difference quotient."""
    x, labels = random_clusters(1, 60, 4, 3)
    expected: Any = sklearn.metrics.silhouette_samples(cdist(x, x), labels, metric="precomputed")
    traced = jax.jit(functools.partial(clustering.silhouette_samples, num_labels=9, budget=7 * 8 * x.size))
    for value in (clustering.silhouette_samples(jnp.asarray(x), labels), traced(x, labels)):
        assert isinstance(value, jax.Array)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    score = functools.partial(clustering.silhouette_score, labels=labels, num_labels=9)
    x[1] = x[0]  # of other clusters
    gradient = jax.grad(lambda x: score(x))(jnp.asarray(x, jnp.float32))
    assert np.isfinite(gradient).all()
    step = np.zeros_like(x)
    step[30, 1] = 1e-6
    difference = (score(x + step) - score(x - step)) / 2e-6
    np.testing.assert_allclose(gradient[30, 1], difference, rtol=1e-3, atol=1e-6)


def test_memory_of_silhouettes():
    """Silhouettes of 2000 points, whose distances take 32 MB and their differences 320, need a few blocks of 1 MB."""
    x, labels = random_clusters(0, 2000, 5, 10)
    budget = 10**6
    tracemalloc.start()
    try:
        clustering.silhouette_samples(x, labels, budget=budget)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 * budget


# --- What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SCORES, "contingency_matrix"])
@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (([], []), {}, "no examples"),
        (([1, 2], [1]), {}, "2 of labels_true, 1 of labels_pred"),
        (([[1, 2]], [1]), {}, r"labels_true of shape \[n\], got \(1, 2\)"),
        (([1], 1), {}, r"labels_pred of shape \[n\], got \(\)"),
        (([1, np.nan], [1, 2]), {}, "NaN or infinity in labels_true"),
        (([0, 3], [0, 1]), {"num_labels": 3}, "from 0 to 2 in labels_true, got 0 to 3"),
        ((jnp.array([0, 1]), jnp.array([-1, 1])), {"num_labels": 3}, "from 0 to 2 in labels_pred, got -1 to 1"),
        (([0.5, 1], [0, 1]), {"num_labels": 3}, "whole numbers from 0 to 2 in labels_true, got float64"),
    ],
)
def test_wrong_labels(name: str, data: tuple, options: dict, message: str):
    """Labels that are no two partitions of the same examples are an error that says why."""
    with pytest.raises(InvalidArgument, match=message):
        getattr(clustering, name)(*data, **options)


@pytest.mark.parametrize("name", SCORES)
def test_jit_needs_the_number_of_labels(name: str):
    """Under `jit` without a static number of labels the error names the argument."""
    with pytest.raises(InvalidArgument, match="give num_labels"):
        jax.jit(getattr(clustering, name))(jnp.array([0, 1]), jnp.array([0, 1]))


@pytest.mark.parametrize("name", ["normalized_mutual_info_score", "adjusted_mutual_info_score"])
def test_unknown_average(name: str):
    """An average that there is not is an error with the nearest one."""
    with pytest.raises(UnknownName, match="average method 'arithmetical': did you mean arithmetic"):
        getattr(clustering, name)([0, 1], [0, 1], average_method="arithmetical")


@pytest.mark.parametrize("score", [clustering.silhouette_samples, clustering.silhouette_score])
@pytest.mark.parametrize(
    ("x", "labels", "options", "message"),
    [
        (np.eye(3), [0, 0, 0], {}, "2 to 2 clusters of 3 examples, got 1"),
        (np.eye(3), [0, 1, 2], {}, "2 to 2 clusters of 3 examples, got 3"),
        (np.eye(3), [0, 0, 0], {"num_labels": 5}, "got 1"),
        (np.eye(3), [0, 1], {}, "3 of X, 2 of labels"),
        (np.ones(3), [0, 0, 1], {}, r"X of shape \[n, d\], got \(3,\)"),
        (np.full((3, 2), np.nan), [0, 0, 1], {}, "NaN or infinity in x"),
        (np.eye(3), [0, 0, 1], {"metric": "cosine_similarity"}, "expected a distance"),
        (np.eye(3), [0, 0, 1], {"budget": 0}, "budget"),
    ],
)
def test_no_silhouette(score: Callable[..., Any], x: Any, labels: Any, options: dict, message: str):
    """Silhouettes need 2 to n - 1 clusters (as in scikit-learn), a label for each point, and a distance."""
    with pytest.raises(InvalidArgument, match=message):
        score(x, labels, **options)


def test_unknown_metric_of_silhouettes():
    """A distance that there is not is an error with the nearest one."""
    with pytest.raises(UnknownName, match="did you mean manhattan"):
        clustering.silhouette_score(np.eye(3), [0, 0, 1], metric="manhatan")
