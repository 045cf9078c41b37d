"""A PyTorch network for CIFAR-10 with shortcuts A, written out in its own layout and with its own names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from carried import coloured_images
from zoo import apply, assert_close

import xxnet_jax as xx
from xxnet_jax.pretrained.conversion import variables_from
from xxnet_jax.pretrained.readers import torch_weights

State = dict[str, np.ndarray]


def drawn(depth: int) -> State:
    """Random weights, as the state dict has them."""
    random = np.random.default_rng(0)
    state: State = {}

    def unit(prefix: str, number: str, features: int, inputs: int) -> None:
        deviation = np.sqrt(2 / (9 * inputs))
        state[f"{prefix}conv{number}.weight"] = random.normal(0, deviation, (features, inputs, 3, 3))
        for role in ("weight", "running_var"):
            state[f"{prefix}bn{number}.{role}"] = random.uniform(0.5, 1.5, features)
        for role in ("bias", "running_mean"):
            state[f"{prefix}bn{number}.{role}"] = random.normal(0, 0.2, features)

    unit("", "1", 16, 3)
    inputs = 16
    for stage, features in enumerate((16, 32, 64), start=1):
        for block in range(depth):
            unit(f"layer{stage}.{block}.", "1", features, inputs)
            unit(f"layer{stage}.{block}.", "2", features, features)
            inputs = features
    state["linear.weight"], state["linear.bias"] = random.normal(0, 0.1, (10, 64)), random.normal(0, 0.2, 10)
    return {key: array.astype(np.float32) for key, array in state.items()}


def logits(state: State, images: np.ndarray, depth: int) -> jax.Array:
    """Of the network whose shortcuts put half of the zeros before the features and half behind them."""

    def unit(x: jax.Array, prefix: str, number: str, stride: int) -> jax.Array:
        kernel = state[f"{prefix}conv{number}.weight"]
        x = jax.lax.conv_general_dilated(x, jnp.asarray(kernel), (stride, stride), [(1, 1), (1, 1)])
        scale, shift, mean, var = (
            state[f"{prefix}bn{number}.{role}"][None, :, None, None]
            for role in ("weight", "bias", "running_mean", "running_var")
        )
        return (x - mean) / np.sqrt(var + 1e-5) * scale + shift

    x = jax.nn.relu(unit(jnp.asarray(images).transpose(0, 3, 1, 2), "", "1", 1))
    for stage in (1, 2, 3):
        for block in range(depth):
            prefix, stride = f"layer{stage}.{block}.", 2 if stage > 1 and block == 0 else 1
            y = unit(jax.nn.relu(unit(x, prefix, "1", stride)), prefix, "2", 1)
            new = (y.shape[1] - x.shape[1]) // 2
            x = jax.nn.relu(y + jnp.pad(x[:, :, ::stride, ::stride], ((0, 0), (new, new), (0, 0), (0, 0))))
    return x.mean((2, 3)) @ state["linear.weight"].T + state["linear.bias"][None]


@pytest.mark.parametrize(("name", "depth"), [("resnet20", 3), ("resnet32", 5)])
def test_shortcuts_a(name: str, depth: int):
    """The logits are theirs, although the features along our shortcuts have another order."""
    state = drawn(depth)
    images = coloured_images(32, 32)
    variables = variables_from(torch_weights(state), name, "published")
    found = apply(xx.create_model(name), variables, images)
    assert_close(found, np.asarray(logits(state, images, depth)))
