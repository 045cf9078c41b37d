"""An optimizer as a training run needs it: a scheduled rate, clipping, weight decay, frozen and slower parameters."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.optimizers.factory import Hyperparameter, create_optimizer, default_learning_rate, optimizer_info
from xxnet_jax.parameters import matches, parameter_paths


@dataclass(frozen=True)
class ParameterGroups:
    """Which parameters are treated in which way, by regular expressions on paths such as "F6/kernel".

    Attributes:
        freeze: parameters that stay as they are, without optimizer state.
        rate_factors: pattern -> factor of the learning rate; the first pattern that matches counts.
        weight_decay: decoupled (Loshchilov and Hutter, 2019): w -= rate * weight_decay * w beside the rule's update.
        weight_decay_pattern: where; frozen parameters do not decay.
    """

    freeze: tuple[str, ...] = ()
    rate_factors: Mapping[str, float] = field(default_factory=dict)
    weight_decay: float = 0.0
    weight_decay_pattern: str = "kernel$"

    def __post_init__(self) -> None:
        if not 0 <= self.weight_decay < math.inf:
            raise InvalidArgument(f"weight_decay must be a number of at least 0, got {self.weight_decay}")
        for pattern, factor in self.rate_factors.items():
            if not 0 < factor < math.inf:
                raise InvalidArgument(f"the rate factor of '{pattern}' must be positive, got {factor}; 0 is --freeze")

    def frozen(self, params: Any) -> Any:
        """Tree of bool.

        Raises:
            ValueError: a pattern matches nothing, or nothing would be left to train.
        """
        masks = [matches(params, pattern, "freeze") for pattern in self.freeze]
        frozen = jax.tree.map(lambda _, *each: any(each), params, *masks)
        if self.freeze and all(jax.tree.leaves(frozen)):
            raise InvalidArgument(f"the freeze patterns {self.freeze} leave no parameter to train")
        return frozen

    def factors(self, params: Any) -> Any:
        """Tree of the factors of the learning rate; 0 where frozen.

        Raises:
            ValueError: a pattern matches nothing.
        """
        masks = [matches(params, pattern, "rate factor") for pattern in self.rate_factors]

        def factor(frozen: bool, *each: bool) -> float:
            found = (value for value, chosen in zip(self.rate_factors.values(), each, strict=True) if chosen)
            return 0.0 if frozen else next(found, 1.0)

        return jax.tree.map(factor, self.frozen(params), *masks)

    def decayed(self, params: Any) -> Any:
        """Tree of bool: where weight decay acts.

        Raises:
            ValueError: the pattern matches nothing.
        """
        chosen = matches(params, self.weight_decay_pattern, "weight decay")
        return jax.tree.map(lambda mask, frozen: mask and not frozen, chosen, self.frozen(params))

    def table(self, params: Any) -> list[dict[str, Any]]:
        """One row per parameter: path, shape, parameters, frozen, rate_factor, weight_decay.

        Raises:
            ValueError: a pattern matches nothing.
        """
        decayed = self.decayed(params) if self.weight_decay else jax.tree.map(lambda _: False, params)
        columns = (parameter_paths(params), params, self.frozen(params), self.factors(params), decayed)
        return [
            {
                "path": path,
                "shape": "x".join(map(str, leaf.shape)),
                "parameters": leaf.size,
                "frozen": frozen,
                "rate_factor": factor,
                "weight_decay": self.weight_decay if decays else 0.0,
            }
            for path, leaf, frozen, factor, decays in zip(*map(jax.tree.leaves, columns), strict=True)
        ]


def describe_groups(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """One line for each kind of treatment in `ParameterGroups.table`, with the first parameters that get it."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        if row["frozen"]:
            treatment = "frozen"
        else:
            treatment = f"rate x {row['rate_factor']:g}, weight decay {row['weight_decay']:g}"
        groups.setdefault(treatment, []).append(row["path"])
    return [f"{treatment}: {_listed(paths)}" for treatment, paths in groups.items()]


def _listed(paths: list[str], shown: int = 6) -> str:
    more = len(paths) - shown
    return ", ".join(paths[:shown]) + (f" and {more} more" if more > 0 else "")


class TrainingState(NamedTuple):
    """State of a `training_optimizer`.

    Attributes:
        step: int32 [], updates made.
        hyperparams: name -> scalar: "learning_rate", "schedule", "rate_scale", and the traced hyperparameters.
        inner_state: of the rule and what is around it.
    """

    step: jax.Array
    hyperparams: dict[str, jax.Array]
    inner_state: Any

    @property
    def rate(self) -> jax.Array:
        """The learning rate of the last update."""
        return _rate(self.hyperparams)


def _rate(hyperparams: Mapping[str, jax.Array]) -> jax.Array:
    return hyperparams["learning_rate"] * hyperparams["schedule"] * hyperparams["rate_scale"]


def training_optimizer(
    name: str,
    learning_rate: Hyperparameter | None = None,
    schedule: optax.Schedule = lambda step: 1.0,
    *,
    like: str = "paper",
    hyperparameters: Mapping[str, Hyperparameter] | None = None,
    traced: Sequence[str] = (),
    clip_value: float | None = None,
    clip_norm: float | None = None,
    groups: ParameterGroups | None = None,
) -> optax.GradientTransformation:
    """The optimizer of a run; its rate is `learning_rate * schedule(step) * rate_scale`.

    The three factors stand in the state (`TrainingState.hyperparams`): they can be logged, and the first and the last,
    like the hyperparameters named in `traced`, can differ between runs that share a compiled step.

    Args:
        name: see `create_optimizer`, as for `like`.
        learning_rate: the base rate, by default that of the convention.
        schedule: of the step; see `create_schedule`.
        like: the convention.
        hyperparameters: of the rule.
        traced: those of them that stand in the state; the others are constants of the compiled step.
        clip_value: gradients are clipped to [-clip_value, clip_value], each number for itself.
        clip_norm: gradients are scaled down to this Euclidean norm over all trained parameters, after clip_value.
        groups: frozen parameters, factors of the rate, weight decay.

    Raises:
        ValueError: what `create_optimizer` raises; or, when the state is made, a pattern that matches nothing.
    """
    for label, value in (("clip_value", clip_value), ("clip_norm", clip_norm)):
        if value is not None and not 0 < value < math.inf:
            raise InvalidArgument(f"{label} must be positive, got {value}")
    groups = groups or ParameterGroups()
    if learning_rate is None:
        learning_rate = default_learning_rate(name, like)
    constants = dict(hyperparameters or {})
    create_optimizer(name, learning_rate, like=like, **constants)  # a wrong value is an error now
    convention = optimizer_info(name).conventions[like]
    if missing := [key for key in traced if key not in constants]:
        raise InvalidArgument(f"traced hyperparameters {missing} need a value in `hyperparameters`")
    variable = {key: constants.pop(key) for key in traced}

    def transformation(hyperparams: dict[str, jax.Array]) -> optax.GradientTransformation:
        rate = _rate(hyperparams)
        steps = [optax.clip(clip_value)] if clip_value is not None else []
        if clip_norm is not None:
            steps.append(optax.clip_by_global_norm(clip_norm))
        options = {**convention.hyperparameters, **constants, **{key: hyperparams[key] for key in variable}}
        rule = optax.chain(*steps, convention.build(rate, **options))  # unjudged: a warm-up begins at rate 0
        if groups.freeze:
            rule = optax.partition({True: _stand_still(), False: rule}, groups.frozen)
        steps: list[optax.GradientTransformation] = [rule]
        if groups.weight_decay:
            steps.append(optax.add_decayed_weights(-rate * groups.weight_decay, mask=groups.decayed))
        if groups.rate_factors:
            steps.append(_scale_by(groups.factors))
        return optax.chain(*steps)

    def init(params: Any) -> TrainingState:
        step = jnp.zeros((), jnp.int32)
        start = {"learning_rate": learning_rate, "schedule": schedule(step), "rate_scale": 1.0, **variable}
        hyperparams = {key: _scalar(value) for key, value in start.items()}
        groups.factors(params)  # a pattern that matches nothing is an error now
        if groups.weight_decay:
            groups.decayed(params)
        return TrainingState(step, hyperparams, transformation(hyperparams).init(params))

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, TrainingState]:
        hyperparams = {**state.hyperparams, "schedule": _scalar(schedule(state.step))}
        scaled, inner_state = transformation(hyperparams).update(updates, state.inner_state, params)
        # The hyperparameters are float32 whatever the parameters are.
        updates, inner_state = _in_dtypes_of((updates, state.inner_state), (scaled, inner_state))
        return updates, TrainingState(state.step + 1, hyperparams, inner_state)

    return optax.GradientTransformation(init, update)


def _scalar(value: jax.typing.ArrayLike) -> jax.Array:
    return jnp.asarray(value, jnp.result_type(float))  # not `float`, which would be a weak type


def _in_dtypes_of(old: Any, new: Any) -> Any:
    return jax.tree.map(lambda a, b: b.astype(a.dtype), old, new)


def _stand_still() -> optax.GradientTransformation:
    # Minus zero: x + (-0.0) is x for every x, and 0.0 + -0.0 is not the -0.0 that it may have been.
    return optax.stateless(lambda gradients, _: jax.tree.map(lambda g: jnp.full_like(g, -0.0), gradients))


def _scale_by(factors: Any) -> optax.GradientTransformation:
    def scale(updates: Any, params: Any) -> Any:
        return jax.tree.map(lambda u, factor: u * factor if factor else u, updates, factors(params))

    return optax.stateless(scale)
