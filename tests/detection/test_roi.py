"""RoI pooling, RoI align and spatial pyramid pooling against loops in NumPy, float64, and differences."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import xxnet_jax.detection as det
from xxnet_jax.detection import roi

SCALE = 1 / 8
HEIGHT, WIDTH, CHANNELS = 7, 11, 3
ODD = [
    [0, 0, 0, 0],  # padding
    [30, 20, 10, 5],  # reversed
    [-500, -500, -300, -300],  # outside
    [200, 10, 300, 30],  # outside on the right
    [-41, -30.5, 200, 150],  # larger than the map
    [0, 0, 88, 56],  # the map
    [16, 16, 16, 40],  # no width
    [3.99, 4, 12, 11.99],  # about halves
]


def random_boxes(random: np.random.Generator, n: int) -> np.ndarray:
    corner = random.uniform(-20, 70, (n, 2))
    return np.concatenate([corner, corner + random.uniform(1, 80, (n, 2))], -1)


def case(seed: int, n: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Features, and random boxes and odd ones."""
    random = np.random.default_rng(seed)
    return random.normal(size=(HEIGHT, WIDTH, CHANNELS)), np.concatenate([random_boxes(random, n), ODD])


@pytest.mark.parametrize("size", [(7, 7), (2, 5), (1, 1)])
def test_roi_pool_is_its_definition(size):
    """The maximum of each bin is the loop's, exactly, also for boxes outside, reversed or larger than the map."""
    features, boxes = case(0)
    features = features.astype(np.float32)
    found = jax.jit(functools.partial(det.roi_pool, output_size=size, spatial_scale=SCALE))(features, boxes)
    np.testing.assert_array_equal(found, references.roi_pool(features, boxes, size, SCALE))


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize(("size", "sampling_ratio"), [((3, 4), 2), ((7, 7), 1), ((2, 2), 0)])
def test_roi_align_is_its_definition(size, sampling_ratio, aligned):
    """The mean of the samples is the loop's, for both alignments, with a fixed number of samples and as many as needed,
    in blocks of boxes and without."""
    features, boxes = case(1)
    options = {"spatial_scale": SCALE, "sampling_ratio": sampling_ratio, "aligned": aligned}
    function = jax.jit(functools.partial(det.roi_align, output_size=size, **options))
    expected = references.roi_align(features, boxes, size, SCALE, sampling_ratio, aligned)
    # Float32 places of up to 60 cells, between features that differ by up to 5
    np.testing.assert_allclose(function(features, boxes), expected, atol=5e-5)


def test_roi_align_in_blocks(monkeypatch):
    """Blocks of boxes change nothing, neither values nor gradients; a map that is higher than wide neither."""
    features, boxes = (jnp.asarray(array, jnp.float32) for array in case(2))
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(len(boxes), 3, 2, CHANNELS)), jnp.float32)

    def both(features: jax.Array, boxes: jax.Array, weights: jax.Array) -> Any:
        _, rows, columns, _ = weights.shape
        function = lambda f, b: jnp.sum(weights * det.roi_align(f, b, (rows, columns), SCALE))  # noqa: E731
        return jax.jit(jax.value_and_grad(function, (0, 1)))(features, boxes)

    whole = both(features, boxes, weights)
    turned = both(features.swapaxes(0, 1), boxes[:, jnp.array([1, 0, 3, 2])], weights.swapaxes(1, 2))
    monkeypatch.setattr(roi, "MEMORY", 1500)
    blocks = both(features, boxes, weights)
    for other in (blocks, (turned[0], (turned[1][0].swapaxes(0, 1), turned[1][1][:, jnp.array([1, 0, 3, 2])]))):
        # Sums of floats in another order
        np.testing.assert_allclose(other[0], whole[0], rtol=1e-4)
        for mine, theirs in zip(other[1], whole[1], strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def differences(function: Any, x: np.ndarray, step: float) -> np.ndarray:
    """Central differences of a number."""
    found = np.zeros_like(x)
    for index in np.ndindex(*x.shape):
        unit = np.zeros_like(x)
        unit[index] = step
        found[index] = (function(x + unit) - function(x - unit)) / (2 * step)
    return found


def test_gradients_of_roi_align():
    """Gradients of features and boxes are central differences of the loop in float64."""
    random = np.random.default_rng(3)
    features, boxes = random.normal(size=(5, 6, 1)), np.array([[3.3, 4.1, 37.7, 33.9], [-4.2, 9.3, 20.6, 29.7]])
    weights = random.normal(size=(2, 2, 3, 1))

    def loop(features: np.ndarray, boxes: np.ndarray) -> float:
        return float(np.sum(weights * references.roi_align(features, boxes, (2, 3), SCALE, 2, True)))

    def ours(features: jax.Array, boxes: jax.Array) -> jax.Array:
        return jnp.sum(weights * det.roi_align(features, boxes, (2, 3), SCALE))

    of_features, of_boxes = jax.jit(jax.grad(ours, (0, 1)))(*(jnp.asarray(x, jnp.float32) for x in (features, boxes)))
    # Float32, sums of a few dozen terms
    np.testing.assert_allclose(of_features, differences(lambda x: loop(x, boxes), features, 1e-4), atol=1e-5)
    np.testing.assert_allclose(of_boxes, differences(lambda x: loop(features, x), boxes, 1e-4), atol=1e-5)


def test_gradients_of_roi_pool():
    """The gradient of each bin goes to its largest cell, as differences say; boxes have none; equal cells share it."""
    random = np.random.default_rng(4)
    features, boxes = random.permutation(30).reshape(5, 6, 1).astype(float), np.array([*ODD, [9, 3, 40, 38]], float)
    weights = random.normal(size=(len(boxes), 3, 2, 1))

    def ours(features: jax.Array, boxes: jax.Array) -> jax.Array:
        return jnp.sum(weights * det.roi_pool(features, boxes, (3, 2), SCALE))

    of_features, of_boxes = jax.jit(jax.grad(ours, (0, 1)))(jnp.asarray(features), jnp.asarray(boxes))
    loop = lambda x: float(np.sum(weights * references.roi_pool(x, boxes, (3, 2), SCALE)))  # noqa: E731
    # Differences are exact within the step, float32 sums of up to 50 weights
    np.testing.assert_allclose(of_features, differences(loop, features, 0.25), atol=2e-5)
    assert not of_boxes.any()
    whole = jnp.asarray([[0.0, 0, 40, 32]])
    constant = jax.jit(jax.grad(lambda x: det.roi_pool(x, whole, 1, SCALE).sum()))(jnp.ones((5, 6, 1)))
    assert float(constant.sum()) == 1
    assert (constant >= 0).all()


def test_gradients_are_finite_for_odd_boxes():
    """No box, with NaN or infinite corners either, makes a gradient that is not finite, and values are finite too."""
    boxes = jnp.asarray([*ODD, [np.nan, 0, 20, 20], [0, 0, np.inf, 9], [-1e30, 0, 1e30, 9]], jnp.float32)
    features = jnp.asarray(case(5)[0], jnp.float32)
    for function in (
        functools.partial(det.roi_pool, spatial_scale=SCALE),
        functools.partial(det.roi_align, spatial_scale=SCALE),
        functools.partial(det.roi_align, spatial_scale=SCALE, sampling_ratio=0, aligned=False),
    ):
        pooled, gradients = jax.jit(jax.value_and_grad(lambda f, b, g=function: g(f, b).sum(), (0, 1)))(features, boxes)
        assert np.isfinite(pooled)
        assert all(np.isfinite(gradient).all() for gradient in gradients)


def test_batches_and_formats():
    """A batch has as many boxes for each image; features of 16 bits give outputs of 16 bits; no boxes give none."""
    features, boxes = case(6)
    batch, many = np.stack([features, -features]), np.stack([boxes, boxes[::-1]])
    for function in (jax.jit(f, static_argnums=(2, 3)) for f in (det.roi_pool, det.roi_align)):
        found = function(batch, many, (2, 3), SCALE)
        assert found.shape == (2, len(boxes), 2, 3, CHANNELS)
        for i in range(2):
            np.testing.assert_allclose(found[i], function(batch[i], many[i], (2, 3), SCALE), atol=1e-6)
        half = function(jnp.asarray(features, jnp.bfloat16), boxes, 2, SCALE)
        assert half.dtype == jnp.bfloat16
        # bfloat16 keeps 8 bits, of values up to 3
        np.testing.assert_allclose(np.float32(half), function(features, boxes, 2, SCALE), atol=0.03)
        assert function(features, np.zeros((0, 4)), 2, SCALE).shape == (0, 2, 2, CHANNELS)


# --- Spatial pyramid pooling -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("height", "width"), [(10, 13), (2, 3), (1, 1)])
@pytest.mark.parametrize("levels", [roi.PYRAMID, roi.DETECTION_PYRAMID])
def test_spatial_pyramid(height, width, levels):
    """21 or 50 bins for any size, each the maximum of its cells; a window that is the whole map gives the same."""
    random = np.random.default_rng(height)
    features = random.normal(size=(2, height, width, 5)).astype(np.float32)
    pool = jax.jit(det.spatial_pyramid_pool, static_argnums=1)
    found = pool(features, levels)
    expected = []
    for n in levels:
        for i in range(n):
            rows = slice(int(np.floor(i * height / n)), int(np.ceil((i + 1) * height / n)))
            for j in range(n):
                columns = slice(int(np.floor(j * width / n)), int(np.ceil((j + 1) * width / n)))
                expected.append(features[:, rows, columns].max((1, 2)))
    np.testing.assert_array_equal(found, np.concatenate(expected, -1))
    assert found.shape == (2, {3: 21, 4: 50}[len(levels)] * 5)
    windows = np.tile([0, 0, width - 1, height - 1], (2, 1, 1))
    np.testing.assert_array_equal(pool(features, levels, windows)[:, 0], found)


def test_lengths_of_the_paper():
    """conv5 of an image of 224 x 224 is 13 x 13 x 256: 5,376 numbers, and 12,800 with 50 bins; for 13 cells the paper's
    windows of ceil(13 / n) every floor(13 / n) are within these bins, and are these for 1 and 2."""
    shape = jax.eval_shape(det.spatial_pyramid_pool, jax.ShapeDtypeStruct((3, 13, 13, 256), jnp.float32)).shape
    assert shape == (3, 5376)
    fifty = functools.partial(det.spatial_pyramid_pool, levels=roi.DETECTION_PYRAMID)
    assert jax.eval_shape(fifty, jax.ShapeDtypeStruct((13, 13, 256), jnp.float32)).shape == (12_800,)


def test_gradient_of_the_pyramid():
    """Differences in float64 of a random map, through all levels."""
    random = np.random.default_rng(9)
    features = random.permutation(20).reshape(4, 5, 1).astype(float)
    weights = random.normal(size=21)
    pool = jax.jit(det.spatial_pyramid_pool)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(weights * det.spatial_pyramid_pool(x))))(jnp.asarray(features))
    loop = lambda x: float(np.sum(weights * np.float64(pool(x))))  # noqa: E731
    np.testing.assert_allclose(gradient, differences(loop, features, 0.25), atol=1e-5)  # float32 sums


def test_windows_of_features():
    """The paper's formula: of columns (0, 223), (100, 300) and (17, 33) at stride 16; where no centre lies within, the
    cell in the middle; the map's border for boxes outside."""
    boxes = np.array(
        [[0, 17, 223, 33], [100, 0, 300, 223], [20, 100, 25, 101], [-99, -50, -40, 9], [999, 0, 1e9, 40]], np.float32
    )
    windows = jax.jit(det.window_of_features, static_argnums=(1, 2), static_argnames="offset")
    found = windows(boxes, 14, 20)
    expected = [[1, 2, 13, 2], [7, 1, 18, 13], [1, 6, 1, 6], [0, 0, 0, 0], [19, 1, 19, 2]]
    np.testing.assert_array_equal(found, expected)
    assert found.dtype == jnp.int32
    np.testing.assert_array_equal(windows(boxes + 8, 14, 20, offset=8), expected)
    random = np.random.default_rng(10)
    for box in random.uniform(0, 300, (20, 2)):
        low, high = sorted(box)
        centres = [cell for cell in range(20) if low < 16 * cell < high]
        window = windows(np.array([low, 0, high, 9], np.float32), 14, 20)
        if centres:
            assert window[::2].tolist() == [centres[0], centres[-1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: det.roi_pool(np.ones((2, 5, 5, 3)), np.ones((3, 4))), r"\(2, 5, 5, 3\) and \(3, 4\)"),
        (lambda: det.roi_align(np.ones((5, 5, 3)), np.ones((3, 5))), r"\[\(batch,\) n, 4\]"),
        (lambda: det.roi_align(np.ones((0, 5, 3)), np.ones((3, 4))), "a cell or more"),
        (lambda: det.roi_align(np.ones((5, 5, 3)), np.ones((3, 4)), sampling_ratio=-1), "sampling_ratio"),
        (lambda: det.roi_pool(np.ones((5, 5, 3)), np.ones((3, 4)), (7, 0)), "output_size"),
        (lambda: det.spatial_pyramid_pool(np.ones((5, 5, 3)), ()), "levels of 1 bin"),
        (lambda: det.spatial_pyramid_pool(np.ones((5, 5))), r"got \(5, 5\)"),
        (lambda: det.window_of_features(np.ones((3, 4)), 0, 3), "a map of a cell"),
    ],
)
def test_arguments_are_checked(call, message):
    """What does not fit is a ValueError that shows it."""
    with pytest.raises(ValueError, match=message):
        call()
