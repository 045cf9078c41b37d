"""Network in Network: the layer tables, mlpconv in NumPy, global average pooling against the dense heads."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from zoo import (
    abstract_params,
    assert_close,
    assert_every_parameter_learns,
    forward,
    initialized,
    random_images,
    random_params,
    shapes,
    table_of_maps,
    torch_output,
)

import xxnet_jax as xx
from xxnet_jax.models import Network, count_parameters
from xxnet_jax.models.nin import MLPConv

NAMES = ("nin", "nin_cifar10", "nin_cifar10.fc", "nin_cifar10.fc_dropout")
every_variant = pytest.mark.parametrize("name", NAMES)


def small(name: str, **options: Any) -> Any:
    """The variant with a sixteenth of the features, 5 classes and a window of 2 pixels."""
    rows = xx.create_model(name).rows  # type: ignore[attr-defined]
    narrow = tuple(row._replace(features=tuple(width // 16 for width in row.features)) for row in rows)
    return xx.create_model(name, **{"rows": narrow, "num_classes": 5, "window": 2, **options})


# ------------------------------------------------------------------------------------------- the tables

CIFAR10 = {
    "mlpconv1": [14_592, 30_880, 15_456],
    "mlpconv2": [460_992, 37_056, 37_056],
    "mlpconv3": [331_968, 37_056],
    "classes": [1_930],
}
IMAGENET = {
    "mlpconv1": [34_944, 9_312, 9_312],
    "mlpconv2": [614_656, 65_792, 65_792],
    "mlpconv3": [885_120, 147_840, 147_840],
    "mlpconv4": [3_539_968, 1_049_600],
    "classes": [1_025_000],
}
PARAMETERS = {
    "nin": (IMAGENET, 7_595_176),
    "nin_cifar10": (CIFAR10, 966_986),
    "nin_cifar10.fc": (CIFAR10 | {"fc": [6_410]}, 973_396),
    "nin_cifar10.fc_dropout": (CIFAR10 | {"fc": [6_410]}, 973_396),
}
# (endpoint, side, features) up to the maps of the classes
MAPS = {
    "nin": "mlpconv1 54 96, pool1 27 96, mlpconv2 27 256, pool2 13 256, mlpconv3 13 384, pool3 6 384, mlpconv4 6 1024, "
    "classes 6 1000",
    "nin_cifar10": "mlpconv1 32 96, pool1 16 96, mlpconv2 16 192, pool2 8 192, mlpconv3 8 192, classes 8 10",
}


@every_variant
def test_parameters_by_layer(name: str):
    """Each layer has the parameters of its kernel size and widths, and they add up to the total."""
    layers, total = PARAMETERS[name]
    params = abstract_params(xx.create_model(name), xx.model_info(name).input_shape[0])
    single = {"classes", "fc"}
    found = {
        layer: [count_parameters(tree)] if layer in single else [count_parameters(part) for part in tree.values()]
        for layer, tree in params.items()
    }
    assert found == layers
    assert sum(sum(counts) for counts in layers.values()) == total == xx.model_info(name).parameters


@every_variant
def test_maps_of_the_table(name: str):
    """Endpoints come in this order with these shapes: ten maps of 8x8 before the last average on CIFAR."""
    side = xx.model_info(name).input_shape[0]
    expected = table_of_maps(MAPS[name.split(".")[0]]) | {"logits": (xx.model_info(name).num_classes,)}
    assert list(shapes(name, side).items()) == list(expected.items())


def test_cifar100():
    """One hundred classes are one hundred maps."""
    found = shapes("nin_cifar10", 32, num_classes=100)
    assert (found["classes"], found["logits"]) == ((8, 8, 100), (100,))


# ------------------------------------------------------------------------------------------- the parts


def convolution(x: np.ndarray, layer: Any, stride: int = 1, pad: int = 0) -> np.ndarray:
    """Cross-correlation of [height, width, channels] with a kernel [rows, columns, channels, features]."""
    kernel = layer["kernel"].astype(np.float64)
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
    return np.einsum("hwcij,ijcf->hwf", windows, kernel) + layer["bias"]


def perceptron(x: np.ndarray, layer: Any, **options: Any) -> np.ndarray:
    """A convolution, then at every pixel by itself a dense layer for each further entry, a ReLU after each."""
    x = np.maximum(convolution(x, layer["conv"], **options), 0)
    for number in range(1, len(layer)):
        weights = layer[f"mlp{number}"]
        pixels = [
            np.maximum(pixel @ weights["kernel"][0, 0].astype(np.float64) + weights["bias"], 0)
            for pixel in x.reshape(-1, x.shape[-1])
        ]
        x = np.array(pixels).reshape(*x.shape[:2], -1)
    return x


def to_the_edge(x: np.ndarray, function: Any) -> np.ndarray:
    """3x3 windows 2 apart, from every even row and column but the last pixel's own; what is beyond is not there."""
    rows, columns = (range(0, max(size - 1, 1), 2) for size in x.shape[:2])
    return np.array([[function(x[i : i + 3, j : j + 3], axis=(0, 1)) for j in columns] for i in rows])


@pytest.mark.parametrize(("size", "stride", "padding"), [(5, 1, 2), (3, 1, 1), (4, 3, 0)])
def test_mlpconv(size: int, stride: int, padding: int):
    """The layer is its convolution followed by a perceptron that sees one pixel at a time."""
    layer = MLPConv((6, 4, 7), size, stride, padding)
    x = np.random.default_rng(2).normal(size=(1, 10, 13, 3)).astype(np.float32)
    shapes_of = jax.eval_shape(layer.init, jax.random.key(0), jnp.asarray(x))["params"]
    random = np.random.default_rng(3)
    params: Any = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), shapes_of)
    expected = perceptron(x[0].astype(np.float64), params, stride=stride, pad=padding)
    found: Any = layer.apply({"params": params}, jnp.asarray(x))
    np.testing.assert_allclose(found, expected[None], rtol=0, atol=1e-5 * expected.max())


def reference(p: Any, x: np.ndarray, *, imagenet: bool) -> np.ndarray:
    """The maps of the classes for one image in float64."""
    if imagenet:
        x = to_the_edge(perceptron(x, p["mlpconv1"], stride=4), np.max)
        x = to_the_edge(perceptron(x, p["mlpconv2"], pad=2), np.max)
        x = to_the_edge(perceptron(x, p["mlpconv3"], pad=1), np.max)
        x = perceptron(x, p["mlpconv4"], pad=1)
    else:
        x = to_the_edge(perceptron(x, p["mlpconv1"], pad=2), np.max)
        x = to_the_edge(perceptron(x, p["mlpconv2"], pad=2), np.mean)
        x = perceptron(x, p["mlpconv3"], pad=1)
    return np.maximum(convolution(x, p["classes"]), 0)


@pytest.mark.parametrize(("name", "size"), [("nin", (70, 97)), ("nin_cifar10", (13, 12))])
def test_forward_is_the_published(name: str, size: tuple[int, int]):
    """Logits are the means of each class's map of a transcription in float64, and `spatial` gives the maps."""
    params, images = random_params(small(name), 80), random_images(*size)
    maps = np.stack([reference(params, image.astype(np.float64), imagenet=name == "nin") for image in images])
    tolerance = 2e-5 * maps.max()
    assert np.ptp(maps.mean(axis=(1, 2))) > 0.1
    assert maps.min() == 0  # the ReLU acts
    np.testing.assert_allclose(forward(small(name, spatial=True), params, images), maps, rtol=0, atol=tolerance)
    logits = forward(small(name), params, images)
    np.testing.assert_allclose(logits, maps.mean(axis=(1, 2)), rtol=0, atol=tolerance)


def test_scores_without_relu():
    """`relu_scores=False` gives the maps before their ReLU, so logits can be negative; else none is."""
    params, images = random_params(small("nin_cifar10"), 32), random_images(12, 12)
    plain = forward(small("nin_cifar10", spatial=True, relu_scores=False), params, images)
    assert plain.min() < 0 < plain.max()
    rectified = forward(small("nin_cifar10", spatial=True), params, images)
    np.testing.assert_allclose(rectified, np.maximum(plain, 0), rtol=1e-5, atol=1e-5)


def test_global_average_pooling_is_a_fixed_dense_layer():
    """The dense head whose weights are 1 / pixels for a class's own map and 0 for others is global average pooling."""
    params, images = random_params(small("nin_cifar10.fc"), 8), random_images(8, 8)
    params["fc"] = {"kernel": np.tile(np.eye(5, dtype=np.float32), (4, 1)) / 4, "bias": np.zeros(5, np.float32)}
    found = forward(small("nin_cifar10.fc"), params, images)
    expected = forward(small("nin_cifar10"), {layer: params[layer] for layer in params if layer != "fc"}, images)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dense_head_sees_every_window():
    """On a larger image each score is that of the dense head on one window of the class maps, and logits their mean."""
    params, images = random_params(small("nin_cifar10.fc"), 8), random_images(12, 16)
    body = {layer: params[layer] for layer in params if layer != "fc"}
    maps = forward(small("nin_cifar10", spatial=True), body, images).astype(np.float64)
    assert maps.shape == (2, 3, 4, 5)
    expected = np.array(
        [[[m[i : i + 2, j : j + 2].ravel() @ params["fc"]["kernel"] for j in range(3)] for i in range(2)] for m in maps]
    )
    expected = expected + params["fc"]["bias"]
    tolerance = 1e-5 * np.abs(expected).max()
    scores = forward(small("nin_cifar10.fc", spatial=True), params, images)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=tolerance)
    logits = forward(small("nin_cifar10.fc"), params, images)
    np.testing.assert_allclose(logits, expected.mean(axis=(1, 2)), rtol=0, atol=tolerance)


# ------------------------------------------------------------------------------------------- the interface


@every_variant
def test_train_changes_no_parameters(name: str):
    """`init` makes the same parameters with train True and False."""
    model, side = xx.create_model(name), xx.model_info(name).input_shape[0]
    assert abstract_params(model, side) == abstract_params(model, side, train=True)


@pytest.mark.parametrize("name", ["nin", "nin_cifar10.fc"])
def test_features(name: str):
    """Without classifier the last map is what the class maps are made of; pooled, its mean or maximum."""
    model = small(name, num_classes=None)
    params, images = random_params(model, 80), random_images(70, 70)
    assert all(layer.startswith("mlpconv") for layer in params)
    maps = forward(model, params, images)
    assert maps.shape[-1] == {"nin": 64, "nin_cifar10.fc": 12}[name]
    for pooling, function in (("avg", np.mean), ("max", np.max)):
        pooled = forward(small(name, num_classes=None, pooling=pooling), params, images)
        np.testing.assert_allclose(pooled, function(maps, axis=(1, 2)), rtol=1e-5)


@every_variant
def test_final_endpoint(name: str):
    """A network that ends at an activation has the layers up to it; an unknown name is an error."""
    side = xx.model_info(name).input_shape[0]
    every_layer = list(PARAMETERS[name][0])
    layers: set[str] = set()
    for endpoint in shapes(name, side):
        layers |= set(every_layer) if endpoint == "logits" else {endpoint} & set(every_layer)
        assert set(abstract_params(xx.create_model(name, final_endpoint=endpoint), side)) == layers
    with pytest.raises(ValueError, match="mlpconv5"):
        abstract_params(xx.create_model(name, final_endpoint="mlpconv5"), side)


@pytest.mark.parametrize(("name", "side"), [("nin", 39), ("nin_cifar10", 4), ("nin_cifar10.fc", 4)])
def test_smallest_images(name: str, side: int):
    """The smallest image has a last map of one pixel (backwards: 1, 2, 4 and, for `nin`, 8, 39), and one less is an
    error that names the size."""
    assert xx.create_model(name).smallest_input() == side
    assert list(shapes(name, side, num_classes=None).values())[-1][:2] == (1, 1)
    for height, width in ((side - 1, side - 1), (side, side - 1), (side - 1, 50)):
        with pytest.raises(ValueError, match=rf"smallest size is {side}x{side}\b"):
            shapes(name, height, width, num_classes=None)


def test_smallest_images_of_the_dense_head():
    """The dense head needs a map of 8x8, hence 32 pixels, and says so; global average pooling takes any size."""
    assert shapes("nin_cifar10.fc", 32, 33)["logits"] == (10,)
    with pytest.raises(ValueError, match=r"32x32\b"):
        shapes("nin_cifar10.fc", 31, 32)
    assert shapes("nin_cifar10", 4, 5)["logits"] == (10,)
    assert shapes("nin_cifar10.fc", 4, 5, window=1)["logits"] == (10,)


@pytest.mark.parametrize(("name", "after"), [("nin", {"mlpconv4"}), ("nin_cifar10", {"mlpconv2", "mlpconv3"})])
def test_places_of_dropout(name: str, after: set[str]):
    """Where the table has dropout, and nowhere else: if all is dropped, the next layer has but its biases to go by, so
    its maps are constant, at the border too."""
    model = small(name, dropout_rate=1.0)
    params, images = random_params(model, 80), random_images(80, 80)
    rngs = {"dropout": jax.random.key(0)}
    _, state = forward(model, params, images, train=True, rngs=rngs, mutable=["intermediates"])
    found = state["intermediates"]["endpoints"]
    constant = {
        layer for layer in found if layer.startswith("mlpconv") and np.ptp(found[layer], axis=(1, 2)).max() == 0
    }
    assert constant == after


def training(model: Network, params: Any, images: np.ndarray) -> Any:
    """Logits while training, a compiled function of the seed."""

    @jax.jit
    def run(seed: Any) -> Any:
        rngs = {"dropout": jax.random.key(seed)}
        return model.apply({"params": params}, jnp.asarray(images), train=True, rngs=rngs)

    return run


def test_dropout_is_the_keys():
    """While training, logits are different for every key and from those at test time, and the same for the same."""
    model, images = small("nin_cifar10"), random_images(8, 8)
    params = random_params(model, 8)
    run = training(model, params, images)
    np.testing.assert_array_equal(run(0), run(0))
    assert not np.array_equal(run(0), run(1))
    assert not np.allclose(run(0), forward(model, params, images), rtol=1e-3)


def test_dropout_before_the_dense_head():
    """It is in `.fc_dropout` alone, at half of the units, scaled: with the identity as the dense head, logits are zero
    or doubled."""
    settings: Any = {"dropout_rate": 0.0, "window": 1, "num_classes": 64}
    images = random_images(2, 2)
    images = np.concatenate([images] * 5)
    params = random_params(small("nin_cifar10.fc", **settings), 8)
    params["fc"] = {"kernel": np.eye(64, dtype=np.float32), "bias": np.zeros(64, np.float32)}
    params["classes"]["bias"] += 50  # no score is zero by itself

    def logits(name: str) -> Any:
        model = small(name, **settings)
        return training(model, params, np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0))))(0)

    plain, dropped = (np.asarray(logits(name)) for name in ("nin_cifar10.fc", "nin_cifar10.fc_dropout"))
    kept = dropped != 0
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / np.sqrt(kept.size)  # five standard deviations of a share
    np.testing.assert_allclose(dropped[kept], 2 * plain[kept], rtol=1e-5)


def test_initialization():
    """Kernels start from a normal of deviation .05, biases from 0; an unknown start is an error."""
    params = initialized(small("nin_cifar10"), 8)["params"]
    kernel = np.asarray(params["mlpconv2"]["conv"]["kernel"], np.float64)
    np.testing.assert_allclose(kernel.std(), 0.05, rtol=5 / np.sqrt(2 * kernel.size))
    assert not any(leaf.any() for leaf in jax.tree.leaves(params) if leaf.ndim == 1)
    with pytest.raises(ValueError, match="unknown initialization 'gaussian'"):
        abstract_params(small("nin_cifar10", initialization="gaussian"), 8)


@pytest.mark.parametrize("name", ["nin", "nin_cifar10", "nin_cifar10.fc"])
def test_every_parameter_has_a_gradient(name: str):
    """While training, the gradient of a loss is finite and not all zero for every parameter array."""
    model = small(name)
    side = 39 if name == "nin" else 8
    assert_every_parameter_learns(model, {"params": random_params(model, side)}, random_images(side, side))


@pytest.mark.parametrize("name", ["nin", "nin_cifar10.fc"])
def test_bfloat16(name: str):
    """In bfloat16 logits are float32, and near those of float32."""
    params, images = random_params(small(name), 80), random_images(80, 80)
    exact = forward(small(name), params, images)
    half = forward(small(name, dtype=jnp.bfloat16), params, images)
    assert half.dtype == np.float32
    # A rounding is 2^-9 of a value; nine layers of partly cancelling sums make it a few percent of the largest.
    np.testing.assert_allclose(half, exact, rtol=0, atol=0.05 * np.abs(exact).max())
    assert not np.array_equal(half, exact)


# ------------------------------------------------------------------------------------------- other frameworks


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")  # their warnings are not ours to mend
@pytest.mark.parametrize(("name", "sizes"), [("nin", [(224, 224), (131, 102)]), ("nin_cifar10", [(32, 32), (27, 34)])])
def test_logits_are_torchs(torch: Any, name: str, sizes: Any):
    """Narrow networks of PyTorch's layers, with its ceil mode, have the same logits, at odd sizes too."""
    function = torch.nn.functional
    params = random_params(small(name), 80)

    def convolution(x: Any, layer: Any, stride: int = 1, padding: int = 0) -> Any:
        kernel = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())
        return function.conv2d(x, kernel, torch.from_numpy(layer["bias"]), stride, padding).relu()

    def mlpconv(x: Any, layer: Any, stride: int = 1, padding: int = 0) -> Any:
        x = convolution(x, layer["conv"], stride, padding)
        for number in range(1, len(layer)):
            x = convolution(x, layer[f"mlp{number}"])
        return x

    def maximum(x: Any) -> Any:
        return function.max_pool2d(x, 3, 2, ceil_mode=True)

    def network(x: Any) -> Any:
        if name == "nin":
            x = maximum(mlpconv(x, params["mlpconv1"], stride=4))
            x = maximum(mlpconv(x, params["mlpconv2"], padding=2))
            x = mlpconv(maximum(mlpconv(x, params["mlpconv3"], padding=1)), params["mlpconv4"], padding=1)
        else:
            x = maximum(mlpconv(x, params["mlpconv1"], padding=2))
            x = function.avg_pool2d(mlpconv(x, params["mlpconv2"], padding=2), 3, 2, ceil_mode=True)
            x = mlpconv(x, params["mlpconv3"], padding=1)
        return convolution(x, params["classes"]).mean(dim=(2, 3))

    for height, width in sizes:
        images = random_images(height, width, scales=(1, 3))  # else the means of random images look alike
        expected = torch_output(network, images)
        assert np.ptp(expected) > 0.1
        assert_close(forward(small(name), params, images), expected)
