"""AlexNet and its variants: the tables of the paper and the notes, and the forward pass written down in NumPy."""

import functools
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
    narrow,
    parameters_by_module,
    random_images,
    random_params,
    shapes,
    table_of_maps,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.alexnet import AlexNet, Convolution
from xxnet_jax.models.layers import local_response_norm

NAMES = ("alexnet", "alexnet.tf1", "alexnet.xxnet", "alexnet.slim", "alexnet.torchvision", "alexnet.notebook")
every_variant = pytest.mark.parametrize("name", NAMES)


# ------------------------------------------------------------------------------------------- the tables

DENSE = {"fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000}
FIVE = ("conv1", "conv2", "conv3", "conv4", "conv5")
UNGROUPED = dict(zip(FIVE, (34_944, 614_656, 885_120, 1_327_488, 884_992), strict=True)) | DENSE
PARAMETERS = {
    "alexnet": dict(zip(FIVE, (34_944, 307_456, 885_120, 663_936, 442_624), strict=True)) | DENSE,
    "alexnet.tf1": UNGROUPED,
    "alexnet.xxnet": UNGROUPED,
    "alexnet.slim": dict(zip(FIVE, (23_296, 307_392, 663_936, 1_327_488, 884_992), strict=True))
    | {**DENSE, "fc6": 26_218_496},
    "alexnet.torchvision": dict(zip(FIVE, (23_296, 307_392, 663_936, 884_992, 590_080), strict=True)) | DENSE,
    "alexnet.notebook": dict(zip(FIVE[:4], (34_944, 614_656, 885_120, 884_992), strict=True))
    | {"fc5": 26_218_496, "fc6": 16_781_312, "fc7": 4_097_000},
}
TOTALS = {
    "alexnet": 60_965_224,
    "alexnet.tf1": 62_378_344,
    "alexnet.xxnet": 62_378_344,
    "alexnet.slim": 50_303_912,
    "alexnet.torchvision": 61_100_840,
    "alexnet.notebook": 49_516_520,
}
# (endpoint, side, features) up to the dense layers
MAPS = {
    "alexnet": "conv1 55 96, norm1 55 96, pool1 27 96, conv2 27 256, norm2 27 256, pool2 13 256, "
    "conv3 13 384, conv4 13 384, conv5 13 256, pool5 6 256",
    "alexnet.tf1": "conv1 55 96, pool1 27 96, norm1 27 96, conv2 27 256, pool2 13 256, "
    "conv3 13 384, conv4 13 384, conv5 13 256, pool5 6 256",
    "alexnet.xxnet": "conv1 55 96, pool1 27 96, conv2 27 256, pool2 13 256, "
    "conv3 13 384, conv4 13 384, conv5 13 256, pool5 6 256",
    "alexnet.slim": "conv1 54 64, pool1 26 64, conv2 26 192, pool2 12 192, "
    "conv3 12 384, conv4 12 384, conv5 12 256, pool5 5 256",
    "alexnet.torchvision": "conv1 55 64, pool1 27 64, conv2 27 192, pool2 13 192, "
    "conv3 13 384, conv4 13 256, conv5 13 256, pool5 6 256",
    "alexnet.notebook": "conv1 54 96, pool1 26 96, conv2 26 256, pool2 12 256, conv3 12 384, conv4 12 256, pool4 5 256",
}


@every_variant
def test_parameters_by_layer(name: str):
    """Each layer has the parameters that the notes print or that follow by arithmetic, and their sum is published."""
    assert parameters_by_module(xx.create_model(name), xx.model_info(name).input_shape[0]) == PARAMETERS[name]
    assert sum(PARAMETERS[name].values()) == TOTALS[name] == xx.model_info(name).parameters


def test_other_numbers_of_classes():
    """The published counts for cats and dogs, and for ten classes."""
    assert count_parameters(abstract_params(xx.create_model("alexnet.tf1", num_classes=2), 227)) == 58_289_538
    assert count_parameters(abstract_params(xx.create_model("alexnet.slim", num_classes=10), 224)) == 46_247_882


@every_variant
def test_maps_of_the_table(name: str):
    """Endpoints come in the order of the variant, with the sides and features of its table, then the dense layers."""
    side = xx.model_info(name).input_shape[0]
    first, second, last = list(PARAMETERS[name])[-3:]
    expected = table_of_maps(MAPS[name]) | {first: (1, 1, 4096), second: (1, 1, 4096), last: (1000,)}
    assert list(shapes(name, side).items()) == list(expected.items())


@pytest.mark.parametrize(
    ("name", "total"), [("alexnet", 724_406_816), ("alexnet.xxnet", 1_135_256_096), ("alexnet.notebook", 818_842_752)]
)
def test_multiply_accumulates(name: str, total: int):
    """Weights times output pixels are the notes' costs: groups halve three layers."""
    side = xx.model_info(name).input_shape[0]
    params, points = abstract_params(xx.create_model(name), side), shapes(name, side)
    costs = {layer: p["kernel"].size * np.prod(points[layer][:-1], dtype=int) for layer, p in params.items()}
    assert sum(costs.values()) == total
    if name == "alexnet":
        assert list(costs.values())[:5] == [105_415_200, 223_948_800, 149_520_384, 112_140_288, 74_760_192]
        neurons = sum(np.prod(points[layer], dtype=int) for layer in params)
        assert neurons == 659_272  # the paper's 650,000


# ------------------------------------------------------------------------------------------- the forward pass


def convolution(x: np.ndarray, layer: Any, stride: int = 1, pad: int = 0) -> np.ndarray:
    """Cross-correlation of [height, width, channels] with a kernel [rows, columns, channels, features], and ReLU."""
    kernel = layer["kernel"].astype(np.float64)
    x = np.pad(x, ((pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, kernel.shape[:2], axis=(0, 1))[::stride, ::stride]
    return np.maximum(np.einsum("hwcij,ijcf->hwf", windows, kernel) + layer["bias"], 0)


def two_towers(x: np.ndarray, layer: Any, pad: int) -> np.ndarray:
    """Each GPU convolves its half of the maps with its half of the kernels."""
    channels, features = x.shape[-1] // 2, layer["bias"].size // 2
    towers = [
        convolution(
            x[..., gpu * channels : (gpu + 1) * channels],
            {key: value[..., gpu * features : (gpu + 1) * features] for key, value in layer.items()},
            pad=pad,
        )
        for gpu in (0, 1)
    ]
    return np.concatenate(towers, axis=-1)


def pooling(x: np.ndarray) -> np.ndarray:
    """The maximum of each 3x3 window, 2 pixels apart."""
    rows, columns = (range(0, size - 2, 2) for size in x.shape[:2])
    return np.array([[x[i : i + 3, j : j + 3].max(axis=(0, 1)) for j in columns] for i in rows])


def response_norm(x: np.ndarray, *, k: float, n: int, alpha: float, beta: float) -> np.ndarray:
    """Section 3.3 of the paper, map by map, over n adjacent maps (n is odd)."""
    x = x.astype(np.float64)
    y = np.empty_like(x)
    last = x.shape[-1] - 1
    for i in range(last + 1):
        adjacent = range(max(0, i - n // 2), min(last, i + n // 2) + 1)
        y[..., i] = x[..., i] / (k + alpha * sum(x[..., j] ** 2 for j in adjacent)) ** beta
    return y


def dense(x: np.ndarray, *layers: Any) -> np.ndarray:
    for layer in layers[:-1]:
        x = np.maximum(x.ravel() @ layer["kernel"].astype(np.float64) + layer["bias"], 0)
    return x @ layers[-1]["kernel"].astype(np.float64) + layers[-1]["bias"]


def paper(p: Any, x: np.ndarray) -> np.ndarray:
    """Sections 3.1 to 3.5."""
    constants: Any = {"k": 2, "n": 5, "alpha": 1e-4, "beta": 0.75}
    x = pooling(response_norm(convolution(x, p["conv1"], stride=4), **constants))
    x = pooling(response_norm(two_towers(x, p["conv2"], pad=2), **constants))
    x = two_towers(convolution(x, p["conv3"], pad=1), p["conv4"], pad=1)
    x = pooling(two_towers(x, p["conv5"], pad=1))
    return dense(x, p["fc6"], p["fc7"], p["fc8"])


def tf1(p: Any, x: np.ndarray, *, use_norm2: bool = False) -> np.ndarray:
    """The notes' inference function: `norm2` is computed, and conv3 takes pool2."""
    constants: Any = {"k": 1, "n": 9, "alpha": 1e-3 / 9, "beta": 0.75}
    norm1 = response_norm(pooling(convolution(x, p["conv1"], stride=4)), **constants)
    pool2 = pooling(convolution(norm1, p["conv2"], pad=2))
    norm2 = response_norm(pool2, **constants)
    x = convolution(norm2 if use_norm2 else pool2, p["conv3"], pad=1)
    x = pooling(convolution(convolution(x, p["conv4"], pad=1), p["conv5"], pad=1))
    return dense(x, p["fc6"], p["fc7"], p["fc8"])


def five_convolutions(p: Any, x: np.ndarray, *, pad: int = 0) -> np.ndarray:
    x = pooling(convolution(x, p["conv1"], stride=4, pad=pad))
    x = pooling(convolution(x, p["conv2"], pad=2))
    x = convolution(convolution(x, p["conv3"], pad=1), p["conv4"], pad=1)
    return dense(pooling(convolution(x, p["conv5"], pad=1)), p["fc6"], p["fc7"], p["fc8"])


def notebook(p: Any, x: np.ndarray) -> np.ndarray:
    """Four convolutions."""
    x = pooling(convolution(x, p["conv1"], stride=4))
    x = convolution(pooling(convolution(x, p["conv2"], pad=2)), p["conv3"], pad=1)
    return dense(pooling(convolution(x, p["conv4"], pad=1)), p["fc5"], p["fc6"], p["fc7"])


REFERENCES = {
    "alexnet": paper,
    "alexnet.tf1": tf1,
    "alexnet.xxnet": five_convolutions,
    "alexnet.slim": five_convolutions,
    "alexnet.torchvision": functools.partial(five_convolutions, pad=2),
    "alexnet.notebook": notebook,
}


@every_variant
def test_forward_is_the_published(name: str):
    """Logits of a narrow network equal a transcription in float64; the first response norm is a large effect there."""
    model = narrow(name)
    images = random_images(100, 103, scales=(50, 50))
    params = random_params(model, 100)
    expected = np.stack([REFERENCES[name](params, image.astype(np.float64)) for image in images])
    # Eight layers of float32 sums of up to 400 terms: some 1e-6 of the largest logit.
    assert_close(forward(model, params, images), expected, 2e-5)
    largest = np.abs(expected).max()
    if name == "alexnet.tf1":  # were norm2 used, this test would know
        other = np.stack([tf1(params, image.astype(np.float64), use_norm2=True) for image in images])
        assert np.abs(other - expected).max() > 0.1 * largest
    if name in ("alexnet", "alexnet.tf1"):  # nor does the order of pooling and normalization go unseen
        swapped = forward(narrow(name, order=model.order[::-1]), params, images)
        assert np.abs(swapped - expected).max() > 1e-3 * largest


def test_groups_are_two_towers():
    """conv2, conv4 and conv5 are two convolutions, each of one half of the maps, and conv1 and conv3 are one."""
    model = narrow("alexnet", num_classes=None)
    params = random_params(model, 99)
    points: Any = xx.endpoints(model, {"params": params}, jnp.asarray(random_images(99, 99, scales=(50, 50))))

    def conv(x: jax.Array, kernel: jax.Array, pad: int) -> jax.Array:
        layout = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(x, kernel, (1, 1), [(pad, pad)] * 2, dimension_numbers=layout)

    for layer, before, pad in (("conv2", "pool1", 2), ("conv4", "conv3", 1), ("conv5", "conv4", 1)):
        kernels = np.split(params[layer]["kernel"], 2, axis=-1)
        halves = jnp.split(points[before], 2, axis=-1)
        towers = [conv(x, jnp.asarray(kernel), pad) for x, kernel in zip(halves, kernels, strict=True)]
        expected = jnp.maximum(jnp.concatenate(towers, axis=-1) + params[layer]["bias"].reshape(1, 1, 1, -1), 0)
        np.testing.assert_allclose(points[layer], expected, rtol=0, atol=1e-5 * float(expected.max()))
    for layer, before in (("conv1", 3), ("conv3", 16)):
        assert params[layer]["kernel"].shape[2] == before


# ------------------------------------------------------------------------------------------- response normalization


@pytest.mark.parametrize(
    "constants",
    [
        {"k": 2.0, "n": 5, "alpha": 1e-4, "beta": 0.75},
        {"k": 1.0, "n": 9, "alpha": 1e-3 / 9, "beta": 0.75},
        {"k": 0.5, "n": 3, "alpha": 0.3, "beta": 0.4},
    ],
)
def test_response_norm_is_the_papers_sum(constants: Any):
    """TensorFlow's form with radius (n - 1) / 2 is the paper's formula in float64, at the first and last maps too."""
    x = np.random.default_rng(2).normal(0, 20, (2, 3, 4, 11))
    found = local_response_norm(
        jnp.asarray(x, jnp.float32), constants["n"] // 2, constants["k"], constants["alpha"], constants["beta"]
    )
    np.testing.assert_allclose(found, response_norm(x, **constants), rtol=1e-5)  # a power in float32


def test_response_norm_worked_examples():
    """The notes' constants make 96 ones .99925066 (.99958354 at the edge) and tens 9.31012; the paper's 5.83693."""
    ones = jnp.ones((1, 1, 1, 96))
    found = local_response_norm(ones, radius=4, bias=1.0, alpha=1e-3 / 9, beta=0.75)[0, 0, 0]
    np.testing.assert_allclose(found[jnp.array([0, 48])], [0.99958354, 0.99925066], rtol=1e-6)
    found = local_response_norm(10 * ones, radius=4, bias=1.0, alpha=1e-3 / 9, beta=0.75)
    np.testing.assert_allclose(found[0, 0, 0, 48], 9.31012, rtol=1e-6)
    found = local_response_norm(10 * ones, radius=2, bias=2.0, alpha=1e-4, beta=0.75)
    np.testing.assert_allclose(found[0, 0, 0, 48], 5.83693, rtol=1e-6)


# ------------------------------------------------------------------------------------------- the interface


@every_variant
def test_train_changes_no_parameters(name: str):
    """`init` makes the same parameters with train True and False."""
    model, side = xx.create_model(name), xx.model_info(name).input_shape[0]
    assert abstract_params(model, side) == abstract_params(model, side, train=True)


@every_variant
def test_features(name: str):
    """Without classifier there are no dense layers, and the last map is returned, or its mean or maximum."""
    model = narrow(name, num_classes=None)
    params, images = random_params(model, 100), random_images(100, 100)
    assert all(layer.startswith("conv") for layer in params)
    maps = forward(model, params, images)
    assert maps.shape == (2, 2, 2, 16)
    for pooling, function in (("avg", np.mean), ("max", np.max)):
        pooled = forward(narrow(name, num_classes=None, pooling=pooling), params, images)
        np.testing.assert_allclose(pooled, function(maps, axis=(1, 2)), rtol=1e-6)


def test_final_endpoint():
    """A network that ends at an activation has the layers up to it and returns it; an unknown name is an error."""
    whole = narrow("alexnet")
    params, images = random_params(whole, 99), random_images(99, 99, scales=(50, 50))
    points: Any = xx.endpoints(whole, {"params": params}, jnp.asarray(images))
    layers: list[str] = []
    for endpoint in points:
        layers += [endpoint] if endpoint in params else []
        assert list(abstract_params(narrow("alexnet", final_endpoint=endpoint), 99)) == layers
    for endpoint in ("norm2", "fc6"):
        found = forward(narrow("alexnet", final_endpoint=endpoint), params, images)
        np.testing.assert_allclose(found, points[endpoint], rtol=0, atol=1e-5 * float(jnp.abs(points[endpoint]).max()))
    with pytest.raises(ValueError, match="norm5"):
        abstract_params(narrow("alexnet", final_endpoint="norm5"), 99)


SMALLEST = dict.fromkeys(NAMES, 67) | {"alexnet.torchvision": 63}  # backwards from one pixel: 1, 3, 7, 15, 67 or 63
SMALLEST_TO_CLASSIFY = {"alexnet": 227, "alexnet.tf1": 227, "alexnet.xxnet": 227} | {
    "alexnet.slim": 195,
    "alexnet.torchvision": 63,
    "alexnet.notebook": 195,
}


@every_variant
def test_smallest_images(name: str):
    """The smallest image has a last map of one pixel; one less is an error that names the size, with a classifier or
    without; the dense layers of a fixed window need more, and say so."""
    side = SMALLEST[name]
    assert xx.create_model(name).smallest_input() == side
    features = shapes(name, side, side, num_classes=None)
    assert list(features.values())[-1] == (1, 1, 256)
    for height, width in ((side - 1, side - 1), (side, side - 1), (side - 1, 300)):
        with pytest.raises(ValueError, match=rf"smallest size is {side}x{side}\b"):
            shapes(name, height, width, num_classes=None)
    classifier = SMALLEST_TO_CLASSIFY[name]
    assert list(shapes(name, classifier, classifier).values())[-1] == (1000,)
    with pytest.raises(ValueError, match=rf"{classifier}x{classifier}\b"):
        shapes(name, classifier - 1, classifier)


def test_smaller_window():
    """A smaller window, as the error advises, makes the network one for smaller images."""
    assert list(shapes("alexnet", 67, 67, window=1).values())[-1] == (1000,)


def test_map_of_scores():
    """TF-Slim's network as convolutions gives a 4x7 map of scores for 300x400, and one score for 256x256."""
    assert shapes("alexnet.slim", 300, 400, spatial=True)["fc8"] == (4, 7, 1000)
    assert shapes("alexnet.slim", 300, 400)["fc8"] == (1000,)
    assert shapes("alexnet.slim", 256, 256)["pool5"] == (6, 6, 256)


def test_dense_evaluation_is_every_window():
    """On a larger image each score is that of the dense layers on one window of the last map; their mean is the
    result without `spatial`."""
    images = random_images(140, 165, scales=(50, 50))
    model = narrow("alexnet", spatial=True)
    params = random_params(model, 140)
    maps = forward(narrow("alexnet", num_classes=None), params, images)
    assert maps.shape == (2, 3, 4, 16)
    layers = params["fc6"], params["fc7"], params["fc8"]
    expected = np.array([[[dense(m[i : i + 2, j : j + 2], *layers) for j in range(3)] for i in range(2)] for m in maps])
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(forward(model, params, images), expected, rtol=0, atol=tolerance)
    means = forward(narrow("alexnet"), params, images)
    np.testing.assert_allclose(means, expected.mean(axis=(1, 2)), rtol=0, atol=tolerance)


def test_dense_evaluation_is_every_crop():
    """Where no layer pads, the map of scores is the network applied to crops, as far apart as the strides multiply."""
    rows = (Convolution(4, 5, stride=2, groups=1, norm=True, pool=True), Convolution(6, 3, groups=2, pool=True))
    model = AlexNet(num_classes=3, convolutions=rows, dense=(7,), window=1, spatial=True)
    side = model.smallest_input()
    assert side == 25  # 1, 3, 5, 11, 25
    params, images = random_params(model, side), random_images(side + 16, side + 8, scales=(20, 20))
    scores = forward(model, params, images)
    assert scores.shape == (2, 3, 2, 3)
    crops = [images[:, 8 * i : 8 * i + side, 8 * j : 8 * j + side] for i in range(3) for j in range(2)]
    single = forward(model, params, np.concatenate(crops)).reshape(3, 2, 2, 3)
    expected = np.moveaxis(single, 2, 0)
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_adaptive_pooling_takes_any_size():
    """torchvision's variant scores any image by the means of 6x6 regions, and repeats the pixels of a smaller map."""
    model = narrow("alexnet.torchvision")
    params = random_params(model, 63)
    images = random_images(63, 63)
    one_pixel = forward(narrow("alexnet.torchvision", num_classes=None), params, images)
    layers = params["fc6"], params["fc7"], params["fc8"]
    expected = np.array([dense(np.broadcast_to(m, (2, 2, 16)), *layers) for m in one_pixel])
    np.testing.assert_allclose(forward(model, params, images), expected, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------------------------------- knobs


def dropped(name: str, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(at test time, while training, without dropout) of 64 hidden units that the last layer shows as they are."""
    rows = (Convolution(8, 3, stride=2, pool=True),)
    settings: Any = {"convolutions": rows, "dense": (64,), "num_classes": 64, "window": 1, **options}
    model, plain = xx.create_model(name, **settings), xx.create_model(name, **{**settings, "dropout_rate": 0.0})
    random = np.random.default_rng(3)
    params = jax.tree.map(
        lambda leaf: random.uniform(0.01, 0.1, leaf.shape).astype(np.float32), abstract_params(model, 9)
    )
    params["fc3"] = {"kernel": np.eye(64, dtype=np.float32), "bias": np.zeros(64, np.float32)}
    images = np.abs(random_images(9, 9))
    images = np.concatenate([images] * 10)
    training = forward(model, params, images, train=True, rngs={"dropout": jax.random.key(0)})
    return forward(model, params, images), training, forward(plain, params, images)


@pytest.mark.parametrize(("name", "keep"), [("alexnet", 0.5), ("alexnet.xxnet", 0.5), ("alexnet.tf1", 0.25)])
@pytest.mark.parametrize("classic", [False, True])
def test_dropout(name: str, keep: float, classic: bool):
    """The share of units that is kept is the variant's, a quarter in the notes' `.tf1`; kept ones are scaled by its
    inverse, or classically not at all, and then all of them by the share at test time."""
    inference, training, plain = dropped(name, classic_dropout=classic)
    assert (plain > 0).all()
    kept = training != 0
    assert abs(kept.mean() - keep) < 5 * np.sqrt(keep * (1 - keep) / kept.size)  # five standard deviations of a share
    np.testing.assert_allclose(training[kept], plain[kept] / (1 if classic else keep), rtol=1e-5)
    np.testing.assert_allclose(inference, plain * (keep if classic else 1), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "at_fc6"), [("alexnet", False), ("alexnet.slim", False), ("alexnet.torchvision", True)]
)
def test_place_of_dropout(name: str, at_fc6: bool):
    """torchvision drops what the hidden layers get, the others what they give: only its first hidden layer depends on
    the key, every variant's logits do, and both hidden layers have dropout."""
    model = narrow(name)
    params, images = random_params(model, 100), random_images(100, 100)

    def at(endpoint: str | None, key: int) -> np.ndarray:
        rngs = {"dropout": jax.random.key(key)}
        return forward(model.clone(final_endpoint=endpoint), params, images, train=True, rngs=rngs)

    assert np.array_equal(at("fc6", 0), at("fc6", 1)) != at_fc6
    for endpoint in ("fc7", None):
        np.testing.assert_array_equal(at(endpoint, 0), at(endpoint, 0))
        assert not np.array_equal(at(endpoint, 0), at(endpoint, 1))
    with pytest.raises(Exception, match="dropout"):
        jax.eval_shape(lambda x: model.apply({"params": params}, x, train=True), jnp.asarray(images))


@pytest.mark.parametrize(("name", "blind"), [("alexnet", ("fc7", "fc8")), ("alexnet.torchvision", ("fc6", "fc7"))])
def test_both_hidden_layers_have_dropout(name: str, blind: tuple[str, ...]):
    """If all units are dropped, just the two layers behind a dropout have but their biases to go by."""
    model = narrow(name, dropout_rate=1.0)
    params = random_params(model, 100)
    rngs = {"dropout": jax.random.key(0)}
    images = random_images(100, 100)
    _, state = forward(model, params, images, train=True, rngs=rngs, mutable=["intermediates"])
    found = state["intermediates"]["endpoints"]
    for layer in ("fc6", "fc7", "fc8"):
        bias = params[layer]["bias"]
        only_bias = np.broadcast_to(bias if layer == "fc8" else np.maximum(bias, 0), found[layer].shape)
        assert np.array_equal(found[layer], only_bias) == (layer in blind), layer


def test_one_convolution_is_missing_in_the_notebook():
    """The notebook's rows are XXNet's without the second of 384 maps (quirk 3 of the notes)."""
    ours: Any = xx.create_model("alexnet.notebook")
    complete: Any = xx.create_model("alexnet.xxnet")
    assert ours.convolutions == complete.convolutions[:3] + complete.convolutions[4:]
    assert [row.features for row in complete.convolutions] == [96, 256, 384, 384, 256]


@pytest.mark.parametrize(("activation", "low", "high"), [("tanh", -1, 1), ("sigmoid", 0, 1)])
def test_saturating_activations(activation: Any, low: float, high: float):
    """tanh and the sigmoid replace the ReLU of every layer but the last."""
    model = narrow("alexnet.xxnet", activation=activation)
    variables = {"params": random_params(model, 99)}
    points = xx.endpoints(model, variables, jnp.asarray(random_images(99, 99, scales=(5, 5))))
    *hidden, logits = (np.asarray(x) for name, x in points.items() if not name.startswith("pool"))
    for x in hidden:
        assert low <= x.min() < (low + high) / 2 < x.max() <= high
    assert np.abs(logits).max() > 1


def test_pools_without_overlap():
    """A window of 2 leaves the overlap out: 55 pixels become 27, and each pixel counts once."""
    assert shapes("alexnet", 227, 227, pool_window=2)["pool1"] == (27, 27, 96)
    model = narrow("alexnet", pool_window=2, num_classes=None, final_endpoint="pool1")
    params, images = random_params(model, 99), random_images(99, 99)
    before = forward(narrow("alexnet", num_classes=None, final_endpoint="norm1"), params, images)[:, :22, :22]
    expected = before.reshape(2, 11, 2, 11, 2, 6).max(axis=(2, 4))
    np.testing.assert_allclose(forward(model, params, images), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "spread", "dense_spread", "biases"),
    [
        ("alexnet", 0.01, 0.01, {"conv2": 1, "conv4": 1, "conv5": 1, "fc6": 1, "fc7": 1}),
        ("alexnet.tf1", 0.1 * 0.8796, 0.1 * 0.8796, {}),  # the deviation of a normal cut at two deviations
        ("alexnet.xxnet", 0.1 / np.sqrt(12), np.sqrt(2 / (64 + 256)), {}),
        (
            "alexnet.slim",
            np.sqrt(2 / (9 * 48)),
            0.005 * 0.8796,
            {f"{layer}": 0.1 for layer in ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7")},
        ),
        ("alexnet.torchvision", np.sqrt(1 / (3 * 9 * 24)), np.sqrt(1 / (3 * 64)), None),
        ("alexnet.notebook", np.sqrt(2 / (9 * (24 + 16))), np.sqrt(2 / (64 + 256)), {}),
    ],
)
def test_initialization(name: str, spread: float, dense_spread: float, biases: dict[str, float] | None):
    """Kernels start with the deviation of the variant's code, biases at its constants."""
    params = initialized(narrow(name, dense=(256, 256)), 99)["params"]
    hidden = next(layer for layer in params if layer.startswith("fc"))
    for layer, deviation in (("conv4", spread), (hidden, dense_spread)):
        kernel = np.asarray(params[layer]["kernel"], np.float64)
        # The relative error of a deviation of n numbers is at most 1 / sqrt(2 n), less for bounded ones: 5 of it.
        np.testing.assert_allclose(kernel.std(), deviation, rtol=5 / np.sqrt(2 * kernel.size), err_msg=layer)
    if biases is not None:
        for layer in params:
            np.testing.assert_array_equal(params[layer]["bias"], np.float32(biases.get(layer, 0.0)), err_msg=layer)
    else:  # PyTorch: uniform in +-1 / sqrt(fan-in), for biases as for kernels
        for layer in params.values():
            limit = np.prod(layer["kernel"].shape[:-1]) ** -0.5
            assert np.abs(layer["kernel"]).max() <= limit
            assert 0 < np.abs(layer["bias"]).max() <= limit
        bias = np.asarray(params["fc6"]["bias"]) * 8  # 64 inputs
        assert abs(bias.mean()) < 5 / np.sqrt(3 * 256)
        np.testing.assert_allclose(np.abs(bias).mean(), 0.5, atol=5 / np.sqrt(12 * 256))


def test_unknown_initialization():
    """An initialization that the family does not have is an error that suggests one."""
    with pytest.raises(ValueError, match=r"initialization 'papers'.*did you mean paper"):
        abstract_params(xx.create_model("alexnet", initialization="papers"), 227)


# ------------------------------------------------------------------------------------------- numbers


@pytest.mark.parametrize("name", ["alexnet", "alexnet.tf1", "alexnet.torchvision"])
def test_bfloat16(name: str):
    """In bfloat16 activations are bfloat16, logits float32, and near those of float32."""
    model = narrow(name)
    params, images = random_params(model, 100), random_images(100, 100)
    exact = forward(model, params, images)
    half = forward(narrow(name, dtype=jnp.bfloat16), params, images)
    assert half.dtype == np.float32
    assert not np.array_equal(half, exact)
    # A rounding is 2^-9 of a value; eight layers of partly cancelling sums make it a few percent of the largest.
    np.testing.assert_allclose(half, exact, rtol=0, atol=0.05 * np.abs(exact).max())
    pool5 = jax.eval_shape(
        lambda x: narrow(name, dtype=jnp.bfloat16, final_endpoint="pool5").apply({"params": params}, x, train=False),
        jnp.asarray(images),
    )
    assert pool5.dtype == jnp.bfloat16


@every_variant
def test_every_parameter_has_a_gradient(name: str):
    """While training, the gradient of a loss is finite and not all zero for every parameter array."""
    model = narrow(name, dense=(32, 32))
    assert_every_parameter_learns(model, {"params": random_params(model, 100)}, random_images(100, 100))
