"""Learning rates as functions of the step, and reduction on a plateau of a validation metric."""

import itertools
import math
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal

import jax
import jax.numpy as jnp
import optax

from xxnet_jax.errors import InvalidArgument

Unit = Literal["steps", "epochs", "fraction"]


@dataclass(frozen=True)
class ScheduleConfig:
    """How the learning rate changes; `create_schedule` has the formulas.

    Attributes:
        name: constant, exponential, step, multistep, polynomial, cosine, plateau; or the schedule of a paper: vgg,
            googlenet, xception, resnet, resnet_cifar, densenet, densenet_imagenet.
        unit: of warmup, every and boundaries: steps, epochs, or fraction of the training.
        warmup: linear warm-up from zero, before any of them.
        warmup_rate: fraction of the first rate that the warm-up keeps to, in place of the rise; None: it rises.
        decay_rate: factor of exponential, step, multistep and plateau.
        every: exponential and step: time for one factor.
        staircase: exponential: decay at whole multiples of `every` only.
        boundaries: multistep: one factor at each of these times of the training.
        power: polynomial: 1 is linear.
        final_fraction: polynomial and cosine: the last rate as a fraction of the first.
        patience: plateau: evaluations without a better value before the rate is reduced.
        max_reductions: plateau: reductions at most, None for no limit.
    """

    name: Literal[
        "constant",
        "exponential",
        "step",
        "multistep",
        "polynomial",
        "cosine",
        "plateau",
        "vgg",
        "googlenet",
        "xception",
        "resnet",
        "resnet_cifar",
        "densenet",
        "densenet_imagenet",
    ] = "constant"
    unit: Unit = "steps"
    warmup: float = 0
    warmup_rate: float | None = None
    decay_rate: float = 0.1
    every: float | None = None
    staircase: bool = False
    boundaries: tuple[float, ...] = ()
    power: float = 1.0
    final_fraction: float = 0.0
    patience: int = 5
    max_reductions: int | None = None

    def resolved(self) -> "ScheduleConfig":
        """The same with a paper's name replaced by what the paper says; the warm-up and the patience are kept.

        Raises:
            ValueError: a paper's schedule has its own unit, which the warm-up must have, too.
        """
        if self.name not in PAPER_SCHEDULES:
            return self
        paper = PAPER_SCHEDULES[self.name]
        if self.warmup and self.unit != paper.unit:
            raise InvalidArgument(f"schedule '{self.name}' counts in {paper.unit}: give the warm-up with that unit")
        return replace(paper, warmup=self.warmup, warmup_rate=self.warmup_rate, patience=self.patience)

    @property
    def depends_on_total_steps(self) -> bool:
        """Whether a longer run would have had other rates from the start."""
        config = self.resolved()
        return config.name in ("cosine", "polynomial") or config.unit == "fraction"


# VGG: divided by 10 when the validation accuracy stalls, three times (section 3.1). GoogLeNet: down 4 % every 8 epochs
# (section 6). Xception on ImageNet: down 6 % every 2 epochs (section 4.3). ResNet on ImageNet: divided by 10 when the
# error plateaus (section 3.4); on CIFAR after 32,000 and 48,000 of 64,000 steps (section 4.2). DenseNet on CIFAR and
# SVHN: divided by 10 at 50 % and 75 %; on ImageNet after 30 and 60 of 90 epochs (section 4.2).
PAPER_SCHEDULES: dict[str, ScheduleConfig] = {
    "vgg": ScheduleConfig("plateau", decay_rate=0.1, max_reductions=3),
    "googlenet": ScheduleConfig("exponential", unit="epochs", decay_rate=0.96, every=8, staircase=True),
    "xception": ScheduleConfig("exponential", unit="epochs", decay_rate=0.94, every=2, staircase=True),
    "resnet": ScheduleConfig("plateau", decay_rate=0.1),
    "resnet_cifar": ScheduleConfig("multistep", unit="steps", decay_rate=0.1, boundaries=(32_000, 48_000)),
    "densenet": ScheduleConfig("multistep", unit="fraction", decay_rate=0.1, boundaries=(0.5, 0.75)),
    "densenet_imagenet": ScheduleConfig("multistep", unit="epochs", decay_rate=0.1, boundaries=(30, 60)),
}


def create_schedule(config: ScheduleConfig, total_steps: int, steps_per_epoch: int | None = None) -> optax.Schedule:
    """What the learning rate is multiplied with at step t (the first is 0), for decay rate d and k steps a factor:

    constant 1; exponential d^(t/k), as a staircase d^floor(t/k); step d^floor(t/k); multistep d^n with n boundaries at
    or before t; polynomial f + (1 - f) (1 - t/T)^power and cosine f + (1 - f) (1 + cos(pi t / T)) / 2 over the T steps
    after the warm-up (Loshchilov and Hutter, 2017); plateau 1, to be scaled by `Plateau`. Warm-up takes w steps, with
    t / w or, where `warmup_rate` is given, with that, and the schedule starts after it; boundaries count from the start
    of the training.

    Args:
        config: which one.
        total_steps: of the training.
        steps_per_epoch: needed where the config counts in epochs.

    Raises:
        ValueError: a value that the schedule needs is missing or out of range.
    """
    config = config.resolved()
    unit = _steps_per_unit(config.unit, total_steps, steps_per_epoch)
    if not (0 <= config.warmup < math.inf and (warmup := round(config.warmup * unit)) < max(total_steps, 1)):
        raise InvalidArgument(
            f"the warm-up must take 0 steps or more, and fewer than the {total_steps} of the training; "
            f"got {config.warmup} {config.unit}"
        )
    if not 0 < config.decay_rate <= 1:
        raise InvalidArgument(f"decay_rate must be in (0, 1], got {config.decay_rate}")
    if config.warmup_rate is not None and not 0 < config.warmup_rate <= 1:
        raise InvalidArgument(f"warmup_rate must be in (0, 1], got {config.warmup_rate}")
    if not 0 <= config.final_fraction <= 1:
        raise InvalidArgument(f"final_fraction must be in [0, 1], got {config.final_fraction}")
    remaining = total_steps - warmup
    match config.name:
        case "constant" | "plateau":
            schedule = optax.constant_schedule(1.0)
        case "exponential" | "step":
            if not (config.every and 0 < config.every * unit < math.inf):
                raise InvalidArgument(f"schedule '{config.name}' needs a positive `every`, got {config.every}")
            staircase = config.staircase or config.name == "step"
            schedule = _exponential(config.decay_rate, config.every * unit, staircase=staircase)
        case "multistep":
            boundaries = config.boundaries
            ascending = all(a < b for a, b in itertools.pairwise((config.warmup, *boundaries, math.inf)))
            if not boundaries or not ascending:
                raise InvalidArgument(
                    f"schedule 'multistep' needs boundaries, ascending and after the warm-up of "
                    f"{config.warmup} {config.unit}, got {boundaries}"
                )
            schedule = _multistep(config.decay_rate, [round(boundary * unit) - warmup for boundary in boundaries])
        case "polynomial":
            if not config.power > 0:
                raise InvalidArgument(f"power must be positive, got {config.power}")
            schedule = _polynomial(config.final_fraction, config.power, remaining)
        case "cosine":
            schedule = optax.cosine_decay_schedule(1.0, remaining, config.final_fraction)
        case other:
            raise InvalidArgument(f"unknown schedule '{other}'")
    if warmup:
        rates = (0.0, 1.0) if config.warmup_rate is None else (config.warmup_rate, config.warmup_rate)
        schedule = optax.join_schedules([optax.linear_schedule(*rates, warmup), schedule], [warmup])
    return schedule


# Compiled, t / k may be t * (1 / k), a rounding below the whole number that it should be: so integers are divided.


def _exponential(rate: float, every: float, *, staircase: bool) -> optax.Schedule:
    if not staircase:
        return lambda step: rate ** (step / every)
    if every >= 2**31:
        return optax.constant_schedule(1.0)  # no step is so late
    denominator = min(100, math.isqrt(2**31 // math.ceil(every)))  # products stay within int32
    period = max(Fraction(every).limit_denominator(max(denominator, 1)), Fraction(1, 100))
    whole, parts = period.numerator, period.denominator

    def factor(step: jax.typing.ArrayLike) -> jax.Array:
        step = jnp.asarray(step)
        return rate ** (step // whole * parts + step % whole * parts // whole)

    return factor


def _multistep(rate: float, boundaries: list[int]) -> optax.Schedule:
    return lambda step: rate ** jnp.sum(jnp.asarray(step) >= jnp.asarray(boundaries))


def _polynomial(final_fraction: float, power: float, steps: int) -> optax.Schedule:
    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        left = jnp.maximum(steps - jnp.asarray(step), 0) / steps
        return final_fraction + (1 - final_fraction) * left**power

    return schedule


def _steps_per_unit(unit: Unit, total_steps: int, steps_per_epoch: int | None) -> int:
    match unit:
        case "steps":
            return 1
        case "fraction":
            return total_steps
        case "epochs":
            if steps_per_epoch is None:
                raise InvalidArgument("a schedule in epochs needs to know the steps of an epoch")
            return steps_per_epoch
        case other:
            raise InvalidArgument(f"unknown unit '{other}': steps, epochs or fraction")


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
