"""Optimizers by name, against their equations in float64 NumPy."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xxnet_jax.optimizers import create_optimizer, default_learning_rate, list_optimizers

# The rates that the design page and the papers give.
DEFAULT_RATES = {
    "sgd": 0.01,
    "momentum": 0.01,
    "adagrad": 0.01,
    "rmsprop": 1e-3,
    "adadelta": 1.0,
    "adam": 1e-3,
    "adamax": 2e-3,
    "nadam": 2e-3,
}
every_optimizer = pytest.mark.parametrize("name", list_optimizers())

# The gradients of the notes' traces.
GRADIENTS = (1.0, 0.5, -0.25, 0.1, 0.0)


def updates(name: str, gradients: Any, learning_rate: float | None = None, **hyperparameters: Any) -> np.ndarray:
    """What the optimizer adds to the parameters, step by step."""
    tx = create_optimizer(name, learning_rate, **hyperparameters)
    step = jax.jit(tx.update)
    params = jnp.zeros(np.shape(gradients)[1:])
    state, found = tx.init(params), []
    for gradient in gradients:
        update, state = step(jnp.asarray(gradient, jnp.float32), state, params)
        found.append(update)
    return np.array(found)


# ------------------------------------------------------------------------------ the equations, one step a line
# Each takes a rate and gives, for each gradient it is sent, what is added to the parameters.

Rule = Iterator[float]


def trajectory(rule: Callable[[Iterator[float]], Rule], gradients: Any) -> list[float]:
    return list(rule(iter(np.asarray(gradients, np.float64))))


def sgd(rate: float) -> Callable[[Iterator[float]], Rule]:
    return lambda gradients: (-rate * g for g in gradients)


def momentum(rate: float, mu: float = 0.9) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        v = 0.0
        for g in gradients:
            v = mu * v + g
            yield -rate * v

    return steps


def adagrad(rate: float) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        r = 0.1  # Optax's, and TensorFlow's, initial accumulator
        for g in gradients:
            r += g**2
            yield -rate * g / np.sqrt(r + 1e-7)

    return steps


def rmsprop(rate: float, decay: float = 0.9, eps: float = 1e-8) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        r = 0.0
        for g in gradients:
            r = decay * r + (1 - decay) * g**2
            yield -rate * g / np.sqrt(r + eps)

    return steps


def adadelta(rate: float, rho: float = 0.95, eps: float = 1e-6) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        r = s = 0.0
        for g in gradients:
            r = rho * r + (1 - rho) * g**2
            delta = np.sqrt(s + eps) / np.sqrt(r + eps) * g
            s = rho * s + (1 - rho) * delta**2
            yield -rate * delta

    return steps


def adam(rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        m = v = 0.0
        for t, g in enumerate(gradients, start=1):
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            yield -rate * m / (1 - b1**t) / (np.sqrt(v / (1 - b2**t)) + eps)

    return steps


def adamax(rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        m = u = 0.0
        for t, g in enumerate(gradients, start=1):
            m, u = b1 * m + (1 - b1) * g, max(b2 * u, abs(g) + eps)
            yield -rate * m / (1 - b1**t) / u

    return steps


def nadam(rate: float, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Callable[[Iterator[float]], Rule]:
    def steps(gradients: Iterator[float]) -> Rule:
        m = v = 0.0
        for t, g in enumerate(gradients, start=1):
            m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
            ahead = b1 * m / (1 - b1 ** (t + 1)) + (1 - b1) * g / (1 - b1**t)
            yield -rate * ahead / (np.sqrt(v / (1 - b2**t)) + eps)

    return steps


RULES: dict[str, Callable[..., Callable[[Iterator[float]], Rule]]] = {
    "sgd": sgd,
    "momentum": momentum,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adadelta": adadelta,
    "adam": adam,
    "adamax": adamax,
    "nadam": nadam,
}


@every_optimizer
def test_equation(name: str):
    """Five steps are those of the optimizer's equation with the published constants and the default rate."""
    expected = trajectory(RULES[name](DEFAULT_RATES[name]), GRADIENTS)
    # float32 squares, roots and running sums of a few steps; 1 - .999 alone loses four of seven digits.
    np.testing.assert_allclose(updates(name, GRADIENTS), expected, rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sgd", [-1.0e-3, -5.0e-4, 2.5e-4, -1.0e-4, 0]),
        ("momentum", [-1.0e-3, -1.4e-3, -1.01e-3, -1.009e-3, -9.081e-4]),
        ("rmsprop", [-3.162277502e-03, -1.474419497e-03]),
        ("adam", [-9.999999900e-04, -9.321796270e-04, -5.636613680e-04, -5.105644681e-04, -4.315433975e-04]),
        ("nadam", [-1.473684196e-03, -9.211232002e-04, -2.602385324e-04, -4.364885824e-04, -3.394432783e-04]),
    ],
)
def test_traces_of_the_notes(name: str, expected: list[float]):
    """At a rate of .001 the steps are the traces that the notes' gradients give, computed elsewhere in float64."""
    np.testing.assert_allclose(updates(name, GRADIENTS[: len(expected)], 1e-3), expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "hyperparameters"),
    [
        ("momentum", {"mu": 0.5}),
        ("rmsprop", {"decay": 0.99, "eps": 1e-4}),
        ("adadelta", {"rho": 0.8, "eps": 1e-3}),
        ("adam", {"b1": 0.5, "b2": 0.9, "eps": 1e-2}),
        ("adamax", {"b1": 0.5, "b2": 0.9, "eps": 1e-2}),
        ("nadam", {"b1": 0.5, "b2": 0.9, "eps": 1e-2}),
    ],
)
def test_hyperparameters(name: str, hyperparameters: dict[str, float]):
    """A given hyperparameter takes the place of the published constant."""
    expected = trajectory(RULES[name](0.1, **hyperparameters), GRADIENTS)
    given = {"momentum" if key == "mu" else key: value for key, value in hyperparameters.items()}
    np.testing.assert_allclose(updates(name, GRADIENTS, 0.1, **given), expected, rtol=1e-4, atol=1e-8)
    assert not np.allclose(trajectory(RULES[name](0.1), GRADIENTS), expected, rtol=1e-2)


def test_there_are_eight():
    """The eight optimizers of the notes are there, with the rates of the design page."""
    assert set(list_optimizers()) == set(DEFAULT_RATES) == set(RULES)
    assert len(list_optimizers()) == len(set(list_optimizers())) == 8
    assert {name: default_learning_rate(name) for name in list_optimizers()} == DEFAULT_RATES


@every_optimizer
def test_reduces_a_convex_quadratic(name: str):
    """At its default rate each optimizer brings down sum(a w^2) / 2, with curvatures from .5 to 4, in 300 steps."""
    curvature = jnp.array([0.5, 1.0, 2.0, 4.0])
    tx = create_optimizer(name)

    def loss(params: Any) -> jax.Array:
        return jnp.sum(curvature * params["w"] ** 2) / 2 + params["b"] ** 2

    def step(carry: Any, _: None) -> tuple[Any, jax.Array]:
        params, state = carry
        value, gradients = jax.value_and_grad(loss)(params)
        change, state = tx.update(gradients, state, params)
        return (optax.apply_updates(params, change), state), value

    start = {"w": jnp.array([1.0, -1.0, 0.5, -2.0]), "b": jnp.array(1.0)}
    (end, _), values = jax.jit(lambda params: jax.lax.scan(step, (params, tx.init(params)), None, 300))(start)
    assert np.isfinite(values).all()
    assert float(loss(end)) < 0.8 * float(loss(start))
    for key in start:
        assert np.all(np.abs(end[key]) < np.abs(start[key]))


@every_optimizer
def test_a_rate_as_a_function_of_the_step(name: str):
    """With a function as rate, step t uses its value at t: the first step is the one at rate(0)."""
    schedule = updates(name, GRADIENTS[:3], lambda step: 0.1 / (step + 1))  # type: ignore[arg-type]
    constant = updates(name, GRADIENTS[:3], 0.1)
    # None of the eight keeps the rate in its memory: each step is proportional to it.
    np.testing.assert_allclose(schedule, constant / np.array([1, 2, 3]), rtol=1e-5)


@every_optimizer
def test_state_fits_any_tree(name: str):
    """Updates have the tree, the shapes and the dtypes of the parameters, and the state keeps its structure."""
    params = {"kernel": jnp.ones((3, 2)), "nested": {"bias": jnp.ones(2)}}
    tx = create_optimizer(name)
    state = tx.init(params)
    change, after = jax.eval_shape(tx.update, params, state, params)
    assert jax.tree.structure(change) == jax.tree.structure(params)
    assert jax.tree.map(jnp.shape, state) == jax.tree.map(lambda leaf: leaf.shape, after)
    assert {leaf.dtype for leaf in jax.tree.leaves(change)} == {jnp.dtype("float32")}


# ------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(("wrong", "right"), [("adamm", "adam"), ("Nadam", "nadam"), ("rms_prop", "rmsprop")])
def test_unknown_name_suggests_the_nearest(wrong: str, right: str):
    """A misspelt name is a ValueError that suggests the one that was meant."""
    for function in (create_optimizer, default_learning_rate):
        with pytest.raises(ValueError, match=rf"unknown optimizer '{wrong}': did you mean.*\b{right}\b"):
            function(wrong)


@pytest.mark.parametrize(
    ("name", "hyperparameter"),
    [("sgd", "momentum"), ("momentum", "momentun"), ("adam", "beta1"), ("rmsprop", "rho"), ("adadelta", "decay")],
)
def test_unknown_hyperparameter(name: str, hyperparameter: str):
    """A hyperparameter that the optimizer lacks is a ValueError that names both, and is not ignored."""
    with pytest.raises(ValueError, match=rf"{name}.*{hyperparameter}"):
        create_optimizer(name, 0.1, **{hyperparameter: 0.5})


@pytest.mark.parametrize("rate", [0, 0.0, -1e-3, -1, float("nan"), np.float64(-0.1), np.float32(-0.1)])
@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_rates_must_be_positive(name: str, rate: float):
    """A rate that is zero, negative or not a number is a ValueError that shows it."""
    with pytest.raises(ValueError, match=r"learning rate must be positive, got"):
        create_optimizer(name, rate)
