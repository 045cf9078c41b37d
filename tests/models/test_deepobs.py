"""The networks of DeepOBS: the tables of the paper's code, the forward pass in NumPy, the initial parameters."""

from typing import Any

import jax
import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from scipy.stats import truncnorm
from zoo import abstract_init, endpoint_shapes, nominal_images

import xxnet_jax as xx
from xxnet_jax.models import count_parameters

NAMES = ("deepobs_2c2d", "deepobs_3c3d")
# [height, width, maps] or [units] of each layer, and its parameters, multiplied out by hand.
TABLES: dict[str, dict[str, tuple[tuple[int, ...], int]]] = {
    "deepobs_2c2d": {
        "conv1": ((28, 28, 32), 5 * 5 * 1 * 32 + 32),
        "pool1": ((14, 14, 32), 0),
        "conv2": ((14, 14, 64), 5 * 5 * 32 * 64 + 64),
        "pool2": ((7, 7, 64), 0),
        "dense1": ((1024,), 7 * 7 * 64 * 1024 + 1024),
        "logits": ((10,), 1024 * 10 + 10),
    },
    "deepobs_3c3d": {
        "conv1": ((28, 28, 64), 5 * 5 * 3 * 64 + 64),
        "pool1": ((14, 14, 64), 0),
        "conv2": ((12, 12, 96), 3 * 3 * 64 * 96 + 96),
        "pool2": ((6, 6, 96), 0),
        "conv3": ((6, 6, 128), 3 * 3 * 96 * 128 + 128),
        "pool3": ((3, 3, 128), 0),
        "dense1": ((512,), 3 * 3 * 128 * 512 + 512),
        "dense2": ((256,), 512 * 256 + 256),
        "logits": ((10,), 256 * 10 + 10),
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_layers_of_the_table(name: str):
    """Each activation has the shape of the table, in its order; the parameters of the layers sum to the total."""
    model, images = xx.create_model(name), nominal_images(name)
    assert list(endpoint_shapes(model, images).items()) == [
        (layer, shape) for layer, (shape, _) in TABLES[name].items()
    ]
    counts = {layer: count for layer, (_, count) in TABLES[name].items() if count}
    params = abstract_init(model, images)["params"]
    assert {layer: count_parameters(tree) for layer, tree in params.items()} == counts
    assert sum(counts.values()) == xx.model_info(name).parameters


def numpy_conv(x: np.ndarray, kernel: np.ndarray, bias: np.ndarray, pad: int) -> np.ndarray:
    size = kernel.shape[0]
    windows = sliding_window_view(np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0))), (size, size), (1, 2))
    return np.maximum(np.einsum("bijcyx,yxcf->bijf", windows, kernel, optimize=True) + bias, 0)


def numpy_pool(x: np.ndarray, size: int) -> np.ndarray:
    """Stride 2 and TensorFlow's SAME on maps of even size: what is missing is at the bottom and on the right."""
    pad = ((0, 0), (0, size - 2), (0, size - 2), (0, 0))
    windows = sliding_window_view(np.pad(x, pad, constant_values=-np.inf), (size, size), (1, 2))
    return windows[:, ::2, ::2].max((-2, -1))


@pytest.mark.parametrize("name", NAMES)
def test_forward_pass_is_numpys(name: str):
    """Logits of random images with random parameters, in float64 by the table: padding, pooling, ReLU and all."""
    random = np.random.default_rng(0)
    model, shape = xx.create_model(name), xx.model_info(name).input_shape
    images = random.normal(size=(2, *shape)).astype(np.float32)
    abstract = abstract_init(model, nominal_images(name))["params"]

    def draw(leaf: Any) -> np.ndarray:
        scale = 1 if leaf.ndim == 1 else np.sqrt(2 / np.prod(leaf.shape[:-1]))
        return (scale * random.normal(size=leaf.shape)).astype(np.float32)

    params = jax.tree.map(draw, abstract)
    found = jax.jit(lambda p, x: model.apply({"params": p}, x, train=True))(params, images)

    pads, window = {"deepobs_2c2d": ((2, 2), 2), "deepobs_3c3d": ((0, 0, 1), 3)}[name]
    x = images.astype(np.float64)
    for stage, pad in enumerate(pads, start=1):
        x = numpy_pool(numpy_conv(x, **params[f"conv{stage}"], pad=pad), window)
    x = x.reshape(2, -1)
    for stage in range(1, 1 + sum(layer.startswith("dense") for layer in params)):
        x = np.maximum(x @ params[f"dense{stage}"]["kernel"] + params[f"dense{stage}"]["bias"], 0)
    expected = x @ params["logits"]["kernel"] + params["logits"]["bias"]
    assert found.shape == (2, 10)
    assert np.abs(expected).max() > 1
    # float32 sums of up to a few thousand terms, through up to six layers
    np.testing.assert_allclose(found, expected, atol=1e-4 * np.abs(expected).max())


def test_2c2d_starts_from_a_truncated_normal(initial_variables):
    """Kernels have mean 0 and the deviation of a normal of .05 cut off at two deviations, biases are .05."""
    reference = truncnorm(-2, 2, scale=0.05)
    assert reference.std() == pytest.approx(0.04398, abs=1e-5)  # TensorFlow does not scale it up again either
    for layer, params in initial_variables("deepobs_2c2d")["params"].items():
        kernel = np.asarray(params["kernel"], np.float64)
        np.testing.assert_array_equal(params["bias"], np.float32(0.05))
        assert np.abs(kernel).max() <= 0.1 + 1e-6
        error = 4 / np.sqrt(kernel.size)  # four standard errors
        assert abs(kernel.mean()) < error * 0.044, layer
        assert kernel.std() == pytest.approx(reference.std(), rel=error), layer
        for quantile in (0.1, 0.4, 0.9):  # and it is no other distribution of that deviation
            assert (kernel < reference.ppf(quantile)).mean() == pytest.approx(quantile, abs=error / 2), layer


def test_3c3d_starts_from_glorots_uniform(initial_variables):
    """Kernels are uniform within sqrt(6 / (inputs + outputs)) of zero, biases are zero."""
    for layer, params in initial_variables("deepobs_3c3d")["params"].items():
        kernel = np.asarray(params["kernel"], np.float64)
        *window, inputs, outputs = kernel.shape
        limit = np.sqrt(6 / (np.prod(window) * (inputs + outputs)))
        np.testing.assert_array_equal(params["bias"], 0)
        assert 0.99 * limit < np.abs(kernel).max() <= limit * (1 + 1e-6), layer
        error = 4 / np.sqrt(kernel.size)
        assert kernel.std() == pytest.approx(limit / np.sqrt(3), rel=error), layer
        for quantile in (0.1, 0.4, 0.9):
            assert (kernel < limit * (2 * quantile - 1)).mean() == pytest.approx(quantile, abs=error / 2), layer


def test_preprocessing_of_deepobs():
    """2c2d takes pixels in [0, 1], 3c3d standardized images."""
    assert [xx.model_info(name).preprocessing for name in NAMES] == ["unit", "standardized"]
