"""DenseNet against the paper's tables and counts, and NumPy."""

from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate
from zoo import (
    abstract_apply,
    abstract_init,
    abstract_params,
    apply,
    assert_close,
    endpoint_shapes,
    images_of,
    initialized,
    nominal_images,
    parameters_by_module,
    random_images,
    shapes,
    table_of_maps,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.layers import Norm

CIFAR = {  # (layers, growth rate): layers of a block, features at the end
    "densenet40_12": (40, 12, 448),
    "densenet100_12": (100, 12, 1168),
    "densenet100_24": (100, 24, 2320),
    "densenet_bc40_12": (40, 12, 132),
    "densenet_bc100_12": (100, 12, 342),
    "densenet_bc250_24": (250, 24, 1734),
    "densenet_bc190_40": (190, 40, 2190),
}
TINY: Any = {"depths": (2, 3), "growth_rate": 4, "stem_features": 6, "num_classes": 5}


def tiny(name: str = "densenet_bc100_12", **options: Any) -> Any:
    return xx.create_model(name, **{**TINY, **options})


def randomized(model: Any, side: int) -> Any:
    """Random parameters and running statistics."""
    random = np.random.default_rng(3)
    variables = abstract_init(model, images_of(side))
    params = jax.tree.map(
        lambda leaf: jnp.asarray(random.normal(0.3, 0.5, leaf.shape), jnp.float32), variables["params"]
    )
    return {
        "params": params,
        "batch_stats": jax.tree.map(
            lambda leaf: jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), jnp.float32), variables["batch_stats"]
        ),
    }


# ---------------------------------------------------------------------------------------------- counts


def by_arithmetic(
    depths: tuple[int, ...], k: int, stem: int, kernel: int, classes: int, *, width: int | None, theta: float
) -> tuple[int, int]:
    """(trainable, with running statistics) of a network with so many layers in its blocks, layer by layer."""
    weights, normalized, channels = kernel * kernel * 3 * stem, 0 if kernel == 3 else stem, stem
    for block, depth in enumerate(depths, start=1):
        for _ in range(depth):
            normalized += channels
            if width is None:
                weights += 9 * channels * k
            else:
                weights += channels * width + 9 * width * k
                normalized += width
            channels += k
        if block < len(depths):
            kept = int(theta * channels)
            weights, normalized, channels = weights + channels * kept, normalized + channels, kept
    normalized += channels
    trainable = weights + 2 * normalized + (channels + 1) * classes
    return trainable, trainable + 2 * normalized


@pytest.mark.parametrize(
    ("name", "depths", "k", "stem", "trainable", "total"),
    [
        ("densenet121", (6, 12, 24, 16), 32, 64, 7_978_856, 8_062_504),
        ("densenet169", (6, 12, 32, 32), 32, 64, 14_149_480, 14_307_880),
        ("densenet201", (6, 12, 48, 32), 32, 64, 20_013_928, 20_242_984),
        ("densenet264", (6, 12, 64, 48), 32, 64, 33_337_704, 33_736_232),
        ("densenet161", (6, 12, 36, 24), 48, 96, 28_681_000, 28_900_936),
    ],
)
def test_counts_of_table_1(name: str, depths: Any, k: int, stem: int, trainable: int, total: int):
    """The columns of Table 1 have the published numbers, which are those of their convolutions and normalizations."""
    assert by_arithmetic(depths, k, stem, 7, 1000, width=4 * k, theta=0.5) == (trainable, total)
    variables = abstract_init(xx.create_model(name), nominal_images(name))
    assert count_parameters(variables["params"]) == trainable
    assert count_parameters(variables) == total
    # The name counts what has weights: two to a layer, three pools, conv1, the classifier. 264 is one short.
    assert 2 * sum(depths) + 3 + 2 - int(name.removeprefix("densenet")) == (name == "densenet264")


@pytest.mark.parametrize(
    ("name", "ten", "hundred", "total"),
    [
        ("densenet40_12", 1_019_722, 1_060_132, 1_037_818),
        ("densenet100_12", 6_979_642, 7_084_852, 7_096_858),
        ("densenet100_24", 27_249_082, 27_457_972, 27_480_346),
        ("densenet_bc40_12", 176_122, 188_092, 181_210),
        ("densenet_bc100_12", 769_162, 800_032, 793_150),
        pytest.param("densenet_bc250_24", 15_324_406, 15_480_556, 15_582_382, marks=pytest.mark.full_size),
        pytest.param("densenet_bc190_40", 25_624_430, 25_821_620, 25_881_390, marks=pytest.mark.full_size),
    ],
)
def test_counts_for_cifar(name: str, ten: int, hundred: int, total: int):
    """Networks for CIFAR have the published numbers, for 10 and for 100 classes, which follow from layers and k."""
    layers, k, last = CIFAR[name]
    bc = "_bc" in name
    depth = (layers - 4) // (6 if bc else 3)
    knobs: Any = {"width": 4 * k, "theta": 0.5} if bc else {"width": None, "theta": 1.0}
    assert by_arithmetic((depth,) * 3, k, 2 * k if bc else 16, 3, 10, **knobs) == (ten, total)
    variables = abstract_init(xx.create_model(name), images_of(32))
    assert (count_parameters(variables["params"]), count_parameters(variables)) == (ten, total)
    assert variables["params"]["predictions"]["kernel"].shape == (last, 10)
    assert ten + 90 * (last + 1) == hundred


def test_bottleneck_and_compression_alone():
    """DenseNet-B and DenseNet-C, between the plain one and BC (section 4.4 of the notes)."""
    for bottleneck, compression in ((None, 1.0), (4, 1.0), (None, 0.5), (4, 0.5)):
        model = xx.create_model("densenet40_12", bottleneck=bottleneck, compression=compression)
        width = None if bottleneck is None else 48
        expected, _ = by_arithmetic((12,) * 3, 12, 16, 3, 10, width=width, theta=compression)
        assert count_parameters(abstract_params(model, 32)) == expected


@pytest.mark.parametrize(
    ("knobs", "total", "trainable"),
    [
        ({}, 8_146_152, 8_062_504),
        ({"compression": 1.0}, 14_181_864, 14_045_224),  # the notes' default: reduction 0
        ({"growth_rate": 12}, 1_514_772, 1_481_574),
    ],
)
def test_counts_of_xxnet(knobs: Any, total: int, trainable: int):
    """The notes' network, whose scales and biases behind each normalization are as many as its running statistics."""
    variables = abstract_init(xx.create_model("densenet121.xxnet", **knobs), images_of(224))
    assert count_parameters(variables) == total
    assert count_parameters(variables["params"]) == trainable
    plain = abstract_params(xx.create_model("densenet121", **knobs), 224)
    assert trainable - count_parameters(plain) == total - trainable


def test_parameters_of_layers():
    """Layer l of a block sees k0 + k (l - 1) channels (section 3, "Growth rate"), a pool all of a block's."""
    found = parameters_by_module(xx.create_model("densenet121"), 224)
    for layer in range(1, 25):
        channels = 256 + 32 * (layer - 1)
        assert found[f"conv4_block{layer}"] == 2 * channels + 128 * channels + 2 * 128 + 9 * 128 * 32
    assert found["pool2"] == 2 * 256 + 256 * 128
    assert (found["conv1"], found["bn"], found["predictions"]) == (49 * 3 * 64 + 128, 2048, 1_025_000)
    # L layers have L (L + 1) / 2 connections: so many outputs of layers, or of what was before, are inputs.
    plain = abstract_params(xx.create_model("densenet40_12", stem_features=12), 32)
    seen = [plain[f"conv2_block{layer}"]["2"]["conv"]["kernel"].shape[2] // 12 for layer in range(1, 13)]
    assert sum(seen) == 12 * 13 // 2


# ---------------------------------------------------------------------------------------------- shapes and names

MAPS = "conv1_relu 112 64, pool1 56 64, conv2_block6_concat 56 256, pool2_conv 56 128, pool2_pool 28 128, "
MAPS += "conv3_block12_concat 28 512, pool3_conv 28 256, pool3_pool 14 256, conv4_block24_concat 14 1024, "
MAPS += "pool4_conv 14 512, pool4_pool 7 512, conv5_block16_concat 7 1024, relu 7 1024"


def test_endpoints():
    """Keras's names in order, with the maps of Table 1; each layer adds 32 features."""
    found = shapes("densenet121", 224)
    assert table_of_maps(MAPS).items() <= found.items()
    blocks = [f"conv{stage}_block{i}_concat" for stage, n in ((2, 6), (3, 12)) for i in range(1, n + 1)]
    start = ["conv1_relu", "pool1", *blocks[:6], "pool2_conv", "pool2_pool", *blocks[6:], "pool3_conv"]
    assert list(found)[: len(start)] == start
    assert list(found)[-3:] == ["relu", "avg_pool", "predictions"]
    assert found["conv2_block3_concat"] == (56, 56, 64 + 3 * 32)
    assert (found["avg_pool"], found["predictions"]) == ((1024,), (1000,))
    assert len(found) == 2 + 58 + 6 + 3


def test_odd_size():
    """Maps of an image with odd sides: the stem rounds up, the pools between blocks drop a last row or column."""
    found = shapes("densenet121", 75, 61)
    ends = ["conv1_relu", "pool1", "pool2_pool", "pool3_pool", "pool4_pool", "relu"]
    assert [found[name][:2] for name in ends] == [(38, 31), (19, 16), (9, 8), (4, 4), (2, 2), (2, 2)]
    found = shapes("densenet40_12", 35, 32)
    assert [found[name][:2] for name in ("conv1_conv", "pool2_pool", "relu")] == [(35, 32), (17, 16), (8, 8)]


@pytest.mark.parametrize(("name", "smallest"), [("densenet121", 29), ("densenet161", 29), ("densenet_bc100_12", 4)])
def test_smallest_input(name: str, smallest: int):
    """At the smallest size the last map is a pixel; 29 is torchvision's `min_size`."""
    features = xx.create_model(name, num_classes=None)
    assert abstract_apply(features, images_of(smallest)).shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=rf"smallest size is {smallest}x{smallest}"):
        abstract_init(features, images_of(smallest - 1, smallest))


def test_final_endpoint():
    """Up to an endpoint there are the layers before it and no more."""
    model = xx.create_model("densenet121", final_endpoint="pool2_conv")
    params = abstract_params(model, 64)
    assert set(params) == {"conv1", *(f"conv2_block{i}" for i in range(1, 7)), "pool2"}
    assert abstract_apply(model, images_of(64)).shape == (2, 16, 16, 128)


def test_spatial():
    """A score for each window of the last map: one at 224, more of a larger image."""
    model = xx.create_model("densenet121", spatial=True)
    assert abstract_apply(model, images_of(224)).shape == (2, 1, 1, 1000)
    assert abstract_apply(model, images_of(320, 256)).shape == (2, 4, 2, 1000)
    assert abstract_apply(xx.create_model("densenet40_12", spatial=True), images_of(40)).shape == (2, 3, 3, 10)


# ---------------------------------------------------------------------------------------------- what is computed


def reference(variables: Any, images: np.ndarray, *, bottleneck: bool, scaled: bool) -> np.ndarray:
    """Logits of `tiny` in float64: blocks of 2 and 3 layers, the stem for CIFAR."""
    params = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    statistics = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["batch_stats"])

    def convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
        edge = kernel.shape[0] // 2
        x = np.pad(x, ((0, 0), (edge, edge), (edge, edge), (0, 0)))
        maps = [[correlate(image, kernel[..., o], "valid")[..., 0] for o in range(kernel.shape[-1])] for image in x]
        return np.moveaxis(np.array(maps), 1, -1)

    def activated(x: np.ndarray, p: Any, s: Any) -> np.ndarray:
        x = (x - s["mean"]) / np.sqrt(s["var"] + (1.1e-5 if scaled else 1e-5)) * p["scale"] + p["bias"]
        return np.maximum(0, x * p["gamma"] + p["beta"] if scaled else x)

    def unit(x: np.ndarray, *path: str) -> np.ndarray:
        p, s = params, statistics
        for name in path:
            p, s = p[name], s[name]
        return convolution(activated(x, p["bn"], s["bn"]), p["conv"]["kernel"])

    x = convolution(images.astype(np.float64), params["conv1"]["conv"]["kernel"])
    for stage, depth in ((2, 2), (3, 3)):
        for number in range(1, depth + 1):
            name = f"conv{stage}_block{number}"
            inside = unit(x, name, "1") if bottleneck else x
            x = np.concatenate([x, unit(inside, name, "2")], axis=-1)
        if stage == 2:
            x = unit(x, "pool2")
            batch, rows, columns, features = x.shape
            x = x[:, : rows // 2 * 2, : columns // 2 * 2].reshape(batch, rows // 2, 2, columns // 2, 2, features)
            x = x.mean(axis=(2, 4))
    x = activated(x, params["bn"], statistics["bn"]).mean(axis=(1, 2))
    return x @ params["predictions"]["kernel"] + params["predictions"]["bias"]


@pytest.mark.parametrize("bottleneck", [None, 2])
@pytest.mark.parametrize("name", ["densenet_bc100_12", "densenet121.xxnet"])
def test_logits(name: str, bottleneck: int | None):
    """Logits are those of the definition in float64, with and without the 1x1, with the notes' second scale."""
    model = tiny(name, bottleneck=bottleneck, stem="cifar")
    variables = randomized(model, 9)
    images = random_images(9, 10, scales=(1, 3))
    expected = reference(variables, images, bottleneck=bottleneck is not None, scaled=name.endswith("xxnet"))
    found = apply(model, variables, images)
    assert_close(found, expected, 2e-5)


def test_stem_of_imagenet():
    """conv1 has 3 pixels of padding on each side, and pool1 one that is never the maximum."""
    model = xx.create_model("densenet121", depths=(1,), stem_features=1, final_endpoint="pool1")
    variables = randomized(model, 9)
    image = random_images(9, 8)[:1]
    stem = jax.tree.map(np.asarray, variables["params"]["conv1"])
    statistics = jax.tree.map(np.asarray, variables["batch_stats"]["conv1"]["bn"])
    kernel = stem["conv"]["kernel"][..., 0].astype(np.float64)
    y = correlate(np.pad(image[0], ((3, 3), (3, 3), (0, 0))).astype(np.float64), kernel, "valid")[::2, ::2, 0]
    y = (y - statistics["mean"]) / np.sqrt(statistics["var"] + 1.001e-5) * stem["bn"]["scale"] + stem["bn"]["bias"]
    y = np.pad(np.maximum(0, y), 1, constant_values=-np.inf)
    expected = [[y[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max() for j in range(2)] for i in range(3)]
    np.testing.assert_allclose(apply(model, variables, image)[0, :, :, 0], expected, rtol=1e-5, atol=1e-5)


def test_the_second_scale_starts_as_nothing():
    """`gamma` starts at one and `beta` at zero."""
    params = jax.jit(lambda key: tiny("densenet121.xxnet").init(key, jnp.zeros((1, 32, 32, 3)), train=False))(
        jax.random.key(0)
    )["params"]
    assert set(params["bn"]) == {"scale", "bias", "gamma", "beta"}
    np.testing.assert_array_equal(params["bn"]["gamma"], 1)
    np.testing.assert_array_equal(params["bn"]["beta"], 0)


def test_compression_drops_the_fraction():
    """A pool keeps floor(theta m) of m features (section 3): of 14, a half is 7 and .8 is 11."""
    for theta, kept in ((0.5, 7), (0.8, 11), (1.0, 14)):
        assert endpoint_shapes(tiny(compression=theta), images_of(16))["pool2_conv"][-1] == kept


@pytest.mark.parametrize("compression", [0, -0.5, 1.5, 0.01])
def test_bad_compression(compression: float):
    """A compression that is out of range, or leaves nothing, is a ValueError that quotes it."""
    with pytest.raises(ValueError, match=rf"compression .*14.* not {compression}"):
        abstract_init(tiny(compression=compression), images_of(16))


def test_dropout():
    """Dropout stands behind each convolution of the layers and of the pools while training, and nowhere else."""
    model, plain = tiny(dropout_rate=1.0), tiny()
    variables = initialized(plain, 16)
    images = random_images(16, 16)
    rngs = {"dropout": jax.random.key(0)}
    _, dropped = apply(model, variables, images, train=True, rngs=rngs, mutable=["batch_stats", "intermediates"])
    points = dropped["intermediates"]["endpoints"]
    for name, features in (("conv2_block2_concat", 6), ("conv3_block3_concat", 7)):
        assert not points[name][..., features:].any()  # those of the layers; before them are those of conv1 and pool2
    assert points["conv2_block2_concat"][..., :6].any()
    assert points["pool2_conv"].any()
    assert not points["pool2_pool"].any()
    assert not dropped["batch_stats"]["conv2_block1"]["2"]["bn"]["mean"].any()  # of the 1x1's output
    assert dropped["batch_stats"]["conv2_block1"]["1"]["bn"]["mean"].any()
    np.testing.assert_array_equal(apply(model, variables, images), apply(plain, variables, images))


# ---------------------------------------------------------------------------------------------- rematerialization


@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_remat_changes_nothing(rate: float):
    """With rematerialization variables, endpoints, logits, gradients and running statistics are the same, to the
    rounding of sums that the compiler orders anew; dropout drops the same."""
    kept, again = (tiny(dropout_rate=rate, remat=remat) for remat in (False, True))
    chex.assert_trees_all_equal(initialized(kept, 16), initialized(again, 16))
    variables = randomized(kept, 16)
    images = jnp.asarray(random_images(16, 16))
    assert list(endpoint_shapes(kept, images_of(16))) == list(endpoint_shapes(again, images_of(16)))
    chex.assert_trees_all_close(
        xx.endpoints(again, variables, images), xx.endpoints(kept, variables, images), rtol=1e-5
    )

    def step(model: Any) -> Any:
        @jax.jit
        def gradient(variables: Any) -> Any:
            def loss(params: Any) -> Any:
                outputs: Any = model.apply(
                    {**variables, "params": params},
                    images,
                    train=True,
                    rngs={"dropout": jax.random.key(1)},
                    mutable=["batch_stats"],
                )
                return jnp.sum(jax.nn.log_softmax(outputs[0])[:, 0]), outputs[1]

            return jax.value_and_grad(loss, has_aux=True)(variables["params"])

        return gradient(variables)

    chex.assert_trees_all_close(step(again), step(kept), rtol=1e-3, atol=1e-4)


def kept_for_the_gradient(depth: int, *, remat: bool) -> int:
    """Numbers that the forward pass keeps, parameters and statistics apart."""
    model = tiny(depths=(depth,), remat=remat)
    variables = abstract_init(model, images_of(32))

    def backward(params: Any, batch_stats: Any, x: jax.Array) -> Any:
        def logits(params: Any) -> Any:
            return model.apply({"params": params, "batch_stats": batch_stats}, x, train=True, mutable=["batch_stats"])[
                0
            ]

        return jax.vjp(logits, params)[1]

    residuals = jax.eval_shape(backward, variables["params"], variables["batch_stats"], images_of(32))
    return sum(leaf.size for leaf in jax.tree.leaves(residuals) if leaf.ndim == 4 and leaf.shape[:3] == (2, 32, 32))


def test_remat_keeps_each_output_once():
    """What is kept grows by the same for each layer more with rematerialization; without it, by more for each."""
    again = [kept_for_the_gradient(depth, remat=True) for depth in (4, 5, 6, 7)]
    kept = [kept_for_the_gradient(depth, remat=False) for depth in (4, 5, 6, 7)]
    assert np.diff(again).min() > 0
    np.testing.assert_array_equal(np.diff(again, 2), 0)
    assert np.diff(kept, 2).min() > 0


# ---------------------------------------------------------------------------------------------- initialization


@pytest.mark.parametrize(
    ("name", "conv", "dense"),
    [
        ("densenet121", 2 / (9 * 256 + 9 * 64), 2 / (128 + 1000)),  # Glorot: mean of the fans
        ("densenet161", 2 / (9 * 256), 1 / (3 * 160)),  # He; uniform in +-1 / sqrt(fan_in)
        ("densenet100_12", 2 / (9 * 16), 2 / 80),
    ],
)
def test_initialization(name: str, conv: float, dense: float):
    """Variances of a 3x3 and of the classifier are those of the framework or the paper."""
    params = initialized(xx.create_model(name, depths=(1,), growth_rate=64, num_classes=1000), 32)["params"]
    kernel = np.asarray(params["conv2_block1"]["2"]["conv"]["kernel"], np.float64)
    assert kernel.var() == pytest.approx(conv, rel=0.06)  # 9,216 numbers or more: four standard errors
    assert np.asarray(params["predictions"]["kernel"], np.float64).var() == pytest.approx(dense, rel=0.06)


def test_unknown_initialization():
    """An unknown name is a ValueError with the known ones."""
    with pytest.raises(ValueError, match=r"initialization 'he_norml'.*he_normal"):
        abstract_init(tiny(initialization="he_norml"), images_of(16))


def test_train_does_not_change_the_variables():
    """`init` makes the same variables for training and inference, with rematerialization too."""
    for remat in (False, True):
        inference, training = (abstract_init(tiny(remat=remat), images_of(16), train=train) for train in (False, True))
        chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)


def test_norms():
    """Epsilon is Keras's, torchvision's and the notes'."""
    found = {name: xx.create_model(name).norm for name in ("densenet121", "densenet161", "densenet121.xxnet")}  # type: ignore[attr-defined]
    assert found["densenet161"] == Norm(momentum=0.9, epsilon=1e-5)
    assert (found["densenet121"].epsilon, found["densenet121.xxnet"].epsilon) == (1.001e-5, 1.1e-5)
