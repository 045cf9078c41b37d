"""Xception against the paper's figure, the notes' counts, and NumPy."""

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
    parameters_by_module,
    random_images,
    shapes,
    table_of_maps,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.layers import Norm
from xxnet_jax.models.xception import ACTIVATIONS, SeparableUnit

TINY: Any = {"stem": (4, 8), "blocks": ((8, 12), (12, 12)), "last": (16,), "num_classes": 5}


def tiny(**options: Any) -> Any:
    return xx.create_model("xception", **{**TINY, **options})


# ---------------------------------------------------------------------------------------------- counts

BLOCKS = {
    "block1": 19_488,
    "block2": 35_264,
    "block3": 136_064,
    "block4": 915_944,
    **{f"block{number}": 1_613_976 for number in range(5, 13)},
    "block13": 2_039_584,
    "block14": 4_748_800,
    "predictions": 2_049_000,
}


def separable(inputs: int, features: int) -> int:
    return 9 * inputs + inputs * features + 2 * features


def test_parameters_of_blocks():
    """Each block has the parameters of its convolutions; 36 of them are on the way (section 3)."""
    found = dict.fromkeys(BLOCKS, 0)
    modules = parameters_by_module(xx.create_model("xception"), 299)
    for name, parameters in modules.items():
        found[name.split("_")[0]] += parameters
    assert found == BLOCKS
    assert BLOCKS["block1"] == 27 * 32 + 2 * 32 + 9 * 32 * 64 + 2 * 64
    assert BLOCKS["block4"] == separable(256, 728) + separable(728, 728) + 256 * 728 + 2 * 728
    assert BLOCKS["block5"] == 3 * separable(728, 728)
    assert sum(BLOCKS.values()) == 22_855_952
    assert BLOCKS["block13"] == separable(728, 728) + separable(728, 1024) + 728 * 1024 + 2 * 1024
    assert BLOCKS["block14"] == separable(1024, 1536) + separable(1536, 2048)
    assert len([name for name in modules if "conv" in name]) == 36
    assert len([name for name in modules if "shortcut" in name]) == 4


def test_counts():
    """22,910,480 in all, 22,855,952 of them trained; 20,881,970 with ten classes, 20,861,480 without a classifier."""
    for classes, total, trainable in (
        (1000, 22_910_480, 22_855_952),
        (10, 20_881_970, 20_827_442),
        (None, 20_861_480, 20_806_952),
    ):
        variables = abstract_init(xx.create_model("xception", num_classes=classes), images_of(71))
        assert (count_parameters(variables), count_parameters(variables["params"])) == (total, trainable)


@pytest.mark.parametrize(
    ("segments", "weights"), [(1, 4_769_856), (2, 2_384_928), (4, 1_192_464), (8, 596_232), (None, 6_552)]
)
@pytest.mark.parametrize("pointwise_first", [False, True])
def test_weights_of_segments(segments: int | None, weights: int, pointwise_first: bool):
    """The 3x3 convolution of 728 channels has 9 * 728^2 / g weights with g segments (section 1.2)."""
    model = xx.create_model("xception", segments=segments, pointwise_first=pointwise_first)
    unit = abstract_params(model, 71)["block5_sepconv1"]
    assert count_parameters(unit["depthwise"]) == weights
    assert count_parameters(unit["pointwise"]) == 728 * 728


# ---------------------------------------------------------------------------------------------- shapes and names

MAPS = "block1_conv1_act 149 32, block1_conv2_act 147 64, block2_sepconv1_bn 147 128, block2_sepconv2_bn 147 128, "
MAPS += "block2_pool 74 128, block2_add 74 128, block3_pool 37 256, block3_add 37 256, block4_add 19 728, "
MAPS += "block5_sepconv3_bn 19 728, block12_add 19 728, block13_sepconv1_bn 19 728, block13_sepconv2_bn 19 1024, "
MAPS += "block13_pool 10 1024, block13_add 10 1024, block14_sepconv1_act 10 1536, block14_sepconv2_act 10 2048"


def test_endpoints():
    """Keras's names and the maps of the table at 299x299; blocks of the middle have no pool."""
    found = shapes("xception", 299)
    maps = table_of_maps(MAPS)
    assert maps.items() <= found.items()
    assert list(found)[:6] == list(maps)[:6]
    assert [name for name in found if "pool" in name and "avg" not in name] == [f"block{i}_pool" for i in (2, 3, 4, 13)]
    assert list(found)[-2:] == ["avg_pool", "predictions"]
    assert (found["avg_pool"], found["predictions"]) == ((2048,), (1000,))
    assert len(found) == 2 + 3 * 4 + 8 * 4 + 4 + 2 + 2


def test_sizes():
    """At 71 pixels, Keras's smallest, the last map has 3; at an even and an odd side it is as the arithmetic says."""
    features = xx.create_model("xception", num_classes=None)
    assert abstract_apply(features, images_of(71)).shape == (2, 3, 3, 2048)
    assert abstract_apply(features, images_of(96, 101)).shape == (2, 3, 3, 2048)
    assert abstract_apply(features, images_of(7)).shape == (2, 1, 1, 2048)
    with pytest.raises(ValueError, match="smallest size is 7x7"):
        abstract_init(features, images_of(6, 7))


def test_final_endpoint():
    """Up to an endpoint there are the layers before it: before a sum not yet the shortcut's."""
    assert set(abstract_params(tiny(final_endpoint="block2_pool"), 16)) == {
        *("block1_conv1", "block1_conv2", "block2_sepconv1", "block2_sepconv2")
    }
    assert "block2_shortcut" in abstract_params(tiny(final_endpoint="block2_add"), 16)


def test_spatial():
    """A score for every 10x10 pixels of the last map."""
    model = xx.create_model("xception", spatial=True)
    assert abstract_apply(model, images_of(299)).shape == (2, 1, 1, 1000)
    assert abstract_apply(model, images_of(331, 363)).shape == (2, 2, 3, 1000)


# ---------------------------------------------------------------------------------------------- what is computed

BETWEEN = {None: lambda y: y, "relu": lambda y: np.maximum(0, y), "elu": lambda y: np.where(y > 0, y, np.expm1(y))}


@pytest.mark.parametrize("between", list(BETWEEN))
@pytest.mark.parametrize("pointwise_first", [False, True])
@pytest.mark.parametrize("segments", [1, 2, None])
def test_separable_convolution(between: str | None, pointwise_first: bool, segments: int | None):
    """In float64: a 3x3 convolution inside each segment and a 1x1, in either order, an activation between."""
    channels, features = 4, 6
    options: Any = {"segments": segments, "pointwise_first": pointwise_first, "between": ACTIVATIONS[between]}
    unit = SeparableUnit(features, Norm(momentum=0.99, epsilon=1e-3), **options)
    random = np.random.default_rng(0)
    x = random.normal(size=(2, 5, 6, channels))
    width = features if pointwise_first else channels
    each = 1 if segments is None else width // segments
    spatial = random.normal(size=(3, 3, each, width))
    pointwise = random.normal(size=(1, 1, channels, features))
    scale, bias, mean, var = (random.uniform(0.5, 1.5, features) for _ in range(4))
    variables = {
        "params": {
            "depthwise": {"kernel": spatial},
            "pointwise": {"kernel": pointwise},
            "bn": {"scale": scale, "bias": bias},
        },
        "batch_stats": {"bn": {"mean": mean, "var": var}},
    }

    def convolved(y: np.ndarray) -> np.ndarray:
        y = np.pad(y, ((0, 0), (1, 1), (1, 1), (0, 0)))
        inputs = [slice(o // each * each, (o // each + 1) * each) for o in range(width)]
        maps = [
            [correlate(image[..., seen], spatial[..., o], "valid")[..., 0] for o, seen in enumerate(inputs)]
            for image in y
        ]
        return np.moveaxis(np.array(maps), 1, -1)

    if pointwise_first:
        expected = convolved(BETWEEN[between](x @ pointwise[0, 0]))
    else:
        expected = BETWEEN[between](convolved(x)) @ pointwise[0, 0]
    expected = (expected - mean) / np.sqrt(var + 1e-3) * scale + bias
    variables = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float32), variables)
    assert_close(apply(unit, variables, x.astype(np.float32)), expected, 1e-5)


def test_where_the_relus_are():
    """Shortcuts are linear: the sum of a block is its last normalization and what came in; the first ReLU of block2 is
    missing, and the last block has its own behind the normalization."""
    model = tiny()
    variables = initialized(model, 16)
    points = {
        name: np.asarray(x) for name, x in xx.endpoints(model, variables, jnp.asarray(random_images(16, 16))).items()
    }
    np.testing.assert_allclose(points["block3_add"], points["block3_sepconv2_bn"] + points["block2_add"], rtol=1e-6)
    for name, x in points.items():
        assert (x.min() < 0) == ("act" not in name and name != "avg_pool"), name
    norm = Norm(momentum=0.99, epsilon=1e-3)
    for name, features, seen in (
        ("block2_sepconv1", 8, points["block1_conv2_act"]),
        ("block2_sepconv2", 12, np.maximum(0, points["block2_sepconv1_bn"])),
        ("block3_sepconv1", 12, np.maximum(0, points["block2_add"])),
        ("block4_sepconv1", 16, points["block3_add"]),
    ):
        own = {collection: tree[name] for collection, tree in variables.items()}
        found = apply(SeparableUnit(features, norm), own, seen)
        expected = points[f"{name}_bn"] if name != "block4_sepconv1" else points[f"{name}_act"]
        found = found if name != "block4_sepconv1" else np.maximum(0, found)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_without_shortcuts():
    """Without shortcuts there are neither sums nor projections, and a block's output is its pool or normalization."""
    model = tiny(residual=False)
    assert not any("shortcut" in name for name in abstract_params(model, 16))
    assert list(endpoint_shapes(model, images_of(16)))[:7] == [
        *("block1_conv1_act", "block1_conv2_act", "block2_sepconv1_bn", "block2_sepconv2_bn", "block2_pool"),
        *("block3_sepconv1_bn", "block3_sepconv2_bn"),
    ]


def test_dropout():
    """Dropout stands before the logits while training: with rate 1 only the bias is left."""
    model = tiny(dropout_rate=1.0)
    variables = initialized(model, 16)
    variables["params"]["predictions"]["bias"] = jnp.arange(5.0)
    images = random_images(16, 16)
    rngs = {"dropout": jax.random.key(0)}
    logits, _ = apply(model, variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, np.tile(np.arange(5.0), (2, 1)))
    assert np.ptp(apply(model, variables, images), axis=0).max() > 0


# ---------------------------------------------------------------------------------------------- errors and starts


@pytest.mark.parametrize("segments", [0, -2, 3, 16])
def test_bad_segments(segments: int):
    """A number of segments that does not divide the channels is a ValueError that names both."""
    with pytest.raises(ValueError, match=rf"\d+ channels cannot be divided into {segments} segments"):
        abstract_init(tiny(segments=segments), images_of(16))


def test_bad_names():
    """An unknown activation or initialization is a ValueError with the choices."""
    with pytest.raises(ValueError, match="'relu' or 'elu', not 'selu'"):
        abstract_init(tiny(between="selu"), images_of(16))
    with pytest.raises(ValueError, match="glorot_unifrom"):
        abstract_init(tiny(initialization="glorot_unifrom"), images_of(16))


def test_initialization():
    """Kernels start as Keras's: uniform with variance 2 / (fan_in + fan_out), 9 and 9 C for a depthwise one."""
    params = initialized(tiny(blocks=((512, 512),)), 16)["params"]["block2_sepconv2"]
    for layer, fans in (("depthwise", 9 + 9 * 512), ("pointwise", 512 + 512)):
        kernel = np.asarray(params[layer]["kernel"], np.float64)
        assert kernel.var() == pytest.approx(2 / fans, rel=0.06)
        assert np.abs(kernel).max() <= np.sqrt(6 / fans)


def test_norm_and_training():
    """Normalization is Keras's default; `init` makes the same variables for training and inference."""
    assert xx.create_model("xception").norm == Norm(momentum=0.99, epsilon=1e-3)  # type: ignore[attr-defined]
    inference, training = (abstract_init(tiny(), images_of(16), train=train) for train in (False, True))
    chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
