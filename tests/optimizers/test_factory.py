"""What is registered under which name, the facts about it, and the errors."""

import math
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trajectories import assert_same, definitions, one_by_one, ours, random_gradients

from xxnet_jax.optimizers import Like, create_optimizer, default_learning_rate, list_optimizers, optimizer_info

every_definition = pytest.mark.parametrize(("name", "like"), definitions())
every_optimizer = pytest.mark.parametrize("name", list_optimizers())


def rate_of(name: str, like: str) -> float:
    return optimizer_info(name).conventions[like].learning_rate or 0.1


# --- Facts ------------------------------------------------------------------------------------------------------------


def test_the_ten():
    """The ten optimizers of the notes are there, each in every convention, but for NadaMax, which only the notes and
    the combination of the papers define."""
    ten = ["sgd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam", "adamax", "nadam", "nadamax"]
    assert list_optimizers() == ten
    for name in ten:
        expected = {"paper", "notes"} if name == "nadamax" else set(get_args(Like))
        assert set(optimizer_info(name).conventions) == expected


@every_definition
def test_slots_are_the_arrays_of_the_state(name: str, like: str):
    """The state holds as many arrays of a parameter's shape as the facts say, and scalars beside them."""
    state = jax.eval_shape(create_optimizer(name, 0.1, like=like).init, jnp.zeros((3, 5, 7)))
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    assert shapes.count((3, 5, 7)) == optimizer_info(name).slots
    assert set(shapes) <= {(3, 5, 7), ()}


def test_memory():
    """Parameters, gradients and state take 2, 3 and 4 times the memory of the parameters for SGD, Momentum, Adam."""
    multiples = {name: optimizer_info(name).memory_multiple for name in list_optimizers()}
    one_slot, two_slots = ("momentum", "nesterov", "adagrad", "rmsprop"), ("adadelta", "adam", "adamax", "nadam")
    expected = {"sgd": 2, **dict.fromkeys(one_slot, 3), **dict.fromkeys(two_slots, 4), "nadamax": 4}
    assert multiples == expected


@every_optimizer
def test_info_names_its_sources(name: str):
    """The facts have the name they were asked for, an update in terms of the rate, and a source with a year."""
    info = optimizer_info(name)
    assert info.name == name
    assert "lr" in info.equation
    assert any(str(year) in info.reference for year in range(1951, 2017)) or "without a paper" in info.reference


@every_definition
def test_listed_defaults_are_those_used(name: str, like: str):
    """With the listed rate and hyperparameters written out, the updates are those without."""
    convention, gradients = optimizer_info(name).conventions[like], {"w": random_gradients(1)["bias"][:8]}
    explicit = one_by_one(ours(name, like), gradients, rate_of(name, like), **convention.hyperparameters)
    rate: Any = None if convention.learning_rate else 0.1
    assert_same(one_by_one(ours(name, like), gradients, rate), explicit)
    if convention.learning_rate:
        assert default_learning_rate(name, like) == convention.learning_rate


@every_definition
def test_every_hyperparameter_matters(name: str, like: str):
    """Another value of a listed hyperparameter gives other updates: none is ignored."""
    gradients = {"w": np.array([[0.0, 1e-3], [1.0, 1e-3], [0.5, -1e-4], [-0.2, 1e-5]])}
    before = one_by_one(ours(name, like), gradients, 0.1)["w"]
    for key, default in optimizer_info(name).conventions[like].hyperparameters.items():
        other = {key: 0.5 if default != 0.5 else 0.25}
        assert not np.allclose(one_by_one(ours(name, like), gradients, 0.1, **other)["w"], before, rtol=1e-3, atol=0)


@every_optimizer
def test_the_paper_is_the_default_convention(name: str):
    """Without `like`, the updates and the rate are those of the paper."""
    gradients = {"w": random_gradients(0)["bias"][:4]}
    expected = one_by_one(ours(name, "paper"), gradients, rate_of(name, "paper"))
    assert_same(one_by_one(lambda rate: create_optimizer(name), gradients, 0.0), expected)
    assert default_learning_rate(name) == default_learning_rate(name, "paper")


# --- Errors -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wrong", "right"), [("adamm", "adam"), ("Nadam", "nadam"), ("rms_prop", "rmsprop")])
@pytest.mark.parametrize("function", [create_optimizer, default_learning_rate, optimizer_info])
def test_unknown_name_suggests_the_nearest(function: Any, wrong: str, right: str):
    """A misspelt name is a ValueError that suggests the one that was meant."""
    with pytest.raises(ValueError, match=rf"unknown optimizer '{wrong}': did you mean.*\b{right}\b"):
        function(wrong)


@pytest.mark.parametrize(("wrong", "right"), [("Keras", "keras"), ("pytorch", "torch"), ("papers", "paper")])
def test_unknown_convention_suggests_the_nearest(wrong: str, right: str):
    """A misspelt convention is a ValueError that suggests the one that was meant."""
    for function in (create_optimizer, default_learning_rate):
        with pytest.raises(ValueError, match=rf"unknown convention '{wrong}': did you mean.*\b{right}\b"):
            function("adam", like=wrong)


@pytest.mark.parametrize("like", ["optax", "keras", "torch"])
def test_convention_that_lacks_the_rule(like: str):
    """A framework without the rule is a ValueError that names the conventions that have it, and the framework's own."""
    with pytest.raises(ValueError, match=rf"like='{like}' has no nadamax: it exists like paper, notes; .*nadam\b"):
        create_optimizer("nadamax", 0.1, like=like)


@every_definition
def test_a_rate_is_needed_where_there_is_no_default(name: str, like: str):
    """Where the convention has no rate, leaving it out is a ValueError that names the rates of other conventions."""
    convention = optimizer_info(name).conventions[like]
    assert (convention.learning_rate is None) == (like == "optax" or (name, like) == ("sgd", "notes"))
    if convention.learning_rate is None:
        published = optimizer_info(name).conventions["paper"].learning_rate
        for function in (create_optimizer, default_learning_rate):
            with pytest.raises(ValueError, match=rf"no default learning rate for {name}.*paper {published:g}\b"):
                function(name, like=like)
    else:
        create_optimizer(name, like=like)


@every_definition
def test_unknown_hyperparameter_lists_the_valid_ones(name: str, like: str):
    """A hyperparameter that the rule lacks, or that is misspelt, is a ValueError that lists those it has."""
    known = optimizer_info(name).conventions[like].hyperparameters
    lacking = {"momentum", "rho", "decay", "b1", "b2", "eps", "momentum_decay", "beta_1", "nesterov"} - set(known)
    for wrong in [*lacking, *(f"{key}s" for key in known)]:
        listed = ", ".join(["learning_rate", *known])
        with pytest.raises(ValueError, match=rf"{name}.*no hyperparameter '{wrong}': it has {listed}$"):
            create_optimizer(name, 0.1, like=like, **{wrong: 0.5})


NOT_NUMBERS = [True, False, np.bool_(True), "0.5", None, 0.5j, [0.5], np.array([0.5]), jnp.array([0.5])]
NAN = [math.nan, np.float32("nan"), jnp.asarray(math.nan)]
DECAYS = ("momentum", "decay", "rho", "b1", "b2")


@every_definition
def test_values_out_of_range(name: str, like: str):
    """Decays outside [0, 1), negative or infinite constants, NaN, and what is no number are ValueErrors that name the
    hyperparameter; the ends that are allowed are none."""
    for key in optimizer_info(name).conventions[like].hyperparameters:
        beyond = [1, 1.0, np.float32(1), jnp.asarray(1.5), 2] if key in DECAYS else []
        for value in [-1, -1e-12, np.float64(-0.5), jnp.asarray(-0.5), math.inf, -math.inf, *NAN, *beyond]:
            with pytest.raises(ValueError, match=rf"^{key} must be (in \[0, 1\)|at least 0), got"):
                create_optimizer(name, 0.1, like=like, **{key: value})
        for value in (x for x in NOT_NUMBERS if x is not None):
            with pytest.raises(ValueError, match=rf"^{key} must be a number, got"):
                create_optimizer(name, 0.1, like=like, **{key: value})  # type: ignore[arg-type]
        allowed: list[Any] = [0, 0.0, 0.5, np.float32(0.5), jnp.asarray(0.5)]
        for value in allowed:
            create_optimizer(name, 0.1, like=like, **{key: value})


@every_definition
def test_rates_out_of_range(name: str, like: str):
    """A rate that is zero, negative, infinite, NaN or no number is a ValueError that shows it."""
    for rate in [0, 0.0, -1e-3, -1, np.float32(-0.1), jnp.asarray(-0.1), math.inf, *NAN]:
        with pytest.raises(ValueError, match=r"^learning_rate must be positive, got"):
            create_optimizer(name, rate, like=like)
    for rate in NOT_NUMBERS:
        if rate is not None:
            with pytest.raises(ValueError, match=r"^learning_rate must be a number, got"):
                create_optimizer(name, rate, like=like)  # type: ignore[arg-type]
    for rate in (1, 1e-30, 1e3, np.float64(0.1), jnp.asarray(0.1), lambda step: 0.1):
        create_optimizer(name, rate, like=like)
