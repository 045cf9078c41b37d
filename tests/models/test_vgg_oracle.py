"""VGG against Keras and torchvision with the same random weights: `pytest -m oracle`."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import assert_close, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx

pytestmark = oracle


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("side", [64, 75])
def test_keras_features(keras: Any, name: str, side: int):
    """Every named activation of Keras's network, at an even and an odd size."""
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
    theirs = build(weights=None, include_top=False, input_shape=(side, side, 3))
    params = {
        layer.name: {"conv": dict(zip(("kernel", "bias"), map(jnp.asarray, layer.get_weights()), strict=True))}
        for layer in theirs.layers
        if layer.get_weights()
    }
    images = random_images(side, side)
    names = [layer.name for layer in theirs.layers[1:]]
    outputs = keras.Model(theirs.input, [layer.output for layer in theirs.layers[1:]])(images)
    found = xx.endpoints(xx.create_model(name, num_classes=None), {"params": params}, jnp.asarray(images))
    assert found.keys() == set(names)
    for endpoint, output in zip(names, outputs, strict=True):
        assert_close(found[endpoint], np.asarray(output))


def test_keras_head(keras: Any):
    """The dense layers, on images of 32x32 with a window of one pixel."""
    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None)
    params = {}
    for layer in theirs.layers:
        if layer.get_weights():
            weights = dict(zip(("kernel", "bias"), map(jnp.asarray, layer.get_weights()), strict=True))
            params[layer.name] = {"conv": weights} if "conv" in layer.name else weights
    images = random_images(32, 32)
    model = xx.create_model("vgg16", num_classes=7, window=1)
    assert_close(model.apply({"params": params}, images, train=False), np.asarray(theirs(images)))


CONFIGURATIONS = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]


def from_torch(theirs: Any, blocks: Any) -> dict[str, Any]:
    """Our variables from a torchvision VGG."""

    def array(tensor: Any, *axes: int) -> jax.Array:
        values = tensor.detach().numpy()
        return jnp.asarray(values.transpose(axes) if axes else values)

    params: dict[str, Any] = {}
    statistics: dict[str, Any] = {}
    name = ""
    names = iter([f"block{b}_conv{n}" for b, sizes in enumerate(blocks, start=1) for n in range(1, len(sizes) + 1)])
    for layer in theirs.features:
        kind = type(layer).__name__
        if kind == "Conv2d":
            name = next(names)
            params[name] = {"conv": {"kernel": array(layer.weight, 2, 3, 1, 0), "bias": array(layer.bias)}}
        elif kind == "BatchNorm2d":
            params[name]["bn"] = {"scale": array(layer.weight), "bias": array(layer.bias)}
            statistics[name] = {"bn": {"mean": array(layer.running_mean), "var": array(layer.running_var)}}
    for name, index in (("fc1", 0), ("fc2", 3), ("predictions", 6)):
        layer = theirs.classifier[index]
        kernel = layer.weight.detach().numpy()
        if name == "fc1":  # channels first to channels last
            kernel = kernel.reshape(-1, 512, 7, 7).transpose(0, 2, 3, 1).reshape(len(kernel), -1)
        params[name] = {"kernel": jnp.asarray(kernel.T), "bias": array(layer.bias)}
    return {"params": params, "batch_stats": statistics}


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_torchvision(torch: Any, name: str):
    """Logits with random weights and running statistics, at an even and an odd size; a wrong epsilon is noticed."""
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=11).eval()
    for layer in theirs.modules():
        if isinstance(layer, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(layer.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(layer.running_var, 0.01, 0.1)
            torch.nn.init.uniform_(layer.weight, 0.5, 1.5)
            torch.nn.init.uniform_(layer.bias, -0.1, 0.1)
    model: Any = xx.create_model(name if name.endswith("_bn") else f"{name}.torchvision", num_classes=11)
    variables = from_torch(theirs, model.blocks)
    for side in (64, 75):
        images = random_images(side, side)
        expected = torch_output(theirs, images)
        assert_close(model.apply(variables, images, train=False), expected)
        if name == "vgg11_bn":
            wrong = model.clone(norm=type(model.norm)(momentum=0.9, epsilon=1e-3))
            assert largest_difference(wrong.apply(variables, images, train=False), expected) > 1e-4
