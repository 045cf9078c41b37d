"""Each convention against what defines it: Optax's functions, the papers' equations, and the notes with their traces.

Keras and PyTorch run in `test_conventions_oracle.py`.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trajectories import (
    STEPS,
    Gradients,
    Maker,
    assert_same,
    definitions,
    hyperparameters,
    names_in,
    one_by_one,
    ours,
    random_gradients,
    random_rates,
    seeds,
    updates,
)

from xxnet_jax.optimizers import create_optimizer, optimizer_info

Array = np.ndarray
Steps = Iterator[tuple[Any, float]]  # (gradient, learning rate)
Rule = Callable[..., Iterator[Any]]  # (steps, **hyperparameters) -> what is added to the parameters at each step

# --- Optax's own functions --------------------------------------------------------------------------------------------

OPTAX: dict[str, Maker] = {
    "sgd": optax.sgd,
    "momentum": optax.sgd,
    "nesterov": functools.partial(optax.sgd, nesterov=True),
    "adagrad": optax.adagrad,
    "rmsprop": optax.rmsprop,
    "adadelta": optax.adadelta,
    "adam": optax.adam,
    "adamax": optax.adamax,
    "nadam": optax.nadam,
}


# --- The papers -------------------------------------------------------------------------------------------------------


def quotient(a: Any, b: Any) -> Any:
    """a / b, and 0 where both are 0."""
    nothing = (a == 0) & (b == 0)
    return np.where(nothing, 0.0, a / np.where(nothing, 1.0, b))


def robbins_monro(steps: Steps) -> Iterator[Any]:
    for g, lr in steps:
        yield -lr * g


def polyak(steps: Steps, momentum: float = 0.9) -> Iterator[Any]:
    v = 0.0
    for g, lr in steps:
        v = momentum * v - lr * g
        yield v


def sutskever(steps: Steps, momentum: float = 0.9) -> Iterator[Any]:
    """Of the look-ahead point w + momentum v, at which the gradient is taken."""
    v = 0.0
    for g, lr in steps:
        before = v
        v = momentum * v - lr * g
        yield v + momentum * v - momentum * before


def duchi(steps: Steps, initial_accumulator_value: float = 0.0, eps: float = 1e-8) -> Iterator[Any]:
    r = initial_accumulator_value
    for g, lr in steps:
        r = r + g**2
        yield -lr * g / (np.sqrt(r) + eps)


def tieleman_hinton(steps: Steps, decay: float = 0.9, eps: float = 1e-8, momentum: float = 0.0) -> Iterator[Any]:
    r = v = 0.0
    for g, lr in steps:
        r = decay * r + (1 - decay) * g**2
        v = momentum * v - lr * g / (np.sqrt(r) + eps)
        yield v


def zeiler(steps: Steps, rho: float = 0.95, eps: float = 1e-6) -> Iterator[Any]:
    squared_gradients = squared_updates = 0.0
    for g, lr in steps:
        squared_gradients = rho * squared_gradients + (1 - rho) * g**2
        delta = -np.sqrt(squared_updates + eps) / np.sqrt(squared_gradients + eps) * g
        squared_updates = rho * squared_updates + (1 - rho) * delta**2
        yield lr * delta


def kingma_ba_1(steps: Steps, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Any]:
    m = v = 0.0
    for t, (g, lr) in enumerate(steps, start=1):
        m = b1 * m + (1 - b1) * g
        v = b2 * v + (1 - b2) * g**2
        m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
        yield -lr * m_hat / (np.sqrt(v_hat) + eps)


def kingma_ba_2(steps: Steps, b1: float = 0.9, b2: float = 0.999) -> Iterator[Any]:
    m = u = 0.0
    for t, (g, lr) in enumerate(steps, start=1):
        m = b1 * m + (1 - b1) * g
        u = np.maximum(b2 * u, np.abs(g))
        yield -lr / (1 - b1**t) * quotient(m, u)


def dozat(
    steps: Steps, b1: float = 0.99, b2: float = 0.999, eps: float = 1e-8, momentum_decay: float = 4e-3
) -> Iterator[Any]:
    def mu(t: int) -> float:
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    m = n = 0.0
    product = 1.0
    for t, (g, lr) in enumerate(steps, start=1):
        product *= mu(t)
        m = mu(t) * m + (1 - mu(t)) * g
        n = b2 * n + (1 - b2) * g**2
        m_bar = (1 - mu(t)) * g / (1 - product) + mu(t + 1) * m / (1 - product * mu(t + 1))
        yield -lr * m_bar / (np.sqrt(n / (1 - b2**t)) + eps)


def dozat_adamax(steps: Steps, b1: float = 0.99, b2: float = 0.999, momentum_decay: float = 4e-3) -> Iterator[Any]:
    def mu(t: int) -> float:
        return b1 * (1 - 0.5 * 0.96 ** (t * momentum_decay))

    m = u = 0.0
    product = 1.0
    for t, (g, lr) in enumerate(steps, start=1):
        product *= mu(t)
        m = mu(t) * m + (1 - mu(t)) * g
        u = np.maximum(b2 * u, np.abs(g))
        yield -lr * quotient((1 - mu(t)) * g / (1 - product) + mu(t + 1) * m / (1 - product * mu(t + 1)), u)


PAPERS: dict[str, Rule] = {
    "sgd": robbins_monro,
    "momentum": polyak,
    "nesterov": sutskever,
    "adagrad": duchi,
    "rmsprop": tieleman_hinton,
    "adadelta": zeiler,
    "adam": kingma_ba_1,
    "adamax": kingma_ba_2,
    "nadam": dozat,
    "nadamax": dozat_adamax,
}


# --- The notes: alpha and beta are the decays of the first and the second moment, s and r -----------------------------


def notes_adagrad(steps: Steps, eps: float = 1e-8) -> Iterator[Any]:
    r = eps
    for g, lr in steps:
        r = r + g**2
        yield -lr * g / np.sqrt(r)


def notes_rmsprop(steps: Steps, decay: float = 0.999, eps: float = 1e-8) -> Iterator[Any]:
    r = eps
    for g, lr in steps:
        r = decay * r + (1 - decay) * g**2
        yield -lr * g / np.sqrt(r)


def notes_adadelta(steps: Steps, rho: float = 0.999, eps: float = 1e-8) -> Iterator[Any]:
    r = s = eps
    for g, lr in steps:
        r = rho * r + (1 - rho) * g**2
        fraction = s / r
        s = rho * s + fraction * (1 - rho) * g**2
        yield -lr * np.sqrt(fraction) * g


def notes_adam(steps: Steps, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Any]:
    s, r = 0.0, eps
    for t, (g, lr) in enumerate(steps, start=1):
        s = b1 * s + (1 - b1) * g
        r = b2 * r + (1 - b2) * g**2
        yield -lr * np.sqrt(1 - b2**t) / (1 - b1**t) * s / np.sqrt(r)


def notes_adamax(steps: Steps, b1: float = 0.9, b2: float = 0.999) -> Iterator[Any]:
    s = r = 0.0
    for t, (g, lr) in enumerate(steps, start=1):
        s = b1 * s + (1 - b1) * g
        r = np.maximum(b2 * r, np.abs(g))
        yield -lr / (1 - b1**t) * quotient(s, r)


def notes_nadam(steps: Steps, b1: float = 0.9, b2: float = 0.999, eps: float = 1e-8) -> Iterator[Any]:
    s, r = 0.0, eps
    for t, (g, lr) in enumerate(steps, start=1):
        s = b1 * s + (1 - b1) * g
        r = b2 * r + (1 - b2) * g**2
        yield -lr * np.sqrt(1 - b2**t) / (1 - b1**t) * (b1 * s + (1 - b1) * g) / np.sqrt(r)


def notes_nadamax(steps: Steps, b1: float = 0.9, b2: float = 0.999) -> Iterator[Any]:
    s = r = 0.0
    for t, (g, lr) in enumerate(steps, start=1):
        s = b1 * s + (1 - b1) * g
        r = np.maximum(b2 * r, np.abs(g))
        yield -lr / (1 - b1**t) * quotient(b1 * s + (1 - b1) * g, r)


NOTES: dict[str, Rule] = {
    "sgd": robbins_monro,
    "momentum": polyak,
    "nesterov": sutskever,
    "adagrad": notes_adagrad,
    "rmsprop": notes_rmsprop,
    "adadelta": notes_adadelta,
    "adam": notes_adam,
    "adamax": notes_adamax,
    "nadam": notes_nadam,
    "nadamax": notes_nadamax,
}

EQUATIONS = {"paper": PAPERS, "notes": NOTES}


def by_equation(rule: Rule, gradients: Gradients, rate: Any, **values: float) -> Gradients:
    rates = np.broadcast_to(rate, len(next(iter(gradients.values()))))
    return {key: np.array(list(rule(zip(g, rates, strict=True), **values)), np.float64) for key, g in gradients.items()}


def in_one(gradients: Gradients) -> Gradients:
    """As one parameter."""
    return {"all": np.concatenate([g.reshape(STEPS, -1) for g in gradients.values()], axis=1)}


def short(gradients: Gradients) -> Gradients:
    """Fewer steps, for what runs operation by operation."""
    return {"all": in_one(gradients)["all"][:25]}


# --- The tests --------------------------------------------------------------------------------------------------------


def test_every_definition_has_an_oracle():
    """No definition of the paper's, Optax's and the notes' conventions is left out here, and none is expected that
    does not exist."""
    assert {"optax": set(OPTAX), "paper": set(PAPERS), "notes": set(NOTES)} == {
        like: set(names_in(like)) for like in ("optax", "paper", "notes")
    }


@pytest.mark.parametrize("name", names_in("optax"))
@settings(max_examples=10)
@given(data=st.data(), seed=seeds)
def test_optax(name: str, data: st.DataObject, seed: int):
    """Random gradients give the updates of Optax's own function, with any hyperparameters and a rate that changes at
    every step."""
    gradients, rates, values = random_gradients(seed), random_rates(seed), data.draw(hyperparameters(name, "optax"))
    expected = updates(OPTAX[name], gradients, rates, **values)
    assert_same(updates(ours(name, "optax"), gradients, rates, **values), expected)


@pytest.mark.parametrize("name", names_in("optax"))
def test_optax_by_default(name: str):
    """With the defaults of both, too, and a constant rate."""
    gradients = short(random_gradients(1))
    default = {"momentum": 0.9} if name in ("momentum", "nesterov") else {}  # Optax's is none, which is sgd
    assert_same(one_by_one(ours(name, "optax"), gradients, 0.3), one_by_one(OPTAX[name], gradients, 0.3, **default))


@pytest.mark.parametrize(("name", "like"), definitions("paper", "notes"))
@settings(max_examples=10)
@given(data=st.data(), seed=seeds)
def test_equation(name: str, like: str, data: st.DataObject, seed: int):
    """Random gradients give the updates of the equation in NumPy, with any hyperparameters and a rate that changes at
    every step."""
    gradients, rates, values = random_gradients(seed), random_rates(seed), data.draw(hyperparameters(name, like))
    expected = by_equation(EQUATIONS[like][name], gradients, rates, **values)
    assert_same(updates(ours(name, like), gradients, rates, **values), expected)


@pytest.mark.parametrize(("name", "like"), definitions("paper", "notes"))
def test_equation_by_default(name: str, like: str):
    """With the published constants, too, and a constant rate."""
    gradients = short(random_gradients(1))
    assert_same(one_by_one(ours(name, like), gradients, 0.3), by_equation(EQUATIONS[like][name], gradients, 0.3))


INSIDE = ("paper", "keras", "notes")
WITH_A_BUFFER = [(name, like) for name, like in definitions() if name in ("momentum", "nesterov", "rmsprop")]


@pytest.mark.parametrize(("name", "like"), [d for d in WITH_A_BUFFER if d != ("rmsprop", "notes")])
def test_where_the_rate_meets_the_momentum(name: str, like: str):
    """After the rate falls from 1 to 0 the buffer goes on moving the parameters by momentum^t where it holds rates
    (papers, Keras, notes, and Optax's RMSProp), and nothing moves where the rate comes after it (Optax, PyTorch)."""
    inside = like in INSIDE or (name, like) == ("rmsprop", "optax")
    rates = np.where(np.arange(STEPS) < 10, 1.0, 0.0)
    found = updates(ours(name, like), {"w": np.ones((STEPS, 1))}, rates, momentum=0.5)["w"][10:, 0]
    assert np.all(found < 0 if inside else found == 0)
    if inside:
        # Exact halves; one rounding each.
        np.testing.assert_allclose(found[1:], found[:-1] / 2, rtol=1e-14)


def test_gradients_are_what_they_should_be():
    """The random gradients hold what the comparisons are meant to cover: dead parameters, tiny and mixed ones."""
    for seed in range(6):
        g = in_one(random_gradients(seed))["all"]
        largest = np.abs(g).max(axis=0)
        assert np.sum(largest == 0) == 1
        assert np.sum((g[0] == 0) & (largest > 0)) >= 3
        assert np.all(g[0] == 0) == bool(seed % 2)
        assert largest[largest > 0].min() < 1e-99
        assert largest.max() > 1e2


# --- The traces of the notes, computed elsewhere in float64 -----------------------------------------------------------

GRADIENTS = np.array([1.0, 0.5, -0.25, 0.1, 0.0])
# The rate of each is the notes' default; sgd has none, and was run at 1e-3.
TRACES = {
    "sgd": [-1.0e-3, -5.0e-4, 2.5e-4, -1.0e-4, 0],
    "momentum": [-1.0e-3, -1.4e-3, -1.01e-3, -1.009e-3, -9.081e-4],
    "adagrad": [-9.999999950000e-04, -4.472135937111e-04, 2.182178894047e-04, -8.695652141037e-05, 0],
    "rmsprop": [-3.162261864710e-02, -1.414773935142e-02, 6.906549144379e-03, -2.753504034497e-03, 0],
    "adadelta": [-3.162261864710e-03, -2.000287227922e-03, 1.069312684592e-03, -4.361546718723e-04, 0],
    "adam": [
        -9.999950050374e-04,
        -9.321759145895e-04,
        -5.636592320346e-04,
        -5.105625492036e-04,
        -4.315417764602e-04,
    ],
    "adamax": [
        -1.000000000000e-03,
        -7.375796849481e-04,
        -3.734402339650e-04,
        -2.942812050320e-04,
        -2.226420598261e-04,
    ],
    "nadam": [
        -1.899990509571e-03,
        -1.171878292627e-03,
        -3.677736969414e-04,
        -5.101071415779e-04,
        -3.883875988142e-04,
    ],
    "nadamax": [
        -1.900000000000e-03,
        -9.272430325062e-04,
        -2.436605090920e-04,
        -2.940187143635e-04,
        -2.003778538435e-04,
    ],
}
# Of Optax's defaults on the same gradients at 1e-3, as far as they were recorded.
TRACES_OF_OPTAX = {
    "adam": [-9.999999900e-04, -9.321796270e-04, -5.636613680e-04, -5.105644681e-04, -4.315433975e-04],
    "nadam": [-1.473684196e-03, -9.211232002e-04, -2.602385324e-04, -4.364885824e-04, -3.394432783e-04],
    "rmsprop": [-3.162277502e-03, -1.474419497e-03],
}


def default_run(name: str, like: str, gradients: np.ndarray) -> np.ndarray:
    """With the default rate of the convention, or .001 where it has none."""
    rate = optimizer_info(name).conventions[like].learning_rate or 1e-3
    return one_by_one(ours(name, like), {"w": gradients}, rate)["w"]


@pytest.mark.parametrize("name", [name for name in names_in("notes") if name != "nesterov"])
def test_traces_of_the_notes(name: str):
    """By default, like="notes" gives the updates that the notes' classes give, with their slips mended."""
    # Thirteen printed digits.
    np.testing.assert_allclose(default_run(name, "notes", GRADIENTS), TRACES[name], rtol=6e-13, atol=1e-18)


@pytest.mark.parametrize("name", TRACES_OF_OPTAX)
def test_traces_of_optax(name: str):
    """By default, like="optax" gives the updates that were recorded from Optax for the notes' gradients."""
    expected = TRACES_OF_OPTAX[name]
    # Ten printed digits of a float32 run: 1 - .999^t has lost four of its seven.
    np.testing.assert_allclose(default_run(name, "optax", GRADIENTS[: len(expected)]), expected, rtol=3e-5)


# w after so many steps on J = w^2 / 2 from w = 1; for Nesterov w is the point behind the look-ahead.
TIMES = (1, 10, 100, 1000, 2000)
QUADRATIC = {
    "sgd": (0.9990000000, 0.9900448802, 0.9047921471, 0.3676954248, 0.1351999254),
    "momentum": (0.9990000000, 0.9589790578, 0.3686285999, 0.0000156010, 0.0000000002),
    "nesterov": (0.999000000000, 0.959077934860, 0.372206592571, 0.000017658852),
    "adagrad": (0.9990000000, 0.9949838607, 0.9814743921, 0.9388747137, 0.9133737282),
    "rmsprop": (0.9683773814, 0.8461685545, 0.4835080115, 0.0060566374, 0.0000029269),
    "adadelta": (0.9968377381, 0.9687047709, 0.7262205655, 0.0402180781, 0.0016125424),
    "adam": (0.9990000050, 0.9900032619, 0.9017436232, 0.2576650489, 0.0206623152),
    "adamax": (0.9990000000, 0.9899807750, 0.8993951666, 0.1739481965, 0.0012692058),
    "nadam": (0.9981000095, 0.9876820718, 0.8991440543, 0.2563057145, 0.0204822569),
    "nadamax": (0.9981000000, 0.9876690780, 0.8970164261, 0.1739938923, 0.0013014967),
}


def buffer(state: Any) -> Any:
    """The one array that a rule with one slot keeps of a parameter of shape [1]."""
    (leaf,) = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (1,)]
    return leaf


@pytest.mark.parametrize("name", names_in("notes"))
def test_quadratic_of_the_notes(name: str):
    """By default, like="notes" goes down w^2 / 2 as recorded; Nesterov's w is the look-ahead point less alpha v."""
    with jax.enable_x64(True):
        tx = create_optimizer(name, optimizer_info(name).conventions["notes"].learning_rate or 1e-3, like="notes")

        def step(carry: Any, _: None) -> Any:
            w, state = carry
            update, state = tx.update(w, state, w)  # the gradient is w
            w = w + update
            behind = w - 0.9 * buffer(state) if name == "nesterov" else w
            return (w, state), behind[0]

        start = jnp.ones(1)
        points = np.asarray(jax.lax.scan(step, (start, tx.init(start)), None, TIMES[-1])[1])
    expected = QUADRATIC[name]
    # Ten printed decimals, twelve for Nesterov.
    atol = 6e-13 if name == "nesterov" else 6e-11
    np.testing.assert_allclose(points[np.array(TIMES[: len(expected)]) - 1], expected, rtol=0, atol=atol)
    if name == "nesterov":
        np.testing.assert_allclose(points[[1, 2]], [0.997101900000, 0.994398216390], rtol=0, atol=atol)


@pytest.mark.parametrize("like", INSIDE)
@given(seed=seeds, momentum=st.floats(0, 0.95))
def test_nesterov_is_the_look_ahead(like: str, seed: int, momentum: float):
    """Sutskever's iteration v = momentum v - lr g(w + momentum v), w += v, in which the gradient is taken ahead of w,
    is at w + momentum v where this one is, on any quadratic and with any rates."""
    rng = np.random.default_rng(seed)
    curvature, rates = rng.uniform(0.1, 5, 3), rng.uniform(0, 0.2, 30)
    w, v, expected = np.ones(3), np.zeros(3), []
    for rate in rates:
        v = momentum * v - rate * curvature * (w + momentum * v)
        w = w + v
        expected.append(w + momentum * v)
    found = _descent(like)(jnp.asarray(curvature, jnp.float32), jnp.asarray(rates, jnp.float32), momentum)
    # Thirty float32 steps on values of about one.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))


@functools.cache
def _descent(like: str) -> Callable[..., Any]:
    @jax.jit
    def points(curvature: jax.Array, rates: jax.Array, momentum: jax.Array) -> Any:
        tx = create_optimizer("nesterov", lambda step: rates[step], like=like, momentum=momentum)

        def step(carry: Any, _: None) -> Any:
            w, state = carry
            update, state = tx.update(curvature * w, state, w)
            return (w + update, state), w + update

        return jax.lax.scan(step, (jnp.ones(3), tx.init(jnp.ones(3))), None, len(rates))[1]

    return points


# --- Defaults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", names_in("optax"))
def test_defaults_are_those_of_the_installed_optax(name: str):
    """The rate and each hyperparameter of like="optax" have the defaults of Optax's signature; of momentum, which is
    Optax's sgd with it, the momentum is ours."""
    signature = inspect.signature(getattr(OPTAX[name], "func", OPTAX[name])).parameters
    convention = optimizer_info(name).conventions["optax"]
    rate = signature["learning_rate"].default
    assert convention.learning_rate is None
    assert rate in (inspect.Parameter.empty, None)
    defaults = {key: signature[key].default for key in convention.hyperparameters}
    if name in ("momentum", "nesterov"):
        assert defaults == {"momentum": None}
        assert convention.hyperparameters == {"momentum": 0.9}
    else:
        assert {key: value or 0.0 for key, value in defaults.items()} == convention.hyperparameters


def test_published_constants():
    """The papers' own constants and rates, and the notes', are the defaults; rates that nobody published are not
    asserted."""
    paper = {
        "adadelta": (1.0, {"rho": 0.95, "eps": 1e-6}),  # Zeiler, section 4.1
        "adam": (1e-3, {"b1": 0.9, "b2": 0.999, "eps": 1e-8}),  # Kingma and Ba, algorithm 1
        "adamax": (2e-3, {"b1": 0.9, "b2": 0.999}),  # algorithm 2
    }
    for name, (rate, values) in paper.items():
        convention = optimizer_info(name).conventions["paper"]
        assert (convention.learning_rate, dict(convention.hyperparameters)) == (rate, values)
    notes = {
        **dict.fromkeys(names_in("notes"), 1e-3),
        "sgd": None,
        "adadelta": 1.0,
    }
    assert {name: optimizer_info(name).conventions["notes"].learning_rate for name in notes} == notes
    assert optimizer_info("rmsprop").conventions["paper"].hyperparameters["decay"] == 0.9  # lecture 6.5
