"""Populations against their members trained one by one, with nothing but the public step and optimizer."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import chex
import flax.linen as nn
import jax
import numpy as np
import pytest

from xxnet_jax.data import Decoder, ImageFormat, Loader, make_loader, preprocess
from xxnet_jax.data.preprocessing import unit_values
from xxnet_jax.data.source import ArrayExamples
from xxnet_jax.losses import Batch, Metrics, classification_loss, l2_penalty
from xxnet_jax.models import Network
from xxnet_jax.optimizers import ScheduleConfig, create_optimizer, create_schedule, training_optimizer
from xxnet_jax.training import create_state, dispatch, make_train_step, population
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.population import Member, MemberResult, Population
from xxnet_jax.training.run import input_function
from xxnet_jax.training.sharding import make_mesh
from xxnet_jax.training.state import TrainState

SHAPE, EXAMPLES, BATCH, STEPS = (4, 4, 1), 40, 16, 5


class Tiny(Network):
    """Everything that a member has of its own: parameters, running statistics, dropout."""

    num_classes: int | None = 3

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(nn.Dense(6, name="hidden")(images.reshape(len(images), -1)))
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(self.num_classes or 1, name="output")(x)


class Plain(Network):
    """Two layers without anything random, and without a norm that would keep their product from overflowing."""

    num_classes: int | None = 3

    @nn.compact
    def __call__(self, images, *, train):
        x = nn.relu(nn.Dense(5, name="hidden")(images.reshape(len(images), -1)))
        return nn.Dense(self.num_classes or 1, name="output")(x)


tiny: Any = Tiny()
plain: Any = Plain()


def make(seed: int = 0) -> Loader:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, EXAMPLES, dtype=np.int32)
    images = (random.integers(0, 80, (EXAMPLES, *SHAPE)) + 80 * labels[:, None, None, None]).astype(np.uint8)
    decoder = Decoder(ImageFormat(*SHAPE), 3)
    return make_loader(ArrayExamples(images, labels), decoder, BATCH, train=True, seed=seed, resident=True)


LOADER = make()


def populate(optimizer: str = "momentum", devices: int = 1, model: Network | None = None, **options: Any) -> Population:
    return Population(
        model or plain,
        optimizer,
        classification_loss(),
        LOADER,
        input_function(LOADER, unit_values),
        SHAPE,
        make_mesh(devices),
        **options,
    )


def traces(trained: Population) -> list[int]:
    return [step.traces for _, step in trained._compiled.values()]


@functools.cache
def initial(tx: Any, seed: int, model: Any) -> TrainState:
    return create_state(model, tx, SHAPE, seed=seed)


@functools.cache
def public_step(tx: Any, model: Any, **options: Any) -> Callable[..., Any]:
    """The public training step, compiled with what makes its batch."""
    step = make_train_step(model, tx, classification_loss(), **options)

    def whole(state: TrainState, resident: Any, batch: Batch) -> tuple[TrainState, Metrics]:
        batch = LOADER.fetch(resident, batch)
        return step(state, batch | {"image": preprocess(batch["image"], "unit")})

    return jax.jit(whole)


def alone(tx: Any, seed: int, **options: Any) -> tuple[TrainState, np.ndarray]:
    """State and losses of one training with the public pieces: nothing of `Population` and `CompiledTrainStep`."""
    return train_publicly(public_step(tx, plain, **options), initial(tx, seed, plain), make(seed))


def train_publicly(step: Any, state: TrainState, loader: Loader, steps: int = STEPS) -> tuple[TrainState, np.ndarray]:
    losses = []
    for batch in itertools.islice(loader.batches(), steps):
        state, metrics = step(state, LOADER.resident, batch)
        losses.append(float(metrics["loss"].value()))
    return state, np.array(losses)


def as_numpy(state: Any) -> Any:
    """The state as NumPy arrays."""
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))


def assert_close(found: MemberResult, state: Any, losses: np.ndarray) -> None:
    # Some tens of float32 sums in another order, five steps long, of numbers near 1.
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)
    chex.assert_trees_all_close(as_numpy(found.state), as_numpy(state), rtol=1e-4, atol=1e-5)
    assert found.diverged_at is None
    assert found.losses.dtype == np.float32
    assert found.seconds > 0


def assert_trained_alike(found: list[MemberResult], expected: list[tuple[TrainState, np.ndarray]]) -> None:
    """Parameters and losses; the states of the optimizers may have other forms."""
    for result, (state, losses) in zip(found, expected, strict=True):
        np.testing.assert_allclose(result.losses, losses, rtol=1e-4)  # as in `assert_close`
        chex.assert_trees_all_close(as_numpy(result.state).params, as_numpy(state).params, rtol=1e-4, atol=1e-5)


SHARED = training_optimizer("momentum")
EIGHT = [Member(seed=seed, learning_rate=0.01 * (seed + 1)) for seed in range(7, -1, -1)]


@functools.cache
def eight_alone(own_order: bool) -> list[tuple[TrainState, np.ndarray]]:
    """Each with an optimizer of its own rate; they share a compilation, as the rate stands in the state."""
    return [
        train_publicly(
            public_step(SHARED, tiny),
            initial(training_optimizer("momentum", member.learning_rate), member.seed, tiny),
            make(member.seed if own_order else 0),
        )
        for member in EIGHT
    ]


@pytest.fixture(autouse=True)
def _look_at_the_end_alone(monkeypatch):
    """However slow the machine: progress is called once, at the end."""
    monkeypatch.setattr(population, "SYNC_SECONDS", 1e9)


@pytest.mark.parametrize(
    ("vectorized", "devices", "own_order"),
    [
        (False, 8, True),
        (True, 1, True),
        (True, 8, False),
    ],
)
def test_members_are_separate_runs(vectorized: bool, devices: int, own_order: bool):
    """Eight seeds, each with its own rate, end as eight runs of the public step: parameters, statistics, optimizer
    state and key, and each loss on the way; one compilation serves them all."""
    trained = populate(devices=devices, model=tiny, vectorized=vectorized, own_order=own_order)
    results = list(trained.train(EIGHT, STEPS))
    assert [result.member for result in results] == EIGHT
    for result, (state, losses) in zip(results, eight_alone(own_order), strict=True):
        assert_close(result, state, losses)
    assert traces(trained) == [1]
    assert len({float(result.losses[0]) for result in results}) == 8  # no two are one


def test_one_by_one_is_the_separate_run_to_the_bit():
    """On one device the compiled program of a member is that of the separate run: no bit differs."""
    results = populate(model=tiny, vectorized=False).train(EIGHT, STEPS)
    for result, (state, losses) in zip(results, eight_alone(True), strict=True):
        chex.assert_trees_all_equal(as_numpy(result.state), as_numpy(state))
        assert result.losses.tolist() == losses.tolist()


@pytest.mark.parametrize(
    ("optimizer", "members"),
    [
        ("adam", [{"b1": 0.0, "eps": 1e-2}, {"b1": 0.99, "eps": 1.0}]),
        ("nesterov", [{"momentum": 0.0}, {"momentum": 0.99}]),
        ("rmsprop", [{"momentum": 0.0, "decay": 0.5}, {"momentum": 0.9, "decay": 0.9}]),
    ],
)
def test_hyperparameters_vary_within_one_compilation(optimizer: str, members: list[dict[str, Any]]):
    """Members with other hyperparameters are the runs of `create_optimizer` with them as constants, together and one
    after another."""
    expected = [alone(create_optimizer(optimizer, 0.02, **values), seed=2) for values in members]
    for vectorized in (False, True):
        trained = populate(optimizer, vectorized=vectorized)
        results = list(trained.train([Member(2, 0.02, values) for values in members], STEPS))
        assert traces(trained) == [1]
        assert_trained_alike(results, expected)
        assert results[0].losses[-1] != results[1].losses[-1]


def test_options_reach_every_member():
    """Convention, schedule, clipping, fixed hyperparameters, penalty and accumulation are those of a separate run; a
    member without a rate has the optimizer's own."""
    schedule = create_schedule(ScheduleConfig("step", every=2, decay_rate=0.5), STEPS)
    step_options = {"penalty": functools.partial(l2_penalty, pattern="kernel$"), "accumulate": 2}
    options: dict[str, Any] = {"like": "torch", "schedule": schedule, "clip_norm": 0.1}
    tx = training_optimizer("rmsprop", 0.01, hyperparameters={"eps": 0.1, "decay": 0.6}, **options)
    expected = [alone(tx, seed=4, **step_options)]
    options["hyperparameters"] = {"eps": 0.1}
    for vectorized in (False, True):
        trained = populate("rmsprop", vectorized=vectorized, optimizer_options=options, step_options=step_options)
        results = list(trained.train([Member(4, hyperparameters={"decay": 0.6})], STEPS))
        assert_trained_alike(results, expected)
        assert float(results[0].state.opt_state.rate) == pytest.approx(0.01 * 0.25)  # PyTorch's .01, halved twice


GOOD = [Member(seed, 0.05) for seed in range(3)]
MIXED = [GOOD[0], Member(0, 1e30), GOOD[1], Member(5, 1e35), GOOD[2]]


@functools.cache
def good_ones() -> list[MemberResult]:
    return list(populate("sgd", vectorized=False).train(GOOD, STEPS))


@pytest.mark.parametrize(
    ("vectorized", "devices"),
    [(False, 1), (True, 1), (True, 8)],
    ids=["one by one", "together", "together on 8"],
)
def test_a_diverging_member_leaves_the_others_alone(monkeypatch, vectorized: bool, devices: int):
    """It is recorded with the number of its first bad loss; the others end as if it were not there, also if somebody
    looks at the losses after each step."""
    monkeypatch.setattr(population, "SYNC_SECONDS", 0.0)
    trained = populate("sgd", devices, vectorized=vectorized)
    among = list(trained.train(MIXED, STEPS))
    assert [result.member for result in among] == MIXED
    for result in (among[1], among[3]):
        assert result.diverged_at is not None
        assert 2 <= result.diverged_at <= STEPS  # the first loss is of the initial parameters
        assert len(result.losses) == result.diverged_at
        assert np.isfinite(result.losses[:-1]).all()
        assert not np.isfinite(result.losses[-1])
    for found, expected in zip([among[0], among[2], among[4]], good_ones(), strict=True):
        assert found.diverged_at is None
        assert len(found.losses) == STEPS
        chex.assert_tree_all_finite(as_numpy(found.state).params)
        if vectorized:  # the same sums, perhaps in another order
            assert_close(found, expected.state, expected.losses)
        else:
            chex.assert_trees_all_equal(as_numpy(found.state), as_numpy(expected.state))


def test_a_diverging_member_alone_stops(monkeypatch):
    """With a look at the loss after each step it stops where the loss of a separate run stops being finite; without,
    it is found at the end, and the record is the same."""
    member = Member(0, 1e30)
    tx = create_optimizer("sgd", 1e30)
    state, losses = train_publicly(public_step(tx, plain), initial(tx, 0, plain), make(0), steps=20)
    first = int(np.flatnonzero(~np.isfinite(losses))[0]) + 1
    for wait, steps in ((0.0, first), (1e9, 20)):
        monkeypatch.setattr(population, "SYNC_SECONDS", wait)
        seen = []
        trained = populate("sgd", vectorized=False)
        (result,) = trained.train([member], 20, lambda step, loss, seen=seen: seen.append(step))
        assert int(result.state.step) == steps
        assert seen == list(range(1, first + 1)) if wait == 0 else seen == [20]
        assert result.diverged_at == first == len(result.losses)
    assert not np.isfinite(state.params["output"]["kernel"]).all()


def test_results_come_one_by_one():
    """One after another, a result is there before the next member has begun; nothing runs before it is asked for."""
    seen: list[int] = []
    results = populate(vectorized=False).train(EIGHT, STEPS, lambda step, loss: seen.append(step))
    assert seen == []
    assert next(results).member is EIGHT[0]
    assert seen == [STEPS]
    assert next(results).member is EIGHT[1]
    assert seen == [STEPS, STEPS]


@functools.cache
def one_by_one(own_order: bool) -> list[MemberResult]:
    return list(populate(vectorized=False, own_order=own_order).train(EIGHT, STEPS))


def test_at_most_so_many_at_once():
    """Eight members in chunks of at most three are three trainings together, the last of two, with the same results."""
    seen: list[int] = []
    trained = populate(devices=2, vectorized=True, at_once=3)
    results = trained.train(EIGHT, STEPS, lambda step, loss: seen.append(step))
    first = next(results)
    assert seen == [STEPS]
    found = [first, *results]
    assert seen == [STEPS] * 3
    assert [result.member for result in found] == EIGHT
    for result, expected in zip(found, one_by_one(True), strict=True):
        assert_close(result, expected.state, expected.losses)


@pytest.mark.parametrize(("vectorized", "own_order"), [(False, True), (True, True), (True, False)])
def test_several_steps_in_one_call(monkeypatch, vectorized: bool, own_order: bool):
    """As on accelerators: two steps a call, and one for the step that is left, are five single steps."""
    expected = one_by_one(own_order)
    monkeypatch.setattr(dispatch, "default_steps_per_call", lambda: 2)
    trained = populate(devices=2, vectorized=vectorized, own_order=own_order)
    results = list(trained.train(EIGHT[:3], STEPS))
    for result, single in zip(results, expected, strict=False):
        assert len(result.losses) == STEPS
        assert_close(result, single.state, single.losses)
    assert traces(trained) == [2]


def test_members_lie_divided_over_the_devices(monkeypatch):
    """Of eight members on eight devices each is on one; twelve are filled up to sixteen, and twelve come back."""
    shapes = []

    class Spy(CompiledTrainStep):
        def __call__(self, state, resident, batches):
            kernel = state.params["output"]["kernel"]
            shapes.append((kernel.shape[0], {shard.data.shape[0] for shard in kernel.addressable_shards}))
            return super().__call__(state, resident, batches)

    monkeypatch.setattr(population, "CompiledTrainStep", Spy)
    trained = populate(devices=8, vectorized=True)
    assert len(list(trained.train(EIGHT, 1))) == 8
    assert len(list(trained.train([*EIGHT, *EIGHT[:4]], 1))) == 12
    assert shapes == [(8, {1}), (16, {2})]


@pytest.mark.parametrize("vectorized", [False, True])
@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([Member(0, 0.1, {"momentum": 0.5}), Member(1, 0.1)], "the same hyperparameters"),
        ([Member(0, 0.1), Member(1, 0.1, {"b1": 0.5})], "the same hyperparameters"),
        ([Member(0, 0.1, {"b1": 0.5})], "momentum .* has no hyperparameter 'b1'"),
        ([Member(0, 0.1, {"momentum": 0.5}), Member(0, 0.1, {"momentum": 1.5})], r"momentum must be in \[0, 1\)"),
        ([Member(0, 0.1), Member(1, -0.1)], "learning_rate must be positive, got -0.1"),
        ([Member(0, 0.1), Member(1, float("nan"))], "learning_rate must be positive, got nan"),
    ],
)
def test_mistakes_in_members(vectorized: bool, members: list[Member], message: str):
    """A wrong value in any member is an error before the first one is trained."""
    trained = populate(vectorized=vectorized)
    with pytest.raises(ValueError, match=message):
        next(trained.train(members, STEPS))
    assert traces(trained) == []


def test_mistakes_in_the_optimizer():
    """An unknown optimizer, convention or option of it is an error, too."""
    for optimizer, options, message in (
        ("momentun", {}, "did you mean momentum"),
        ("momentum", {"like": "caffe"}, "unknown convention 'caffe'"),
        ("momentum", {"clip_norm": -1.0}, "clip_norm must be positive"),
    ):
        with pytest.raises(ValueError, match=message):
            list(populate(optimizer, optimizer_options=options).train(EIGHT, STEPS))


def test_nobody():
    """No members, no results."""
    assert list(populate().train([], STEPS)) == []


def test_the_default_suits_the_backend(monkeypatch):
    """Together where a loop of XLA costs nothing, one after another on CPU."""
    assert not populate().vectorized
    monkeypatch.setattr(population, "loops_cost_nothing", lambda: True)
    assert populate().vectorized
