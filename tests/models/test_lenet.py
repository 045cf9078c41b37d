"""LeNet-5 and its variants, against the paper written down in float64 NumPy and SciPy."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate
from scipy.spatial.distance import cdist, pdist
from zoo import abstract_init, abstract_output, images_of

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.lenet import TableConv, rbf_codes

# Table I as the paper prints it: a row for each map of S2, a column for each map of C3.
TABLE_1 = """
    X...XXX..XXXX.XX
    XX...XXX..XXXX.X
    XXX...XXX..X.XXX
    .XXX..XXXX..X.XX
    ..XXX..XXXX.XX.X
    ...XXX..XXXX.XXX
"""
SEES = np.array([[mark == "X" for mark in row] for row in TABLE_1.split()])  # [maps of S2, maps of C3]

IMAGES = np.random.default_rng(0).normal(0, 1, (3, 32, 32, 1))


def random_params(name: str, side: int = 32, num_classes: int = 10) -> Any:
    """Random parameters, biases too, of a size that keeps sums of every layer near one."""
    shapes = abstract_init(xx.create_model(name, num_classes=num_classes), images_of(side, side, 1))["params"]
    random = np.random.default_rng(1)

    def draw(leaf: Any) -> np.ndarray:
        fan_in = {1: 4, 2: leaf.shape[0], 3: 100}.get(leaf.ndim, np.prod(leaf.shape[:-1]))
        return random.normal(0, 1 / np.sqrt(fan_in), leaf.shape).astype(np.float32)

    return jax.tree.map(draw, shapes)


def forward(name: str, params: Any, images: np.ndarray, **arguments: Any) -> np.ndarray:
    model = xx.create_model(name, num_classes=arguments.pop("num_classes", 10))
    inputs = jnp.asarray(images, jnp.float32)
    return np.asarray(jax.jit(lambda p, x: model.apply({"params": p}, x, train=False, **arguments))(params, inputs))


# ------------------------------------------------------------------------------------------- the paper in NumPy
# Maps come first here, as in the paper: an image is [maps, rows, columns].


def convolution(maps: np.ndarray, kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Each output map is its bias plus the sum of all input maps' 5x5 correlations; kernel [5, 5, inputs, outputs]."""
    outputs = [
        bias[o] + sum(correlate(maps[i], kernel[:, :, i, o], mode="valid") for i in range(len(maps)))
        for o in range(len(bias))
    ]
    return np.stack(outputs)


def sum_of_four(maps: np.ndarray) -> np.ndarray:
    """The sum of each 2x2 block of pixels."""
    return maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]


def lenet5(params: Any, image: np.ndarray) -> np.ndarray:
    """Figure 2 with full connections, means of four pixels, tanh, and a linear output."""
    maps = image.transpose(2, 0, 1)
    for layer in ("C1", "C3"):
        maps = sum_of_four(np.tanh(convolution(maps, **params[layer]))) / 4
    c5 = np.tanh(convolution(maps, **params["C5"])).ravel()
    f6 = np.tanh(c5 @ params["F6"]["kernel"] + params["F6"]["bias"])
    return f6 @ params["output"]["kernel"] + params["output"]["bias"]


def lenet5_1998(params: Any, image: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Figure 2, Table I, equations 5 to 7: the negated squared distance of F6 to each class's code."""

    def squash(a: np.ndarray) -> np.ndarray:
        return 1.7159 * np.tanh(2 / 3 * a)

    def subsampling(maps: np.ndarray, coefficient: np.ndarray, bias: np.ndarray) -> np.ndarray:
        return squash(sum_of_four(maps) * coefficient[:, None, None] + bias[:, None, None])

    s2 = subsampling(squash(convolution(image.transpose(2, 0, 1), **params["C1"])), **params["S2"])
    # The 60 kernels lie in the order of the columns of Table I, each column from the first map of S2 to the last.
    kernels = iter(np.moveaxis(params["C3"]["kernel"], -1, 0))
    c3 = np.stack(
        [
            params["C3"]["bias"][o] + sum(correlate(s2[i], next(kernels), mode="valid") for i in np.flatnonzero(column))
            for o, column in enumerate(SEES.T)
        ]
    )
    s4 = subsampling(squash(c3), **params["S4"])
    c5 = squash(convolution(s4, **params["C5"])).ravel()
    f6 = squash(c5 @ params["F6"]["kernel"] + params["F6"]["bias"])
    return np.array([-sum((f6 - code) ** 2) for code in codes])


@pytest.mark.parametrize("name", ["lenet5", "lenet5.1998"])
def test_forward_is_the_papers(name: str):
    """Logits equal a transcription of the paper, layer by layer, in float64."""
    params = random_params(name)
    exact = jax.tree.map(np.float64, params)
    images = IMAGES.astype(np.float32).astype(np.float64)  # what the network sees
    if name == "lenet5":
        expected = np.stack([lenet5(exact, image) for image in images])
    else:
        expected = np.stack([lenet5_1998(exact, image, rbf_codes(10, 84)) for image in images])
    found = forward(name, params, IMAGES)
    assert np.abs(expected - expected.mean()).max() > 0.1  # the images and the classes differ
    # Seven layers of float32 sums of up to 400 terms near one: some 1e-6 of the largest logit.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


# ------------------------------------------------------------------------------------------- parameters

LAYERS = {
    "lenet5": {"C1": 156, "C3": 2_416, "C5": 48_120, "F6": 10_164, "output": 850},
    "lenet5.1998": {"C1": 156, "S2": 12, "C3": 1_516, "S4": 32, "C5": 48_120, "F6": 10_164},
    "lenet5.notebook": {"conv1": 156, "conv2": 2_416, "dense1": 512_500, "logits": 5_010},
    "lenet5.xxnet": {"conv2d": 832, "conv2d_1": 51_264, "dense": 102_500, "dense_1": 1_010},
    "lenet5.tf1": {"layer1_conv1": 832, "layer3_conv2": 51_264, "layer5_fc1": 1_606_144, "layer6_fc2": 5_130},
    "lenet5.slim": {"conv1": 832, "conv2": 51_264, "fc3": 3_212_288, "Logits": 10_250},
}
TOTALS = {
    "lenet5": 61_706,
    "lenet5.1998": 60_000,
    "lenet5.notebook": 520_082,
    "lenet5.xxnet": 155_606,
    "lenet5.tf1": 1_663_370,
    "lenet5.slim": 3_274_634,
}
# By the arithmetic of each variant's convolutions and pools, backwards from one pixel.
SMALLEST = {
    "lenet5": 32,
    "lenet5.1998": 32,
    "lenet5.notebook": 4,
    "lenet5.xxnet": 16,
    "lenet5.tf1": 1,
    "lenet5.slim": 4,
}
FEATURES = {
    "lenet5": (1, 1, 120),
    "lenet5.1998": (1, 1, 120),
    "lenet5.notebook": (8, 8, 16),
    "lenet5.xxnet": (4, 4, 64),
    "lenet5.tf1": (7, 7, 64),
    "lenet5.slim": (7, 7, 64),
}


def abstract(name: str, shape: tuple[int, ...] | None = None, **options: Any) -> tuple[Any, Any]:
    """(parameters, output) of the network on images [2, *shape], as shapes and dtypes."""
    model, images = xx.create_model(name, **options), images_of(*(shape or xx.model_info(name).input_shape))
    return abstract_init(model, images)["params"], abstract_output(model, images)


@pytest.mark.parametrize("name", LAYERS)
def test_parameters_per_layer(name: str):
    """Each layer has the parameters that the paper or the notes print, and they add up to the published total."""
    params, _ = abstract(name)
    assert {layer: count_parameters(tree) for layer, tree in params.items()} == LAYERS[name]
    assert sum(LAYERS[name].values()) == TOTALS[name]


@pytest.mark.parametrize("name", FEATURES)
def test_feature_shapes(name: str):
    """Features have the published shape of the last feature map, and pooled they are a vector of its maps."""
    assert abstract(name, num_classes=None)[1].shape == (2, *FEATURES[name])
    for pooling in ("avg", "max"):
        assert abstract(name, num_classes=None, pooling=pooling)[1].shape == (2, FEATURES[name][-1])


@pytest.mark.parametrize("name", SMALLEST)
def test_smallest_images(name: str):
    """The smallest image gives one pixel before the classifier, and one pixel less is an error that names it."""
    side = SMALLEST[name]
    assert abstract(name, (side, side, 2), num_classes=None)[1].shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=rf"smallest size is {side}x{side}\b"):
        abstract(name, (side - 1, side, 2))


@pytest.mark.parametrize("name", ["lenet5", "lenet5.1998", "lenet5.xxnet"])
def test_larger_and_oblong_images(name: str):
    """Images of other sizes and channels work, with the feature map that valid convolutions and pools give."""
    height, width = 48, 41
    for _ in range(2):
        height, width = (height - 4) // 2, (width - 4) // 2
    if name != "lenet5.xxnet":
        height, width = height - 4, width - 4
    assert abstract(name, (48, 41, 3), num_classes=None)[1].shape == (2, height, width, FEATURES[name][-1])
    assert abstract(name, (48, 41, 3))[1].shape == (2, 10)


# ------------------------------------------------------------------------------------------- the network of 1998


def test_table_1():
    """The table has 60 connections, each map of S2 in 10 of them, and columns of 3, 4 and 6 maps as in the paper."""
    assert SEES.sum() == 60
    np.testing.assert_array_equal(SEES.sum(axis=1), 10)
    np.testing.assert_array_equal(SEES.sum(axis=0), [3] * 6 + [4] * 9 + [6])


def test_c3_sees_what_table_1_says():
    """When one map of S2 is changed, exactly those maps of C3 change that Table I connects with it."""
    random = np.random.default_rng(2)
    layer = TableConv()
    params = {
        "kernel": jnp.asarray(random.normal(size=(5, 5, 60)), jnp.float32),
        "bias": jnp.asarray(random.normal(size=16), jnp.float32),
    }
    s2 = random.normal(size=(14, 14, 6))
    changed = np.stack([s2, *(s2 + 10 * np.eye(6)[i] for i in range(6))])
    c3 = np.asarray(layer.apply({"params": params}, jnp.asarray(changed, jnp.float32)))
    assert c3.shape == (7, 10, 10, 16)
    # Zeros in a dense kernel add exact zeros: maps that are not connected do not change at all.
    np.testing.assert_array_equal(np.any(c3[1:] != c3[0], axis=(1, 2)), SEES)


def test_c3_starts_within_the_papers_range():
    """Initial weights are uniform in +-2.4 / fan-in, with the fan-in of each map by Table I, and biases are zero."""
    params: Any = TableConv().init(jax.random.key(0), jnp.zeros((1, 14, 14, 6)))["params"]
    assert params["kernel"].shape == (5, 5, 60)
    assert not params["bias"].any()
    relative = np.abs(params["kernel"]) * 25 * np.repeat(SEES.sum(axis=0), SEES.sum(axis=0)) / 2.4
    assert relative.max() <= 1 + 1e-6
    # A uniform magnitude has mean 1/2: five standard deviations of the mean of the 25 weights of a kernel.
    assert np.all(np.abs(relative.mean(axis=(0, 1)) - 0.5) < 5 / np.sqrt(12 * 25))


def test_dense_layers_start_within_the_papers_range():
    """F6 starts uniform in +-2.4 / 120: its range is filled, and not exceeded."""
    model = xx.create_model("lenet5.1998")
    kernel = np.asarray(model.dense_init(jax.random.key(0), (120, 84), jnp.float32))  # type: ignore[attr-defined]
    assert 0.99 * 2.4 / 120 < np.abs(kernel).max() <= 2.4 / 120 * (1 + 1e-6)
    assert abs(kernel.mean()) < 5 * 2.4 / 120 / np.sqrt(3 * kernel.size)  # five standard deviations of a uniform mean


@pytest.mark.parametrize("num_classes", [2, 7, 10, 26])
def test_codes(num_classes: int):
    """The centres of the output units are +1 and -1, a different pattern for each class, the same in every run."""
    codes = rbf_codes(num_classes, 84)
    assert codes.shape == (num_classes, 84)
    np.testing.assert_array_equal(np.abs(codes), 1)
    assert pdist(codes, "hamming").min() > 0
    np.testing.assert_array_equal(codes, rbf_codes(num_classes, 84))


def test_digits_look_like_digits():
    """As 12 rows of 7 dots, each code fills the rows from the first to the base line, a row above the last; 0 is the
    same mirrored and upside down, 8 is the same mirrored, and 7 has the fewest dots."""
    bitmaps = rbf_codes(10, 84).reshape(10, 12, 7) > 0
    assert not bitmaps[:, 11].any()
    assert bitmaps[:, (0, 10)].any(axis=2).all()
    digits = bitmaps[:, :11]
    np.testing.assert_array_equal(digits[0], digits[0, :, ::-1])
    np.testing.assert_array_equal(digits[0], digits[0, ::-1])
    np.testing.assert_array_equal(digits[8], digits[8, :, ::-1])
    assert digits.sum(axis=(1, 2)).argmin() == 7


@pytest.mark.parametrize("num_classes", [7, 10])
def test_logits_are_negated_squared_distances(num_classes: int):
    """Each logit is minus the squared Euclidean distance between the units of F6 and the class's code."""
    model = xx.create_model("lenet5.1998", num_classes=num_classes)
    variables = {"params": random_params("lenet5.1998", num_classes=num_classes)}
    points = xx.endpoints(model, variables, jnp.asarray(IMAGES, jnp.float32))
    expected = -cdist(np.float64(points["F6"]), rbf_codes(num_classes, 84), "sqeuclidean")
    assert expected.shape == (3, num_classes)
    np.testing.assert_allclose(points["output"], expected, rtol=1e-5)  # a float32 sum of 84 positive terms


def test_a_code_in_f6_is_that_digit():
    """Weighted sums of +-1 pass f unchanged, since f(1) = 1: with a digit's code as the biases of F6 its logit is 0 and
    each other digit's is minus 4 for each dot in which the bitmaps differ."""
    codes = rbf_codes(10, 84)
    params = random_params("lenet5.1998")
    model = xx.create_model("lenet5.1998")

    @jax.jit
    def logits_with(bias: jax.Array) -> Any:
        f6 = {"kernel": jnp.zeros((120, 84)), "bias": bias}
        return model.apply({"params": params | {"F6": f6}}, jnp.asarray(IMAGES[:1], jnp.float32), train=False)

    for code in codes:
        # 1.7159 tanh(2/3) is 1 to 5e-6; a distance has up to 84 terms of 4 units.
        expected = -4 * np.sum(codes != code, axis=1)
        np.testing.assert_allclose(logits_with(jnp.asarray(code, jnp.float32))[0], expected, atol=1e-2)


# ------------------------------------------------------------------------------------------- training mode


@pytest.mark.parametrize("name", ["lenet5.tf1", "lenet5.slim"])
def test_dropout_acts_only_in_training(name: str):
    """While training the logits depend on the dropout key and on it alone; in inference no key is needed."""
    model = xx.create_model(name, dense=(64,))  # fewer units, the same path
    images = jnp.asarray(IMAGES[:, :28, :28], jnp.float32)
    shapes = abstract_init(model, images_of(28, 28, 1))
    random = np.random.default_rng(3)
    variables = jax.tree.map(lambda leaf: jnp.asarray(random.normal(0, 0.1, leaf.shape), jnp.float32), shapes)
    variables = {"params": variables["params"]}

    @jax.jit
    def training(key: jax.Array) -> Any:
        return model.apply(variables, images, train=True, rngs={"dropout": key})

    inference: Any = jax.jit(lambda x: model.apply(variables, x, train=False))(images)
    first, again, second = (training(jax.random.key(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.all(np.any(first != second, axis=1))
    assert np.all(np.any(first != inference, axis=1))
    with pytest.raises(Exception, match="dropout"):
        jax.eval_shape(lambda x: model.apply(variables, x, train=True), images)


def test_dropout_halves_and_doubles_the_hidden_units():
    """With the last layer as the identity, half of the logits are zero while training and the others twice as large."""
    model = xx.create_model("lenet5.tf1", num_classes=64, dense=(64,))
    images = jnp.asarray(IMAGES[:, :8, :8], jnp.float32)
    random = np.random.default_rng(4)
    shapes = abstract_init(model, images_of(8, 8, 1))["params"]
    params = jax.tree.map(lambda leaf: jnp.asarray(random.uniform(0.01, 0.1, leaf.shape), jnp.float32), shapes)
    params["layer6_fc2"] = {"kernel": jnp.eye(64), "bias": jnp.zeros(64)}
    rngs = {"dropout": jax.random.key(0)}

    @jax.jit
    def both(x: jax.Array) -> tuple[Any, Any]:
        return tuple(model.apply({"params": params}, x, train=train, rngs=rngs) for train in (False, True))  # type: ignore[return-value]

    inference, training = (np.asarray(array) for array in both(images))
    kept = training != 0
    assert (inference > 0).all()  # no unit is zero by itself
    np.testing.assert_allclose(training[kept], 2 * inference[kept], rtol=1e-5)  # the same sums, compiled apart
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / np.sqrt(kept.size)  # five standard deviations of a share


@pytest.mark.parametrize("name", ["lenet5", "lenet5.1998", "lenet5.xxnet", "lenet5.notebook"])
def test_no_dropout_elsewhere(name: str):
    """The variants without dropout compute the same in training and in inference, and need no key."""
    model = xx.create_model(name)
    variables = {"params": random_params(name)}
    images = jnp.asarray(IMAGES, jnp.float32)
    program = [str(jax.make_jaxpr(lambda x, t=t: model.apply(variables, x, train=t))(images)) for t in (True, False)]
    assert program[0] == program[1]


def test_initializers(initial_variables: Callable[[str], Any]):
    """Initial biases and the spread of initial weights are those of each variant's published code."""
    spread = {
        # (layer, standard deviation of the kernel, bias)
        "lenet5.tf1": [("layer5_fc1", 0.1 * 0.8796, 0.1), ("layer1_conv1", 0.1 * 0.8796, 0.0)],
        "lenet5.slim": [("fc3", 0.1 * 0.8796, 0.0), ("conv2", 0.1 * 0.8796, 0.0)],
        "lenet5.xxnet": [("conv2d_1", 0.1 / np.sqrt(12), 0.0), ("dense", np.sqrt(2 / (1024 + 100)), 0.0)],
        "lenet5.notebook": [("dense1", np.sqrt(2 / (1024 + 500)), 0.0), ("conv2", np.sqrt(2 / (25 * 22)), 0.0)],
        "lenet5": [("F6", np.sqrt(1 / 120), 0.0), ("C5", np.sqrt(1 / 400), 0.0)],
    }
    for name, layers in spread.items():
        params = initial_variables(name)["params"]
        for layer, deviation, bias in layers:
            kernel = np.asarray(params[layer]["kernel"], np.float64)
            # The relative error of a deviation of n numbers is at most 1 / sqrt(2 n), less for bounded ones: 5 of it.
            np.testing.assert_allclose(kernel.std(), deviation, rtol=5 / np.sqrt(2 * kernel.size), err_msg=layer)
            np.testing.assert_array_equal(params[layer]["bias"], np.float32(bias))


# ------------------------------------------------------------------------------------------- batch normalization


@pytest.mark.parametrize(("activation", "inverse"), [("sigmoid", lambda y: np.log(y / (1 - y))), ("tanh", np.arctanh)])
def test_batch_normalization_before_activations(activation: str, inverse: Callable[[np.ndarray], np.ndarray]):
    """While training, what every activation gets has mean 0 and deviation 1 over batch and map; four layers have
    a scale and a bias for each of their 6, 16, 120 and 84 features more."""
    model = xx.create_model("lenet5", activation=activation, batch_norm=True)
    images = jnp.asarray(np.random.default_rng(0).normal(0, 1, (16, 32, 32, 1)), jnp.float32)
    variables = jax.jit(lambda key: model.init(key, images, train=False))(jax.random.key(0))
    assert count_parameters(variables["params"]) == 61_706 + 2 * (6 + 16 + 120 + 84)
    train: Any = jax.jit(lambda v: model.apply(v, images, train=True, mutable=True))
    points = train(variables)[1]["intermediates"]["endpoints"]
    for name in ("C1", "C3", "C5", "F6"):
        inputs = inverse(np.asarray(points[name], np.float64))
        axes = tuple(range(inputs.ndim - 1))
        np.testing.assert_allclose(inputs.mean(axes), 0, atol=1e-3)  # float32, and the inverse near its ends
        # less than 1 by the epsilon of 1e-3 that is added to variances of .002 and more
        assert (inputs.std(axes) <= 1 + 1e-3).all()
        assert (inputs.std(axes) > 0.8).all()
