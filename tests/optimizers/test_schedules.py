"""Learning rate schedules against their formulas and the papers, and the plateau."""

import math
from dataclasses import replace
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.optimizers import PAPER_SCHEDULES, Plateau, ScheduleConfig, create_schedule

TOTAL = 1000
STEPS = np.arange(TOTAL + 1)
NAMES = get_args(ScheduleConfig.__dataclass_fields__["name"].type)


def factors(config: ScheduleConfig, total: int = TOTAL, epoch: int | None = None, steps: Any = STEPS) -> np.ndarray:
    """What the rate is multiplied with at each of the steps."""
    return np.asarray(jax.vmap(create_schedule(config, total, epoch))(jnp.asarray(steps)))


def compiled_factors(config: ScheduleConfig, steps: Any, **options: Any) -> np.ndarray:
    """The same as a compiled training step computes it."""
    schedule = jax.jit(create_schedule(config, **options))
    return np.array([schedule(jnp.asarray(step)) for step in steps])


# float32 powers of exponents up to a hundred: a few units in the sixth digit; and differences of numbers near one.
CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-7}

# --- Formulas ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constant", "plateau", "vgg", "resnet"])
def test_constant(name: Any):
    """The factor is one; a plateau's changes by its scale only."""
    np.testing.assert_array_equal(factors(ScheduleConfig(name)), 1.0)


def test_exponential_of_the_notes():
    """0.01 * 0.99^(t / 550), the notes' MNIST schedule, has the values that the notes' arithmetic gives."""
    schedule = create_schedule(ScheduleConfig("exponential", decay_rate=0.99, every=550), 30_000)
    published = {0: 0.01, 550: 0.0099, 1000: 0.00981893, 10_000: 0.00832990, 30_000: 0.00577989}
    for step, rate in published.items():
        np.testing.assert_allclose(0.01 * schedule(step), rate, rtol=1e-5)  # six printed digits


@settings(max_examples=10)
@given(st.floats(0.1, 1), st.integers(7, 2000), st.booleans())
def test_exponential(rate: float, every: int, staircase: bool):
    """d^(t/k), and d^floor(t/k) as a staircase."""
    exponent = STEPS // every if staircase else STEPS / every
    config = ScheduleConfig("exponential", decay_rate=rate, every=every, staircase=staircase)
    # A float32 power: its relative error grows with the exponent, up to 143 log(10).
    np.testing.assert_allclose(factors(config), rate**exponent, rtol=1e-4, atol=1e-37)


def around(turns: Any) -> np.ndarray:
    """The last steps before the turns, and the first ones after them."""
    return np.sort(np.concatenate([turns - 1, turns, turns + 1]))


@settings(max_examples=10)
@given(st.floats(0.1, 1), st.integers(1, 2000))
def test_step(rate: float, every: int):
    """d^floor(t/k): one factor at each multiple of k, at which the rate is the new one already."""
    steps = around(np.arange(1, 50) * every)
    found = factors(ScheduleConfig("step", decay_rate=rate, every=every), total=10**6, steps=steps)
    np.testing.assert_allclose(found, rate ** (steps // every), rtol=1e-4, atol=1e-37)


@pytest.mark.parametrize("every", [1, 47, 100, 121, 235, 550])
def test_step_is_in_time_when_compiled(every: int):
    """In a compiled step, too, the rate is the new one at each multiple of k, whatever the compiler makes of t / k."""
    steps = around(np.arange(1, 9) * every)
    for config in (
        ScheduleConfig("step", decay_rate=0.5, every=every),
        ScheduleConfig("exponential", decay_rate=0.5, every=every, staircase=True),
    ):
        found = compiled_factors(config, steps, total_steps=10**6)
        np.testing.assert_allclose(found, 0.5 ** (steps // every), rtol=1e-5)


@settings(max_examples=10)
@given(st.floats(0.1, 1), st.sets(st.integers(1, TOTAL), min_size=1, max_size=4))
def test_multistep(rate: float, boundaries: set[int]):
    """d^n with n boundaries at or before t: at a boundary the rate is the new one already."""
    config = ScheduleConfig("multistep", decay_rate=rate, boundaries=tuple(sorted(boundaries)))
    passed = np.sum([boundary <= STEPS for boundary in boundaries], axis=0)
    np.testing.assert_allclose(factors(config), rate**passed, **CLOSE)


@settings(max_examples=10)
@given(st.floats(0.5, 3), st.floats(0, 1))
def test_polynomial(power: float, final: float):
    """f + (1 - f) (1 - t/T)^power: it starts at 1 and ends at f."""
    found = factors(ScheduleConfig("polynomial", power=power, final_fraction=final))
    expected = final + (1 - final) * (1 - STEPS / TOTAL) ** power
    # 1 - t/T is near zero at the end, to 6e-8, of which a power below 1 makes more.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6 if power >= 1 else 2e-5)
    np.testing.assert_allclose(found[[0, -1]], [1, final], **CLOSE)


@pytest.mark.parametrize("name", ["polynomial", "cosine"])
@pytest.mark.parametrize("total", [15, 1000])
def test_end_when_compiled(name: Any, total: int):
    """In a compiled step the factor is zero at the end of the training and after it, not NaN and not negative."""
    found = compiled_factors(ScheduleConfig(name, power=1.5), [total, total + 1, 2 * total], total_steps=total)
    # cos(pi) and 1 - t/T to float32, and its power.
    np.testing.assert_allclose(found, 0, atol=1e-6)
    assert np.all(found >= -1e-7)


@settings(max_examples=10)
@given(st.floats(0, 1))
def test_cosine(final: float):
    """f + (1 - f) (1 + cos(pi t / T)) / 2: it starts at 1 and ends at f."""
    found = factors(ScheduleConfig("cosine", final_fraction=final))
    # The cosine is near -1 at the end: an absolute error of float32 there.
    expected = final + (1 - final) * (1 + np.cos(np.pi * STEPS / TOTAL)) / 2
    np.testing.assert_allclose(found, expected, **CLOSE)
    np.testing.assert_allclose(found[[0, -1]], [1, final], **CLOSE)
    assert np.all(np.diff(found) <= 1e-7)


@pytest.mark.parametrize("name", ["constant", "exponential", "step", "polynomial", "cosine"])
@settings(max_examples=5)
@given(warmup=st.integers(1, TOTAL - 1), staircase=st.booleans())
def test_warmup(name: Any, warmup: int, staircase: bool):
    """The factor is t/w over w steps; then the schedule starts, over the steps that are left."""
    config = ScheduleConfig(name, decay_rate=0.7, every=90, staircase=staircase, final_fraction=0.1)
    found = factors(replace(config, warmup=warmup))
    np.testing.assert_allclose(found[:warmup], STEPS[:warmup] / warmup, **CLOSE)
    np.testing.assert_allclose(found[warmup:], factors(config, total=TOTAL - warmup)[: TOTAL + 1 - warmup], **CLOSE)
    if name in ("polynomial", "cosine"):
        np.testing.assert_allclose(found[-1], 0.1, rtol=1e-5)


def test_warmup_does_not_move_boundaries():
    """The boundaries of multistep are times of the training, of which the warm-up is a part."""
    found = factors(ScheduleConfig("multistep", warmup=100, boundaries=(300, 600)))
    np.testing.assert_allclose(found[[50, 99, 100, 299, 300, 599, 600]], [0.5, 0.99, 1, 1, 0.1, 0.1, 0.01], rtol=1e-6)


@given(warmup=st.integers(1, TOTAL - 1), rate=st.floats(0.001, 1))
@settings(max_examples=5)
def test_warmup_at_a_lower_rate(warmup: int, rate: float):
    """With `warmup_rate` the factor is that for w steps; then the schedule starts as behind any warm-up. It is kept
    where a paper's schedule is meant, such as ResNet-110's: .01 for 400 steps (He et al., 2015, section 4.2)."""
    config = ScheduleConfig("cosine", warmup=warmup)
    found, rising = factors(replace(config, warmup_rate=rate)), factors(config)
    np.testing.assert_allclose(found[:warmup], rate, **CLOSE)
    np.testing.assert_array_equal(found[warmup:], rising[warmup:])
    of_paper = ScheduleConfig("resnet_cifar", warmup=400, warmup_rate=0.1)
    np.testing.assert_allclose(factors(of_paper)[[0, 399, 400]], [0.1, 0.1, 1], rtol=1e-6)


# --- Units ------------------------------------------------------------------------------------------------------------

EPOCH = 25


@pytest.mark.parametrize(("unit", "steps"), [("epochs", EPOCH), ("fraction", TOTAL)])
@pytest.mark.parametrize("name", ["constant", "exponential", "step", "multistep", "polynomial", "cosine"])
def test_units(name: Any, unit: Any, steps: int):
    """Warm-up, `every` and boundaries in epochs or fractions of the training are so many steps."""
    values: dict[str, Any] = {"warmup": 100, "every": 50, "boundaries": (300, 600)}
    scaled: dict[str, Any] = {
        "warmup": 100 / steps,
        "every": 50 / steps,
        "boundaries": (300 / steps, 600 / steps),
    }
    in_steps = factors(ScheduleConfig(name, **values))
    np.testing.assert_allclose(factors(ScheduleConfig(name, unit=unit, **scaled), epoch=EPOCH), in_steps, rtol=1e-6)


def test_fractions_of_an_epoch():
    """Half an epoch of 25 steps is 12 steps for a boundary, rounded as Python does, and 12.5 for a decay."""
    found = factors(ScheduleConfig("multistep", unit="epochs", boundaries=(0.5,)), epoch=EPOCH)
    assert np.flatnonzero(found < 1)[0] == 12
    found = factors(ScheduleConfig("step", unit="epochs", every=0.5, decay_rate=0.5), epoch=EPOCH)
    np.testing.assert_allclose(found, 0.5 ** np.floor(STEPS / 12.5), **CLOSE)


def test_periods_and_trainings_beyond_int32():
    """A period longer than the integers of a step is never over; after many steps a third of an epoch is still one."""
    assert factors(ScheduleConfig("step", every=3e9), steps=[0, 10**6, 2**31 - 1]) == pytest.approx([1, 1, 1])
    config = ScheduleConfig("step", unit="epochs", every=0.33, decay_rate=0.9999)
    (found,) = factors(config, epoch=1001, steps=[30_000_000])
    # 90,818 factors of .9999 in float32; the turns may be a little off.
    np.testing.assert_allclose(found, 0.9999 ** (30_000_000 / 330.33), rtol=2e-2)


# --- The papers -------------------------------------------------------------------------------------------------------


def test_all_papers_are_there():
    """The papers' names are those that the configuration allows beside the formulas."""
    formulas = {"constant", "exponential", "step", "multistep", "polynomial", "cosine", "plateau"}
    papers = {"vgg", "googlenet", "xception", "resnet", "resnet_cifar", "densenet", "densenet_imagenet"}
    assert set(NAMES) == formulas | papers
    assert set(PAPER_SCHEDULES) == papers


@pytest.mark.parametrize(("name", "rate", "every"), [("googlenet", 0.96, 8), ("xception", 0.94, 2)])
@pytest.mark.parametrize("epoch", [7, 235, 390, 40_036])
def test_decay_of_googlenet_and_xception(name: Any, rate: float, every: int, epoch: int):
    """GoogLeNet's rate falls by 4 % every 8 epochs, and Xception's by 6 % every 2: .96^floor(e / 8), .94^floor(e / 2),
    to the step, in a compiled step."""
    steps = around(np.arange(1, 10) * every * epoch)
    found = compiled_factors(ScheduleConfig(name), steps, total_steps=200 * epoch, steps_per_epoch=epoch)
    np.testing.assert_allclose(found, rate ** (steps // epoch // every), rtol=1e-5)


def test_steps_of_resnet_on_cifar():
    """ResNet's rate on CIFAR is divided by 10 after 32,000 and 48,000 of 64,000 steps."""
    steps = [0, 31_999, 32_000, 47_999, 48_000, 63_999]
    found = factors(ScheduleConfig("resnet_cifar"), total=64_000, epoch=391, steps=steps)
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


@settings(max_examples=10)
@given(st.integers(4, 200_000))
def test_steps_of_densenet(total: int):
    """DenseNet's rate on CIFAR and SVHN is divided by 10 at 50 % and 75 % of the training, whatever its length."""
    half, three_quarters = round(total / 2), round(0.75 * total)
    steps = np.array([0, half - 1, half, three_quarters - 1, three_quarters, total])
    found = factors(ScheduleConfig("densenet"), total=total, steps=steps)
    expected = np.where(steps < half, 1, np.where(steps < three_quarters, 0.1, 0.01))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize("total", [1, 2, 3])
def test_densenet_in_very_short_trainings(total: int):
    """A training of a few steps, as in a trial of the command, is no error, though two boundaries may meet."""
    found = factors(ScheduleConfig("densenet"), total=total, steps=np.arange(total))
    assert np.all(np.diff(found) <= 0)
    assert np.all((found > 0) & (found <= 1))


def test_steps_of_densenet_on_imagenet():
    """DenseNet's rate on ImageNet is divided by 10 at epochs 30 and 60 of 90."""
    epochs = np.array([0, 29, 30, 59, 60, 89])
    found = factors(ScheduleConfig("densenet_imagenet"), total=90 * 5005, epoch=5005, steps=epochs * 5005 + 5004)
    np.testing.assert_allclose(found, [1, 1, 0.1, 0.1, 0.01, 0.01], rtol=1e-6)


def test_plateaus_of_vgg_and_resnet():
    """VGG's rate is divided by 10 when the accuracy stalls, three times in all; ResNet's without a limit."""
    papers: list[tuple[Any, int | None]] = [("vgg", 3), ("resnet", None)]
    for name, reductions in papers:
        config = ScheduleConfig(name, patience=2).resolved()
        assert (config.name, config.decay_rate, config.patience) == ("plateau", 0.1, 2)
        assert config.max_reductions == reductions
        plateau = Plateau(config.decay_rate, config.patience, config.max_reductions)
        for _ in range(20):
            plateau = plateau.update(0.5)
        assert plateau.reductions == (reductions or 9)  # 19 stalled evaluations, of which each two reduce


@pytest.mark.parametrize("name", PAPER_SCHEDULES)
def test_what_a_paper_leaves_open(name: Any):
    """Warm-up and patience are the user's, in the paper's unit; all else is the paper's, whatever the config says."""
    paper = PAPER_SCHEDULES[name]
    config = ScheduleConfig(name, unit=paper.unit, warmup=0.25, patience=9, decay_rate=0.5, every=3, boundaries=(1,))
    assert config.resolved() == replace(paper, warmup=0.25, patience=9)
    assert ScheduleConfig(name).resolved() == paper
    other: Any = next(unit for unit in ("steps", "epochs") if unit != paper.unit)
    with pytest.raises(ValueError, match=f"'{name}' counts in {paper.unit}"):
        ScheduleConfig(name, unit=other, warmup=0.25).resolved()


def test_what_depends_on_the_length():
    """A longer run would have had other rates from the start for cosine, polynomial and fractions, and only there."""
    depend = {name for name in NAMES if ScheduleConfig(name, every=1, boundaries=(1,)).depends_on_total_steps}
    assert depend == {"cosine", "polynomial", "densenet"}
    assert ScheduleConfig("step", unit="fraction", every=0.1).depends_on_total_steps
    for config in (ScheduleConfig("step", every=10), ScheduleConfig("multistep", boundaries=(9,), warmup=3)):
        np.testing.assert_array_equal(factors(config, total=500), factors(config, total=5000))
    for name in ("cosine", "polynomial"):
        assert not np.allclose(factors(ScheduleConfig(name), total=500), factors(ScheduleConfig(name), total=5000))


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "exponential"}, "'exponential' needs a positive `every`, got None"),
        ({"name": "exponential", "every": 0}, "positive `every`, got 0"),
        ({"name": "step"}, "'step' needs a positive `every`"),
        ({"name": "step", "every": -5}, "positive `every`, got -5"),
        ({"name": "step", "every": math.nan}, "positive `every`, got nan"),
        ({"name": "multistep"}, "'multistep' needs boundaries"),
        ({"name": "multistep", "boundaries": (200, 100)}, "boundaries, ascending"),
        ({"name": "multistep", "boundaries": (100, 100)}, "boundaries, ascending"),
        ({"name": "multistep", "boundaries": (0, 100)}, "boundaries, ascending"),
        ({"name": "multistep", "boundaries": (5,), "warmup": 5}, "after the warm-up of 5 steps"),
        ({"name": "multistep", "boundaries": (math.nan,)}, "boundaries, ascending"),
        ({"decay_rate": 0.0}, r"decay_rate must be in \(0, 1\], got 0"),
        ({"decay_rate": 1.5}, r"decay_rate must be in \(0, 1\], got 1.5"),
        ({"decay_rate": math.nan}, r"decay_rate must be in \(0, 1\], got nan"),
        ({"name": "polynomial", "power": 0.0}, "power must be positive, got 0"),
        ({"name": "polynomial", "power": math.nan}, "power must be positive, got nan"),
        ({"warmup": 5, "warmup_rate": 0.0}, r"warmup_rate must be in \(0, 1\], got 0"),
        ({"warmup": 5, "warmup_rate": 1.5}, r"warmup_rate must be in \(0, 1\], got 1.5"),
        ({"name": "cosine", "final_fraction": 1.5}, r"final_fraction must be in \[0, 1\], got 1.5"),
        ({"name": "cosine", "final_fraction": -0.1}, r"final_fraction must be in \[0, 1\], got -0.1"),
        ({"warmup": -1}, "warm-up must take 0 steps or more.*got -1"),
        ({"warmup": TOTAL}, f"fewer than the {TOTAL} of the training; got {TOTAL}"),
        ({"warmup": 1.0, "unit": "fraction"}, f"fewer than the {TOTAL} of the training; got 1.0 fraction"),
        ({"warmup": math.nan}, "warm-up must"),
        ({"warmup": math.inf}, "warm-up must"),
        ({"unit": "epochs", "warmup": 1}, "needs to know the steps of an epoch"),
        ({"name": "googlenet"}, "needs to know the steps of an epoch"),
        ({"name": "cosin"}, "unknown schedule 'cosin'"),
        ({"unit": "weeks"}, "weeks"),
    ],
)
def test_errors(options: dict[str, Any], message: str):
    """A missing or impossible value is a ValueError that names it."""
    with pytest.raises(ValueError, match=message):
        create_schedule(ScheduleConfig(**options), TOTAL)


# --- The plateau -----------------------------------------------------------------------------------------------------


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
