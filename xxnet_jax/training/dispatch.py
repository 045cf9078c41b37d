"""How a step is compiled, and how several steps, micro-batches or members of a population run on each backend.

On GPU and TPU several steps are one call of a compiled `lax.scan`, and the members of a population one vectorized step:
no time is lost between them. On CPU a convolution inside a loop of XLA is 3 to 28 times slower than outside, and
vectorized weights are slower than one after another; so there each step of each member is a call of its own, and
micro-batches are unrolled.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.losses import Batch, Metrics
from xxnet_jax.training.sharding import divided, replicated
from xxnet_jax.training.state import EvalStep, TrainState, TrainStep

InputFn = Callable[[Any, Batch], Batch]
Members = Literal["one", "shared_batch", "own_batches"]


def loops_cost_nothing() -> bool:
    """Whether a loop of XLA runs its body as fast as straight code would: everywhere but on CPU."""
    return jax.default_backend() != "cpu"


def default_steps_per_call() -> int:
    """1 on CPU; several where a loop of XLA costs nothing."""
    return 16 if loops_cost_nothing() else 1


def fold(body: Callable[[Any, Any], tuple[Any, Any]], carry: Any, xs: Any) -> tuple[Any, Any]:
    """`jax.lax.scan`, unrolled where a loop of XLA is slow."""
    return jax.lax.scan(body, carry, xs, unroll=not loops_cost_nothing())


def micro_batches(batch: Batch, count: int) -> Batch:
    """Leaves [batch, ...] as [count, batch / count, ...]; each device keeps the examples that it has."""

    def split(x: jax.Array) -> jax.Array:
        return x.reshape(len(x) // count, count, *x.shape[1:]).swapaxes(0, 1)

    return {key: split(values) for key, values in batch.items()}


class CompiledTrainStep:
    """Advances a state by one or several steps.

    Args:
        step: `train_step(state, batch)`.
        input_fn: makes the batch of the loader's resident arrays and of what it yields; compiled with the step.
        mesh: where batches are divided and everything else is replicated; the members of a population are divided.
        steps_per_call: at most so many steps in one call; by default what suits the backend.
        members: "one"; or the leaves of the state have a leading axis of members, a multiple of the mesh's devices, and
            the batches are shared by all ("shared_batch") or have such an axis, too ("own_batches").

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
        members: Members = "one",
    ):
        self.steps_per_call = steps_per_call or default_steps_per_call()
        self.traces = 0
        everywhere = replicated(mesh)
        states = everywhere if members == "one" else divided(mesh)

        def single(state: TrainState, resident: Any, batch: Batch) -> tuple[TrainState, Metrics]:
            self.traces += 1
            if members == "own_batches":
                return jax.vmap(lambda s, b: step(s, input_fn(resident, b)))(state, batch)
            batch = input_fn(resident, batch)
            if members == "shared_batch":
                return jax.vmap(step, in_axes=(0, None))(state, batch)
            return step(state, batch)

        def several(state: TrainState, resident: Any, batches: Batch) -> tuple[TrainState, Metrics]:
            return jax.lax.scan(lambda s, batch: single(s, resident, batch), state, batches)

        shared = members == "shared_batch"
        self._one_batch, self._several_batches = (everywhere if shared else divided(mesh, axis) for axis in (0, 1))
        self._single, self._several = (
            jax.jit(
                function,
                in_shardings=(states, everywhere, batches),
                out_shardings=(states, metrics),
                donate_argnums=0,
            )
            for function, batches, metrics in (
                (single, self._one_batch, states),
                (several, self._several_batches, everywhere if members == "one" else divided(mesh, 1)),
            )
        )

    def __call__(self, state: TrainState, resident: Any, batches: list[Batch]) -> tuple[TrainState, Metrics]:
        """The state after a step for each batch, and metrics; `state` is consumed.

        Metrics have leaves [] for one batch or [batches] for several, with an axis of members at the end.
        """
        if len(batches) == 1:
            return self._single(state, resident, jax.device_put(batches[0], self._one_batch))
        stacked = {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}
        return self._several(state, resident, jax.device_put(stacked, self._several_batches))


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
