"""Inception-ResNet-v2 against Keras and timm with the same random weights: `pytest -m oracle`."""

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest
from carried import from_keras, from_torch
from zoo import (
    apply,
    assert_close,
    largest_difference,
    oracle,
    random_images,
    torch_output,
)

import xxnet_jax as xx

pytestmark = oracle

Reference = Callable[[np.ndarray], np.ndarray]


MUTATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "another epsilon": lambda model: {"norm": replace(model.norm, epsilon=1e-5)},
    "the stride in the first convolution of a branch": lambda model: {
        "mixed_7a": (
            (
                model.mixed_7a[0][0]._replace(stride=2),
                model.mixed_7a[0][1]._replace(stride=1, padding=((1, 0), (1, 0))),
            ),
            *model.mixed_7a[1:],
        )
    },
    "padding on one side": lambda model: {
        "block17": (
            model.block17[0],
            (model.block17[1][0], model.block17[1][1]._replace(padding=((0, 0), (6, 0))), model.block17[1][2]),
        )
    },
}


def check(name: str, variables: Any, theirs: Reference) -> None:
    """With the same weights and statistics logits are theirs, on odd and even sizes; with another epsilon, another
    place of a stride or the padding on the other side they are not."""

    def ours(images: np.ndarray, **knobs: Any) -> Any:
        return apply(xx.create_model(name, num_classes=11, **knobs), variables, images)

    for side in (75, 112):
        images = random_images(side, side, scales=(0.3, 1, 2), seed=1)  # else random images look alike
        expected = theirs(images)
        assert_close(ours(images), expected)
    for mutation, knobs in MUTATIONS.items():
        assert largest_difference(ours(images, **knobs(xx.create_model(name))), expected) > 1e-4, mutation


def test_keras(keras: Any):
    """Our logits are those of Keras's network, whose own classifier would fix the size of the images."""
    base = keras.applications.InceptionResNetV2(
        weights=None, include_top=False, pooling="avg", input_shape=(None, None, 3)
    )
    theirs = keras.Model(base.input, keras.layers.Dense(11, name="predictions")(base.output))
    variables = from_keras(theirs, "inception_resnet_v2")
    logits = jax.jit(lambda images: theirs(images, training=False))
    check("inception_resnet_v2", variables, lambda images: np.asarray(logits(images)))


def test_timm(torch: Any):
    """Our logits are those of timm's network."""
    theirs = pytest.importorskip("timm").create_model("inception_resnet_v2", num_classes=11).eval()
    variables = from_torch(torch, theirs, "inception_resnet_v2.timm")
    check("inception_resnet_v2.timm", variables, functools.partial(torch_output, theirs))
