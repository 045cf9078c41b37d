"""Inception v3 and v4 against Keras, torchvision and timm with the same random weights: `pytest -m oracle`."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import apply, assert_close, images_of, largest_difference, oracle, random_images, torch_output, trace

import xxnet_jax as xx
from xxnet_jax.models import Network
from xxnet_jax.models.inception import AuxiliaryHead, Style
from xxnet_jax.models.inception_tables import Row
from xxnet_jax.models.layers import ConvUnit, Norm

pytestmark = oracle

TOLERANCE = 1e-4  # of the largest output: float32 sums in another order through some 20 to 40 layers
Layer = dict[str, np.ndarray]  # kernel [height, width, in, out], scale or none, bias, mean, var


def unit_paths(model: Network, side: int) -> list[tuple[str, ...]]:
    """Paths of the model's convolutions in the order in which they run, which is the frameworks' order of creation."""
    paths: list[tuple[str, ...]] = []

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        if isinstance(context.module, ConvUnit):
            paths.append(context.module.path)
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        trace(model, images_of(side), train=False)
    return paths


def random_layer(random: np.random.Generator, shape: tuple[int, ...], scale: bool) -> Layer:
    """A convolution and its normalization with weights and running statistics far from the initial ones."""
    features = shape[-1]
    layer = {
        "kernel": random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape),
        "bias": random.uniform(-0.2, 0.2, features),
        "mean": random.uniform(-0.5, 0.5, features),
        "var": random.uniform(0.5, 1.5, features),
    }
    if scale:
        layer["scale"] = random.uniform(0.5, 1.5, features)
    return {name: array.astype(np.float32) for name, array in layer.items()}


def assembled(model: Any, side: int, layers: list[Layer], dense: Layer) -> Any:
    """Our variables with the weights of `layers`, in their order."""
    params: dict[str, Any] = {model.head[-1]: jax.tree.map(jnp.asarray, dense)}
    statistics: dict[str, Any] = {}
    for path, layer in zip(unit_paths(model, side), layers, strict=True):
        *modules, last = path
        ours, means = params, statistics
        for module in modules:
            ours, means = ours.setdefault(module, {}), means.setdefault(module, {})
        arrays = {name: jnp.asarray(array) for name, array in layer.items()}
        means[last] = {"bn": {name: arrays[name] for name in ("mean", "var")}}
        norm = {name: arrays[name] for name in ("scale", "bias") if name in arrays}
        ours[last] = {"conv": {"kernel": arrays["kernel"]}, "bn": norm}
    return {"params": params, "batch_stats": statistics}


def mutations(model: Any) -> dict[str, Any]:
    """The model with another epsilon, a stride one convolution earlier, padding on one side only, other averages."""
    stem, reduction = model.rows[2], next(row for row in model.rows if row.name in ("Mixed_6a", "mixed3"))
    (unit,) = stem.branches[0]
    padded = replace(stem, branches=((replace(unit, padding=((0, 2), (0, 2))),),))
    first, second, third = reduction.branches[1]
    branch = (first, replace(second, stride=2, padding="VALID"), replace(third, stride=1, padding="SAME"))
    strided = replace(reduction, branches=(reduction.branches[0], branch, reduction.branches[2]))

    def with_row(old: Row, new: Row) -> Any:
        return model.clone(rows=tuple(new if row is old else row for row in model.rows))

    return {
        "epsilon": model.clone(norm=replace(model.norm, epsilon=1e-5)),
        "stride": with_row(reduction, strided),
        "padding": with_row(stem, padded),
        "averages": model.clone(count_padding=not model.count_padding),
    }


def check(model: Any, layers: list[Layer], dense: Layer, theirs: Callable[[np.ndarray], np.ndarray]) -> None:
    """Logits are theirs at an even and an odd size; four mutations of the model are noticed."""
    for side in (80, 75):
        images = random_images(side, side, scales=(1, 3), seed=side)
        expected = theirs(images)
        assert_close(apply(model, assembled(model, side, layers, dense), images), expected, TOLERANCE)
    for name, mutated in mutations(model).items():
        found = apply(mutated, assembled(mutated, side, layers, dense), images)
        assert largest_difference(found, expected) > 5 * TOLERANCE, name


def in_order_of_creation(layers: list[Any]) -> list[Any]:
    return sorted(layers, key=lambda layer: int((re.findall(r"_(\d+)$", layer.name) or [0])[0]))


def test_keras_inception_v3(keras: Any):
    """With random weights and statistics the logits are those of Keras's InceptionV3."""
    # With its own classifier Keras fixes the size of the images.
    base = keras.applications.InceptionV3(weights=None, input_shape=(None, None, 3), include_top=False, pooling="avg")
    theirs = keras.Model(base.input, keras.layers.Dense(11, name="predictions")(base.output))
    random = np.random.default_rng(0)
    layers: list[Layer] = []
    convolutions = in_order_of_creation([x for x in theirs.layers if isinstance(x, keras.layers.Conv2D)])
    norms = in_order_of_creation([x for x in theirs.layers if isinstance(x, keras.layers.BatchNormalization)])
    for convolution, norm in zip(convolutions, norms, strict=True):
        layer = random_layer(random, tuple(convolution.kernel.shape), scale=False)
        convolution.set_weights([layer["kernel"]])
        norm.set_weights([layer[name] for name in ("bias", "mean", "var")])
        layers.append(layer)
    kernel, bias = theirs.get_layer("predictions").get_weights()
    dense = {"kernel": kernel, "bias": random.normal(size=bias.shape).astype(np.float32)}
    theirs.get_layer("predictions").set_weights(list(dense.values()))
    model = xx.create_model("inception_v3", num_classes=11)
    check(model, layers, dense, lambda images: np.asarray(theirs(images, training=False)))


def randomize_torch(torch: Any, theirs: Any, skip: str = "none") -> tuple[list[Layer], Layer]:
    """Random weights and statistics for a PyTorch network, and the same as arrays, in the order of its modules."""
    random = np.random.default_rng(0)
    layers: list[Layer] = []
    dense: Layer = {}

    def fill(tensor: Any, array: np.ndarray) -> None:
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))

    for name, module in theirs.named_modules():
        kind = type(module).__name__
        if name.startswith(skip):
            continue
        if kind == "Conv2d":
            features, channels, *size = module.weight.shape
            layers.append(random_layer(random, (*size, channels, features), scale=True))
            fill(module.weight, layers[-1]["kernel"].transpose(3, 2, 0, 1))
        elif "BatchNorm" in kind:
            for tensor, array in (
                ("weight", "scale"),
                ("bias", "bias"),
                ("running_mean", "mean"),
                ("running_var", "var"),
            ):
                fill(getattr(module, tensor), layers[-1][array])
        elif kind == "Linear":
            dense = {"kernel": module.weight.detach().numpy().T, "bias": module.bias.detach().numpy()}
    return layers, dense


def test_torchvision_inception_v3(torch: Any):
    """With random weights and statistics the logits are those of torchvision's inception_v3."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.inception_v3(weights=None, num_classes=11, init_weights=False).eval()
    layers, dense = randomize_torch(torch, theirs, skip="AuxLogits")
    model = xx.create_model("inception_v3.torchvision", num_classes=11, auxiliary_block=None)
    check(model, layers, dense, functools.partial(torch_output, theirs))


@pytest.mark.parametrize("size", [(17, 17), (20, 23)])
def test_torchvision_auxiliary_head(torch: Any, size: tuple[int, int]):
    """The auxiliary logits are those of torchvision's head, on the nominal map and on a larger one."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = torchvision.models.inception.InceptionAux(64, 11).eval()
    (one, five), dense = randomize_torch(torch, theirs)
    style = Style(Norm(momentum=0.9, epsilon=1e-3), True, "normal", jnp.float32, jnp.float32)
    model: Any = AuxiliaryHead((128, 768), 11, style)
    params: dict[str, Any] = {"Logits": dense}
    statistics = {}
    for name, layer in (("Conv2d_1b_1x1", one), ("Conv2d_2a_5x5", five)):
        params[name] = {"conv": {"kernel": layer["kernel"]}, "bn": {key: layer[key] for key in ("scale", "bias")}}
        statistics[name] = {"bn": {key: layer[key] for key in ("mean", "var")}}
    features = np.random.default_rng(1).normal(size=(2, *size, 64)).astype(np.float32)
    variables = jax.tree.map(jnp.asarray, {"params": params, "batch_stats": statistics})
    assert_close(apply(model, variables, features), torch_output(theirs, features), TOLERANCE)


@pytest.mark.parametrize("name", ["inception_v3", "inception_v4"])
def test_timm(torch: Any, name: str):
    """With random weights and statistics the logits are those of timm's networks."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    theirs = timm.create_model(name, pretrained=False, num_classes=11).eval()
    layers, dense = randomize_torch(torch, theirs)
    model = xx.create_model("inception_v3.timm" if name == "inception_v3" else name, num_classes=11)
    check(model, layers, dense, functools.partial(torch_output, theirs))
