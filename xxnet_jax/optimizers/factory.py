"""Optimizers by name."""

import numbers
from collections.abc import Callable
from typing import Any

import optax

from xxnet_jax.errors import InvalidArgument, UnknownName

# name: (default learning rate, Optax function of the rate with the published constants)
_OPTIMIZERS: dict[str, tuple[float, Callable[..., optax.GradientTransformation]]] = {
    "sgd": (0.01, lambda rate: optax.sgd(rate)),
    "momentum": (0.01, lambda rate, momentum=0.9: optax.sgd(rate, momentum=momentum)),
    "adagrad": (0.01, optax.adagrad),
    "rmsprop": (1e-3, lambda rate, decay=0.9, eps=1e-8: optax.rmsprop(rate, decay, eps)),
    "adadelta": (1.0, lambda rate, rho=0.95, eps=1e-6: optax.adadelta(rate, rho, eps)),
    "adam": (1e-3, optax.adam),
    "adamax": (2e-3, optax.adamax),
    "nadam": (2e-3, optax.nadam),
}


def list_optimizers() -> list[str]:
    """The names that `create_optimizer` knows."""
    return list(_OPTIMIZERS)


def default_learning_rate(name: str) -> float:
    """The learning rate of the optimizer when none is given.

    Raises:
        ValueError: unknown name.
    """
    return _lookup(name)[0]


def create_optimizer(
    name: str, learning_rate: optax.ScalarOrSchedule | None = None, **hyperparameters: Any
) -> optax.GradientTransformation:
    """An Optax transformation by name: `create_optimizer("nadam", learning_rate=1e-3)`.

    Args:
        name: one of `list_optimizers()`.
        learning_rate: a number, or a function of the step; by default `default_learning_rate(name)`.
        **hyperparameters: of the Optax function, such as `b1` of adam.

    Raises:
        ValueError: unknown name or hyperparameter, or a learning rate that is not positive.
    """
    default, rule = _lookup(name)
    if learning_rate is None:
        learning_rate = default
    if isinstance(learning_rate, numbers.Real) and not float(learning_rate) > 0:
        raise InvalidArgument(f"the learning rate must be positive, got {learning_rate}")
    try:
        return rule(learning_rate, **hyperparameters)
    except TypeError as error:
        raise InvalidArgument(f"optimizer {name}: {error}") from error


def _lookup(name: str) -> tuple[float, Callable[..., optax.GradientTransformation]]:
    if name not in _OPTIMIZERS:
        raise UnknownName("optimizer", name, _OPTIMIZERS)
    return _OPTIMIZERS[name]
