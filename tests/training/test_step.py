"""The training step against closed forms, and on several devices."""

from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from xxnet_jax.losses import classification_loss, l2_penalty
from xxnet_jax.models import Network, create_model
from xxnet_jax.optimizers import create_optimizer, scheduled_optimizer
from xxnet_jax.training import create_state, make_eval_step, make_train_step
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.loop import with_rate_scale
from xxnet_jax.training.sharding import divided, make_mesh, replicated
from xxnet_jax.training.state import ema_decay_at, update_ema


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
    state = create_state(model, tx, (side, side, 1), seed=0, ema="ema_decay" in options)
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
    whole = evaluate(state.evaluation_variables, batch)
    parts = [
        evaluate(state.evaluation_variables, {key: value[i : i + 1] for key, value in batch.items()}) for i in range(6)
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
    average = update_ema({"v": jnp.float32(0)}, {"v": jnp.float32(5)}, jnp.int32(0), 0.99)
    assert float(average["v"]) == pytest.approx(4.5)
    average = update_ema(average, {"v": jnp.float32(10)}, jnp.int32(10_000), 0.99)
    assert float(average["v"]) == pytest.approx(4.555)
    average = update_ema(average, {"v": jnp.float32(10)}, jnp.int32(10_000), 0.99)
    assert float(average["v"]) == pytest.approx(4.60945)


@pytest.mark.parametrize(("step", "decay"), [(0, 0.1), (1, 2 / 11), (10, 0.55), (100, 101 / 110), (890, 0.99)])
def test_moving_average_ramp(step, decay):
    """d(n) = min(.99, (1 + n) / (10 + n)), at the values that the notes lead to."""
    assert float(ema_decay_at(jnp.int32(step), 0.99)) == pytest.approx(decay, rel=1e-6)


def test_moving_average_follows_the_parameters_of_each_step():
    """`ema_params` after several steps is the recursion over the parameters after each step, in float64."""
    model = SoftmaxRegression(num_classes=3)
    state, step = setup(model, optax.sgd(0.3), ema_decay=0.5)
    average = np.asarray(state.params["dense"]["kernel"], np.float64)
    for n in range(5):
        state, _ = step(state, random_batch(n, 4))
        d = min(0.5, (1 + n) / (10 + n))
        average = d * average + (1 - d) * np.asarray(state.params["dense"]["kernel"], np.float64)
    np.testing.assert_allclose(state.ema_params["dense"]["kernel"], average, atol=1e-6)
    assert state.evaluation_variables["params"] is state.ema_params


def identity_input(resident, batch):
    del resident
    return batch


def trained(devices: int, steps_per_call: int = 1, steps: int = 8):
    model = NormedWithHead(num_classes=3)
    tx = scheduled_optimizer("momentum", lambda step: 0.05)
    mesh = make_mesh(devices)
    state = jax.device_put(create_state(model, tx, (4, 4, 1), seed=0, ema=True), replicated(mesh))
    step = make_train_step(model, tx, classification_loss(), ema_decay=0.9)
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
