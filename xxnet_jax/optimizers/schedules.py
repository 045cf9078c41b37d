"""Learning rates as functions of the step, and reduction on a plateau of a validation metric."""

import math
from dataclasses import dataclass, replace
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.optimizers.factory import create_optimizer


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes; `create_schedule` has the formulas.

    Attributes:
        name: constant, exponential, step, cosine or plateau.
        warmup_steps: steps of linear warm-up from zero, before any of them.
        decay_rate: factor of exponential, step and plateau.
        decay_steps: exponential: steps for one factor; step: one factor each so many steps.
        staircase: exponential: decay at whole multiples of decay_steps only.
        boundaries: step: one factor at each of these steps of the training, in place of decay_steps.
        final_fraction: cosine: the last rate as a fraction of the first.
        patience: plateau: evaluations without a better value before the rate is reduced.
        max_reductions: plateau: reductions at most, None for no limit.
    """

    name: Literal["constant", "exponential", "step", "cosine", "plateau"] = "constant"
    warmup_steps: int = 0
    decay_rate: float = 0.1
    decay_steps: int | None = None
    staircase: bool = False
    boundaries: tuple[int, ...] = ()
    final_fraction: float = 0.0
    patience: int = 5
    max_reductions: int | None = None

    @property
    def depends_on_total_steps(self) -> bool:
        """Whether a longer run would have had other rates from the start."""
        return self.name == "cosine"


def create_schedule(config: ScheduleConfig, learning_rate: float, total_steps: int) -> optax.Schedule:
    """The learning rate at step t (the first is 0), for base rate r, decay rate d and decay steps k:

    constant r; exponential r d^(t/k), with floor(t/k) as a staircase; step r d^n with n boundaries at or before t;
    cosine r (f + (1 - f) (1 + cos(pi t / T)) / 2) over the T steps after the warm-up (Loshchilov and Hutter, 2017);
    plateau r, to be scaled by `Plateau`. Warm-up takes w steps, at rate r t / w, and the schedule starts after it.

    Raises:
        ValueError: a value that the schedule needs is missing or out of range.
    """
    if config.warmup_steps < 0 or config.warmup_steps >= max(total_steps, 1):
        raise InvalidArgument(f"warmup_steps must be in [0, {total_steps}), got {config.warmup_steps}")
    if not learning_rate > 0:
        raise InvalidArgument(f"the learning rate must be positive, got {learning_rate}")
    if not 0 < config.decay_rate <= 1:
        raise InvalidArgument(f"decay_rate must be in (0, 1], got {config.decay_rate}")
    remaining = total_steps - config.warmup_steps
    match config.name:
        case "constant" | "plateau":
            schedule = optax.constant_schedule(learning_rate)
        case "exponential":
            schedule = optax.exponential_decay(
                learning_rate,
                _positive_decay_steps(config),
                config.decay_rate,
                staircase=config.staircase,
            )
        case "step":
            steps = [boundary - config.warmup_steps for boundary in config.boundaries]
            if steps and steps != sorted({step for step in steps if step > 0}):
                raise InvalidArgument(
                    f"boundaries must be ascending steps after the warm-up of {config.warmup_steps}, "
                    f"got {config.boundaries}"
                )
            if not steps:
                every = _positive_decay_steps(config)
                steps = range(every, remaining, every)
            schedule = optax.piecewise_constant_schedule(learning_rate, dict.fromkeys(steps, config.decay_rate))
        case "cosine":
            schedule = optax.cosine_decay_schedule(learning_rate, remaining, config.final_fraction)
    if config.warmup_steps:
        warmup = optax.linear_schedule(0.0, learning_rate, config.warmup_steps)
        schedule = optax.join_schedules([warmup, schedule], [config.warmup_steps])
    return schedule


def _positive_decay_steps(config: ScheduleConfig) -> int:
    if not config.decay_steps or config.decay_steps < 1:
        raise InvalidArgument(f"schedule '{config.name}' needs decay_steps >= 1, got {config.decay_steps}")
    return config.decay_steps


def scheduled_optimizer(name: str, schedule: optax.Schedule) -> optax.GradientTransformation:
    """The optimizer with rate `schedule(step) * rate_scale`.

    Both stand in the optimizer's state, as `hyperparams["learning_rate"]` and `hyperparams["rate_scale"]`: the rate can
    be logged, and the scale set between steps without compiling anew.
    """

    def build(learning_rate: jax.Array, rate_scale: jax.Array) -> optax.GradientTransformation:
        return create_optimizer(name, learning_rate * rate_scale)

    return optax.inject_hyperparams(build)(learning_rate=schedule, rate_scale=jnp.ones((), jnp.float32))


@dataclass(frozen=True)
class Plateau:
    """Reduces the rate when a metric has not improved for `patience` evaluations; a value, not an object with state.

    The step of the VGG and ResNet papers ("divided by 10 when the validation accuracy stopped improving").
    """

    factor: float
    patience: int
    max_reductions: int | None = None
    best: float | None = None
    stalled: int = 0
    reductions: int = 0

    @property
    def scale(self) -> float:
        """What the learning rate is multiplied with."""
        return self.factor**self.reductions

    def update(self, value: float) -> "Plateau":
        """The next state after an evaluation that gave `value`, higher being better.

        Raises:
            ValueError: `value` is NaN, which cannot be compared.
        """
        if math.isnan(value):
            raise InvalidArgument("a plateau cannot be judged by NaN")
        if self.best is None or value > self.best:
            return replace(self, best=value, stalled=0)
        if self.stalled + 1 < self.patience:
            return replace(self, stalled=self.stalled + 1)
        if self.max_reductions is not None and self.reductions >= self.max_reductions:
            return replace(self, stalled=self.stalled + 1)
        return replace(self, stalled=0, reductions=self.reductions + 1)
