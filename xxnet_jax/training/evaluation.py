"""Evaluation of variables on a whole split: every example counts once."""

from collections.abc import Callable
from typing import Any

from jax.sharding import Mesh

from xxnet_jax.data import Loader
from xxnet_jax.errors import CorruptData
from xxnet_jax.training.dispatch import InputFn, compile_eval_step
from xxnet_jax.training.logging import MeanWindow
from xxnet_jax.training.sharding import put, replicated
from xxnet_jax.training.state import EvalStep

Evaluate = Callable[[dict[str, Any]], dict[str, float]]


def make_evaluate(step: EvalStep, loader: Loader, input_fn: InputFn, mesh: Mesh) -> Evaluate:
    """`evaluate(variables) -> {metric: mean}` over all examples of the loader.

    Args:
        step: `eval_step(variables, batch)`.
        loader: made with `train=False`.
        input_fn: makes the batch of the loader's resident arrays and of what it yields.
        mesh: where it runs.
    """
    evaluate_batch = compile_eval_step(step, input_fn, mesh)
    resident = put(loader.resident, replicated(mesh))

    def evaluate(variables: dict[str, Any]) -> dict[str, float]:
        window = MeanWindow()
        for batch in loader.batches():
            window.add(evaluate_batch(variables, resident, batch))
        means = window.means()
        if not means:
            raise CorruptData("there is no example to evaluate")
        return means

    return evaluate
