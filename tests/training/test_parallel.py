"""Training on eight devices, in every way that they can share it, is training on one."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import pytest
from examples import noisy_patterns

import xxnet_jax as xx
from xxnet_jax.losses import classification_loss, l2_penalty
from xxnet_jax.models.normalization import BatchNormScope
from xxnet_jax.optimizers import training_optimizer
from xxnet_jax.training.checkpoints import Checkpoints
from xxnet_jax.training.dispatch import CompiledTrainStep
from xxnet_jax.training.recipe import Parallel
from xxnet_jax.training.sharding import make_mesh, state_sharding
from xxnet_jax.training.state import TrainState, abstract_state, create_state
from xxnet_jax.training.step import make_train_step

STEPS = 50


class Network(NamedTuple):
    """A registered name, knobs that make it small, its images, and a rate at which it learns."""

    name: str
    options: dict[str, Any]
    shape: tuple[int, int, int]
    rate: float


class Way(NamedTuple):
    """How devices share the work."""

    devices: int
    model: int = 1
    parallel: Parallel = "jit"
    fsdp: bool = False


VGG: dict[str, Any] = {"features_of_blocks": (4, 8, 16, 16, 16), "dense": (64, 64), "window": 1, "dropout_rate": 0.0}
NETWORKS = {
    "lenet5": Network("lenet5", {}, (32, 32, 1), 0.01),
    # At three times the rate rounding grows to 2e-5 on some processors: normalization over little maps.
    "resnet20": Network("resnet20", {"widths": (4, 8, 16), "stem_features": 4}, (16, 16, 3), 1e-4),
    "vgg11": Network("vgg11", VGG, (32, 32, 3), 0.3),
}
NORMED: dict[str, Any] = {"depths": (1, 1, 1), "widths": (4, 8, 16), "stem_features": 4}
SMALLEST = {"resnet8": Network("resnet20", NORMED, (16, 16, 3), 1e-3)}
WAYS = {
    "one device": Way(1),
    "data parallel": Way(8),
    "fsdp": Way(8, fsdp=True),
    "pmap": Way(8, parallel="pmap"),
    "model parallel": Way(8, model=2, fsdp=True),
}


def train(
    network: str,
    way: str,
    *,
    batch_norm: int | None = None,
    accumulate: int = 1,
    dtype: Any = np.float32,
    rate: float | None = None,
    steps: int = STEPS,
) -> tuple[np.ndarray, TrainState]:
    """The loss of each step, float64 [steps], and the last state."""
    devices, of_the_model, parallel, fsdp = WAYS[way]
    name, options, shape, own_rate = (NETWORKS | SMALLEST)[network]
    model = xx.create_model(name, num_classes=10, dtype=dtype, param_dtype=dtype, **options)
    tx = training_optimizer("momentum", rate or own_rate, clip_norm=1.0)
    mesh = make_mesh(devices, of_the_model)
    shardings = state_sharding(mesh, abstract_state(model, tx, shape), fsdp=fsdp)
    state = create_state(model, tx, shape, seed=0, sharding=shardings)
    step = make_train_step(
        model,
        tx,
        classification_loss(),
        penalty=lambda params: 1e-3 * l2_penalty(params, "kernel$"),
        accumulate=accumulate,
        batch_norm=BatchNormScope(batch_norm, "data" if parallel == "pmap" else None),
    )
    compiled = CompiledTrainStep(step, lambda resident, batch: batch, mesh, 1, states=shardings, parallel=parallel)
    losses = []
    for number in range(steps):
        batch = noisy_patterns(number, shape, dtype)
        batch["mask"][: number % 4] = False  # up to 3 examples of the first device are left out
        state, metrics = compiled(state, (), [batch])
        losses.append(metrics["loss"].value())
    assert compiled.traces == 1
    return np.array(losses, np.float64), state


@functools.cache
def on_one_device(network: str) -> np.ndarray:
    return train(network, "one device")[0]


@pytest.fixture
def float64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


# Each way on one network, the rest by request.
CHOSEN = {"data parallel": "lenet5", "fsdp": "vgg11", "pmap": "lenet5", "model parallel": "lenet5"}


@pytest.mark.parametrize(
    ("way", "network"),
    [
        pytest.param(way, name, marks=() if CHOSEN[way] == name else pytest.mark.full_size)
        for way in ("data parallel", "fsdp", "pmap", "model parallel")
        for name in NETWORKS
    ],
)
def test_the_same_losses(network: str, way: str):
    """The losses of 50 steps are those of one device, to the order of sums in float32, and they fall."""
    losses, _ = train(network, way)
    np.testing.assert_allclose(losses, on_one_device(network), rtol=1e-5)
    assert losses[-5:].mean() < losses[:5].mean()


@pytest.mark.parametrize(
    "way", ["model parallel", *(pytest.param(way, marks=pytest.mark.full_size) for way in ("data parallel", "pmap"))]
)
def test_the_same_losses_in_float64(way: str, float64: None):
    """In float64 they agree at a high rate, too, where rounding grows in every step."""
    del float64
    expected, _ = train("resnet8", "one device", dtype=np.float64, rate=0.03)
    losses, _ = train("resnet8", way, dtype=np.float64, rate=0.03)
    np.testing.assert_allclose(losses, expected, rtol=1e-10)
    assert losses[-5:].mean() < 0.5 * losses[:5].mean()


@pytest.mark.parametrize("way", ["fsdp", "pmap"])
def test_the_same_bits_twice(way: str):
    """On the same devices everything repeats to the bit."""
    (first, state), (second, again) = (train("resnet8", way, steps=10) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)


@pytest.mark.parametrize(
    ("way", "examples", "accumulate"),
    [
        ("data parallel", 2, 1),
        *(
            pytest.param(*case, marks=pytest.mark.full_size)
            for case in (("data parallel", 2, 2), ("pmap", 2, 2), ("pmap", 4, 1))
        ),
    ],
)
def test_ghost_batches(way: str, examples: int, accumulate: int):
    """The neighbours that are normalized together are the same wherever they lie: of 32 examples a device has 4, or 2
    of each of two micro-batches."""
    options: dict[str, Any] = {"batch_norm": examples, "accumulate": accumulate, "steps": 10}
    expected, on_one = train("resnet8", "one device", **options)
    losses, state = train("resnet8", way, **options)
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-5)
    jax.tree.map(close, state.batch_stats, on_one.batch_stats)
    whole_batch, _ = train("resnet8", "one device", accumulate=accumulate, steps=10)
    assert np.abs(losses / whole_batch - 1).max() > 1e-3


def test_fsdp_divides_memory():
    """A device of eight holds about an eighth of parameters and optimizer state; without, all of it."""

    def share(state: TrainState) -> float:
        leaves = jax.tree.leaves((state.params, state.opt_state))
        held = sum(leaf.addressable_shards[0].data.nbytes for leaf in leaves)
        return held / sum(leaf.nbytes for leaf in leaves)

    options: dict[str, Any] = {"features_of_blocks": (16, 32, 64, 64, 64), "dense": (512, 512), "window": 1}
    model = xx.create_model("vgg11", num_classes=1000, **options)
    tx = training_optimizer("adam", 1e-3)
    shape = (32, 32, 3)
    for fsdp, expected in ((True, 1 / 8), (False, 1)):
        shardings = state_sharding(make_mesh(8), abstract_state(model, tx, shape), fsdp=fsdp)
        assert expected <= share(create_state(model, tx, shape, seed=0, sharding=shardings)) < 1.1 * expected


def test_checkpoints_on_other_devices(tmp_path: Path):
    """What eight devices saved, divided, one and four restore, and what those save eight restore: the same bits."""
    _, saved = train("resnet8", "fsdp", steps=3)
    model = xx.create_model("resnet20", num_classes=10, **NORMED)
    tx, shape = training_optimizer("momentum", 1e-3, clip_norm=1.0), SMALLEST["resnet8"].shape
    abstract = abstract_state(model, tx, shape)

    def template(devices: int, fsdp: bool) -> TrainState:
        shardings = state_sharding(make_mesh(devices), abstract, fsdp=fsdp)
        return jax.tree.map(
            lambda leaf, s: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=s), abstract, shardings
        )

    state, host = saved, {"step": 3}
    for number, (devices, fsdp) in enumerate([(1, False), (8, True), (4, True), (8, False)]):
        checkpoints = Checkpoints(tmp_path / str(number))
        checkpoints.save(3, state, host)
        checkpoints.wait()
        state, restored_host = checkpoints.restore(3, template(devices, fsdp))
        checkpoints.close()
        assert restored_host == host
        kernel = state.params["conv4_block1_2"]["conv"]["kernel"]
        assert len(kernel.sharding.device_set) == devices
        assert kernel.sharding.is_fully_replicated == (not fsdp)
        jax.tree.map(np.testing.assert_array_equal, _arrays(state), _arrays(saved))


def _arrays(state: TrainState) -> Any:
    return jax.tree.map(np.asarray, state.replace(rng=jax.random.key_data(state.rng)))  # type: ignore[attr-defined]
