"""Non-maximum suppression against loops in NumPy, the notes' examples, and what is promised for odd boxes."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import references

import xxnet_jax.detection as det

SIDE = 60
module = importlib.import_module("xxnet_jax.detection.nms")  # the package's `nms` is the function


def random_boxes(random: np.random.Generator, n: int) -> np.ndarray:
    """Many that overlap, on a grid of halves: IoUs are exact enough to compare, equal boxes occur."""
    corner, sides = random.integers(0, 2 * SIDE, (n, 2)) / 2, random.integers(1, 2 * SIDE, (n, 2)) / 4
    return np.concatenate([corner, corner + sides], -1).astype(np.float32)


def kept(result: tuple[jax.Array, jax.Array]) -> list[int]:
    """The valid indices, once the rest is what was promised."""
    indices, valid = np.asarray(result[0]), np.asarray(result[1])
    number = int(valid.sum())
    assert indices.dtype == np.int32
    assert valid[:number].all()
    assert not indices[number:].any()
    return indices[:number].tolist()


nms = jax.jit(det.nms, static_argnums=3, static_argnames="inclusive")
batched_nms = jax.jit(det.batched_nms, static_argnums=4)
gradient_nms = jax.jit(det.gradient_nms)


@pytest.mark.parametrize("tile", [4, 256])
@pytest.mark.parametrize(("n", "max_outputs"), [(30, 30), (30, 7), (9, 50)])
def test_nms_is_greedy(tile: int, n: int, max_outputs: int, monkeypatch):
    """The kept boxes and their order are the loop's, with equal scores too, whatever the size of a tile, also if fewer
    are wanted or there is room for more."""
    monkeypatch.setattr(module, "TILE", tile)
    function = jax.jit(lambda boxes, scores, threshold: det.nms(boxes, scores, threshold, max_outputs))
    for seed in range(6):
        random = np.random.default_rng(seed)
        boxes, scores = random_boxes(random, n), random.integers(0, 12, n).astype(np.float32) / 12
        threshold = np.float32([0.3, 0.5, 0.7][seed % 3])
        expected = references.nms(boxes, scores, float(threshold))
        assert kept(function(boxes, scores, threshold)) == expected[:max_outputs]


def test_batched_nms_is_greedy_within_classes():
    """Only boxes of a class suppress each other, and a box with coordinates in the millions is no exception."""
    random = np.random.default_rng(0)
    boxes, scores, labels = random_boxes(random, 40), random.random(40).astype(np.float32), random.integers(0, 3, 40)
    boxes[::7] += 2.0**22
    expected = references.nms(boxes, scores, 0.4, labels)
    assert kept(batched_nms(boxes, scores, labels, 0.4, 40)) == expected
    assert expected != references.nms(boxes, scores, 0.4)
    same = batched_nms(boxes, scores, np.full(40, 5), 0.4, 40)
    assert kept(same) == kept(nms(boxes, scores, 0.4, 40))


def test_batches():
    """More axes in front are images, each decided by itself; `vmap` gives the same."""
    random = np.random.default_rng(1)
    boxes = np.stack([random_boxes(random, 20) for _ in range(6)]).reshape(2, 3, 20, 4)
    scores = random.random((2, 3, 20)).astype(np.float32)
    labels = random.integers(0, 2, (2, 3, 20))
    indices, valid = batched_nms(boxes, scores, labels, 0.3, 10)
    mapped = jax.vmap(lambda *arrays: batched_nms(*arrays, 0.3, 10))(boxes, scores, labels)
    for index in np.ndindex(2, 3):
        expected = references.nms(boxes[index], scores[index], 0.3, labels[index])[:10]
        assert kept((indices[index], valid[index])) == expected
        assert kept((mapped[0][index], mapped[1][index])) == expected


@pytest.mark.parametrize(
    ("boxes", "scores", "expected"),
    [
        (
            [[60, 60, 100, 100], [2, 2, 12, 12], [61, 61, 101, 101], [1, 1, 11, 11], [30, 30, 50, 50], [0, 0, 10, 10]],
            [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
            {0.3: [5, 4, 2], 0.5: [5, 4, 2, 1]},
        ),
        (
            [[0, 0, 10, 10], [1, 1, 11, 11], [20, 20, 30, 30], [21, 21, 31, 31], [0, 0, 5, 5]],
            [0.9, 0.8, 0.7, 0.95, 0.6],
            {0.5: [3, 0, 4], 0.2: [3, 0]},
        ),
    ],
)
def test_examples_of_the_notes(boxes, scores, expected):
    """The six cars A to F, and YOLO's five boxes."""
    for threshold, indices in expected.items():
        assert kept(nms(np.float32(boxes), np.float32(scores), threshold, 6)) == indices


def test_pixels():
    """Two boxes of 10 x 10 pixels that share one: 1 / 199 in pixels and 0 in continuous coordinates."""
    boxes, scores = np.array([[0, 0, 9, 9], [9, 9, 18, 18]], np.float32), np.array([1, 2], np.float32)
    assert kept(nms(boxes, scores, 0.004, 2, inclusive=True)) == [1]
    assert kept(nms(boxes, scores, 0.004, 2)) == [1, 0]


def test_odd_boxes_and_scores():
    """Boxes without area, with NaN or outside overlap nothing and stay; NaN and -inf scores are out, and suppress
    nothing; infinite ones lead; integers work; equal scores go by index."""
    boxes = np.array(
        [[0, 0, 10, 10], [3, 3, 3, 9], [8, 8, 2, 2], [0, 0, 10, 10], [np.nan, 0, 10, 10], [-50, -9, 1, 1]], np.float32
    )
    every = [0, 1, 2, 4, 5]
    assert kept(nms(boxes, np.ones(6, np.float32), 0.5, 6)) == every
    assert kept(nms(boxes, np.ones(6, np.int32), 0.5, 6)) == every
    assert kept(nms(boxes, np.array([np.nan, -np.inf, 1, 2, np.inf, np.nan], np.float32), 0.5, 6)) == [4, 3, 2]
    assert kept(nms(boxes, np.full(6, np.nan, np.float32), 0.5, 6)) == []
    assert kept(nms(boxes, np.array([0, -0.0, -1, -2, -3, -4], np.float32), 0.5, 6)) == every
    assert kept(nms(boxes.astype(np.float16), np.ones(6, np.float16), 0.5, 6)) == every


def test_no_boxes():
    """Without boxes nothing is valid, in each function."""
    boxes, scores = np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
    assert kept(det.nms(boxes, scores, 0.5, 3)) == []
    assert kept(det.batched_nms(boxes, scores, np.zeros(0, int), 0.5, 3)) == []
    indices, lowered, valid = det.soft_nms(boxes, scores, 3)
    assert kept((indices, valid)) == []
    assert not lowered.any()
    indices, valid = det.nms(np.zeros((2, 0, 4), np.float32), np.zeros((2, 0), np.float32), 0.5, 3)
    assert indices.shape == valid.shape == (2, 3)
    assert det.zero_suppressed(boxes, np.zeros((0, 7), np.float32), 0.5).shape == (0, 7)


# --- Soft -------------------------------------------------------------------------------------------------------------

EXAMPLE = np.array(
    [[10, 10, 49, 49], [12, 12, 51, 51], [100, 100, 149, 149], [14, 10, 53, 49], [60, 60, 79, 79]], np.float32
)
EXAMPLE_SCORES = np.array([0.9, 0.8, 0.7, 0.6, 0.0005], np.float32)


@pytest.mark.parametrize(
    ("method", "scores"),
    [
        ("linear", [0.9, 0.7, 0.14214123006833718, 0.0193828950093187]),
        ("gaussian", [0.9, 0.7, 0.2068884944539706, 0.04067667882325212]),
    ],
)
def test_soft_nms_example_of_the_notes(method, scores):
    """The notes' example in pixels; its box with a score of .0005, which their code lets pass, is below the threshold
    here, and passes with a lower one."""
    soft = jax.jit(functools.partial(det.soft_nms, max_outputs=5, method=method, inclusive=True))
    indices, found, valid = soft(EXAMPLE, EXAMPLE_SCORES)
    assert kept((indices, valid)) == [0, 2, 1, 3]
    np.testing.assert_allclose(found[:4], scores, rtol=2e-6)  # float32
    indices, found, valid = soft(EXAMPLE, EXAMPLE_SCORES, score_threshold=0.0001)
    assert kept((indices, valid)) == [0, 2, 1, 3, 4]
    assert found[4] == np.float32(0.0005)


@pytest.mark.parametrize("method", ["linear", "gaussian"])
def test_soft_nms_is_its_definition(method):
    """Order and scores are the loop's on random boxes, in a batch; scores never rise; the first so many are the same
    when fewer are wanted."""
    random = np.random.default_rng(5)
    boxes, scores = np.stack([random_boxes(random, 25) for _ in range(4)]), random.random((4, 25)).astype(np.float32)
    options = {"method": method, "score_threshold": 0.05, "iou_threshold": 0.2, "sigma": 0.4}
    soft = jax.jit(functools.partial(det.soft_nms, **options), static_argnames="max_outputs")
    indices, found, valid = soft(boxes, scores, max_outputs=25)
    fewer = soft(boxes, scores, max_outputs=5)
    for i in range(4):
        taken, lowered = references.soft_nms(boxes[i], scores[i], method, 0.2, 0.4, 0.05)
        assert kept((indices[i], valid[i])) == taken
        np.testing.assert_allclose(found[i][: len(taken)], lowered, rtol=1e-5)  # a product of up to 24 in float32
        assert (np.diff(found[i]) <= 0).all()
        assert not found[i][len(taken) :].any()
        assert kept((fewer[0][i], fewer[2][i])) == taken[:5]


def test_soft_nms_of_odd_boxes():
    """NaN scores are never taken; a box with NaN coordinates and one without area lower nothing and are not lowered."""
    boxes = np.array([[0, 0, 10, 10], [5, 5, 5, 5], [np.nan, 0, 9, 9], [0, 0, 10, 10]], np.float32)
    soft = jax.jit(functools.partial(det.soft_nms, max_outputs=4))
    indices, found, valid = soft(boxes, np.array([0.5, 0.4, 0.9, np.nan], np.float32))
    assert kept((indices, valid)) == [2, 0, 1]
    np.testing.assert_array_equal(found, np.array([0.9, 0.5, 0.4, 0], np.float32))


# --- YOLO's ----------------------------------------------------------------------------------------------------------


def test_zero_suppressed_is_darknet():
    """Scores of 98 boxes and four classes are those of the loop over classes, in a batch too: nothing is deleted."""
    random = np.random.default_rng(6)
    boxes, scores = np.stack([random_boxes(random, 98)] * 2), random.random((2, 98, 4)).astype(np.float32)
    found = jax.jit(det.zero_suppressed)(boxes, scores, 0.4, 0.2)
    for i in range(2):
        expected = references.zero_suppressed(boxes[i], scores[i], 0.4, 0.2)
        np.testing.assert_array_equal(found[i], expected)
        assert 0 < (expected > 0).sum() < (scores[i] >= 0.2).sum()


# --- Gradients -------------------------------------------------------------------------------------------------------


def test_gradient_nms_is_its_definition():
    """On random gradients the map is that of interpolating at the two points where the direction leaves the ring."""
    random = np.random.default_rng(7)
    dx, dy = random.normal(size=(2, 14, 17))
    found = gradient_nms(dx, dy)
    assert found.dtype == jnp.uint8
    np.testing.assert_array_equal(found, references.gradient_nms(dx, dy))
    assert set(np.unique(found)) == {0, 128}
    np.testing.assert_array_equal(gradient_nms(np.stack([dx] * 2), np.stack([dy] * 2))[1], found)


def test_gradient_nms_turns_with_the_image():
    """Turning an image by 90 degrees turns its edges: (dx, dy) becomes (dy, -dx)."""
    random = np.random.default_rng(8)
    dx, dy = random.normal(size=(2, 12, 12)).astype(np.float32)
    turned = gradient_nms(np.rot90(dy), np.rot90(-dx))
    np.testing.assert_array_equal(turned, np.rot90(gradient_nms(dx, dy)))


def test_gradient_nms_of_a_blurred_step():
    """The edge of a blurred step is one pixel wide, where it is steepest; a flat image and a strip have none."""
    dx = np.tile(np.array([0, 1, 2, 4, 2, 1, 0], np.float32), (5, 1))
    expected = np.zeros((5, 7))
    expected[1:-1, 3] = 128
    np.testing.assert_array_equal(gradient_nms(dx, np.zeros_like(dx)), expected)
    np.testing.assert_array_equal(gradient_nms(np.zeros_like(dx.T), dx.T), expected.T)
    assert not gradient_nms(np.zeros_like(dx), np.zeros_like(dx)).any()
    assert not gradient_nms(np.ones((2, 6)), np.ones((2, 6))).any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: det.nms(np.ones((3, 4)), np.ones(2), 0.5, 3), r"\(3, 4\) and \(2,\)"),
        (lambda: det.nms(np.ones(4), np.ones(()), 0.5, 3), r"\[\.\.\., n, 4\]"),
        (lambda: det.nms(np.ones((3, 4)), np.ones(3), 0.5, 0), "max_outputs must be 1 or more"),
        (lambda: det.batched_nms(np.ones((3, 4)), np.ones(3), np.ones(1), 0.5, 3), "labels of the shape"),
        (lambda: det.soft_nms(np.ones((3, 4)), np.ones(3), 3, method="hard"), "linear and gaussian"),  # pyright: ignore
        (lambda: det.soft_nms(np.ones((3, 4)), np.ones(3), 3, sigma=0), "sigma must be above 0"),
        (lambda: det.zero_suppressed(np.ones((3, 4)), np.ones(3), 0.5), r"\[\.\.\., n, classes\]"),
        (lambda: det.gradient_nms(np.ones((3, 4)), np.ones((4, 4))), "same shape"),
    ],
)
def test_arguments_are_checked(call, message):
    """What does not fit is a ValueError that shows it."""
    with pytest.raises(ValueError, match=message):
        call()
