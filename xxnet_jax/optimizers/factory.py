"""Optimizers by name, in five conventions.

The same name means different updates in different places: Optax, Keras and PyTorch disagree on epsilon, on bias
correction, on where accumulators start, and on every default rate. `like` says which one is meant; the table at the end
of this file is the whole difference. Frameworks are followed as they are installed: the tests run them side by side.
"""

import inspect
import numbers
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import jax
import numpy as np
import optax
from jax.core import Tracer

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.optimizers.rules import (
    scale_by_adadelta_of_notes,
    scale_by_adagrad,
    scale_by_adam_epsilon_hat,
    scale_by_adamax,
    scale_by_nadam,
    scale_by_rmsprop_of_notes,
)

Like = Literal["paper", "optax", "keras", "torch", "notes"]
Hyperparameter = float | jax.Array


@dataclass(frozen=True)
class Convention:
    """One definition of an optimizer.

    Attributes:
        build: (learning rate, **hyperparameters) -> transformation of gradients into updates.
        hyperparameters: names and defaults.
        learning_rate: default, or None where the convention has none.
        remark: what the source leaves open and the project chose, or where the convention is peculiar.
    """

    build: Callable[..., optax.GradientTransformation]
    hyperparameters: Mapping[str, float] = field(default_factory=dict)
    learning_rate: float | None = None
    remark: str = ""


@dataclass(frozen=True)
class OptimizerInfo:
    """The facts about an optimizer.

    Attributes:
        name: as in `create_optimizer`.
        equation: of the paper; g gradient, lr learning rate, w parameters, t number of the update.
        reference: authors, title, year.
        slots: arrays of the size of the parameters that the state holds.
        conventions: the definitions, by `like`.
    """

    name: str
    equation: str
    reference: str
    slots: int
    conventions: Mapping[str, Convention]

    @property
    def memory_multiple(self) -> int:
        """Memory of parameters, gradients and state, in sizes of the parameters (SGD 2, Momentum 3, Adam 4)."""
        return 2 + self.slots


def list_optimizers() -> list[str]:
    """The names that `create_optimizer` knows."""
    return list(OPTIMIZERS)


def optimizer_info(name: str) -> OptimizerInfo:
    """Equation, reference, memory, and defaults in each convention.

    Raises:
        ValueError: unknown name.
    """
    if name not in OPTIMIZERS:
        raise UnknownName("optimizer", name, OPTIMIZERS)
    return OPTIMIZERS[name]


def default_learning_rate(name: str, like: str = "paper") -> float:
    """The learning rate of the optimizer when none is given.

    Raises:
        ValueError: unknown name or convention, or the convention has no default rate.
    """
    rate = _convention(name, like).learning_rate
    if rate is None:
        defined = [
            f"{other} {c.learning_rate:g}" for other, c in OPTIMIZERS[name].conventions.items() if c.learning_rate
        ]
        raise InvalidArgument(
            f"like='{like}' has no default learning rate for {name}: give one "
            f"(other conventions: {', '.join(defined) or 'none'})"
        )
    return rate


def create_optimizer(
    name: str,
    learning_rate: optax.ScalarOrSchedule | None = None,
    *,
    like: Like | str = "paper",
    **hyperparameters: Hyperparameter | None,
) -> optax.GradientTransformation:
    """An optimizer by name, in a named convention: `create_optimizer("nadam", learning_rate=1e-3)`.

    Args:
        name: one of `list_optimizers()`.
        learning_rate: a number or traced scalar, or a function of the update's number (the first is 0); by default
            `default_learning_rate(name, like)`.
        like: "paper", the published algorithm; "optax", "keras" or "torch", equal to that library; "notes", the notes'
            classes with their printed slips mended.
        **hyperparameters: in place of the defaults that `optimizer_info(name)` lists; numbers or traced scalars, None
            for the default.

    Returns:
        A transformation that composes with all of Optax. `nesterov` moves the look-ahead point w + momentum * v: the
        gradient is to be taken where the parameters are.

    Raises:
        ValueError: unknown name or convention; a hyperparameter that the rule lacks, or a value out of range; no rate
            where the convention has none.
    """
    convention = _convention(name, like)
    known = convention.hyperparameters
    given = {hyperparameter: value for hyperparameter, value in hyperparameters.items() if value is not None}
    for hyperparameter, value in given.items():
        if hyperparameter not in known:
            raise InvalidArgument(
                f"{name} (like='{like}') has no hyperparameter '{hyperparameter}': it has learning_rate"
                + "".join(f", {other}" for other in known)
            )
        _check_range(hyperparameter, value)
    if learning_rate is None:
        learning_rate = default_learning_rate(name, like)
    if not callable(learning_rate):
        _check_range("learning_rate", learning_rate)
    return convention.build(learning_rate, **{**known, **given})


def _convention(name: str, like: str) -> Convention:
    conventions = optimizer_info(name).conventions
    if like not in get_args(Like):
        raise UnknownName("convention", like, get_args(Like))
    if like not in conventions:
        raise InvalidArgument(
            f"like='{like}' has no {name}: it exists like {', '.join(conventions)}; "
            f"like='{like}' has {', '.join(n for n, info in OPTIMIZERS.items() if like in info.conventions)}"
        )
    return conventions[like]


# hyperparameter: (predicate, range in words)
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "learning_rate": (lambda x: 0 < x < float("inf"), "positive"),
    **dict.fromkeys(("momentum", "decay", "rho", "b1", "b2"), (lambda x: 0 <= x < 1, "in [0, 1)")),
    **dict.fromkeys(
        ("eps", "initial_accumulator_value", "momentum_decay"), (lambda x: 0 <= x < float("inf"), "at least 0")
    ),
}


def _check_range(name: str, value: Any) -> None:
    within, words = _RANGES[name]
    if isinstance(value, Tracer):
        return
    if name == "learning_rate" and isinstance(value, jax.Array) and value.ndim == 0 and value == 0:
        return  # where a warm-up begins; a person who writes 0 means something else
    if isinstance(value, jax.Array | np.ndarray) and value.ndim == 0:
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise InvalidArgument(f"{name} must be a number, got {value!r}")
    if not within(float(value)):
        raise InvalidArgument(f"{name} must be {words}, got {value}")


# --- How a rate meets a rule ------------------------------------------------------------------------------------------


def _after(direction: Callable[..., optax.GradientTransformation], **fixed: Any) -> Callable[..., Any]:
    """The rate scales the direction that a rule gives."""

    def build(learning_rate: Any, **hyperparameters: Any) -> optax.GradientTransformation:
        return optax.chain(direction(**hyperparameters, **fixed), optax.scale_by_learning_rate(learning_rate))

    return build


def _before(direction: Callable[..., optax.GradientTransformation], **fixed: Any) -> Callable[..., Any]:
    """The rate scales the gradient that a rule gets: a buffer remembers the rates of its time."""

    def build(learning_rate: Any, **hyperparameters: Any) -> optax.GradientTransformation:
        return optax.chain(optax.scale_by_learning_rate(learning_rate), direction(**hyperparameters, **fixed))

    return build


def _momentum(momentum: Hyperparameter, nesterov: bool = False) -> optax.GradientTransformation:
    return optax.trace(momentum, nesterov=nesterov)  # type: ignore[arg-type]


def _rmsprop(*, eps_in_sqrt: bool, rate_in_buffer: bool) -> Callable[..., optax.GradientTransformation]:
    def build(learning_rate: Any, decay: Any, eps: Any, momentum: Any) -> optax.GradientTransformation:
        scale = optax.scale_by_rms(decay, eps, eps_in_sqrt=eps_in_sqrt)
        if isinstance(momentum, numbers.Real) and momentum == 0:
            return optax.chain(scale, optax.scale_by_learning_rate(learning_rate))
        return optax.chain(scale, (_before if rate_in_buffer else _after)(_momentum)(learning_rate, momentum=momentum))

    return build


def _adagrad_of_notes(eps: Any) -> optax.GradientTransformation:
    return optax.scale_by_rss(initial_accumulator_value=eps, eps=0.0)


def _adam_of_notes(b1: Any, b2: Any, eps: Any, nesterov: bool = False) -> optax.GradientTransformation:
    return scale_by_adam_epsilon_hat(b1, b2, 0.0, initial_value=eps, nesterov=nesterov)


def _adagrad(initial_accumulator_value: Any, eps: Any) -> optax.GradientTransformation:
    return optax.scale_by_rss(initial_accumulator_value, eps)


# --- The table --------------------------------------------------------------------------------------------------------

_M = {"momentum": 0.9}
_B = {"b1": 0.9, "b2": 0.999}
_NOTES = "epsilon is only where the accumulators start"
_CHOSEN_RATE = "the rate is the project's choice"
_CHOSEN_MOMENTUM = "momentum .9 is the project's choice"
_CHOSEN = "rate and momentum .9 are the project's choice"


def _table() -> dict[str, OptimizerInfo]:
    keras_adam = {**_B, "eps": 1e-7}
    torch_adam = {**_B, "eps": 1e-8}
    infos = (
        OptimizerInfo(
            "sgd",
            "w -= lr g",
            "Robbins and Monro, A Stochastic Approximation Method, 1951",
            0,
            {
                "paper": Convention(optax.scale_by_learning_rate, {}, 0.01, _CHOSEN_RATE),
                "optax": Convention(optax.sgd),
                "keras": Convention(optax.scale_by_learning_rate, {}, 0.01),
                "torch": Convention(optax.scale_by_learning_rate, {}, 1e-3),
                "notes": Convention(optax.scale_by_learning_rate),
            },
        ),
        OptimizerInfo(
            "momentum",
            "v = momentum v - lr g; w += v",
            "Polyak, Some Methods of Speeding Up the Convergence of Iteration Methods, 1964",
            1,
            {
                "paper": Convention(_before(_momentum), _M, 0.01, _CHOSEN),
                "optax": Convention(_after(_momentum), _M, None, _CHOSEN_MOMENTUM),
                "keras": Convention(_before(_momentum), _M, 0.01, _CHOSEN_MOMENTUM),
                "torch": Convention(_after(_momentum), _M, 1e-3, _CHOSEN_MOMENTUM),
                "notes": Convention(_before(_momentum), _M, 1e-3),
            },
        ),
        OptimizerInfo(
            "nesterov",
            "v = momentum v - lr g(w + momentum v); w += v",
            "Nesterov, 1983; in this form Sutskever et al., On the Importance of Initialization and Momentum, 2013",
            1,
            {
                "paper": Convention(_before(_momentum, nesterov=True), _M, 0.01, _CHOSEN),
                "optax": Convention(_after(_momentum, nesterov=True), _M, None, _CHOSEN_MOMENTUM),
                "keras": Convention(_before(_momentum, nesterov=True), _M, 0.01, _CHOSEN_MOMENTUM),
                "torch": Convention(_after(_momentum, nesterov=True), _M, 1e-3, _CHOSEN_MOMENTUM),
                "notes": Convention(_before(_momentum, nesterov=True), _M, 1e-3),
            },
        ),
        OptimizerInfo(
            "adagrad",
            "r += g^2; w -= lr g / (sqrt(r) + eps)",
            "Duchi, Hazan and Singer, Adaptive Subgradient Methods, 2011 (diagonal form)",
            1,
            {
                "paper": Convention(
                    _after(scale_by_adagrad),
                    {"initial_accumulator_value": 0.0, "eps": 1e-8},
                    0.01,
                    "rate and epsilon are the project's choice",
                ),
                "optax": Convention(_after(_adagrad), {"initial_accumulator_value": 0.1, "eps": 1e-7}),
                "keras": Convention(_after(_adagrad), {"initial_accumulator_value": 0.1, "eps": 1e-7}, 1e-3),
                "torch": Convention(_after(scale_by_adagrad), {"initial_accumulator_value": 0.0, "eps": 1e-10}, 0.01),
                "notes": Convention(_after(_adagrad_of_notes), {"eps": 1e-8}, 1e-3, _NOTES),
            },
        ),
        OptimizerInfo(
            "rmsprop",
            "r = decay r + (1 - decay) g^2; w -= lr g / (sqrt(r) + eps)",
            "Tieleman and Hinton, Lecture 6.5, COURSERA: Neural Networks for Machine Learning, 2012",
            1,
            {
                "paper": Convention(
                    _rmsprop(eps_in_sqrt=False, rate_in_buffer=True),
                    {"decay": 0.9, "eps": 1e-8, "momentum": 0.0},
                    1e-3,
                    "rate and epsilon, which the lecture does not have, are the project's choice",
                ),
                "optax": Convention(
                    _rmsprop(eps_in_sqrt=True, rate_in_buffer=True), {"decay": 0.9, "eps": 1e-8, "momentum": 0.0}
                ),
                "keras": Convention(
                    _rmsprop(eps_in_sqrt=True, rate_in_buffer=True), {"decay": 0.9, "eps": 1e-7, "momentum": 0.0}, 1e-3
                ),
                "torch": Convention(
                    _rmsprop(eps_in_sqrt=False, rate_in_buffer=False),
                    {"decay": 0.99, "eps": 1e-8, "momentum": 0.0},
                    0.01,
                ),
                "notes": Convention(_after(scale_by_rmsprop_of_notes), {"decay": 0.999, "eps": 1e-8}, 1e-3, _NOTES),
            },
        ),
        OptimizerInfo(
            "adadelta",
            "r = rho r + (1 - rho) g^2; d = g sqrt(s + eps) / sqrt(r + eps); s = rho s + (1 - rho) d^2; w -= lr d",
            "Zeiler, ADADELTA: An Adaptive Learning Rate Method, 2012",
            2,
            {
                "paper": Convention(
                    _after(optax.scale_by_adadelta),
                    {"rho": 0.95, "eps": 1e-6},
                    1.0,
                    "the paper has no rate, that is, 1",
                ),
                "optax": Convention(
                    _after(optax.scale_by_adadelta),
                    {"rho": 0.9, "eps": 1e-6},
                    None,
                    "without a rate Optax's own function gives updates that ascend",
                ),
                "keras": Convention(_after(optax.scale_by_adadelta), {"rho": 0.95, "eps": 1e-7}, 1e-3),
                "torch": Convention(_after(optax.scale_by_adadelta), {"rho": 0.9, "eps": 1e-6}, 1.0),
                "notes": Convention(
                    _after(scale_by_adadelta_of_notes),
                    {"rho": 0.999, "eps": 1e-8},
                    1.0,
                    f"no rate, that is, 1; {_NOTES}",
                ),
            },
        ),
        OptimizerInfo(
            "adam",
            "m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w -= lr m / (1 - b1^t) / (sqrt(v / (1 - b2^t)) + eps)",
            "Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1",
            2,
            {
                "paper": Convention(_after(optax.scale_by_adam), {**_B, "eps": 1e-8}, 1e-3),
                "optax": Convention(_after(optax.scale_by_adam), {**_B, "eps": 1e-8}),
                "keras": Convention(
                    _after(scale_by_adam_epsilon_hat), keras_adam, 1e-3, "epsilon is not bias-corrected"
                ),
                "torch": Convention(_after(optax.scale_by_adam), torch_adam, 1e-3),
                "notes": Convention(_after(_adam_of_notes), torch_adam, 1e-3, _NOTES),
            },
        ),
        OptimizerInfo(
            "adamax",
            "m = b1 m + (1 - b1) g; u = max(b2 u, |g|); w -= lr m / ((1 - b1^t) u)",
            "Kingma and Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 2",
            2,
            {
                "paper": Convention(_after(scale_by_adamax), _B, 2e-3, "0 / 0 is 0"),
                "optax": Convention(_after(optax.scale_by_adamax), {**_B, "eps": 1e-8}),
                "keras": Convention(_after(scale_by_adamax), keras_adam, 1e-3),
                "torch": Convention(_after(optax.scale_by_adamax), torch_adam, 2e-3),
                "notes": Convention(_after(scale_by_adamax), _B, 1e-3, "0 / 0 is 0"),
            },
        ),
        OptimizerInfo(
            "nadam",
            "c_t = b1 (1 - .96^(t momentum_decay) / 2); P_t = c_1 ... c_t; m = c_t m + (1 - c_t) g; "
            "v = b2 v + (1 - b2) g^2; "
            "w -= lr (c_(t+1) m / (1 - P_(t+1)) + (1 - c_t) g / (1 - P_t)) / (sqrt(v / (1 - b2^t)) + eps)",
            "Dozat, Incorporating Nesterov Momentum into Adam, 2016, algorithm 2",
            2,
            {
                "paper": Convention(
                    _after(scale_by_nadam, scheduled_average=True),
                    {"b1": 0.99, "b2": 0.999, "eps": 1e-8, "momentum_decay": 4e-3},
                    2e-3,
                    "the factor b2 on v of algorithm 2 is left out, as in the author's report and code",
                ),
                "optax": Convention(
                    _after(optax.scale_by_adam, nesterov=True), {**_B, "eps": 1e-8}, None, "b1 without a schedule"
                ),
                "keras": Convention(
                    _after(scale_by_nadam, scheduled_average=False, momentum_decay=1.0),
                    keras_adam,
                    1e-3,
                    "m decays by b1, not by the schedule; its momentum_decay is 1",
                ),
                "torch": Convention(
                    _after(scale_by_nadam, scheduled_average=False),
                    {**torch_adam, "momentum_decay": 4e-3},
                    2e-3,
                    "m decays by b1, not by the schedule",
                ),
                "notes": Convention(_after(_adam_of_notes, nesterov=True), torch_adam, 1e-3, _NOTES),
            },
        ),
        OptimizerInfo(
            "nadamax",
            "c_t, P_t and m as nadam; u = max(b2 u, |g|); "
            "w -= lr (c_(t+1) m / (1 - P_(t+1)) + (1 - c_t) g / (1 - P_t)) / u",
            "Dozat's momentum in AdaMax; named by the notes, without a paper of its own",
            2,
            {
                "paper": Convention(
                    _after(scale_by_nadam, scheduled_average=True, infinity_norm=True, eps=0.0),
                    {"b1": 0.99, "b2": 0.999, "momentum_decay": 4e-3},
                    2e-3,
                    "the combination and its constants are the project's choice; 0 / 0 is 0",
                ),
                "notes": Convention(_after(scale_by_adamax, nesterov=True), _B, 1e-3, "0 / 0 is 0"),
            },
        ),
    )
    return {info.name: info for info in infos}


OPTIMIZERS = _table()


def _signature() -> inspect.Signature:
    """`create_optimizer`'s with every hyperparameter by name: `optax.inject_hyperparams` looks for them there."""
    names = dict.fromkeys(
        name
        for info in OPTIMIZERS.values()
        for convention in info.conventions.values()
        for name in convention.hyperparameters
    )
    *named, _ = inspect.signature(create_optimizer).parameters.values()
    options = [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None) for name in names]
    return inspect.Signature([*named, *options], return_annotation=optax.GradientTransformation)


create_optimizer.__signature__ = _signature()  # type: ignore[attr-defined]
