"""Inception-ResNet, against the published counts and tables, and by what its blocks do."""

import contextlib
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from zoo import (
    Shapes,
    abstract_apply,
    abstract_init,
    abstract_params,
    assert_every_parameter_learns,
    endpoint_shapes,
    images_of,
    initialized,
    parameters_by_module,
    random_images,
    shapes,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters
from xxnet_jax.models.inception_resnet import Layer, branches, layer, named_layers

NAMES = ["inception_resnet_v1", "inception_resnet_v2", "inception_resnet_v2.timm"]
every_variant = pytest.mark.parametrize("name", NAMES)

# One or two blocks of a kind and few features: the same code in seconds.
SMALL: dict[str, Any] = {
    "stem": named_layers(
        conv2d_1a="3x3/2V 8",
        conv2d_2a="3x3V 8",
        conv2d_2b="3x3 8",
        maxpool_3a="3x3/2V max",
        conv2d_4a="3x3V 16",
        maxpool_5a="3x3/2V max",
    ),
    "mixed_5b": branches("1x1 8 | 1x1 4, 5x5 8 | 3x3 avg, 1x1 8"),
    "block35": branches("1x1 4 | 1x1 4, 3x3 8"),
    "mixed_6a": branches("3x3/2V 8 | 1x1 4, 3x3/2V 8 | 3x3/2V max"),
    "block17": branches("1x1 4 | 1x1 4, 1x7 4, 7x1 8"),
    "mixed_7a": branches("1x1 4, 3x3/2V 8 | 3x3/2V max"),
    "block8": branches("1x1 4 | 1x1 4, 1x3 4, 3x1 8"),
    "repeats": (1, 2, 1),
    "last": 16,
}


def modules(name: str) -> dict[str, int]:
    """Trainable parameters of each module at 299x299."""
    return parameters_by_module(xx.create_model(name), 299)


# ---------------------------------------------------------------------------------------------- counts


def units(*convolutions: tuple[int, int, int], norm: int = 1) -> int:
    """Weights (pixels of the kernel, inputs, outputs) and `norm` parameters for each output."""
    return sum(pixels * inputs * outputs + norm * outputs for pixels, inputs, outputs in convolutions)


def block35(features: int, widths: tuple[int, int], norm: int) -> int:
    second, third = widths
    inside = units((1, features, 32), (1, features, 32), (9, 32, 32), norm=norm)
    inside += units((1, features, 32), (9, 32, second), (9, second, third), norm=norm)
    return inside + units((1, 64 + third, features))


def block_of_two(features: int, length: int, widths: tuple[int, int, int, int], norm: int) -> int:
    one, first, second, third = widths
    inside = units((1, features, one), (1, features, first), norm=norm)
    inside += units((length, first, second), (length, second, third), norm=norm)
    return inside + units((1, one + third, features))


@pytest.mark.parametrize(("name", "norm"), [("inception_resnet_v2", 1), ("inception_resnet_v2.timm", 2)])
def test_parameters_of_each_module_of_v2(name: str, norm: int):
    """Every module has the parameters of Keras's and timm's tables, by arithmetic, and there are as many as in them."""
    expected = {
        "conv2d_1a": units((9, 3, 32), norm=norm),
        "conv2d_2a": units((9, 32, 32), norm=norm),
        "conv2d_2b": units((9, 32, 64), norm=norm),
        "conv2d_3b": units((1, 64, 80), norm=norm),
        "conv2d_4a": units((9, 80, 192), norm=norm),
        "mixed_5b": units(
            *[(1, 192, 96), (1, 192, 48), (25, 48, 64), (1, 192, 64), (9, 64, 96), (9, 96, 96), (1, 192, 64)], norm=norm
        ),
        **{f"block35_{i}": block35(320, (48, 64), norm) for i in range(1, 11)},
        "mixed_6a": units((9, 320, 384), (1, 320, 256), (9, 256, 256), (9, 256, 384), norm=norm),
        **{f"block17_{i}": block_of_two(1088, 7, (192, 128, 160, 192), norm) for i in range(1, 21)},
        "mixed_7a": units(
            *[(1, 1088, 256), (9, 256, 384), (1, 1088, 256), (9, 256, 288)],
            *[(1, 1088, 256), (9, 256, 288), (9, 288, 320)],
            norm=norm,
        ),
        **{f"block8_{i}": block_of_two(2080, 3, (192, 192, 224, 256), norm) for i in range(1, 11)},
        "conv_7b": units((1, 2080, 1536), norm=norm),
        "predictions": units((1, 1536, 1000)),
    }
    assert modules(name) == expected
    assert sum(expected.values()) == {1: 55_813_192, 2: 55_843_464}[norm]


def test_parameters_of_each_module_of_v1():
    """Every module has the parameters of the paper's figures, by arithmetic, 22,756,328 in all."""
    expected = {
        "conv2d_1a": units((9, 3, 32), norm=2),
        "conv2d_2a": units((9, 32, 32), norm=2),
        "conv2d_2b": units((9, 32, 64), norm=2),
        "conv2d_3b": units((1, 64, 80), norm=2),
        "conv2d_4a": units((9, 80, 192), norm=2),
        "conv2d_4b": units((9, 192, 256), norm=2),
        **{f"block35_{i}": block35(256, (32, 32), 2) for i in range(1, 6)},
        "mixed_6a": units((9, 256, 384), (1, 256, 192), (9, 192, 192), (9, 192, 256), norm=2),
        **{f"block17_{i}": block_of_two(896, 7, (128, 128, 128, 128), 2) for i in range(1, 11)},
        "mixed_7a": units(
            *[(1, 896, 256), (9, 256, 384), (1, 896, 256), (9, 256, 256)],
            *[(1, 896, 256), (9, 256, 256), (9, 256, 256)],
            norm=2,
        ),
        **{f"block8_{i}": block_of_two(1792, 3, (192, 192, 192, 192), 2) for i in range(1, 6)},
        "predictions": units((1, 1792, 1000)),
    }
    assert modules("inception_resnet_v1") == expected
    assert sum(expected.values()) == 22_756_328


def test_facenets_sixth_block():
    """facenet's sixth block8 adds one block's parameters, and is the one without a ReLU."""
    model = xx.create_model("inception_resnet_v1", linear_block=True)
    params = abstract_params(model, 75)
    assert set(params) - set(modules("inception_resnet_v1")) == {"block8_6"}
    assert count_parameters(params) - 22_756_328 == block_of_two(1792, 3, (192, 192, 192, 192), 2)


@pytest.mark.parametrize(
    ("name", "trainable", "total"),
    [
        ("inception_resnet_v1", 22_756_328, 22_783_368),
        ("inception_resnet_v2", 55_813_192, 55_873_736),
        ("inception_resnet_v2.timm", 55_843_464, 55_904_008),
    ],
)
def test_model_info(name: str, trainable: int, total: int):
    """`ModelInfo` and the network have the published numbers, trainable and in all, at any size of the images."""
    info = xx.model_info(name)
    assert (info.parameters, info.total_parameters, info.auxiliary_parameters) == (trainable, total, 0)
    for side in (75, 299):
        variables = abstract_init(xx.create_model(name), images_of(side))
        assert count_parameters(variables["params"]) == trainable
        assert count_parameters(variables) == total


# ---------------------------------------------------------------------------------------------- shapes and names

V2_SHAPES = {
    "conv2d_1a": (149, 149, 32),
    "conv2d_2a": (147, 147, 32),
    "conv2d_2b": (147, 147, 64),
    "maxpool_3a": (73, 73, 64),
    "conv2d_3b": (73, 73, 80),
    "conv2d_4a": (71, 71, 192),
    "maxpool_5a": (35, 35, 192),
    "mixed_5b": (35, 35, 320),
    **{f"block35_{i}": (35, 35, 320) for i in range(1, 11)},
    "mixed_6a": (17, 17, 1088),
    **{f"block17_{i}": (17, 17, 1088) for i in range(1, 21)},
    "mixed_7a": (8, 8, 2080),
    **{f"block8_{i}": (8, 8, 2080) for i in range(1, 11)},
    "conv_7b": (8, 8, 1536),
    "avg_pool": (1536,),
    "predictions": (1000,),
}
V1_SHAPES = {
    "conv2d_1a": (149, 149, 32),
    "conv2d_2a": (147, 147, 32),
    "conv2d_2b": (147, 147, 64),
    "maxpool_3a": (73, 73, 64),
    "conv2d_3b": (73, 73, 80),
    "conv2d_4a": (71, 71, 192),
    "conv2d_4b": (35, 35, 256),
    **{f"block35_{i}": (35, 35, 256) for i in range(1, 6)},
    "mixed_6a": (17, 17, 896),
    **{f"block17_{i}": (17, 17, 896) for i in range(1, 11)},
    "mixed_7a": (8, 8, 1792),
    **{f"block8_{i}": (8, 8, 1792) for i in range(1, 6)},
    "avg_pool": (1792,),
    "predictions": (1000,),
}


@pytest.mark.parametrize(("name", "expected"), [("inception_resnet_v1", V1_SHAPES), ("inception_resnet_v2", V2_SHAPES)])
def test_endpoints(name: str, expected: Shapes):
    """Endpoints have the names, the order and at 299x299 the shapes of the table."""
    assert list(shapes(name, 299).items()) == list(expected.items())


@pytest.mark.parametrize("name", ["inception_resnet_v1"])
def test_smallest_input(name: str):
    """75x75, as in Keras, is the smallest size: every map has a pixel there, and 74x74 is a ValueError that says so."""
    model = xx.create_model(name, num_classes=None)
    assert model.smallest_input() == 75
    assert abstract_apply(model, images_of(75)).shape[1:3] == (1, 1)
    assert all(min(shape) >= 1 for shape in endpoint_shapes(model, images_of(75)).values())
    with pytest.raises(ValueError, match=r"74x74 .*smallest size is 75x75"):
        abstract_params(model, 74)


@pytest.mark.parametrize(
    ("name", "features"),
    [("inception_resnet_v1", 1792), pytest.param("inception_resnet_v2", 1536, marks=pytest.mark.full_size)],
)
def test_pooled_features(name: str, features: int):
    """Without classifier the result is the last map, or one number a channel."""
    for pooling, shape in ((None, (2, 2, 2, features)), ("avg", (2, features)), ("max", (2, features))):
        model = xx.create_model(name, num_classes=None, pooling=pooling, auxiliary_head=True)  # type: ignore[arg-type]
        assert abstract_apply(model, images_of(107)).shape == shape
    assert not {"predictions", "aux"} & set(abstract_params(model, 107, train=True))


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("last", "count"), [("conv2d_1a", 1), ("maxpool_5a", 5), ("block35_1", 7), ("block17_2", 19)])
def test_final_endpoint(last: str, count: int, train: bool):
    """Up to a final endpoint the network has the modules before it and no more, no head either."""
    model = xx.create_model("inception_resnet_v2", final_endpoint=last, auxiliary_head=True)
    found, full = parameters_by_module(model, 75, train=train), modules("inception_resnet_v2")
    assert len(found) == count
    assert found == {module: full[module] for module in found}
    assert abstract_apply(model, images_of(299)).shape[1:] == V2_SHAPES[last]


@every_variant
def test_unknown_endpoint(name: str):
    """An unknown final endpoint is a ValueError that suggests the nearest."""
    model = xx.create_model(name, final_endpoint="block35_99", **SMALL)
    with pytest.raises(ValueError, match=r"'block35_99': did you mean .*block35_1"):
        abstract_params(model, 75)


@pytest.mark.parametrize(("side", "scores"), [(75, 1), (299, 1), (331, 2), (363, 3)])
def test_spatial(side: int, scores: int):
    """With `spatial` there is a score for every 8x8 pixels of the last map, of all of it where it is smaller."""
    model = xx.create_model("inception_resnet_v2", spatial=True, **SMALL)
    assert abstract_apply(model, images_of(side)).shape == (2, scores, scores, 1000)


def test_layers_are_written_as_in_the_figures():
    """ "3x3/2V 384" is a size, a stride, VALID padding and features; "V" and the stride can be left out."""
    assert layer("3x3/2V 384") == Layer(384, (3, 3), 2, "VALID")
    assert layer("1x7 160") == Layer(160, (1, 7), 1, "SAME")
    assert layer("3x3V 32") == Layer(32, (3, 3), 1, "VALID")
    assert branches("1x1 8, 3x3 avg | 3x3/2V max") == (
        (Layer(8, (1, 1), 1, "SAME"), Layer("avg", (3, 3), 1, "SAME")),
        (Layer("max", (3, 3), 2, "VALID"),),
    )


# ---------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(("name", "head"), [("inception_resnet_v1", False), ("inception_resnet_v2", True)])
def test_train_does_not_change_the_variables(name: str, head: bool):
    """`init` makes the same variables for training and inference, head or not."""
    model = xx.create_model(name, auxiliary_head=head)
    inference, training = (abstract_init(model, images_of(75), train=train) for train in (False, True))
    chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
    assert {"params", "batch_stats"} <= set(training)
    assert "aux_logits" not in training
    assert ("aux" in training["params"]) == head


def test_parameters_of_the_auxiliary_head():
    """TF-Slim's head: 1x1 from 1088 to 128, 5x5 from 128 to 768, 768 to 1000, with 896 biases of norms."""
    params = abstract_params(xx.create_model("inception_resnet_v2", auxiliary_head=True), 299)
    assert count_parameters(params["aux"]) == units((1, 1088, 128), (25, 128, 768), (1, 768, 1000)) == 3_366_760
    assert count_parameters(params) == 55_813_192 + 3_366_760


@pytest.mark.parametrize("side", [75, 139, 299])
def test_auxiliary_logits(side: int):
    """The head has the same parameters at every size, and its logits are collected while training only, in float32."""
    model = xx.create_model("inception_resnet_v2", auxiliary_head=True, dtype=jnp.bfloat16, **SMALL)
    images = images_of(side)
    kernels = [leaf.shape for leaf in jax.tree.leaves(abstract_params(model, side)["aux"]) if leaf.ndim > 1]
    assert sorted(kernels) == [(1, 1, 40, 128), (5, 5, 128, 768), (768, 1000)]
    logits, state = abstract_apply(model, images, train=True, rngs=None, mutable=["batch_stats", "aux_logits"])
    found = state["aux_logits"]["heads"]
    assert set(found) == {"aux"}
    assert {(x.shape, x.dtype) for x in (logits, found["aux"])} == {((2, 1000), np.dtype(np.float32))}
    inference, state = abstract_apply(model, images, mutable=["aux_logits"])
    assert not state
    assert (inference.shape, inference.dtype) == ((2, 1000), jnp.float32)


@pytest.mark.parametrize("name", ["inception_resnet_v2"])
def test_logits_of_bfloat16_are_float32(name: str):
    """Activations have the dtype of the computation, logits are float32."""
    model = xx.create_model(name, dtype=jnp.bfloat16)
    logits, published = abstract_apply(model, images_of(75), mutable=["intermediates"])
    assert logits.dtype == jnp.float32
    dtypes = {name: x.dtype for name, x in published["intermediates"]["endpoints"].items()}
    assert set(dtypes.values()) == {jnp.dtype(jnp.bfloat16)} or dtypes.pop("predictions") == jnp.float32
    assert dtypes["block17_1"] == jnp.bfloat16


@pytest.mark.parametrize(("name", "rate"), [("inception_resnet_v1", 0.2), ("inception_resnet_v2", 0.0)])
def test_dropout(name: str, rate: float):
    """The paper drops 20 % before the logits, Keras nothing: only v1 draws random numbers while training."""
    model: Any = xx.create_model(name, **SMALL)
    assert model.dropout_rate == rate
    with pytest.raises(InvalidRngError) if rate else contextlib.nullcontext():
        abstract_apply(model, images_of(75), train=True, rngs=None, mutable=["batch_stats"])


def test_scale_zero_makes_blocks_the_identity():
    """With scale 0 a block returns what it got; with twice the scale the linear distance to that is twice as large."""
    images = jnp.asarray(random_images(75, 75))
    small = xx.create_model("inception_resnet_v2", num_classes=3, **SMALL)
    variables = initialized(small, 75)

    @jax.jit
    def points(variables: Any) -> list[Any]:
        found = []
        for scale in (0.0, 1e-3, 2e-3):
            model = xx.create_model("inception_resnet_v2", num_classes=3, **SMALL, scales=(scale,) * 3)
            _, state = model.apply(variables, images, train=True, mutable=["intermediates", "batch_stats"])
            found.append(state["intermediates"]["endpoints"])
        return found

    zero, one, two = jax.tree.map(np.asarray, points(variables))
    for before, after in (("mixed_5b", "block35_1"), ("mixed_6a", "block17_2"), ("mixed_7a", "block8_1")):
        np.testing.assert_array_equal(zero[before], zero[after])
    # On the first block, where the three networks still agree before it, and where no ReLU cuts.
    uncut = (zero["mixed_5b"] > 0.1) & (two["block35_1"] > 0.05)
    assert uncut.mean() > 0.1
    first, second = (points["block35_1"] - points["mixed_5b"] for points in (one, two))
    np.testing.assert_allclose(second[uncut], 2 * first[uncut], rtol=0, atol=1e-6)
    assert np.abs(first[uncut]).max() > 1e-4
    # The last block is linear and its scale is 1 whatever `scales` says: it does something, below zero too.
    assert np.abs(zero["block8_2"] - zero["block8_1"]).max() > 0.01
    assert zero["block8_2"].min() < 0 <= zero["block8_1"].min()


def test_every_parameter_learns():
    """Every parameter, those of the head too, gets a finite gradient that is not zero, from images of 107x107."""
    model = xx.create_model("inception_resnet_v2", num_classes=3, auxiliary_head=True, **SMALL)
    assert_every_parameter_learns(model, initialized(model, 107), random_images(107, 107))


def test_initialization():
    """Kernels of Keras's variant start as Glorot's, of v1 as He's, of timm's as torch's: by their deviation."""
    expected = {
        "inception_resnet_v1": np.sqrt(2 / 27),
        "inception_resnet_v2": np.sqrt(2 / (27 + 9 * 32)),
        "inception_resnet_v2.timm": np.sqrt(1 / 3 / 27),
    }
    for name, deviation in expected.items():
        model = xx.create_model(name, final_endpoint="conv2d_1a")
        params = initialized(model, 75)["params"]
        # 864 draws: the deviation of a sample is within 10 % by four of its own.
        assert np.std(params["conv2d_1a"]["conv"]["kernel"]) == pytest.approx(deviation, rel=0.1)
    with pytest.raises(ValueError, match="did you mean he_normal"):
        abstract_params(xx.create_model("inception_resnet_v2", initialization="he_norml"), 75)
