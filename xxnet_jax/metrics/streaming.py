"""Metrics as sums and counts, so that those of batches, devices and steps add up to that of all examples.

    metric = create_metric("top5", num_classes=1000)
    state = metric.init()
    for batch in batches:
        state = metric.update(state, logits, labels, mask)
    figures = metric.result(state)                      # {"top5": 0.93}

Counts are int32, exact for 2^31 examples. Metrics of layers, `dead_units` and `response_spread`, see activations of the
network in place of logits and labels: `count(activations, mask)`.
"""

import abc
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.metrics.classification import Counts, correlation_of, counts_of, label_ranks, scores_of
from xxnet_jax.metrics.labels import bincount, count_pairs
from xxnet_jax.metrics.ranking import average_precision, roc_auc
from xxnet_jax.precision import at_least_float32


@flax.struct.dataclass
class Mean:
    """A weighted mean that is not yet divided: add two, and the mean of all examples results.

    Attributes:
        total: float32 [], the weighted sum.
        weight: float32 [], the sum of the weights.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, values: jax.Array, weights: jax.Array | None = None) -> "Mean":
        """The mean of `values` [batch], each with its weight (a mask will do); all ones by default."""
        values = at_least_float32(values)
        weights = jnp.ones_like(values) if weights is None else weights.astype(values.dtype)
        if values.shape != weights.shape:
            raise ValueError(f"values have shape {values.shape}, weights {weights.shape}")
        # The value of a masked example may be NaN: it is selected away, not multiplied by zero.
        return cls(jnp.sum(jnp.where(weights != 0, values * weights, 0.0)), jnp.sum(weights))

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.weight + other.weight)

    def value(self) -> jax.Array:
        """total / weight, float32 []; 0 when nothing was counted."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-12), 0.0)


class Accumulated(abc.ABC):
    """What is gathered over examples: states of two sets of examples merge to that of both."""

    @abc.abstractmethod
    def init(self) -> Any:
        """The state of no examples."""

    @abc.abstractmethod
    def merge(self, state: Any, other: Any) -> Any:
        """The state of both sets of examples."""

    @abc.abstractmethod
    def result(self, state: Any) -> dict[str, Any]:
        """Figures by name, float or NumPy arrays, of a state of JAX or NumPy arrays; NaN where nothing was counted."""


class StreamingMetric(Accumulated):
    """A metric of a classifier whose state is a tree of sums: that of two sets of examples is the sum of theirs."""

    @abc.abstractmethod
    def count(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> Any:
        """The state of a batch.

        Args:
            logits: [batch, classes].
            labels: int [batch].
            mask: bool [batch], which examples count.
        """

    def update(self, state: Any, logits: ArrayLike, labels: ArrayLike, mask: ArrayLike | None = None) -> Any:
        """The state with a batch; arguments as in `count`, by default all examples count.

        Raises:
            ValueError: the shapes do not fit.
        """
        logits, labels = jnp.asarray(logits), jnp.asarray(labels)
        mask = jnp.ones(labels.shape, bool) if mask is None else jnp.asarray(mask, bool)
        if labels.ndim != 1 or logits.shape[:-1] != labels.shape or mask.shape != labels.shape:
            raise InvalidArgument(
                "expected logits [batch, classes], labels [batch] and mask [batch], "
                f"got {logits.shape}, {labels.shape} and {mask.shape}"
            )
        return self.merge(state, self.count(logits, labels, mask))

    def merge(self, state: Any, other: Any) -> Any:
        return jax.tree.map(lambda a, b: a + b, state, other)


@dataclass(frozen=True)
class TopK(StreamingMetric):
    """Part of the examples whose label is among the `k` largest logits; see `top_k_accuracy_score`.

    The state is int32 [2]: right ones, and all.
    """

    k: int

    def init(self) -> jax.Array:
        return jnp.zeros(2, jnp.int32)

    def count(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        hits = mask & (label_ranks(labels, logits) < self.k)
        return jnp.stack([hits.sum(dtype=jnp.int32), mask.sum(dtype=jnp.int32)])

    def result(self, state: Any) -> dict[str, Any]:
        hits, examples = np.asarray(state, np.float64)
        return {f"top{self.k}": float(hits / examples) if examples else np.nan}


@dataclass(frozen=True)
class Confusion(StreamingMetric):
    """The confusion matrix, and what is derived from it.

    The state is int32 [classes, classes], as `confusion_matrix`.

    Attributes:
        num_classes: rows and columns.
        figures: names in `OF_CONFUSION`.
    """

    num_classes: int
    figures: tuple[str, ...] = ("confusion",)

    def init(self) -> jax.Array:
        return jnp.zeros((self.num_classes, self.num_classes), jnp.int32)

    def count(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        return count_pairs(jnp, labels, jnp.argmax(logits, -1), (self.num_classes, self.num_classes), mask)

    def result(self, state: Any) -> dict[str, Any]:
        return {name: OF_CONFUSION[name](np.asarray(state)) for name in self.figures}


def _macro(place: int) -> Callable[[np.ndarray], float]:
    """Precision, recall or F1: its mean over the classes that occur or were predicted."""

    def mean(matrix: np.ndarray) -> float:
        occurs = matrix.sum(0) + matrix.sum(1) > 0
        counts = Counts(*(count[occurs] for count in counts_of(matrix)))
        return float(scores_of(counts, average="macro")[place]) if occurs.any() else np.nan

    return mean


OF_CONFUSION: dict[str, Callable[[np.ndarray], Any]] = {
    "confusion": lambda matrix: matrix,
    "precision": _macro(0),
    "recall": _macro(1),
    "f1": _macro(2),
    "mcc": lambda matrix: float(correlation_of(matrix)),
}


@dataclass(frozen=True)
class ScoreHistogram(StreamingMetric):
    """How often each class has which score, where it is the true one and where it is not; the areas under its curves.

    The score of a class is the log-odds of its probability, -16 .. 16, in `bins` of equal width; scores of one bin are
    ties. The state is int32 [classes, bins, 2]: where another class is true, and where this one is. Of two classes only
    the second has a histogram.

    Attributes:
        num_classes: of the logits.
        figures: names in `OF_SCORES`.
        bins: of each class.
    """

    num_classes: int
    figures: tuple[str, ...] = ("auc",)
    bins: int = 2048

    @property
    def classes(self) -> range:
        """Those that have a histogram."""
        return range(1 if self.num_classes == 2 else 0, self.num_classes)

    def init(self) -> jax.Array:
        return jnp.zeros((len(self.classes), self.bins, 2), jnp.int32)

    def count(self, logits: jax.Array, labels: jax.Array, mask: jax.Array) -> jax.Array:
        log_p = jax.nn.log_softmax(at_least_float32(logits))
        log_odds = (log_p - jnp.log(-jnp.expm1(jnp.minimum(log_p, -1e-7))))[:, self.classes.start :]
        places = jnp.floor((log_odds / (2 * LARGEST_LOG_ODDS) + 0.5) * self.bins)
        places = jnp.clip(places, 0, self.bins - 1).astype(jnp.int32)
        number = jnp.arange(len(self.classes))[None]
        cells = 2 * (number * self.bins + places) + (labels[:, None] == number + self.classes.start)
        counted = jnp.broadcast_to(mask[:, None], cells.shape)
        counts = bincount(jnp, cells.ravel(), len(self.classes) * self.bins * 2, counted.ravel())
        return counts.reshape(-1, self.bins, 2)

    def result(self, state: Any) -> dict[str, Any]:
        return {name: OF_SCORES[name](np.asarray(state)) for name in self.figures}


LARGEST_LOG_ODDS = 16.0


def examples_of(histogram: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, scores and weights that have this histogram [bins, 2] of a class; for `roc_curve` and others."""
    bins = len(histogram)
    scores = ((np.arange(bins) + 0.5) / bins - 0.5) * 2 * LARGEST_LOG_ODDS
    return np.tile([0, 1], bins), np.repeat(scores, 2), histogram.ravel()


def _mean_area(area: Callable[..., Any], negatives: bool) -> Callable[[np.ndarray], float]:
    """Over the classes that have examples, and examples of others, if these are needed."""

    def mean(histograms: np.ndarray) -> float:
        examples = histograms.sum(1)
        defined = (examples[:, 1] > 0) & ((examples[:, 0] > 0) | (not negatives))
        areas = [
            area(labels == 1, scores, weights) for labels, scores, weights in map(examples_of, histograms[defined])
        ]
        return float(np.mean(areas)) if areas else np.nan

    return mean


OF_SCORES: dict[str, Callable[[np.ndarray], Any]] = {
    "score_histogram": lambda histograms: histograms,
    "auc": _mean_area(roc_auc, negatives=True),
    "average_precision": _mean_area(average_precision, negatives=False),
}


# --- Metrics of layers ------------------------------------------------------------------------------------------------

Activations = Mapping[str, jax.Array]  # by name, in the order of the computation, [batch, ...]


class LayerMetric(Accumulated):
    """A figure for each layer of a network, and one for all: "name/layer" and "name".

    Attributes:
        observes: what it is counted of, the named activations or the responses of the layers (see `models.observe`).
    """

    observes: ClassVar[Literal["endpoints", "responses"]]

    @abc.abstractmethod
    def count(self, activations: Activations, mask: jax.Array) -> Any:
        """The state of a batch.

        Args:
            activations: of the layers, by name.
            mask: bool [batch], which examples count.
        """


def _layer_figures(name: str, layers: Sequence[str], values: np.ndarray, summary: float) -> dict[str, Any]:
    return {name: summary, **{f"{name}/{layer}": float(v) for layer, v in zip(layers, values, strict=True)}}


@flax.struct.dataclass
class Life:
    """Which features have been active.

    Attributes:
        layers: their names.
        active: for each layer bool [features]: above zero at a pixel of an example.
        negative: bool [layers], whether the layer had a value below zero.
    """

    layers: tuple[str, ...] = flax.struct.field(pytree_node=False)
    active: tuple[jax.Array, ...]
    negative: jax.Array


@dataclass(frozen=True)
class DeadUnits(LayerMetric):
    """Share of the features of rectified activations that are zero at every pixel of every example.

    The pixels of a feature share its weights: where all are zero, no gradient reaches them. An activation is taken for
    rectified where none of its values is negative, which also holds for pools and joins of rectified ones. The figure
    of all is that of their features together.
    """

    observes: ClassVar = "endpoints"

    def init(self) -> Life:
        return Life((), (), jnp.zeros(0, bool))

    def count(self, activations: Activations, mask: jax.Array) -> Life:
        counted = [jnp.where(mask.reshape(-1, *[1] * (x.ndim - 1)), x, 0) for x in activations.values()]
        # By extremes: XLA on CPU takes seconds to compile `jnp.any` of a large array.
        low, high = ([limit(x, tuple(range(x.ndim - 1))) for x in counted] for limit in (jnp.min, jnp.max))
        return Life(tuple(activations), tuple(x > 0 for x in high), jnp.stack([jnp.any(x < 0) for x in low]))

    def merge(self, state: Life, other: Life) -> Life:
        if not (state.layers and other.layers):
            return state if state.layers else other
        active = tuple(a | b for a, b in zip(state.active, other.active, strict=True))
        return Life(state.layers, active, state.negative | other.negative)

    def result(self, state: Life) -> dict[str, Any]:
        layers = zip(state.layers, map(np.asarray, state.active), np.asarray(state.negative), strict=True)
        rectified = {layer: ~active for layer, active, negative in layers if not negative}
        shares = np.array([dead.mean() for dead in rectified.values()])
        every = np.concatenate(list(rectified.values())).mean() if rectified else np.nan
        return _layer_figures("dead_units", list(rectified), shares, float(every))


@flax.struct.dataclass
class Moments:
    """Mean and variance of the values of each layer.

    Attributes:
        layers: their names.
        examples: int32 []; each has the same number of values in a layer.
        mean, variance: float32 [layers].
    """

    layers: tuple[str, ...] = flax.struct.field(pytree_node=False)
    examples: jax.Array
    mean: jax.Array
    variance: jax.Array


@dataclass(frozen=True)
class ResponseSpread(LayerMetric):
    """Standard deviation of the responses of each layer, over examples, pixels and features; of all, their mean.

    He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition, 2015, section 4.2 "Analysis of Layer Responses"
    and Figure 7: the smaller, the less a layer changes what comes to it. Batches are merged by their means and
    variances (Chan, Golub, LeVeque, Updating Formulae and a Pairwise Algorithm for Computing Sample Variances, 1979),
    as the difference of two large sums would lose the digits of a small variance.
    """

    observes: ClassVar = "responses"

    def init(self) -> Moments:
        return Moments((), jnp.zeros((), jnp.int32), jnp.zeros(0), jnp.zeros(0))

    def count(self, activations: Activations, mask: jax.Array) -> Moments:
        examples = mask.sum(dtype=jnp.int32)
        moments = [_moments(at_least_float32(x), mask, examples) for x in activations.values()]
        mean, variance = (jnp.stack(values) for values in zip(*moments, strict=True))
        return Moments(tuple(activations), examples, mean, variance)

    def merge(self, state: Moments, other: Moments) -> Moments:
        if not (state.layers and other.layers):
            return state if state.layers else other
        examples = state.examples + other.examples
        part = (other.examples / jnp.maximum(examples, 1)).astype(jnp.float32)
        difference = other.mean - state.mean
        return Moments(
            state.layers,
            examples,
            state.mean + part * difference,
            (1 - part) * state.variance + part * other.variance + part * (1 - part) * difference**2,
        )

    def result(self, state: Moments) -> dict[str, Any]:
        if not int(state.examples):
            return {"response_spread": np.nan}
        spread = np.sqrt(np.asarray(state.variance, np.float64))
        return _layer_figures("response_spread", state.layers, spread, float(spread.mean()))


def _moments(x: jax.Array, mask: jax.Array, examples: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance of all values of the examples that count; a value that does not may be NaN."""

    def mean_of(values: jax.Array) -> jax.Array:
        for axis in reversed(range(1, values.ndim)):  # one sum of millions of float32 would lose digits
            values = values.mean(axis)
        return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(examples, 1)

    mean = mean_of(x)
    return mean, mean_of(jnp.square(x - mean))


OF_LAYERS: dict[str, LayerMetric] = {"dead_units": DeadUnits(), "response_spread": ResponseSpread()}


def figures_of_layers(figures: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The metrics of layers among the figures of an evaluation: metric -> layer -> value, in their order."""
    found: dict[str, dict[str, float]] = {}
    for name, value in figures.items():
        metric, _, layer = name.partition("/")
        if metric in OF_LAYERS and layer:
            found.setdefault(metric, {})[layer] = value
    return found


def metric_names() -> list[str]:
    """What `create_metrics` knows, besides top1, top2, ..."""
    return sorted([*OF_CONFUSION, *OF_SCORES, *OF_LAYERS, "top5"])


def create_metrics(names: Sequence[str], num_classes: int) -> dict[str, StreamingMetric | LayerMetric]:
    """Streaming metrics that have all figures of these names; those that come of the same counts are one.

    Args:
        names: top1, top2, ..., or of `metric_names()`; several may stand in one, as "top5,auc".
        num_classes: of the logits.

    Raises:
        ValueError: unknown name, or top-k of fewer classes.
    """
    names = [name.strip() for several in names for name in several.split(",") if name.strip()]
    metrics: dict[str, StreamingMetric | LayerMetric] = {}
    for name in names:
        if found := re.fullmatch(r"top(\d+)", name):
            k = int(found[1])
            if not 1 <= k <= num_classes:
                raise InvalidArgument(f"{name} needs k in 1..{num_classes}, the number of classes")
            metrics[name] = TopK(k)
        elif name in OF_LAYERS:
            metrics[name] = OF_LAYERS[name]
        elif name not in (*OF_CONFUSION, *OF_SCORES):
            raise UnknownName("metric", name, metric_names())
    if figures := tuple(name for name in OF_CONFUSION if name in names):
        metrics["confusion"] = Confusion(num_classes, figures)
    if figures := tuple(name for name in OF_SCORES if name in names):
        metrics["scores"] = ScoreHistogram(num_classes, figures)
    return metrics
