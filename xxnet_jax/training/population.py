"""Populations: many copies of one training, which differ in their seed and in numbers of the optimizer.

All members share one compiled step; what differs stands in their states. On GPU and TPU members are one vectorized
state, divided over the devices. On CPU they are trained one after another: that is faster there.
"""

import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from xxnet_jax.data import Loader
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.losses import LossFn, Metrics
from xxnet_jax.models import Network
from xxnet_jax.optimizers import default_learning_rate, training_optimizer
from xxnet_jax.training.dispatch import CompiledTrainStep, InputFn, loops_cost_nothing
from xxnet_jax.training.loop import SYNC_SECONDS
from xxnet_jax.training.sharding import divided, replicated
from xxnet_jax.training.state import TrainState, initial_state
from xxnet_jax.training.step import make_train_step


@dataclass(frozen=True)
class Member:
    """What one copy has of its own.

    Attributes:
        seed: of its parameters, of everything random in its steps, and of its data order, if that is its own.
        learning_rate: the base rate; None: the optimizer's own.
        hyperparameters: of the rule; all members of a population name the same ones.
    """

    seed: int = 0
    learning_rate: float | None = None
    hyperparameters: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class MemberResult:
    """How a copy ended.

    Attributes:
        member: which.
        state: after its last step.
        losses: float32 [steps made], the training loss of each step.
        diverged_at: number of the first step (the first is 1) whose loss is not finite, or None.
        seconds: that it took; its share, where members are trained together.
    """

    member: Member
    state: TrainState
    losses: np.ndarray
    diverged_at: int | None
    seconds: float


class Population:
    """Trains members of one network, optimizer, loss and dataset.

    Args:
        model: a network.
        optimizer: name; see `training_optimizer`, also for `optimizer_options` such as `like` and `schedule`.
        loss_fn: of the outputs.
        loader: of the training split.
        input_fn: makes the batch of the loader's resident arrays and of what it yields.
        image_shape: (height, width, channels) of the batch's images.
        mesh: where it runs.
        own_order: each member has its own order of the data, of its seed; otherwise all have the loader's.
        vectorized: members are trained together; by default what suits the backend.
        at_once: members that are trained together at most; by default all.
        step_options: of `make_train_step`.
    """

    def __init__(
        self,
        model: Network,
        optimizer: str,
        loss_fn: LossFn,
        loader: Loader,
        input_fn: InputFn,
        image_shape: tuple[int, int, int],
        mesh: Mesh,
        *,
        own_order: bool = True,
        vectorized: bool | None = None,
        at_once: int | None = None,
        optimizer_options: Mapping[str, Any] | None = None,
        step_options: Mapping[str, Any] | None = None,
    ):
        self.vectorized = self.vectorized_by_default() if vectorized is None else vectorized
        if at_once is not None and at_once < 1:
            raise InvalidArgument(f"at_once must be at least 1, got {at_once}")
        self.at_once = at_once
        self._loader, self._own_order = loader, own_order
        self._model, self._image_shape, self._mesh = model, image_shape, mesh
        self._optimizer, self._optimizer_options = optimizer, dict(optimizer_options or {})
        self._loss_fn, self._input_fn, self._step_options = loss_fn, input_fn, dict(step_options or {})
        self._compiled: dict[tuple[str, ...], tuple[Any, CompiledTrainStep]] = {}

    @staticmethod
    def vectorized_by_default() -> bool:
        """Together on GPU and TPU, one after another on CPU (`experiments/benchmarks/population.py`)."""
        return loops_cost_nothing()

    def train(
        self,
        members: Sequence[Member],
        steps: int,
        progress: Callable[[int, float], None] = lambda done, loss: None,
    ) -> Iterator[MemberResult]:
        """Train each member for so many steps; results come in the order of the members, as soon as they are there.

        A member whose loss is no longer finite is recorded as diverged. Alone it stops there; among others it goes on
        for nothing, without touching them.

        Args:
            members: what differs.
            steps: of each.
            progress: called now and then with the number of the step and the mean of the last losses.

        Raises:
            ValueError: the members name different hyperparameters, or values that the optimizer refuses.
        """
        names = {tuple(sorted(member.hyperparameters)) for member in members}
        if len(names) > 1:
            raise InvalidArgument(f"all members must name the same hyperparameters, got {sorted(names)}")
        if not members:
            return
        if steps < 1 or min(member.seed for member in members) < 0:
            raise InvalidArgument(f"members need seeds of at least 0 and at least one step, got {steps} steps")
        for member in members:
            self._transformation(member.learning_rate, member.hyperparameters)  # a wrong value is an error now
        if self.vectorized:
            size = self.at_once or len(members)
            for start in range(0, len(members), size):
                yield from self._train_together(members[start : start + size], steps, progress)
        else:
            for member in members:
                yield self._train_alone(member, steps, progress)

    def _transformation(self, learning_rate: Any, hyperparameters: Mapping[str, Any]) -> Any:
        return training_optimizer(
            self._optimizer,
            learning_rate,
            hyperparameters={**self._optimizer_options.get("hyperparameters", {}), **hyperparameters},
            traced=tuple(hyperparameters),
            **{key: value for key, value in self._optimizer_options.items() if key != "hyperparameters"},
        )

    def _programs(self, example: Member) -> tuple[Any, CompiledTrainStep]:
        """Initialization, and the step, compiled once for all members that name the same hyperparameters."""
        key = tuple(sorted(example.hyperparameters))
        if key not in self._compiled:
            tx = self._transformation(example.learning_rate, example.hyperparameters)

            def initialize(key: jax.Array, rate: jax.Array, hyperparameters: dict[str, jax.Array]) -> TrainState:
                own = self._transformation(rate, hyperparameters)
                return initial_state(self._model, own, self._image_shape, key, ema=False)

            options: Any = {"xla_backend_optimization_level": 0}  # as in `create_state`
            if self.vectorized:
                members = "own_batches" if self._own_order else "shared_batch"
                compiled = jax.jit(jax.vmap(initialize), out_shardings=divided(self._mesh), compiler_options=options)
            else:
                members = "one"
                compiled = jax.jit(initialize, out_shardings=replicated(self._mesh), compiler_options=options)
            step = make_train_step(self._model, tx, self._loss_fn, **self._step_options)
            self._compiled[key] = compiled, CompiledTrainStep(step, self._input_fn, self._mesh, members=members)
        return self._compiled[key]

    def _rate(self, member: Member) -> float:
        if member.learning_rate is not None:
            return member.learning_rate
        return default_learning_rate(self._optimizer, self._optimizer_options.get("like", "paper"))

    def _train_alone(self, member: Member, steps: int, progress: Callable[[int, float], None]) -> MemberResult:
        initialize, train_step = self._programs(member)
        started = time.perf_counter()
        rate = np.float32(self._rate(member))
        values = {name: np.float32(value) for name, value in member.hyperparameters.items()}
        state = initialize(jax.random.key(member.seed), rate, values)
        loader = self._loader.with_seed(member.seed) if self._own_order else self._loader
        state, losses = self._advance(train_step, state, loader.batches(), steps, progress, stop_early=True)
        return self._result(member, state, losses, time.perf_counter() - started)

    def _train_together(
        self, members: Sequence[Member], steps: int, progress: Callable[[int, float], None]
    ) -> Iterator[MemberResult]:
        initialize, train_step = self._programs(members[0])
        started = time.perf_counter()
        padded = [*members, *itertools.repeat(members[-1], -len(members) % self._mesh.size)]
        keys = jax.vmap(jax.random.key)(np.array([member.seed for member in padded]))
        rates = np.array([self._rate(member) for member in padded], np.float32)
        values = {
            name: np.array([member.hyperparameters[name] for member in padded], np.float32)
            for name in members[0].hyperparameters
        }
        state = initialize(keys, rates, values)
        if self._own_order:
            each = [self._loader.with_seed(member.seed).batches() for member in padded]
            batches = (
                {key: np.stack([b[key] for b in group]) for key in group[0]} for group in zip(*each, strict=True)
            )
        else:
            batches = self._loader.batches()
        state, losses = self._advance(train_step, state, batches, steps, progress, stop_early=False)
        seconds = (time.perf_counter() - started) / len(members)
        for index, member in enumerate(members):
            own = jax.tree.map(lambda leaf, index=index: leaf[index], state)
            yield self._result(member, own, losses[:, index], seconds)

    def _advance(
        self,
        train_step: CompiledTrainStep,
        state: TrainState,
        batches: Iterator[Any],
        steps: int,
        progress: Callable[[int, float], None],
        *,
        stop_early: bool,
    ) -> tuple[TrainState, np.ndarray]:
        """The state after the steps, and the losses [steps, ...]; fewer steps if a loss is not finite."""
        resident = jax.device_put(self._loader.resident, replicated(self._mesh))
        collected: list[np.ndarray] = []
        pending: list[Metrics] = []
        done, synced = 0, time.perf_counter()
        while done < steps:
            count = train_step.steps_per_call if train_step.steps_per_call <= steps - done else 1
            state, metrics = train_step(state, resident, list(itertools.islice(batches, count)))
            pending.append(metrics)
            done += count
            if done == steps or time.perf_counter() - synced > SYNC_SECONDS:
                collected += [_losses(metrics) for metrics in jax.device_get(pending)]
                pending.clear()
                synced = time.perf_counter()
                progress(done, float(np.mean(collected[-1])))
                if stop_early and not np.isfinite(collected[-1]).all():
                    break
        losses = [values.reshape(-1, *state.step.shape) for values in collected]
        return state, np.concatenate(losses)

    def _result(self, member: Member, state: TrainState, losses: np.ndarray, seconds: float) -> MemberResult:
        bad = np.flatnonzero(~np.isfinite(losses))
        diverged_at = int(bad[0]) + 1 if len(bad) else None
        return MemberResult(member, state, losses[:diverged_at], diverged_at, seconds)


def _losses(metrics: Metrics) -> np.ndarray:
    """float32 [steps], or [steps, members]."""
    mean = metrics["loss"]
    return np.asarray(mean.total / np.maximum(mean.weight, 1e-12))
