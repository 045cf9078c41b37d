"""Distances, similarities and divergences between vectors [..., d], and between all pairs of two sets of them.

Arguments are NumPy arrays or lists (float64 results) or JAX arrays (float32 or more, also under `jit`; smooth ones have
gradients, which are 0 and not NaN where two vectors are equal). x and y have the same shape, and the results have it
without the last axis; `pairwise` takes [n, d] and [m, d].

All raise `InvalidArgument` for shapes that do not fit, and for NaN or infinity; the values are looked at where they are
known, which is not under `jit`.
"""

import functools
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.arrays import Array, as_array, divide, floats, known, namespace, over_blocks, root, rows_within
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics.checks import check_finite

SUM_TOLERANCE = 1e-4  # of probabilities from 1: a softmax of thousands of classes in float32


def manhattan(x: Any, y: Any) -> Array:
    """City-block distance, L1: sum_k |x_k - y_k|."""
    return _between("manhattan", x, y)


def euclidean(x: Any, y: Any) -> Array:
    """Euclidean distance, L2: sqrt(sum_k (x_k - y_k)^2)."""
    return _between("euclidean", x, y)


def chebyshev(x: Any, y: Any) -> Array:
    """Chebyshev's distance, L_infinity: max_k |x_k - y_k|."""
    return _between("chebyshev", x, y)


def minkowski(x: Any, y: Any, *, p: float) -> Array:
    """Minkowski's distance, L_p: (sum_k |x_k - y_k|^p)^(1/p).

    Args:
        x: [..., d].
        y: [..., d].
        p: above 0; infinity is Chebyshev's. For p < 1 the triangle inequality does not hold: it is no metric.
    """
    return _between("minkowski", x, y, p=p)


def standardized_euclidean(x: Any, y: Any, *, variance: Any) -> Array:
    """Euclidean distance after a z-transform: sqrt(sum_k (x_k - y_k)^2 / variance_k).

    Args:
        x: [..., d].
        y: [..., d].
        variance: [d], of each dimension; above 0. Dimensions that correlate count twice: see `mahalanobis`.
    """
    return _between("standardized_euclidean", x, y, variance=variance)


def mahalanobis(x: Any, y: Any, *, covariance: Any) -> Array:
    """Distance in units of a distribution, sqrt((x - y)^T C^-1 (x - y)) (Mahalanobis, 1936).

    It is the length of z = L^-1 (x - y), where C = L L^T is the Cholesky decomposition.

    Args:
        x: [..., d].
        y: [..., d].
        covariance: C [d, d].

    Raises:
        InvalidArgument: also if C is not symmetric and positive definite, as is that of fewer than d + 1 vectors.
            Under `jit` the distance is then NaN, or one of rounding errors.
    """
    return _between("mahalanobis", x, y, covariance=covariance)


def cosine_similarity(x: Any, y: Any) -> Array:
    """Cosine of the angle between two vectors, in [-1, 1]; 0 if one of them is 0, as in scikit-learn."""
    return _between("cosine_similarity", x, y)


def cosine_distance(x: Any, y: Any) -> Array:
    """1 - cosine of the angle between two vectors, in [0, 2]; 1 if one of them is 0, as in scikit-learn."""
    return _between("cosine_distance", x, y)


def hamming(x: Any, y: Any, *, fraction: bool = False) -> Array:
    """Number of positions in which two vectors differ (Hamming, 1950).

    Args:
        x: [..., d], numbers or other symbols; `list("1001")` for the characters of a text.
        y: [..., d].
        fraction: divide by d, as SciPy does.
    """
    return _between("hamming", x, y, fraction=fraction)


def jaccard_similarity(x: Any, y: Any) -> Array:
    """Size of the intersection over that of the union, |A and B| / |A or B| (Jaccard, 1901); 1 of two empty sets.

    Args:
        x: the members of A as bits, bool or 0 and 1, [..., d].
        y: those of B, [..., d].
    """
    return _between("jaccard_similarity", x, y)


def jaccard_distance(x: Any, y: Any) -> Array:
    """1 - `jaccard_similarity`; 0 of two empty sets, as in SciPy."""
    return _between("jaccard_distance", x, y)


def kl_divergence(p: Any, q: Any, *, base: float | None = None, normalize: bool = False) -> Array:
    """Relative entropy KL(P || Q) = sum_k p_k log(p_k / q_k) (Kullback and Leibler, 1951).

    Not a distance: KL(P || Q) can be large where KL(Q || P) is small. Terms with p_k = 0 are 0, and it is infinite if
    q_k = 0 where p_k is not.

    Args:
        p: [..., d], probabilities: 0 or more, with the sum 1.
        q: [..., d].
        base: of the logarithm; e by default.
        normalize: divide p and q by their sums, as SciPy always does: for counts.
    """
    return _between("kl_divergence", p, q, base=base, normalize=normalize)


def jeffreys_divergence(p: Any, q: Any, *, base: float | None = None, normalize: bool = False) -> Array:
    """The symmetric form KL(P || Q) + KL(Q || P) (Jeffreys, 1946). Arguments as of `kl_divergence`."""
    return _between("jeffreys_divergence", p, q, base=base, normalize=normalize)


def jensen_shannon_divergence(p: Any, q: Any, *, base: float | None = None, normalize: bool = False) -> Array:
    """(KL(P || M) + KL(Q || M)) / 2 with M = (P + Q) / 2 (Lin, 1991), symmetric and at most log 2.

    Its root is a metric, SciPy's `jensenshannon`. Arguments as of `kl_divergence`.
    """
    return _between("jensen_shannon_divergence", p, q, base=base, normalize=normalize)


def pairwise(x: Any, y: Any = None, *, metric: str = "euclidean", budget: int = 2**24, **options: Any) -> Array:
    """The distance of each vector of x to each of y.

    Args:
        x: [n, d].
        y: [m, d]; x by default.
        metric: the name of a function of this module.
        budget: the bytes that an intermediate array [rows, m, d] may have: there are as many rows of x in a block, one
            at least. Larger blocks leave the caches of a CPU, and are slower there.
        options: of the metric: p, variance, covariance, fraction, base, normalize.

    Returns:
        float [n, m].

    Raises:
        UnknownName: there is no such metric.
    """
    return over_pairs(lambda distances: distances, x, y, metric=metric, budget=budget, **options)


def over_pairs(
    function: Callable[[Array], Array], x: Any, y: Any, *, metric: str, budget: int, **options: Any
) -> Array:
    """`function`, [b, m] -> [b, ...] row by row, of the distances of x and y without keeping all; see `pairwise`."""
    xp = namespace(x, y, *options.values())
    measure = _metric(xp, metric, options)
    ours = measure.prepare("x", x)
    theirs = ours if y is None else measure.prepare("y", y)
    if ours.ndim != 2 or theirs.ndim != 2 or ours.shape[1] != theirs.shape[1] or 0 in (len(ours), len(theirs)):
        raise InvalidArgument(f"expected vectors [n, d] and [m, d], got shapes {ours.shape} and {theirs.shape}")
    block = rows_within(budget, theirs.shape)
    return over_blocks(xp, lambda rows: function(measure.distance(rows[:, None], theirs[None])), ours, block)


# --- Metrics ----------------------------------------------------------------------------------------------------------


class _Metric(NamedTuple):
    """What is done to each set of vectors once, and what between two vectors.

    Attributes:
        prepare: (name of the argument, vectors [..., d]) -> array [..., d], checked.
        distance: two arrays [..., d], which may broadcast -> [...].
    """

    prepare: Callable[[str, Any], Array]
    distance: Callable[[Array, Array], Array]


def _between(metric: str, x: Any, y: Any, **options: Any) -> Array:
    xp = namespace(x, y, *options.values())
    measure = _metric(xp, metric, options)
    x, y = measure.prepare("x", x), measure.prepare("y", y)
    if x.shape != y.shape:
        raise InvalidArgument(f"expected x and y of the same shape [..., d], got {x.shape} and {y.shape}; see pairwise")
    return measure.distance(x, y)


def _metric(xp: ModuleType, name: str, options: dict[str, Any]) -> _Metric:
    if name not in METRICS:
        raise UnknownName("metric", name, METRICS)
    return METRICS[name](xp, **options)


def _manhattan(xp: ModuleType) -> _Metric:
    return _Metric(functools.partial(_numbers, xp), lambda x, y: abs(x - y).sum(-1))


def _euclidean(xp: ModuleType) -> _Metric:
    # Not by |x|^2 - 2 x y + |y|^2, which is faster and loses all digits of the distance of near neighbours.
    return _Metric(functools.partial(_numbers, xp), lambda x, y: root(xp, ((x - y) ** 2).sum(-1)))


def _chebyshev(xp: ModuleType) -> _Metric:
    return _Metric(functools.partial(_numbers, xp), lambda x, y: abs(x - y).max(-1))


def _minkowski(xp: ModuleType, *, p: float) -> _Metric:
    if not p > 0:
        raise InvalidArgument(f"expected p above 0, got {p}")
    if p == math.inf:
        return _chebyshev(xp)

    def distance(x: Array, y: Array) -> Array:
        differences = abs(x - y)
        # In units of the largest, whose power may be beyond the largest float.
        largest = differences.max(-1)
        some = largest > 0
        unit = xp.where(some, largest, 1)
        total = _power(xp, differences / unit[..., None], p).sum(-1)  # from 1 to d, or 0
        with np.errstate(over="ignore"):  # for small p the distance itself may be
            return unit * _power(xp, total, 1 / p)

    return _Metric(functools.partial(_numbers, xp), distance)


def _standardized_euclidean(xp: ModuleType, *, variance: Any) -> _Metric:
    variance = _numbers(xp, "variance", variance)
    if variance.ndim != 1 or (known(variance) and not np.all(np.asarray(variance) > 0)):
        raise InvalidArgument(
            "expected the variance of each dimension [d], above 0: leave out dimensions that do not vary"
        )
    deviation = xp.sqrt(variance)

    def prepare(name: str, vectors: Any) -> Array:
        vectors = _numbers(xp, name, vectors, dimensions=len(deviation))
        return vectors / deviation.reshape([1] * (vectors.ndim - 1) + [-1])

    return _Metric(prepare, _euclidean(xp).distance)


def _mahalanobis(xp: ModuleType, *, covariance: Any) -> _Metric:
    factor = _cholesky(xp, covariance)

    def prepare(name: str, vectors: Any) -> Array:
        vectors = _numbers(xp, name, vectors, dimensions=len(factor))
        columns = vectors.reshape(-1, len(factor)).T
        return xp.linalg.solve(factor, columns).T.reshape(vectors.shape)

    return _Metric(prepare, _euclidean(xp).distance)


def _cosine_similarity(xp: ModuleType) -> _Metric:
    def prepare(name: str, vectors: Any) -> Array:
        vectors = _numbers(xp, name, vectors)
        return divide(xp, vectors, root(xp, (vectors**2).sum(-1))[..., None], 0.0)

    return _Metric(prepare, lambda x, y: xp.clip((x * y).sum(-1), -1, 1))


def _hamming(xp: ModuleType, *, fraction: bool = False) -> _Metric:
    def distance(x: Array, y: Array) -> Array:
        differ = floats(xp, x != y)
        return differ.mean(-1) if fraction else differ.sum(-1)

    return _Metric(functools.partial(_symbols, xp), distance)


def _jaccard_similarity(xp: ModuleType) -> _Metric:
    def distance(x: Array, y: Array) -> Array:
        return divide(xp, xp.minimum(x, y).sum(-1), xp.maximum(x, y).sum(-1), 1.0)

    return _Metric(functools.partial(_bits, xp), distance)


def _kl_divergence(xp: ModuleType, *, base: float | None = None, normalize: bool = False) -> _Metric:
    if base is not None and not base > 1:
        raise InvalidArgument(f"expected the base of a logarithm, above 1, got {base}")
    unit = 1 if base is None else math.log(base)

    def distance(p: Array, q: Array) -> Array:
        some, possible = p > 0, q > 0
        logarithms = xp.log(xp.where(some, p, 1)) - xp.log(xp.where(some & possible, q, 1))
        return xp.where(some & ~possible, math.inf, xp.where(some, p, 0) * logarithms).sum(-1) / unit

    return _Metric(functools.partial(_probabilities, xp, normalize=normalize), distance)


def _jeffreys_divergence(xp: ModuleType, **options: Any) -> _Metric:
    prepare, relative_entropy = _kl_divergence(xp, **options)
    return _Metric(prepare, lambda p, q: relative_entropy(p, q) + relative_entropy(q, p))


def _jensen_shannon_divergence(xp: ModuleType, **options: Any) -> _Metric:
    prepare, relative_entropy = _kl_divergence(xp, **options)

    def distance(p: Array, q: Array) -> Array:
        middle = (p + q) / 2
        return (relative_entropy(p, middle) + relative_entropy(q, middle)) / 2

    return _Metric(prepare, distance)


def _one_minus(similarity: Callable[..., _Metric]) -> Callable[..., _Metric]:
    def make(xp: ModuleType) -> _Metric:
        prepare, of = similarity(xp)
        return _Metric(prepare, lambda x, y: 1 - of(x, y))

    return make


METRICS: dict[str, Callable[..., _Metric]] = {
    "manhattan": _manhattan,
    "euclidean": _euclidean,
    "chebyshev": _chebyshev,
    "minkowski": _minkowski,
    "standardized_euclidean": _standardized_euclidean,
    "mahalanobis": _mahalanobis,
    "cosine_similarity": _cosine_similarity,
    "cosine_distance": _one_minus(_cosine_similarity),
    "hamming": _hamming,
    "jaccard_similarity": _jaccard_similarity,
    "jaccard_distance": _one_minus(_jaccard_similarity),
    "kl_divergence": _kl_divergence,
    "jeffreys_divergence": _jeffreys_divergence,
    "jensen_shannon_divergence": _jensen_shannon_divergence,
}


# --- Kinds of vectors -------------------------------------------------------------------------------------------------


def _symbols(xp: ModuleType, name: str, vectors: Any) -> Array:
    vectors = as_array(xp, vectors)
    if vectors.ndim == 0 or vectors.shape[-1] == 0:
        raise InvalidArgument(f"expected {name} of shape [..., d], got {vectors.shape}")
    check_finite(**{name: vectors})
    return vectors


def _numbers(xp: ModuleType, name: str, vectors: Any, dimensions: int | None = None) -> Array:
    vectors = _symbols(xp, name, floats(xp, vectors))
    if dimensions not in (None, vectors.shape[-1]):
        raise InvalidArgument(f"expected {name} with {dimensions} dimensions, got shape {vectors.shape}")
    return vectors


def _bits(xp: ModuleType, name: str, vectors: Any) -> Array:
    vectors = _numbers(xp, name, vectors)
    if known(vectors) and not np.isin(np.asarray(vectors), (0, 1)).all():
        raise InvalidArgument(f"expected bits in {name}, 0 and 1: compare with a threshold first")
    return vectors


def _probabilities(xp: ModuleType, name: str, vectors: Any, *, normalize: bool) -> Array:
    vectors = _numbers(xp, name, vectors)
    if known(vectors) and np.any(np.asarray(vectors) < 0):
        raise InvalidArgument(f"a probability in {name} is negative: {np.min(np.asarray(vectors)):g}")
    total = vectors.sum(-1)
    if known(total) and not normalize and np.any(abs(np.asarray(total) - 1) > SUM_TOLERANCE):
        raise InvalidArgument(f"probabilities in {name} do not sum to 1: for counts there is normalize=True")
    if known(total) and np.any(np.asarray(total) == 0):
        raise InvalidArgument(f"all counts of a vector in {name} are 0")
    return vectors / total[..., None] if normalize else vectors


def _cholesky(xp: ModuleType, covariance: Any) -> Array:
    """L [d, d], lower triangular, of C = L L^T."""
    covariance = _numbers(xp, "covariance", covariance)
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise InvalidArgument(f"expected a covariance of shape [d, d], got {covariance.shape}")
    if not known(covariance):
        return xp.linalg.cholesky(covariance)
    values = np.asarray(covariance)
    rounding = 32 * len(values) * float(np.finfo(values.dtype).eps)
    if np.any(abs(values - values.T) > 32 * rounding * abs(values).max()):
        raise InvalidArgument("the covariance is not symmetric")
    try:
        factor = xp.linalg.cholesky(covariance)
    except np.linalg.LinAlgError:  # JAX returns NaN
        factor = xp.full(covariance.shape, math.nan)
    # What of each variance the dimensions before it do not explain.
    if not np.all(np.diag(factor) ** 2 > rounding * np.diag(values)):
        raise InvalidArgument(
            "the covariance is not positive definite: dimensions depend on each other, or there are fewer vectors than "
            "dimensions. Reduce them by PCA to as many as its rank first, which loses nothing"
        )
    return factor


def _power(xp: ModuleType, values: Array, exponent: float) -> Array:
    """Values >= 0 to a power > 0, with the gradient 0 at 0, where it can be infinite."""
    positive = values > 0
    return xp.where(positive, xp.where(positive, values, 1) ** exponent, 0)
