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

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import Batch, Metrics
from xxnet_jax.training.recipe import Parallel
from xxnet_jax.training.sharding import divided, put, replicated
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
        step: `train_step(state, batch)`; for "pmap" one that was made with the axis name "data".
        input_fn: makes the batch of the loader's resident arrays and of what it yields; compiled with the step.
        mesh: where batches are divided; the members of a population are divided, too.
        steps_per_call: at most so many steps in one call; by default what suits the backend.
        members: "one"; or the leaves of the state have a leading axis of members, a multiple of the mesh's devices, and
            the batches are shared by all ("shared_batch") or have such an axis, too ("own_batches").
        states: how the state lies (see `state_sharding`); by default on every device, members divided.
        parallel: "jit": one program for the whole mesh, which XLA divides; "pmap": the same program on each device,
            with a share of the batch.

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
        *,
        states: Any = None,
        parallel: Parallel = "jit",
    ):
        self.steps_per_call = steps_per_call or default_steps_per_call()
        self.traces = 0

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

        if parallel == "pmap":
            self._single, self._several = _Mapped(single, mesh, axis=0), _Mapped(several, mesh, axis=1)
            return
        everywhere = replicated(mesh)
        if states is None:
            states = everywhere if members == "one" else divided(mesh)
        one_batch, several_batches = (
            everywhere if members == "shared_batch" else divided(mesh, axis) for axis in (0, 1)
        )
        metrics, several_metrics = (everywhere if members == "one" else divided(mesh, axis) for axis in (0, 1))
        self._single = _Divided(single, states, everywhere, one_batch, metrics)
        self._several = _Divided(several, states, everywhere, several_batches, several_metrics)

    def __call__(self, state: TrainState, resident: Any, batches: list[dict[str, Any]]) -> tuple[TrainState, Metrics]:
        """The state after a step for each batch, and metrics; `state` is consumed.

        Metrics have leaves [] for one batch or [batches] for several, with an axis of members at the end.
        """
        step, placed = self._placed(batches)
        with jax.transfer_guard("disallow"):  # whatever else came from the host would come in every step
            return step.compiled(state, resident, placed)

    def program(self, state: TrainState, resident: Any, batches: list[dict[str, Any]]) -> str:
        """What a call with these arguments is compiled to, as XLA prints it; compiled once more for this."""
        step, placed = self._placed(batches)
        return str(step.compiled.lower(state, resident, placed).compile().as_text())

    def _placed(self, batches: list[dict[str, Any]]) -> tuple["_Divided | _Mapped", Batch]:
        if len(batches) == 1:
            return self._single, self._single.place(batches[0])
        stacked = {key: np.stack([batch[key] for batch in batches]) for key in batches[0]}
        return self._several, self._several.place(stacked)


class _Divided:
    """A step, or several, as one program that XLA divides over the mesh."""

    def __init__(self, function: Callable[..., Any], states: Any, resident: Any, batches: Any, metrics: Any):
        self._batches = batches
        self.compiled = jax.jit(
            function,
            in_shardings=(states, resident, batches),
            out_shardings=(states, metrics),
            donate_argnums=0,
        )

    def place(self, batch: dict[str, Any]) -> Batch:
        return put(batch, self._batches)


class _Mapped:
    """A step, or several, as the same program on each device; `axis` of the batches has the examples."""

    def __init__(self, function: Callable[..., Any], mesh: Mesh, axis: int):
        if jax.process_count() > 1:
            raise InvalidArgument("parallel pmap is for one process: take jit")
        self._devices = mesh.shape["data"]
        self._axis = axis
        self._batches = divided(mesh, axis)
        self.compiled = jax.pmap(
            function,
            axis_name="data",
            in_axes=(None, None, axis),
            out_axes=(None, None),
            devices=list(mesh.devices.flat),
            donate_argnums=0,
        )

    def place(self, batch: dict[str, Any]) -> Batch:
        return put(jax.tree.map(self._shares, batch), self._batches)

    def _shares(self, x: np.ndarray) -> np.ndarray:
        """[..., examples, ...] as [..., devices, examples of each, ...]."""
        before, after = x.shape[: self._axis], x.shape[self._axis + 1 :]
        return x.reshape(*before, self._devices, -1, *after)


def compile_eval_step(
    step: EvalStep, input_fn: InputFn, mesh: Mesh
) -> Callable[[dict[str, Any], Any, Batch], tuple[Metrics, dict[str, Any]]]:
    """`evaluate_batch(variables, resident, batch) -> means, counts`, compiled for the mesh; variables stay in place."""
    everywhere = replicated(mesh)
    compiled = jax.jit(
        lambda variables, resident, batch: step(variables, input_fn(resident, batch)),
        in_shardings=(None, everywhere, divided(mesh)),
        out_shardings=everywhere,
    )

    def evaluate_batch(variables: dict[str, Any], resident: Any, batch: Batch) -> tuple[Metrics, dict[str, Any]]:
        return compiled(variables, resident, put(batch, divided(mesh)))

    return evaluate_batch
