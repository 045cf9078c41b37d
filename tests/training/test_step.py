"""The training step against closed forms, and on several devices."""

import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xxnet_jax.losses import Outputs, classification_loss, l2_penalty
from xxnet_jax.models import Network, create_model
from xxnet_jax.optimizers import create_optimizer, training_optimizer
from xxnet_jax.training import create_state, dispatch, make_eval_step, make_train_step
from xxnet_jax.training.dispatch import CompiledTrainStep, fold, micro_batches
from xxnet_jax.training.loop import with_rate_scale
from xxnet_jax.training.sharding import divided, make_mesh, replicated
from xxnet_jax.training.state import TrainState, ema_decay_at, polyak_decay_at, update_average


class SoftmaxRegression(Network):
    """logits = x W + b: its gradient has a closed form."""

    @nn.compact
    def __call__(self, images, *, train):
        return nn.Dense(self.num_classes or 1, name="dense")(images.reshape(len(images), -1))


class NormedWithHead(Network):
    """A network with running statistics and an auxiliary head."""

    @nn.compact
    def __call__(self, images, *, train):
        x = images.reshape(len(images), -1)
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9, name="norm")(x)
        head = nn.Dense(self.num_classes or 1, name="head")(x)
        if train:
            self.auxiliary("head", head)
        return nn.Dense(self.num_classes or 1, name="dense")(x)


def random_batch(seed: int, size: int, side: int = 4, classes: int = 3) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(size, side, side, 1)).astype(np.float32),
        "label": rng.integers(0, classes, size, dtype=np.int32),
        "mask": np.ones(size, bool),
    }


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def setup(model: Network, tx: Any, side: int = 4, **options: Any):
    state = create_state(model, tx, (side, side, 1), seed=0, ema="average_decay" in options)
    return state, make_train_step(model, tx, classification_loss(), **options)


def test_sgd_on_softmax_regression_is_the_closed_form():
    """W - r x^T (softmax(xW + b) - y) / n in float64, to float32 rounding."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, optax.sgd(0.5))
    batch = random_batch(0, 6)
    weights = np.asarray(state.params["dense"]["kernel"], np.float64)
    bias = np.asarray(state.params["dense"]["bias"], np.float64)
    x = batch["image"].reshape(6, -1).astype(np.float64)
    p = softmax(x @ weights + bias)
    error = p - np.eye(3)[batch["label"]]

    state, metrics = step(state, batch)

    np.testing.assert_allclose(state.params["dense"]["kernel"], weights - 0.5 * x.T @ error / 6, atol=1e-6)
    np.testing.assert_allclose(state.params["dense"]["bias"], bias - 0.5 * error.mean(0), atol=1e-6)
    loss = -np.log(p[np.arange(6), batch["label"]]).mean()
    np.testing.assert_allclose(metrics["loss"].value(), loss, rtol=1e-6)
    assert int(state.step) == 1


def test_masked_examples_do_not_exist():
    """A batch padded with masked examples makes the same update as the batch without them."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, optax.sgd(0.1))
    short, padded = random_batch(1, 5), random_batch(1, 8)
    for key in ("image", "label"):
        padded[key][:5] = short[key]
    padded["image"][5:] = 1e3
    padded["mask"][5:] = False
    expected, expected_metrics = step(state, short)
    found, found_metrics = step(state, padded)
    chex.assert_trees_all_close(found.params, expected.params, atol=1e-7)
    chex.assert_trees_all_close(found_metrics, expected_metrics, rtol=1e-6)


def test_penalty_adds_its_gradient():
    """With sum(w^2) / 2 at weight c, each step also takes r c w from the kernels, and nothing from the biases."""
    model = SoftmaxRegression(num_classes=3)
    batch = random_batch(2, 4)
    state, plain = setup(model, optax.sgd(0.1))
    _, penalized = setup(model, optax.sgd(0.1), penalty=lambda params: 0.3 * l2_penalty(params, "kernel$"))
    kernel = np.asarray(state.params["dense"]["kernel"])
    without, _ = plain(state, batch)
    with_penalty, metrics = penalized(state, batch)
    difference = without.params["dense"]["kernel"] - with_penalty.params["dense"]["kernel"]
    np.testing.assert_allclose(difference, 0.1 * 0.3 * kernel, atol=1e-6)
    np.testing.assert_array_equal(without.params["dense"]["bias"], with_penalty.params["dense"]["bias"])
    np.testing.assert_allclose(metrics["penalty"].value(), 0.15 * (kernel**2).sum(), rtol=1e-5)


def test_auxiliary_heads_learn_and_statistics_move():
    """While training, the auxiliary loss counts with its weight, its head learns, and statistics are updated."""
    model = NormedWithHead(num_classes=3)
    tx = optax.sgd(0.1)
    state = create_state(model, tx, (4, 4, 1), seed=0)
    batch = random_batch(3, 8)
    weighted = make_train_step(model, tx, classification_loss(auxiliary_weight=0.5))
    unweighted = make_train_step(model, tx, classification_loss(auxiliary_weight=0.0))
    after, metrics = weighted(state, batch)
    frozen, main_only = unweighted(state, batch)

    x = batch["image"].reshape(8, -1).astype(np.float64)
    mean, variance = x.mean(0), x.var(0)
    normed = (x - mean) / np.sqrt(variance + 1e-5)
    logits = normed @ np.asarray(state.params["head"]["kernel"], np.float64)
    auxiliary = -np.log(softmax(logits)[np.arange(8), batch["label"]]).mean()
    np.testing.assert_allclose(
        metrics["loss"].value() - main_only["loss"].value(), 0.5 * auxiliary, rtol=1e-4
    )  # a difference of two float32 losses
    assert not np.array_equal(after.params["head"]["kernel"], state.params["head"]["kernel"])
    np.testing.assert_array_equal(frozen.params["head"]["kernel"], state.params["head"]["kernel"])
    np.testing.assert_allclose(after.batch_stats["norm"]["mean"], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(after.batch_stats["norm"]["var"], 0.9 + 0.1 * variance, atol=1e-6)


def test_evaluation_uses_running_statistics_and_no_auxiliary_head():
    """`eval_step` normalizes with the state's statistics, so that examples do not influence each other."""
    model = NormedWithHead(num_classes=3)
    state = create_state(model, optax.sgd(0.1), (4, 4, 1), seed=0)
    evaluate = make_eval_step(model, classification_loss())
    batch = random_batch(4, 6)
    whole, _ = evaluate(state.evaluation_variables, batch)
    parts = [
        evaluate(state.evaluation_variables, {key: value[i : i + 1] for key, value in batch.items()})[0]
        for i in range(6)
    ]
    np.testing.assert_allclose(whole["loss"].total, sum(part["loss"].total for part in parts), rtol=1e-5)
    assert float(whole["accuracy"].total) == sum(float(part["accuracy"].total) for part in parts)


def test_dropout_differs_between_steps_but_not_between_runs():
    """The same step of the same seed draws the same units; the next step draws others."""
    model = create_model("lenet5.xxnet", num_classes=3, dropout_rate=0.5)
    state, step = setup(model, optax.sgd(0.0), side=28)
    batch = random_batch(5, 4, side=28)
    step = jax.jit(step)
    first, metrics = step(state, batch)
    again, metrics_again = step(state, batch)
    _, metrics_next = step(first, batch)
    chex.assert_trees_all_equal(metrics, metrics_again)
    chex.assert_trees_all_equal(first.params, again.params)
    assert float(metrics["loss"].total) != float(metrics_next["loss"].total)


def test_moving_average_of_the_notes():
    """TensorFlow's worked example: 0 towards 5 at n = 0 gives 4.5, towards 10 at n = 10,000 4.555, then 4.60945."""
    average = {"v": jnp.float32(0)}
    for n, value, expected in ((0, 5, 4.5), (10_000, 10, 4.555), (10_000, 10, 4.60945)):
        average = update_average(average, {"v": jnp.float32(value)}, ema_decay_at(jnp.int32(n), 0.99))
        assert float(average["v"]) == pytest.approx(expected)


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (1, 2 / 11), (10, 0.55), (100, 101 / 110), (890, 0.99)])
def test_moving_average_ramp(step, decay):
    """d(n) = min(.99, (1 + n) / (10 + n)), at the values that the notes lead to."""
    assert float(ema_decay_at(jnp.int32(step), 0.99)) == pytest.approx(decay, rel=1e-6)


def test_moving_average_follows_the_parameters_of_each_step():
    """`ema_params` after several steps is the recursion over the parameters after each step, in float64."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, optax.sgd(0.3), average_decay=functools.partial(ema_decay_at, decay=0.5))
    average = np.asarray(state.params["dense"]["kernel"], np.float64)
    for n in range(5):
        state, _ = step(state, random_batch(n, 4))
        d = min(0.5, (1 + n) / (10 + n))
        average = d * average + (1 - d) * np.asarray(state.params["dense"]["kernel"], np.float64)
    np.testing.assert_allclose(state.ema_params["dense"]["kernel"], average, atol=1e-6)
    assert state.evaluation_variables["params"] is state.ema_params


@settings(max_examples=5)
@given(start=st.integers(0, 7), seed=st.integers(0, 99))
def test_polyak_average_is_the_mean_of_the_parameters(start: int, seed: int):
    """After each step it is NumPy's float64 mean of the parameters after step number `start` (the first is 0) and all
    since; until then it is the parameters themselves."""
    rng = np.random.default_rng(seed)
    visited = rng.normal(size=(12, 3, 2)).astype(np.float32)
    average = {"kernel": jnp.asarray(rng.normal(size=(3, 2)), jnp.float32)}
    for step, params in enumerate(visited):
        average = update_average(average, {"kernel": params}, polyak_decay_at(jnp.int32(step), start))
        expected = visited[min(start, step) : step + 1].mean(0, np.float64)
        # up to 12 steps, each of which rounds numbers of size 1 twice
        np.testing.assert_allclose(average["kernel"], expected, atol=3e-6)


def test_polyak_average_of_training():
    """The evaluated parameters are the mean of those after each step from the start on; training itself is the same."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, optax.sgd(0.3), average_decay=functools.partial(polyak_decay_at, start=2))
    plain_state, plain = setup(model, optax.sgd(0.3))
    step, plain, visited = jax.jit(step), jax.jit(plain), []
    for n in range(7):
        state, _ = step(state, random_batch(n, 4))
        plain_state, _ = plain(plain_state, random_batch(n, 4))
        visited.append(np.asarray(state.params["dense"]["kernel"], np.float64))
    found = state.evaluation_variables["params"]["dense"]["kernel"]
    np.testing.assert_allclose(found, np.mean(visited[2:], axis=0), atol=1e-6)  # rounded five times, near 1
    chex.assert_trees_all_equal(state.params, plain_state.params)


# ------------------------------------------------------------------------------------------------ accumulation


@given(st.data(), st.integers(1, 5), st.sampled_from([1, 2, 4, 8]))
def test_micro_batches_divide_each_device(data: st.DataObject, per_part: int, devices: int):
    """Each example is in exactly one micro-batch, all its keys together; and the micro-batches of a batch that lies
    divided over devices take from each device the examples that it has."""
    count = data.draw(st.integers(1, 6))
    size = per_part * devices * count
    batch = {"image": np.arange(size)[:, None] * np.ones((1, 3), int), "label": np.arange(size)}
    parts: Any = micro_batches(batch, count)  # NumPy's reshaping is JAX's
    labels = parts["label"]
    assert labels.shape == (count, size // count)
    assert sorted(labels.ravel()) == list(range(size))
    np.testing.assert_array_equal(parts["image"], np.repeat(labels[..., None], 3, axis=-1))
    for device, block in enumerate(np.split(labels, devices, axis=1)):
        assert set(block.ravel() // (size // devices)) == {device}


@pytest.mark.parametrize("unrolled", [True, False])
def test_fold_is_a_loop(monkeypatch, unrolled):
    """Carry and stacked results are those of a Python loop, unrolled (as on CPU) or not (as elsewhere)."""
    monkeypatch.setattr(dispatch, "loops_cost_nothing", lambda: not unrolled)

    def body(carry: jax.Array, x: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        return 3 * carry + x, {"seen": carry, "square": x**2}

    xs = np.arange(5, dtype=np.int32)
    carry, results = jax.jit(lambda carry, xs: fold(body, carry, xs))(jnp.int32(2), xs)
    expected, seen = 2, []
    for x in xs.tolist():
        seen.append(expected)
        expected = 3 * expected + x
    assert int(carry) == expected
    assert results["seen"].tolist() == seen
    assert results["square"].tolist() == (xs**2).tolist()
    program = jax.jit(lambda carry, xs: fold(body, carry, xs)).lower(jnp.int32(2), xs).compile().as_text()
    assert program
    assert ("while(" in program) != unrolled


@functools.cache
def accumulating(devices: int, accumulate: int) -> tuple[TrainState, CompiledTrainStep]:
    """A state, and a step of Adam with clipping and a penalty: what is not linear in the gradient would tell."""
    model = SoftmaxRegression(num_classes=3)
    tx = training_optimizer("adam", 0.1, clip_norm=0.5)
    penalty = functools.partial(l2_penalty, pattern="kernel$")
    step = make_train_step(model, tx, classification_loss(), penalty=penalty, accumulate=accumulate)
    mesh = make_mesh(devices)
    return create_state(model, tx, (4, 4, 1), seed=0), CompiledTrainStep(step, identity_input, mesh, 1)


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("accumulate", [2, 5])
@settings(max_examples=6)
@given(seed=st.integers(0, 2**16), share=st.sampled_from([0.02, 0.3, 0.9, 1.0]))
def test_micro_batches_make_the_update_of_the_batch(devices: int, accumulate: int, seed: int, share: float):
    """Two updates from micro-batches are two updates from whole batches, and so are the sums in the metrics, however
    the masked examples lie: a micro-batch with fewer examples counts less, an empty one not at all."""
    batches = [random_batch(seed + n, 80) for n in (0, 1)]
    for batch in batches:
        batch["mask"] = np.random.default_rng(seed).random(80) < share
        batch["mask"][seed % 80] = True
        batch["image"][~batch["mask"]] = 1e3
    ends = []
    for count in (1, accumulate):
        start, step = accumulating(devices, count)
        state, history = jax.device_put(jax.tree.map(jnp.copy, start), replicated(make_mesh(devices))), []
        for batch in batches:
            state, metrics = step(state, (), [batch])
            history.append(metrics)
        assert step.traces == 1
        ends.append((state, history))
    (whole, whole_metrics), (parts, parts_metrics) = ends
    # Sums of 80 float32 in another order; Adam divides by the root of its own average, which keeps relative errors.
    chex.assert_trees_all_close(without_keys(parts), without_keys(whole), rtol=1e-4, atol=1e-6)
    for found, expected in zip(parts_metrics, whole_metrics, strict=True):
        assert set(found) == {"loss", "accuracy", "penalty"}
        for name in ("loss", "accuracy"):
            assert float(found[name].weight) == float(expected[name].weight) == batches[0]["mask"].sum()
            np.testing.assert_allclose(found[name].total, expected[name].total, rtol=1e-5)
        np.testing.assert_allclose(found["penalty"].value(), expected["penalty"].value(), rtol=1e-6)


@pytest.mark.parametrize("devices", [1, 8])
def test_statistics_see_one_micro_batch_after_another(devices):
    """Batch normalization moves its averages once for each micro-batch, by the moments of that micro-batch."""
    model, accumulate = NormedWithHead(num_classes=3), 3
    tx = optax.sgd(0.1)
    step = make_train_step(model, tx, classification_loss(), accumulate=accumulate)
    mesh = make_mesh(devices)
    state = jax.device_put(create_state(model, tx, (4, 4, 1), seed=0), replicated(mesh))
    batch = random_batch(3, 48)
    batch["image"] *= np.arange(1, 49, dtype=np.float32)[:, None, None, None]  # no two parts alike
    mean, variance = np.zeros(16), np.ones(16)
    for part in np.asarray(micro_batches({"image": jnp.asarray(batch["image"])}, accumulate)["image"], np.float64):
        x = part.reshape(16, -1)
        mean, variance = 0.9 * mean + 0.1 * x.mean(0), 0.9 * variance + 0.1 * x.var(0)
    state, _ = CompiledTrainStep(step, identity_input, mesh, 1)(state, (), [batch])
    np.testing.assert_allclose(state.batch_stats["norm"]["mean"], mean, rtol=1e-5, atol=1e-5)  # of numbers near 10
    # E[x^2] - E[x]^2 in float32, of numbers up to 100
    np.testing.assert_allclose(state.batch_stats["norm"]["var"], variance, rtol=1e-4)


class Dropped(Network):
    """Pixels, half of them dropped while training, and one weight."""

    @nn.compact
    def __call__(self, images, *, train):
        scale = self.param("scale", nn.initializers.ones, ())
        return scale * nn.Dropout(0.5, deterministic=not train)(images.reshape(len(images), -1))


def test_each_micro_batch_has_its_own_dropout():
    """Two equal micro-batches lose different pixels; an update with the same number loses the same ones again."""
    batch = {"image": np.ones((2, 4, 4, 1), np.float32), "label": np.zeros(2, np.int32), "mask": np.ones(2, bool)}
    seen: list[np.ndarray] = []

    def spying_loss(outputs: Outputs, batch: Any, key: jax.Array) -> Any:
        jax.debug.callback(lambda kept: seen.append(np.asarray(kept) != 0), outputs.prediction)
        return classification_loss()(outputs, batch, key)

    model, tx = Dropped(), optax.sgd(0.0)
    state = create_state(model, tx, (4, 4, 1), seed=0)
    step = jax.jit(make_train_step(model, tx, spying_loss, accumulate=2))
    for _ in range(2):
        jax.block_until_ready(step(state, batch))
        jax.effects_barrier()
    assert [kept.shape for kept in seen] == 4 * [(1, 16)]
    patterns = {kept.tobytes() for kept in seen}
    assert len(patterns) == 2
    assert {kept.tobytes() for kept in seen[:2]} == patterns


# ------------------------------------------------------------------------------------------------ on devices


def identity_input(resident, batch):
    del resident
    return batch


def trained(devices: int, steps_per_call: int = 1, steps: int = 8):
    model = NormedWithHead(num_classes=3)
    tx = training_optimizer("momentum", 0.05)
    mesh = make_mesh(devices)
    state = jax.device_put(create_state(model, tx, (4, 4, 1), seed=0, ema=True), replicated(mesh))
    step = make_train_step(model, tx, classification_loss(), average_decay=functools.partial(ema_decay_at, decay=0.9))
    compiled = CompiledTrainStep(step, identity_input, mesh, steps_per_call)
    batches = [random_batch(seed, 16) for seed in range(steps)]
    losses = []
    for start in range(0, steps, steps_per_call):
        state, metrics = compiled(state, (), batches[start : start + steps_per_call])
        losses += np.ravel(metrics["loss"].value()).tolist()
    return state, losses, compiled


def without_keys(state):
    return state.replace(rng=jax.random.key_data(state.rng))


def test_eight_devices_train_as_one():
    """The state after 8 steps on 8 devices is that of one device, batch statistics included, to the order of sums."""
    one, one_losses, _ = trained(1)
    eight, eight_losses, _ = trained(8)
    chex.assert_trees_all_close(without_keys(eight), without_keys(one), atol=1e-6)
    np.testing.assert_allclose(eight_losses, one_losses, rtol=1e-5)


def test_the_same_run_twice_is_bit_identical():
    """The same seed on the same devices gives the same bits, on one device and on eight."""
    for devices in (1, 8):
        first, _, _ = trained(devices)
        second, _, _ = trained(devices)
        chex.assert_trees_all_equal(without_keys(first), without_keys(second))


def test_several_steps_in_one_call_are_single_steps():
    """A scan over 4 steps, as on accelerators, gives the states and the metrics of 4 calls."""
    singles, single_losses, _ = trained(2)
    scanned, scanned_losses, compiled = trained(2, steps_per_call=4)
    chex.assert_trees_all_close(without_keys(scanned), without_keys(singles), atol=1e-6)
    np.testing.assert_allclose(scanned_losses, single_losses, rtol=1e-5)
    assert compiled.traces == 1


def test_one_compilation_and_the_old_state_is_consumed():
    """All steps use one program, also after the rate was scaled; the state is donated."""
    state, _, compiled = trained(2)
    before = state.params["dense"]["kernel"]
    state = with_rate_scale(state, 0.1)
    state, _ = compiled(state, (), [random_batch(99, 16)])
    assert compiled.traces == 1
    assert before.is_deleted()


def test_batches_are_divided_and_the_state_is_not():
    """Each of 8 devices holds an eighth of a batch and the whole state."""
    mesh = make_mesh(8)
    images = jax.device_put(random_batch(0, 16)["image"], divided(mesh))
    assert {shard.data.shape for shard in images.addressable_shards} == {(2, 4, 4, 1)}
    state, _, _ = trained(8)
    assert state.params["dense"]["kernel"].sharding.is_fully_replicated


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_create_optimizer_trains(name):
    """A public optimizer without schedule works in the step, too."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, create_optimizer(name, 0.1))
    step = jax.jit(step)
    batch = random_batch(7, 16)
    _, first = step(state, batch)
    for _ in range(30):
        state, _ = step(state, batch)
    _, last = step(state, batch)
    assert float(last["loss"].value()) < 0.7 * float(first["loss"].value())
