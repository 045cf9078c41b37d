"""Occlusion, invariance, feature reuse, kernels, features and their embedding."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.datasets import make_blobs
from sklearn.neighbors import KNeighborsClassifier

import xxnet_jax as xx
from xxnet_jax.analysis import (
    Occluder,
    convolution_kernels,
    feature_reuse,
    invariance,
    neighbourhoods,
    occlusion,
    pooled_features,
)
from xxnet_jax.analysis.invariance import rotate, scale, translate
from xxnet_jax.models.densenet import DenseNet
from xxnet_jax.models.layers import Network
from xxnet_jax.parameters import abstract_variables


def as_floats(pixels: jax.Array) -> jax.Array:
    return pixels.astype(jnp.float32) / 255


class OnePixel(Network):
    """Whose answer is one pixel, and whose only map is the image."""

    row: int = 0
    column: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        self.endpoint("map", x)
        value = x[:, self.row, self.column, 0]
        return self.endpoint("logits", jnp.stack([4 * value, jnp.ones_like(value)], -1))


class Mean(Network):
    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        del train
        return self.endpoint("mean", jnp.mean(x, (1, 2)))


def random_variables(model: Network, side: int) -> Any:
    random = np.random.default_rng(0)
    shapes, _ = abstract_variables(model, (side, side, 3))
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32), shapes)


@pytest.mark.parametrize(("size", "stride", "batch_size"), [(1, 1, 4), (4, 1, 64), (5, 3, 7), (3, 2, 1000)])
def test_occlusion_of_a_network_that_looks_at_one_pixel(size: int, stride: int, batch_size: int):
    """Its answer changes where the square covers this pixel, to that of grey, and nowhere else; the sum of the map is
    that of the covered image."""
    random = np.random.default_rng(size)
    image = random.integers(200, 255, (9, 12, 2), np.uint8)
    row, column = 5, 10
    occluder = Occluder(size, stride, grey=10)
    found = occlusion(
        OnePixel(row=row, column=column),
        {},
        image,
        0,
        occluder,
        "map",
        feature=1,
        inputs=as_floats,
        batch_size=batch_size,
    )
    for place, r in enumerate(range(0, 9, stride)):
        for other, c in enumerate(range(0, 12, stride)):
            tops = r - size // 2, c - size // 2
            mask = np.zeros((9, 12), bool)
            for y in range(size):
                for x in range(size):
                    if 0 <= tops[0] + y < 9 and 0 <= tops[1] + x < 12:
                        mask[tops[0] + y, tops[1] + x] = True
            value = 4 * (10 if mask[row, column] else float(image[row, column, 0])) / 255
            expected = 1 / (1 + np.exp(1 - value))
            np.testing.assert_allclose(found.probability[place, other], expected, rtol=1e-5)
            assert found.predicted[place, other] == (0 if value > 1 else 1)
            total = np.where(mask, 10, image[..., 1]).sum() / 255
            np.testing.assert_allclose(found.activity[place, other], total, rtol=1e-5)
    assert found.probability.shape == (len(range(0, 9, stride)), len(range(0, 12, stride)))


def test_occlusion_takes_the_strongest_map():
    """By default that with the greatest sum; one that is not there, and an endpoint without maps, are errors."""
    image = np.full((6, 6, 3), (10, 200, 90), np.uint8)
    assert occlusion(OnePixel(), {}, image, 0, Occluder(1, 3), "map", inputs=as_floats).feature == 1
    with pytest.raises(ValueError, match="map has the features 0 to 2, there is no 3"):
        occlusion(OnePixel(), {}, image, 0, Occluder(1, 3), "map", feature=3, inputs=as_floats)
    with pytest.raises(ValueError, match="logits has no feature maps"):
        occlusion(OnePixel(), {}, image, 0, Occluder(1, 3), "logits", inputs=as_floats)
    with pytest.raises(ValueError, match="expected a size and a stride of at least 1"):
        Occluder(0, 1)


def test_a_global_mean_is_invariant_to_cyclic_shifts():
    """Its distances are 0 and its probabilities constant, but the image itself is elsewhere."""
    images = np.random.default_rng(0).integers(0, 255, (3, 8, 6, 4), np.uint8)
    found = invariance(
        Mean(),
        {},
        images,
        [0, 1, 2],
        lambda image, amount: np.roll(image, int(amount), 0),
        range(8),
        ["mean"],
        inputs=as_floats,
    )
    np.testing.assert_allclose(found.distances["mean"], np.zeros((8, 3)), atol=1e-6)
    means = images.astype(np.float64).mean((1, 2)) / 255
    exponentials = np.exp(means)
    expected = (exponentials / exponentials.sum(1, keepdims=True))[range(3), range(3)]
    np.testing.assert_allclose(found.probability, np.broadcast_to(expected, (8, 3)), rtol=1e-5)


def test_distances_are_euclidean():
    """Of a map and of what comes of it, against NumPy; at no amount they are exactly 0."""
    images = np.random.default_rng(1).integers(0, 255, (2, 8, 8, 2), np.uint8)
    amounts = [0.0, 2.0, -3.0]
    model = OnePixel(row=3, column=4)
    found = invariance(model, {}, images, [0, 0], translate, amounts, ["map", "logits"], inputs=as_floats)
    for place, amount in enumerate(amounts):
        moved = np.stack([translate(image, amount) for image in images]) / 255
        differences = moved - images / 255
        expected = np.sqrt((differences**2).sum((1, 2, 3)))
        np.testing.assert_allclose(found.distances["map"][place], expected, rtol=1e-5)
        np.testing.assert_allclose(found.distances["logits"][place], 4 * abs(differences[:, 3, 4, 0]), atol=1e-5)
    assert not found.distances["map"][0].any()
    with pytest.raises(ValueError, match="unknown endpoint 'maps': did you mean map"):
        invariance(model, {}, images, [0, 0], translate, amounts, ["maps"], inputs=as_floats)


def test_transformations():
    """Nothing happens at 0 pixels, a factor of 1 and full turns; whole pixels are moved down with the border repeated;
    right angles are those of `np.rot90`; and a factor of 2 takes the middle half apart by half."""
    image = np.random.default_rng(2).integers(0, 255, (9, 9, 3), np.uint8)
    for same in (translate(image, 0), scale(image, 1), rotate(image, 0), rotate(image, 360)):
        np.testing.assert_array_equal(same, image)
    np.testing.assert_array_equal(translate(image, 3), np.concatenate([image[:1]] * 3 + [image[:-3]]))
    np.testing.assert_array_equal(translate(image, -2), np.concatenate([image[2:]] + [image[-1:]] * 2))
    for quarters in range(1, 4):
        np.testing.assert_array_equal(rotate(image, 90 * quarters), np.rot90(image, quarters))
    np.testing.assert_array_equal(scale(image, 2)[::2, ::2], image[2:7, 2:7])


@pytest.mark.parametrize("knobs", [{}, {"bottleneck": None, "compression": 1.0}, {"num_classes": None}])
def test_feature_reuse(knobs: dict[str, Any]):
    """The mean |weight| of each source of each layer, against loops over slices of the kernels: with and without 1x1
    convolutions, behind the blocks a transition, and at the end a classifier or nothing."""
    given: dict[str, Any] = {"depths": (2, 3), "growth_rate": 4, "stem": "cifar", "stem_features": 6, **knobs}
    model = DenseNet(**{"num_classes": 5, **given})
    variables = random_variables(model, 16)
    found = feature_reuse(model, variables)
    params = variables["params"]
    features = 6
    for block, depth in (("conv2", 2), ("conv3", 3)):
        layer_name = "2" if model.bottleneck is None else "1"
        kernels = [params[f"{block}_block{n + 1}"][layer_name]["conv"]["kernel"] for n in range(depth)]
        if block == "conv2":
            kernels.append(params["pool2"]["conv"]["kernel"])
        elif model.num_classes is not None:
            kernels.append(params["predictions"]["kernel"][None, None])
        assert found[block].shape == (depth + 1, len(kernels))
        for layer, kernel in enumerate(np.asarray(each, np.float64) for each in kernels):
            assert kernel.shape[2] == features + 4 * layer
            for source in range(depth + 1):
                if source > layer:
                    assert np.isnan(found[block][source, layer])
                    continue
                first, last = (0, features) if source == 0 else (features + 4 * (source - 1), features + 4 * source)
                total, count = 0.0, 0
                for channel in range(first, last):
                    total += abs(kernel[:, :, channel]).sum()
                    count += kernel[:, :, channel].size
                np.testing.assert_allclose(found[block][source, layer], total / count, rtol=1e-6)
        features = int((features + 4 * depth) * model.compression)


def test_kernels_in_the_order_of_the_computation():
    """Whatever the order of the names: those of ResNet-20, of which the first sees the image."""
    model = xx.create_model("resnet20")
    found = convolution_kernels(model, random_variables(model, 32), (32, 32, 3))
    assert len([kernel for kernel in found.values() if kernel.shape[0] == 3]) == 19
    inputs = [kernel.shape[2] for kernel in found.values()]
    assert inputs[0] == 3
    assert inputs == sorted(inputs)


def test_pooled_features():
    """Maps are averaged over their places, vectors are as they are, and batches follow each other."""
    images = np.random.default_rng(3).integers(0, 255, (6, 5, 7, 3), np.uint8)
    batches = [images[:4], images[4:]]
    expected = images.astype(np.float64).mean((1, 2)) / 255
    for model, endpoint in ((OnePixel(), "map"), (Mean(), "mean")):
        found = pooled_features(model, {}, batches, endpoint, inputs=as_floats)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_neighbourhoods_keep_classes_together():
    """Of clusters far apart, each point's neighbours in the plane are of its own; the same seed gives the same plane;
    three images are too few."""
    blobs: Any = make_blobs(90, 20, centers=3, cluster_std=0.5, random_state=0)
    features, labels = blobs
    points = neighbourhoods(features.astype(np.float32), seed=1)
    assert points.shape == (90, 2)
    assert KNeighborsClassifier(5).fit(points, labels).score(points, labels) == 1
    np.testing.assert_array_equal(points, neighbourhoods(features.astype(np.float32), seed=1))
    with pytest.raises(ValueError, match="at least 4 images"):
        neighbourhoods(features[:3])
