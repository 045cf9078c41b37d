"""The registry, and what every registered network keeps: each test of the second half runs over `list_models()`."""

import functools
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from zoo import abstract_init, abstract_output, images_of, nominal_images, traced

import xxnet_jax as xx
from xxnet_jax.models import Network, count_parameters, registry

# Trainable parameters and all scalars at the nominal input, from the papers and the reference implementations, and not
# from the code under test. A network without a line here fails `test_parameter_count`.
PUBLISHED_PARAMETERS = {
    "alexnet": (60_965_224, 60_965_224),  # the paper's two groups: 60,954,656 weights + 10,568 biases
    "alexnet.cifar10": (2_819_274, 2_819_274),  # 578,752 in the convolutions, 2,240,522 in the dense layers
    "alexnet.notebook": (49_516_520, 49_516_520),  # the notes' code in Keras: one 384 convolution is missing
    "alexnet.slim": (50_303_912, 50_303_912),  # TF-Slim's alexnet_v2, layer by layer
    "alexnet.tf1": (62_378_344, 62_378_344),  # the notes' arithmetic, no groups
    "alexnet.torchvision": (61_100_840, 61_100_840),  # torchvision
    "alexnet.xxnet": (62_378_344, 62_378_344),  # the notes' code in Keras
    "darknet19": (20_842_376, 20_856_776),  # the notes' arithmetic; statistics of 7,200 channels
    "darknet20": (23_428_136, 23_428_136),  # the notes' arithmetic, layer by layer
    "darknet24": (61_180_968, 61_180_968),  # 60,142,784 weights + 13,184 biases + 1,025,000 of the classes
    "darknet_tiny": (26_193_800, 26_193_800),  # 25,164,720 weights + 4,080 biases + 1,025,000 of the classes
    "deepobs_2c2d": (3_274_634, 3_274_634),  # 832 + 51,264 + 3,212,288 + 10,250
    "deepobs_3c3d": (895_210, 895_210),  # 4,864 + 55,392 + 110,720 + 590,336 + 131,328 + 2,570
    "densenet100_12": (6_979_642, 7_096_858),  # the notes' arithmetic, layer by layer, as the next ones for CIFAR
    "densenet100_24": (27_249_082, 27_480_346),
    "densenet121": (7_978_856, 8_062_504),  # Keras
    "densenet121.xxnet": (8_062_504, 8_146_152),  # the notes' code in Keras: 83,648 more in its scales
    "densenet161": (28_681_000, 28_900_936),  # torchvision; 109,968 channels
    "densenet121.torchvision": (7_978_856, 8_062_504),  # as Keras
    "densenet169": (14_149_480, 14_307_880),  # Keras
    "densenet169.torchvision": (14_149_480, 14_307_880),
    "densenet201": (20_013_928, 20_242_984),  # Keras
    "densenet201.torchvision": (20_013_928, 20_242_984),
    "densenet264": (33_337_704, 33_736_232),  # the paper's table by arithmetic; 199,264 channels
    "densenet40_12": (1_019_722, 1_037_818),
    "densenet_bc40_12": (176_122, 181_210),
    "densenet_bc100_12": (769_162, 793_150),
    "densenet_bc190_40": (25_624_430, 25_881_390),
    "densenet_bc250_24": (15_324_406, 15_582_382),
    "googlenet": (6_998_552, 6_998_552),  # the paper's table by arithmetic; 13,378,280 with both heads
    "googlenet.notebook": (6_976_520, 6_976_520),  # the notes' code in Keras: 13,354,200 less 6,377,680 of its heads
    "googlenet.slim": (6_617_624, 6_632_184),  # TF-Slim: base 5,607,184 with statistics, logits 1,025,000
    "googlenet.torchvision": (
        6_624_904,
        6_639_976,
    ),  # torchvision: 13,004,888 less 6,379,984; with the heads' statistics
    "googlenet.xxnet": (7_738_728, 7_755_704),  # the notes' code in Keras
    "inception_resnet_v1": (22_756_328, 22_783_368),  # the paper's table by arithmetic; 27,040 statistics
    "inception_resnet_v2": (55_813_192, 55_873_736),  # Keras
    "inception_resnet_v2.timm": (55_843_464, 55_904_008),  # timm
    "inception_v2": (11_178_336, 11_198_112),  # TF-Slim: 10,153,336 + 1,025,000; 19,776 statistics
    "inception_v3": (23_817_352, 23_851_784),  # Keras
    "inception_v3.slim": (23_817_352, 23_853_576),  # TF-Slim; statistics 34,432 + 1,792 of the auxiliary head
    "inception_v3.timm": (23_834_568, 23_869_000),  # timm
    "inception_v3.torchvision": (23_834_568, 23_870_792),  # 27,161,264 less 3,326,696; statistics 34,432 + 1,792
    "inception_v4": (42_679_816, 42_742_984),  # timm; 63,168 statistics
    "inception_v4.slim": (42_648_232, 42_713_192),  # TF-Slim; statistics 63,168 + 1,792 of the auxiliary head
    "lenet5": (61_706, 61_706),  # the notes' arithmetic, layer by layer
    "lenet5.1998": (60_000, 60_000),  # the paper, section II.B
    "lenet5.notebook": (520_082, 520_082),  # Keras's summary of the notes' code
    "lenet5.slim": (3_274_634, 3_274_634),  # 832 + 51,264 + 3,212,288 + 10,250
    "lenet5.tf1": (1_663_370, 1_663_370),  # 832 + 51,264 + 1,606,144 + 5,130
    "lenet5.xxnet": (155_606, 155_606),  # 832 + 51,264 + 102,500 + 1,010
    "mobilenet": (4_231_976, 4_253_864),  # Keras
    "mobilenet.tflite": (4_222_057, 4_222_057),  # Keras's less 10,944 scales, a class more
    "mobilenet_v2": (3_504_872, 3_538_984),  # Keras
    "mobilenet_v2.tflite": (3_489_097, 3_489_097),  # numbers in TensorFlow's file
    "mobilenet_v2.torchvision": (3_504_872, 3_538_984),  # torchvision; 17,056 channels
    "nasnet_cifar10": (3_346_538, 3_385_578),  # TF-Slim's cells by arithmetic; statistics 37,248 + 1,792 of the head
    "nasnet_large": (88_753_150, 88_949_818),  # Keras
    "nasnet_large.slim": (88_753_150, 88_951_610),  # the same; statistics 196,668 + 1,792 of the auxiliary head
    "nasnet_large.timm": (88_753_150, 88_949_818),  # timm
    "nasnet_mobile": (5_289_978, 5_326_716),  # Keras
    "nasnet_mobile.slim": (5_289_978, 5_328_508),  # the same; statistics 36,738 + 1,792 of the auxiliary head
    "nin": (7_595_176, 7_595_176),  # the authors' Caffe layers by arithmetic, 29 MiB as they say
    "nin_cifar10": (966_986, 966_986),  # layer by layer
    "nin_cifar10.fc": (973_396, 973_396),  # 966,986 + 640 * 10 + 10
    "nin_cifar10.fc_dropout": (973_396, 973_396),  # the same
    "plain18": (11_515_688, 11_523_496),  # the notes' arithmetic; 3,904 channels
    "plain20": (269_722, 271_098),  # the notes' arithmetic; 688 channels
    "plain32": (464_154, 466_426),  # the notes' arithmetic; 1,136 channels
    "plain34": (21_623_848, 21_639_080),  # the notes' arithmetic; 7,616 channels
    "plain44": (658_586, 661_754),  # the notes' arithmetic; 1,584 channels
    "plain56": (853_018, 857_082),  # the notes' arithmetic; 2,032 channels
    "resnet1001v2": (10_327_706, 10_476_922),  # published by others (the paper rounds to 10.2M); 74,608 channels
    "resnet101": (44_601_832, 44_707_176),  # Keras
    "resnet101.notebook": (44_601_832, 44_707_176),  # the notes' code in Keras
    "resnet101.paper": (44_549_160, 44_654_504),  # torchvision, wherever the stride is; Keras's statistics
    "resnet101.torchvision": (44_549_160, 44_654_504),  # torchvision
    "resnet101v2": (44_577_896, 44_675_560),  # Keras
    "resnet110": (1_727_962, 1_736_058),  # the notes' arithmetic; 4,048 channels
    "resnet110v2": (1_727_962, 1_736_058),  # as v1: norms in other places
    "resnet1202": (19_421_274, 19_510_906),  # the notes' arithmetic; 44,816 channels
    "resnet152": (60_268_520, 60_419_944),  # Keras
    "resnet152.notebook": (60_268_520, 60_419_944),  # the notes' code in Keras
    "resnet152.paper": (60_192_808, 60_344_232),  # torchvision, wherever the stride is; Keras's statistics
    "resnet152.torchvision": (60_192_808, 60_344_232),  # torchvision
    "resnet152v2": (60_236_904, 60_380_648),  # Keras
    "resnet164v2": (1_703_258, 1_727_482),  # published by others (the paper rounds to 1.7M); 12,112 channels
    "resnet18": (11_689_512, 11_699_112),  # torchvision; the notes' 9,600 statistics
    "resnet18.notebook": (11_694_312, 11_703_912),  # the notes' code in Keras
    "resnet20": (269_722, 271_098),  # the notes' arithmetic; 688 channels
    "resnet32": (464_154, 466_426),  # the notes' arithmetic; 1,136 channels
    "resnet34": (21_797_672, 21_814_696),  # torchvision; the notes' 17,024 statistics
    "resnet34.notebook": (21_806_184, 21_823_208),  # the notes' code in Keras
    "resnet44": (658_586, 661_754),  # the notes' arithmetic; 1,584 channels
    "resnet50": (25_583_592, 25_636_712),  # Keras
    "resnet50.notebook": (25_583_592, 25_636_712),  # the notes' code in Keras
    "resnet50.paper": (25_557_032, 25_610_152),  # torchvision, wherever the stride is; Keras's statistics
    "resnet50.torchvision": (25_557_032, 25_610_152),  # torchvision
    "resnet50.xxnet": (47_734_760, 47_787_880),  # the notes' code in Keras
    "resnet50v2": (25_568_360, 25_613_800),  # Keras
    "resnet56": (853_018, 857_082),  # the notes' arithmetic; 2,032 channels
    "resnext101": (44_177_704, 44_315_560),  # keras-applications
    "resnext101_32x8d": (88_791_336, 88_994_216),  # torchvision; 101,440 channels
    "resnext50.torchvision": (25_028_904, 25_097_128),  # torchvision
    "resnext50": (25_028_904, 25_097_128),  # keras-applications
    "wide_resnet16_4": (2_748_890, 2_752_506),  # DeepOBS's network by arithmetic; 1,808 channels
    "wide_resnet28_10": (36_479_194, 36_497_146),  # the paper's 36.5M, by arithmetic; 8,976 channels
    "wide_resnet50_2": (68_883_240, 68_951_464),  # torchvision; 34,112 channels
    "vgg11": (132_863_336, 132_863_336),  # torchvision
    "vgg11.slim": (132_863_336, 132_863_336),
    "vgg11.torchvision": (132_863_336, 132_863_336),
    "vgg11_bn": (132_868_840, 132_874_344),  # torchvision; statistics of 2,752 channels
    "vgg11_lrn": (132_863_336, 132_863_336),  # A has no fewer
    "vgg13": (133_047_848, 133_047_848),  # torchvision
    "vgg13.shallow": (134_503_528, 134_503_528),  # 123,642,856 dense + 10,860,672 of five 5x5
    "vgg13.torchvision": (133_047_848, 133_047_848),
    "vgg13_bn": (133_053_736, 133_059_624),  # torchvision; 2,944 channels
    "vgg16": (138_357_544, 138_357_544),  # Keras
    "vgg16.gap": (15_227_688, 15_227_688),  # 14,714,688 + 513,000
    "vgg16.localization": (134_276_932, 134_276_932),  # 138,357,544 - 4,097,000 + 16,388
    "vgg16.localization_per_class": (150_648_544, 150_648_544),  # 138,357,544 - 4,097,000 + 16,388,000
    "vgg16.slim": (138_357_544, 138_357_544),
    "vgg16.torchvision": (138_357_544, 138_357_544),
    "vgg16.xxnet": (138_332_968, 138_332_968),  # 24,576 fewer for the 3x2
    "vgg16_1x1": (133_638_952, 133_638_952),  # B and three 1x1
    "vgg16_bn": (138_365_992, 138_374_440),  # torchvision; 4,224 channels
    "vgg19": (143_667_240, 143_667_240),  # Keras
    "vgg19.slim": (143_667_240, 143_667_240),
    "vgg19.torchvision": (143_667_240, 143_667_240),
    "vgg19_bn": (143_678_248, 143_689_256),  # torchvision; 5,504 channels
    "xception": (22_855_952, 22_910_480),  # Keras
    "zfnet": (62_357_608, 62_357_608),  # alexnet.xxnet with a first kernel of 7x7
    "zfnet.xxnet": (62_357_608, 62_357_608),  # the notes' code in Keras
}

# With this scope all tests of a network follow each other, so that those of one process share what it has traced.
THOUSAND_LAYERS = ("resnet1001v2", "resnet1202")  # take as long to trace as 20 others, which they are but for the depth
every_model = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full_size if name in THOUSAND_LAYERS else ()) for name in xx.list_models()],
    scope="module",
)


def is_light(name: str) -> bool:
    info = xx.model_info(name)
    few_layers = info.total_parameters - info.parameters < 2_000
    return info.input_shape[0] <= 32 and info.parameters < 4e6 and few_layers


# Those that are computed with, not only traced. Large ones by request; their families have tests at small size too.
every_computed_model = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if is_light(name) else pytest.mark.full_size) for name in xx.list_models()],
    scope="module",
)


def smallest_of_families() -> set[str]:
    """Of the networks of one class, which differ in their numbers."""
    by_size = sorted(xx.list_models(), key=lambda name: -xx.model_info(name).parameters)
    return set({type(xx.create_model(name)): name for name in by_size}.values())


# What the code of a family decides is seen in the smallest of it; the others by request.
every_kind_of_model = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=() if name in smallest_of_families() else pytest.mark.full_size)
        for name in xx.list_models()
    ],
    scope="module",
)


def random_images(name: str, batch: int = 2, seed: int = 0) -> jax.Array:
    shape = (batch, *xx.model_info(name).input_shape)
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


# ---------------------------------------------------------------------------------------------- names and errors


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("lenet", "lenet5"), ("lenet5.1989", "lenet5.1998"), ("lenet5_tf1", "lenet5.tf1"), ("LeNet5.slim", "lenet5.slim")],
)
def test_unknown_name_suggests_the_nearest(wrong: str, right: str):
    """A misspelt name is a ValueError that quotes it and suggests the registered name that was meant."""
    with pytest.raises(ValueError, match=r"did you mean") as error:
        xx.create_model(wrong)
    assert f"'{wrong}'" in str(error.value)
    assert right in str(error.value).split("did you mean")[1]
    with pytest.raises(ValueError, match=r"did you mean"):
        xx.model_info(wrong)


def test_a_name_like_nothing_lists_all_names():
    """A name without any near neighbour is answered with the list of the names that there are."""
    with pytest.raises(ValueError, match="unknown model") as error:
        xx.create_model("@@@@")
    assert all(name in str(error.value) for name in xx.list_models())


@pytest.mark.parametrize(("wrong", "right"), [("droput_rate", "dropout_rate"), ("activations", "activation")])
def test_unknown_knob_suggests_the_nearest(wrong: str, right: str):
    """An option that the network does not have is a ValueError that names the network and the option that was meant."""
    knobs: dict[str, Any] = {wrong: 0.5}
    with pytest.raises(ValueError, match=rf"lenet5.tf1.*'{wrong}'.*{right}"):
        xx.create_model("lenet5.tf1", **knobs)


@pytest.mark.parametrize("knob", ["name", "parent"])
def test_flax_fields_are_no_knobs(knob: str):
    """The fields that Flax adds to every module cannot be set as options of a network."""
    with pytest.raises(ValueError, match=knob):
        registry.register(replace(xx.model_info("lenet5"), name="test.knobs"), Plain, **{knob: None})
    assert "test.knobs" not in xx.list_models()


@pytest.mark.parametrize("num_classes", [0, -3, 2.5, "10", "all"])
def test_bad_num_classes(num_classes: Any):
    """What cannot be a number of classes is a ValueError that quotes it."""
    with pytest.raises(ValueError, match=rf"num_classes.*{num_classes}"):
        xx.create_model("lenet5", num_classes=num_classes)


def test_bad_pooling():
    """An unknown pooling is a ValueError with the choices, and so is pooling of a network that has a classifier."""
    pooling: Any = "mean"
    with pytest.raises(ValueError, match=r"'avg' or 'max', not 'mean'"):
        xx.create_model("lenet5", num_classes=None, pooling=pooling)
    with pytest.raises(ValueError, match="num_classes=None"):
        xx.create_model("lenet5", pooling="avg")


class Plain(Network):
    """One dense layer on the mean of each channel."""

    width: int = 1

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        classes = self.num_classes or 1
        return self.endpoint("logits", nn.Dense(classes * self.width)(images.mean(axis=(1, 2))))


def test_register(monkeypatch: pytest.MonkeyPatch):
    """A registered class is built with the knobs it was registered with, unless the caller gives others."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    info = replace(xx.model_info("lenet5"), name="flat.wide", num_classes=3)
    xx.register(info, Plain, width=2)
    assert xx.list_models("flat*") == ["flat.wide"]
    assert xx.model_info("flat.wide") is info
    assert xx.create_model("flat.wide") == Plain(num_classes=3, width=2)
    assert xx.create_model("flat.wide", num_classes=5, width=7) == Plain(num_classes=5, width=7)


def test_register_refuses_a_taken_name_and_an_unknown_knob(monkeypatch: pytest.MonkeyPatch):
    """A second registration of a name is refused and the first one stays; an unknown knob registers nothing."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    before = xx.create_model("lenet5")
    with pytest.raises(ValueError, match="'lenet5' is registered already"):
        xx.register(xx.model_info("lenet5"), Plain)
    assert xx.create_model("lenet5") == before
    with pytest.raises(ValueError, match=r"widht.*did you mean width"):
        xx.register(replace(xx.model_info("lenet5"), name="flat"), Plain, widht=2)
    assert xx.list_models("flat") == []


def test_list_models_patterns():
    """Patterns are the shell's, names are sorted: all by default, a star's, one by itself, none where none matches."""
    tags = ["1998", "notebook", "slim", "tf1", "xxnet"]
    assert xx.list_models() == sorted(xx.list_models())
    assert xx.list_models("lenet5.*") == [f"lenet5.{tag}" for tag in tags]
    assert xx.list_models("lenet5*") == ["lenet5", *(f"lenet5.{tag}" for tag in tags)]
    assert xx.list_models("lenet5") == ["lenet5"]
    assert xx.list_models("lenet5.[st]*") == ["lenet5.slim", "lenet5.tf1"]
    assert xx.list_models("no such*") == []


def test_every_published_count_has_a_network():
    """No network disappears from the registry without notice."""
    assert set(PUBLISHED_PARAMETERS) <= set(xx.list_models())


# ---------------------------------------------------------------------------------------------- every network


@every_model
def test_parameter_count(name: str):
    """Trainable parameters and all scalars are the published numbers, and those of `ModelInfo`, to the digit."""
    assert name in PUBLISHED_PARAMETERS, f"add the published parameter count of {name}"
    info = xx.model_info(name)
    variables = abstract_init(xx.create_model(name), nominal_images(name))
    trainable = count_parameters(variables["params"]) - info.auxiliary_parameters
    total = trainable + count_parameters(variables.get("batch_stats", {}))
    assert (trainable, total) == PUBLISHED_PARAMETERS[name]
    assert (info.parameters, info.total_parameters) == PUBLISHED_PARAMETERS[name]


@every_kind_of_model
def test_variables_do_not_depend_on_train(name: str):
    """`init` gives the same tree of variables with train=True and train=False, and only params and batch_stats."""
    model = xx.create_model(name)
    (_, inference), (_, training) = (traced(model, nominal_images(name), train=train) for train in (False, True))
    chex.assert_trees_all_equal_shapes_and_dtypes(inference, training)
    assert {"params"} <= set(inference) - {"intermediates"} <= {"params", "batch_stats"}


@every_kind_of_model
def test_any_number_of_classes(name: str):
    """Logits are float32 [batch, num_classes] for any number of classes."""
    num_classes = 7
    model = xx.create_model(name, num_classes=num_classes)
    logits = abstract_output(model, nominal_images(name))
    assert (logits.shape, logits.dtype) == ((2, num_classes), jnp.float32)


@every_model
def test_published_number_of_classes(name: str):
    """Without `num_classes` the classifier is the published one."""
    info = xx.model_info(name)
    assert xx.create_model(name) == xx.create_model(name, num_classes=info.num_classes)
    assert abstract_output(xx.create_model(name), nominal_images(name)).shape == (2, info.num_classes)


@every_computed_model
def test_features(name: str, initial_variables: Callable[[str], Any]):
    """Without classifier the result is the last feature map, pooled it is that map's mean or maximum over pixels, and
    the parameters are the classifier's without its head."""
    images = random_images(name)
    params = initial_variables(name)["params"]
    body = abstract_init(xx.create_model(name, num_classes=None), nominal_images(name))["params"]
    assert len(body) < len(params)
    variables = initial_variables(name) | {"params": {layer: params[layer] for layer in body}}
    chex.assert_trees_all_equal_shapes_and_dtypes(variables["params"], body)

    @jax.jit
    def features(variables: Any, x: jax.Array) -> dict[Any, Any]:
        poolings: tuple[Any, ...] = (None, "avg", "max")
        models = {pooling: xx.create_model(name, num_classes=None, pooling=pooling) for pooling in poolings}
        return {str(pooling): model.apply(variables, x, train=False) for pooling, model in models.items()}

    found = {pooling: np.asarray(array, np.float64) for pooling, array in features(variables, images).items()}
    maps = found["None"]
    assert maps.ndim == 4
    assert len(maps) == 2
    assert np.ptp(maps) > 0
    # float32 means of up to a few hundred pixels: a few units in the seventh digit.
    np.testing.assert_allclose(found["avg"], maps.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found["max"], maps.max(axis=(1, 2)))


@every_kind_of_model
def test_smallest_size(name: str):
    """The error for images without pixels names the smallest size: that one has a feature map, one pixel less not."""
    model = xx.create_model(name, num_classes=None)
    channels = xx.model_info(name).input_shape[-1]
    with pytest.raises(ValueError, match="too small") as error:
        abstract_init(model, images_of(0, 0, channels))
    named = re.search(r"smallest size is (\d+)x\1\b", str(error.value))
    assert named
    smallest = int(named[1])
    larger = smallest + 9
    assert min(abstract_output(model, images_of(smallest, smallest, channels)).shape) >= 1
    for height, width in ((smallest - 1, smallest - 1), (larger, smallest - 1), (smallest - 1, larger)):
        with pytest.raises(ValueError, match=rf"{height}x{width} .*smallest size is {smallest}x{smallest}\b"):
            abstract_init(model, images_of(height, width, channels))


@every_model
@pytest.mark.parametrize("channels", [1, 3])
def test_channels_first(name: str, channels: int):
    """Channels-first images, of grey or of colour, are a ValueError that says how to transpose them."""
    side = xx.model_info(name).input_shape[0]
    with pytest.raises(ValueError, match=r"channels-first.*jnp.transpose\(images, \(0, 2, 3, 1\)\)"):
        abstract_init(xx.create_model(name), images_of(channels, side, side))


@every_model
def test_one_image_without_batch(name: str):
    """An image without the dimension of the batch is a ValueError that says what the shape should be."""
    images = jax.ShapeDtypeStruct(xx.model_info(name).input_shape, jnp.float32)
    with pytest.raises(ValueError, match=r"\[batch, height, width, channels\]"):
        abstract_init(xx.create_model(name), images)


@every_kind_of_model
@pytest.mark.parametrize(("dtype", "param_dtype"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_dtypes(name: str, dtype: str, param_dtype: str):
    """The computation runs in `dtype`, parameters have `param_dtype`, logits are float32 whatever the two are."""
    model = xx.create_model(name, dtype=jnp.dtype(dtype), param_dtype=jnp.dtype(param_dtype))
    logits, variables = traced(model, nominal_images(name), train=False)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype(param_dtype)}
    assert logits.dtype == jnp.float32
    activations = [activation.dtype for activation in variables["intermediates"]["endpoints"].values()]
    assert set(activations) == {jnp.dtype(dtype), jnp.dtype("float32")}
    if dtype != "float32":
        assert activations.count(jnp.dtype("float32")) == 1  # the logits


@every_computed_model
def test_bfloat16_is_near_float32(name: str, initial_variables: Callable[[str], Any]):
    """Logits computed in bfloat16 are those of float32, to the 8 bits of bfloat16 over the depth of the network."""
    images = random_images(name)

    @jax.jit
    def logits(variables: Any) -> tuple[Any, ...]:
        models = (xx.create_model(name, dtype=dtype) for dtype in (jnp.bfloat16, jnp.float32))
        return tuple(model.apply(variables, images, train=False) for model in models)

    half, single = (np.asarray(array) for array in logits(initial_variables(name)))
    assert np.isfinite(single).all()
    # A rounding is 2^-9 of a value; some ten layers of partly cancelling sums make it a few percent of the largest.
    np.testing.assert_allclose(half, single, rtol=0, atol=0.05 * np.abs(single).max())
    assert not np.array_equal(half, single)


@every_computed_model
def test_images_of_a_batch_do_not_mix(name: str, initial_variables: Callable[[str], Any]):
    """In inference a permuted batch has the permuted logits, and a NaN image spoils no other image's logits."""
    model = xx.create_model(name)
    images = random_images(name, batch=4)
    variables = initial_variables(name)
    apply = functools.partial(jax.jit(lambda variables, x: model.apply(variables, x, train=False)), variables)
    logits = np.asarray(apply(images))
    assert np.ptp(logits, axis=0).max() > 0  # else there would be nothing to mix up
    order = np.array([2, 0, 3, 1])
    # The place in the batch may change how a sum is blocked, hence its rounding: float32 keeps seven digits.
    tolerance = 1e-5 * np.abs(logits).max()
    np.testing.assert_allclose(np.asarray(apply(images[order])), logits[order], rtol=0, atol=tolerance)
    spoilt = np.asarray(apply(images.at[1].set(jnp.nan)))
    assert np.isnan(spoilt[1]).any()
    others = [0, 2, 3]
    np.testing.assert_allclose(spoilt[others], logits[others], rtol=0, atol=tolerance)


@every_computed_model
def test_every_parameter_learns(name: str, initial_variables: Callable[[str], Any]):
    """On random images every parameter array gets a finite gradient that is not all zero, from the logits and those of
    the auxiliary heads; but a bias that the mean of a batch normalization takes away has none but rounding."""
    model = xx.create_model(name)
    images = random_images(name, batch=4)
    variables = initial_variables(name)
    weights = jnp.asarray(np.random.default_rng(1).standard_normal((4, model.num_classes or 1)), jnp.float32)

    @jax.jit
    @jax.grad
    def gradient(params: Any) -> jax.Array:
        logits, published = model.apply(
            variables | {"params": params},
            images,
            train=True,
            rngs={"dropout": jax.random.key(2)},
            mutable=["batch_stats", "aux_logits"],
        )
        heads = jax.tree.leaves(published.get("aux_logits", {}))
        return sum((jnp.sum(weights * jax.nn.log_softmax(scores)) for scores in (logits, *heads)), jnp.array(0.0))

    relu_between = getattr(model, "norm_last", False)
    gradients: dict[str, Any] = flatten_dict(gradient(variables["params"]), sep="/")
    for path, leaf in gradients.items():
        assert np.isfinite(leaf).all(), path
        unit = path.removesuffix("conv/bias")
        if unit != path and f"{unit}bn/bias" in gradients and not relu_between:
            # of that of the bias behind it, unless a norm further on takes that away, too
            others = max(np.abs(gradients[f"{unit}{other}"]).max() for other in ("bn/bias", "conv/kernel"))
            assert np.abs(leaf).max() <= 1e-3 * others, path
        else:
            assert np.any(leaf != 0), path


@every_computed_model
def test_equal_networks_share_a_compilation(name: str):
    """Networks created alike are equal and hash alike: a function jitted over them is traced once for all of them."""
    images = nominal_images(name)
    abstract = abstract_init(xx.create_model(name), images)
    variables = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), abstract)
    traces = []

    def forward(model: Network, model_variables: Any, x: jax.Array) -> Any:
        traces.append(model)
        return model.apply(model_variables, x, train=False)

    compiled = jax.jit(forward, static_argnums=0)
    for value in range(3):
        compiled(xx.create_model(name), variables, jnp.full(images.shape, value, jnp.float32))
    assert len(traces) == 1
    assert hash(xx.create_model(name)) == hash(xx.create_model(name))
    assert xx.create_model(name) != xx.create_model(name, dtype=jnp.bfloat16)
