"""Random weights and running statistics in a network of another framework, and the same as variables of ours."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from zoo import abstract_init, assert_close, images_of, torch_output

import xxnet_jax as xx
from xxnet_jax.models import Network
from xxnet_jax.pretrained.conversion import variables_from
from xxnet_jax.pretrained.readers import Weights, keras_weights, torch_weights

Variables = dict[str, Any]


def coloured_images(height: int, width: int) -> np.ndarray:
    """Three images of noise around a colour of their own: means over many pixels differ too."""
    colours = np.array([[0, 0, 0], [3, -3, 3], [-3, 3, 1]]).reshape(3, 1, 1, 3)
    noise = np.random.default_rng(1).normal(size=(3, height, width, 3))
    return (noise + colours).astype(np.float32)


class Drawing:
    """Random weights and statistics far from the initial ones, with which activations keep their size."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)

    def kernel(self, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        return self.random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)

    def shift(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.normal(0, 0.2, shape).astype(np.float32)

    def factor(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.uniform(0.5, 1.5, shape).astype(np.float32)


def redraw_keras(network: Any) -> Weights:
    """Draws all weights of a Keras network anew."""
    drawing = Drawing()
    for layer in network.layers:
        values = []
        for weight in layer.weights:
            shape = tuple(weight.shape)
            if len(shape) > 1:
                depthwise = weight.name.startswith("depthwise") or type(layer).__name__ == "DepthwiseConv2D"
                values.append(drawing.kernel(shape, int(np.prod(shape[:2] if depthwise else shape[:-1]))))
            elif weight.name in ("gamma", "moving_variance"):
                values.append(drawing.factor(shape))
            else:
                values.append(drawing.shift(shape))
        if values:
            layer.set_weights(values)
    return keras_weights((layer.name, layer.get_weights()) for layer in network.layers)


def redraw_torch(torch: Any, network: Any) -> Weights:
    """The same for a PyTorch network."""
    drawing, state = Drawing(), {}
    for key, tensor in network.state_dict().items():
        role, shape = key.rpartition(".")[2], tuple(tensor.shape)
        if role == "num_batches_tracked":
            continue
        if len(shape) > 1:
            state[key] = drawing.kernel(shape, int(np.prod(shape[1:])))
        else:
            state[key] = drawing.factor(shape) if role in ("weight", "running_var") else drawing.shift(shape)
    network.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()}, strict=False)
    return torch_weights(state)


def from_keras(network: Any, name: str, *, num_classes: int | None = 11, **knobs: Any) -> Variables:
    """Redraws all weights of a Keras network, and gives them as variables of ours."""
    return variables_from(redraw_keras(network), name, num_classes, **knobs)


def from_torch(torch: Any, network: Any, name: str, *, num_classes: int | None = 11, **knobs: Any) -> Variables:
    """The same for a PyTorch network."""
    return variables_from(redraw_torch(torch, network), name, num_classes, **knobs)


def keras_outputs(keras: Any, network: Any, images: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
    """The outputs of the layers of these names."""
    outputs = {layer.name: layer.output for layer in network.layers if layer.name in names}
    model = keras.Model(network.input, outputs)
    values = [[v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]]
    found, _ = jax.jit(lambda v, x: model.stateless_call(*v, x, training=False))(values, jnp.asarray(images))
    return jax.tree.map(np.asarray, found)


def torch_modules(network: Any, images: np.ndarray, names: list[str]) -> dict[str, np.ndarray]:
    """The outputs, channels last, of the modules of these names."""
    found: dict[str, np.ndarray] = {}

    def note(name: str) -> Callable[..., None]:
        def hook(module: Any, inputs: Any, output: Any) -> None:
            del module, inputs
            values = output.detach().numpy().copy()
            found[name] = values.transpose(0, 2, 3, 1) if values.ndim == 4 else values

        return hook

    handles = [network.get_submodule(name).register_forward_hook(note(name)) for name in names]
    torch_output(network, images)
    for handle in handles:
        handle.remove()
    return found


def assert_endpoints(
    model: Network, variables: Variables, images: np.ndarray, expected: dict[str, np.ndarray], tolerance: float = 1e-4
) -> None:
    """The variables are the network's, and so are these activations of its endpoints."""
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, abstract_init(model, images_of(*images.shape[1:3])))
    found = jax.jit(lambda v, x: xx.endpoints(model, v, x))(variables, jnp.asarray(images))
    for name, activation in expected.items():
        assert_close(found[name], activation, tolerance)
