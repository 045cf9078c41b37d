"""Evaluation of variables on a whole split: every example counts once."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from jax.sharding import Mesh

from xxnet_jax.data import Loader
from xxnet_jax.errors import CorruptData
from xxnet_jax.metrics import LayerMetric, StreamingMetric
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
        tables: dict[str, np.ndarray] = {}
        for name, metric in metrics.items():
            for result, value in metric.result(states[name]).items():
                if np.ndim(value):
                    tables[result] = value
                elif not np.isnan(value):
                    figures[result] = value
        return Evaluation(figures, tables)

    return evaluate
