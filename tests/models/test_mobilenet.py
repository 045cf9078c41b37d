"""MobileNet v1 and v2 against the papers' tables, the counts of Keras, and NumPy."""

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
from xxnet_jax.models.mobilenet import V1, V2, Block, Bottlenecks, make_divisible

TINY: Any = {"stem_features": 8, "blocks": (Block(12, 2), Block(12, 1)), "num_classes": 5}
TINY_V2: Any = {"rows": (Bottlenecks(1, 8, 1, 1), Bottlenecks(2, 16, 2, 2)), "last_features": 12, "num_classes": 5}


def tiny(**options: Any) -> Any:
    return xx.create_model("mobilenet", **{**TINY, **options})


def tiny_v2(name: str = "mobilenet_v2", **options: Any) -> Any:
    return xx.create_model(name, **{**TINY_V2, **options})


def counts(name: str, **options: Any) -> tuple[int, int]:
    """(all, trainable)."""
    variables = abstract_init(xx.create_model(name, **options), images_of(64))
    return count_parameters(variables), count_parameters(variables["params"])


# ---------------------------------------------------------------------------------------------- counts


@pytest.mark.parametrize(
    ("name", "options", "total", "trainable"),
    [
        ("mobilenet", {}, 4_253_864, 4_231_976),
        ("mobilenet", {"alpha": 0.75}, 2_601_976, 2_585_560),
        ("mobilenet", {"alpha": 0.5}, 1_342_536, 1_331_592),
        ("mobilenet", {"alpha": 0.25}, 475_544, 470_072),
        ("mobilenet", {"depth_multiplier": 2}, 7_457_928, 7_426_120),
        ("mobilenet", {"num_classes": 10}, 3_239_114, 3_217_226),
        ("mobilenet", {"num_classes": None}, 3_228_864, 3_206_976),
        ("mobilenet_v2", {}, 3_538_984, 3_504_872),
        ("mobilenet_v2", {"alpha": 0.35}, 1_691_208, 1_677_128),
        ("mobilenet_v2", {"alpha": 0.5}, 1_987_224, 1_968_680),
        ("mobilenet_v2", {"alpha": 0.75}, 2_663_064, 2_636_424),
        ("mobilenet_v2", {"alpha": 1.3}, 5_431_048, 5_386_792),
        ("mobilenet_v2", {"alpha": 1.4}, 6_156_712, 6_108_776),
        ("mobilenet_v2", {"num_classes": 10}, 2_270_794, 2_236_682),
        ("mobilenet_v2", {"num_classes": None}, 2_257_984, 2_223_872),
    ],
)
def test_counts(name: str, options: Any, total: int, trainable: int):
    """All and trainable parameters of Keras's networks, for widths, depth multiplier and classes."""
    assert counts(name, **options) == (total, trainable)


@pytest.mark.parametrize(
    ("options", "millions"),
    [
        ({}, 4.2),
        ({"separable": False}, 29.3),  # Table 4: full convolutions
        ({"alpha": 0.75}, 2.6),  # Tables 5 and 6
        ({"blocks": V1[:6] + V1[11:]}, 2.9),  # Table 5: without the five blocks of 512
        ({"alpha": 0.5}, 1.3),
        ({"alpha": 0.25}, 0.5),
    ],
)
def test_tables_of_v1(options: Any, millions: float):
    """The paper's millions of parameters."""
    _, trainable = counts("mobilenet", **options)
    assert round(trainable / 1e6, 1) == millions


def test_parameters_of_blocks():
    """A separable block has 9 C + C F weights, a bottleneck t C^2 + 9 t C + t C F; two for each normalized channel."""
    found = parameters_by_module(xx.create_model("mobilenet"), 64)
    inputs = 32
    for number, (features, _) in enumerate(V1, start=1):
        assert found[f"conv_dw_{number}"] == 9 * inputs + 2 * inputs
        assert found[f"conv_pw_{number}"] == inputs * features + 2 * features
        inputs = features
    assert found["conv_preds"] == 1_025_000
    found = parameters_by_module(xx.create_model("mobilenet_v2"), 64)
    for number, (inputs, features) in {3: (24, 32), 8: (64, 64), 16: (160, 320)}.items():
        wide = 6 * inputs
        assert found[f"block_{number}_expand"] == inputs * wide + 2 * wide
        assert found[f"block_{number}_depthwise"] == 9 * wide + 2 * wide
        assert found[f"block_{number}_project"] == wide * features + 2 * features
    assert found["Conv_1"] == 320 * 1280 + 2 * 1280
    assert len([name for name in found if "depthwise" in name]) == 17 == sum(row.blocks for row in V2)


@pytest.mark.parametrize(
    ("features", "rounded"),
    [(8, 8), (3, 8), (11.9, 16), (12, 16), (18, 24), (17.6, 16), (17.92, 24), (27.9, 32), (44.8, 48), (1792, 1792)],
)
def test_make_divisible(features: float, rounded: int):
    """The nearest multiple of 8, halves upwards; the next one where that is less than .9 of the features."""
    assert make_divisible(features) == rounded


def test_rounding_of_the_frameworks():
    """17.92 features are 17 and then 16 for Keras, 24 for torchvision; 1280 at the end unless alpha is more than 1."""
    for name, width in (("mobilenet_v2", 16), ("mobilenet_v2.torchvision", 24)):
        assert shapes(name, 64, alpha=1.12)["expanded_conv_project_BN"][-1] == width
    ends = [
        abstract_params(xx.create_model("mobilenet_v2", alpha=alpha), 32)["predictions"]["kernel"].shape[0]
        for alpha in (0.35, 1.0, 1.4)
    ]
    assert ends == [1280, 1280, 1792]


# ---------------------------------------------------------------------------------------------- shapes and names

V1_MAPS = (
    "conv1_relu 112 32, conv_dw_1_relu 112 32, conv_pw_1_relu 112 64, conv_dw_2_relu 56 64, conv_pw_2_relu 56 128, "
)
V1_MAPS += "conv_pw_3_relu 56 128, conv_dw_4_relu 28 128, conv_pw_5_relu 28 256, conv_dw_6_relu 14 256, "
V1_MAPS += "conv_pw_11_relu 14 512, conv_dw_12_relu 7 512, conv_pw_12_relu 7 1024, conv_pw_13_relu 7 1024"
V2_MAPS = "Conv1_relu 112 32, expanded_conv_depthwise_relu 112 32, expanded_conv_project_BN 112 16, "
V2_MAPS += "block_1_expand_relu 112 96, block_1_depthwise_relu 56 96, block_1_project_BN 56 24, block_2_add 56 24, "
V2_MAPS += "block_3_project_BN 28 32, block_6_depthwise_relu 14 192, block_9_add 14 64, block_10_project_BN 14 96, "
V2_MAPS += (
    "block_12_add 14 96, block_13_depthwise_relu 7 576, block_15_add 7 160, block_16_project_BN 7 320, out_relu 7 1280"
)


@pytest.mark.parametrize(
    ("name", "maps", "count"),
    [("mobilenet", V1_MAPS, 1 + 2 * 13 + 2), ("mobilenet_v2", V2_MAPS, 1 + 2 + 16 * 3 + 10 + 1 + 2)],
)
def test_endpoints(name: str, maps: str, count: int):
    """Keras's names in order, with the maps of the papers' tables."""
    found, expected = shapes(name, 224), table_of_maps(maps)
    assert expected.items() <= found.items()
    assert [endpoint for endpoint in found if endpoint in expected] == list(expected)
    assert list(found)[-2:] == ["avg_pool", "predictions"]
    assert len(found) == count


@pytest.mark.parametrize("name", ["mobilenet_v2", "mobilenet_v2.torchvision"])
def test_stem_for_small_images(name: str):
    """Without the stride of Conv1, v2 has the maps of images twice as large, with the same parameters."""
    model, larger = xx.create_model(name, stem_stride=1), xx.create_model(name)
    assert endpoint_shapes(model, images_of(32)) == endpoint_shapes(larger, images_of(64))
    assert abstract_init(model, images_of(32)) == abstract_init(larger, images_of(32))


def test_odd_sizes():
    """v1 halves an odd map downwards, but for the stem; v2 upwards, with either padding."""
    found = shapes("mobilenet", 75, 61)
    ends = ["conv1_relu", "conv_dw_2_relu", "conv_dw_4_relu", "conv_dw_6_relu", "conv_dw_12_relu"]
    assert [found[name][:2] for name in ends] == [(38, 31), (19, 15), (9, 7), (4, 3), (2, 1)]
    for name in ("mobilenet_v2", "mobilenet_v2.torchvision"):
        found = shapes(name, 75, 61)
        ends = ["Conv1_relu", *(f"block_{i}_depthwise_relu" for i in (1, 3, 6, 13))]
        assert [found[name][:2] for name in ends] == [(38, 31), (19, 16), (10, 8), (5, 4), (3, 2)]


@pytest.mark.parametrize(
    ("name", "smallest"), [("mobilenet", 31), ("mobilenet_v2", 1), ("mobilenet_v2.torchvision", 1)]
)
def test_smallest_input(name: str, smallest: int):
    """At the smallest size the last map is a pixel."""
    features = xx.create_model(name, num_classes=None)
    assert abstract_apply(features, images_of(smallest)).shape[1:3] == (1, 1)
    with pytest.raises(ValueError, match=rf"smallest size is {smallest}x{smallest}"):
        abstract_init(features, images_of(smallest - 1, smallest))


@pytest.mark.parametrize("name", ["mobilenet", "mobilenet_v2"])
def test_spatial(name: str):
    """A score for every 7x7 pixels of the last map."""
    model = xx.create_model(name, spatial=True)
    assert abstract_apply(model, images_of(224)).shape == (2, 1, 1, 1000)
    assert abstract_apply(model, images_of(288, 256)).shape == (2, 3, 2, 1000)


def test_final_endpoint():
    """Up to an endpoint there are the layers before it and no more."""
    model = xx.create_model("mobilenet", final_endpoint="conv_dw_2_relu")
    assert set(abstract_params(model, 64)) == {"conv1", "conv_dw_1", "conv_pw_1", "conv_dw_2"}
    model = xx.create_model("mobilenet_v2", final_endpoint="block_1_expand_relu")
    assert set(abstract_params(model, 64)) == {
        *("Conv1", "expanded_conv_depthwise", "expanded_conv_project", "block_1_expand")
    }


# ---------------------------------------------------------------------------------------------- what is computed


def randomized(model: Any, side: int) -> Any:
    """Random parameters and running statistics, of a size that keeps most activations between 0 and 6."""
    random = np.random.default_rng(3)

    def draw(leaf: Any) -> jax.Array:
        if leaf.ndim == 1:
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), jnp.float32)
        return jnp.asarray(random.normal(0, np.sqrt(2 / np.prod(leaf.shape[:-1])), leaf.shape), jnp.float32)

    return jax.tree.map(draw, abstract_init(model, images_of(side)))


def unit(x: np.ndarray, variables: Any, name: str, pad: tuple[int, int], stride: int = 1, *, relu: bool = True) -> Any:
    """Convolution of each channel by itself where the kernel is so, normalization, ReLU6, in float64."""
    own = jax.tree.map(
        lambda leaf: np.asarray(leaf, np.float64), {kind: tree[name] for kind, tree in variables.items()}
    )
    kernel, bn, statistics = own["params"]["conv"]["kernel"], own["params"]["bn"], own["batch_stats"]["bn"]
    x = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    inputs, features = kernel.shape[2:]
    each = features * inputs // x.shape[-1]  # features that a group of inputs has

    def seen(o: int) -> slice:
        return slice(o // each * inputs, (o // each + 1) * inputs)

    maps = [[correlate(i[..., seen(o)], kernel[..., o], "valid")[..., 0] for o in range(features)] for i in x]
    y = np.moveaxis(np.array(maps), 1, -1)[:, ::stride, ::stride]
    y = (y - statistics["mean"]) / np.sqrt(statistics["var"] + 1e-3) * bn["scale"] + bn["bias"]
    return np.clip(y, 0, 6) if relu else y


@pytest.mark.parametrize("multiplier", [1, 2])
@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 35)])
def test_logits_of_v1(multiplier: int, height: int, width: int):
    """Logits are those of the definition in float64; a stride of 2 pads below and to the right."""
    model = tiny(depth_multiplier=multiplier)
    variables = randomized(model, 32)
    images = random_images(height, width, scales=(1, 3))
    x = images.astype(np.float64)
    before, after = ((0, 1) if side % 2 == 0 else (1, 1) for side in (height, width))
    assert before == after
    x = unit(x, variables, "conv1", before, 2)
    x = unit(x, variables, "conv_dw_1", (0, 1), 2)
    x = unit(x, variables, "conv_pw_1", (0, 0))
    x = unit(x, variables, "conv_dw_2", (1, 1))
    x = unit(x, variables, "conv_pw_2", (0, 0))
    assert np.mean((x > 0) & (x < 6)) > 0.2
    x = x.mean(axis=(1, 2))
    dense = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"]["conv_preds"])
    expected = x @ dense["kernel"][0, 0] + dense["bias"]
    assert_close(apply(model, variables, images), expected, 1e-5)


@pytest.mark.parametrize(("linear", "residual"), [(True, True), (False, True), (True, False)])
@pytest.mark.parametrize("side", [16, 17])
def test_features_of_v2(linear: bool, residual: bool, side: int):
    """The last map is that of the definition: expansion, depthwise, projection, shortcut where nothing changes."""
    model = tiny_v2(linear=linear, residual=residual, num_classes=None)
    variables = randomized(model, 16)
    images = random_images(side, side, scales=(1, 3))
    half = (0, 1) if side % 2 == 0 else (1, 1)
    x = unit(images.astype(np.float64), variables, "Conv1", half, 2)
    x = unit(x, variables, "expanded_conv_depthwise", (1, 1))
    x = unit(x, variables, "expanded_conv_project", (0, 0), relu=not linear)
    x = unit(x, variables, "block_1_expand", (0, 0))
    x = unit(x, variables, "block_1_depthwise", (0, 1) if x.shape[1] % 2 == 0 else (1, 1), 2)
    x = unit(x, variables, "block_1_project", (0, 0), relu=not linear)
    before = x
    x = unit(x, variables, "block_2_expand", (0, 0))
    x = unit(x, variables, "block_2_depthwise", (1, 1))
    x = unit(x, variables, "block_2_project", (0, 0), relu=not linear)
    x = before + x if residual else x
    expected = unit(x, variables, "Conv_1", (0, 0))
    assert np.mean((expected > 0) & (expected < 6)) > 0.2
    assert_close(apply(model, variables, images), expected, 1e-5)


@pytest.mark.parametrize(
    ("name", "rate"), [("mobilenet", 1e-3), ("mobilenet_v2", 0.0), ("mobilenet_v2.torchvision", 0.2)]
)
def test_dropout(name: str, rate: float):
    """Dropout stands before the logits while training: with rate 1 only the bias is left."""
    assert xx.create_model(name).dropout_rate == rate  # type: ignore[attr-defined]
    model = tiny(dropout_rate=1.0) if name == "mobilenet" else tiny_v2(name, dropout_rate=1.0)
    variables = initialized(model, 32)
    layer = "conv_preds" if name == "mobilenet" else "predictions"
    variables["params"][layer]["bias"] = jnp.arange(5.0)
    images = random_images(32, 32)
    rngs = {"dropout": jax.random.key(0)}
    logits, _ = apply(model, variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
    np.testing.assert_array_equal(logits, np.tile(np.arange(5.0), (2, 1)))
    assert np.ptp(apply(model, variables, images), axis=0).max() > 0


# ---------------------------------------------------------------------------------------------- errors and starts


@pytest.mark.parametrize("alpha", [0, -1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("make", [tiny, tiny_v2])
def test_bad_alpha(make: Any, alpha: float):
    """An alpha that is not a positive number is a ValueError that quotes it."""
    with pytest.raises(ValueError, match=rf"alpha must be .*not {alpha}"):
        abstract_init(make(alpha=alpha), images_of(32))


def test_alpha_that_leaves_nothing():
    """v1 cuts features to integers: where none is left is a ValueError; v2 has at least 8."""
    with pytest.raises(ValueError, match=r"alpha=0.1 leaves none of 8 features"):
        abstract_init(tiny(alpha=0.1), images_of(32))
    assert endpoint_shapes(tiny_v2(alpha=0.01), images_of(32))["Conv1_relu"][-1] == 8


@pytest.mark.parametrize("multiplier", [0, -1])
def test_bad_depth_multiplier(multiplier: int):
    """A depth multiplier that leaves nothing is a ValueError that quotes it."""
    with pytest.raises(ValueError, match=rf"depth_multiplier must be a positive integer, not {multiplier}"):
        abstract_init(tiny(depth_multiplier=multiplier), images_of(32))


def test_initialization():
    """Keras starts uniform with variance 2 / (fan_in + fan_out), torchvision normal with 2 / fan_out."""
    rows = (Bottlenecks(1, 512, 1, 1),)
    for name, pointwise, depthwise, dense in (
        ("mobilenet_v2", 2 / (512 + 512), 2 / (9 + 9 * 512), 2 / 1512),
        ("mobilenet_v2.torchvision", 2 / 512, 2 / (9 * 512), 1e-4),
    ):
        options: Any = {"stem_features": 512, "rows": rows, "last_features": 512, "num_classes": 1000}
        params = initialized(xx.create_model(name, **options), 8)["params"]
        for layer, variance in (("expanded_conv_project", pointwise), ("expanded_conv_depthwise", depthwise)):
            assert np.var(params[layer]["conv"]["kernel"]) == pytest.approx(variance, rel=0.1)
        assert np.var(params["predictions"]["kernel"]) == pytest.approx(dense, rel=0.02)
    with pytest.raises(ValueError, match="glorot_unifrom"):
        abstract_init(tiny(initialization="glorot_unifrom"), images_of(32))


def test_norms_and_training():
    """Normalization is the frameworks'; `init` makes the same variables for training and inference."""
    for name, norm in (
        ("mobilenet", Norm(momentum=0.99, epsilon=1e-3)),
        ("mobilenet_v2", Norm(momentum=0.999, epsilon=1e-3)),
        ("mobilenet_v2.torchvision", Norm(momentum=0.9, epsilon=1e-5)),
    ):
        assert xx.create_model(name).norm == norm  # type: ignore[attr-defined]
    for model in (tiny(), tiny_v2()):
        inference, training = (abstract_init(model, images_of(32), train=train) for train in (False, True))
        chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
