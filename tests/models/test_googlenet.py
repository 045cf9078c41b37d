"""GoogLeNet and its variants, against the published counts and tables, and NumPy."""

import contextlib
import functools
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from scipy.signal import correlate
from zoo import (
    abstract_apply,
    abstract_init,
    abstract_params,
    apply,
    assert_every_parameter_learns,
    endpoint_shapes,
    images_of,
    initialized,
    parameters_by_module,
    random_images,
    shapes,
)

import xxnet_jax as xx
from xxnet_jax.models import count_parameters, googlenet
from xxnet_jax.models.googlenet import Inception, Widths, caffe_lrn
from xxnet_jax.models.layers import ConvUnit, Norm

NAMES = ["googlenet", "googlenet.notebook", "googlenet.slim", "googlenet.torchvision", "googlenet.xxnet"]
WITH_HEADS = ["googlenet", "googlenet.notebook", "googlenet.torchvision"]
every_variant = pytest.mark.parametrize("name", NAMES)
# What takes long is seen in the paper's and in TF-Slim's; the others by request.
two_variants = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in ("googlenet", "googlenet.slim") else pytest.mark.full_size)
        for name in NAMES
    ],
)


def modules(name: str) -> dict[str, int]:
    """Trainable parameters of each module at 224x224."""
    return parameters_by_module(xx.create_model(name), 224)


# ---------------------------------------------------------------------------------------------- counts

STEM = {"conv1": 9_472, "conv2_reduce": 4_160, "conv2": 110_784, "logits": 1_025_000}
PAPER = {
    **STEM,
    "inception_3a": 163_696,
    "inception_3b": 388_736,
    "inception_4a": 376_176,
    "inception_4b": 449_160,
    "inception_4c": 510_104,
    "inception_4d": 605_376,
    "inception_4e": 868_352,
    "inception_5a": 1_043_456,
    "inception_5b": 1_444_080,
    "aux1": 3_188_840,
    "aux2": 3_190_888,
}
SLIM = {
    **STEM,
    "inception_3a": 155_504,
    "inception_3b": 339_584,
    "inception_4a": 363_888,
    "inception_4b": 424_584,
    "inception_4c": 485_528,
    "inception_4d": 572_608,
    "inception_4e": 802_816,
    "inception_5a": 977_920,
    "inception_5b": 1_345_776,
}
# The notes' 4d has 48 features in its 5x5, so it gives 512 channels to 4e and to the second head.
NOTEBOOK = PAPER | {"inception_4d": 592_560, "inception_4e": 859_136, "aux2": 3_188_840}


@pytest.mark.parametrize(
    ("name", "expected"), [("googlenet", PAPER), ("googlenet.slim", SLIM), ("googlenet.notebook", NOTEBOOK)]
)
def test_parameters_of_each_module(name: str, expected: dict[str, int]):
    """Each row of the paper's, TF-Slim's and the notebook's table has its parameters, and nothing else has any."""
    assert modules(name) == expected


def test_parameters_of_torchvision():
    """torchvision's are TF-Slim's with one scale for each of the 7,280 normalized channels, and its heads normalize."""
    found = modules("googlenet.torchvision")
    heads = found["aux1"] + found["aux2"]
    assert heads == 6_379_984
    assert sum(found.values()) == 13_004_888
    assert sum(found.values()) - heads == 6_624_904 == sum(SLIM.values()) + 7_280


def test_parameters_of_xxnet():
    """A module of XXNet has one width f: four 1x1 of its input, 9f^2 and f^2 behind them, 6f biases, 12f of norms."""

    def module(inputs: int, f: int) -> int:
        return 4 * inputs * f + 9 * f * f + f * f + 18 * f

    widths = [64, 120, 128, 128, 128, 132, 208, 208, 256]
    inputs = [192, 256, 480, 512, 512, 512, 528, 832, 832]
    found = modules("googlenet.xxnet")
    assert [n for name, n in found.items() if "inception" in name] == list(map(module, inputs, widths))
    assert sum(found.values()) == 7_738_728
    assert (found["dense1"], found["logits"]) == (1_025_000, 1_001_000)  # Q18: two dense layers
    assert "conv2_reduce" not in found  # Q19
    assert not any(name.startswith("aux") for name in found)  # Q19
    fives = abstract_params(xx.create_model("googlenet.xxnet", five=5), 32)
    assert count_parameters(fives) - 7_738_728 == 5_691_264  # Q16: 1x1 where 5x5 is meant


@pytest.mark.parametrize(
    ("name", "trainable", "auxiliary", "statistics"),
    [
        ("googlenet", 6_998_552, 6_379_728, 0),
        ("googlenet.notebook", 6_976_520, 6_377_680, 0),
        ("googlenet.slim", 6_617_624, 0, 14_560),
        ("googlenet.torchvision", 6_624_904, 6_379_984, 15_072),
        ("googlenet.xxnet", 7_738_728, 0, 16_976),
    ],
)
def test_model_info(name: str, trainable: int, auxiliary: int, statistics: int):
    """`ModelInfo` and the network have the published numbers, auxiliary heads apart, at any size of the images."""
    info = xx.model_info(name)
    assert (info.parameters, info.auxiliary_parameters) == (trainable, auxiliary)
    assert info.total_parameters == trainable + statistics
    for side in (31, 96, 224):
        variables = abstract_init(xx.create_model(name), images_of(side))
        assert count_parameters(variables["params"]) == trainable + auxiliary
        assert count_parameters(variables.get("batch_stats", {})) == statistics


def test_base_of_slim():
    """TF-Slim's own test of its base expects 5,607,184 parameters with running statistics and without logits."""
    variables = abstract_init(xx.create_model("googlenet.slim", num_classes=None), images_of(224))
    assert count_parameters(variables["params"]) + count_parameters(variables["batch_stats"]) == 5_607_184


def test_naive_modules():
    """Naive modules have no 1x1 but their own branch, hand on all channels, and so grow quadratically (Figure 2a)."""
    model = xx.create_model("googlenet", naive=True, auxiliary_heads=())
    params = abstract_params(model, 64)
    assert sorted(params["inception_3a"]) == ["1x1", "3x3", "5x5"]
    assert count_parameters(params["inception_3a"]) == 192 * (64 + 9 * 128 + 25 * 32) + 224
    # Each module adds 1x1, 3x3 and 5x5 to the channels it got, beginning with 192.
    added = [224, 416, 448, 448, 448, 464, 704, 704, 896]
    found = endpoint_shapes(model, images_of(64))
    depths = [shape[-1] for name, shape in found.items() if "inception" in name]
    assert depths == list(192 + np.cumsum(added))
    assert count_parameters(params) > 10 * 6_998_552


# ---------------------------------------------------------------------------------------------- shapes and names

SHAPES = {
    "Conv2d_1a_7x7": (112, 112, 64),
    "MaxPool_2a_3x3": (56, 56, 64),
    "Conv2d_2b_1x1": (56, 56, 64),
    "Conv2d_2c_3x3": (56, 56, 192),
    "MaxPool_3a_3x3": (28, 28, 192),
    "Mixed_3b": (28, 28, 256),
    "Mixed_3c": (28, 28, 480),
    "MaxPool_4a_3x3": (14, 14, 480),
    "Mixed_4b": (14, 14, 512),
    "Mixed_4c": (14, 14, 512),
    "Mixed_4d": (14, 14, 512),
    "Mixed_4e": (14, 14, 528),
    "Mixed_4f": (14, 14, 832),
    "MaxPool_5a_2x2": (7, 7, 832),
    "Mixed_5b": (7, 7, 832),
    "Mixed_5c": (7, 7, 1024),
    "global_pool": (1024,),
    "Logits": (1000,),
}


def test_endpoints_of_slim():
    """TF-Slim's endpoints, in order, with the shapes of its table at 224x224."""
    assert list(shapes("googlenet.slim", 224).items()) == list(SHAPES.items())


def test_endpoints_of_the_paper():
    """The paper's layers have the shapes of Table 1, and the normalizations of Figure 3 stand around conv2."""
    found = shapes("googlenet", 224)
    normalized = {"norm1": (56, 56, 64), "norm2": (56, 56, 192)}
    assert sorted(found.values()) == sorted([*SHAPES.values(), *normalized.values()])
    assert normalized.items() <= found.items()
    assert list(found)[:7] == ["conv1", "pool1", "norm1", "conv2_reduce", "conv2", "norm2", "pool2"]
    assert found["inception_4d"] == (14, 14, 528)


def test_endpoints_of_torchvision():
    """torchvision's names, with the shapes of Table 1."""
    names = ["conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"]
    names += [*(f"inception4{letter}" for letter in "abcde"), "maxpool4", "inception5a", "inception5b", "avgpool", "fc"]
    found = shapes("googlenet.torchvision", 224)
    assert list(found.items()) == list(zip(names, SHAPES.values(), strict=True))


def test_endpoints_of_the_notes():
    """The notebook's 4d has 512 channels (Q08), XXNet's modules four times their width."""
    assert shapes("googlenet.notebook", 224)["inception_4d"] == (14, 14, 512)
    found = shapes("googlenet.xxnet", 224)
    assert [shape for name, shape in found.items() if name.startswith("inception")] == [
        *[(28, 28, 256), (28, 28, 480)],
        *[(14, 14, 512), (14, 14, 512), (14, 14, 512), (14, 14, 528), (14, 14, 832)],
        *[(7, 7, 832), (7, 7, 1024)],
    ]


@pytest.mark.parametrize(
    ("name", "smallest"),
    [
        ("googlenet", 31),
        ("googlenet.torchvision", 15),  # `min_size` of its published weights
        ("googlenet.slim", 1),
        ("googlenet.notebook", 1),
        ("googlenet.xxnet", 1),
    ],
)
def test_smallest_input(name: str, smallest: int):
    """At the smallest size every map has a pixel, and one pixel less is a ValueError that names it."""
    assert xx.create_model(name).smallest_input() == smallest
    model = xx.create_model(name, num_classes=None)
    assert all(min(shape) >= 1 for shape in endpoint_shapes(model, images_of(smallest)).values())
    assert abstract_apply(model, images_of(smallest)).shape == (2, 1, 1, 1024)
    with pytest.raises(ValueError, match=rf"smallest size is {smallest}x{smallest}"):
        abstract_params(xx.create_model(name), smallest - 1)


@pytest.mark.parametrize("name", ["googlenet", "googlenet.slim"])
def test_pooled_features(name: str):
    """Without classifier there are no heads, and the result is the last map, or one number a channel."""
    for pooling, shape in ((None, (2, 3, 3, 1024)), ("avg", (2, 1024)), ("max", (2, 1024))):
        model = xx.create_model(name, num_classes=None, pooling=pooling)  # type: ignore[arg-type]
        assert abstract_apply(model, images_of(96)).shape == shape
        params = abstract_params(model, 96, train=True)
        assert not {"logits", "aux1", "aux2"} & set(params)


@pytest.mark.parametrize("name", ["googlenet", "googlenet.slim"])
@pytest.mark.parametrize("train", [False, True])
def test_final_endpoint(name: str, train: bool):
    """Up to a final endpoint the network has the modules before it and no more, neither heads nor logits."""
    renamed = googlenet.NAMES["slim" if name.endswith("slim") else "paper"]
    for last, count in (("conv1", 1), ("pool2", 3), ("inception_3b", 5), ("inception_4b", 7), ("inception_5b", 12)):
        model = xx.create_model(name, final_endpoint=renamed.get(last, last))
        found = parameters_by_module(model, 64, train=train)
        assert found == {module: parameters for module, parameters in modules(name).items() if module in found}
        assert len(found) == count
        assert abstract_apply(model, images_of(64)).shape[1:] == shapes(name, 64)[renamed.get(last, last)]


@every_variant
def test_unknown_endpoint(name: str):
    """An unknown final endpoint is a ValueError that names it."""
    with pytest.raises(ValueError, match="Mixed_6a"):
        abstract_params(xx.create_model(name, final_endpoint="Mixed_6a"), 32)


@pytest.mark.parametrize(("side", "scores"), [(64, 1), (224, 1), (256, 2), (320, 4)])
@pytest.mark.parametrize("name", ["googlenet.slim", "googlenet.xxnet"])
def test_spatial(name: str, side: int, scores: int):
    """With `spatial` there is a score for every 7x7 pixels of the last map: at 224 one, as XXNet has it (Q18)."""
    model = xx.create_model(name, spatial=True)
    assert abstract_apply(model, images_of(side)).shape == (2, scores, scores, 1000)


# ---------------------------------------------------------------------------------------------- training


@pytest.mark.parametrize(
    ("options", "smallest", "maps"),
    [
        ({"stem_stride": 1}, 8, (32, 16, 8, 8, 4, 2)),
        ({"stem_stride": 1, "stem_pool": False}, 4, (32, 32, 16, 16, 8, 4)),
    ],
)
def test_stem_for_small_images(options: dict[str, Any], smallest: int, maps: tuple[int, ...]):
    """Without its stride, or its pool too, the stem leaves images of 32x32 larger maps; parameters stay as they are."""
    model = xx.create_model("googlenet.torchvision", **options)
    found = endpoint_shapes(model, images_of(32))
    names = ("conv1", "conv2", "maxpool2", "inception3b", "inception4e", "inception5b")
    assert tuple(found[name][0] for name in names) == maps
    assert abstract_params(model, 32) == abstract_params(xx.create_model("googlenet.torchvision"), 32)
    assert model.smallest_input() == smallest
    with pytest.raises(ValueError, match=rf"smallest size is {smallest}x{smallest}"):
        abstract_params(model, smallest - 1)


@two_variants
def test_train_does_not_change_the_variables(name: str):
    """`init` makes the same variables for training and inference, with any number of classes (Q06)."""
    for classes in (7, 1000):
        model = xx.create_model(name, num_classes=classes)
        inference, training = (abstract_init(model, images_of(64), train=train) for train in (False, True))
        chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
        assert "aux_logits" not in training
        outputs = {tree["logits"]["kernel"].shape[-1] for tree in training["params"].values() if "logits" in tree}
        assert outputs <= {classes}


@two_variants
def test_auxiliary_logits(name: str):
    """Auxiliary logits are collected while training only, float32 [batch, classes] in bfloat16 too (Q06)."""
    model = xx.create_model(name, num_classes=7, dtype=jnp.bfloat16)
    for side in (31, 96, 224):
        logits, state = abstract_apply(model, images_of(side), train=True, mutable=["batch_stats", "aux_logits"])
        expected = {"aux1", "aux2"} if name in WITH_HEADS else set()
        heads = state.get("aux_logits", {"heads": {}})["heads"]
        assert set(heads) == expected
        assert {(x.shape, x.dtype) for x in [logits, *heads.values()]} == {((2, 7), np.dtype(np.float32))}
        inference = abstract_apply(model, images_of(side))
        assert (inference.shape, inference.dtype) == ((2, 7), jnp.float32)
        _, state = abstract_apply(model, images_of(side), mutable=["aux_logits"])
        assert not state


def test_auxiliary_heads_are_a_knob():
    """Heads stand at the modules that are named, in that order, and without any the rest of the network is the same."""
    alone = parameters_by_module(xx.create_model("googlenet", auxiliary_heads=()), 64)
    assert alone == {name: count for name, count in PAPER.items() if not name.startswith("aux")}
    model = xx.create_model("googlenet", auxiliary_heads=("inception_4e",))
    heads = abstract_params(model, 64)
    assert {name for name in heads if name.startswith("aux")} == {"aux1"}
    assert heads["aux1"]["conv"]["conv"]["kernel"].shape == (1, 1, 832, 128)


@pytest.mark.parametrize(
    ("rate", "auxiliary_rate", "draws"), [(0.0, 0.0, False), (0.4, 0.0, True), (0.0, 0.7, True), (0.4, 0.7, True)]
)
def test_dropout(rate: float, auxiliary_rate: float, draws: bool):
    """Training draws random numbers for the dropout before the logits and for that of the heads, inference for none."""
    model = xx.create_model("googlenet", dropout_rate=rate, auxiliary_dropout_rate=auxiliary_rate)
    abstract_apply(model, images_of(32))
    with pytest.raises(InvalidRngError) if draws else contextlib.nullcontext():
        abstract_apply(model, images_of(32), train=True, rngs=None, mutable=["aux_logits"])


@pytest.mark.parametrize(
    ("name", "dropout"),
    [("googlenet", 0.4), ("googlenet.slim", 0.2), ("googlenet.torchvision", 0.2), ("googlenet.notebook", 0.4)],
)
def test_dropout_rates(name: str, dropout: float):
    """Published rates: 40 % in the paper and the notebook, 20 % in TF-Slim and torchvision, 70 % in every head."""
    model: Any = xx.create_model(name)
    assert (model.dropout_rate, model.auxiliary_dropout_rate) == (dropout, 0.7)


def test_every_parameter_learns():
    """Every parameter, those of the heads too, gets a finite gradient that is not zero, from images of 31x31."""
    narrow = tuple(tuple(Widths(16, 16, 16, 16, 16, 16) for _ in stage) for stage in googlenet.TABLE_1)
    model = xx.create_model("googlenet", num_classes=3, stages=narrow)
    assert_every_parameter_learns(model, initialized(model, 31), random_images(31, 31, scales=(60, 60)))


def test_initialization():
    """TF-Slim's and torchvision's kernels start with deviation .01, the paper's with Glorot's; biases at zero."""
    glorot = np.sqrt(2 / (49 * 3 + 49 * 64))
    for name, last, deviation in (
        ("googlenet", "conv1", glorot),
        ("googlenet.slim", "Conv2d_1a_7x7", 0.01),
        ("googlenet.torchvision", "conv1", 0.01),
    ):
        model = xx.create_model(name, final_endpoint=last)
        params = initialized(model, 32)["params"]["conv1"]
        # 9,408 draws; a normal cut at two deviations has .88 of its deviation.
        assert np.std(params["conv"]["kernel"]) == pytest.approx(deviation, rel=0.15)
        if "bias" in params["conv"]:
            np.testing.assert_array_equal(params["conv"]["bias"], 0)
    with pytest.raises(ValueError, match="did you mean he_normal"):
        abstract_params(xx.create_model("googlenet", initialization="he_norml"), 32)


# ---------------------------------------------------------------------------------------------- parts, in NumPy


def test_caffe_lrn():
    """x / (1 + 1e-4 * mean of x^2 over 5 neighbouring channels)^.75, where channels that do not exist are zero."""
    x = np.random.default_rng(0).normal(0, 100, (1, 2, 2, 7))
    squares = np.pad(x**2, ((0, 0), (0, 0), (0, 0), (2, 2)))
    mean = np.stack([squares[..., i : i + 5].sum(-1) / 5 for i in range(7)], axis=-1)
    expected = x / (1 + 1e-4 * mean) ** 0.75
    np.testing.assert_allclose(caffe_lrn(jnp.asarray(x, jnp.float32)), expected, rtol=1e-5)
    assert np.abs(expected / x).min() < 0.8  # else the test would see nothing


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def convolution(maps: np.ndarray, parameters: Any) -> np.ndarray:
    """SAME convolution [rows, columns, inputs] with ReLU, as SciPy's correlations."""
    kernel, bias = (np.asarray(parameters["conv"][name], np.float64) for name in ("kernel", "bias"))
    outputs = [
        sum(correlate(maps[..., i], kernel[..., i, o], "same") for i in range(maps.shape[-1])) + bias[o]
        for o in range(kernel.shape[-1])
    ]
    return relu(np.stack(outputs, axis=-1))


def maxima(maps: np.ndarray) -> np.ndarray:
    """The maximum of the 3x3 pixels around each."""
    padded = np.pad(maps, ((1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    rows, columns = maps.shape[:2]
    return np.max([padded[i : i + rows, j : j + columns] for i in range(3) for j in range(3)], axis=0)


@pytest.mark.parametrize("kind", ["reduced", "naive", "project_first"])
@pytest.mark.parametrize("five", [5, 3, 1])
def test_inception_module(kind: str, five: int):
    """A module equals Figure 2 written in float64: 2b, 2a, or with the notebook's projection before the pool (Q09)."""
    unit = functools.partial(ConvUnit, bias_init=jax.nn.initializers.normal(1))
    options: dict[str, Any] = {} if kind == "reduced" else {kind: True}
    module = Inception(Widths(2, 3, 4, 2, 3, 5), unit, five, **options)
    x = np.random.default_rng(0).normal(size=(6, 5, 3))
    inputs = jnp.asarray(x[None], jnp.float32)
    params: Any = module.init(jax.random.key(1), inputs, train=False)["params"]
    reduced = {k: x if kind == "naive" else convolution(x, params[f"{k}_reduce"]) for k in ("3x3", "5x5")}
    assert params["5x5"]["conv"]["kernel"].shape[:2] == (five, five)
    pool = {
        "reduced": lambda: convolution(maxima(x), params["pool_proj"]),
        "naive": lambda: maxima(x),
        "project_first": lambda: maxima(convolution(x, params["pool_proj"])),
    }[kind]()
    expected = [convolution(x, params["1x1"]), *(convolution(maps, params[k]) for k, maps in reduced.items()), pool]
    found = module.apply({"params": params}, inputs, train=False)
    # float32 sums of up to 75 products.
    np.testing.assert_allclose(np.asarray(found)[0], np.concatenate(expected, axis=-1), rtol=1e-4, atol=1e-5)


def test_norm_stands_after_the_relu_in_xxnet():
    """XXNet normalizes what the ReLU gives (Q17): outputs go below zero, where those of every other variant do not."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 4, 4, 3)), jnp.float32)
    unit = ConvUnit(2, (1, 1), norm=Norm(), order="conv activation norm")
    variables: Any = unit.init(jax.random.key(0), x, train=False)
    kernel = np.asarray(variables["params"]["conv"]["kernel"], np.float64)[0, 0]
    activated = relu(np.asarray(x, np.float64) @ kernel)
    mean, var = activated.mean(axis=(0, 1, 2)), activated.var(axis=(0, 1, 2))
    found, _ = unit.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, (activated - mean) / np.sqrt(var + 1e-3), rtol=1e-4, atol=1e-5)
    assert np.min(found) < 0
    params = abstract_params(xx.create_model("googlenet.xxnet"), 32)
    assert sorted(params["conv1"]["conv"]) == ["bias", "kernel"]
    assert sorted(params["conv1"]["bn"]) == ["bias", "scale"]
    lowest = {}
    for name in ("googlenet.torchvision", "googlenet.xxnet"):
        model = xx.create_model(name, final_endpoint="conv1")
        images = random_images(15, 15, scales=(1,), seed=1)
        lowest[name] = apply(model, initialized(model, 15), images, train=True, mutable=["batch_stats"])[0].min()
    assert lowest["googlenet.torchvision"] == 0
    assert lowest["googlenet.xxnet"] < -0.1
