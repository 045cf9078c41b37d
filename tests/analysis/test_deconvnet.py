"""Deconvnet, guided backpropagation, saliency and Grad-CAM against NumPy in float64, gradients and formulas."""

import functools
from collections.abc import Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax as xx
from xxnet_jax.analysis.attributions import grad_cam, guided_backpropagation, saliency
from xxnet_jax.analysis.backward import Rule
from xxnet_jax.analysis.deconvnet import project, strongest
from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models import Network
from xxnet_jax.models.layers import Conv, Stages, avg_pool, local_response_norm, max_pool, spatial_mean


@pytest.fixture(autouse=True)
def _double() -> Iterator[None]:
    """Float64, so that equal means equal."""
    with jax.enable_x64(True):
        yield


class Chain(Network):
    """Convolutions of 3x3 without padding, ReLUs and pools without overlap; knobs leave parts out."""

    rectify: bool = True
    pool: bool = True
    normalize: bool = False
    window: int = 2
    num_classes: int | None = 4

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        options: Any = {"padding": "VALID", **self.dtypes}
        for number, width in enumerate((5, 6), start=1):
            x = Conv(width, (3, 3), name=f"conv{number}", **options)(x)
            yield f"conv{number}", (x := nn.relu(x) if self.rectify else x)
            if self.normalize:
                yield f"norm{number}", (x := local_response_norm(x, 1, 2.0, 1.0, 0.75))
            if self.pool:
                yield f"pool{number}", (x := max_pool(x, self.window, 2))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "logits", nn.Dense(self.num_classes or 0, **self.dtypes, name="logits")(spatial_mean(x))

    def smallest_input(self) -> int:
        return 10


SHAPE = (3, 14, 14, 2)


def made(**knobs: Any) -> tuple[Chain, Any, jax.Array]:
    """The network with random weights and biases, and images, in float64."""
    model = Chain(dtype=jnp.float64, param_dtype=jnp.float64, **knobs)
    random = np.random.default_rng(0)
    images = jnp.asarray(random.normal(size=SHAPE))
    variables: Any = model.init(jax.random.key(0), images, train=False)

    def drawn(leaf: jax.Array) -> jax.Array:
        values = random.normal(size=leaf.shape)
        return jnp.asarray(np.abs(values) if leaf.ndim == 1 else values)  # no feature is dead

    return model, jax.tree.map(drawn, variables), images


# --- The network once more, in NumPy ----------------------------------------------------------------------------------


def conv(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x [batch, height, width, in], kernel [3, 3, in, out], unpadded."""
    windows = np.lib.stride_tricks.sliding_window_view(x, (3, 3), (1, 2))  # batch, rows, columns, in, 3, 3
    return np.einsum("brcihw,hwio->brco", windows, kernel)


def transposed_conv(y: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """With the filters turned by 180 degrees, of the padded map (section 2.1, "Filtering")."""
    padded = np.pad(y, ((0, 0), (2, 2), (2, 2), (0, 0)))
    return conv(padded, np.swapaxes(kernel[::-1, ::-1], 2, 3))


def pool_with_switches(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """2x2: the maxima, and True where each was."""
    batch, rows, columns, features = x.shape
    rows, columns = rows // 2, columns // 2
    cells = x[:, : 2 * rows, : 2 * columns].reshape(batch, rows, 2, columns, 2, features)
    cells = cells.transpose(0, 1, 3, 5, 2, 4).reshape(batch, rows, columns, features, 4)
    return cells.max(-1), cells.argmax(-1)[..., None] == np.arange(4)


def unpooled(y: np.ndarray, switches: np.ndarray, size: int) -> np.ndarray:
    batch, rows, columns, features = y.shape
    cells = np.where(switches, y[..., None], 0).reshape(batch, rows, columns, features, 2, 2)
    x = cells.transpose(0, 1, 4, 2, 5, 3).reshape(batch, 2 * rows, 2 * columns, features)
    rest = size - x.shape[1]
    return np.pad(x, ((0, 0), (0, rest), (0, rest), (0, 0)))


def deconvnet_of_numpy(variables: Any, images: np.ndarray, feature: int, rule: str) -> np.ndarray:
    """The strongest unit of a feature of pool2, projected."""
    params = jax.tree.map(np.asarray, variables["params"])
    rectified, switches, sizes = [], [], []
    x = images
    for layer in ("conv1", "conv2"):
        x = np.maximum(conv(x, params[layer]["kernel"]) + params[layer]["bias"], 0)
        rectified.append(x > 0)
        sizes.append(x.shape[1])
        x, places = pool_with_switches(x)
        switches.append(places)
    signal = np.zeros_like(x)
    for number, image in enumerate(x):
        row, column = np.unravel_index(image[..., feature].argmax(), image.shape[:2])
        signal[number, row, column, feature] = image[row, column, feature]
    for number, layer in reversed([*enumerate(("conv1", "conv2"))]):
        signal = np.maximum(unpooled(signal, switches[number], sizes[number]), 0)
        signal = signal * rectified[number] if rule == "guided" else signal
        signal = transposed_conv(signal, params[layer]["kernel"])
    return signal


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
@pytest.mark.parametrize("feature", [0, 1])
def test_numpy(rule: Rule, feature: int):
    """Unpooling by switches, rectification, transposed filters, written out; guided: also where it was positive."""
    model, variables, images = made()
    found = project(model, variables, images, "pool2", [feature] * len(images), rule=rule)
    expected = deconvnet_of_numpy(variables, np.asarray(images), feature, rule)
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def strongest_unit(activation: jax.Array) -> jax.Array:
    """1 at the strongest unit of each image."""
    flat = activation.reshape(len(activation), -1)
    return jax.nn.one_hot(flat.argmax(1), flat.shape[1], dtype=activation.dtype).reshape(activation.shape)


@pytest.mark.parametrize("pool", [True, False])
def test_projection_is_the_gradient_without_relus(pool: bool):
    """Of the activation, times the activation; with pools whose windows do not overlap."""
    model, variables, images = made(rectify=False, pool=pool)
    endpoint = "pool2" if pool else "conv2"

    def activation(images: jax.Array) -> jax.Array:
        return xx.endpoints(model, variables, images)[endpoint]

    value, back = jax.vjp(activation, images)
    (gradient,) = back(strongest_unit(value) * value)
    np.testing.assert_allclose(project(model, variables, images, endpoint), gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["gradient", "deconvnet", "guided"])
def test_switches_put_activations_back(rule: Rule):
    """Of a network that only pools, a projection has the pixel that was the maximum, and nothing else."""

    class Pools(Chain):
        def features(self, x: jax.Array, *, train: bool) -> Stages:
            yield "pool1", (x := max_pool(x, 2))
            yield "pool2", max_pool(x, 2)

    images = jnp.asarray(np.random.default_rng(1).uniform(1, 2, (3, 12, 12, 2)))
    model = Pools(dtype=jnp.float64, num_classes=None)
    found = np.asarray(project(model, {}, images, "pool2", rule=rule))
    for image, projection in zip(np.asarray(images), found, strict=True):
        where = np.unravel_index(image.argmax(), image.shape)
        assert projection[where] == image.max()
        assert np.count_nonzero(projection) == 1


def test_overlapping_windows_add():
    """A pixel that is the maximum of several windows gets the sum of their signals, as in the gradient."""
    model, variables, images = made(rectify=False, window=3)

    def activation(images: jax.Array) -> jax.Array:
        return xx.endpoints(model, variables, images)["pool2"]

    value, back = jax.vjp(activation, images)
    (gradient,) = back(strongest_unit(value) * value)
    np.testing.assert_allclose(project(model, variables, images, "pool2"), gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("rule", ["deconvnet", "guided"])
def test_normalization_is_passed(rule: Rule):
    """The signal passes local response normalization as it is: from the strongest unit of a normalized feature only the
    transposed filters of that feature are between it and the pixels."""
    model, variables, images = made(pool=False, normalize=True)
    feature = 2
    activation = np.asarray(xx.endpoints(model, variables, images)["norm1"])
    signal = np.zeros_like(activation)
    for number, image in enumerate(activation):
        row, column = np.unravel_index(image[..., feature].argmax(), image.shape[:2])
        signal[number, row, column, feature] = image[row, column, feature]
    assert signal.max() > 0
    expected = transposed_conv(signal, np.asarray(variables["params"]["conv1"]["kernel"]))
    found = project(model, variables, images, "norm1", [feature] * len(images), rule=rule)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_strongest():
    """The nine best of all images and their units, in any division into batches; against a sort of everything."""
    model, variables, _ = made()
    images = jnp.asarray(np.random.default_rng(2).normal(size=(40, *SHAPE[1:])))
    activation = np.asarray(xx.endpoints(model, variables, images)["conv2"])
    features = (1, 4)
    best = activation.reshape(40, -1, 6).max(1).T[list(features)]
    expected = np.argsort(-best, axis=1)[:, :9]
    for size in (40, 16):
        batches = [images[i : i + size] for i in range(0, 40, size)]
        found = strongest(model, variables, batches, "conv2", features)
        np.testing.assert_array_equal(found.images, expected)
        for feature, numbers, values, rows, columns in zip(features, *found, strict=True):
            np.testing.assert_allclose(activation[numbers, rows, columns, feature], values, rtol=1e-6)


def test_fewer_images_than_asked_for():
    model, variables, images = made()
    found = strongest(model, variables, [images], "pool1", (0,))
    assert (found.images[0, len(images) :] == -1).all()


def test_saliency_of_a_linear_network():
    """Is the size of its weights, the largest over the channels."""

    class Linear(Chain):
        def features(self, x: jax.Array, *, train: bool) -> Stages:
            yield "flat", x.reshape(len(x), 1, 1, -1)

    model = Linear(dtype=jnp.float64, param_dtype=jnp.float64)
    _, _, images = made()
    variables: Any = model.init(jax.random.key(0), images, train=False)
    kernel = np.asarray(variables["params"]["logits"]["kernel"]).reshape(*SHAPE[1:], 4)
    found = saliency(model, variables, images, jnp.array([0, 3, 1]))
    np.testing.assert_allclose(found, np.abs(kernel[..., [0, 3, 1]]).max(2).transpose(2, 0, 1), rtol=1e-12)


def test_guided_backpropagation_of_the_predicted_class():
    """Without a class it is the predicted one; where no signal is negative and all is active, it is the gradient."""
    model, variables, images = made()
    classes = model.apply(variables, images, train=False).argmax(-1)  # type: ignore[union-attr]
    np.testing.assert_array_equal(
        guided_backpropagation(model, variables, images), guided_backpropagation(model, variables, images, classes)
    )
    positive: Any = jax.tree.map(jnp.abs, variables)
    inputs = jnp.abs(images)
    gradient = jax.grad(lambda x: model.apply(positive, x, train=False)[:, 1].sum())(inputs)  # type: ignore[index]
    found = guided_backpropagation(model, positive, inputs, jnp.ones(len(images), int))
    np.testing.assert_allclose(found, gradient, rtol=1e-12)


def test_grad_cam():
    """Equations 1 and 2, with the gradient by hand: behind the map there are the mean and a dense layer."""
    model, variables, images = made(pool=False)
    features = np.asarray(xx.endpoints(model, variables, images)["conv2"])
    classes = np.array([2, 0, 1])
    side = features.shape[1]
    weights = np.asarray(variables["params"]["logits"]["kernel"]).T[classes] / side**2
    maps = np.maximum(np.einsum("brcf,bf->brc", features, weights), 0)
    enlarged = np.asarray(jax.image.resize(jnp.asarray(maps), (3, 14, 14), "bilinear"))
    peak = enlarged.max((1, 2), keepdims=True)
    found = grad_cam(model, variables, images, classes=jnp.asarray(classes))
    np.testing.assert_allclose(found, enlarged / np.where(peak > 0, peak, 1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["resnet20", "lenet5"])
def test_networks_of_the_zoo(name: str):
    """The traced network computes what the network does, and each rule gives finite, different projections."""
    with jax.enable_x64(False):
        model = xx.create_model(name, num_classes=5)
        images = jax.random.normal(jax.random.key(1), (2, *xx.model_info(name).input_shape))
        variables: Any = jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), images)
        shapes = {k: v.shape for k, v in jax.eval_shape(lambda: xx.endpoints(model, variables, images)).items()}
        endpoint = [name for name, shape in shapes.items() if len(shape) == 4][-1]
        found = [
            np.asarray(project(model, variables, images, endpoint, rule=rule)) for rule in ("gradient", "deconvnet")
        ]
        assert all(np.isfinite(projection).all() and np.abs(projection).max() > 0 for projection in found)
        if name != "lenet5":  # it has no ReLU
            assert not np.allclose(found[0], found[1])
        maps = grad_cam(model, variables, images, classes=jnp.array([0, 1]))
        assert maps.shape == (2, 32, 32)


def test_errors():
    model, variables, images = made()
    with pytest.raises(UnknownName, match="unknown endpoint 'conv3'"):
        project(model, variables, images, "conv3")
    with pytest.raises(UnknownName, match="unknown endpoint 'conv3'"):
        grad_cam(model, variables, images, "conv3")
    with pytest.raises(InvalidArgument, match="3 numbers of 0 to 5"):
        project(model, variables, images, "conv2", [0, 1, 6])
    with pytest.raises(InvalidArgument, match="logits is no map"):
        grad_cam(model, variables, images, "logits")
    with pytest.raises(InvalidArgument, match="features 0 to 5"):
        strongest(model, variables, [images], "conv2", [7])


def test_average_pools_spread_the_signal():
    """What is linear goes back as in the gradient: of a mean, its share to each pixel."""

    class Means(Chain):
        def features(self, x: jax.Array, *, train: bool) -> Stages:
            yield "pool1", avg_pool(x, 2)

    images = jnp.asarray(np.random.default_rng(3).uniform(1, 2, (2, 12, 12, 1)))
    found = np.asarray(project(Means(dtype=jnp.float64, num_classes=None), {}, images, "pool1"))
    for projection in found:
        values = projection[projection != 0]
        assert len(values) == 4
        np.testing.assert_allclose(values, values[0])
