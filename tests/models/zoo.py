"""What the tests of the networks share: shapes from tracing alone, random networks and images, comparisons."""

import functools
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.models import Network, count_parameters

Shapes = dict[str, tuple[int, ...]]

oracle = [pytest.mark.oracle, pytest.mark.filterwarnings("default")]  # the frameworks' warnings are not ours to mend


# ------------------------------------------------------------------------------------------- from tracing alone


def images_of(height: int, width: int | None = None, channels: int = 3, *, batch: int = 2) -> jax.ShapeDtypeStruct:
    """Images without pixels, as wide as high by default."""
    return jax.ShapeDtypeStruct((batch, height, height if width is None else width, channels), jnp.float32)


def nominal_images(name: str) -> jax.ShapeDtypeStruct:
    return images_of(*xx.model_info(name).input_shape)


def trace(model: nn.Module, images: jax.ShapeDtypeStruct, *, train: bool) -> Any:
    """(output, variables with the endpoints) of an initialization as shapes and dtypes, without any arithmetic."""
    return jax.eval_shape(
        lambda key, x: model.init_with_output(key, x, train=train, mutable=True), jax.random.key(0), images
    )


traced: Any = functools.cache(trace)


def abstract_output(model: nn.Module, images: jax.ShapeDtypeStruct) -> Any:
    """The output's shape and dtype."""
    return traced(model, images, train=False)[0]


def abstract_init(model: nn.Module, images: jax.ShapeDtypeStruct, *, train: bool = False) -> Any:
    """The shapes and dtypes of the variables that `init` makes."""
    variables = traced(model, images, train=train)[1]
    return {collection: tree for collection, tree in variables.items() if collection != "intermediates"}


def abstract_params(model: Network, side: int, *, train: bool = False) -> Any:
    return abstract_init(model, images_of(side), train=train)["params"]


def abstract_apply(model: Network, images: jax.ShapeDtypeStruct, *, train: bool = False, **arguments: Any) -> Any:
    """What `apply` gives, as shapes and dtypes; while training it has a key for dropout."""
    arguments = {"rngs": {"dropout": jax.random.key(1)} if train else None, **arguments}
    variables = abstract_init(model, images)
    return jax.eval_shape(lambda v, x: model.apply(v, x, train=train, **arguments), variables, images)


def endpoint_shapes(model: Network, images: jax.ShapeDtypeStruct) -> Shapes:
    """Shapes of the endpoints without the batch, in the order of the computation."""
    found: Shapes = {}

    def note(variables: Any, x: jax.Array) -> None:  # inside, as jax sorts what leaves a traced function by name
        points = xx.endpoints(model, variables, x)
        found.update({name: activation.shape[1:] for name, activation in points.items()})

    jax.eval_shape(note, abstract_init(model, images), images)
    return found


def shapes(name: str, height: int, width: int | None = None, **options: Any) -> Shapes:
    """Shapes of the endpoints of a registered network."""
    return endpoint_shapes(xx.create_model(name, **options), images_of(height, width))


def parameters_by_module(model: Network, side: int, *, train: bool = False) -> dict[str, int]:
    return {module: count_parameters(tree) for module, tree in abstract_params(model, side, train=train).items()}


def table_of_maps(text: str) -> Shapes:
    """The shapes of square maps from a table written as "endpoint side features, endpoint side features"."""
    rows = (row.split() for row in text.split(", "))
    return {endpoint: (int(side), int(side), int(features)) for endpoint, side, features in rows}


# ------------------------------------------------------------------------------------------- small and random


def narrow(name: str, **options: Any) -> Any:
    """The variant of AlexNet or ZFNet with a sixteenth of the maps, 8 and 10 hidden units, 5 classes and a window of 2
    pixels."""
    rows = xx.create_model(name).convolutions  # type: ignore[attr-defined]
    fewer = tuple(row._replace(features=row.features // 16) for row in rows)
    defaults = {"convolutions": fewer, "dense": (8, 10), "window": 2, "num_classes": 5}
    return xx.create_model(name, **{**defaults, **options})


def random_variables(model: Any, side: int = 32) -> Any:
    """Parameters and statistics drawn at random, as NumPy arrays; kernels so that activations keep their size."""
    random = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key in ("scale", "var"):
            return random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        deviation = 0.3 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return random.normal(0, deviation, leaf.shape).astype(np.float32)

    return jax.tree.map_with_path(draw, abstract_init(model, images_of(side)))


def initialized(model: Network, side: int) -> Any:
    """The variables that the network starts with."""
    return jax.jit(lambda key: model.init(key, jnp.zeros((1, side, side, 3)), train=False))(jax.random.key(0))


def random_params(model: Network, side: int) -> Any:
    """Random parameters, biases too, of a size that keeps sums near one."""
    random = np.random.default_rng(1)

    def draw(leaf: Any) -> np.ndarray:
        fan_in = 4 if leaf.ndim == 1 else np.prod(leaf.shape[:-1]) / 2
        return random.normal(0, 1 / np.sqrt(fan_in), leaf.shape).astype(np.float32)

    return jax.tree.map(draw, abstract_params(model, side))


def random_images(height: int, width: int, scales: Sequence[float] = (1, 1), seed: int = 0) -> np.ndarray:
    """One image of normal pixels for each of `scales`, their deviations."""
    deviations = np.reshape(scales, (-1, 1, 1, 1))
    return np.random.default_rng(seed).normal(0, deviations, (len(scales), height, width, 3)).astype(np.float32)


def apply(model: nn.Module, variables: Any, images: Any, *, train: bool = False, **arguments: Any) -> Any:
    """What `apply` gives, as NumPy arrays."""
    run = jax.jit(lambda v, x: model.apply(v, x, train=train, **arguments))
    return jax.tree.map(np.asarray, run(variables, jnp.asarray(images)))


def forward(model: nn.Module, params: Any, images: Any, **arguments: Any) -> np.ndarray:
    """The output of a network that has nothing but parameters."""
    return apply(model, {"params": params}, images, **arguments)


# ------------------------------------------------------------------------------------------- comparisons


def largest_difference(found: Any, expected: np.ndarray) -> float:
    """In units of the largest expected number; those of the first two images differ by more than .05 of it."""
    largest = np.abs(expected).max()
    assert np.shape(found) == expected.shape
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * largest
    return float(np.abs(np.asarray(found) - expected).max() / largest)


def assert_close(found: Any, expected: np.ndarray, tolerance: float = 1e-4) -> None:
    """By default to what float32 sums in another order differ by, through some twenty layers."""
    assert largest_difference(found, expected) <= tolerance


def assert_every_parameter_learns(model: Network, variables: Any, images: Any) -> None:
    """While training, each array has a finite gradient, not all zero, of the losses of logits and auxiliary heads."""

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        outputs: Any = model.apply(
            {**variables, "params": params},
            jnp.asarray(images),
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats", "aux_logits"],
        )
        logits, state = outputs
        image = jnp.arange(len(images))
        heads = [logits, *jax.tree.leaves(state.get("aux_logits", {}))]
        losses = [-jax.nn.log_softmax(head)[image, image % head.shape[-1]].sum() for head in heads]
        return jnp.stack(losses).sum()

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


def torch_output(network: Any, images: np.ndarray) -> Any:
    """The output, or outputs, of a PyTorch network for images with channels last."""
    import torch  # type: ignore[import-not-found]

    with torch.no_grad():
        output = network(torch.from_numpy(images.transpose(0, 3, 1, 2).copy()))
    return jax.tree.map(lambda tensor: tensor.numpy(), output)
