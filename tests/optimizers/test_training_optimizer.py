"""The optimizer of a run: its rate, clipping, weight decay, frozen and slower parameters."""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from trajectories import definitions

from xxnet_jax.optimizers import (
    ParameterGroups,
    ScheduleConfig,
    create_optimizer,
    create_schedule,
    default_learning_rate,
    describe_groups,
    list_optimizers,
    optimizer_info,
    training_optimizer,
)

every_definition = pytest.mark.parametrize(("name", "like"), definitions())

# --- A network's parameters -------------------------------------------------------------------------------------------

SHAPES = {"C1": {"kernel": (8, 2), "bias": (2,)}, "F6": {"kernel": (8, 2), "bias": (2,)}, "scale": ()}
PATHS = ["C1/bias", "C1/kernel", "F6/bias", "F6/kernel", "scale"]  # in the order of the tree


def tree(leaves: Sequence[Any]) -> Any:
    structure = jax.tree.structure(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    return jax.tree.unflatten(structure, [jnp.asarray(leaf, jnp.float32) for leaf in leaves])


def random_tree(seed: int, scale: float = 1.0) -> Any:
    rng = np.random.default_rng(seed)
    shapes = jax.tree.leaves(SHAPES, is_leaf=lambda x: isinstance(x, tuple))
    return tree([rng.normal(0, scale, shape) for shape in shapes])


def by_path(params: Any) -> dict[str, np.ndarray]:
    return dict(zip(PATHS, map(np.asarray, jax.tree.leaves(params)), strict=True))


PARAMS = random_tree(100)
GRADIENTS = [random_tree(step) for step in range(3)]


def run(tx: Any, gradients: Sequence[Any] = GRADIENTS, params: Any = PARAMS, state: Any = None) -> list[Any]:
    """The updates, as dictionaries of paths, for parameters that do not move."""
    state, found = tx.init(params) if state is None else state, []
    for gradient in gradients:
        change, state = tx.update(gradient, state, params)
        found.append(by_path(change))
    return found


def assert_equal(found: list[Any], expected: list[Any], rtol: float = 1e-6, atol: float = 0.0) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        assert a.keys() == b.keys()
        for path in a:
            np.testing.assert_allclose(a[path], b[path], rtol=rtol, atol=atol, err_msg=path)


def halving(step: Any) -> jax.Array:
    return 0.5 ** jnp.asarray(step, jnp.float32)


# --- The rate ---------------------------------------------------------------------------------------------------------


@every_definition
def test_rate_is_that_of_the_schedule(name: str, like: str):
    """The updates are those of the plain optimizer whose rate at each step is learning_rate * schedule(step)."""
    expected = run(create_optimizer(name, lambda step: 0.3 * halving(step), like=like))
    assert_equal(run(training_optimizer(name, 0.3, halving, like=like)), expected)


@pytest.mark.parametrize("name", list_optimizers())
def test_default_rate_and_schedule(name: str):
    """Without a rate it is the convention's, without a schedule it is constant, without a convention the paper's."""
    assert_equal(run(training_optimizer(name)), run(create_optimizer(name)))
    state: Any = training_optimizer(name).init(PARAMS)
    np.testing.assert_allclose(state.rate, default_learning_rate(name), rtol=1e-6)


def test_rate_is_in_the_state():
    """The state tells step and rate of the last update, learning_rate * schedule(step) * rate_scale."""
    tx = training_optimizer("sgd", 0.8, halving)
    params = jnp.array([1.0, -2.0])
    state: Any = tx.init(params)
    np.testing.assert_allclose(state.rate, 0.8, rtol=1e-6)
    for step, scale in enumerate([1.0, 1.0, 0.1, 0.1, 1.0]):
        state.hyperparams["rate_scale"] = jnp.asarray(scale)
        updates: Any
        updates, state = tx.update(jnp.ones(2), state, params)
        expected = 0.8 * 0.5**step * scale
        np.testing.assert_allclose(updates, [-expected] * 2, rtol=1e-6)
        np.testing.assert_allclose(state.rate, expected, rtol=1e-6)
        assert int(state.step) == step + 1
        assert {key: float(state.hyperparams[key]) for key in ("schedule", "rate_scale")} == pytest.approx(
            {"schedule": 0.5**step, "rate_scale": scale}
        )


@pytest.mark.parametrize("wrapper", [jax.jit, lambda function: function], ids=["compiled", "not compiled"])
def test_with_a_warm_up(wrapper: Any):
    """A warm-up begins with a rate of zero, at which nothing moves, whether or not the step is compiled."""
    config = ScheduleConfig("multistep", warmup=2, boundaries=(4,), decay_rate=0.1)
    tx = training_optimizer("sgd", 0.5, create_schedule(config, 6))
    tx = optax.GradientTransformation(wrapper(tx.init), wrapper(tx.update))
    found = run(tx, [GRADIENTS[0]] * 6)
    rates = 0.5 * np.array([0, 0.5, 1, 1, 0.1, 0.1])
    gradient = by_path(GRADIENTS[0])
    assert_equal(found, [{path: -rate * g for path, g in gradient.items()} for rate in rates])


# --- Traced hyperparameters -------------------------------------------------------------------------------------------


@every_definition
def test_traced_hyperparameters(name: str, like: str):
    """Hyperparameters in the state give what constants give."""
    values = dict(optimizer_info(name).conventions[like].hyperparameters)
    if "momentum" in values:
        values["momentum"] = 0.7
    tx = training_optimizer(name, 0.1, halving, like=like, hyperparameters=values, traced=tuple(values))
    state: Any = tx.init(PARAMS)
    assert set(state.hyperparams) == {"learning_rate", "schedule", "rate_scale", *values}
    # 1 - b2^t of a float32 number in place of a double: four digits of seven are lost at first.
    assert_equal(run(tx), run(training_optimizer(name, 0.1, halving, like=like, hyperparameters=values)), 2e-4, 1e-7)


@pytest.mark.parametrize("name", list_optimizers())
def test_states_share_a_compiled_step(name: str):
    """One compiled step serves states with other rates and traced hyperparameters, each as if it were alone."""
    known = optimizer_info(name).conventions["paper"].hyperparameters
    others = {key: {"eps": (1e-3, 1e-6), "initial_accumulator_value": (0.1, 0.5)}.get(key, (0.5, 0.8)) for key in known}
    cases = [(rate, {key: pair[i] for key, pair in others.items()}) for i, rate in enumerate((0.1, 0.02))]
    transformations = [training_optimizer(name, rate, hyperparameters=v, traced=tuple(v)) for rate, v in cases]
    gradient, params = {"w": jnp.array([1.0, -0.3, 0.0])}, {"w": jnp.ones(3)}
    traced = []

    @jax.jit
    def update(state: Any) -> Any:
        traced.append(1)
        return transformations[0].update(gradient, state, params)

    for tx, (rate, values) in zip(transformations, cases, strict=True):
        state, found = tx.init(params), []
        for _ in range(2):
            change, state = update(state)
            found.append(change["w"])
        plain = create_optimizer(name, rate, like="paper", **values)
        after, expected = plain.init(params), []
        for _ in range(2):
            change: Any
            change, after = plain.update(gradient, after)
            expected.append(change["w"])
        np.testing.assert_allclose(found, expected, rtol=2e-4)  # 1 - b2^t, as above
    assert len(traced) == 1


def test_states_in_one_vectorized_step():
    """With `vmap` the states go side by side, as they do one after another."""
    cases = [(0.1, 0.5), (0.02, 0.8), (0.3, 0.95)]
    transformations = [training_optimizer("adam", r, hyperparameters={"b1": b}, traced=("b1",)) for r, b in cases]
    params = {"w": jnp.ones(3)}
    states = [tx.init(params) for tx in transformations]
    histories = [[{"w": jnp.array([1.0, -0.3, 0.0]) * (i + 1)}, {"w": jnp.array([0.5, 0.5, 0.5])}] for i in range(3)]
    stacked = jax.tree.map(lambda *each: jnp.stack(each), *states)
    update = jax.jit(jax.vmap(lambda gradient, state: transformations[0].update(gradient, state, params)))
    found = []
    for step in range(2):
        change, stacked = update({"w": jnp.stack([history[step]["w"] for history in histories])}, stacked)
        found.append(change["w"])
    for member, (tx, state, history) in enumerate(zip(transformations, states, histories, strict=True)):
        for step in range(2):
            change: Any
            change, state = tx.update(history[step], state, params)
            np.testing.assert_allclose(found[step][member], change["w"], rtol=1e-5)


# --- Clipping ---------------------------------------------------------------------------------------------------------


def test_clip_value():
    """Each number of the gradients is clipped for itself."""
    expected = [{path: -0.1 * np.clip(g, -0.5, 0.5) for path, g in by_path(each).items()} for each in GRADIENTS]
    assert_equal(run(training_optimizer("sgd", 0.1, clip_value=0.5)), expected)


def norm(gradients: dict[str, np.ndarray]) -> float:
    return math.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients.values()))


@pytest.mark.parametrize("frozen", [(), ("^F6/", "^scale$")])
@pytest.mark.parametrize("limit", [0.5, 1e4])
def test_clip_norm(limit: float, frozen: tuple[str, ...]):
    """Gradients whose norm, over all parameters that are trained and no others, is beyond the limit get this norm."""
    tx = training_optimizer("sgd", 0.1, clip_norm=limit, groups=ParameterGroups(freeze=frozen))
    for found, gradient in zip(run(tx), map(by_path, GRADIENTS), strict=True):
        trained = {path: g for path, g in gradient.items() if not frozen or path.startswith("C1/")}
        scale = min(1.0, limit / norm(trained))
        assert (scale < 1) == (limit < 100)
        for path, g in gradient.items():
            np.testing.assert_allclose(found[path], -0.1 * scale * g if path in trained else 0 * g, rtol=1e-5)


def test_clip_value_comes_before_clip_norm():
    """With both, it is the norm of the clipped gradients that counts."""
    found = run(training_optimizer("sgd", 1.0, clip_value=0.3, clip_norm=0.4), GRADIENTS[:1])[0]
    clipped = {path: np.clip(g, -0.3, 0.3) for path, g in by_path(GRADIENTS[0]).items()}
    assert norm(clipped) > 0.4
    assert_equal([found], [{path: -g * 0.4 / norm(clipped) for path, g in clipped.items()}], rtol=1e-5)


@every_definition
def test_clipping_is_before_the_rule(name: str, like: str):
    """The rule sees clipped gradients: its state does not remember the others."""
    clipped = [jax.tree.map(lambda g: jnp.clip(g, -0.5, 0.5), gradient) for gradient in GRADIENTS]
    expected = run(create_optimizer(name, 0.1, like=like), clipped)
    assert_equal(run(training_optimizer(name, 0.1, like=like, clip_value=0.5)), expected)


# --- Weight decay -----------------------------------------------------------------------------------------------------


@every_definition
def test_weight_decay_is_decoupled(name: str, like: str):
    """Beside the rule's update parameters that match the pattern lose rate * weight_decay of themselves, with the rate
    of the step; the others, and the rule's state, know nothing of it."""
    groups = ParameterGroups(weight_decay=0.1, weight_decay_pattern="kernel$")
    found = run(training_optimizer(name, 0.3, halving, like=like, groups=groups))
    expected = run(training_optimizer(name, 0.3, halving, like=like))
    for step, updates in enumerate(expected):
        for path in ("C1/kernel", "F6/kernel"):
            updates[path] = updates[path] - 0.3 * 0.5**step * 0.1 * by_path(PARAMS)[path]
    # Sums that may cancel.
    assert_equal(found, expected, atol=1e-7)


@pytest.mark.parametrize("pattern", ["kernel$", "."])
def test_adam_with_weight_decay_is_adamw(pattern: str):
    """For Adam it is Optax's adamw, along a trajectory."""
    groups = ParameterGroups(weight_decay=0.05, weight_decay_pattern=pattern)
    mask = tree([path.endswith("kernel") or pattern == "." for path in PATHS])
    mask = jax.tree.map(bool, mask)
    points = []
    for tx in (
        training_optimizer("adam", 0.1, halving, like="optax", groups=groups),
        optax.adamw(lambda step: 0.1 * halving(step), weight_decay=0.05, mask=mask),
    ):
        params, state = PARAMS, tx.init(PARAMS)
        for gradient in GRADIENTS:
            change, state = tx.update(gradient, state, params)
            params: Any = optax.apply_updates(params, change)  # type: ignore[arg-type]
        points.append(by_path(params))
    assert_equal([points[0]], [points[1]], atol=1e-6)


def test_frozen_parameters_do_not_decay():
    """Weight decay acts where its pattern matches and nothing is frozen."""
    groups = ParameterGroups(freeze=("^C1/",), weight_decay=0.1)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    (found,) = run(training_optimizer("sgd", 0.5, groups=groups), [zeros])
    expected = {path: np.zeros_like(value) for path, value in by_path(PARAMS).items()}
    expected["F6/kernel"] = -0.5 * 0.1 * by_path(PARAMS)["F6/kernel"]
    assert_equal([found], [expected])


# --- Rate factors -----------------------------------------------------------------------------------------------------


@every_definition
def test_rate_factors(name: str, like: str):
    """A factor multiplies the updates, decay included, of the parameters that it is for; the first match counts."""
    decay: Any = {"weight_decay": 0.1, "weight_decay_pattern": "^F6/kernel$"}
    groups = ParameterGroups(rate_factors={"^F6/kernel": 0.25, "^F6/": 0.5, "bias$": 3.0}, **decay)
    factor = {"C1/bias": 3.0, "C1/kernel": 1.0, "F6/bias": 0.5, "F6/kernel": 0.25, "scale": 1.0}
    plain = run(training_optimizer(name, 0.1, like=like, groups=ParameterGroups(**decay)))
    expected = [{path: factor[path] * update for path, update in updates.items()} for updates in plain]
    assert_equal(run(training_optimizer(name, 0.1, like=like, groups=groups)), expected)


# --- Frozen parameters ------------------------------------------------------------------------------------------------


def bits(value: Any) -> Any:
    return np.asarray(value).view(np.uint32)


@every_definition
def test_frozen_parameters_stay_to_the_bit(name: str, like: str):
    """Whatever their gradients, zeros and minus zeros, frozen parameters stay bit by bit, and the others move as if
    they were alone, with clipping, decay and factors around the rule."""
    options: Any = {"clip_norm": 1.0, "clip_value": 0.7}
    groups = ParameterGroups(freeze=("^C1/", "^scale$"), rate_factors={"bias": 0.5, "^C1/": 2.0}, weight_decay=0.1)
    alone = ParameterGroups(rate_factors={"bias": 0.5}, weight_decay=0.1)
    values = by_path(PARAMS)
    # Not among them are subnormal numbers, which XLA takes for zeros on CPU, in any sum.
    values["C1/kernel"] = np.array([0.0, -0.0, 1.5, np.inf, 1e-37, -1e-37, 1e38, -3.0] * 2, np.float32).reshape(8, 2)
    values["scale"] = np.array(-0.0, np.float32)
    params = tree([values[path] for path in PATHS])
    tx = training_optimizer(name, 0.1, like=like, groups=groups, **options)
    other = training_optimizer(name, 0.1, like=like, groups=alone, **options)
    state, other_state, other_params = tx.init(params), other.init({"F6": params["F6"]}), {"F6": params["F6"]}
    for gradient in GRADIENTS[:2]:
        change, state = tx.update(gradient, state, params)
        params: Any = optax.apply_updates(params, change)
        change, other_state = other.update({"F6": gradient["F6"]}, other_state, other_params)
        other_params: Any = optax.apply_updates(other_params, change)
    found = by_path(params)
    for path in ("C1/bias", "C1/kernel", "scale"):
        np.testing.assert_array_equal(bits(found[path]), bits(values[path]))
    for path in ("kernel", "bias"):
        np.testing.assert_allclose(params["F6"][path], other_params["F6"][path], rtol=1e-5, atol=1e-6)
        assert np.all(found[f"F6/{path}"] != values[f"F6/{path}"])


@every_definition
def test_frozen_parameters_have_no_state(name: str, like: str):
    """The state holds arrays for the trained parameters only: as many bytes as without the others."""

    def parameter_sized(tx: Any, params: Any) -> list[Any]:
        leaves = jax.tree.leaves(jax.eval_shape(tx.init, params))
        return sorted((leaf.shape, str(leaf.dtype)) for leaf in leaves if leaf.shape)

    groups = ParameterGroups(freeze=("^C1/", "scale"), weight_decay=0.1)
    found = parameter_sized(training_optimizer(name, 0.1, like=like, groups=groups), PARAMS)
    assert found == parameter_sized(create_optimizer(name, 0.1, like=like), {"F6": PARAMS["F6"]})
    assert len(found) == 2 * optimizer_info(name).slots


# --- Compilation and devices ------------------------------------------------------------------------------------------


def test_compiled_once_on_one_device_and_on_eight():
    """With all options, the compiled step is traced once, and gives on eight devices what it gives on one, though the
    norm is a sum over them; parameters and state stay where they are, and frozen minus zeros what they are."""
    groups = ParameterGroups(freeze=("^C1/",), rate_factors={"bias$": 2.0}, weight_decay=0.1)
    schedule = create_schedule(ScheduleConfig("cosine", warmup=1), 10)
    tx = training_optimizer(
        "adam", 0.1, schedule, hyperparameters={"b1": 0.8}, traced=("b1",), clip_norm=1.0, clip_value=2.0, groups=groups
    )
    traced = []

    @jax.jit
    def step(gradient: Any, state: Any, params: Any) -> Any:
        traced.append(1)
        change, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, change), state

    def train(place: Callable[[Any], Any]) -> Any:
        traced.clear()
        params, state = place(start), place(jax.jit(tx.init)(start))
        for gradient in GRADIENTS:
            params, state = step(place(gradient), state, params)
        assert len(traced) == 1
        np.testing.assert_array_equal(bits(params["C1"]["kernel"]), bits(start["C1"]["kernel"]))
        return params, state

    start = {**PARAMS, "C1": {**PARAMS["C1"], "kernel": jnp.full((8, 2), -0.0, jnp.float32)}}
    mesh = Mesh(np.array(jax.devices()), ("data",))

    def divide(leaf: Any) -> Any:
        spec = PartitionSpec("data") if leaf.shape == (8, 2) else PartitionSpec()
        return jax.device_put(leaf, NamedSharding(mesh, spec))

    one, eight = train(lambda tree: tree), train(functools.partial(jax.tree.map, divide))
    divided = [leaf for leaf in jax.tree.leaves(eight) if leaf.shape == (8, 2)]
    assert len(divided) == 4  # two kernels, and two moments of the one that is trained
    assert all(leaf.addressable_shards[0].data.shape == (1, 2) for leaf in divided)
    # Sums in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), eight, one)


@every_definition
def test_state_is_of_one_kind(name: str, like: str):
    """Structure, shapes and dtypes of the state after an update are those before it, with all options."""
    values = dict(optimizer_info(name).conventions[like].hyperparameters)
    groups = ParameterGroups(freeze=("^C1/",), rate_factors={"bias$": 2.0}, weight_decay=0.1)
    tx = training_optimizer(
        name, 0.1, halving, like=like, hyperparameters=values, traced=tuple(values), clip_norm=1.0, groups=groups
    )
    state = jax.eval_shape(tx.init, PARAMS)
    change, after = jax.eval_shape(tx.update, PARAMS, state, PARAMS)
    kind = functools.partial(jax.tree.map, lambda leaf: f"{leaf.dtype}{leaf.shape}")
    assert kind(after) == kind(state)
    assert kind(change) == kind(PARAMS)


# --- Tables of groups -------------------------------------------------------------------------------------------------


def test_table():
    """A row for each parameter says how it is treated."""
    groups = ParameterGroups(freeze=("^C1/bias",), rate_factors={"^F6/": 0.1, "kernel": 0.5}, weight_decay=0.01)
    rows = groups.table(PARAMS)
    assert [row["path"] for row in rows] == PATHS
    expected = {
        "C1/bias": ("2", 2, True, 0.0, 0.0),
        "C1/kernel": ("8x2", 16, False, 0.5, 0.01),
        "F6/bias": ("2", 2, False, 0.1, 0.0),
        "F6/kernel": ("8x2", 16, False, 0.1, 0.01),
        "scale": ("", 1, False, 1.0, 0.0),
    }
    columns = ("shape", "parameters", "frozen", "rate_factor", "weight_decay")
    assert rows == [{"path": path, **dict(zip(columns, expected[path], strict=True))} for path in PATHS]
    assert describe_groups(rows) == [
        "frozen: C1/bias",
        "rate x 0.5, weight decay 0.01: C1/kernel",
        "rate x 0.1, weight decay 0: F6/bias",
        "rate x 0.1, weight decay 0.01: F6/kernel",
        "rate x 1, weight decay 0: scale",
    ]


def test_many_of_a_kind_are_counted():
    """Six are named."""
    rows = ParameterGroups().table({f"layer{number}": jnp.ones(()) for number in range(9)})
    names = ", ".join(f"layer{number}" for number in range(6))
    assert describe_groups(rows) == [f"rate x 1, weight decay 0: {names} and 3 more"]


@settings(max_examples=10)
@given(st.sets(st.sampled_from(PATHS), max_size=4), st.sets(st.sampled_from(PATHS), min_size=1))
def test_table_says_what_happens(frozen: set[str], decayed: set[str]):
    """For any choice of frozen and decaying parameters the rows agree with what a step does to the parameters."""
    groups = ParameterGroups(
        freeze=tuple(f"^{path}$" for path in frozen),
        weight_decay=0.5,
        weight_decay_pattern=f"^({'|'.join(decayed)})$",
    )
    ones = jax.tree.map(jnp.ones_like, PARAMS)
    (found,) = run(training_optimizer("sgd", 0.25, groups=groups), [ones], ones)
    for row in groups.table(PARAMS):
        assert row["frozen"] == (row["path"] in frozen)
        step = 0.0 if row["frozen"] else -0.25 * (1 + row["weight_decay"])
        np.testing.assert_allclose(found[row["path"]], step, rtol=1e-6)
        assert row["weight_decay"] == (0.5 if row["path"] in decayed - frozen else 0.0)


# --- Errors -----------------------------------------------------------------------------------------------------------

UNMATCHED = {
    "freeze": ParameterGroups(freeze=("^C9/",)),
    "weight decay": ParameterGroups(weight_decay=0.1, weight_decay_pattern="^C9/"),
    "rate factor": ParameterGroups(rate_factors={"^C9/": 0.5}),
}


@pytest.mark.parametrize("purpose", UNMATCHED)
def test_pattern_without_a_match(purpose: str):
    """A pattern that matches nothing is a ValueError that lists the paths, when the state is made and in the table."""
    groups = UNMATCHED[purpose]
    message = rf"the {purpose} pattern '\^C9/' matches no parameter; paths: {', '.join(PATHS)}$"
    for function in (groups.table, training_optimizer("sgd", 0.1, groups=groups).init):
        with pytest.raises(ValueError, match=message):
            function(PARAMS)


@pytest.mark.parametrize("purpose", UNMATCHED)
def test_pattern_that_is_no_regular_expression(purpose: str):
    """So is one that is not a regular expression, with what is wrong in it."""
    groups = {
        "freeze": ParameterGroups(freeze=("C1(",)),
        "weight decay": ParameterGroups(weight_decay=0.1, weight_decay_pattern="C1("),
        "rate factor": ParameterGroups(rate_factors={"C1(": 0.5}),
    }[purpose]
    message = rf"the {purpose} pattern 'C1\(' is not a regular expression: missing \)"
    for function in (groups.table, training_optimizer("sgd", 0.1, groups=groups).init):
        with pytest.raises(ValueError, match=message):
            function(PARAMS)


def test_freezing_everything():
    """Patterns that leave nothing to train are a ValueError that shows them."""
    groups = ParameterGroups(freeze=("^C1/", "^F6/", "scale"))
    for function in (groups.table, training_optimizer("sgd", 0.1, groups=groups).init):
        with pytest.raises(ValueError, match=r"'\^C1/', '\^F6/', 'scale'.*no parameter to train"):
            function(PARAMS)


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_weight_decay_out_of_range(value: float):
    """A weight decay that is negative, NaN or infinite is a ValueError that shows it."""
    with pytest.raises(ValueError, match=f"weight_decay must .*{value}"):
        ParameterGroups(weight_decay=value)


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_rate_factor_out_of_range(value: float):
    """A factor that is zero, negative, NaN or infinite is a ValueError that shows it."""
    with pytest.raises(ValueError, match=f"rate factor of 'bias' must be positive.*{value}"):
        ParameterGroups(rate_factors={"bias": value})


@pytest.mark.parametrize("option", ["clip_value", "clip_norm"])
@pytest.mark.parametrize("value", [0, 0.0, -1.0, math.nan])
def test_clipping_out_of_range(option: str, value: float):
    """A limit that is zero, negative or NaN is a ValueError that shows it."""
    with pytest.raises(ValueError, match=f"{option} must be positive, got {value}"):
        training_optimizer("sgd", 0.1, **{option: value})  # type: ignore[arg-type]


def test_errors_of_the_rule_come_at_once():
    """What `create_optimizer` refuses is refused before a state is made, traced or not."""
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"name": "adamm"}, "did you mean adam"),
        ({"name": "adam", "like": "pytorch"}, "did you mean torch"),
        ({"name": "adam", "learning_rate": -1.0}, "learning_rate must be positive"),
        ({"name": "adam", "like": "optax"}, "no default learning rate"),
        ({"name": "adam", "hyperparameters": {"beta1": 0.9}}, "no hyperparameter 'beta1'"),
        ({"name": "adam", "hyperparameters": {"b1": 1.5}, "traced": ("b1",)}, r"b1 must be in \[0, 1\)"),
    ]
    for options, message in wrong:
        with pytest.raises(ValueError, match=message):
            training_optimizer(**options)


def test_traced_hyperparameters_need_values():
    """A traced hyperparameter without a value, or that does not exist, is a ValueError that names it."""
    with pytest.raises(ValueError, match="b1"):
        training_optimizer("adam", 0.1, traced=("b1",))
    with pytest.raises(ValueError, match="rho"):
        training_optimizer("adam", 0.1, traced=("rho",))
