"""like="keras" and like="torch" against Keras and PyTorch as installed: `pytest -m oracle`.

Parameters are zero before each step of the framework, so that what it makes of them is the update, to the last digit.
"""

import functools
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
import pytest
from trajectories import STEPS, Gradients, assert_same, names_in, ours, random_gradients, random_rates, updates

from xxnet_jax.optimizers import optimizer_info

# Keras's and PyTorch's own warnings are not ours to mend.
pytestmark = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]

SEED = 7  # odd: all gradients of the first step are zero

# For each hyperparameter two values far from every default.
OTHERS = {
    "momentum": (0.5, 0.97),
    "decay": (0.7, 0.995),
    "rho": (0.7, 0.995),
    "b1": (0.5, 0.97),
    "b2": (0.8, 0.9997),
    "eps": (1e-3, 1e-11),
    "initial_accumulator_value": (0.5, 1e-4),
    "momentum_decay": (0.1, 0.9),
}


def values_of(name: str, like: str, kind: str) -> dict[str, float]:
    names = optimizer_info(name).conventions[like].hyperparameters
    if kind == "default":
        # The frameworks have no optimizer "momentum": theirs is sgd with it.
        return {"momentum": 0.9} if name in ("momentum", "nesterov") else {}
    return {key: OTHERS[key][kind == "second"] for key in names}


kinds = pytest.mark.parametrize("kind", ["default", "first", "second"])


# --- Keras ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keras() -> Iterator[Any]:
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    module = pytest.importorskip("keras")
    assert module.backend.backend() == "jax"
    before = module.config.floatx()
    module.config.set_floatx("float64")  # of the rate, too
    with jax.numpy_rank_promotion("allow"), jax.enable_x64(True):
        yield module
    module.config.set_floatx(before)


KERAS_NAMES = {"b1": "beta_1", "b2": "beta_2", "eps": "epsilon", "decay": "rho"}


def keras_class(optimizers: Any, name: str) -> Callable[..., Any]:
    return {
        "sgd": optimizers.SGD,
        "momentum": optimizers.SGD,
        "nesterov": functools.partial(optimizers.SGD, nesterov=True),
        "adagrad": optimizers.Adagrad,
        "rmsprop": optimizers.RMSprop,
        "adadelta": optimizers.Adadelta,
        "adam": optimizers.Adam,
        "adamax": optimizers.Adamax,
        "nadam": optimizers.Nadam,
    }[name]


def keras_updates(keras: Any, name: str, gradients: Gradients, rates: Any, **values: float) -> Gradients:
    rates = np.broadcast_to(rates, STEPS)

    class Rates(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step: Any) -> Any:
            return jax.numpy.asarray(rates)[keras.ops.convert_to_tensor(step)]

        def get_config(self) -> dict[str, Any]:
            return {}

    options = {KERAS_NAMES.get(key, key): value for key, value in values.items()}
    optimizer = keras_class(keras.optimizers, name)(learning_rate=Rates(), **options)
    zeros = [np.zeros(g.shape[1:]) for g in gradients.values()]
    optimizer.build([keras.Variable(zero, dtype="float64") for zero in zeros])

    def step(state: Any, gradient: Any) -> Any:
        change, state = optimizer.stateless_apply(state, gradient, [jax.numpy.asarray(zero) for zero in zeros])
        return state, change

    start = [variable.value for variable in optimizer.variables]
    changes = jax.jit(lambda: jax.lax.scan(step, start, list(gradients.values()))[1])()
    return {key: np.asarray(change) for key, change in zip(gradients, changes, strict=True)}


@kinds
@pytest.mark.parametrize("name", names_in("keras"))
def test_keras(keras: Any, name: str, kind: str):
    """Random gradients give Keras's updates: by default, with other hyperparameters, with a rate for each step."""
    gradients, values = random_gradients(SEED), values_of(name, "keras", kind)
    rates = 0.3 if kind == "default" else random_rates(SEED)
    expected = keras_updates(keras, name, gradients, rates, **values)
    assert_same(updates(ours(name, "keras"), gradients, rates, **values), expected)


@pytest.mark.parametrize("name", names_in("keras"))
def test_defaults_of_keras(keras: Any, name: str):
    """Rate and hyperparameters by default are those of Keras's signature; of momentum, Keras's sgd, the rate is."""
    function = keras_class(keras.optimizers, name)
    parameters = inspect.signature(getattr(function, "func", function)).parameters
    convention = optimizer_info(name).conventions["keras"]
    assert convention.learning_rate == parameters["learning_rate"].default
    if name not in ("momentum", "nesterov"):
        theirs = {key: parameters[KERAS_NAMES.get(key, key)].default for key in convention.hyperparameters}
        assert convention.hyperparameters == theirs


def test_what_keras_lacks(keras: Any):
    """Keras has no NadaMax, and like="keras" has all the others."""
    assert set(names_in("keras")) == set(names_in("paper")) - {"nadamax"}
    assert not [name for name in dir(keras.optimizers) if name.lower() == "nadamax"]


# --- PyTorch ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def torch() -> Iterator[Any]:
    module = pytest.importorskip("torch")
    before = module.get_default_dtype()
    module.set_default_dtype(module.float64)  # of NAdam's product, too
    yield module
    module.set_default_dtype(before)


TORCH_NAMES = {"decay": "alpha"}


def torch_class(optim: Any, name: str) -> Callable[..., Any]:
    return {
        "sgd": optim.SGD,
        "momentum": optim.SGD,
        "nesterov": functools.partial(optim.SGD, nesterov=True),
        "adagrad": optim.Adagrad,
        "rmsprop": optim.RMSprop,
        "adadelta": optim.Adadelta,
        "adam": optim.Adam,
        "adamax": optim.Adamax,
        "nadam": optim.NAdam,
    }[name]


def torch_updates(torch: Any, name: str, gradients: Gradients, rates: Any, **values: float) -> Gradients:
    options: dict[str, Any] = {TORCH_NAMES.get(key, key): value for key, value in values.items()}
    if "b1" in options:
        options["betas"] = (options.pop("b1"), options.pop("b2"))
    parameters = {key: torch.zeros(g.shape[1:], requires_grad=True) for key, g in gradients.items()}
    optimizer = torch_class(torch.optim, name)(list(parameters.values()), lr=1.0, **options)
    found = {key: [] for key in gradients}
    for step, rate in enumerate(np.broadcast_to(rates, STEPS)):
        optimizer.param_groups[0]["lr"] = float(rate)
        for key, parameter in parameters.items():
            parameter.data.zero_()
            parameter.grad = torch.tensor(gradients[key][step])
        optimizer.step()
        for key, parameter in parameters.items():
            found[key].append(parameter.detach().numpy().copy())
    return {key: np.array(each) for key, each in found.items()}


@kinds
@pytest.mark.parametrize("name", names_in("torch"))
def test_torch(torch: Any, name: str, kind: str):
    """Random gradients give PyTorch's updates: by default, with other hyperparameters, with a rate for each step."""
    gradients, values = random_gradients(SEED), values_of(name, "torch", kind)
    rates = 0.3 if kind == "default" else random_rates(SEED)
    expected = torch_updates(torch, name, gradients, rates, **values)
    assert_same(updates(ours(name, "torch"), gradients, rates, **values), expected)


@pytest.mark.parametrize("name", names_in("torch"))
def test_defaults_of_torch(torch: Any, name: str):
    """Rate and hyperparameters by default are those of PyTorch's signature; of momentum, PyTorch's sgd, the rate is."""
    function = torch_class(torch.optim, name)
    parameters = inspect.signature(getattr(function, "func", function)).parameters
    convention = optimizer_info(name).conventions["torch"]
    assert convention.learning_rate == parameters["lr"].default
    if name not in ("momentum", "nesterov"):
        defaults = {key: parameter.default for key, parameter in parameters.items()}
        if "betas" in defaults:
            defaults["b1"], defaults["b2"] = defaults["betas"]
        assert convention.hyperparameters == {
            key: defaults[TORCH_NAMES.get(key, key)] for key in convention.hyperparameters
        }


def test_what_torch_lacks(torch: Any):
    """PyTorch has no NadaMax, and like="torch" has all the others."""
    assert set(names_in("torch")) == set(names_in("paper")) - {"nadamax"}
    assert not [name for name in dir(torch.optim) if name.lower() == "nadamax"]
