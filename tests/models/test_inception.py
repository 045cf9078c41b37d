"""Inception v2 to v4: the tables of the papers and of TF-Slim, and the variants."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
import pytest
from inceptions import COUNTS, every_variant, network, short, tiny
from zoo import (
    Shapes,
    abstract_apply,
    abstract_init,
    abstract_params,
    endpoint_shapes,
    images_of,
    nominal_images,
    parameters_by_module,
    shapes,
    trace,
)

import xxnet_jax as xx
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import count_parameters
from xxnet_jax.models.inception import VARIANTS, Inception
from xxnet_jax.models.inception_tables import Row, Unit, table
from xxnet_jax.models.layers import Conv

# ----------------------------------------------------------------------------------------------- published counts


def test_every_variant_is_counted():
    """The registered names of the family are the ones that are counted here."""
    assert set(COUNTS) == set(VARIANTS) == set(xx.list_models("inception_v[234]*"))


@every_variant
def test_parameters(name: str):
    """Trainable parameters with and without auxiliary head, and running statistics, are the published ones."""
    trainable, auxiliary, statistics = COUNTS[name]
    variables = abstract_init(network(name), nominal_images(name))
    assert count_parameters(variables["params"]) == trainable + auxiliary
    assert count_parameters(variables["params"].get("AuxLogits", {})) == auxiliary
    assert count_parameters(variables["batch_stats"]) == statistics
    info = xx.model_info(name)
    assert (info.parameters, info.auxiliary_parameters) == (trainable, auxiliary)
    assert info.total_parameters == trainable + statistics


@pytest.mark.parametrize(
    ("name", "options", "trainable", "total"),
    [
        ("inception_v2", {}, 10_153_336, 10_173_112),
        ("inception_v2", {"separable_stem": False}, 10_160_032, None),
        ("inception_v3", {}, 21_768_352, 21_802_784),
        ("inception_v3.slim", {}, 21_768_352, 21_802_784),
        ("inception_v4.slim", {}, 41_111_232, 41_174_400),
    ],
)
def test_parameters_without_classifier(name: str, options: dict[str, Any], trainable: int, total: int | None):
    """The networks without logits and auxiliary head have TF-Slim's and Keras's counts."""
    variables = abstract_init(network(name, num_classes=None, **options), nominal_images(name))
    found = count_parameters(variables["params"])
    assert found == trainable
    if total is not None:
        assert found + count_parameters(variables["batch_stats"]) == total


def test_ten_classes():
    """Keras's InceptionV3 with 10 classes has 21,823,274 parameters, TF-Slim's v4 with its head 43,723,860."""
    keras = abstract_init(network("inception_v3", num_classes=10), images_of(299))
    assert count_parameters(keras) == 21_823_274
    slim = abstract_init(network("inception_v4.slim", num_classes=10), images_of(299))
    assert count_parameters(slim["params"]) == 43_723_860


V2_PARAMETERS = {
    "Conv2d_1a_7x7": 2_776,
    "Conv2d_2b_1x1": 4_160,
    "Conv2d_2c_3x3": 110_784,
    "Mixed_3b": 218_592,
    "Mixed_3c": 259_616,
    "Mixed_4a": 384_544,
    "Mixed_4b": 609_120,
    "Mixed_4c": 664_448,
    "Mixed_4d": 894_944,
    "Mixed_4e": 1_106_976,
    "Mixed_5a": 1_438_720,
    "Mixed_5b": 2_180_672,
    "Mixed_5c": 2_277_984,
    "Logits": 1_025_000,
}
V3_PARAMETERS = {
    "Conv2d_1a_3x3": 896,
    "Conv2d_2a_3x3": 9_248,
    "Conv2d_2b_3x3": 18_496,
    "Conv2d_3b_1x1": 5_200,
    "Conv2d_4a_3x3": 138_432,
    "Mixed_5b": 255_440,
    "Mixed_5c": 276_976,
    "Mixed_5d": 284_656,
    "Mixed_6a": 1_152_640,
    "Mixed_6b": 1_295_872,
    "Mixed_6c": 1_689_280,
    "Mixed_6d": 1_689_280,
    "Mixed_6e": 2_140_032,
    "AuxLogits": 98_432 + 2_458_368 + 769_000,
    "Mixed_7a": 1_697_024,
    "Mixed_7b": 5_041_344,
    "Mixed_7c": 6_073_536,
    "Logits": 2_049_000,
}
V4_PARAMETERS = {
    "Conv2d_1a_3x3": 896,
    "Conv2d_2a_3x3": 9_248,
    "Conv2d_2b_3x3": 18_496,
    "Mixed_3a": 55_392,
    "Mixed_4a": 188_864,
    "Mixed_5a": 331_968,
    "Mixed_6a": 2_305_056,
    "Mixed_7a": 2_745_856,
    **{f"Mixed_5{letter}": 317_024 for letter in "bcde"},
    **{f"Mixed_6{letter}": 2_933_984 for letter in "bcdefgh"},
    **{f"Mixed_7{letter}": 4_549_824 for letter in "bcd"},
    "AuxLogits": 131_200 + 2_458_368 + 769_000,
    "Logits": 1_537_000,
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [("inception_v2", V2_PARAMETERS), ("inception_v3.slim", V3_PARAMETERS), ("inception_v4.slim", V4_PARAMETERS)],
)
def test_parameters_by_module(name: str, expected: dict[str, int]):
    """Every module has TF-Slim's count, weights and biases (beta) without scales."""
    assert parameters_by_module(network(name), xx.model_info(name).input_shape[0]) == expected


@pytest.mark.parametrize(("multiplier", "expected"), [(0.25, 895_159), (0.5, 3_055_088), (2.0, 42_635_840)])
def test_width_multiplier(multiplier: float, expected: int):
    """Narrower and wider v2 have TF-Slim's counts; the depthwise stem multiplies channels by 5 at a quarter."""
    params = abstract_params(network("inception_v2", width_multiplier=multiplier), 224)
    assert count_parameters(params) == expected
    depthwise = params["Conv2d_1a_7x7"]["depthwise"]["kernel"]
    assert depthwise.shape == (7, 7, 1, 3 * (5 if multiplier == 0.25 else 8))


def test_min_depth():
    """No convolution has fewer features than `min_depth`, and the multiplier rounds down."""
    model = short("inception_v3.slim", width_multiplier=0.1, min_depth=5)
    features = {name: shape[-1] for name, shape in endpoint_shapes(model, images_of(75)).items()}
    assert features["Conv2d_1a_3x3"] == 5  # 3.2
    assert features["Conv2d_4a_3x3"] == 19  # 19.2
    assert features["Mixed_5b"] == 6 + 6 + 9 + 5  # 6.4, 6.4, 9.6, 3.2


@pytest.mark.parametrize("options", [{"width_multiplier": 0.0}, {"width_multiplier": -1.0}, {"min_depth": 0}])
def test_senseless_widths(options: dict[str, Any]):
    """A multiplier or a minimum that is not positive is a ValueError that quotes both."""
    with pytest.raises(ValueError, match="width_multiplier must be positive and min_depth at least 1"):
        abstract_params(network("inception_v2", **options), 32)


# --------------------------------------------------------------------------------------------- maps and endpoints


def test_maps_of_v2():
    """Endpoints and maps of BN-Inception at 224."""
    expected: Shapes = {
        "Conv2d_1a_7x7": (112, 112, 64),
        "MaxPool_2a_3x3": (56, 56, 64),
        "Conv2d_2b_1x1": (56, 56, 64),
        "Conv2d_2c_3x3": (56, 56, 192),
        "MaxPool_3a_3x3": (28, 28, 192),
        "Mixed_3b": (28, 28, 256),
        "Mixed_3c": (28, 28, 320),
        **{f"Mixed_4{letter}": (14, 14, 576) for letter in "abcde"},
        **{f"Mixed_5{letter}": (7, 7, 1024) for letter in "abc"},
        "AvgPool_1a": (1024,),
        "PreLogits": (1024,),
        "Logits": (1000,),
    }
    found = shapes("inception_v2", 224)
    assert list(found.items()) == list(expected.items())


V3_MAPS: Shapes = {
    "Conv2d_1a_3x3": (149, 149, 32),
    "Conv2d_2a_3x3": (147, 147, 32),
    "Conv2d_2b_3x3": (147, 147, 64),
    "MaxPool_3a_3x3": (73, 73, 64),
    "Conv2d_3b_1x1": (73, 73, 80),
    "Conv2d_4a_3x3": (71, 71, 192),
    "MaxPool_5a_3x3": (35, 35, 192),
    "Mixed_5b": (35, 35, 256),
    "Mixed_5c": (35, 35, 288),
    "Mixed_5d": (35, 35, 288),
    **{f"Mixed_6{letter}": (17, 17, 768) for letter in "abcde"},
    "Mixed_7a": (8, 8, 1280),
    "Mixed_7b": (8, 8, 2048),
    "Mixed_7c": (8, 8, 2048),
}


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("inception_v3.slim", ("AvgPool_1a", "PreLogits", "Logits")),
        ("inception_v3.torchvision", ("avgpool", "dropout", "fc")),
        ("inception_v3.timm", ("global_pool", "fc")),
    ],
)
def test_maps_of_v3(name: str, head: tuple[str, ...]):
    """Endpoints and maps of Inception v3 at 299, by TF-Slim's names."""
    found = shapes(name, 299)
    expected = V3_MAPS | dict.fromkeys(head[:-1], (2048,)) | {head[-1]: (1000,)}
    assert list(found.items()) == list(expected.items())


def test_maps_of_v3_by_the_names_of_keras():
    """The base network has the same maps under Keras's names, mixed0 to mixed10, avg_pool and predictions."""
    found = shapes("inception_v3", 299)
    stem = ["conv0", "conv1", "conv2", "pool1", "conv3", "conv4", "pool2"]
    assert list(found) == [*stem, *(f"mixed{i}" for i in range(11)), "avg_pool", "predictions"]
    assert list(found.values()) == [*V3_MAPS.values(), (2048,), (1000,)]


def test_maps_of_v4():
    """Endpoints and maps of Inception v4 at 299."""
    expected: Shapes = {
        "Conv2d_1a_3x3": (149, 149, 32),
        "Conv2d_2a_3x3": (147, 147, 32),
        "Conv2d_2b_3x3": (147, 147, 64),
        "Mixed_3a": (73, 73, 160),
        "Mixed_4a": (71, 71, 192),
        "Mixed_5a": (35, 35, 384),
        **{f"Mixed_5{letter}": (35, 35, 384) for letter in "bcde"},
        **{f"Mixed_6{letter}": (17, 17, 1024) for letter in "abcdefgh"},
        **{f"Mixed_7{letter}": (8, 8, 1536) for letter in "abcd"},
    }
    base = shapes("inception_v4", 299, num_classes=None)
    assert list(base.items()) == list(expected.items())
    slim = shapes("inception_v4.slim", 299)
    assert list(slim) == [*expected, "global_pool", "PreLogitsFlatten", "Logits"]


def test_branches_by_name():
    """Convolutions of a module are named by TF-Slim's rule, with their kernels."""
    params = abstract_params(network("inception_v3.slim", num_classes=None), 75)
    kernels = {name: unit["conv"]["kernel"].shape for name, unit in params["Mixed_7b"].items()}
    assert kernels == {
        "Branch_0_Conv2d_0a_1x1": (1, 1, 1280, 320),
        "Branch_1_Conv2d_0a_1x1": (1, 1, 1280, 384),
        "Branch_1_Conv2d_0b_1x3": (1, 3, 384, 384),
        "Branch_1_Conv2d_0c_3x1": (3, 1, 384, 384),
        "Branch_2_Conv2d_0a_1x1": (1, 1, 1280, 448),
        "Branch_2_Conv2d_0b_3x3": (3, 3, 448, 384),
        "Branch_2_Conv2d_0c_1x3": (1, 3, 384, 384),
        "Branch_2_Conv2d_0d_3x1": (3, 1, 384, 384),
        "Branch_3_Conv2d_0b_1x1": (1, 1, 1280, 192),
    }
    assert {"Branch_0_Conv2d_1a_3x3", "Branch_1_Conv2d_0b_3x3", "Branch_1_Conv2d_1a_3x3"} <= params["Mixed_6a"].keys()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("inception_v3", {}, 5_713_216_096),
        ("inception_v2", {}, 1.934e9 + 1.024e6),
        ("inception_v2", {"separable_stem": False}, 2.018e9 + 1.024e6),
        ("inception_v4", {}, 12.25e9),
    ],
)
def test_multiply_accumulates(name: str, options: dict[str, Any], expected: float):
    """Multiply-accumulates of convolutions and logits: Keras's v3 to the digit, the others to the digits published."""
    total = 0

    def count(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        nonlocal total
        result = call(*args, **kwargs)
        if isinstance(context.module, (Conv, nn.Dense)):
            kernel = context.module.variables["params"]["kernel"].shape
            total += int(np.prod(kernel)) * int(np.prod(result.shape[1:-1]))
        return result

    with nn.intercept_methods(count):
        trace(network(name, **options), nominal_images(name), train=False)
    if isinstance(expected, int):
        assert total == expected
    assert total == pytest.approx(expected, rel=1e-3)


def test_fine_tuning_of_the_notes():
    """Behind mixed8 there are 11,114,880 trainable parameters, the second phase of the notes' fine-tuning."""
    params = abstract_params(network("inception_v3", num_classes=None), 299)
    assert count_parameters({name: params[name] for name in ("mixed9", "mixed10")}) == 13_418_056 - 2_303_176


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_v4.slim"])
def test_final_endpoint_makes_nothing_behind_it(name: str):
    """Truncated at any endpoint there are the parameters of the modules up to it, and no auxiliary head."""
    images = images_of(75)
    whole, maps = abstract_params(tiny(name), 75), endpoint_shapes(tiny(name), images)
    order = list(maps)
    for endpoint in (order[0], order[4], order[-4], order[-1]):
        model = tiny(name, final_endpoint=endpoint)
        params = abstract_params(model, 75, train=True)
        upto = order[: order.index(endpoint) + 1]
        assert params.keys() == {module for module in whole if module in upto}
        assert all(params[module] == whole[module] for module in params)
        assert abstract_apply(model, images).shape == (2, *maps[endpoint])


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_v4"])
def test_unknown_endpoint(name: str):
    """An endpoint that does not exist is a ValueError that suggests the nearest."""
    meant = {"inception_v2": "Mixed_4a", "inception_v3": "mixed3", "inception_v4": "Mixed_6a"}[name]
    with pytest.raises(ValueError, match=rf"unknown endpoint of Inception '{meant}x': did you mean .*{meant}"):
        abstract_init(tiny(name, final_endpoint=f"{meant}x"), images_of(75))


# -------------------------------------------------------------------------------------------------- sizes of images


def test_224_with_classifier():
    """Images of 224 (the notes' example) have the same 23,851,784 parameters, a last map of 5x5 and 1000 logits."""
    model = network("inception_v3")
    assert count_parameters(abstract_init(model, images_of(224))) == 23_851_784
    found = endpoint_shapes(model, images_of(224))
    assert found["mixed10"] == (5, 5, 2048)
    assert found["predictions"] == (1000,)


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("inception_v2", {}, 1),
        ("inception_v3", {}, 75),  # Keras's minimum today; 139 in the notes
        ("inception_v3", {"stem_stride": 1}, 39),
        ("inception_v3", {"stem_stride": 1, "stem_pool": False}, 21),
        ("inception_v3.torchvision", {"asymmetric": False, "two_3x3": False}, 75),
        ("inception_v3.slim", {"two_3x3": True}, 75),
        ("inception_v4", {}, 75),
        ("inception_v4.slim", {"two_3x3": False}, 75),
        ("inception_v3", {"final_endpoint": "pool1"}, 11),
    ],
)
def test_smallest_input(name: str, options: dict[str, Any], expected: int):
    """At the smallest size every map has a pixel, and one pixel less is a ValueError that names it."""
    model = short(name, num_classes=None, **options)
    assert model.smallest_input() == network(name, num_classes=None, **options).smallest_input() == expected
    for height, width in ((expected, expected), (expected + 7, expected), (expected, expected + 7)):
        found = endpoint_shapes(model, images_of(height, width))
        assert all(min(shape) >= 1 for shape in found.values())
        assert 1 in list(found.values())[-1][:2]
    for height, width in ((expected - 1, expected), (expected, expected - 1)):
        with pytest.raises(ValueError, match=f"the smallest size is {expected}x{expected}"):
            endpoint_shapes(model, images_of(height, width))


def test_the_smallest_map_is_one_pixel():
    """At 75 pixels the last map of v3 and v4 is 1x1, as in Keras, and at 139 it is 3x3."""
    for name in ("inception_v3", "inception_v4"):
        for side, expected in ((75, 1), (139, 3), (331, 9)):
            found = list(endpoint_shapes(short(name, num_classes=None), images_of(side)).values())
            assert found[-1][:2] == (expected, expected)


@pytest.mark.parametrize(
    ("side", "options"),
    [(151, {"stem_stride": 1}), (79, {"stem_stride": 1, "stem_pool": False})],
)
def test_stems_for_small_images(side: int, options: dict[str, Any]):
    """Section 8 of v3's paper: without the first stride, and without the first pool, small images end as 8x8 maps."""
    model = network("inception_v3", **options)
    found = endpoint_shapes(model, images_of(side))
    assert found["mixed10"] == (8, 8, 2048)
    assert found["mixed7"] == (17, 17, 768)
    assert ("pool1" in found) == options.get("stem_pool", True)
    assert count_parameters(abstract_init(model, images_of(side))) == 23_851_784


def test_stem_without_a_pool_of_its_own():
    """Where the stem has no pool by itself (v4), it cannot be left out."""
    with pytest.raises(ValueError, match="stem_pool=False"):
        abstract_init(tiny("inception_v4", stem_pool=False), images_of(299))


# ------------------------------------------------------------------------------------------- factorized convolutions


def conv_parameters(*kernels: tuple[int, int, int, int]) -> int:
    """Weights and beta of convolutions height x width x features in x features out."""
    return sum(h * w * i * o + o for h, w, i, o in kernels)


def test_two_3x3_for_5x5():
    """Each of the three 5x5 of v3, 48 to 64 features, becomes 3x3 48 to 64 and 3x3 64 to 64 (paper, section 3.1)."""
    before = conv_parameters((5, 5, 48, 64))
    after = conv_parameters((3, 3, 48, 64), (3, 3, 64, 64))
    params = abstract_params(network("inception_v3", two_3x3=True), 299)
    assert count_parameters(params) == 23_817_352 + 3 * (after - before)
    assert params["mixed0"]["Branch_1_Conv2d_0c_3x3"]["conv"]["kernel"].shape == (3, 3, 64, 64)


def test_5x5_for_two_3x3():
    """One 5x5 in the place of the two 3x3 of v3's third branches: 64 to 96 features at four places."""
    before = conv_parameters((3, 3, 64, 96), (3, 3, 96, 96))
    after = conv_parameters((5, 5, 64, 96))
    params = abstract_params(network("inception_v3", two_3x3=False), 299)
    assert count_parameters(params) == 23_817_352 + 4 * (after - before)


def test_plain_7x7():
    """One 7x7 for each 1x7 and 7x1 of v3: three in each module of the middle maps, one in the second reduction."""
    expected = 23_817_352
    for c in (128, 160, 160, 192):
        expected += conv_parameters((7, 7, c, 192)) - conv_parameters((1, 7, c, c), (7, 1, c, 192))
        expected += conv_parameters((7, 7, c, c), (7, 7, c, 192))
        expected -= conv_parameters((7, 1, c, c), (1, 7, c, c), (7, 1, c, c), (1, 7, c, 192))
    expected += conv_parameters((7, 7, 192, 192)) - conv_parameters((1, 7, 192, 192), (7, 1, 192, 192))
    params = abstract_params(network("inception_v3", asymmetric=False), 299)
    assert count_parameters(params) == expected


@pytest.mark.parametrize("name", ["inception_v2", "inception_v3", "inception_v4"])
@pytest.mark.parametrize("side", [96, 111])
def test_factorization_keeps_the_maps(name: str, side: int):
    """Plain or factorized, padded or not, strided or not: the maps are the same, at an even and an odd size."""
    published = endpoint_shapes(short(name), images_of(side))
    for options in ({"asymmetric": False}, {"two_3x3": True}, {"two_3x3": False}):
        assert endpoint_shapes(short(name, **options), images_of(side)) == published


def test_merged_convolution_sees_the_same_pixels():
    """Without activations, a 3x3 and a strided 3x3 are the merged 5x5 with the convolution of their kernels, away from
    the sides of the map."""
    first, second = Unit(1, (3, 3)), Unit(1, (3, 3), 2, "VALID")
    model = Inception(rows=(Row("pair", ((first, second),)),), min_depth=1, two_3x3=False)
    merged = model.layout()[0].branches[0][0]
    assert merged == Unit(1, (5, 5), 2, ((1, 1), (1, 1)))
    images = np.random.default_rng(0).normal(size=(1, 9, 10, 1)).astype(np.float32)

    def convolved(x: Any, unit: Any, kernel: Any) -> Any:
        layer = Conv(1, unit.kernel, (unit.stride, unit.stride), unit.padding, use_bias=False)
        return layer.apply({"params": {"kernel": jnp.asarray(kernel, jnp.float32)[:, :, None, None]}}, x)

    three = np.ones((3, 3))
    five = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1])
    once = convolved(images, merged, five)
    twice = convolved(convolved(images, first, three), second, three)
    assert once.shape == twice.shape
    # At the sides the first convolution's map is cut. Sums of up to 81 terms in float32.
    np.testing.assert_allclose(once[:, 1:-1, 1:-1], twice[:, 1:-1, 1:-1], rtol=1e-4, atol=1e-4)


def test_a_table_as_text():
    """The rows may be the text of a table; what is no layer is named."""
    text = "stem 16:3x3/2\nmixed 16 | 16:1x3 16:3x1 | max 16"
    images = images_of(32)
    assert endpoint_shapes(Inception(rows=text), images) == endpoint_shapes(Inception(rows=table(text)), images)
    for wrong, message in (("stem 16:3x", "'16:3x' of a table is no layer"), ("stem", "the row 'stem' .* no layers")):
        with pytest.raises(InvalidArgument, match=message):
            Inception(rows=wrong).layout()
