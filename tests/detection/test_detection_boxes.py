"""Regression targets, filters and the GIoU loss, against float64 NumPy, pycocotools and the notes' examples."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xxnet_jax.detection as det
from xxnet_jax import boxes as bx
from xxnet_jax.detection.boxes import FAST_RCNN_STDS
from xxnet_jax.losses import giou_loss


def random_boxes(random: np.random.Generator, *shape: int, side: float = 100) -> np.ndarray:
    """Boxes in an image of 200 x 200, of sides from 2 to `side`."""
    corner, sides = random.uniform(0, 100, (*shape, 2)), random.uniform(2, side, (*shape, 2))
    return np.concatenate([corner, corner + sides], -1)


@pytest.mark.parametrize("inclusive", [False, True])
def test_encode_is_its_equations(inclusive: bool):
    """Targets are the paper's four equations with normalization, and decoding gives the box back, in float64."""
    random = np.random.default_rng(0)
    boxes, anchors = random_boxes(random, 50), random_boxes(random, 50)
    means, stds = (0.1, -0.2, 0.3, 0.0), FAST_RCNN_STDS
    found = det.encode_boxes(boxes, anchors, means=means, stds=stds, inclusive=inclusive)
    for box, anchor, delta in zip(boxes, anchors, found, strict=True):
        (w, h), (wa, ha) = (b[2:] - b[:2] + inclusive for b in (box, anchor))
        x, y, xa, ya = box[0] + w / 2, box[1] + h / 2, anchor[0] + wa / 2, anchor[1] + ha / 2
        raw = np.array([(x - xa) / wa, (y - ya) / ha, math.log(w / wa), math.log(h / ha)])
        np.testing.assert_allclose(delta, (raw - means) / stds, rtol=1e-12, atol=1e-12)  # float64 in both
    back = det.decode_boxes(found, anchors, means=means, stds=stds, inclusive=inclusive)
    np.testing.assert_allclose(back, boxes, rtol=1e-12)


def test_examples_of_the_notes():
    """The notes' two worked examples, in (x, y, width, height) around the centre."""
    anchor, target = (bx.cxcywh_to_xyxy(box) for box in ([[50, 50, 20, 40]], [[60, 45, 30, 30]]))
    expected = [[0.5, -0.125, 0.405465, -0.287682]]
    np.testing.assert_allclose(det.encode_boxes(target, anchor), expected, atol=5e-7)  # six digits are given
    moved = det.decode_boxes([[0.1, -0.2, math.log(1.2), math.log(0.5)]], bx.cxcywh_to_xyxy([[50, 50, 100, 60]]))
    np.testing.assert_allclose(bx.xyxy_to_cxcywh(moved), [[60, 38, 120, 30]], rtol=1e-13)


def test_decoding_as_py_faster_rcnn():
    """With pixels, x2 and y2 are those of py-faster-rcnn's decoder less the pixel that it forgets; without a limit."""
    random = np.random.default_rng(1)
    anchors, deltas = random_boxes(random, 30), random.normal(size=(30, 4))
    width, height = (anchors[:, i + 2] - anchors[:, i] + 1.0 for i in (0, 1))
    x, y = deltas[:, 0] * width + anchors[:, 0] + 0.5 * width, deltas[:, 1] * height + anchors[:, 1] + 0.5 * height
    w, h = np.exp(deltas[:, 2]) * width, np.exp(deltas[:, 3]) * height
    theirs = np.stack([x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h], -1)
    ours = det.decode_boxes(deltas, anchors, max_log_scale=None, inclusive=True)
    np.testing.assert_allclose(ours + np.array([[0, 0, 1, 1]]), theirs, rtol=1e-12, atol=1e-12)


def test_large_scales_are_cut():
    """log(w / w_a) is cut at log(1000 / 16), so a wild prediction stays finite in float32; None does not cut."""
    anchor, delta = jnp.asarray([[0.0, 0, 16, 16]]), jnp.asarray([[0.0, 0, 100, 1]])
    found = bx.xyxy_to_xywh(det.decode_boxes(delta, anchor))
    np.testing.assert_allclose(found[0, 2:], [1000, 16 * math.e], rtol=1e-6)  # exp in float32
    assert not np.isfinite(det.decode_boxes(delta, anchor, max_log_scale=None)).all()


def test_one_anchor_for_several_classes():
    """Axes of length 1 are repeated: each of three classes moves the same box."""
    random = np.random.default_rng(2)
    boxes, deltas = random_boxes(random, 5), random.normal(size=(5, 3, 4))
    found = det.decode_boxes(jnp.asarray(deltas), jnp.asarray(boxes[:, None]))
    for label in range(3):
        # float32 against float64, boxes of up to 500
        np.testing.assert_allclose(found[:, label], det.decode_boxes(deltas[:, label], boxes), rtol=1e-5, atol=1e-4)


def test_padding_has_no_targets_and_no_gradient():
    """A box or an anchor without area, of zeros or reversed, has targets 0, and no NaN goes through the gradients."""
    proper, point, reversed_ = [10.0, 10, 20, 30], [0.0, 0, 0, 0], [9.0, 9, 3, 3]
    boxes = jnp.asarray([proper, point, proper, reversed_, point])
    anchors = jnp.asarray([point, proper, reversed_, proper, point])
    np.testing.assert_array_equal(det.encode_boxes(boxes, anchors), np.zeros((5, 4)))
    for argument in (0, 1):
        gradient = jax.grad(lambda a, b: det.encode_boxes(a, b).sum(), argument)(boxes, anchors)
        np.testing.assert_array_equal(gradient, np.zeros((5, 4)))


def test_gradients_are_differences():
    """Gradients of encoding, decoding and the GIoU loss are central differences in float64."""
    random = np.random.default_rng(3)
    boxes, anchors, deltas = random_boxes(random, 6), random_boxes(random, 6), random.normal(size=(6, 4)) / 2
    weights = random.normal(size=(6, 4))
    for function, x, other in (
        (det.encode_boxes, boxes, anchors),
        (det.decode_boxes, deltas, anchors),
        (lambda a, b: 1 - bx.giou(a, b)[:, None], boxes, anchors),
    ):
        gradient = jax.grad(lambda x, f=function, o=other: jnp.sum(f(x, jnp.asarray(o)) * weights))(jnp.asarray(x))
        step = 1e-5
        expected = np.zeros_like(x)
        for index in np.ndindex(*x.shape):
            unit = np.zeros_like(x)
            unit[index] = step
            difference = function(x + unit, other) - function(x - unit, other)
            expected[index] = np.sum(difference * weights) / (2 * step)
        # Float32 gradients, of sums of four terms
        np.testing.assert_allclose(gradient, expected, rtol=2e-4, atol=2e-4 * np.abs(expected).max())


def test_giou_loss():
    """1 - GIoU of the notes' examples, of batches in any format, as a float32 array."""
    predicted = np.array([[[0, 0, 2, 2], [0, 0, 1, 1]], [[0, 0, 1, 1], [0, 0, 4, 4]]])
    target = np.array([[[1, 1, 3, 3], [2, 2, 3, 3]], [[1, 0, 2, 1], [1, 1, 2, 2]]])
    found = giou_loss(jnp.asarray(predicted), jnp.asarray(target))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, [[1.07936508, 1.77777778], [1, 0.9375]], rtol=1e-6)
    with pytest.raises(ValueError, match="same shape"):
        giou_loss(jnp.ones((2, 4)), jnp.ones((1, 4)))


def test_overlaps_are_pycocotools():
    """`iou_matrix` is COCO's IoU of (x, y, width, height)."""
    mask = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(4)
    a, b = random_boxes(random, 40), random_boxes(random, 30)
    expected = mask.iou(bx.xyxy_to_xywh(a), bx.xyxy_to_xywh(b), [0] * 30)
    np.testing.assert_allclose(det.iou_matrix(a, b), expected, atol=1e-12)
    assert (det.giou_matrix(a, b) <= expected + 1e-12).all()


def test_filters():
    """Which boxes are valid and inside: by size, area, order of corners, finite numbers and the image's border."""
    boxes = np.array(
        [[0, 0, 10, 10], [0, 0, 0, 10], [5, 5, 2, 9], [0, 0, 3, 40], [-2, 0, 8, 8], [np.nan, 0, 9, 9], [0, 0, 20, 10]],
        np.float32,
    )
    for convert in (np.asarray, jnp.asarray):
        x = convert(boxes)
        assert det.valid_boxes(x).tolist() == [True, False, False, True, True, False, True]
        assert det.valid_boxes(x, min_size=8).tolist() == [True, False, False, False, True, False, True]
        assert det.valid_boxes(x, min_area=101).tolist() == [False, False, False, True, False, False, True]
        inside = det.inside_image(x, height=10, width=20)
        assert inside.tolist() == [True, True, True, False, False, False, True]
        assert det.inside_image(x, 10, 20, border=2).tolist() == [True, True, True, False, True, False, True]
        # The last pixel of 20 is 19, and a box from 0 to 0 is one pixel wide.
        assert det.inside_image(x, 10, 20, inclusive=True).tolist() == [False, False, True, False, False, False, False]
        assert det.valid_boxes(x, inclusive=True)[1]
    assert det.valid_boxes(np.zeros((0, 4))).shape == (0,)
    assert det.clip_boxes(boxes[4], 7, 6).tolist() == [0, 0, 6, 7]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: det.encode_boxes(np.ones((2, 4)), np.ones((3, 4))), r"\(2, 4\) and anchors \(3, 4\)"),
        (lambda: det.decode_boxes(np.ones((2, 3, 4)), np.ones((2, 4))), "as many axes"),
        (lambda: det.decode_boxes(np.ones((2, 8)), np.ones((2, 4))), r"\[\.\.\., 4\]"),
        (lambda: det.encode_boxes(np.ones((2, 4)), np.ones((2, 4)), stds=(1, 1, 1, 0)), "stds above 0"),
        (lambda: det.encode_boxes(np.ones((2, 4)), np.ones((2, 4)), means=(1, 1)), "four means"),
    ],
)
def test_arguments_are_checked(call, message):
    """What does not fit is a ValueError that shows it."""
    with pytest.raises(ValueError, match=message):
        call()
