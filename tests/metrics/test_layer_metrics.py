"""Dead units and the spread of responses: of parts, of padded batches, of whole networks."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh, NamedSharding, PartitionSpec

import xxnet_jax as xx
from xxnet_jax.losses import classification_loss
from xxnet_jax.metrics import create_metrics
from xxnet_jax.models import observe
from xxnet_jax.training import make_eval_step

NAMES = ("dead_units", "response_spread")


def activations(seed: int, examples: int) -> dict[str, np.ndarray]:
    """A rectified map of which two features never fire, one that fires in a single pixel, and responses far from 0."""
    random = np.random.default_rng(seed)
    rectified = np.maximum(random.normal(size=(examples, 4, 3, 6)), 0)
    rectified[..., [1, 4]] = 0
    rectified[..., 5] = 0
    rectified[0, 2, 1, 5] = 0.5
    return {
        "z_first": rectified.astype(np.float32),
        "responses": random.normal(-1000, 0.5, (examples, 5, 5, 2)).astype(np.float32),
        "a_dense": random.normal(-3, 2, (examples, 7)).astype(np.float32),
    }


def dead(values: np.ndarray) -> np.ndarray:
    return (values.reshape(-1, values.shape[-1]).astype(np.float64) == 0).all(0)


@settings(max_examples=6)
@given(st.integers(0, 2**32 - 1), st.sampled_from([2, 5, 13]), st.booleans())
def test_figures_over_parts(seed: int, batch: int, compiled: bool):
    """Over batches of any size, the last one padded with NaN, figures are those of all stored activations in float64;
    layers keep their order, also through jit."""
    examples = 13
    values = activations(seed, examples)
    padding = -examples % batch
    for name in NAMES:
        (metric,) = create_metrics([name], 2).values()
        count: Any = jax.jit(metric.count) if compiled else metric.count
        state = metric.init()
        padded = {
            layer: np.pad(x, [(0, padding)] + [(0, 0)] * (x.ndim - 1), constant_values=np.nan)
            for layer, x in values.items()
        }
        for start in range(0, examples, batch):
            part = {layer: jnp.asarray(x[start : start + batch]) for layer, x in padded.items()}
            state = metric.merge(state, count(part, start + jnp.arange(batch) < examples))
        found = metric.result(state)
        if name == "dead_units":
            share = dead(values["z_first"]).mean()
            assert found == {"dead_units": pytest.approx(share), "dead_units/z_first": pytest.approx(share)}
        else:
            # float32 around 1000 has steps of 6e-5, and the deviation is 0.5.
            expected = {layer: x.astype(np.float64).std() for layer, x in values.items()}
            order = sorted(values) if compiled else list(values)  # what goes into jit as a dict is sorted there
            assert list(found) == ["response_spread", *(f"response_spread/{layer}" for layer in order)]
            for layer, spread in expected.items():
                assert found[f"response_spread/{layer}"] == pytest.approx(spread, rel=1e-4)
            assert found["response_spread"] == pytest.approx(np.mean(list(expected.values())), rel=1e-4)


def test_figures_over_devices():
    """Of examples that lie on 8 devices the state is that of one."""
    devices = Mesh(np.array(jax.devices()[:8]), ("data",))
    placed, everywhere = (NamedSharding(devices, PartitionSpec(*axes)) for axes in (["data"], []))
    values = {layer: jnp.asarray(x) for layer, x in activations(0, 16).items()}
    mask = jnp.arange(16) < 13
    for metric in create_metrics(NAMES, 2).values():
        count: Any = metric.count
        divided = jax.jit(count, out_shardings=everywhere)(jax.device_put(values, placed), jax.device_put(mask, placed))
        for one, eight in zip(jax.tree.leaves(jax.jit(count)(values, mask)), jax.tree.leaves(divided), strict=True):
            np.testing.assert_allclose(one, eight, rtol=1e-5)


def test_nothing_was_counted():
    """Figures of no examples, and dead units of a network without rectified activations, are NaN."""
    for name, metric in create_metrics(NAMES, 2).items():
        assert np.isnan(metric.result(metric.init())[name])
    metric = create_metrics(["dead_units"], 2)["dead_units"]
    count: Any = metric.count
    state = count({"tanh": -jnp.ones((2, 3))}, jnp.ones(2, bool))
    assert list(metric.result(state)) == ["dead_units"]
    assert np.isnan(metric.result(state)["dead_units"])


def network(name: str, size: int = 32, **knobs: Any) -> tuple[Any, Any, jax.Array]:
    model = xx.create_model(name, **knobs)
    shape = (4, size, size, xx.model_info(name).input_shape[-1])
    images = jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)
    variables = jax.jit(lambda x: model.init(jax.random.key(0), x, train=False))(images)
    return model, variables, images


def evaluated(model: Any, variables: Any, images: jax.Array, mask: jax.Array) -> dict[str, float]:
    metrics = create_metrics(NAMES, 10)
    step = jax.jit(make_eval_step(model, classification_loss(), metrics))
    batch = {"image": images, "label": jnp.zeros(len(images), jnp.int32), "mask": mask}
    _, counts = step(variables, batch)
    return {key: value for name, metric in metrics.items() for key, value in metric.result(counts[name]).items()}


def test_a_network_that_is_dead():
    """With a bias of -100 before every ReLU all units are dead, and none is without; masked examples do not count."""
    model, variables, images = network("lenet5.notebook", 28)
    mask = jnp.array([True, True, True, False])
    images = images.at[3].set(jnp.nan)
    alive = evaluated(model, variables, images, mask)
    rectified = ("conv1", "pool1", "conv2", "pool2", "dense1")
    stored = {name: dead(np.asarray(xx.endpoints(model, variables, images)[name][:3])) for name in rectified}
    assert alive["dead_units"] == pytest.approx(np.concatenate(list(stored.values())).mean())
    assert [alive[f"dead_units/{name}"] for name in rectified] == pytest.approx(
        [each.mean() for each in stored.values()]
    )
    assert 0 < alive["dead_units"] < 0.5
    biased = jax.tree.map_with_path(lambda path, x: x - 100 if path[-1].key == "bias" else x, variables)
    figures = {key: value for key, value in evaluated(model, biased, images, mask).items() if "dead_units" in key}
    assert set(figures) == {"dead_units", *(f"dead_units/{name}" for name in rectified)}
    assert set(figures.values()) == {1.0}


def test_responses_of_a_residual_network():
    """They are the outputs of convolutions after their normalization and before ReLU and addition, in their order:
    with scale 0 and bias of the norms 0 the spread is 0, and with scale s it is s times as large."""
    model, variables, images = network("resnet20")
    scaled = jax.tree.map_with_path(
        lambda path, x: 3 * x if path[-1].key == "scale" and "conv4_block3_2" in str(path) else x, variables
    )
    mask = jnp.ones(4, bool)
    before, after = (evaluated(model, v, images, mask) for v in (variables, scaled))
    spreads = [key.removeprefix("response_spread/") for key in before if key.startswith("response_spread/")]
    blocks = [f"conv{s}_block{b}_{n}/conv" for s in (2, 3, 4) for b in (1, 2, 3) for n in (1, 2)]
    assert spreads == ["conv1/conv", *blocks, "predictions"]
    for name in spreads[:-2]:
        assert after[f"response_spread/{name}"] == pytest.approx(before[f"response_spread/{name}"], rel=1e-4)
    last = "response_spread/conv4_block3_2/conv"
    assert after[last] == pytest.approx(3 * before[last], rel=1e-4)


@pytest.mark.parametrize("norm_last", [False, True])
def test_responses_before_and_after_a_norm(norm_last: bool):
    """A norm that follows its convolution belongs to the response, one that stands after the ReLU does not: made again
    by NumPy from the parameters of the first layer."""
    model, variables, images = network("resnet20", norm_last=norm_last)
    random = np.random.default_rng(1)
    draw = lambda x: jnp.asarray(random.uniform(1, 2, x.shape), x.dtype)  # noqa: E731
    params, statistics = jax.tree.map(draw, (variables["params"]["conv1"], variables["batch_stats"]["conv1"]["bn"]))
    variables = {
        "params": variables["params"] | {"conv1": params},
        "batch_stats": variables["batch_stats"] | {"conv1": {"bn": statistics}},
    }
    found = observe(model, variables, images)[1]["responses"]["conv1/conv"]
    params, statistics = jax.tree.map(lambda x: np.asarray(x, np.float64), (params, statistics))
    x = np.pad(np.asarray(images, np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = params["conv"]["kernel"]
    expected = sum(x[:, r : r + 32, c : c + 32] @ kernel[r, c] for r in range(3) for c in range(3))
    expected = expected + params["conv"].get("bias", 0)
    if not norm_last:
        expected = (expected - statistics["mean"]) / np.sqrt(statistics["var"] + model.norm.epsilon)
        expected = expected * params["bn"]["scale"] + params["bn"]["bias"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["densenet40_12", "lenet5.1998"])
def test_every_layer_with_a_kernel_responds_once(name: str):
    """There is a response for each kernel among the parameters, also where layers are computed again for the gradient,
    and the logits are those of the network."""
    knobs: Any = {"remat": True} if name.startswith("densenet") else {}
    model = xx.create_model(name, **knobs)
    images = jnp.zeros((1, *xx.model_info(name).input_shape))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
    paths = jax.tree_util.tree_leaves_with_path(variables["params"])
    kernels = {"/".join(k.key for k in path[:-1]) for path, _ in paths if path[-1].key == "kernel"}
    logits, observed = jax.eval_shape(lambda v: observe(model, v, images), variables)
    assert set(observed["responses"]) == kernels
    assert logits.shape == (1, xx.model_info(name).num_classes)
