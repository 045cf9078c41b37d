"""Xception against Keras with the same random weights: `pytest -m oracle`."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from carried import assert_endpoints, coloured_images, from_keras, keras_outputs
from zoo import apply, assert_close, endpoint_shapes, images_of, largest_difference, oracle

import xxnet_jax as xx
from xxnet_jax.models import xception
from xxnet_jax.models.layers import ConvUnit, max_pool

pytestmark = oracle


def keras_network(keras: Any, height: int, width: int) -> tuple[Any, Any]:
    """Keras's network with random weights, and the same for ours."""
    theirs = keras.applications.Xception(
        weights=None, input_shape=(height, width, 3), classes=11, classifier_activation=None
    )
    return theirs, from_keras(theirs, "xception")


@pytest.mark.parametrize(("height", "width"), [(71, 95), (96, 78), pytest.param(299, 299, marks=pytest.mark.full_size)])
def test_keras(keras: Any, height: int, width: int):
    """Every endpoint is Keras's layer of that name, or its sum."""
    theirs, variables = keras_network(keras, height, width)
    sums = [layer.name for layer in theirs.layers if layer.name.startswith("add")]
    names = set(endpoint_shapes(xx.create_model("xception"), images_of(height)))
    images = coloured_images(height, width)
    expected = keras_outputs(keras, theirs, images, names | set(sums))
    expected |= {f"block{block}_add": expected.pop(name) for block, name in enumerate(sums, start=2)}
    assert expected.keys() == names
    assert_endpoints(xx.create_model("xception", num_classes=11), variables, images, expected)


def test_a_slip_would_show(keras: Any, monkeypatch: pytest.MonkeyPatch):
    """The comparison fails with another epsilon, another place of a stride, padding on the other side."""
    theirs, variables = keras_network(keras, 75, 96)
    images = coloured_images(75, 96)
    expected = np.asarray(keras_outputs(keras, theirs, images, {"predictions"})["predictions"])
    model: Any = xx.create_model("xception", num_classes=11)
    assert_close(apply(model, variables, images), expected)
    wrong = model.clone(norm=replace(model.norm, epsilon=1e-5))
    assert largest_difference(apply(wrong, variables, images), expected) > 1e-4

    with monkeypatch.context() as patch:  # a pixel on each side is above and left where SAME is below and right
        patch.setattr(xception, "max_pool", lambda x, window, stride, padding: max_pool(x, window, stride, 1))
        assert largest_difference(apply(model, variables, images), expected) > 1e-4

    def later(features: int, size: Any, strides: Any = (1, 1), *rest: Any, name: str, **options: Any) -> ConvUnit:
        strides = {"block1_conv1": (1, 1), "block1_conv2": (2, 2)}.get(name, strides)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    monkeypatch.setattr(xception, "ConvUnit", later)
    assert largest_difference(apply(model, variables, images), expected) > 1e-4
