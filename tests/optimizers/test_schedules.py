"""Learning rate schedules against their formulas, the scheduled optimizer, and the plateau."""

from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.optimizers import Plateau, ScheduleConfig, create_schedule, list_optimizers, scheduled_optimizer

TOTAL = 1000
STEPS = np.arange(TOTAL + 1)


def rates(config: ScheduleConfig, rate: float = 0.1, total: int = TOTAL, steps: np.ndarray = STEPS) -> np.ndarray:
    """The rate at each of the steps, as a traced step gives it."""
    return np.asarray(jax.jit(jax.vmap(create_schedule(config, rate, total)))(jnp.asarray(steps)))


# float32 powers of exponents up to a hundred: a few units in the sixth digit.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-9}


@pytest.mark.parametrize("name", ["constant", "plateau"])
def test_constant(name: Any):
    """The rate does not change; a plateau's changes by its scale only."""
    np.testing.assert_allclose(rates(ScheduleConfig(name)), 0.1, **CLOSE)


def test_exponential_of_the_notes():
    """0.01 * 0.99^(t / 550), the notes' MNIST schedule, has the values that the notes' arithmetic gives."""
    schedule = create_schedule(ScheduleConfig("exponential", decay_rate=0.99, decay_steps=550), 0.01, 30_000)
    published = {0: 0.01, 550: 0.0099, 1000: 0.00981893, 10_000: 0.00832990, 30_000: 0.00577989}
    for step, rate in published.items():
        np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)  # six printed digits


@pytest.mark.parametrize("staircase", [False, True])
def test_exponential(staircase: bool):
    """r d^(t/k), and r d^floor(t/k) as a staircase."""
    config = ScheduleConfig("exponential", decay_rate=0.7, decay_steps=90, staircase=staircase)
    exponent = STEPS // 90 if staircase else STEPS / 90
    np.testing.assert_allclose(rates(config), 0.1 * 0.7**exponent, **CLOSE)


def test_step_by_decay_steps():
    """One factor at each multiple of `decay_steps`, at which the rate is the new one already."""
    expected = 0.1 * 0.5 ** (STEPS // 300)
    found = rates(ScheduleConfig("step", decay_rate=0.5, decay_steps=300))
    np.testing.assert_allclose(found[:TOTAL], expected[:TOTAL], **CLOSE)
    np.testing.assert_allclose(found[[299, 300, 599, 600]], [0.1, 0.05, 0.05, 0.025], **CLOSE)


def test_step_by_boundaries():
    """One factor at each boundary, at which the rate is the new one already; `decay_steps` does not count then."""
    config = ScheduleConfig("step", decay_rate=0.1, boundaries=(320, 480), decay_steps=7)
    expected = np.where(STEPS < 320, 0.1, np.where(STEPS < 480, 0.01, 0.001))
    np.testing.assert_allclose(rates(config), expected, **CLOSE)


@pytest.mark.parametrize("final", [0.0, 0.1])
def test_cosine(final: float):
    """r (f + (1 - f) (1 + cos(pi t / T)) / 2): it starts at r and ends at f r."""
    found = rates(ScheduleConfig("cosine", final_fraction=final))
    expected = 0.1 * (final + (1 - final) * (1 + np.cos(np.pi * STEPS / TOTAL)) / 2)
    # The cosine is near -1 at the end: an absolute error of float32 there.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(found[[0, -1]], [0.1, 0.1 * final], rtol=1e-5, atol=1e-8)
    assert np.all(np.diff(found) <= 1e-8)
    assert ScheduleConfig("cosine").depends_on_total_steps
    assert not ScheduleConfig("exponential", decay_steps=1).depends_on_total_steps


@pytest.mark.parametrize(
    "config",
    [
        ScheduleConfig("constant"),
        ScheduleConfig("exponential", decay_rate=0.7, decay_steps=90),
        ScheduleConfig("exponential", decay_rate=0.7, decay_steps=90, staircase=True),
        ScheduleConfig("cosine", final_fraction=0.1),
    ],
    ids=lambda config: f"{config.name}-{config.staircase}",
)
def test_warmup(config: ScheduleConfig):
    """The rate rises as r t / w over w steps; then the schedule starts, and a cosine still ends at the last step."""
    w = 40
    with_warmup = rates(replace(config, warmup_steps=w))
    np.testing.assert_allclose(with_warmup[:w], 0.1 * STEPS[:w] / w, **CLOSE)
    np.testing.assert_allclose(with_warmup[w], 0.1, **CLOSE)
    np.testing.assert_allclose(with_warmup[w:], rates(config, total=TOTAL - w)[: TOTAL + 1 - w], rtol=1e-5, atol=1e-8)
    if config.name == "cosine":
        np.testing.assert_allclose(with_warmup[-1], 0.01, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "exponential"}, "'exponential' needs decay_steps"),
        ({"name": "exponential", "decay_steps": 0}, "decay_steps >= 1, got 0"),
        ({"name": "step"}, "'step' needs decay_steps"),
        ({"name": "step", "decay_steps": -5}, "decay_steps >= 1, got -5"),
        ({"decay_rate": 0.0}, r"decay_rate must be in \(0, 1\], got 0"),
        ({"decay_rate": 1.5}, r"decay_rate must be in \(0, 1\], got 1.5"),
        ({"warmup_steps": -1}, "warmup_steps.*got -1"),
        ({"warmup_steps": TOTAL}, rf"warmup_steps must be in \[0, {TOTAL}\), got {TOTAL}"),
    ],
)
def test_errors(options: dict[str, Any], message: str):
    """A missing or impossible value is a ValueError that names it."""
    with pytest.raises(ValueError, match=message):
        create_schedule(ScheduleConfig(**options), 0.1, TOTAL)


# ------------------------------------------------------------------------------ the optimizer with a schedule


def halving(step: Any) -> jax.Array:
    return 0.8 * 0.5 ** jnp.asarray(step, jnp.float32)


def test_rate_and_scale_are_in_the_state():
    """The state holds the rate that the last update used, that of its step, and a scale of one."""
    tx = scheduled_optimizer("sgd", halving)
    params = jnp.array([1.0, -2.0])
    state: Any = tx.init(params)
    assert set(state.hyperparams) == {"learning_rate", "rate_scale"}
    for step in range(3):
        updates, state = tx.update(jnp.ones(2), state, params)
        np.testing.assert_allclose(np.asarray(updates), -0.8 * 0.5**step, rtol=1e-6)
        np.testing.assert_allclose(state.hyperparams["learning_rate"], 0.8 * 0.5**step, rtol=1e-6)
        assert float(state.hyperparams["rate_scale"]) == 1


def test_scale_multiplies_the_update_and_compiles_nothing():
    """With `rate_scale` set to .1 the update of sgd is a tenth until it is set again, in one compiled function."""
    tx = scheduled_optimizer("sgd", lambda step: 0.5)
    params = jnp.array([1.0, -2.0])
    update = jax.jit(chex.assert_max_traces(tx.update, 1))
    state: Any = tx.init(params)
    for scale in (1.0, 0.1, 0.1, 0.01):
        state.hyperparams["rate_scale"] = jnp.full((), scale, jnp.float32)
        updates, state = update(params, state, params)
        np.testing.assert_allclose(updates, -0.5 * scale * np.array([1, -2]), rtol=1e-6)
        np.testing.assert_allclose(state.hyperparams["rate_scale"], scale)


@pytest.mark.parametrize("name", list_optimizers())
def test_every_optimizer_can_be_scheduled(name: str):
    """Of two equal histories the one with half the scale takes half the step, for each of the optimizers."""
    tx = scheduled_optimizer(name, lambda step: 0.5)
    gradient = jnp.array([1.0, -0.3, 0.0])
    state: Any = tx.init(gradient)
    _, state = tx.update(gradient, state, gradient)
    full, _ = tx.update(2 * gradient, state, gradient)
    state.hyperparams["rate_scale"] = jnp.full((), 0.5, jnp.float32)
    half, _ = tx.update(2 * gradient, state, gradient)
    np.testing.assert_allclose(np.asarray(half), np.asarray(full) / 2, rtol=1e-6)
    assert np.any(np.asarray(full) != 0)


# ------------------------------------------------------------------------------ plateau


def after(plateau: Plateau, values: list[float]) -> list[float]:
    """The scale after each evaluation."""
    scales = []
    for value in values:
        plateau = plateau.update(value)
        scales.append(plateau.scale)
    return scales


def test_plateau_reduces_after_patience():
    """The scale falls at the third evaluation in a row that is not better than the best one, and again three later."""
    values = [0.5, 0.6, 0.6, 0.55, 0.59, 0.6, 0.1, 0.2]
    np.testing.assert_allclose(after(Plateau(0.1, patience=3), values), [1, 1, 1, 1, 0.1, 0.1, 0.1, 0.01])


def test_plateau_starts_anew_when_the_metric_improves():
    """A better value starts the count anew, and does not raise the scale again."""
    values = [0.5, 0.4, 0.6, 0.5, 0.5, 0.7, 0.1]
    np.testing.assert_allclose(after(Plateau(0.5, patience=2), values), [1, 1, 1, 1, 0.5, 0.5, 0.5])


def test_plateau_stops_after_max_reductions():
    """There are no more than `max_reductions` reductions, however long the metric stalls."""
    stalled = [0.5] * 10
    np.testing.assert_allclose(after(Plateau(0.1, patience=1, max_reductions=2), stalled), [1, 0.1] + [0.01] * 8)
    assert after(Plateau(0.1, patience=1, max_reductions=0), stalled) == [1] * 10
    np.testing.assert_allclose(after(Plateau(0.1, patience=1), stalled)[-1], 1e-9)


def test_plateau_is_a_value():
    """`update` leaves the plateau that it is called on as it was."""
    plateau = Plateau(0.1, patience=1, best=0.9)
    assert plateau.update(0.5) == Plateau(0.1, patience=1, best=0.9, reductions=1)
    assert plateau == Plateau(0.1, patience=1, best=0.9)


@given(st.lists(st.integers(0, 5), max_size=40), st.integers(1, 4))
def test_plateau_counts_runs_without_improvement(values: list[int], patience: int):
    """The reductions are the whole multiples of the patience in each stretch between two records."""
    best = np.maximum.accumulate(values) if values else np.array([])
    records = [i for i in range(len(values)) if i == 0 or values[i] > best[i - 1]]
    stretches = np.diff([*records, len(values)]) - 1
    plateau = Plateau(0.1, patience)
    for value in values:
        plateau = plateau.update(value)
    assert plateau.reductions == sum(stretches // patience)
