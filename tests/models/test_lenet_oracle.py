"""LeNet's variants against the same networks in Keras: `pytest -m oracle`, with the extra `oracle` installed."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import abstract_init, images_of, oracle

import xxnet_jax as xx

pytestmark = oracle

Layers = list[Any]


def notebook(layers: Any) -> Layers:
    """The code of the notes' notebook, line by line."""
    return [
        layers.Conv2D(6, 5, strides=1, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2),
        layers.Conv2D(16, 5, strides=1, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2),
        layers.Flatten(),
        layers.Dense(500, activation="relu"),
        layers.Dense(10),
    ]


def xxnet(layers: Any) -> Layers:
    """The notes' XXNet."""
    return [
        layers.Conv2D(32, (5, 5), strides=(1, 1), padding="valid", activation="relu", kernel_initializer="uniform"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Conv2D(64, (5, 5), strides=(1, 1), padding="valid", activation="relu", kernel_initializer="uniform"),
        layers.MaxPooling2D(pool_size=(2, 2)),
        layers.Flatten(),
        layers.Dense(100, activation="relu"),
        layers.Dense(10),
    ]


def tf1(layers: Any) -> Layers:
    """The notes' MNIST chapter: SAME padding of the pools too."""
    return [
        layers.Conv2D(32, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2, padding="same"),
        layers.Conv2D(64, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, strides=2, padding="same"),
        layers.Flatten(),
        layers.Dense(512, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10),
    ]


def slim(layers: Any) -> Layers:
    """TF-Slim's `lenet`."""
    return [
        layers.Conv2D(32, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, 2),
        layers.Conv2D(64, 5, padding="same", activation="relu"),
        layers.MaxPooling2D(2, 2),
        layers.Flatten(),
        layers.Dense(1024, activation="relu"),
        layers.Dropout(0.5),
        layers.Dense(10),
    ]


def taught(layers: Any) -> Layers:
    """LeNet-5 as it is taught today."""
    return [
        layers.Conv2D(6, 5, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Conv2D(16, 5, activation="tanh"),
        layers.AveragePooling2D(2),
        layers.Conv2D(120, 5, activation="tanh"),
        layers.Flatten(),
        layers.Dense(84, activation="tanh"),
        layers.Dense(10),
    ]


# The last entry is a size for which pools of the SAME and VALID kind differ.
NETWORKS = {
    "lenet5": (taught, (32, 32), (41, 35)),
    "lenet5.notebook": (notebook, (32, 32), (31, 29)),
    "lenet5.xxnet": (xxnet, (28, 28), (27, 31)),
    "lenet5.tf1": (tf1, (28, 28), (27, 29)),
    "lenet5.slim": (slim, (28, 28), (27, 29)),
}


@pytest.mark.parametrize("size", ["nominal", "odd"])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_are_keras(keras: Any, name: str, size: str):
    """With the same random weights, logits and parameter count equal Keras's, also where pools do not fit."""
    layers_of, nominal, odd = NETWORKS[name]
    height, width = nominal if size == "nominal" else odd
    reference = keras.Sequential([keras.Input((height, width, 1)), *layers_of(keras.layers)])
    random = np.random.default_rng(0)
    weights = [random.normal(0, 1 / np.sqrt(max(np.prod(w.shape[:-1]), 4)), w.shape) for w in reference.get_weights()]
    reference.set_weights(weights)

    layers = [layer for layer in reference.layers if layer.weights]
    model = xx.create_model(name)
    images = random.normal(size=(4, height, width, 1)).astype(np.float32)
    shapes = abstract_init(model, images_of(height, width, 1))["params"]
    in_order = [layer for layer in model.names if layer in shapes]  # type: ignore[attr-defined]
    params = {
        ours: dict(zip(("kernel", "bias"), (jnp.asarray(w) for w in theirs.get_weights()), strict=True))
        for ours, theirs in zip(in_order, layers, strict=True)
    }
    assert jax.tree.map(jnp.shape, params) == jax.tree.map(lambda leaf: leaf.shape, dict(shapes))

    expected = np.asarray(reference(images, training=False))
    found: Any = model.apply({"params": params}, jnp.asarray(images), train=False)
    assert np.abs(expected).max() > 0.1
    # Both are float32 sums in XLA, compiled apart.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    if size == "nominal":
        assert reference.count_params() == xx.model_info(name).parameters
