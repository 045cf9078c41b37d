"""Evaluation of variables on a whole split: every example counts once."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.data import Loader
from xxnet_jax.errors import CorruptData, InvalidArgument
from xxnet_jax.metrics import LayerMetric, StreamingMetric, create_metrics
from xxnet_jax.training.dispatch import InputFn, compile_eval_step
from xxnet_jax.training.logging import MeanWindow
from xxnet_jax.training.sharding import put, replicated
from xxnet_jax.training.state import EvalStep


class Evaluation(NamedTuple):
    """What came of a split.

    Attributes:
        figures: by name, such as "loss" and "top5".
        tables: by name, such as "confusion" [classes, classes].
    """

    figures: dict[str, float]
    tables: dict[str, np.ndarray]


CHUNK = 1024  # examples that are counted together
Evaluate = Callable[[dict[str, Any]], Evaluation]


def make_evaluate(
    step: EvalStep,
    loader: Loader,
    input_fn: InputFn,
    mesh: Mesh,
    metrics: Mapping[str, StreamingMetric | LayerMetric] = MappingProxyType({}),
) -> Evaluate:
    """`evaluate(variables)` over all examples of the loader.

    Args:
        step: `eval_step(variables, batch) -> means, counts`.
        loader: made with `train=False`.
        input_fn: makes the batch of the loader's resident arrays and of what it yields.
        mesh: where it runs.
        metrics: those that the step counts for.
    """
    evaluate_batch = compile_eval_step(step, input_fn, mesh)
    resident = put(loader.resident, replicated(mesh))

    def evaluate(variables: dict[str, Any]) -> Evaluation:
        window = MeanWindow()
        states = {name: metric.init() for name, metric in metrics.items()}
        for batch in loader.batches():
            means, counts = evaluate_batch(variables, resident, batch)
            window.add(means)
            states = {name: metric.merge(states[name], counts[name]) for name, metric in metrics.items()}
        figures: dict[str, float] = window.means()
        if not figures:
            raise CorruptData("there is no example to evaluate")
        return _evaluation(figures, metrics, states)

    return evaluate


def evaluate_probabilities(probabilities: np.ndarray, labels: np.ndarray, metrics: Sequence[str] = ()) -> Evaluation:
    """What came of class probabilities that are there already, such as those of a test protocol.

    Args:
        probabilities: float32 [examples, classes].
        labels: int [examples].
        metrics: names as in `Recipe.metrics`, besides accuracy and the logarithmic loss.

    Raises:
        ValueError: there is no such metric, it is one of layers, or a label is of no class.
    """
    classes = probabilities.shape[-1]
    if wrong := [int(label) for label in labels if not 0 <= label < classes]:
        raise CorruptData(f"an example has label {wrong[0]}; with {classes} classes labels must be in 0..{classes - 1}")
    chosen = create_metrics(metrics, classes)
    if of_layers := [name for name, metric in chosen.items() if not isinstance(metric, StreamingMetric)]:
        raise InvalidArgument(f"{', '.join(of_layers)}: probabilities do not tell about layers")
    logits = np.log(np.maximum(probabilities, np.finfo(np.float32).tiny))
    states = {name: metric.init() for name, metric in chosen.items()}
    counts = jax.jit(lambda *batch: {name: metric.count(*batch) for name, metric in chosen.items()})
    for first in range(0, len(labels), CHUNK):
        part = slice(first, first + CHUNK)
        padding = max(0, first + CHUNK - len(labels))
        mask = np.arange(CHUNK) < CHUNK - padding
        counted = counts(np.pad(logits[part], ((0, padding), (0, 0))), np.pad(labels[part], (0, padding)), mask)
        states = {name: metric.merge(states[name], counted[name]) for name, metric in chosen.items()}
    figures = {
        "accuracy": float(np.mean(probabilities.argmax(axis=-1) == labels)),
        "log_loss": float(-np.mean(logits[np.arange(len(labels)), labels], dtype=np.float64)),
    }
    return _evaluation(figures, chosen, states)


def _evaluation(
    figures: dict[str, float], metrics: Mapping[str, StreamingMetric | LayerMetric], states: Mapping[str, Any]
) -> Evaluation:
    """The figures, and what the metrics make of their states."""
    figures, tables = dict(figures), {}
    for name, metric in metrics.items():
        for result, value in metric.result(states[name]).items():
            if np.ndim(value):
                tables[result] = value
            elif not np.isnan(value):
                figures[result] = value
    return Evaluation(figures, tables)
