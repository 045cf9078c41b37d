"""Distances between vectors, against SciPy and the worked examples of the notes."""

import functools
import inspect
import itertools
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import sklearn.metrics.pairwise
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from xxnet_jax.arrays import rows_within
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics import distances

A, B = [1, 2, 3], [4, 5, 6]
ONES, MIDDLE = [1, 1, 1, 1], [1, 0, 0, 1]
seeds = st.integers(0, 2**32 - 1)


class Case(NamedTuple):
    """A metric, vectors that it measures, and the value of SciPy or scikit-learn for all pairs."""

    name: str
    vectors: Callable[[np.random.Generator, int, int], np.ndarray]
    oracle: Callable[..., np.ndarray]
    options: Callable[[int], dict[str, Any]] = lambda d: {}


def numbers(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.normal(size=(n, d)).round(1)  # with ties


def bits(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    return rng.random((n, d)) < rng.random((n, 1))  # also nearly empty sets, and full ones


def probabilities(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    p = rng.exponential(size=(n, d)) * (rng.random((n, d)) < rng.choice([0.5, 1.0], (n, 1)))
    p[:, 0] += 0.1
    return p / p.sum(-1, keepdims=True)


def variance_of(d: int) -> np.ndarray:
    return np.linspace(0.5, 2, d) ** 3


def covariance_of(d: int) -> np.ndarray:
    factor = np.random.default_rng(d).normal(size=(d, d))
    return factor @ factor.T + np.eye(d)


def relative_entropies(p: np.ndarray, q: np.ndarray, base: float = np.e) -> np.ndarray:
    return scipy.special.rel_entr(p[:, None], q[None]).sum(-1) / np.log(base)


CASES = [
    Case("manhattan", numbers, lambda x, y: cdist(x, y, "cityblock")),
    Case("euclidean", numbers, lambda x, y: cdist(x, y, "euclidean")),
    Case("chebyshev", numbers, lambda x, y: cdist(x, y, "chebyshev")),
    *[
        Case("minkowski", numbers, lambda x, y, p: cdist(x, y, "minkowski", p=p), lambda d, p=p: {"p": p})
        for p in (0.5, 1, 2, 3, 7.5, np.inf)
    ],
    Case(
        "standardized_euclidean",
        numbers,
        lambda x, y, variance: cdist(x, y, "seuclidean", V=variance),
        lambda d: {"variance": variance_of(d)},
    ),
    Case(
        "mahalanobis",
        numbers,
        lambda x, y, covariance: cdist(x, y, "mahalanobis", VI=np.linalg.inv(covariance)),
        lambda d: {"covariance": covariance_of(d)},
    ),
    Case("cosine_similarity", numbers, sklearn.metrics.pairwise.cosine_similarity),
    Case("cosine_distance", numbers, sklearn.metrics.pairwise.cosine_distances),
    Case("hamming", numbers, lambda x, y: cdist(x, y, "hamming") * x.shape[1]),
    Case("hamming", bits, lambda x, y, fraction: cdist(x, y, "hamming"), lambda d: {"fraction": True}),
    Case("jaccard_distance", bits, lambda x, y: cdist(x, y, "jaccard")),
    Case("jaccard_similarity", bits, lambda x, y: 1 - cdist(x, y, "jaccard")),
    Case("kl_divergence", probabilities, relative_entropies),
    Case("kl_divergence", probabilities, relative_entropies, lambda d: {"base": 2}),
    Case("jeffreys_divergence", probabilities, lambda p, q: relative_entropies(p, q) + relative_entropies(q, p).T),
    Case("jensen_shannon_divergence", probabilities, lambda p, q: cdist(p, q, "jensenshannon") ** 2),
    Case(
        "jensen_shannon_divergence",
        probabilities,
        lambda p, q, base: cdist(p, q, "jensenshannon") ** 2 / np.log(base),
        lambda d: {"base": 2},
    ),
]
cases = pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}-{case.vectors.__name__}")


def function(case: Case, d: int) -> Callable[..., Any]:
    return functools.partial(getattr(distances, case.name), **case.options(d))


def test_every_metric_has_a_case():
    """Each metric by name is a public function with its options, and is compared with an oracle below."""
    assert {case.name for case in CASES} == set(distances.METRICS)
    for name, make in distances.METRICS.items():
        options = set(inspect.signature(getattr(distances, name)).parameters) - {"x", "y", "p", "q"}
        assert options - {"base", "normalize"} <= set(inspect.signature(make).parameters)


# --- Values -----------------------------------------------------------------------------------------------------------


@cases
@given(seed=seeds, n=st.integers(1, 40), m=st.integers(1, 40), d=st.integers(1, 30))
def test_all_pairs_equal_scipy(case: Case, seed: int, n: int, m: int, d: int):
    """The distances of all pairs are SciPy's or scikit-learn's, also row by row, and of a set with itself.

    Both are float64; a similarity near 1 keeps 1e-15 of it in the distance; SciPy's divergence is the square of a root.
    """
    rng = np.random.default_rng(seed)
    x, y, options = case.vectors(rng, n, d), case.vectors(rng, m, d), case.options(d)
    value = distances.pairwise(x, y, metric=case.name, **options)
    assert value.dtype == np.float64
    np.testing.assert_allclose(value, case.oracle(x, y, **options), rtol=1e-11, atol=1e-14)
    by_rows = distances.pairwise(x, y, metric=case.name, budget=1, **options)
    np.testing.assert_allclose(by_rows, value, rtol=1e-14, atol=1e-15)
    of_self = distances.pairwise(x, metric=case.name, **options)
    np.testing.assert_allclose(of_self, case.oracle(x, x, **options), rtol=1e-11, atol=1e-14)


@cases
@given(seed=seeds, n=st.integers(1, 200), d=st.integers(1, 30))
def test_each_of_many_vectors(case: Case, seed: int, n: int, d: int):
    """Of vectors [2, n, d] each has the distance of SciPy to its partner, and a list is as good as an array."""
    rng = np.random.default_rng(seed)
    x, y = case.vectors(rng, 2 * n, d), case.vectors(rng, 2 * n, d)
    value = function(case, d)(x.reshape(2, n, d), y.reshape(2, n, d))
    assert value.shape == (2, n)
    assert value.dtype == np.float64
    for row in {0, n - 1, n, 2 * n - 1}:
        expected = case.oracle(x[row : row + 1], y[row : row + 1], **case.options(d))[0, 0]
        np.testing.assert_allclose(value.reshape(-1)[row], expected, rtol=1e-11, atol=1e-14)
        np.testing.assert_allclose(function(case, d)(list(x[row]), list(y[row])), expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("manhattan", {}, 9),
        ("euclidean", {}, 5.196152422706632),
        ("chebyshev", {}, 3),
        ("minkowski", {"p": 1}, 9),
        ("minkowski", {"p": 2}, 5.196152422706632),
        ("minkowski", {"p": 3}, 4.3267487109222245),
        ("minkowski", {"p": 0.5}, 27),
        ("minkowski", {"p": np.inf}, 3),
        ("cosine_similarity", {}, 0.9746318461970762),
        ("hamming", {}, 3),
    ],
)
def test_worked_examples_of_the_notes(name: str, options: dict, expected: float):
    """Between (1, 2, 3) and (4, 5, 6) the distances are those of the notes, within a rounding of float64."""
    assert getattr(distances, name)(A, B, **options) == pytest.approx(expected, rel=1e-14)


def test_chebyshev_has_no_root():
    """Slip of the notes: their code takes the root of a maximum that it never calls. The distance is 4, not 2."""
    assert distances.chebyshev([0, 0], [4, 1]) == 4


def test_minkowski_is_of_absolute_differences():
    """Slip of the notes: the formula has no absolute value, so that p = 3 gives the root of -81 for these vectors."""
    assert sum((a - b) ** 3 for a, b in zip(A, B, strict=True)) == -81
    assert distances.minkowski(A, B, p=3) == distances.minkowski(B, A, p=3) == pytest.approx(81 ** (1 / 3), rel=1e-14)


def test_hamming_counts():
    """Slip of the notes: their code would print the places, 1 and 2, and not their number, 2. SciPy's is a fraction."""
    assert distances.hamming(list("1111"), list("1001")) == 2
    assert distances.hamming(ONES, MIDDLE) == 2
    assert distances.hamming(ONES, MIDDLE, fraction=True) == 0.5


def test_cosine_and_jaccard_of_two_lists():
    """Slip of the notes: matrices instead of vectors fail in their cosine, Hamming and Jaccard code. The coefficient
    and the distance of the sets 1111 and 1001 are both one half, and the cosine is 1 / sqrt(2)."""
    assert distances.jaccard_similarity(ONES, MIDDLE) == 0.5
    assert distances.jaccard_distance(ONES, MIDDLE) == 0.5
    assert distances.cosine_similarity(ONES, MIDDLE) == pytest.approx(0.5**0.5, rel=1e-14)


def test_mahalanobis_worked_example():
    """With the true covariance of the notes (their code takes that of an unseeded sample) the point that is farther in
    Euclid's distance is farther in Mahalanobis' too: sqrt(8) for (-2, 2) and sqrt(6) for (3, 3), which is at 4.24.

    Slip of the notes: SciPy refuses their rows of matrices; vectors, and stacks of them, are measured.
    """
    points, covariance = [[3, 3], [-2, 2]], [[2, 1], [1, 2]]
    for value in (
        distances.mahalanobis(points, np.zeros((2, 2)), covariance=covariance),
        distances.pairwise(points, [[0, 0]], metric="mahalanobis", covariance=covariance)[:, 0],
    ):
        np.testing.assert_allclose(value, [6**0.5, 8**0.5], rtol=1e-14)
    euclidean = distances.euclidean(points, np.zeros((2, 2)))
    np.testing.assert_allclose(euclidean, [18**0.5, 8**0.5], rtol=1e-14)


# --- Properties -------------------------------------------------------------------------------------------------------

METRICS = [
    (numbers, "manhattan", {}),
    (numbers, "euclidean", {}),
    (numbers, "chebyshev", {}),
    *[(numbers, "minkowski", {"p": p}) for p in (1, 1.5, 4, np.inf)],
    (numbers, "standardized_euclidean", {"variance": variance_of(6)}),
    (numbers, "mahalanobis", {"covariance": covariance_of(6)}),
    (bits, "hamming", {}),
    (bits, "jaccard_distance", {}),
]


@pytest.mark.parametrize(("vectors", "name", "options"), METRICS)
@given(seed=seeds)
def test_axioms(vectors: Callable[..., np.ndarray], name: str, options: dict, seed: int):
    """d(x, x) = 0, d >= 0, d(x, y) = d(y, x) and d(x, k) + d(k, y) >= d(x, y), for p >= 1."""
    x = vectors(np.random.default_rng(seed), 40, 6)
    d = distances.pairwise(x, metric=name, **options)
    np.testing.assert_array_equal(np.diag(d), 0)
    np.testing.assert_array_equal(d, d.T)
    assert d.min() == 0
    assert np.all(d[:, :, None] + d[None] - d[:, None] >= -1e-13)  # [x, k, 1] + [1, k, y] - [x, 1, y]
    different = (x[:, None] != x[None]).any(-1)
    assert np.all(d[different] > 0)


@given(seed=seeds)
def test_root_of_jensen_shannon_is_a_metric(seed: int):
    """The root of the divergence is symmetric and keeps the triangle inequality; the divergence is at most log 2."""
    p = probabilities(np.random.default_rng(seed), 30, 6)
    divergence = distances.pairwise(p, metric="jensen_shannon_divergence")
    np.testing.assert_allclose(divergence, divergence.T, atol=1e-15)
    assert divergence.max() <= np.log(2) + 1e-15
    d = np.sqrt(np.maximum(divergence, 0))
    assert np.all(d[:, :, None] + d[None] - d[:, None] >= -1e-7)  # the root of a rounding of 1e-16 is 1e-8


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
def test_triangle_inequality_fails_below_one(p: float):
    """For p < 1 the way from (0, 0) to (1, 1), 2^(1/p), is longer than by (0, 1), 2: the notes' counterexample."""
    start, middle, end = [0, 0], [0, 1], [1, 1]
    direct = distances.minkowski(start, end, p=p)
    assert direct == pytest.approx(2 ** (1 / p), rel=1e-14)
    assert direct > distances.minkowski(start, middle, p=p) + distances.minkowski(middle, end, p=p) == 2


@given(seed=seeds)
def test_minkowski_tends_to_chebyshev(seed: int):
    """L_p falls as p grows, towards the largest difference, and powers beyond the largest float do no harm."""
    x, y = np.random.default_rng(seed).normal(size=(2, 50, 8)) * 1e3
    values = [distances.minkowski(x, y, p=p) for p in (0.5, 1, 2, 10, 200, 1e4, np.inf)]
    for larger, smaller in itertools.pairwise(values):
        assert np.all(larger >= smaller * (1 - 1e-12))
    np.testing.assert_allclose(values[-2], values[-1], rtol=1e-3)  # 8^(1/10000)
    np.testing.assert_array_equal(values[-1], np.abs(x - y).max(-1))


def test_minkowski_beyond_floats():
    """A distance that is larger than any float64 is infinite, without a warning: 2^2000 for p = 1/2000."""
    assert distances.minkowski([0, 0], [1, 1], p=1 / 2000) == np.inf


@given(seed=seeds, d=st.integers(1, 8))
def test_mahalanobis_does_not_depend_on_the_units(seed: int, d: int):
    """Mahalanobis' distance is the same after an invertible linear map of vectors and covariance, and Euclid's for the
    identity. The map has condition up to 1e3 or so."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, 100, d))
    map_ = rng.normal(size=(d, d)) + 4 * np.eye(d) * np.sign(rng.normal())
    covariance = covariance_of(d)
    value = distances.mahalanobis(x, y, covariance=covariance)
    mapped = distances.mahalanobis(x @ map_.T, y @ map_.T, covariance=map_ @ covariance @ map_.T)
    np.testing.assert_allclose(mapped, value, rtol=1e-6)
    np.testing.assert_allclose(
        distances.mahalanobis(x, y, covariance=np.eye(d)), np.linalg.norm(x - y, axis=-1), rtol=1e-12
    )


@given(seed=seeds, d=st.integers(1, 20))
def test_standardized_is_euclidean_of_the_z_transform(seed: int, d: int):
    """The z-transform (x - mean) / deviation of the notes, then Euclid's distance, is the standardized one."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(60, d)) * variance_of(d)
    z = (x - x.mean(0)) / x.std(0)
    value = distances.pairwise(x, metric="standardized_euclidean", variance=x.var(0))
    np.testing.assert_allclose(value, cdist(z, z), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("xp", [np, jnp])
def test_cosine_of_zero_and_its_bounds(xp: Any):
    """The cosine with a zero vector is 0, as in scikit-learn; of a vector with itself or its opposite it is never
    beyond 1 or -1 by rounding, whatever the length."""
    zero = xp.zeros(2)
    assert distances.cosine_similarity(zero, xp.ones(2)) == distances.cosine_similarity(zero, zero) == 0
    assert distances.cosine_distance(zero, xp.ones(2)) == 1
    x = xp.asarray(np.random.default_rng(0).normal(size=(500, 3)) * 10.0 ** np.arange(-10, 10).repeat(25)[:, None])
    same, opposite = distances.cosine_similarity(x, 3 * x), distances.cosine_similarity(x, -x)
    np.testing.assert_allclose(same, 1, rtol=1e-6)
    assert same.max() <= 1
    assert opposite.min() >= -1


def test_sets_without_members():
    """Two empty sets are equal, as in SciPy, and an empty set has nothing in common with another."""
    assert distances.jaccard_distance([0, 0], [0, 0]) == 0
    assert distances.jaccard_similarity([0, 0], [0, 0]) == 1
    assert distances.jaccard_distance([False, False], [False, True]) == 1


def test_kl_is_not_symmetric():
    """KL(P || Q) can be large where KL(Q || P) is small, as the notes say: of (1/2, 1/2) and (1 - e, e) with e = 2^-20
    they are 9 and 1 bits. With q = 0 under p > 0 it is infinite, and with p = 0 the term is 0."""
    even, odd = [0.5, 0.5], [1 - 2**-20, 2**-20]
    assert distances.kl_divergence(even, odd, base=2) == pytest.approx(9, abs=1e-5)
    assert distances.kl_divergence(odd, even, base=2) == pytest.approx(1, abs=1e-4)
    assert distances.kl_divergence(even, [1, 0]) == np.inf
    assert distances.kl_divergence([1, 0], even) == np.log(2)
    assert distances.jeffreys_divergence([1, 0], even) == np.inf
    assert distances.jensen_shannon_divergence([1, 0], [0, 1], base=2) == 1


@given(seed=seeds, d=st.integers(2, 30))
def test_divergences_of_counts(seed: int, d: int):
    """Counts with `normalize` have SciPy's relative entropy, which is at least 0, and 0 of proportional counts."""
    rng = np.random.default_rng(seed)
    p, q = rng.integers(1, 50, (2, 40, d))
    value = distances.kl_divergence(p, q, normalize=True)
    np.testing.assert_allclose(value, scipy.stats.entropy(p, q, axis=-1), rtol=1e-11, atol=1e-14)
    assert value.min() >= -1e-15
    np.testing.assert_allclose(distances.kl_divergence(p, 4 * p, normalize=True), 0, atol=1e-15)


# --- JAX --------------------------------------------------------------------------------------------------------------


@cases
def test_jax_equals_numpy(case: Case):
    """JAX arrays give JAX's float32, under `jit` and in blocks of 3 rows too, within its rounding.

    Bits and symbols are exact; 1 - cosine keeps 1e-7 of 1.
    """
    rng = np.random.default_rng(1)
    x, y, options = case.vectors(rng, 20, 6), case.vectors(rng, 10, 6), case.options(6)
    x, y = [array if array.dtype == bool else array.astype(np.float32) for array in (x, y)]
    expected = case.oracle(
        *[array.astype(np.float64 if case.vectors is not bits else bool) for array in (x, y)], **options
    )
    budget = 3 * 8 * y.size
    of = functools.partial(distances.pairwise, metric=case.name, budget=budget, **options)
    for value in (
        distances.pairwise(jnp.asarray(x), jnp.asarray(y), metric=case.name, **options),
        jax.jit(of)(x, y),
    ):
        assert isinstance(value, jax.Array)
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=2e-5, atol=1e-6)
    vectors = jax.jit(function(case, 6))(x[:10], y)
    assert vectors.dtype == jnp.float32
    np.testing.assert_allclose(vectors, np.diag(expected[:10]), rtol=2e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("manhattan", {}),
        ("euclidean", {}),
        ("chebyshev", {}),
        *[("minkowski", {"p": p}) for p in (0.5, 1, 1.5, 2, 3, np.inf)],
        ("standardized_euclidean", {"variance": variance_of(4)}),
        ("mahalanobis", {"covariance": covariance_of(4)}),
        ("cosine_distance", {}),
        ("kl_divergence", {"normalize": True}),
        ("jensen_shannon_divergence", {"normalize": True}),
    ],
)
def test_gradients(name: str, options: dict):
    """The gradient is that of central differences in float64, the same through blocks of `pairwise`, and finite (0 for
    the smooth ones) where the vectors are equal or zero."""
    x, y = np.random.default_rng(4).uniform(0.2, 1, (2, 4))
    measure = functools.partial(getattr(distances, name), **options)
    steps = 1e-5 * np.eye(4)
    expected = [(measure(x + step, y) - measure(x - step, y)) / 2e-5 for step in steps]
    np.testing.assert_allclose(jax.grad(measure)(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-4, atol=1e-5)

    def total(xs: jax.Array) -> jax.Array:
        return distances.pairwise(xs, jnp.asarray(y)[None], metric=name, budget=1, **options).sum()

    twice = jnp.stack([x, x])
    np.testing.assert_allclose(jax.grad(total)(twice), [expected, expected], rtol=1e-4, atol=1e-5)
    at_equal = jax.grad(measure)(jnp.asarray(x), jnp.asarray(x))
    if name in ("manhattan", "chebyshev") or options.get("p") in (1, np.inf):
        assert np.isfinite(at_equal).all()  # |x| has a corner there
    else:
        np.testing.assert_allclose(at_equal, 0, atol=1e-6)
    if not options.get("normalize"):
        assert np.isfinite(jax.grad(measure)(jnp.zeros(4), jnp.asarray(y))).all()


# --- Memory -----------------------------------------------------------------------------------------------------------


def test_budget_bounds_the_rows():
    """A block of [rows, 100, 7] numbers of 8 bytes is within the budget, with one row more it is not; one is always."""
    for budget in (1, 5_600, 11_199, 11_200, 2**20):
        rows = rows_within(budget, (100, 7))
        assert rows * 100 * 7 * 8 <= max(budget, 5_600) < (rows + 1) * 100 * 7 * 8


@pytest.mark.parametrize(("name", "options"), [("euclidean", {}), ("minkowski", {"p": 3}), ("hamming", {})])
def test_memory_of_numpy(name: str, options: dict):
    """All pairs of 600 vectors of 100 numbers, whose differences take 288 MB, need a few blocks of 2 MB and the 3 MB
    of the result."""
    x, budget = np.random.default_rng(0).normal(size=(600, 100)), 2 * 10**6
    tracemalloc.start()
    try:
        distances.pairwise(x, metric=name, budget=budget, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 6 * budget + 2 * 600 * 600 * 8 + 2 * x.nbytes


def test_memory_of_gradients():
    """Compiled by JAX, also the gradient of the sum of all distances keeps a few blocks, not all differences."""
    x = jnp.zeros((512, 64))

    def total(x: jax.Array) -> jax.Array:
        return distances.pairwise(x, metric="minkowski", p=3, budget=2**20).sum()

    memory = jax.jit(jax.grad(total)).lower(x).compile().memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 2**24 < 512 * 512 * 64 * 4 / 2


# --- What cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["manhattan", "euclidean", "chebyshev", "cosine_distance"])
@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([1, 2], [1, 2, 3], r"same shape .* \(2,\) and \(3,\)"),
        ([[1, 2]], [1, 2], "same shape"),
        (1, 2, r"x of shape \[\.\.\., d\], got \(\)"),
        ([], [], r"x of shape \[\.\.\., d\], got \(0,\)"),
        ([1, 2], [1, np.nan], "NaN or infinity in y"),
        (jnp.array([1, jnp.inf]), jnp.array([1, 2]), "NaN or infinity in x"),
        (["a"], ["b"], "real numbers"),
        ([[1], [1, 2]], [[1], [1]], "cannot be"),
    ],
)
def test_wrong_vectors(name: str, x: Any, y: Any, message: str):
    """Vectors that do not fit are an error that shows how."""
    with pytest.raises(InvalidArgument, match=message):
        getattr(distances, name)(x, y)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: distances.minkowski(A, B, p=0), "p above 0, got 0"),
        (lambda: distances.minkowski(A, B, p=-1), "p above 0"),
        (lambda: distances.minkowski(A, B, p=np.nan), "p above 0"),
        (lambda: distances.standardized_euclidean(A, B, variance=[1, 0, 1]), "do not vary"),
        (lambda: distances.standardized_euclidean(A, B, variance=1), "variance of shape"),
        (lambda: distances.standardized_euclidean(A, B, variance=[[1, 1, 1]]), "do not vary"),
        (lambda: distances.standardized_euclidean(A, B, variance=[1, 1]), r"x with 2 dimensions, got shape \(3,\)"),
        (lambda: distances.mahalanobis(A, B, covariance=np.eye(2)), r"x with 2 dimensions, got shape \(3,\)"),
        (lambda: distances.mahalanobis(A, B, covariance=np.ones((2, 3))), r"of shape \[d, d\], got \(2, 3\)"),
        (lambda: distances.mahalanobis(A[:2], B[:2], covariance=[[2, 1], [0, 2]]), "not symmetric"),
        (lambda: distances.mahalanobis(A[:2], B[:2], covariance=[[1, 2], [2, 1]]), "positive definite"),
        (lambda: distances.mahalanobis(A[:2], B[:2], covariance=[[1, np.nan], [1, 1]]), "NaN .* in covariance"),
        (lambda: distances.jaccard_distance(A, B), "expected bits in x"),
        (lambda: distances.hamming("1111", "1001"), r"x of shape \[\.\.\., d\]"),
        (lambda: distances.kl_divergence([0.5, 0.6], [0.5, 0.5]), "in x do not sum to 1"),
        (lambda: distances.kl_divergence([0.5, 0.5], [1.5, -0.5]), r"in y is negative: -0\.5"),
        (lambda: distances.kl_divergence([0, 0], [1, 1], normalize=True), "all counts of a vector in x are 0"),
        (lambda: distances.kl_divergence([1, 0], [1, 0], base=1), "base of a logarithm, above 1"),
        (lambda: distances.pairwise([A], [B], budget=0), "budget of bytes above 0"),
        (lambda: distances.pairwise(A, B), r"\[n, d\] and \[m, d\], got shapes \(3,\) and \(3,\)"),
        (lambda: distances.pairwise([A], [[1, 2]]), r"got shapes \(1, 3\) and \(1, 2\)"),
        (lambda: distances.pairwise(np.ones((0, 3))), r"got shapes \(0, 3\)"),
    ],
)
def test_wrong_options(call: Callable[[], Any], message: str):
    """Options and values that a metric cannot use are an error that says what it needs."""
    with pytest.raises(InvalidArgument, match=message):
        call()


@pytest.mark.parametrize("xp", [np, jnp])
@pytest.mark.parametrize("d", [2, 5, 20])
def test_singular_covariance(xp: Any, d: int):
    """The covariance of fewer vectors than dimensions, or of one that is a sum of others, is an error with the advice
    of the notes, although rounding may make it positive definite."""
    rng = np.random.default_rng(d)
    few = np.cov(rng.normal(size=(d, d)), rowvar=False)  # the mean takes one
    dependent = rng.normal(size=(1000, d)) * 10.0 ** np.linspace(-3, 3, d)
    dependent[:, -1] = dependent[:, :-1].sum(1)
    for covariance in (few, np.cov(dependent, rowvar=False)):
        with pytest.raises(InvalidArgument, match="PCA"):
            distances.mahalanobis(xp.zeros(d), xp.ones(d), covariance=xp.asarray(covariance))


def test_a_badly_scaled_covariance_is_not_singular():
    """Variances of 1e-12 and 1e12 without correlation are as good as others."""
    value = distances.mahalanobis([1e-6, 1e6], [0, 0], covariance=[[1e-12, 0], [0, 1e12]])
    assert value == pytest.approx(2**0.5, rel=1e-12)


def test_unknown_metric():
    """A name that there is not is an error with the nearest one."""
    with pytest.raises(UnknownName, match="unknown metric 'euclidian': did you mean euclidean"):
        distances.pairwise([A], metric="euclidian")
