"""Anchors: Faster R-CNN's to the digit, their order on a map, YOLOv2's, and those of clusters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.boxes import area, pixels_to_continuous, shape_iou, xyxy_to_cxcywh
from xxnet_jax.detection import YOLO_V2_ANCHORS, cluster_anchors, generate_anchors, tile_anchors

NINE = [
    [-84, -40, 99, 55],
    [-176, -88, 191, 103],
    [-360, -184, 375, 199],
    [-56, -56, 71, 71],
    [-120, -120, 135, 135],
    [-248, -248, 263, 263],
    [-36, -80, 51, 95],
    [-80, -168, 95, 183],
    [-168, -344, 183, 359],
]


def test_the_nine_anchors():
    """The base anchors are those of the published code, which are inclusive pixels: 184 x 96 ... 352 x 704."""
    np.testing.assert_array_equal(generate_anchors(), NINE)
    continuous = pixels_to_continuous(generate_anchors())
    sides = [[184, 96], [368, 192], [736, 384], [128, 128], [256, 256], [512, 512], [88, 176], [176, 352], [352, 704]]
    np.testing.assert_array_equal(xyxy_to_cxcywh(continuous), [[8, 8, *side] for side in sides])
    np.testing.assert_array_equal(area(continuous), area(generate_anchors(), inclusive=True))


def test_other_ratios_and_scales():
    """The fork that starts at scale 4 has 92 x 48; ratios run slower than scales; every anchor is around 7.5."""
    found = generate_anchors(ratios=(0.5, 3.0), scales=(4, 8))
    assert found.shape == (4, 4)
    np.testing.assert_array_equal(found[:2], [[-38, -16, 53, 31], NINE[0]])
    np.testing.assert_array_equal((found[:, :2] + found[:, 2:]) / 2, np.full((4, 2), 7.5))
    # sqrt(256 / 3) = 9.2 is rounded to 9, which is 27 high
    np.testing.assert_array_equal(found[2, 2:] - found[2, :2] + 1, [4 * 9, 4 * 27])


def test_tiling():
    """An image of 800 x 600 at stride 16 has 38 x 50 x 9 = 17,100 anchors, rows first and those of a cell together."""
    tiled = tile_anchors(generate_anchors(), 38, 50)
    assert tiled.shape == (17_100, 4)
    place = tiled.reshape(38, 50, 9, 4)
    for row, column, anchor in ((0, 0, 4), (0, 1, 0), (1, 0, 8), (37, 49, 3)):
        expected = np.array(NINE[anchor]) + 16 * np.array([column, row, column, row])
        np.testing.assert_array_equal(place[row, column, anchor], expected)
    assert tile_anchors(generate_anchors(), 0, 5).shape == (0, 4)


def test_yolo_anchors_fit_boxes_of_their_data():
    """The published numbers: a box of 3 x 4 cells fits VOC's second anchor and COCO's third best, with the notes' IoU;
    in pixels at stride 32 they are the notes' to a tenth."""
    voc, coco = (np.array(YOLO_V2_ANCHORS[name]) for name in ("voc", "coco"))
    assert voc.shape == coco.shape == (5, 2)
    np.testing.assert_allclose(shape_iou([[3, 4]], voc)[0], [0.1908, 0.9374, 0.2931, 0.2618, 0.1067], atol=5e-5)
    np.testing.assert_allclose(shape_iou([[3, 4]], coco)[0], [0.0323, 0.3222, 0.6566, 0.3621, 0.1340], atol=5e-5)
    pixels = [[42.3, 55.4], [102.2, 128.3], [161.8, 259.2], [303.1, 154.9], [359.6, 320.2]]
    np.testing.assert_allclose(32 * voc, pixels, atol=0.051)
    pixels = [[18.3, 21.7], [60.0, 66.0], [106.8, 175.2], [252.3, 112.9], [312.7, 293.4]]
    np.testing.assert_allclose(32 * coco, pixels, atol=0.051)


def iou_of_shapes(a: np.ndarray, b: np.ndarray) -> float:
    common = min(a[0], b[0]) * min(a[1], b[1])
    return common / (a[0] * a[1] + b[0] * b[1] - common)


@given(st.integers(0, 2**16), st.integers(1, 6))
def test_clusters(seed, k):
    """The average IoU is that of each shape with its best anchor; more than a single mean shape reaches; a unit of
    length twice as small makes anchors twice as large; and the smallest comes first."""
    shapes = np.random.default_rng(seed).uniform(0.3, 9, (40, 2))
    found = cluster_anchors(shapes, k, starts=3)
    assert found.anchors.shape == (k, 2)
    expected = np.mean([max(iou_of_shapes(shape, anchor) for anchor in found.anchors) for shape in shapes])
    np.testing.assert_allclose(found.average_iou, expected, rtol=1e-12)
    assert (np.diff(found.anchors.prod(1)) >= 0).all()
    one = np.mean([iou_of_shapes(shape, shapes.mean(0)) for shape in shapes])
    assert found.average_iou >= one if k == 1 else found.average_iou > one
    doubled = cluster_anchors(2 * shapes, k, starts=3)
    np.testing.assert_allclose(doubled.anchors, 2 * found.anchors, rtol=1e-12)


def test_clusters_that_are_apart_are_found():
    """Three bunches of shapes: their means, in any order of the shapes; and each shape by itself has an IoU of 1."""
    random = np.random.default_rng(0)
    bunches = [centre * random.uniform(0.95, 1.05, (20, 2)) for centre in ([1.0, 1.0], [3.0, 1.5], [4.0, 8.0])]
    shapes = random.permutation(np.concatenate(bunches))
    found = cluster_anchors(shapes, 3)
    np.testing.assert_allclose(found.anchors, [bunch.mean(0) for bunch in bunches], rtol=1e-12)
    assert found.average_iou > 0.93
    averages = [cluster_anchors(shapes, k).average_iou for k in (1, 2, 3, 60)]
    assert averages == sorted(averages)
    assert averages[-1] == 1
    same = np.tile([[2.0, 3.0]], (5, 1))
    assert cluster_anchors(same, 3).anchors.tolist() == [[2, 3]] * 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: cluster_anchors(np.ones((3, 2)), 4), "1 to 3 anchors"),
        (lambda: cluster_anchors(np.ones((3, 2)), 0), "1 to 3 anchors"),
        (lambda: cluster_anchors(np.zeros((3, 2)), 1), "above 0"),
        (lambda: cluster_anchors(np.ones((3, 4)), 1), r"\[n, 2\]"),
        (lambda: generate_anchors(ratios=()), "ratios above 0"),
        (lambda: generate_anchors(scales=(8, -1)), "scales above 0"),
        (lambda: generate_anchors(base_size=0), "base_size above 0"),
        (lambda: tile_anchors(np.ones((3, 2)), 4, 4), r"\[n, 4\]"),
        (lambda: tile_anchors(generate_anchors(), 4, 4, stride=0), "stride above 0"),
    ],
)
def test_arguments_are_checked(call, message):
    """Numbers that make no anchors are a ValueError that names them."""
    with pytest.raises(ValueError, match=message):
        call()
