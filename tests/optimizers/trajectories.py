"""Gradients, and what an optimizer makes of them, in float64: shared by the tests of the conventions."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from hypothesis import strategies as st

from xxnet_jax.optimizers import create_optimizer, list_optimizers, optimizer_info

STEPS = 60
SHAPES = {"kernel": (3, 4), "bias": (6,), "scalar": ()}

Gradients = dict[str, np.ndarray]  # of each parameter, [STEPS, *shape]
Maker = Callable[..., optax.GradientTransformation]


def definitions(*likes: str) -> list[tuple[str, str]]:
    """(name, like) of every definition that exists; only those of the conventions `likes`, if some are given."""
    every = [(name, like) for name in list_optimizers() for like in optimizer_info(name).conventions]
    return [(name, like) for name, like in every if not likes or like in likes]


def names_in(like: str) -> list[str]:
    return [name for name, _ in definitions(like)]


def random_gradients(seed: int) -> Gradients:
    """Nineteen parameters in random places: from 1e-100 to 1e3, constant, dead, dead at first, dead now and then."""
    rng = np.random.default_rng(seed)
    g = rng.normal(size=(STEPS, 19))
    g[:, 1:8] *= [1e3, 1e-3, 1e-6, 1e-12, 1e-20, 1e-30, 1e-100]
    g[:, 8:11] *= 10.0 ** rng.uniform(-30, 2, (STEPS, 3))
    g[:, 11] = 0
    for column in range(12, 15):
        g[: rng.integers(1, STEPS // 2), column] = 0
    g[:, 15:18] *= rng.random((STEPS, 3)) < 0.3
    g[:, 15] *= 1e-9
    g[:, 18] = rng.normal()
    g = g[:, rng.permutation(19)]
    if seed % 2:
        g[0] = 0  # all of them dead at the first step
    parts = np.split(g, np.cumsum([int(np.prod(shape)) for shape in SHAPES.values()])[:-1], axis=1)
    return {key: part.reshape(STEPS, *shape) for (key, shape), part in zip(SHAPES.items(), parts, strict=True)}


seeds = st.integers(0, 2**32 - 1)

# Of each hyperparameter, far from the ends at which a rule divides by zero.
_VALUES: dict[str, st.SearchStrategy[float]] = {
    **dict.fromkeys(("momentum", "b1"), st.floats(0, 0.995)),
    **dict.fromkeys(("decay", "rho", "b2"), st.floats(0.1, 0.9999)),
    "eps": st.floats(-12, -2).map(lambda x: 10.0**x),
    "initial_accumulator_value": st.floats(0, 1),
    "momentum_decay": st.floats(0, 1),
}


def hyperparameters(name: str, like: str) -> st.SearchStrategy[dict[str, float]]:
    """Other values for all hyperparameters of a definition."""
    return st.fixed_dictionaries({key: _VALUES[key] for key in optimizer_info(name).conventions[like].hyperparameters})


def random_rates(seed: int) -> np.ndarray:
    """A learning rate for each step, with no rule, and zero at the first step as in a warm-up."""
    rates = 10 ** np.random.default_rng(seed).uniform(-4, 0, STEPS)
    rates[0] = 0
    return rates


@functools.cache
def ours(name: str, like: str) -> Maker:
    """The project's own, as a function of rate and hyperparameters."""
    return functools.partial(create_optimizer, name, like=like)


@functools.cache
def _compiled(make: Maker) -> Callable[..., Any]:
    @jax.jit
    def run(gradients: Any, rate: jax.Array, hyperparameters: dict[str, jax.Array]) -> Any:
        tx = make(rate if rate.ndim == 0 else lambda step: rate[step], **hyperparameters)
        params = jax.tree.map(lambda g: jnp.zeros_like(g[0]), gradients)

        def step(state: Any, gradient: Any) -> Any:
            updates, state = tx.update(gradient, state, params)
            return state, updates

        return jax.lax.scan(step, tx.init(params), gradients)[1]

    return run


def updates(make: Maker, gradients: Gradients, rate: Any, **hyperparameters: float) -> Gradients:
    """What the optimizer adds to the parameters at each step, for one rate or a rate for each step."""
    with jax.enable_x64(True):
        found = _compiled(make)(gradients, jnp.asarray(rate, jnp.float64), hyperparameters)
        return jax.tree.map(np.asarray, found)


def one_by_one(make: Maker, gradients: Gradients, rate: float, **hyperparameters: float) -> Gradients:
    """The same for numbers that Python knows, without compilation."""
    with jax.enable_x64(True):
        tx = make(rate, **hyperparameters)
        params = jax.tree.map(lambda g: jnp.zeros_like(g[0]), gradients)
        state, found = tx.init(params), []
        for step in range(len(next(iter(gradients.values())))):
            change, state = tx.update(jax.tree.map(lambda g, at=step: jnp.asarray(g[at]), gradients), state, params)
            found.append(change)
        return jax.tree.map(lambda *each: np.array(each), *found)


def assert_same(found: Gradients, expected: Mapping[str, Any]) -> None:
    """Equal to 1e-10, or to 1e-12 of the largest update of the same parameter.

    Both sides are float64: they lose some of sixteen digits to 1 - b2^t and to sums that cancel, and cancellation is
    relative to the terms, that is, to the other updates of the parameter. Tiny parameters are compared as strictly.
    """
    assert found.keys() == expected.keys()
    for key, value in found.items():
        reference = np.asarray(expected[key])
        assert value.dtype == reference.dtype == np.float64
        assert np.isfinite(reference).all()
        excess = np.abs(value - reference) - 1e-10 * np.abs(reference) - 1e-12 * np.abs(reference).max(axis=0)
        assert np.all(excess <= 0), f"{key}: {value[excess > 0][:5]} instead of {reference[excess > 0][:5]}"
