"""VGG against Keras and torchvision with the same random weights: `pytest -m oracle`."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from carried import from_keras, from_torch
from zoo import assert_close, largest_difference, oracle, random_images, torch_output

import xxnet_jax as xx

pytestmark = oracle


@pytest.mark.parametrize("name", ["vgg16", "vgg19"])
@pytest.mark.parametrize("side", [64, 75])
def test_keras_features(keras: Any, name: str, side: int):
    """Every named activation of Keras's network, at an even and an odd size."""
    build = {"vgg16": keras.applications.VGG16, "vgg19": keras.applications.VGG19}[name]
    theirs = build(weights=None, include_top=False, input_shape=(side, side, 3))
    variables = from_keras(theirs, name, num_classes=None)
    images = random_images(side, side)
    names = [layer.name for layer in theirs.layers[1:]]
    outputs = keras.Model(theirs.input, [layer.output for layer in theirs.layers[1:]])(images)
    found = xx.endpoints(xx.create_model(name, num_classes=None), variables, jnp.asarray(images))
    assert found.keys() == set(names)
    for endpoint, output in zip(names, outputs, strict=True):
        assert_close(found[endpoint], np.asarray(output))


def test_keras_head(keras: Any):
    """The dense layers, on images of 32x32 with a window of one pixel."""
    theirs = keras.applications.VGG16(weights=None, input_shape=(32, 32, 3), classes=7, classifier_activation=None)
    variables = from_keras(theirs, "vgg16", num_classes=7, window=1)
    images = random_images(32, 32)
    model = xx.create_model("vgg16", num_classes=7, window=1)
    assert_close(model.apply(variables, images, train=False), np.asarray(theirs(images)))


CONFIGURATIONS = ["vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn"]


@pytest.mark.parametrize("name", CONFIGURATIONS)
def test_torchvision(torch: Any, name: str):
    """Logits with random weights and running statistics, at an even and an odd size; a wrong epsilon is noticed."""
    torchvision = pytest.importorskip("torchvision")
    theirs = getattr(torchvision.models, name)(weights=None, num_classes=11).eval()
    ours = name if name.endswith("_bn") else f"{name}.torchvision"
    model: Any = xx.create_model(ours, num_classes=11)
    variables = from_torch(torch, theirs, ours)
    for side in (64, 75):
        images = random_images(side, side)
        expected = torch_output(theirs, images)
        assert_close(model.apply(variables, images, train=False), expected)
        if name == "vgg11_bn":
            wrong = model.clone(norm=type(model.norm)(momentum=0.9, epsilon=1e-3))
            assert largest_difference(wrong.apply(variables, images, train=False), expected) > 1e-4
