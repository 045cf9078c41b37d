"""What every definition must do, whatever its equation: descend, keep dtypes, compile once, compose with Optax."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from trajectories import definitions

from xxnet_jax.optimizers import Convention, create_optimizer, list_optimizers, optimizer_info, training_optimizer

every_definition = pytest.mark.parametrize(("name", "like"), definitions())
every_optimizer = pytest.mark.parametrize("name", list_optimizers())


class InEveryConvention:
    """All definitions of an optimizer side by side, so that one compilation serves them all."""

    def __init__(self, name: str, rate: Any, **hyperparameters: float):
        self.known = optimizer_info(name).conventions
        self.each_one = {
            like: create_optimizer(name, rate, like=like, **_those_of(convention, hyperparameters))
            for like, convention in self.known.items()
        }

    def each(self, tree: Any) -> dict[str, Any]:
        return dict.fromkeys(self.known, tree)

    def init(self, params: Any) -> Any:
        return {like: tx.init(params[like]) for like, tx in self.each_one.items()}

    def update(self, gradients: Any, state: Any, params: Any) -> Any:
        both = {like: tx.update(gradients[like], state[like], params[like]) for like, tx in self.each_one.items()}
        return {like: change for like, (change, _) in both.items()}, {like: state for like, (_, state) in both.items()}


def _those_of(convention: Convention, hyperparameters: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in hyperparameters.items() if key in convention.hyperparameters}


# --- Descent ----------------------------------------------------------------------------------------------------------

STEPS = 1000
CURVATURE = np.array([0.5, 1.0, 2.0, 4.0], np.float32)
START = jnp.array([1.0, -1.0, 0.5, -2.0, -1.2, 1.0])


def losses(w: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A convex quadratic of four parameters with its minimum at zero, and a hundredth of Rosenbrock's function of two,
    from its usual start."""
    x, y = w[4:]
    return jnp.sum(CURVATURE * w[:4] ** 2) / 2, (1 - x) ** 2 / 100 + (y - x**2) ** 2


@every_optimizer
def test_descends(name: str):
    """A thousand steps, with a rate that falls to zero as a cosine, reach the minimum of a convex quadratic and go down
    the valley of Rosenbrock's function, in every convention."""
    # AdaGrad's steps shrink, and AdaDelta's start at the root of epsilon.
    rate = optax.cosine_decay_schedule({"adagrad": 0.3, "adadelta": 10.0}.get(name, 0.1), STEPS)
    together = InEveryConvention(name, rate)

    def step(carry: Any, _: None) -> Any:
        w, state = carry
        slopes = {like: jax.grad(lambda w: sum(losses(w)))(w[like]) for like in w}
        change, state = together.update(slopes, state, w)
        return (optax.apply_updates(w, change), state), None

    w = together.each(START)
    run = jax.jit(lambda: jax.lax.scan(step, (w, together.init(w)), None, STEPS)[0][0])
    for like, end in run().items():
        (quadratic, rosenbrock), (quadratic_start, rosenbrock_start) = losses(end), losses(START)
        assert 0 <= quadratic < 1e-6 * quadratic_start, like
        # Beside the valley: at its bottom, near (-1, 1), the function is a sixth of what it is at the start.
        assert 0 <= rosenbrock < rosenbrock_start / 6, like


# --- Dtypes, shapes, compilation --------------------------------------------------------------------------------------


def parameters(dtype: Any) -> Any:
    """A tree with a scalar, an empty array and an empty branch."""
    return {
        "kernel": jnp.ones((8, 2), dtype),
        "nested": {"scalar": jnp.ones((), dtype), "none": jnp.ones((0, 3), dtype)},
        "empty": {},
    }


def gradients(dtype: Any, step: int = 0) -> Any:
    rng = np.random.default_rng(step)
    kernel = rng.normal(size=(8, 2)) * 10.0 ** np.arange(0, -8, -1)[:, None]
    kernel[2] = 0
    like = parameters(dtype)
    return {
        **like,
        "kernel": jnp.asarray(kernel, dtype),
        "nested": {**like["nested"], "scalar": jnp.asarray(0.25, dtype)},
    }


def assert_shapes_and_dtypes(found: Any, expected: Any) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    found, expected = (jax.tree.map(lambda leaf: f"{leaf.dtype}{leaf.shape}", tree) for tree in (found, expected))
    assert found == expected


def variants(name: str, like: str) -> dict[str, Callable[[], optax.GradientTransformation]]:
    """Ways to make the optimizer that may differ in dtypes."""
    values = dict(optimizer_info(name).conventions[like].hyperparameters)
    return {
        "number": lambda: create_optimizer(name, 0.1, like=like),
        "training": lambda: training_optimizer(name, 0.1, lambda step: 1 / (step + 1), like=like),
        "traced": lambda: training_optimizer(name, 0.1, like=like, hyperparameters=values, traced=tuple(values)),
    }


@pytest.mark.parametrize("variant", ["number", "training", "traced"])
@every_definition
def test_dtypes(name: str, like: str, variant: str):
    """Updates and averages have the dtype of the parameters, and the state is of the same kind after an update; so for
    float32 parameters where JAX computes in float64 by default."""
    cases = [("float32", False), ("bfloat16", False), ("float64", True), ("float32", True)]
    for dtype, x64 in cases:
        with jax.enable_x64(x64):
            tx, params = variants(name, like)[variant](), parameters(dtype)["kernel"]
            state = tx.init(params)
            slots = [leaf for leaf in jax.tree.leaves(state) if leaf.shape == (8, 2)]
            assert len(slots) >= optimizer_info(name).slots
            assert {leaf.dtype for leaf in slots} <= {jnp.dtype(dtype)}
            change, after = jax.eval_shape(tx.update, params, state, params)
            assert_shapes_and_dtypes(change, params)
            assert_shapes_and_dtypes(after, state)


@every_definition
def test_half_precision(name: str, like: str):
    """In half precision, gradients from 1 to 1e-7 with zeros among them give finite updates of the same precision that
    go down, or are zero; in float16, in which 1e-8 is zero, with an epsilon of 1e-3."""
    known = optimizer_info(name).conventions[like].hyperparameters
    for dtype in ("bfloat16", "float16"):
        eps = {"eps": 1e-3} if dtype == "float16" and "eps" in known else {}
        tx = create_optimizer(name, 0.1, like=like, **eps)
        gradient = gradients(dtype)["kernel"]
        state = tx.init(gradient)
        for _ in range(2):
            change: Any
            change, state = tx.update(gradient, state)
            assert change.dtype == dtype
            assert np.isfinite(np.asarray(change, np.float32)).all()
            assert np.all(np.sign(np.asarray(change)) * np.sign(np.asarray(gradient)) <= 0)


@every_optimizer
def test_a_dead_parameter_stays_alive(name: str):
    """A parameter without gradient for so long that all averages have decayed to nothing gets finite updates, and
    moves again when a gradient comes, but for the notes' AdaDelta: it moves by its past moves, which are nothing."""
    quick = dict.fromkeys(("momentum", "decay", "rho", "b1", "b2"), 0.5)
    together = InEveryConvention(name, 0.1, **quick)

    def run(history: jax.Array) -> Any:
        params = together.each(jnp.zeros(2))

        def step(state: Any, gradient: jax.Array) -> Any:
            return together.update(together.each(gradient), state, params)[::-1]

        return jax.lax.scan(step, together.init(params), history)[1]

    # .5^t is no longer a float32 after 150 steps.
    history = np.zeros((201, 2), np.float32)
    history[0, 1] = history[-1] = 1.0
    for like, found in jax.jit(run)(history).items():
        assert np.isfinite(found).all(), like
        assert np.all(found[:-1, 0] == 0), like
        assert np.all(found[-1] <= 0 if (name, like) == ("adadelta", "notes") else found[-1] < 0), like


@every_optimizer
def test_compiled_once_on_one_device_and_on_eight(name: str):
    """In every convention the compiled step is traced once for all its steps, and gives on eight devices, among which
    the parameters are divided, what it gives on one, with the state where the parameters are."""
    together = InEveryConvention(name, lambda count: 0.1 / (count + 1))
    start = together.each(jnp.ones((8, 2)))
    traced = []

    @jax.jit
    def step(gradient: jax.Array, state: Any, params: Any) -> Any:
        traced.append(1)
        change, state = together.update(together.each(gradient), state, params)
        return optax.apply_updates(params, change), state

    def run(place: Callable[[Any], Any]) -> Any:
        traced.clear()
        params, state = place(start), place(together.init(start))
        for i in range(3):
            params, state = step(place(gradients("float32", i)["kernel"]), state, params)
        assert len(traced) == 1
        return params, state

    mesh = Mesh(np.array(jax.devices()), ("data",))

    def divide(leaf: Any) -> Any:
        spec = PartitionSpec("data") if leaf.shape == (8, 2) else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    one, eight = run(lambda tree: tree), run(functools.partial(jax.tree.map, divide))
    assert len(jax.devices()) == 8
    divided = [leaf for leaf in jax.tree.leaves(eight) if leaf.shape == (8, 2)]
    assert len(divided) == len(together.known) * (1 + optimizer_info(name).slots)
    assert all(leaf.addressable_shards[0].data.shape == (1, 2) for leaf in divided)
    # The same elementwise operations, compiled apart.
    assert_equal(eight, one, rtol=1e-5)


# --- Composition ------------------------------------------------------------------------------------------------------


def pair(tree: Any) -> Any:
    """Two arrays of the tree: these tests run operation by operation."""
    return {"kernel": tree["kernel"], "scalar": tree["nested"]["scalar"]}


PARAMS = pair(parameters("float32"))
GRADIENTS = [pair(gradients("float32", step)) for step in range(4)]


def run(tx: optax.GradientTransformation, grads: list[Any], params: Any = PARAMS) -> list[Any]:
    state, found = tx.init(params), []
    for gradient in grads:
        change, state = tx.update(gradient, state, params)
        found.append(change)
    return found


def assert_equal(found: Any, expected: Any, rtol: float = 1e-6, atol: float = 0.0) -> None:
    """To float32 rounding: Optax compiles some sums over a tree, and another tree is another program."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), found, expected)


@every_definition
def test_in_a_chain(name: str, like: str):
    """After a transformation that negates gradients, all rules being odd, the updates are the negative ones."""
    plain = create_optimizer(name, 0.1, like=like)
    negated = jax.tree.map(jnp.negative, run(plain, GRADIENTS[:2]))
    assert_equal(run(optax.chain(optax.scale(-1.0), plain), GRADIENTS[:2]), negated)


@every_definition
def test_in_multi_transform(name: str, like: str):
    """For the parameters with its label the updates are those without `multi_transform`; others are sgd's."""
    plain = create_optimizer(name, 0.1, like=like)
    mixed = optax.multi_transform({"ours": plain, "other": optax.sgd(1.0)}, {"kernel": "ours", "scalar": "other"})
    expected = [{**each, "scalar": jnp.asarray(-0.25)} for each in run(plain, GRADIENTS[:2])]
    assert_equal(run(mixed, GRADIENTS[:2]), expected)


@every_definition
def test_in_multi_steps(name: str, like: str):
    """With `MultiSteps` two micro-batches give the update of the batch whose gradient is their mean."""
    micro = [each["kernel"] for each in GRADIENTS[:3]]
    params, plain = PARAMS["kernel"], create_optimizer(name, 0.1, like=like)
    with jax.disable_jit():  # it compiles its condition at every step
        steps = run(optax.MultiSteps(plain, every_k_schedule=2).gradient_transformation(), micro, params)
    (batch,) = run(plain, [(micro[0] + micro[1]) / 2], params)
    # a + (b - a) / 2 in place of (a + b) / 2: an absolute error where they nearly cancel.
    assert_equal(steps, [np.zeros((8, 2)), batch, np.zeros((8, 2))], rtol=1e-4, atol=1e-6)


@every_definition
def test_in_inject_hyperparams(name: str, like: str):
    """`optax.inject_hyperparams(create_optimizer)` puts the rate in the state, where it can be set, and the
    hyperparameters that are given."""
    inject = optax.inject_hyperparams(create_optimizer, static_args=("name", "like"))
    values = dict(optimizer_info(name).conventions[like].hyperparameters)
    given: Any = inject(name, learning_rate=0.1, like=like, **values).init(PARAMS)
    assert {"learning_rate", *values} <= set(given.hyperparams)
    tx = inject(name, learning_rate=0.1, like=like)
    state: Any = tx.init(PARAMS)
    state.hyperparams["learning_rate"] = jnp.asarray(0.05)
    halved, _ = tx.update(GRADIENTS[0], state, PARAMS)
    (plain,) = run(create_optimizer(name, 0.1, like=like), GRADIENTS[:1])
    assert_equal(run(tx, GRADIENTS[:1]), [plain])
    assert_equal(halved, jax.tree.map(lambda u: u / 2, plain))


def test_inject_hyperparams_with_a_warm_up():
    """The rate that `inject_hyperparams` takes from a schedule may begin at zero, at which nothing moves."""
    inject = optax.inject_hyperparams(create_optimizer, static_args=("name", "like"))
    tx = inject("adam", learning_rate=optax.linear_schedule(0.0, 0.1, 2))
    first, second = run(tx, GRADIENTS[:2])
    assert_equal(first, jax.tree.map(jnp.zeros_like, PARAMS))
    assert np.all(np.abs(second["kernel"]).max(axis=1) > [0, 0, -1, 0, 0, 0, 0, 0])  # the third row has no gradient


@every_definition
def test_injected_through_a_function(name: str, like: str):
    """A function whose arguments are the hyperparameters can be injected, and gives what the numbers give."""
    values = dict(optimizer_info(name).conventions[like].hyperparameters)

    def make(learning_rate: Any, momentum: Any, decay: Any, rho: Any, b1: Any, b2: Any, eps: Any) -> Any:
        given = {"momentum": momentum, "decay": decay, "rho": rho, "b1": b1, "b2": b2, "eps": eps}
        return create_optimizer(name, learning_rate, like=like, **{k: v for k, v in given.items() if k in values})

    given = {key: values.get(key, 0.0) for key in ("momentum", "decay", "rho", "b1", "b2", "eps")}
    tx = optax.inject_hyperparams(make)(learning_rate=0.1, **given)
    plain = run(create_optimizer(name, 0.1, like=like), GRADIENTS[:2])
    # 1 - b2^t of a float32 array in place of a number: four digits of seven are lost at first.
    assert_equal(run(tx, GRADIENTS[:2]), plain, rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("make", [create_optimizer, training_optimizer])
@every_definition
def test_nothing_to_train(make: Any, name: str, like: str):
    """A tree without arrays, and one with empty arrays only, give such trees."""
    tx = make(name, 0.1, like=like)
    for params in ({}, {"empty": jnp.ones((0, 3)), "branch": {}}):
        state = tx.init(params)
        for _ in range(2):
            change, state = tx.update(params, state, params)
            assert_shapes_and_dtypes(change, params)
