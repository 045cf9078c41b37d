"""Random weights and running statistics in a network of another framework, and the same as variables of ours."""

from collections.abc import Callable
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
from zoo import abstract_init, assert_close, hasty, images_of, torch_output

import xxnet_jax as xx
from xxnet_jax.models import Network

Variables = dict[str, Any]


def coloured_images(height: int, width: int) -> np.ndarray:
    """Three images of noise around a colour of their own: means over many pixels differ too."""
    colours = np.array([[0, 0, 0], [3, -3, 3], [-3, 3, 1]]).reshape(3, 1, 1, 3)
    noise = np.random.default_rng(1).normal(size=(3, height, width, 3))
    return (noise + colours).astype(np.float32)


class Drawn:
    """Draws arrays and keeps them as variables under paths such as "conv1/bn"."""

    def __init__(self) -> None:
        self.random = np.random.default_rng(0)
        self.variables: Variables = {"params": {}, "batch_stats": {}}

    def kernel(self, shape: tuple[int, ...], fan_in: int) -> np.ndarray:
        return self.random.normal(0, np.sqrt(2 / fan_in), shape).astype(np.float32)

    def shift(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.normal(0, 0.2, shape).astype(np.float32)

    def factor(self, shape: tuple[int, ...]) -> np.ndarray:
        return self.random.uniform(0.5, 1.5, shape).astype(np.float32)

    def keep(self, collection: str, path: str, value: np.ndarray) -> np.ndarray:
        *owners, name = path.split("/")
        tree = self.variables[collection]
        for owner in owners:
            tree = tree.setdefault(owner, {})
        assert name not in tree
        tree[name] = jnp.asarray(value)
        return value


def from_keras(network: Any, path: Callable[[str], str]) -> Variables:
    """Redraws all weights of a Keras network; `path` takes the name of its layer to the place among our variables."""
    drawn = Drawn()
    for layer in network.layers:
        shapes = [weight.shape for weight in layer.weights]
        if not shapes:
            continue
        ours = path(layer.name)
        kind = type(layer).__name__
        if kind == "BatchNormalization":
            values = [
                drawn.keep("params", f"{ours}/scale", drawn.factor(shapes[0])),
                drawn.keep("params", f"{ours}/bias", drawn.shift(shapes[1])),
                drawn.keep("batch_stats", f"{ours}/mean", drawn.shift(shapes[2])),
                drawn.keep("batch_stats", f"{ours}/var", drawn.factor(shapes[3])),
            ]
        else:
            names = ["depthwise/kernel", "pointwise/kernel"] if kind == "SeparableConv2D" else ["kernel"]
            values = []
            for name, shape in zip(names, shapes, strict=False):
                depthwise = kind == "DepthwiseConv2D" or name.startswith("depthwise")
                value = drawn.kernel(shape, int(np.prod(shape[:2] if depthwise else shape[:-1])))
                kept = value.reshape(*shape[:2], 1, -1) if depthwise else value
                drawn.keep("params", f"{ours}/{name}", kept)
                values.append(value)
            for shape in shapes[len(names) :]:
                values.append(drawn.keep("params", f"{ours}/bias", drawn.shift(shape)))
        layer.set_weights(values)
    return drawn.variables


def keras_outputs(keras: Any, network: Any, images: np.ndarray, names: set[str]) -> dict[str, np.ndarray]:
    """The outputs of the layers of these names."""
    outputs = {layer.name: layer.output for layer in network.layers if layer.name in names}
    model = keras.Model(network.input, outputs)
    values = [[v.value for v in model.trainable_variables], [v.value for v in model.non_trainable_variables]]
    found, _ = hasty(lambda v, x: model.stateless_call(*v, x, training=False))(values, jnp.asarray(images))
    return jax.tree.map(np.asarray, found)


def from_torch(torch: Any, network: Any, path: Callable[[str], str]) -> Variables:
    """The same for a PyTorch network; `path` takes the name of its module."""
    drawn = Drawn()
    state = {}
    for key, tensor in network.state_dict().items():
        module, kind = key.rsplit(".", 1)
        if kind == "num_batches_tracked":
            continue
        ours, shape = path(module), tuple(tensor.shape)
        if kind == "weight" and len(shape) > 1:
            value = drawn.kernel(shape, int(np.prod(shape[1:])))
            drawn.keep("params", f"{ours}/kernel", value.transpose(2, 3, 1, 0) if len(shape) == 4 else value.T)
        elif kind in ("weight", "running_var"):
            where = ("params", f"{ours}/scale") if kind == "weight" else ("batch_stats", f"{ours}/var")
            value = drawn.keep(*where, drawn.factor(shape))
        else:
            where = ("params", f"{ours}/bias") if kind == "bias" else ("batch_stats", f"{ours}/mean")
            value = drawn.keep(*where, drawn.shift(shape))
        state[key] = torch.from_numpy(value)
    network.load_state_dict(state, strict=False)
    return drawn.variables


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
    found = hasty(lambda v, x: xx.endpoints(model, v, x))(variables, jnp.asarray(images))
    for name, activation in expected.items():
        assert_close(found[name], activation, tolerance)
