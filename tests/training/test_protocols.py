"""Test protocols of a small network, against a transcription in PIL and float64 NumPy, on two photographs."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageOps
from scipy import stats
from scipy.special import softmax
from sklearn.datasets import load_sample_images

import xxnet_jax as xx
from xxnet_jax.data import Statistics, image_statistics, preprocess
from xxnet_jax.data.source import ArrayExamples, Example, IndexedExamples, StreamedExamples
from xxnet_jax.errors import CorruptData, InvalidArgument, UnknownName
from xxnet_jax.models.vgg import kernels
from xxnet_jax.training.evaluation import evaluate_probabilities
from xxnet_jax.training.protocols import PROTOCOLS, Classifier, combine, make_protocol, predict, predict_examples

SHAPE = (32, 32, 3)
SMALL_VGG: dict[str, Any] = {"blocks": kernels("3", "3"), "features_of_blocks": (4, 6), "dense": (10,), "window": 8}
TOLERANCE = 2e-6  # of probabilities: float32 against float64


def classifier_of(name: str, num_classes: int = 7, preprocessing: str = "torch", **knobs: Any) -> Classifier:
    """A network of random parameters, running variances of 1 and means of 1."""
    model = xx.create_model(name, num_classes=num_classes, **knobs)
    images = jax.ShapeDtypeStruct((1, *SHAPE), np.float32)
    shapes: Any = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    random = np.random.default_rng(1)

    def normal(leaf: Any) -> np.ndarray:
        return (random.normal(size=leaf.shape) * np.prod(leaf.shape[:-1]) ** -0.5).astype(np.float32)

    variables = {
        name: jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), tree) for name, tree in shapes.items()
    }
    variables["params"] = jax.tree.map(normal, shapes["params"])
    return Classifier(model, variables, lambda images: preprocess(images, preprocessing), lambda image: image, SHAPE)


@pytest.fixture(scope="module")
def network() -> Classifier:
    """A VGG of two convolutions whose dense layers see 8x8 pixels of the map of a quarter of the image's side."""
    return classifier_of("vgg11", **SMALL_VGG)


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    """Two of 427x640, and one of them as a portrait."""
    china, flower = load_sample_images().images
    return [china, flower, np.swapaxes(china, 0, 1)]


# --- The transcription ------------------------------------------------------------------------------------------------


def map_of_scores(variables: dict[str, Any], pixels: np.ndarray) -> np.ndarray:
    """The small VGG on uint8 [height, width, 3] in float64: [rows, columns, classes]."""
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables["params"])
    x = (pixels / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    for block in (1, 2):
        layer = p[f"block{block}_conv1"]["conv"]
        windows = sliding_window_view(np.pad(x, ((1, 1), (1, 1), (0, 0))), (3, 3), axis=(0, 1))
        x = np.maximum(np.einsum("hwcij,ijcf->hwf", windows, layer["kernel"]) + layer["bias"], 0)
        rows, columns = x.shape[0] // 2, x.shape[1] // 2
        x = x[: 2 * rows, : 2 * columns].reshape(rows, 2, columns, 2, -1).max(axis=(1, 3))
    windows = sliding_window_view(x, (8, 8), axis=(0, 1)).transpose(0, 1, 3, 4, 2)
    flat = windows.reshape(*windows.shape[:2], -1)
    x = np.maximum(flat @ p["fc1"]["kernel"] + p["fc1"]["bias"], 0)
    return x @ p["predictions"]["kernel"] + p["predictions"]["bias"]


def dense_probabilities(variables: dict[str, Any], picture: Image.Image) -> np.ndarray:
    return softmax(map_of_scores(variables, np.asarray(picture)).mean(axis=(0, 1)))


def scaled(photograph: np.ndarray, shorter: int) -> Image.Image:
    picture = Image.fromarray(photograph)
    sides = [side * shorter // min(picture.size) for side in picture.size]
    return picture.resize((sides[0], sides[1]), Image.Resampling.BILINEAR)


# --- Protocols --------------------------------------------------------------------------------------------------------


def test_ten_crop(network: Classifier, photographs: list[np.ndarray]):
    """The mean of the softmax of the ten crops that PIL cuts: 32x32 in the middle 37x37, as 224 in 256."""
    expected = []
    for photograph in photographs:
        picture = scaled(photograph, 37)
        left, top = (round((side - 37) / 2) for side in picture.size)
        crops = [
            picture.crop((left + x, top + y, left + x + 32, top + y + 32))
            for x, y in ((0, 0), (5, 0), (0, 5), (5, 5), (2, 2))
        ]
        views = [view for crop in crops for view in (crop, ImageOps.mirror(crop))]
        expected.append(np.mean([dense_probabilities(network.variables, view) for view in views], axis=0))
    found = predict(network, make_protocol("ten_crop", SHAPE), photographs)
    assert np.ptp(found, axis=0).max() > 0.01  # the photographs are not all the same to the network
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("protocol", ["vgg_dense", "vgg_multi_scale", "resnet_multi_scale"])
def test_dense_evaluation(network: Classifier, photographs: list[np.ndarray], protocol: str):
    """The softmax of the mean of the map of scores of the whole photograph, VGG's also of its mirror image."""
    expected = []
    scales = {"vgg_dense": (37,), "vgg_multi_scale": (37, 55, 73), "resnet_multi_scale": (32, 37, 55, 69, 91)}[protocol]
    for photograph in photographs:
        pictures = [scaled(photograph, scale) for scale in scales]
        if protocol != "resnet_multi_scale":
            pictures += [ImageOps.mirror(picture) for picture in pictures]
        expected.append(np.mean([dense_probabilities(network.variables, picture) for picture in pictures], axis=0))
    found = predict(network, make_protocol(protocol, SHAPE, multiple_of=1), photographs)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


def test_dense_at_the_networks_own_size(network: Classifier, photographs: list[np.ndarray]):
    """One window of 32x32, unmirrored: what the network itself gives."""
    square = photographs[0][:320, :320]
    protocol = make_protocol("resnet_multi_scale", SHAPE, scales=(32,))
    own = network(np.asarray(scaled(square, 32))[None])
    np.testing.assert_allclose(predict(network, protocol, [square]), own, atol=TOLERANCE)


def test_dense_evaluation_of_a_residual_network(photographs: list[np.ndarray]):
    """A network that ends in the mean of its map gives the mean of the scores of all places of the map."""
    network = classifier_of("resnet20", depths=(1, 1, 1))
    protocol = make_protocol("resnet_multi_scale", SHAPE, scales=(48,))
    features = xx.create_model("resnet20", num_classes=None, depths=(1, 1, 1))
    head = network.variables["params"]["predictions"]
    others = {name: value for name, value in network.variables["params"].items() if name != "predictions"}
    (view,) = network.views(protocol, photographs[0])
    apply = jax.jit(functools.partial(features.apply, train=False))
    last: Any = apply({**network.variables, "params": others}, preprocess(jnp.asarray(view[None]), "torch"))
    assert last.shape[1:3] == (12, 17)
    scores = np.asarray(last, np.float64)[0] @ head["kernel"] + head["bias"]
    found = predict(network, protocol, photographs[:1])
    np.testing.assert_allclose(found[0], softmax(scores.mean(axis=(0, 1))), atol=1e-5)


def test_a_pooled_map_is_not_stretched_in_dense_evaluation(photographs: list[np.ndarray]):
    """A VGG that pools any map to the window of its dense layers is evaluated as the one that does not."""
    plain, pooling = classifier_of("vgg11", **SMALL_VGG), classifier_of("vgg11", **SMALL_VGG, adaptive_pool=True)
    protocol = make_protocol("vgg_dense", SHAPE)
    found, same = (predict(each, protocol, photographs[:1]) for each in (plain, pooling))
    np.testing.assert_array_equal(found, same)
    larger = np.stack(plain.views(protocol, photographs[0]))
    assert np.abs(plain(larger) - pooling(larger)).max() > 1e-4


def test_multiple_crops_are_those_of_the_protocol(network: Classifier, photographs: list[np.ndarray]):
    """144 and 150 crops, combined as asked, are the network's on each of them."""
    for name, number in (("googlenet_144", 144), ("vgg_150", 150)):
        protocol = make_protocol(name, SHAPE)
        views = network.views(protocol, photographs[1])
        assert len(views) == number
        each = network(np.stack(views))
        found = predict(network, protocol, photographs[1:2], batch_size=64)[0]
        np.testing.assert_allclose(found, each.mean(axis=0), atol=TOLERANCE)
        largest = predict(network, protocol, photographs[1:2], views="max")[0]
        np.testing.assert_allclose(largest, each.max(axis=0) / each.max(axis=0).sum(), atol=TOLERANCE)


@pytest.mark.parametrize("name", ["ten_crop", "googlenet_144", "vgg_150", "vgg_dense", "vgg_multi_scale"])
def test_a_mirror_image_has_the_same_probabilities(network: Classifier, name: str):
    """As the mirror image of each view is a view. (Margins are even at these scales, and nothing is resized.)"""
    image = np.random.default_rng(3).integers(0, 256, (64, 96, 3), np.uint8)
    protocol = make_protocol(name, SHAPE, scales=(64,))
    found = predict(network, protocol, [image, image[:, ::-1]])
    np.testing.assert_allclose(found[0], found[1], atol=TOLERANCE)


def test_batches_change_nothing_and_few_programs_are_compiled(photographs: list[np.ndarray]):
    """Any batch size gives the same; crops need two programs, whole photographs two for each of their shapes."""
    images = [photograph[: 400 - 5 * n] for n, photograph in enumerate(photographs * 4)]
    for name, most in (("ten_crop", 1), ("vgg_dense", 8)):
        network = classifier_of("vgg11", **SMALL_VGG)
        protocol = make_protocol(name, SHAPE)
        shapes = len({view.shape for image in images for view in network.views(protocol, image)})
        assert shapes <= most < len({image.shape for image in images})
        found = predict(network, protocol, images, batch_size=16)
        compiled: Any = network._apply
        assert 0 < compiled._cache_size() <= 2 * shapes
        np.testing.assert_allclose(predict(network, protocol, images, batch_size=3), found, atol=TOLERANCE)


def test_grey_images_get_three_channels(network: Classifier):
    """An image of one channel is repeated, for a network of three."""
    image = np.random.default_rng(0).integers(0, 256, (50, 40, 1), np.uint8)
    protocol = make_protocol("ten_crop", SHAPE)
    found = predict(network, protocol, [image, np.repeat(image, 3, axis=-1)])
    np.testing.assert_array_equal(found[0], found[1])


# --- What is refused --------------------------------------------------------------------------------------------------


def test_networks_for_one_size_cannot_be_evaluated_densely():
    """LeNet's dense layers see one size; crops are fine."""
    network = classifier_of("deepobs_3c3d", 10)
    image = np.zeros((50, 50, 3), np.uint8)
    with pytest.raises(InvalidArgument, match=r"cannot be evaluated densely.*VGG.*ResNet.*ten_crop"):
        predict(network, make_protocol("vgg_dense", SHAPE), [image])
    assert predict(network, make_protocol("ten_crop", SHAPE), [image]).shape == (1, 10)


def test_statistics_for_one_size_cannot_be_used_for_others():
    """A mean image has no value for the pixels of a larger one."""
    statistics: Statistics = image_statistics(np.zeros((2, *SHAPE), np.uint8))
    with pytest.raises(InvalidArgument, match=r"'pixel_mean' is for images of \(32, 32, 3\).*got \(64, 64, 3\)"):
        preprocess(jnp.zeros((1, 64, 64, 3), jnp.uint8), "pixel_mean", statistics)


def test_bad_arguments(network: Classifier):
    """Each says what was wrong."""
    with pytest.raises(UnknownName, match="did you mean ten_crop"):
        make_protocol("ten_crops", SHAPE)
    with pytest.raises(InvalidArgument, match="has no scales"):
        make_protocol("as_trained", SHAPE, scales=(256,))
    with pytest.raises(InvalidArgument, match="must be positive"):
        make_protocol("vgg_dense", SHAPE, multiple_of=0)
    with pytest.raises(InvalidArgument, match="square images, this one takes 32x28"):
        make_protocol("ten_crop", (32, 28, 1))
    protocol = make_protocol("ten_crop", SHAPE)
    with pytest.raises(CorruptData, match="no image"):
        predict(network, protocol, [])
    with pytest.raises(InvalidArgument, match="batch size"):
        predict(network, protocol, [], batch_size=0)
    with pytest.raises(UnknownName, match="way to combine"):
        predict(network, protocol, [], views="median")  # type: ignore[arg-type]


# --- Splits -----------------------------------------------------------------------------------------------------------


class WithACorruptOne(IndexedExamples):
    """Five noisy images, of which the third cannot be read."""

    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (5, 40, 36, 3), np.uint8)

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> Example:
        if index == 2:
            raise CorruptData("cannot decode the image 2.jpg")
        return {"image": self.images[index], "label": index}


def test_corrupt_images_are_left_out_or_end_it(network: Classifier):
    """The others keep their labels, and each counts as done."""
    examples, protocol = WithACorruptOne(), make_protocol("ten_crop", SHAPE)
    with pytest.raises(CorruptData, match=r"2\.jpg"):
        predict_examples(network, protocol, examples)
    done: list[int] = []
    found = predict_examples(network, protocol, examples, skip_corrupt=True, advance=done.append)
    assert (found.labels.tolist(), sum(done), len(found.skipped)) == ([0, 1, 3, 4], 5, 1)
    expected = predict(network, protocol, [image for n, image in enumerate(examples.images) if n != 2])
    np.testing.assert_array_equal(found.probabilities, expected)


def test_examples_that_are_only_read_in_order(network: Classifier):
    """A stream gives what the same examples give by index."""
    images = np.random.default_rng(0).integers(0, 256, (4, 40, 36, 3), np.uint8)
    indexed = ArrayExamples(images, np.arange(4, dtype=np.int32))
    stream = StreamedExamples(lambda: iter(indexed), 4)
    protocol = make_protocol("vgg_dense", SHAPE)
    for a, b in zip(*(predict_examples(network, protocol, each) for each in (indexed, stream)), strict=True):
        np.testing.assert_array_equal(a, b)


# --- Ensembles --------------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 2**32 - 1), networks=st.integers(1, 7), classes=st.integers(2, 9))
def test_ensembles(seed: int, networks: int, classes: int):
    """The mean is NumPy's; the largest ranks as the maxima; a vote is won by SciPy's mode, ties by the mean."""
    probabilities = np.random.default_rng(seed).dirichlet(np.ones(classes), (networks, 5)).astype(np.float32)
    np.testing.assert_allclose(combine(probabilities, "mean"), probabilities.mean(axis=0), rtol=1e-5)
    largest = combine(probabilities, "max")
    np.testing.assert_array_equal(largest.argmax(axis=-1), probabilities.max(axis=0).argmax(axis=-1))
    vote = combine(probabilities, "vote")
    for row, winner in enumerate(vote.argmax(axis=-1)):
        firsts = probabilities[:, row].argmax(axis=-1)
        mode = stats.mode(firsts)
        tied = [number for number in range(classes) if (firsts == number).sum() == mode.count]
        assert winner == max(tied, key=lambda number: probabilities[:, row, number].mean(dtype=np.float64))
    for combined in (largest, vote):
        assert combined.dtype == np.float32
        np.testing.assert_allclose(combined.sum(axis=-1), 1, rtol=1e-5)


def test_three_say_nine():
    """Three of five networks say class 1 by a little, two class 0 by much: the vote says 1, the mean and largest 0."""
    probabilities = np.array([[0.4, 0.6]] * 3 + [[0.99, 0.01]] * 2, np.float32)
    assert [int(combine(probabilities, how).argmax()) for how in ("vote", "mean", "max")] == [1, 0, 0]
    with pytest.raises(UnknownName):
        combine(probabilities, "median")  # type: ignore[arg-type]


def test_figures_of_probabilities():
    """Accuracy, top-k and loss against NumPy, over more examples than are counted together."""
    random = np.random.default_rng(0)
    probabilities = random.dirichlet(np.ones(6), 1500).astype(np.float32)
    labels = random.integers(0, 6, 1500)
    figures, tables = evaluate_probabilities(probabilities, labels, ("top3", "confusion"))
    ranks = (probabilities > probabilities[np.arange(1500), labels][:, None]).sum(axis=1)
    assert figures["accuracy"] == pytest.approx((ranks == 0).mean())
    assert figures["top3"] == pytest.approx((ranks < 3).mean())
    assert figures["log_loss"] == pytest.approx(-np.log(probabilities[np.arange(1500), labels]).mean(), rel=1e-5)
    assert np.trace(tables["confusion"]) == (ranks == 0).sum()
    with pytest.raises(InvalidArgument, match="dead_units: probabilities do not tell about layers"):
        evaluate_probabilities(probabilities, labels, ("dead_units",))
    with pytest.raises(CorruptData, match=r"label 6; with 6 classes labels must be in 0\.\.5"):
        evaluate_probabilities(probabilities, labels + 1)


def test_every_protocol_names_its_source():
    """And all but the plain one scale the photograph."""
    assert all(
        protocol.source and bool(protocol.scales) == (name != "as_trained") for name, protocol in PROTOCOLS.items()
    )
