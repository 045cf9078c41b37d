"""GoogLeNet and its variants, against the published counts and tables, NumPy, and torchvision (`-m oracle`)."""

import functools
from dataclasses import replace
from typing import Any

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import InvalidRngError
from scipy.signal import correlate

import xxnet_jax as xx
from xxnet_jax.models import Network, count_parameters, googlenet
from xxnet_jax.models.googlenet import ConvReluNorm, Inception, Widths, caffe_lrn
from xxnet_jax.models.layers import ConvUnit, Norm

NAMES = ["googlenet", "googlenet.notebook", "googlenet.slim", "googlenet.torchvision", "googlenet.xxnet"]
WITH_HEADS = ["googlenet", "googlenet.notebook", "googlenet.torchvision"]
every_variant = pytest.mark.parametrize("name", NAMES)

# What runs once is compiled in haste.
IN_HASTE: Any = {"xla_backend_optimization_level": 0}


def images_of(side: int, batch: int = 1) -> Any:
    return jax.ShapeDtypeStruct((batch, side, side, 3), jnp.float32)


def abstract_init(model: Network, images: Any, *, train: bool = False) -> Any:
    return jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=train), images)


def abstract_apply(model: Network, images: Any, *, train: bool = False, **arguments: Any) -> Any:
    variables = abstract_init(model, images)
    return jax.eval_shape(lambda v, x: model.apply(v, x, train=train, **arguments), variables, images)


def training_outputs(model: Network, images: Any) -> Any:
    """(logits, what else is collected) of a training pass, as shapes."""
    rngs = {"dropout": jax.random.key(0)}
    return abstract_apply(model, images, train=True, rngs=rngs, mutable=["batch_stats", "aux_logits"])


@functools.cache
def modules(name: str) -> dict[str, int]:
    """Trainable parameters of each module at 224x224."""
    params = abstract_init(xx.create_model(name), images_of(224))["params"]
    return {module: count_parameters(tree) for module, tree in params.items()}


def endpoint_shapes(model: Network, images: Any) -> dict[str, tuple[int, ...]]:
    _, published = abstract_apply(model, images, mutable=["intermediates"])
    return {name: x.shape[1:] for name, x in published["intermediates"]["endpoints"].items()}


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
    fives = abstract_init(xx.create_model("googlenet.xxnet", five=5), images_of(32))
    assert count_parameters(fives["params"]) - 7_738_728 == 5_691_264  # Q16: 1x1 where 5x5 is meant


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
    params = abstract_init(model, images_of(64))["params"]
    assert sorted(params["inception_3a"]) == ["1x1", "3x3", "5x5"]
    assert count_parameters(params["inception_3a"]) == 192 * (64 + 9 * 128 + 25 * 32) + 224
    shapes = endpoint_shapes(model, images_of(64))
    # Each module adds 1x1, 3x3 and 5x5 to the channels it got, beginning with 192.
    added = [224, 416, 448, 448, 448, 464, 704, 704, 896]
    depths = [shape[-1] for name, shape in shapes.items() if "inception" in name]
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
    found = endpoint_shapes(xx.create_model("googlenet.slim"), images_of(224))
    assert found == SHAPES
    assert list(abstract_endpoints("googlenet.slim")) == list(SHAPES)


def abstract_endpoints(name: str) -> list[str]:
    """Names in the order of the computation (a jitted function sorts its dicts)."""
    names: list[str] = []
    model = xx.create_model(name)

    def note(x: jax.Array) -> None:
        _, state = model.init_with_output(jax.random.key(0), x, train=False, mutable=True)
        names.extend(state["intermediates"]["endpoints"])

    jax.eval_shape(note, images_of(32))
    return names


def test_endpoints_of_the_paper():
    """The paper's layers have the shapes of Table 1, and the normalizations of Figure 3 stand around conv2."""
    found = endpoint_shapes(xx.create_model("googlenet"), images_of(224))
    normalized = {"norm1": (56, 56, 64), "norm2": (56, 56, 192)}
    assert sorted(found.values()) == sorted([*SHAPES.values(), *normalized.values()])
    assert normalized.items() <= found.items()
    assert abstract_endpoints("googlenet")[:7] == ["conv1", "pool1", "norm1", "conv2_reduce", "conv2", "norm2", "pool2"]
    assert found["inception_4d"] == (14, 14, 528)


def test_endpoints_of_torchvision():
    """torchvision's names, with the shapes of Table 1."""
    names = ["conv1", "maxpool1", "conv2", "conv3", "maxpool2", "inception3a", "inception3b", "maxpool3"]
    names += [*(f"inception4{letter}" for letter in "abcde"), "maxpool4", "inception5a", "inception5b", "avgpool", "fc"]
    assert abstract_endpoints("googlenet.torchvision") == names
    found = endpoint_shapes(xx.create_model("googlenet.torchvision"), images_of(224))
    assert [found[name] for name in names] == list(SHAPES.values())


def test_endpoints_of_the_notes():
    """The notebook's 4d has 512 channels (Q08), XXNet's modules four times their width."""
    assert endpoint_shapes(xx.create_model("googlenet.notebook"), images_of(224))["inception_4d"] == (14, 14, 512)
    found = endpoint_shapes(xx.create_model("googlenet.xxnet"), images_of(224))
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
    found = endpoint_shapes(xx.create_model(name, num_classes=None), images_of(smallest))
    assert all(min(shape) >= 1 for shape in found.values())
    features = abstract_apply(xx.create_model(name, num_classes=None), images_of(smallest))
    assert features.shape == (1, 1, 1, 1024)
    with pytest.raises(ValueError, match=rf"smallest size is {smallest}x{smallest}"):
        abstract_init(xx.create_model(name), images_of(smallest - 1))


@pytest.mark.parametrize("name", ["googlenet", "googlenet.slim"])
def test_pooled_features(name: str):
    """Without classifier there are no heads, and the result is the last map, or one number a channel."""
    for pooling, shape in ((None, (2, 3, 3, 1024)), ("avg", (2, 1024)), ("max", (2, 1024))):
        model = xx.create_model(name, num_classes=None, pooling=pooling)  # type: ignore[arg-type]
        assert abstract_apply(model, images_of(96, 2)).shape == shape
        params = abstract_init(model, images_of(96), train=True)["params"]
        assert not {"logits", "aux1", "aux2"} & set(params)


@pytest.mark.parametrize("name", ["googlenet", "googlenet.slim"])
@pytest.mark.parametrize("train", [False, True])
def test_final_endpoint(name: str, train: bool):
    """Up to a final endpoint the network has the modules before it and no more, neither heads nor logits."""
    renamed = googlenet.NAMES["slim" if name.endswith("slim") else "paper"]
    for last, count in (("conv1", 1), ("pool2", 3), ("inception_3b", 5), ("inception_4b", 7), ("inception_5b", 12)):
        model = xx.create_model(name, final_endpoint=renamed.get(last, last))
        params = abstract_init(model, images_of(64), train=train)["params"]
        full = {module: parameters for module, parameters in modules(name).items() if module in params}
        assert {module: count_parameters(tree) for module, tree in params.items()} == full
        assert len(params) == count
        shape = abstract_apply(model, images_of(64)).shape
        assert shape[1:] == endpoint_shapes(xx.create_model(name), images_of(64))[renamed.get(last, last)]


@every_variant
def test_unknown_endpoint(name: str):
    """An unknown final endpoint is a ValueError that names it."""
    with pytest.raises(ValueError, match="Mixed_6a"):
        abstract_init(xx.create_model(name, final_endpoint="Mixed_6a"), images_of(32))


@pytest.mark.parametrize(("side", "scores"), [(64, 1), (224, 1), (256, 2), (320, 4)])
@pytest.mark.parametrize("name", ["googlenet.slim", "googlenet.xxnet"])
def test_spatial(name: str, side: int, scores: int):
    """With `spatial` there is a score for every 7x7 pixels of the last map: at 224 one, as XXNet has it (Q18)."""
    model = xx.create_model(name, spatial=True)
    assert abstract_apply(model, images_of(side, 2)).shape == (2, scores, scores, 1000)


# ---------------------------------------------------------------------------------------------- training


@every_variant
def test_train_does_not_change_the_variables(name: str):
    """`init` makes the same variables for training and inference, with any number of classes (Q06)."""
    for classes in (7, 1000):
        model = xx.create_model(name, num_classes=classes)
        inference, training = (abstract_init(model, images_of(64), train=train) for train in (False, True))
        chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
        assert "aux_logits" not in training
        outputs = {tree["logits"]["kernel"].shape[-1] for tree in training["params"].values() if "logits" in tree}
        assert outputs <= {classes}


@every_variant
def test_auxiliary_logits(name: str):
    """Auxiliary logits are collected while training only, float32 [batch, classes] in bfloat16 too (Q06)."""
    model = xx.create_model(name, num_classes=7, dtype=jnp.bfloat16)
    for side in (31, 96, 224):
        logits, state = training_outputs(model, images_of(side, 2))
        expected = {"aux1", "aux2"} if name in WITH_HEADS else set()
        heads = state.get("aux_logits", {"heads": {}})["heads"]
        assert set(heads) == expected
        assert {(x.shape, x.dtype) for x in [logits, *heads.values()]} == {((2, 7), np.dtype(np.float32))}
        inference = abstract_apply(model, images_of(side, 2))
        assert (inference.shape, inference.dtype) == ((2, 7), jnp.float32)
        _, state = abstract_apply(model, images_of(side, 2), mutable=["aux_logits"])
        assert not state


def test_auxiliary_heads_are_a_knob():
    """Heads stand at the modules that are named, in that order, and without any the rest of the network is the same."""
    alone = abstract_init(xx.create_model("googlenet", auxiliary_heads=()), images_of(64))["params"]
    assert {name: count_parameters(tree) for name, tree in alone.items()} == {
        name: count for name, count in PAPER.items() if not name.startswith("aux")
    }
    model = xx.create_model("googlenet", auxiliary_heads=("inception_4e",))
    heads = abstract_init(model, images_of(64))["params"]
    assert {name for name in heads if name.startswith("aux")} == {"aux1"}
    assert heads["aux1"]["conv"]["conv"]["kernel"].shape == (1, 1, 832, 128)


@pytest.mark.parametrize(
    ("rate", "auxiliary_rate", "draws"), [(0.0, 0.0, False), (0.4, 0.0, True), (0.0, 0.7, True), (0.4, 0.7, True)]
)
def test_dropout(rate: float, auxiliary_rate: float, draws: bool):
    """Training draws random numbers for the dropout before the logits and for that of the heads, inference for none."""
    model = xx.create_model("googlenet", dropout_rate=rate, auxiliary_dropout_rate=auxiliary_rate)
    variables = abstract_init(model, images_of(32))
    jax.eval_shape(lambda v, x: model.apply(v, x, train=False), variables, images_of(32))

    def train() -> Any:
        return jax.eval_shape(
            lambda v, x: model.apply(v, x, train=True, mutable=["aux_logits"]), variables, images_of(32)
        )

    if draws:
        with pytest.raises(InvalidRngError):
            train()
    else:
        train()


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
    images = jnp.asarray(np.random.default_rng(0).normal(0, 60, (2, 31, 31, 3)), jnp.float32)
    labels = jax.nn.one_hot(jnp.array([0, 2]), 3)
    params = jax.jit(lambda: model.init(jax.random.key(0), images, train=False), compiler_options=IN_HASTE)()["params"]

    @functools.partial(jax.jit, compiler_options=IN_HASTE)
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        rngs = {"dropout": jax.random.key(2)}
        outputs: Any = model.apply({"params": params}, images, train=True, rngs=rngs, mutable=["aux_logits"])
        heads = outputs[1]["aux_logits"]["heads"]
        weighed = [(1.0, outputs[0]), (0.3, heads["aux1"]), (0.3, heads["aux2"])]
        losses = [-weight * jnp.sum(labels * jax.nn.log_softmax(logits)) for weight, logits in weighed]
        return jnp.sum(jnp.stack(losses))

    for path, leaf in jax.tree.leaves_with_path(gradient(params)):
        assert np.isfinite(leaf).all(), jax.tree_util.keystr(path)
        assert np.any(leaf != 0), jax.tree_util.keystr(path)


def test_initialization():
    """TF-Slim's and torchvision's kernels start with deviation .01, the paper's with Glorot's; biases at zero."""
    glorot = np.sqrt(2 / (49 * 3 + 49 * 64))
    for name, last, deviation in (
        ("googlenet", "conv1", glorot),
        ("googlenet.slim", "Conv2d_1a_7x7", 0.01),
        ("googlenet.torchvision", "conv1", 0.01),
    ):
        model = xx.create_model(name, final_endpoint=last)
        params: Any = model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)["params"]["conv1"]
        # 9,408 draws; a normal cut at two deviations has .88 of its deviation.
        assert np.std(params["conv"]["kernel"]) == pytest.approx(deviation, rel=0.15)
        if "bias" in params["conv"]:
            np.testing.assert_array_equal(params["conv"]["bias"], 0)
    with pytest.raises(ValueError, match="did you mean he_normal"):
        abstract_init(xx.create_model("googlenet", initialization="he_norml"), images_of(32))


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
    unit = ConvReluNorm(2, (1, 1), norm=Norm())
    variables: Any = unit.init(jax.random.key(0), x, train=False)
    kernel = np.asarray(variables["params"]["conv"]["kernel"], np.float64)[0, 0]
    activated = relu(np.asarray(x, np.float64) @ kernel)
    mean, var = activated.mean(axis=(0, 1, 2)), activated.var(axis=(0, 1, 2))
    found, _ = unit.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(found, (activated - mean) / np.sqrt(var + 1e-3), rtol=1e-4, atol=1e-5)
    assert np.min(found) < 0
    params = abstract_init(xx.create_model("googlenet.xxnet"), images_of(32))["params"]
    assert sorted(params["conv1"]["conv"]) == ["bias", "kernel"]
    assert sorted(params["conv1"]["bn"]) == ["bias", "scale"]
    names = {
        name: xx.create_model(name, final_endpoint="conv1") for name in ("googlenet.torchvision", "googlenet.xxnet")
    }
    lowest = {}
    for name, model in names.items():
        images = jnp.asarray(np.random.default_rng(1).normal(size=(1, 15, 15, 3)), jnp.float32)
        variables = model.init(jax.random.key(0), images, train=False)
        lowest[name] = np.min(np.asarray(model.apply(variables, images, train=True, mutable=["batch_stats"])[0]))
    assert lowest["googlenet.torchvision"] == 0
    assert lowest["googlenet.xxnet"] < -0.1


# ---------------------------------------------------------------------------------------------- torchvision


@pytest.fixture(scope="module")
def torch() -> Any:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)
    pytest.importorskip("torchvision")
    return torch


def torchvision_weights(torch: Any, model: Any) -> Any:
    """Random weights and running statistics, set in the torch model, as a tree of ours."""
    random = np.random.default_rng(0)
    variables: dict[str, Any] = {"params": {}, "batch_stats": {}}

    def put(collection: str, path: list[str], value: np.ndarray) -> None:
        tree = variables[collection]
        for name in path[:-1]:
            tree = tree.setdefault(name, {})
        tree[path[-1]] = jnp.asarray(value)

    branches = {"branch1": "1x1", "branch2.0": "3x3_reduce", "branch2.1": "3x3"}
    branches |= {"branch3.0": "5x5_reduce", "branch3.1": "5x5", "branch4.1": "pool_proj"}
    renamed = {"conv2": "conv2_reduce", "conv3": "conv2", "fc": "logits"}
    state = {}
    for key, tensor in model.state_dict().items():
        *owner, kind = key.split(".")
        if kind == "num_batches_tracked":
            continue
        if kind == "weight" and tensor.ndim > 1:
            value = random.normal(0, np.sqrt(2 / np.prod(tensor.shape[1:])), tensor.shape)
        elif kind in ("weight", "running_var"):
            value = random.uniform(0.5, 1.5, tensor.shape)
        else:
            value = random.normal(0, 0.2, tensor.shape)
        value = value.astype(np.float32)
        state[key] = torch.from_numpy(value)
        if owner[0].startswith("inception"):
            module, *branch, layer = owner
            path = [f"inception_{module.removeprefix('inception')}", branches[".".join(branch)], layer]
        elif owner[0].startswith("aux"):
            path = [owner[0], *{"fc1": ["fc"], "fc2": ["logits"]}.get(owner[1], owner[1:])]
        else:
            path = [renamed.get(owner[0], owner[0]), *owner[1:]]
        if kind.startswith("running"):
            put("batch_stats", [*path, kind.removeprefix("running_")], value)
        elif tensor.ndim == 4:
            put("params", [*path, "kernel"], value.transpose(2, 3, 1, 0))
        elif owner[-1] == "fc1" and tensor.ndim == 2:  # torch flattens [128, 4, 4], we flatten [4, 4, 128]
            put("params", [*path, "kernel"], value.reshape(-1, 128, 4, 4).transpose(2, 3, 1, 0).reshape(2048, -1))
        elif tensor.ndim == 2:
            put("params", [*path, "kernel"], value.T)
        else:
            put("params", [*path, "scale" if kind == "weight" else "bias"], value)
    model.load_state_dict(state, strict=False)
    return variables


def largest_difference(found: Any, expected: Any) -> float:
    """In units of the largest expected number; the images' own numbers differ by more than .05 of it."""
    scale = np.abs(expected).max()
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * scale
    return float(np.abs(np.asarray(found) - expected).max() / scale)


@pytest.mark.oracle
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("side", [75, 96])
def test_logits_are_torchvisions(torch: Any, side: int, monkeypatch: pytest.MonkeyPatch):
    """With the same weights and statistics logits are torchvision's, those of the heads while training too, and with
    another epsilon, another place of a stride or the padding on the other side they are not."""
    from torchvision.models import GoogLeNet  # type: ignore[import-not-found]

    options = {"dropout": 0.0, "dropout_aux": 0.0, "aux_logits": True, "init_weights": False}
    reference = GoogLeNet(num_classes=11, **options)
    assert sum(p.numel() for p in GoogLeNet(**options).parameters()) == 13_004_888
    variables = torchvision_weights(torch, reference)
    images = np.random.default_rng(1).normal(0, 1, (3, side, side, 3)).astype(np.float32)
    images *= np.array([0.3, 1, 2], np.float32).reshape(3, 1, 1, 1)  # else random images look alike
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())

    def ours(train: bool = False, **knobs: Any) -> Any:
        rates: Any = {"dropout_rate": 0.0, "auxiliary_dropout_rate": 0.0}
        model: Any = xx.create_model("googlenet.torchvision", num_classes=11, **rates, **knobs)
        mutable: Any = ["batch_stats", "aux_logits"] if train else False
        return jax.jit(lambda v, x: model.apply(v, x, train=train, mutable=mutable))(variables, jnp.asarray(images))

    model = xx.create_model("googlenet.torchvision", num_classes=11)
    chex.assert_trees_all_equal_shapes_and_dtypes(variables, abstract_init(model, images_of(side)))
    with torch.no_grad():
        expected = reference.eval()(batch).numpy()
        training = [x.numpy() for x in reference.train()(batch)]  # logits, second head, first head
    assert largest_difference(ours(), expected) <= 1e-4

    logits, state = ours(train=True)
    heads = state["aux_logits"]["heads"]
    for found, theirs in zip((logits, heads["aux2"], heads["aux1"]), training, strict=True):
        assert largest_difference(found, theirs) <= 1e-3  # normalized by the few numbers of this batch

    assert largest_difference(ours(norm=replace(model.norm, epsilon=1e-5)), expected) > 1e-4  # type: ignore[attr-defined]
    assert largest_difference(ours(stem_padding=((2, 4), (2, 4))), expected) > 1e-4

    def later(features: int, size: Any, strides: Any = (1, 1), *rest: Any, name: str, **options: Any) -> ConvUnit:
        strides = {"conv1": (1, 1), "conv2_reduce": (2, 2)}.get(name, strides)
        return ConvUnit(features, size, strides, *rest, name=name, **options)

    monkeypatch.setattr(googlenet, "ConvUnit", later)
    assert largest_difference(ours(), expected) > 1e-4
