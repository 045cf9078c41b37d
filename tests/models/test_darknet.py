"""Darknet against the papers' tables and counts, and NumPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate
from zoo import (
    abstract_apply,
    abstract_init,
    abstract_params,
    apply,
    images_of,
    initialized,
    random_images,
    shapes,
    table_of_maps,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.darknet import BATCH_NORM, table
from xxnet_jax.models.layers import Norm

TINY: Any = {"stages": table("3x3 4", "1x1 6, 3x3/2 5", "3x3 7"), "num_classes": 5}


def tiny(**options: Any) -> Any:
    return xx.create_model("darknet19", **{**TINY, **options})


# ---------------------------------------------------------------------------------------------- counts

# Convolutions as (size, features), layer by layer.
TABLE_6 = [
    *((3, 32), (3, 64), (3, 128), (1, 64), (3, 128), (3, 256), (1, 128), (3, 256)),
    *((3, 512), (1, 256), (3, 512), (1, 256), (3, 512)),
    *((3, 1024), (1, 512), (3, 1024), (1, 512), (3, 1024)),
]
FIGURE_3 = [
    *((7, 64), (3, 192), (1, 128), (3, 256), (1, 256), (3, 512)),
    *((1, 256), (3, 512), (1, 256), (3, 512), (1, 256), (3, 512), (1, 256), (3, 512), (1, 512), (3, 1024)),
    *((1, 512), (3, 1024), (1, 512), (3, 1024), (3, 1024), (3, 1024), (3, 1024), (3, 1024)),
]
FAST = [(3, features) for features in (16, 32, 64, 128, 256, 512, 1024, 1024, 1024)]
LAYERS = {"darknet19": TABLE_6, "darknet20": FIGURE_3[:20], "darknet24": FIGURE_3, "darknet_tiny": FAST}
every_network = pytest.mark.parametrize("name", list(LAYERS))


@every_network
def test_parameters_of_layers(name: str):
    """Every convolution has its weights, and a bias or a scale and a bias; the last one 1000 classes."""
    params = abstract_params(xx.create_model(name), 64)
    inputs, expected = 3, {}
    for number, (size, features) in enumerate(LAYERS[name], start=1):
        biases = 2 if name == "darknet19" else 1
        expected[f"conv{number}"] = size**2 * inputs * features + biases * features
        inputs = features
    expected[f"conv{len(LAYERS[name]) + 1}"] = 1024 * 1000 + 1000
    assert {layer: count_parameters(tree) for layer, tree in params.items()} == expected
    assert sum(expected.values()) == xx.model_info(name).parameters


def test_published_counts():
    """The notes' arithmetic: weights, biases and norms of Darknet-19, weights of YOLO's 24 convolutions."""
    variables = abstract_init(xx.create_model("darknet19"), images_of(224))
    assert count_parameters(variables["params"]) == 20_842_376 == 20_826_976 + 2 * 7_200 + 1_000
    assert count_parameters(variables) == 20_856_776
    v1 = abstract_params(xx.create_model("darknet24", num_classes=None), 448)
    assert sum(layer["conv"]["kernel"].size for layer in v1.values()) == 60_142_784
    assert count_parameters(abstract_params(xx.create_model("darknet20"), 224)) == 23_428_136


def test_normalization_is_a_knob():
    """As in the authors' later files v1's networks may normalize: a scale for each bias and two statistics."""
    variables = abstract_init(xx.create_model("darknet24", norm=BATCH_NORM), images_of(64))
    channels = sum(features for _, features in FIGURE_3)
    assert count_parameters(variables["params"]) == 61_180_968 + channels
    assert count_parameters(variables["batch_stats"]) == 2 * channels
    model: Any = xx.create_model("darknet19")
    assert model.norm == Norm(momentum=0.99, epsilon=1e-5)


def test_the_detector_begins_with_the_classifier():
    """The first twenty convolutions of darknet24 take the parameters of darknet20's, by name."""
    classifier, detector = (abstract_params(xx.create_model(name, num_classes=None), 64) for name in
                            ("darknet20", "darknet24"))  # fmt: skip
    assert {name: detector[name] for name in classifier} == classifier
    assert set(detector) - set(classifier) == {"conv21", "conv22", "conv23", "conv24"}


# ---------------------------------------------------------------------------------------------- shapes and names

MAPS_19 = (
    "conv1 224 32, pool1 112 32, conv2 112 64, pool2 56 64, conv3 56 128, conv4 56 64, conv5 56 128, pool3 28 128, "
)
MAPS_19 += "conv6 28 256, conv7 28 128, conv8 28 256, pool4 14 256, conv9 14 512, conv10 14 256, conv11 14 512, "
MAPS_19 += "conv12 14 256, conv13 14 512, pool5 7 512, conv14 7 1024, conv15 7 512, conv16 7 1024, conv17 7 512, "
MAPS_19 += "conv18 7 1024, conv19 7 1000"
MAPS_24 = "conv1 224 64, pool1 112 64, conv2 112 192, pool2 56 192, conv6 56 512, pool3 28 512, conv16 28 1024, "
MAPS_24 += "pool4 14 1024, conv20 14 1024, conv21 14 1024, conv22 7 1024, conv24 7 1024, conv25 7 1000"


def test_endpoints_of_darknet19():
    """The layers and maps of Table 6."""
    expected = {**table_of_maps(MAPS_19), "avgpool": (1000,)}
    assert list(shapes("darknet19", 224).items()) == list(expected.items())


def test_endpoints_of_yolo():
    """The maps of Figure 3, 24 convolutions and 4 pools; Fast YOLO's 9 and 6 end on 7x7 too."""
    found = shapes("darknet24", 448)
    maps = table_of_maps(MAPS_24)
    assert maps.items() <= found.items()
    assert [name for name in found if name in maps] == list(maps)
    assert len(found) == 24 + 4 + 2
    fast = shapes("darknet_tiny", 448)
    assert (fast["pool6"], fast["conv9"], len(fast)) == ((7, 7, 512), (7, 7, 1024), 9 + 6 + 2)


def test_operations():
    """Darknet-19 takes 5.58 billion operations on 224x224, two for each multiplication (section 3 of YOLO9000)."""
    found, inputs, products = shapes("darknet19", 224), 3, 0
    for number, (size, features) in enumerate([*TABLE_6, (1, 1000)], start=1):
        height, width, channels = found[f"conv{number}"]
        assert channels == features
        products += height * width * size**2 * inputs * features
        inputs = features
    assert products == 2_790_989_824
    assert round(2 * products / 1e9, 2) == 5.58


@pytest.mark.parametrize(("side", "cells"), [(320, 10), (416, 13), (608, 19)])
def test_features_for_detection(side: int, cells: int):
    """YOLO v2's grid has a cell for 32x32 pixels; the passthrough's map has twice the side (section 2 of the paper)."""
    model = xx.create_model("darknet19", num_classes=None)
    assert abstract_apply(model, images_of(side)).shape == (2, cells, cells, 1024)
    assert shapes("darknet19", side)["conv13"] == (2 * cells, 2 * cells, 512)


def test_odd_sizes():
    """A pool keeps the last row and column of an odd map, so one pixel suffices; else it takes 31 to 64."""
    assert abstract_apply(tiny(num_classes=None), images_of(13, 18)).shape == (2, 2, 3, 7)
    for name, side in (("darknet19", 32), ("darknet24", 31), ("darknet_tiny", 64)):
        assert xx.create_model(name).smallest_input() == 1
        model = xx.create_model(name, num_classes=None, pool_padding="VALID")
        assert abstract_apply(model, images_of(side)).shape == (2, 1, 1, 1024)
        with pytest.raises(ValueError, match=f"smallest size is {side}x{side}"):
            abstract_apply(model, images_of(side - 1))


def test_final_endpoint():
    """Up to the passthrough's endpoint there are thirteen convolutions."""
    model = xx.create_model("darknet19", final_endpoint="conv13")
    assert len(abstract_params(model, 64)) == 13
    assert abstract_apply(model, images_of(416)).shape == (2, 26, 26, 512)


def test_spatial():
    """A score for every 7x7 pixels of the last map."""
    model = xx.create_model("darknet19", spatial=True)
    assert abstract_apply(model, images_of(224)).shape == (2, 1, 1, 1000)
    assert abstract_apply(model, images_of(256, 320)).shape == (2, 2, 4, 1000)


# ---------------------------------------------------------------------------------------------- what is computed


def convolved(x: np.ndarray, kernel: np.ndarray, stride: int) -> np.ndarray:
    pad = kernel.shape[0] // 2
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    features = range(kernel.shape[-1])
    maps = [[correlate(image, kernel[..., o], "valid")[..., 0] for o in features] for image in x]
    return np.moveaxis(np.array(maps), 1, -1)[:, ::stride, ::stride]


def pooled(x: np.ndarray) -> np.ndarray:
    x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), constant_values=-np.inf)
    return x.reshape(len(x), x.shape[1] // 2, 2, x.shape[2] // 2, 2, -1).max((2, 4))


@pytest.mark.parametrize(("height", "width"), [(12, 15), (13, 10)])
@pytest.mark.parametrize("norm", [BATCH_NORM, None])
def test_logits(norm: Norm | None, height: int, width: int):
    """In float64: a leaky ReLU of slope .1 behind each convolution, pools between the rows, the mean of the scores."""
    model = tiny(norm=norm)
    random = np.random.default_rng(0)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}
    x = images = random_images(height, width).astype(np.float64)
    for number, (size, stride, features) in enumerate([(3, 1, 4), (1, 1, 6), (3, 2, 5), (3, 1, 7)], start=1):
        x = pooled(x) if number in (2, 4) else x
        kernel = random.normal(size=(size, size, x.shape[-1], features))
        bias, scale, mean, var = (random.uniform(0.5, 1.5, features) for _ in range(4))
        x = convolved(x, kernel, stride)
        layer: dict[str, Any] = {"conv": {"kernel": kernel}}
        if norm is None:
            layer["conv"]["bias"] = bias
            x = x + bias
        else:
            layer["bn"] = {"scale": scale, "bias": bias}
            variables["batch_stats"][f"conv{number}"] = {"bn": {"mean": mean, "var": var}}
            x = (x - mean) / np.sqrt(var + 1e-5) * scale + bias
        variables["params"][f"conv{number}"] = layer
        x = np.where(x > 0, x, 0.1 * x)
    last = {"kernel": random.normal(size=(1, 1, 7, 5)), "bias": random.normal(size=5)}
    variables["params"]["conv5"] = last
    expected = (x @ last["kernel"][0, 0] + last["bias"]).mean(axis=(1, 2))
    found = apply(model, variables, images)
    np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def test_negative_slope():
    """With slope 0 no activation behind a convolution is negative, with slope 1 the network is linear but for pools."""
    images = jnp.asarray(random_images(8, 8))
    variables = initialized(tiny(), 8)
    points = {slope: xx.endpoints(tiny(negative_slope=slope), variables, images) for slope in (0.0, 0.1, 1.0)}
    assert points[0.0]["conv1"].min() == 0
    linear = np.asarray(points[1.0]["conv1"])
    np.testing.assert_allclose(points[0.1]["conv1"], np.where(linear > 0, linear, 0.1 * linear), rtol=1e-6)
    assert points[0.1]["conv5"].min() < 0  # nothing behind the classes


@pytest.mark.parametrize(("initialization", "variance"), [("darknet", 2 / 900), ("torch", 1 / 3 / 900)])
def test_initialization(initialization: str, variance: float):
    """Kernels start normal with variance 2 / fan_in as in Darknet, or uniform with a sixth of it as in torch."""
    model = tiny(stages=table("3x3 100, 3x3 100"), initialization=initialization)
    kernel = np.asarray(initialized(model, 4)["params"]["conv2"]["conv"]["kernel"], np.float64)
    assert kernel.var() == pytest.approx(variance, rel=0.05)
    assert (np.abs(kernel).max() > 4 * np.sqrt(variance)) == (initialization == "darknet")


def test_unknown_initialization():
    """An initialization that does not exist is a ValueError with the nearest one."""
    with pytest.raises(ValueError, match=r"darkent.*darknet"):
        abstract_init(tiny(initialization="darkent"), images_of(8))
