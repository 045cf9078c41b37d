"""How well two partitions of the same examples agree, and how well a partition suits distances; names as in
scikit-learn.

Labels [n] are of any kind in NumPy or lists (float64 results), and int in JAX (float32 results). Sizes are static under
`jit`: there `num_labels` is needed, and labels are 0 to num_labels - 1, each of which may be missing.

All raise `InvalidArgument` for labels that are not [n], not as many of each, or none. `average_method` says what mutual
information is divided by: the "arithmetic" or "geometric" mean of the two entropies, their "min" or "max".
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.arrays import Array, as_array, divide, floats, known, namespace, over_blocks, root, rows_within
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics.checks import check_finite, check_same_length
from xxnet_jax.metrics.distances import over_pairs
from xxnet_jax.metrics.labels import count_pairs

AVERAGES: dict[str, Callable[[ModuleType, Array, Array], Array]] = {
    "arithmetic": lambda xp, a, b: (a + b) / 2,
    "geometric": lambda xp, a, b: root(xp, a * b),
    "min": lambda xp, a, b: xp.minimum(a, b),
    "max": lambda xp, a, b: xp.maximum(a, b),
}


def contingency_matrix(labels_true: Any, labels_pred: Any, *, num_labels: int | None = None) -> Array:
    """How many examples of each class lie in each cluster.

    Args:
        labels_true: the classes, [n].
        labels_pred: the clusters, [n].
        num_labels: labels of both are 0 to num_labels - 1; by default those that occur, sorted.

    Returns:
        int [classes, clusters], or [num_labels, num_labels].
    """
    xp = namespace(labels_true, labels_pred)
    labels_true, labels_pred = _checked("labels_true", labels_true), _checked("labels_pred", labels_pred)
    check_same_length(labels_true=labels_true, labels_pred=labels_pred)
    classes, rows = _encoded(xp, "labels_true", labels_true, num_labels)
    clusters, columns = _encoded(xp, "labels_pred", labels_pred, num_labels)
    return count_pairs(xp, classes, clusters, (rows, columns))


def rand_score(labels_true: Any, labels_pred: Any, *, num_labels: int | None = None) -> Array:
    """Rand index: the share of pairs of examples that both partitions join, or both separate (Rand, 1971).

    Arguments as of `contingency_matrix`. 1 for a single example.
    """
    xp, counts = _counts(labels_true, labels_pred, num_labels)
    joined, of_classes, of_clusters = _joined_pairs(xp, counts)
    return 1 - (of_classes - joined) - (of_clusters - joined)


def adjusted_rand_score(labels_true: Any, labels_pred: Any, *, num_labels: int | None = None) -> Array:
    """Rand index adjusted for chance, (index - expected) / (maximum - expected) (Hubert and Arabie, 1985).

    1 for equal partitions, about 0 for independent ones, and -.5 at least. Arguments as of `contingency_matrix`.
    """
    xp, counts = _counts(labels_true, labels_pred, num_labels)
    joined, of_classes, of_clusters = _joined_pairs(xp, counts)
    expected = of_classes * of_clusters
    # The maximum is expected only where both join all pairs, or none: they are equal.
    return divide(xp, joined - expected, (of_classes + of_clusters) / 2 - expected, 1.0)


def mutual_info_score(labels_true: Any, labels_pred: Any, *, num_labels: int | None = None) -> Array:
    """Mutual information in nats: sum_ij p_ij log(p_ij / (p_i p_j)). Arguments as of `contingency_matrix`."""
    return _mutual_information(*_counts(labels_true, labels_pred, num_labels))


def normalized_mutual_info_score(
    labels_true: Any, labels_pred: Any, *, average_method: str = "arithmetic", num_labels: int | None = None
) -> Array:
    """Mutual information / average of the entropies, in [0, 1]; 1 for equal partitions.

    Arguments as of `contingency_matrix`; average_method: see the module.
    """
    average = _average(average_method)
    xp, counts = _counts(labels_true, labels_pred, num_labels)
    score = divide(xp, _mutual_information(xp, counts), average(xp, *_entropies(xp, counts)), 0.0)
    return xp.where(_equal_partitions(counts), 1.0, score)


def adjusted_mutual_info_score(
    labels_true: Any,
    labels_pred: Any,
    *,
    average_method: str = "arithmetic",
    num_labels: int | None = None,
    budget: int = 2**24,
) -> Array:
    """Mutual information adjusted for chance, (MI - expected) / (average of the entropies - expected).

    1 for equal partitions, about 0 for independent ones (Vinh, Epps and Bailey, 2010). If only one of the two has a
    single cluster it is 0. Where the average is the expected value, which is also the mutual information (one of the
    partitions separates all examples, and the average is "min"), it is 1.

    Arguments as of `contingency_matrix`; average_method: see the module. The expectation takes classes * clusters * n
    terms.

    Args:
        budget: the bytes that an array [rows, clusters, n] may have.
    """
    average = _average(average_method)
    xp, counts = _counts(labels_true, labels_pred, num_labels)
    expected = _expected_mutual_information(xp, counts, len(labels_true), budget)
    largest = average(xp, *_entropies(xp, counts))
    rounding = 1e3 * float(np.finfo(counts.dtype).eps) * (1 + largest)
    room = xp.where(abs(largest - expected) > rounding, largest - expected, 0)
    score = divide(xp, _mutual_information(xp, counts) - expected, room, 1.0)
    single = xp.minimum(*[(counts.sum(axis) > 0).sum() for axis in (0, 1)]) == 1
    return xp.where(_equal_partitions(counts), 1.0, xp.where(single, 0.0, score))


def silhouette_samples(
    X: Any,
    labels: Any,
    *,
    metric: str = "euclidean",
    num_labels: int | None = None,
    budget: int = 2**24,
    **options: Any,
) -> Array:
    """Silhouette of each example, (b - a) / max(a, b), in [-1, 1] (Rousseeuw, 1987).

    a is the mean distance to the others of its own cluster, b the smallest mean distance to those of another one. It is
    0 for the only example of a cluster, and where a = b = 0.

    Args:
        X: [n, d].
        labels: [n].
        metric: the name of a distance of `metrics.distances`.
        num_labels: labels are 0 to num_labels - 1; needed under `jit`.
        budget: the bytes that an array [rows, n, d] of differences may have; see `distances.pairwise`.
        options: of the metric.

    Returns:
        float [n].

    Raises:
        InvalidArgument: also unless there are 2 to n - 1 clusters.
        UnknownName: there is no such metric.
    """
    if metric.endswith("similarity"):
        raise InvalidArgument(f"expected a distance, and {metric} is large where the distance is small")
    xp = namespace(X, labels, *options.values())
    X, labels = as_array(xp, X), _checked("labels", labels)
    if X.ndim != 2:
        raise InvalidArgument(f"expected X of shape [n, d], got {X.shape}")
    check_same_length(X=X, labels=labels)
    clusters, size = _encoded(xp, "labels", labels, num_labels)
    member = clusters[:, None] == xp.arange(size)[None]  # [n, clusters]
    counts = member.sum(0)
    filled = (counts > 0).sum()
    if known(filled) and not 2 <= filled < len(X):
        raise InvalidArgument(f"expected 2 to {len(X) - 1} clusters of {len(X)} examples, got {filled}")

    def sums_by_cluster(distances: Array) -> Array:
        with jax.default_matmul_precision("highest"):
            return distances @ member.astype(distances.dtype)

    sums = over_pairs(sums_by_cluster, X, None, metric=metric, budget=budget, **options)
    companions = counts[clusters] - 1
    own = divide(xp, xp.where(member, sums, 0).sum(1), companions, 0.0)
    means = divide(xp, sums, counts[None], np.inf)
    nearest = xp.where(member, np.inf, means).min(1)
    silhouettes = divide(xp, nearest - own, xp.maximum(nearest, own), 0.0)
    return xp.where(companions > 0, silhouettes, 0)


def silhouette_score(
    X: Any,
    labels: Any,
    *,
    metric: str = "euclidean",
    num_labels: int | None = None,
    budget: int = 2**24,
    **options: Any,
) -> Array:
    """Mean of `silhouette_samples`, with its arguments, float []."""
    return silhouette_samples(X, labels, metric=metric, num_labels=num_labels, budget=budget, **options).mean()


# --- Labels -----------------------------------------------------------------------------------------------------------


def _checked(name: str, labels: Any) -> Any:
    labels = labels if hasattr(labels, "shape") else as_array(np, labels)
    if len(labels.shape) != 1:
        raise InvalidArgument(f"expected {name} of shape [n], got {labels.shape}")
    check_finite(**{name: labels})
    return labels


def _encoded(xp: ModuleType, name: str, labels: Any, num_labels: int | None) -> tuple[Array, int]:
    """Labels as int [n] from 0, and how many there are."""
    if num_labels is None:
        if not known(labels):
            raise InvalidArgument("under jit the number of labels must be known: give num_labels")
        values, codes = np.unique(np.asarray(labels), return_inverse=True)
        return xp.asarray(codes), len(values)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise InvalidArgument(f"expected whole numbers from 0 to {num_labels - 1} in {name}, got {labels.dtype}")
    if known(labels) and not 0 <= labels.min() <= labels.max() < num_labels:
        lowest, highest = labels.min(), labels.max()
        raise InvalidArgument(f"expected labels from 0 to {num_labels - 1} in {name}, got {lowest} to {highest}")
    return xp.asarray(labels), num_labels


# --- Contingency tables [classes, clusters] ---------------------------------------------------------------------------


def _counts(labels_true: Any, labels_pred: Any, num_labels: int | None) -> tuple[ModuleType, Array]:
    xp = namespace(labels_true, labels_pred)
    return xp, floats(xp, contingency_matrix(labels_true, labels_pred, num_labels=num_labels))


def _equal_partitions(counts: Array) -> Array:
    """Whether each class is one cluster, and each cluster one class."""
    filled = counts > 0
    return (filled.sum(0) <= 1).all() & (filled.sum(1) <= 1).all()


def _average(method: str) -> Callable[[ModuleType, Array, Array], Array]:
    if method not in AVERAGES:
        raise UnknownName("average method", method, AVERAGES)
    return AVERAGES[method]


def _joined_pairs(xp: ModuleType, counts: Array) -> tuple[Array, Array, Array]:
    """Of all pairs of examples the share that both partitions join, that are of one class, and of one cluster."""

    def pairs(sizes: Array) -> Array:
        return (sizes * (sizes - 1) / 2).sum()

    every = pairs(counts.sum())
    joined = (pairs(sizes) for sizes in (counts, counts.sum(1), counts.sum(0)))
    both, of_classes, of_clusters = (divide(xp, number, every, 1.0) for number in joined)
    return both, of_classes, of_clusters


def _entropies(xp: ModuleType, counts: Array) -> tuple[Array, Array]:
    """Of the classes and of the clusters, in nats."""

    def entropy(sizes: Array) -> Array:
        shares = sizes / sizes.sum()
        return -(shares * xp.log(xp.where(shares > 0, shares, 1))).sum()

    return entropy(counts.sum(1)), entropy(counts.sum(0))


def _mutual_information(xp: ModuleType, counts: Array) -> Array:
    examples = counts.sum()
    independent = counts.sum(1)[:, None] * counts.sum(0)[None] / examples
    ratio = divide(xp, counts, independent, 1.0)
    terms = counts * xp.log(xp.where(ratio > 0, ratio, 1)) / examples
    return xp.maximum(terms.sum(), 0)  # it is never negative, but rounding is


def _expected_mutual_information(xp: ModuleType, counts: Array, examples: int, budget: int) -> Array:
    """Mean mutual information of random partitions with these sizes (Vinh et al., 2010, equation 24a).

    The number k of examples that a class of size a shares with a cluster of size b is hypergeometric. Its
    probabilities are made from the ratios of successive ones, so that no factorial of n has to be divided by another.
    """
    largest = examples if xp is jnp else int(counts.sum(1).max())  # static under jit
    k = xp.arange(largest + 1, dtype=counts.dtype)[None, None]
    b = counts.sum(0)[None, :, None]

    def of_classes(sizes: Array) -> Array:
        a = sizes[:, None, None]
        least, most = xp.maximum(a + b - examples, 0), xp.minimum(a, b)
        follows = (k > least) & (k <= most)
        ratio = divide(xp, (a - k + 1) * (b - k + 1), xp.where(follows, k * (examples - a - b + k), 0), 1.0)
        logarithms = xp.log(xp.where(follows, ratio, 1)).cumsum(-1)
        chances = xp.where(follows | (k == least), xp.exp(logarithms - logarithms.max(-1)[..., None]), 0)
        chances = chances / chances.sum(-1)[..., None]
        independent = divide(xp, k * examples, a * b, 1.0)
        terms = chances * k / examples * xp.log(xp.where(k > 0, independent, 1))
        return terms.sum((1, 2))

    rows = rows_within(budget, (counts.shape[1], largest + 1))
    return over_blocks(xp, of_classes, counts.sum(1), rows).sum()
