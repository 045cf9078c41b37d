"""Inception-ResNet, against the published counts and tables, NumPy, and Keras and timm (`-m oracle`)."""

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError

import xxnet_jax as xx
from xxnet_jax.models import Network, count_parameters
from xxnet_jax.models.inception_resnet import Layer, branches, layer, named_layers

NAMES = ["inception_resnet_v1", "inception_resnet_v2", "inception_resnet_v2.timm"]
every_variant = pytest.mark.parametrize("name", NAMES)

# What runs once is compiled in haste.
IN_HASTE: Any = {"xla_backend_optimization_level": 0}
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


def images_of(side: int, batch: int = 1) -> Any:
    return jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)


def abstract_init(model: Network, images: Any, *, train: bool = False) -> Any:
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=train), images)


def abstract_apply(model: Network, images: Any, *, train: bool = False, **arguments: Any) -> Any:
    variables = abstract_init(model, images)
    return jax.eval_shape(lambda v, x: model.apply(v, x, train=train, **arguments), variables, images)


@functools.cache
def modules(name: str) -> dict[str, int]:
    """Trainable parameters of each module at 299x299."""
    params = abstract_init(xx.create_model(name), images_of(299))["params"]
    return {module: count_parameters(tree) for module, tree in params.items()}


def endpoint_shapes(model: Network, images: Any) -> dict[str, tuple[int, ...]]:
    _, published = abstract_apply(model, images, mutable=["intermediates"])
    return {name: x.shape[1:] for name, x in published["intermediates"]["endpoints"].items()}


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
    params = abstract_init(model, images_of(75))["params"]
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


@pytest.mark.parametrize(("name", "shapes"), [("inception_resnet_v1", V1_SHAPES), ("inception_resnet_v2", V2_SHAPES)])
def test_endpoints(name: str, shapes: dict[str, tuple[int, ...]]):
    """Endpoints have the names, the order and at 299x299 the shapes of the table."""
    names: list[str] = []
    model = xx.create_model(name)

    def note(x: jax.Array) -> Any:
        _, state = model.init_with_output(jax.random.key(0), x, train=False, mutable=True)
        names.extend(state["intermediates"]["endpoints"])
        return state["intermediates"]["endpoints"]

    found = jax.eval_shape(note, images_of(299))
    assert {key: x.shape[1:] for key, x in found.items()} == shapes
    assert names == list(shapes)


@every_variant
def test_smallest_input(name: str):
    """75x75, as in Keras, is the smallest size: every map has a pixel there, and 74x74 is a ValueError that says so."""
    model = xx.create_model(name, num_classes=None)
    assert model.smallest_input() == 75
    assert abstract_apply(model, images_of(75)).shape[1:3] == (1, 1)
    assert all(min(shape) >= 1 for shape in endpoint_shapes(model, images_of(75)).values())
    with pytest.raises(ValueError, match=r"74x74 .*smallest size is 75x75"):
        abstract_init(model, images_of(74))


@pytest.mark.parametrize(("name", "features"), [("inception_resnet_v1", 1792), ("inception_resnet_v2", 1536)])
def test_pooled_features(name: str, features: int):
    """Without classifier the result is the last map, or one number a channel."""
    for pooling, shape in ((None, (2, 2, 2, features)), ("avg", (2, features)), ("max", (2, features))):
        model = xx.create_model(name, num_classes=None, pooling=pooling, auxiliary_head=True)  # type: ignore[arg-type]
        assert abstract_apply(model, images_of(107, 2)).shape == shape
    assert not {"predictions", "aux"} & set(abstract_init(model, images_of(107), train=True)["params"])


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize(("last", "count"), [("conv2d_1a", 1), ("maxpool_5a", 5), ("block35_1", 7), ("block17_2", 19)])
def test_final_endpoint(last: str, count: int, train: bool):
    """Up to a final endpoint the network has the modules before it and no more, no head either."""
    model = xx.create_model("inception_resnet_v2", final_endpoint=last, auxiliary_head=True)
    params = abstract_init(model, images_of(75), train=train)["params"]
    assert len(params) == count
    full = modules("inception_resnet_v2")
    assert {module: count_parameters(tree) for module, tree in params.items()} == {name: full[name] for name in params}
    assert abstract_apply(model, images_of(299)).shape[1:] == V2_SHAPES[last]


@every_variant
def test_unknown_endpoint(name: str):
    """An unknown final endpoint is a ValueError that suggests the nearest."""
    model = xx.create_model(name, final_endpoint="block35_99", **SMALL)
    with pytest.raises(ValueError, match=r"'block35_99': did you mean .*block35_1"):
        abstract_init(model, images_of(75))


@pytest.mark.parametrize(("side", "scores"), [(75, 1), (299, 1), (331, 2), (363, 3)])
def test_spatial(side: int, scores: int):
    """With `spatial` there is a score for every 8x8 pixels of the last map, of all of it where it is smaller."""
    model = xx.create_model("inception_resnet_v2", spatial=True, **SMALL)
    assert abstract_apply(model, images_of(side, 2)).shape == (2, scores, scores, 1000)


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


@every_variant
@pytest.mark.parametrize("head", [False, True])
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
    params = abstract_init(xx.create_model("inception_resnet_v2", auxiliary_head=True), images_of(299))["params"]
    assert count_parameters(params["aux"]) == units((1, 1088, 128), (25, 128, 768), (1, 768, 1000)) == 3_366_760
    assert count_parameters(params) == 55_813_192 + 3_366_760


@pytest.mark.parametrize("side", [75, 139, 299])
def test_auxiliary_logits(side: int):
    """The head has the same parameters at every size, and its logits are collected while training only, in float32."""
    model = xx.create_model("inception_resnet_v2", auxiliary_head=True, dtype=jnp.bfloat16, **SMALL)
    images = images_of(side, 2)
    kernels = [leaf.shape for leaf in jax.tree.leaves(abstract_init(model, images)["params"]["aux"]) if leaf.ndim > 1]
    assert sorted(kernels) == [(1, 1, 40, 128), (5, 5, 128, 768), (768, 1000)]
    logits, state = abstract_apply(model, images, train=True, mutable=["batch_stats", "aux_logits"])
    found = state["aux_logits"]["heads"]
    assert set(found) == {"aux"}
    assert {(x.shape, x.dtype) for x in (logits, found["aux"])} == {((2, 1000), np.dtype(np.float32))}
    inference, state = abstract_apply(model, images, mutable=["aux_logits"])
    assert not state
    assert (inference.shape, inference.dtype) == ((2, 1000), jnp.float32)


@every_variant
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
    variables = abstract_init(model, images_of(75))

    def train() -> Any:
        return jax.eval_shape(
            lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]), variables, images_of(75)
        )

    if rate:
        with pytest.raises(InvalidRngError):
            train()
    else:
        train()


def test_scale_zero_makes_blocks_the_identity():
    """With scale 0 a block returns what it got; with twice the scale the linear distance to that is twice as large."""
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 75, 75, 3)), jnp.float32)
    small = xx.create_model("inception_resnet_v2", num_classes=3, **SMALL)
    variables = jax.jit(lambda: small.init(jax.random.key(0), images, train=False), compiler_options=IN_HASTE)()

    @functools.partial(jax.jit, compiler_options=IN_HASTE)
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
    images = jnp.asarray(np.random.default_rng(0).normal(size=(2, 107, 107, 3)), jnp.float32)
    labels = jax.nn.one_hot(jnp.array([0, 2]), 3)
    variables: Any = jax.jit(lambda: model.init(jax.random.key(0), images, train=False), compiler_options=IN_HASTE)()

    @functools.partial(jax.jit, compiler_options=IN_HASTE)
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        collections = {"params": params, "batch_stats": variables["batch_stats"]}
        logits, state = model.apply(collections, images, train=True, mutable=["batch_stats", "aux_logits"])
        heads: Any = state["aux_logits"]["heads"]  # type: ignore[index]
        weighed = [(1.0, logits), (0.4, heads["aux"])]
        losses = [-weight * jnp.sum(labels * jax.nn.log_softmax(x)) for weight, x in weighed]
        return jnp.sum(jnp.stack(losses))

    for path, leaf in jax.tree.leaves_with_path(gradient(variables["params"])):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


def test_initialization():
    """Kernels of Keras's variant start as Glorot's, of v1 as He's, of timm's as torch's: by their deviation."""
    expected = {
        "inception_resnet_v1": np.sqrt(2 / 27),
        "inception_resnet_v2": np.sqrt(2 / (27 + 9 * 32)),
        "inception_resnet_v2.timm": np.sqrt(1 / 3 / 27),
    }
    for name, deviation in expected.items():
        model = xx.create_model(name, final_endpoint="conv2d_1a")
        params: Any = model.init(jax.random.key(0), jnp.zeros((1, 75, 75, 3)), train=False)["params"]
        # 864 draws: the deviation of a sample is within 10 % by four of its own.
        assert np.std(params["conv2d_1a"]["conv"]["kernel"]) == pytest.approx(deviation, rel=0.1)
    with pytest.raises(ValueError, match="did you mean he_normal"):
        abstract_init(xx.create_model("inception_resnet_v2", initialization="he_norml"), images_of(75))


# ---------------------------------------------------------------------------------------------- Keras and timm

CONVOLUTIONS = {  # of the modules with more than one, branch after branch
    "mixed_5b": "00 10 11 20 21 22 31",
    "block35": "00 10 11 20 21 22",
    "mixed_6a": "00 10 11 12",
    "block17": "00 10 11 12",
    "mixed_7a": "00 01 10 11 20 21 22",
    "block8": "00 10 11 12",
}
ORDER = [name for name in V2_SHAPES if not name.startswith(("maxpool", "avg_pool", "predictions"))]


def paths() -> Iterator[tuple[str, ...]]:
    """Our convolutions with their norms, in the order in which Keras makes its own; `up` after each block."""
    for name in ORDER:
        kind = name.rpartition("_")[0] if name.startswith("block") else name
        block = kind.startswith("block")
        if kind not in CONVOLUTIONS:
            yield (name,)
        for i, j in CONVOLUTIONS.get(kind, "").split():
            yield (name, "mixed", f"branch{i}_conv{j}") if block else (name, f"branch{i}_conv{j}")
        if block:
            yield (name, "up")


def random_weights(shape: tuple[int, ...], kind: str, random: np.random.Generator) -> np.ndarray:
    """Kernels [..., inputs, outputs] keep the size of activations; the rest is of the order of one."""
    match kind:
        case "kernel":
            value = random.normal(0, np.sqrt(2 / np.prod(shape[:-1])), shape)
        case "scale" | "var":
            value = random.uniform(0.5, 1.5, shape)
        case _:
            value = random.normal(0, 0.2, shape)
    return value.astype(np.float32)


def random_variables(name: str, num_classes: int) -> Any:
    """Random parameters and running statistics of ours."""
    shapes = abstract_init(xx.create_model(name, num_classes=num_classes), images_of(75))
    random = np.random.default_rng(0)
    return jax.tree.map_with_path(lambda path, leaf: random_weights(leaf.shape, path[-1].key, random), shapes)


def at(tree: Any, path: tuple[str, ...]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


Reference = Callable[[np.ndarray], np.ndarray]


def keras_reference(variables: Any) -> Reference:
    """Keras's network with our weights, from images to logits; its classifier would fix the size of the images."""
    os.environ["KERAS_BACKEND"] = "jax"  # read when Keras is imported
    keras = pytest.importorskip("keras")
    assert keras.backend.backend() == "jax"
    with jax.numpy_rank_promotion("allow"):  # Keras adds biases by promotion
        options = {"include_top": False, "pooling": "avg", "input_shape": (None, None, 3)}
        model = keras.applications.InceptionResNetV2(weights=None, **options)
    assert model.count_params() == 55_873_736 - 1_537_000  # without the classifier

    def number(item: Any) -> tuple[int, int]:
        # Layers without a name of their own are counted up in the order in which they are made.
        _, *digits = item.name.removeprefix("batch_normalization").removeprefix("conv2d").split("_")
        return (int(digits[0]) if digits else 0), 0

    convolutions = sorted((x for x in model.layers if x.name.startswith("conv2d")), key=number)
    norms = sorted((x for x in model.layers if x.name.startswith("batch_normalization")), key=number)
    plain = iter(zip(convolutions, norms, strict=True))
    for path in paths():
        params, stats = (variables[collection] for collection in ("params", "batch_stats"))
        if path[-1] == "up":
            up = at(params, path)
            model.get_layer(f"{path[0]}_conv").set_weights([up["kernel"], up["bias"]])
            continue
        named = path == ("conv_7b",)
        conv, norm = (model.get_layer("conv_7b"), model.get_layer("conv_7b_bn")) if named else next(plain)
        conv.set_weights([at(params, path)["conv"]["kernel"]])
        norm.set_weights([at(params, path)["bn"]["bias"], *(at(stats, path)["bn"][key] for key in ("mean", "var"))])
    assert next(plain, None) is None
    dense = variables["params"]["predictions"]

    def logits(images: np.ndarray) -> np.ndarray:
        with jax.numpy_rank_promotion("allow"):
            features = jax.jit(lambda x: model(x, training=False), compiler_options=IN_HASTE)(images)
        return np.asarray(features) @ dense["kernel"] + dense["bias"]

    return logits


def timm_reference(variables: Any) -> Reference:
    """timm's network with our weights, from images to logits."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    timm = pytest.importorskip("timm")
    model = timm.create_model("inception_resnet_v2", num_classes=11).eval()
    state: dict[str, Any] = {}

    def put(key: str, value: np.ndarray) -> None:
        state[key] = torch.from_numpy(np.array(value.transpose(3, 2, 0, 1) if value.ndim == 4 else value))

    repeats = {"block35": "repeat", "block17": "repeat_1", "block8": "repeat_2"}
    branches_of_one = {"mixed_5b": "0", "block35": "0", "mixed_6a": "0", "block17": "0", "block8": "0"}
    for path in paths():
        owner = path[0]
        kind, _, number = owner.rpartition("_")
        if owner == "block8_10":
            owner, kind = "block8", "block8"
        elif kind in repeats:
            owner = f"{repeats[kind]}.{int(number) - 1}"
        elif owner == "conv_7b":
            owner = "conv2d_7b"
        params, stats = (
            (at(variables[collection], path) for collection in ("params", "batch_stats"))
            if (path[-1] != "up")
            else (at(variables["params"], path), None)
        )
        if stats is None:
            put(f"{owner}.conv2d.weight", params["kernel"])
            put(f"{owner}.conv2d.bias", params["bias"])
            continue
        if path[-1].startswith("branch"):
            branch, conv = path[-1].removeprefix("branch").split("_conv")
            alone = branch == branches_of_one.get(kind if kind in repeats else path[0])
            owner += f".branch{branch}" + ("" if alone else f".{conv}")
        put(f"{owner}.conv.weight", params["conv"]["kernel"])
        for key, value in {
            "weight": params["bn"]["scale"],
            "bias": params["bn"]["bias"],
            "running_mean": stats["bn"]["mean"],
            "running_var": stats["bn"]["var"],
        }.items():
            put(f"{owner}.bn.{key}", value)
    put("classif.weight", variables["params"]["predictions"]["kernel"].T)
    put("classif.bias", variables["params"]["predictions"]["bias"])
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all(key.endswith("num_batches_tracked") for key in missing)

    def logits(images: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return model(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()

    return logits


MUTATIONS: dict[str, Callable[[Any], dict[str, Any]]] = {
    "another epsilon": lambda model: {"norm": replace(model.norm, epsilon=1e-5)},
    "the stride in the first convolution of a branch": lambda model: {
        "mixed_7a": (
            (
                model.mixed_7a[0][0]._replace(stride=2),
                model.mixed_7a[0][1]._replace(stride=1, padding=((1, 0), (1, 0))),
            ),
            *model.mixed_7a[1:],
        )
    },
    "padding on one side": lambda model: {
        "block17": (
            model.block17[0],
            (model.block17[1][0], model.block17[1][1]._replace(padding=((0, 0), (6, 0))), model.block17[1][2]),
        )
    },
}


def largest_difference(found: Any, expected: np.ndarray) -> float:
    """In units of the largest expected number; the images' own numbers differ by more than .05 of it."""
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * scale
    return float(np.abs(np.asarray(found) - expected).max() / scale)


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(
    ("name", "reference"), [("inception_resnet_v2", keras_reference), ("inception_resnet_v2.timm", timm_reference)]
)
def test_logits_are_the_other_frameworks(name: str, reference: Callable[[Any], Reference]):
    """With the same weights and statistics logits are Keras's and timm's, on odd and even sizes; with another epsilon,
    another place of a stride or the padding on the other side they are not."""
    variables = random_variables(name, num_classes=11)
    theirs = reference(variables)

    def ours(images: np.ndarray, **knobs: Any) -> Any:
        model: Any = xx.create_model(name, num_classes=11, **knobs)
        # In haste: most of the time is compilation.
        forward = jax.jit(lambda v, x: model.apply(v, x, train=False), compiler_options=IN_HASTE)
        return forward(variables, jnp.asarray(images))

    for side in (75, 112):
        images = np.random.default_rng(1).normal(0, 1, (3, side, side, 3)).astype(np.float32)
        images *= np.array([0.3, 1, 2], np.float32).reshape(3, 1, 1, 1)  # else random images look alike
        expected = theirs(images)
        assert largest_difference(ours(images), expected) <= 1e-4
    for mutation, knobs in MUTATIONS.items():
        assert largest_difference(ours(images, **knobs(xx.create_model(name))), expected) > 1e-4, mutation
