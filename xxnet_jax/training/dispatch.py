"""How a step is compiled, and how several steps run on each backend.

On GPU and TPU several steps are one call of a compiled `lax.scan`: no time is lost between them. On CPU a convolution
inside a loop of XLA is 3 to 28 times slower than outside, so there each step is a call of its own.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.losses import Batch, Metrics
from xxnet_jax.training.sharding import divided, replicated
from xxnet_jax.training.state import TrainState
from xxnet_jax.training.step import EvalStep, TrainStep

InputFn = Callable[[Any, Batch], Batch]


def default_steps_per_call() -> int:
    """1 on CPU; several where a loop of XLA costs nothing."""
    return 1 if jax.default_backend() == "cpu" else 16


class CompiledTrainStep:
    """Advances a state by one or several steps.

    Args:
        step: `train_step(state, batch)`.
        input_fn: makes the batch of the loader's resident arrays and of what it yields; compiled with the step.
        mesh: where batches are divided and everything else is replicated.
        steps_per_call: at most so many steps in one call; by default what suits the backend.

    Attributes:
        traces: how often the step was traced, that is, compiled: once, or twice where calls of several steps mix with
            calls of one.
    """

    def __init__(
        self,
        step: TrainStep,
        input_fn: InputFn,
        mesh: Mesh,
        steps_per_call: int | None = None,
    ):
        self.steps_per_call = steps_per_call or default_steps_per_call()
        self.traces = 0
        self._mesh = mesh
        everywhere = replicated(mesh)

        def single(state: TrainState, resident: Any, batch: Batch) -> tuple[TrainState, Metrics]:
            self.traces += 1
            return step(state, input_fn(resident, batch))

        def several(state: TrainState, resident: Any, batches: Batch) -> tuple[TrainState, Metrics]:
            return jax.lax.scan(lambda s, batch: single(s, resident, batch), state, batches)

        self._single, self._several = (
            jax.jit(
                function,
                in_shardings=(everywhere, everywhere, divided(mesh, axis)),
                out_shardings=everywhere,
                donate_argnums=0,
            )
            for function, axis in ((single, 0), (several, 1))
        )

    def __call__(self, state: TrainState, resident: Any, batches: list[Batch]) -> tuple[TrainState, Metrics]:
        """The state after a step for each batch, and metrics with leaves [] or [len(batches)]; `state` is consumed."""
        if len(batches) == 1:
            batch = jax.device_put(batches[0], divided(self._mesh))
            return self._single(state, resident, batch)
        stacked = {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}
        return self._several(state, resident, jax.device_put(stacked, divided(self._mesh, 1)))


def compile_eval_step(step: EvalStep, input_fn: InputFn, mesh: Mesh) -> Callable[[dict[str, Any], Any, Batch], Metrics]:
    """`evaluate_batch(variables, resident, batch) -> metrics`, compiled for the mesh."""
    everywhere = replicated(mesh)
    compiled = jax.jit(
        lambda variables, resident, batch: step(variables, input_fn(resident, batch)),
        in_shardings=(everywhere, everywhere, divided(mesh)),
        out_shardings=everywhere,
    )

    def evaluate_batch(variables: dict[str, Any], resident: Any, batch: Batch) -> Metrics:
        return compiled(variables, resident, jax.device_put(batch, divided(mesh)))

    return evaluate_batch
