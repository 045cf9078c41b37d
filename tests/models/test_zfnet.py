"""ZFNet: the maps of Figure 3, and the forward pass in plain `jax.lax`."""

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
    largest_difference,
    narrow,
    parameters_by_module,
    random_images,
    random_params,
    shapes,
    table_of_maps,
    torch_output,
)

import xxnet_jax as xx

NAMES = ("zfnet", "zfnet.xxnet")
every_variant = pytest.mark.parametrize("name", NAMES)

# (endpoint, side, features) up to the dense layers
MAPS = {
    "zfnet": "conv1 110 96, pool1 55 96, norm1 55 96, conv2 26 256, pool2 13 256, norm2 13 256, "
    "conv3 13 384, conv4 13 384, conv5 13 256, pool5 6 256",
    "zfnet.xxnet": "conv1 109 96, pool1 54 96, conv2 27 256, pool2 13 256, "
    "conv3 13 384, conv4 13 384, conv5 13 256, pool5 6 256",
}
LAYERS = {"conv1": 14_208, "conv2": 614_656, "conv3": 885_120, "conv4": 1_327_488, "conv5": 884_992}
LAYERS |= {"fc6": 37_752_832, "fc7": 16_781_312, "fc8": 4_097_000}


@every_variant
def test_parameters_by_layer(name: str):
    """Both have the notes' layers: AlexNet's without groups, but for a first kernel of 7x7."""
    assert parameters_by_module(xx.create_model(name), 224) == LAYERS
    assert sum(LAYERS.values()) == 62_357_608 == xx.model_info(name).parameters


@every_variant
def test_maps_of_the_table(name: str):
    """From 224 pixels come the sides of Figure 3, or those of the notes' code, in this order."""
    expected = table_of_maps(MAPS[name]) | {"fc6": (1, 1, 4096), "fc7": (1, 1, 4096), "fc8": (1000,)}
    assert list(shapes(name, 224).items()) == list(expected.items())


def test_multiply_accumulates():
    """The notes' network costs 1,197,505,568 multiply-accumulates."""
    params, points = abstract_params(xx.create_model("zfnet.xxnet"), 224), shapes("zfnet.xxnet", 224)
    costs = [p["kernel"].size * np.prod(points[layer][:-1], dtype=int) for layer, p in params.items()]
    assert sum(costs) == 1_197_505_568


def test_the_later_widths_are_alexnets():
    """conv3 to conv5 are AlexNet's, though the notes call them a change (quirk 33); the groups are gone."""
    alexnet: Any = xx.create_model("alexnet")
    for name in NAMES:
        rows = xx.create_model(name).convolutions  # type: ignore[attr-defined]
        assert rows[2:] == tuple(row._replace(groups=1) for row in alexnet.convolutions[2:])
        assert {row.groups for row in rows} == {1}


def test_wider_layers_of_table_3():
    """The paper's 512, 1024 and 512 maps are a knob away."""
    rows = xx.create_model("zfnet").convolutions  # type: ignore[attr-defined]
    wide = tuple(row._replace(features=width) for row, width in zip(rows[2:], (512, 1024, 512), strict=True))
    found = shapes("zfnet", 224, convolutions=rows[:2] + wide)
    assert [found[f"conv{n}"][-1] for n in (3, 4, 5)] == [512, 1024, 512]
    assert found["pool5"] == (6, 6, 512)


def test_networks_of_table_3_without_layers():
    """Without the hidden dense layers the scores are made of the last map, and without conv3 and conv4 of fewer."""
    rows = xx.create_model("zfnet").convolutions  # type: ignore[attr-defined]
    layers = list(abstract_params(xx.create_model("zfnet", dense=()), 224))
    assert layers == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6"]
    without = shapes("zfnet", 224, convolutions=rows[:2] + rows[4:], dense=())
    assert without == {**{name: without[name] for name in ("conv1", "pool1", "norm1", "conv2", "pool2", "norm2")}} | {
        "conv3": (13, 13, 256),
        "pool3": (6, 6, 256),
        "fc4": (1000,),
    }


# ------------------------------------------------------------------------------------------- the forward pass


def conv(x: jax.Array, layer: Any, stride: int, pads: Any) -> jax.Array:
    layout = ("NHWC", "HWIO", "NHWC")
    x = jax.lax.conv_general_dilated(x, layer["kernel"], (stride, stride), pads, dimension_numbers=layout)
    return jnp.maximum(x + layer["bias"].reshape(1, 1, 1, -1), 0)


def pool(x: jax.Array, pads: Any) -> jax.Array:
    pads = [(0, 0), *pads, (0, 0)]
    return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)


def across_maps(x: jax.Array) -> np.ndarray:
    """AlexNet's equation in float64."""
    y = np.asarray(x, np.float64)
    last = y.shape[-1]
    sums = [(y[..., max(0, i - 2) : min(last, i + 3)] ** 2).sum(axis=-1) for i in range(last)]
    return y / (2 + 1e-4 * np.stack(sums, axis=-1)) ** 0.75


def dense(params: Any, x: jax.Array) -> jax.Array:
    """fc6 to fc8 on a map of the window's size."""
    x = x.reshape(len(x), -1)
    for name in ("fc6", "fc7"):
        x = jnp.maximum(x @ params[name]["kernel"] + params[name]["bias"][None], 0)
    return x @ params["fc8"]["kernel"] + params["fc8"]["bias"][None]


def figure_3(p: Any, x: jax.Array) -> jax.Array:
    """For 80x81 images: maps of 38x39 and 19x19, 8x8 and 4x4, then 2x2; a last window reaches beyond an even side."""
    x = pool(conv(x, p["conv1"], 2, [(1, 1), (1, 1)]), [(0, 1), (0, 0)])
    assert x.shape[1:3] == (19, 19)
    x = jnp.asarray(across_maps(x), jnp.float32)
    x = pool(conv(x, p["conv2"], 2, [(0, 0), (0, 0)]), [(0, 1), (0, 1)])
    assert x.shape[1:3] == (4, 4)
    x = jnp.asarray(across_maps(x), jnp.float32)
    for layer in ("conv3", "conv4", "conv5"):
        x = conv(x, p[layer], 1, [(1, 1), (1, 1)])
    return dense(p, pool(x, [(0, 1), (0, 1)]))


def notes(p: Any, x: jax.Array) -> jax.Array:
    """For 91x95 images; "same" at conv2 has a border of 1 above and 2 below an even map, 2 and 2 of an odd one."""
    x = pool(conv(x, p["conv1"], 2, [(0, 0), (0, 0)]), [(0, 0), (0, 0)])
    assert x.shape[1:3] == (21, 22)
    x = pool(conv(x, p["conv2"], 2, [(2, 2), (1, 2)]), [(0, 0), (0, 0)])
    for layer in ("conv3", "conv4", "conv5"):
        x = conv(x, p[layer], 1, [(1, 1), (1, 1)])
    return dense(p, pool(x, [(0, 0), (0, 0)]))


@pytest.mark.parametrize(
    ("name", "reference", "size"), [("zfnet", figure_3, (80, 81)), ("zfnet.xxnet", notes, (91, 95))], ids=NAMES
)
def test_forward_is_the_published(name: str, reference: Any, size: tuple[int, int]):
    """Logits of a narrow network equal the layers written down with explicit padding, at odd sizes."""
    model = narrow(name)
    params, images = random_params(model, 120), random_images(*size, scales=(50, 50))
    expected = np.asarray(reference(params, images))
    # Eight layers of float32 sums of up to 400 terms: some 1e-6 of the largest logit.
    assert_close(forward(model, params, images), expected, 2e-5)
    if name == "zfnet":  # were the order the other one, or pooling to stop before the edge, this test would know
        for wrong in ({"order": ("norm", "pool")}, {"order": ("pool",)}, {"pool_padding": "VALID", "window": 1}):
            model = narrow(name, **wrong)
            if "window" in wrong:
                assert shapes(name, *size, pool_padding="VALID", num_classes=None)["pool5"][:2] == (1, 1)
            else:
                assert largest_difference(forward(model, params, images), expected) > 1e-3


# ------------------------------------------------------------------------------------------- the interface


@every_variant
def test_train_changes_no_parameters(name: str):
    """`init` makes the same parameters with train True and False."""
    model = xx.create_model(name)
    assert abstract_params(model, 224) == abstract_params(model, 224, train=True)


@every_variant
def test_features(name: str):
    """Without classifier there are no dense layers, and the last map is returned, or its mean or maximum."""
    model = narrow(name, num_classes=None)
    params, images = random_params(model, 91), random_images(91, 91)
    assert list(params) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    maps = forward(model, params, images)
    assert maps.shape == (2, 2, 2, 16)
    for pooling, function in (("avg", np.mean), ("max", np.max)):
        pooled = forward(narrow(name, num_classes=None, pooling=pooling), params, images)
        np.testing.assert_allclose(pooled, function(maps, axis=(1, 2)), rtol=1e-6)


@every_variant
def test_final_endpoint(name: str):
    """A network that ends at an activation has the layers up to it; an unknown name is an error."""
    layers: list[str] = []
    for endpoint in shapes(name, 224):
        layers += [endpoint] if endpoint in LAYERS else []
        assert list(abstract_params(xx.create_model(name, final_endpoint=endpoint), 224)) == layers
    with pytest.raises(ValueError, match="pool3"):
        abstract_params(xx.create_model(name, final_endpoint="pool3"), 224)


# Backwards from one pixel: 2, 4, 11, 22, 47; 3, 7, 13, 27, 59. From six: 12, 24, 51, 102, 207; 13, 27, 53, 107, 219.
@pytest.mark.parametrize(("name", "side", "classifier"), [("zfnet", 47, 207), ("zfnet.xxnet", 59, 219)])
def test_smallest_images(name: str, side: int, classifier: int):
    """The smallest image has a last map of one pixel; one less is an error that names the size, and so is an image
    that has no 6x6 window for the dense layers."""
    assert xx.create_model(name).smallest_input() == side
    assert list(shapes(name, side, num_classes=None).values())[-1] == (1, 1, 256)
    for height, width in ((side - 1, side - 1), (side, side - 1), (side - 1, 300)):
        with pytest.raises(ValueError, match=rf"smallest size is {side}x{side}\b"):
            shapes(name, height, width, num_classes=None)
    assert shapes(name, classifier)["fc8"] == (1000,)
    with pytest.raises(ValueError, match=rf"{classifier}x{classifier}\b"):
        shapes(name, classifier - 1, classifier)


def test_dense_evaluation_is_every_window():
    """On a larger image each score is that of the dense layers on one window of the last map; their mean is the
    result without `spatial`."""
    images = random_images(120, 150, scales=(50, 50))
    model = narrow("zfnet", spatial=True)
    params = random_params(model, 120)
    maps = jnp.asarray(forward(narrow("zfnet", num_classes=None), params, images))
    rows, columns = maps.shape[1] - 1, maps.shape[2] - 1
    assert (rows, columns) == (2, 3)
    expected = np.stack(
        [np.stack([dense(params, maps[:, i : i + 2, j : j + 2]) for j in range(columns)], 1) for i in range(rows)], 1
    )
    tolerance = 1e-5 * np.abs(expected).max()
    np.testing.assert_allclose(forward(model, params, images), expected, rtol=0, atol=tolerance)
    means = forward(narrow("zfnet"), params, images)
    np.testing.assert_allclose(means, expected.mean(axis=(1, 2)), rtol=0, atol=tolerance)


def test_initialization():
    """The paper's kernels start with deviation .01 and zero biases, the notes' convolutions uniform in +-.05."""
    for name, deviation in (("zfnet", 0.01), ("zfnet.xxnet", 0.1 / np.sqrt(12))):
        params = initialized(narrow(name), 91)["params"]
        kernel = np.asarray(params["conv4"]["kernel"], np.float64)
        np.testing.assert_allclose(kernel.std(), deviation, rtol=5 / np.sqrt(2 * kernel.size))
        assert not any(layer["bias"].any() for layer in params.values())


def test_dropout_and_gradients():
    """While training, logits depend on the key of dropout, and every parameter array has a finite gradient that is not
    all zero; at test time no key is needed."""
    model = narrow("zfnet", dense=(32, 32))
    params, images = random_params(model, 91), random_images(91, 91)
    first, second = (forward(model, params, images, train=True, rngs={"dropout": jax.random.key(i)}) for i in (0, 1))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, forward(model, params, images))
    assert_every_parameter_learns(model, {"params": params}, images)


def test_bfloat16():
    """In bfloat16 logits are float32, and near those of float32."""
    params, images = random_params(narrow("zfnet"), 91), random_images(91, 91)
    exact = forward(narrow("zfnet"), params, images)
    half = forward(narrow("zfnet", dtype=jnp.bfloat16), params, images)
    assert half.dtype == np.float32
    # A rounding is 2^-9 of a value; eight layers of partly cancelling sums make it a few percent of the largest.
    np.testing.assert_allclose(half, exact, rtol=0, atol=0.05 * np.abs(exact).max())
    assert not np.array_equal(half, exact)


# ------------------------------------------------------------------------------------------- other frameworks


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")  # their warnings are not ours to mend
@pytest.mark.parametrize(("height", "width"), [(224, 224), (235, 226)])
@pytest.mark.parametrize("name", NAMES)
def test_logits_are_torchs(torch: Any, name: str, height: int, width: int):
    """Narrow networks of PyTorch's layers, pools in ceil mode for the paper's, have the same logits."""
    function = torch.nn.functional
    model = narrow(name, window=6)
    params = random_params(model, 224)
    images = random_images(height, width, scales=(50, 50))

    def convolution(x: Any, layer: str, stride: int, padding: int) -> Any:
        weights = torch.from_numpy(params[layer]["kernel"].transpose(3, 2, 0, 1).copy())
        return function.conv2d(x, weights, torch.from_numpy(params[layer]["bias"]), stride, padding).relu()

    def norm(x: Any) -> Any:
        return function.local_response_norm(x, 5, alpha=5e-4, beta=0.75, k=2.0)

    pools = functools.partial(function.max_pool2d, kernel_size=3, stride=2, ceil_mode=name == "zfnet")

    def last_map(x: Any) -> Any:
        if name == "zfnet":
            x = norm(pools(convolution(x, "conv1", 2, 1)))
            x = norm(pools(convolution(x, "conv2", 2, 0)))
        else:
            x = pools(convolution(x, "conv1", 2, 0))
            total = [max(0, 2 * ((side + 1) // 2 - 1) + 5 - side) for side in x.shape[2:]]  # "same": the odd one below
            rows, columns = ((pad // 2, pad - pad // 2) for pad in total)
            x = pools(convolution(function.pad(x, (*columns, *rows)), "conv2", 2, 0))
        for layer in ("conv3", "conv4", "conv5"):
            x = convolution(x, layer, 1, 1)
        return pools(x)

    maps = torch_output(last_map, images).transpose(0, 2, 3, 1)
    assert maps.shape[1:3] == (6, 6)
    expected = np.asarray(dense(params, jnp.asarray(maps)))
    assert_close(forward(model, params, images), expected)
