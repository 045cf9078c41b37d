"""Boxes: conversions and overlaps, against areas that are counted pixel by pixel, and the examples of the notes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from xxnet_jax import boxes as bx

SIDE, COUNT = 12, 6
# Corners on a grid, in any order: with ties, boxes without area and empty ones among them.
any_boxes = arrays.arrays(np.int64, (COUNT, 4), elements=st.integers(0, SIDE))
proper_boxes = any_boxes.map(lambda boxes: np.sort(boxes.reshape(-1, 2, 2), 1).reshape(-1, 4))
boxes_with_area = st.tuples(
    arrays.arrays(np.int64, (COUNT, 2), elements=st.integers(0, SIDE - 1)),
    arrays.arrays(np.int64, (COUNT, 2), elements=st.integers(1, SIDE)),
).map(lambda parts: np.concatenate([parts[0], np.minimum(parts[0] + parts[1], SIDE)], 1))


def pixels_of(box: np.ndarray, inclusive: bool) -> np.ndarray:
    """The unit squares of the grid that a box of integers covers, bool [SIDE + 1, SIDE + 1]."""
    x1, y1, x2, y2 = box
    mask = np.zeros((SIDE + 1, SIDE + 1), bool)
    mask[y1 : y2 + inclusive, x1 : x2 + inclusive] = True
    return mask


def counted_giou(a: np.ndarray, b: np.ndarray, inclusive: bool) -> tuple[float, float]:
    """IoU and GIoU by counting pixels; the enclosing box is found in the picture too."""
    first, second = pixels_of(a, inclusive), pixels_of(b, inclusive)
    union = (first | second).sum()
    if union == 0:
        return 0.0, 0.0
    iou = (first & second).sum() / union
    rows, columns = (np.flatnonzero((first | second).any(axis)) for axis in (1, 0))
    around = (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
    return iou, iou - (around - union) / around


@pytest.mark.parametrize("inclusive", [False, True])
@given(a=any_boxes, b=any_boxes)
def test_overlaps_are_counted_pixels(inclusive: bool, a: np.ndarray, b: np.ndarray):
    """Area, intersection and IoU, of pairs and of each with each, are what counting pixels gives; an empty box has
    area 0 and overlaps nothing."""
    if inclusive:  # a box of negative width may still be one pixel wide by arithmetic: corners in order
        a, b = (np.sort(boxes.reshape(-1, 2, 2), 1).reshape(-1, 4) for boxes in (a, b))
    areas = [pixels_of(box, inclusive).sum() for box in a]
    common = [(pixels_of(x, inclusive) & pixels_of(y, inclusive)).sum() for x, y in zip(a, b, strict=True)]
    np.testing.assert_array_equal(bx.area(a, inclusive=inclusive), areas)  # integers: exact
    np.testing.assert_array_equal(bx.intersection(a, b, inclusive=inclusive), common)
    ious = np.array([[counted_giou(x, y, inclusive)[0] for y in b] for x in a])
    np.testing.assert_array_equal(bx.pairwise_iou(a, b, inclusive=inclusive), ious)  # one division of integers
    np.testing.assert_array_equal(bx.iou(a, b, inclusive=inclusive), ious.diagonal())


@pytest.mark.parametrize("inclusive", [False, True])
@given(a=boxes_with_area, b=boxes_with_area)
def test_giou_is_counted_pixels(inclusive: bool, a: np.ndarray, b: np.ndarray):
    """GIoU, of pairs and of each with each, is what counting pixels gives, for boxes with area."""
    expected = np.array([[counted_giou(x, y, inclusive)[1] for y in b] for x in a])
    # Two divisions and a subtraction in float64 here, the same with others there.
    np.testing.assert_allclose(bx.pairwise_giou(a, b, inclusive=inclusive), expected, atol=1e-15)
    np.testing.assert_allclose(bx.giou(a, b, inclusive=inclusive), expected.diagonal(), atol=1e-15)


@given(a=any_boxes, b=any_boxes, inclusive=st.booleans())
def test_jax_is_numpy(a: np.ndarray, b: np.ndarray, inclusive: bool):
    """JAX gives JAX arrays in float32 with the values of NumPy, also for empty boxes."""
    for function in (bx.iou, bx.giou, bx.intersection, bx.pairwise_iou, bx.pairwise_giou):
        found = function(jnp.asarray(a), jnp.asarray(b), inclusive=inclusive)
        assert isinstance(found, jax.Array)
        assert found.dtype == jnp.float32
        # A few roundings of values of at most 1 (areas are exact): 4 * 2^-24.
        np.testing.assert_allclose(found, function(a, b, inclusive=inclusive), rtol=1e-6, atol=3e-7)


@given(
    a=proper_boxes,
    b=proper_boxes,
    shift=st.tuples(st.integers(-50, 50), st.integers(-50, 50)),
    scale=st.sampled_from([0.25, 3.0, 1024.0]),
)
def test_overlaps_do_not_depend_on_place_and_scale(a, b, shift, scale):
    """IoU and GIoU are symmetric, in [0, 1] and [-1, 1], GIoU is not above IoU, and neither changes when both boxes are
    shifted and scaled."""
    iou, giou = bx.iou(a, b), bx.giou(a, b)
    np.testing.assert_array_equal(iou, bx.iou(b, a))
    np.testing.assert_array_equal(giou, bx.giou(b, a))
    assert ((iou >= 0) & (iou <= 1)).all()
    assert ((giou >= -1) & (giou <= iou)).all()
    moved = [scale * (boxes + np.tile(shift, 2)) for boxes in (a, b)]  # exact: small integers, 3 and powers of 2
    np.testing.assert_array_equal(bx.iou(*moved), iou)
    np.testing.assert_allclose(bx.giou(*moved), giou, atol=1e-15)


@pytest.mark.parametrize(
    ("a", "b", "iou", "giou"),
    [
        ([0, 0, 2, 2], [1, 1, 3, 3], 1 / 7, -0.07936507936507936),
        ([0, 0, 1, 1], [2, 2, 3, 3], 0, -0.7777777777777778),
        ([0, 0, 1, 1], [0, 0, 1, 1], 1, 1),
        ([0, 0, 1, 1], [1, 0, 2, 1], 0, 0),
        ([0, 0, 4, 4], [1, 1, 2, 2], 0.0625, 0.0625),
        ([0, 0, 10, 10], [1, 1, 11, 11], 81 / 119, None),  # the notes' example of non-maximum suppression
        ([0, 0, 10, 10], [0, 0, 5, 5], 0.25, None),
        ([1, 1, 11, 11], [0, 0, 5, 5], 16 / 109, None),
    ],
)
def test_examples_of_the_notes(a, b, iou, giou):
    """IoU and GIoU of the notes' examples in continuous coordinates."""
    assert bx.iou(a, b) == pytest.approx(iou, abs=1e-15)
    if giou is not None:
        assert bx.giou(a, b) == pytest.approx(giou, abs=1e-15)


@pytest.mark.parametrize(
    ("b", "iou"),
    [
        ([5, 5, 14, 14], 0.14285714285714285),
        ([0, 0, 9, 9], 1.0),
        ([20, 20, 29, 29], 0.0),
        ([9, 9, 18, 18], 0.005025125628140704),
        ([10, 0, 19, 9], 0.0),
    ],
)
def test_examples_of_the_notes_in_pixels(b, iou):
    """IoU of [0, 0, 9, 9] with the notes' boxes, whose coordinates are pixels: they touch in one, and share none side
    by side."""
    assert bx.iou([0, 0, 9, 9], b, inclusive=True) == iou


def test_soft_nms_example_of_the_notes():
    """The overlaps behind the notes' example of soft-NMS, in pixels: IoU .8223 (not .9025, which is intersection over
    the other box's area), .8182 and .8223; of a box with one of 20 x 20 inside it is .04."""
    a = [[10, 10, 49, 49], [10, 10, 49, 49], [12, 12, 51, 51], [0, 0, 99, 99]]
    b = [[12, 12, 51, 51], [14, 10, 53, 49], [14, 10, 53, 49], [40, 40, 59, 59]]
    expected = [0.8223234624145785, 0.8181818181818182, 0.8223234624145785, 0.04]
    np.testing.assert_allclose(bx.iou(a, b, inclusive=True), expected, rtol=1e-14)


def test_coordinates_are_not_truncated():
    """The notes' code cuts coordinates to integers, and finds IoU 1 for [.9, .9, 9.9, 9.9] and [0, 0, 9, 9]: that is
    9.1^2 / (200 - 9.1^2)."""
    found = bx.iou([0.9, 0.9, 9.9, 9.9], [0, 0, 9, 9], inclusive=True)
    assert found == pytest.approx(82.81 / (200 - 82.81), rel=1e-14)


def test_giou_of_boxes_that_are_apart():
    """The notes' code does not cut the intersection at 0, and finds -.8889 for boxes that are apart in both directions
    and 0 for boxes that are apart in one: they are -7/9 and -1/3. Its formulas write x2 where y2 is meant, so the boxes
    here are not square."""
    assert bx.giou([0, 0, 1, 1], [2, 2, 3, 3]) == pytest.approx(-7 / 9, abs=1e-15)
    assert bx.giou([0, 0, 1, 1], [2, 0, 3, 1]) == pytest.approx(-1 / 3, abs=1e-15)
    # 3 x 1 and 1 x 5 share 1, in 3 x 5; 3 x 1 and 2 x 6 share 1, in 4 x 6
    assert bx.giou([0, 2, 3, 3], [2, 2, 3, 7]) == pytest.approx(1 / 7 - (15 - 7) / 15, abs=1e-15)
    assert bx.giou([0, 1, 3, 2], [2, 1, 4, 7]) == pytest.approx(1 / 14 - (24 - 14) / 24, abs=1e-15)


def test_the_two_conventions_are_one_pixel_apart():
    """The notes' IoU counts pixels and their GIoU is continuous: (x1, y1, x2, y2) in pixels is (x1, y1, x2 + 1, y2 + 1)
    in continuous coordinates."""
    random = np.random.default_rng(0)
    a, b = (np.sort(random.integers(0, 50, (200, 2, 2)), 1).reshape(-1, 4) for _ in range(2))
    one = np.array([[0, 0, 1, 1]])
    for function in (bx.iou, bx.giou):
        np.testing.assert_array_equal(function(a, b, inclusive=True), function(a + one, b + one))
    assert (bx.iou(a, b, inclusive=True) != bx.iou(a, b)).any()


def test_gradients_are_finite():
    """Gradients of IoU and GIoU are finite for boxes without area, equal boxes, empty boxes, and huge ones."""
    corners = [[0, 0, 0, 0], [1, 1, 1, 1], [0, 0, 5, 0], [0, 0, 2, 2], [3, 3, 1, 1], [-1e6, -1e6, 1e6, 1e6]]
    a = jnp.array([one for one in corners for _ in corners], jnp.float32)
    b = jnp.array(corners * len(corners), jnp.float32)
    for function in (bx.iou, bx.giou):
        for argument in (0, 1):
            gradient = jax.jit(jax.grad(lambda a, b: function(a, b).sum(), argument))(a, b)  # noqa: B023
            assert np.isfinite(gradient).all()


def test_gradient_of_disjoint_boxes():
    """Where boxes are apart IoU has no gradient, and GIoU has one: a step along it brings them nearer."""
    a, b = jnp.array([0.0, 0, 1, 1]), jnp.array([3.0, 4, 5, 5])
    np.testing.assert_array_equal(jax.grad(bx.iou)(a, b), np.zeros(4))
    gradient = jax.grad(bx.giou)(a, b)
    step = 1e-3
    differences = [
        (bx.giou(np.array(a) + step * unit, np.array(b)) - bx.giou(np.array(a) - step * unit, np.array(b))) / (2 * step)
        for unit in np.eye(4)
    ]
    # central differences in float32 coordinates: the rounding of 1 +- .001 (6e-8) and of the quotient, by 2e-3
    np.testing.assert_allclose(gradient, differences, atol=1e-4)
    assert np.abs(gradient).max() > 0.01
    assert bx.giou(a + gradient, b) > bx.giou(a, b)


@given(boxes=proper_boxes, inclusive=st.booleans())
def test_conversions_come_back(boxes: np.ndarray, inclusive: bool):
    """Widths, heights and centres are those of the pixels that are covered, and converting back gives the same box."""
    xywh, cxcywh = bx.xyxy_to_xywh(boxes, inclusive=inclusive), bx.xyxy_to_cxcywh(boxes, inclusive=inclusive)
    for box, (x, y, width, height), (cx, cy, w, h) in zip(boxes, xywh, cxcywh, strict=True):
        mask = pixels_of(box, inclusive)
        assert width * height == w * h == mask.sum()
        if mask.any():
            rows, columns = np.nonzero(mask)
            assert (x, y, width, height) == (columns.min(), rows.min(), len(set(columns)), len(set(rows)))
            assert (cx, cy) == (columns.mean() + 0.5, rows.mean() + 0.5)  # pixel i reaches from i to i + 1
    np.testing.assert_array_equal(bx.xywh_to_xyxy(xywh, inclusive=inclusive), boxes)  # halves are exact
    np.testing.assert_array_equal(bx.cxcywh_to_xyxy(cxcywh, inclusive=inclusive), boxes)
    np.testing.assert_array_equal(bx.swap_xy(boxes), boxes[:, [1, 0, 3, 2]])


def test_conversions_worked_example():
    """A box from (2, 4) to (8, 7) is 6 wide and 3 high around (5, 5.5); in pixels it is 7 x 4 around (5.5, 6)."""
    box = [2, 4, 8, 7]
    assert bx.xyxy_to_xywh(box).tolist() == [2, 4, 6, 3]
    assert bx.xyxy_to_cxcywh(box).tolist() == [5, 5.5, 6, 3]
    assert bx.xyxy_to_xywh(box, inclusive=True).tolist() == [2, 4, 7, 4]
    assert bx.xyxy_to_cxcywh(box, inclusive=True).tolist() == [5.5, 6, 7, 4]


@given(boxes=arrays.arrays(np.int64, (COUNT, 4), elements=st.integers(-5, SIDE + 5)), inclusive=st.booleans())
def test_clip(boxes: np.ndarray, inclusive: bool):
    """What is left of a box are its pixels in the image; one outside has none, but one on the border in pixels."""
    boxes = np.sort(boxes.reshape(-1, 2, 2), 1).reshape(-1, 4)
    height, width = 5, 9
    clipped = bx.clip(boxes, height, width, inclusive=inclusive)
    image = np.zeros((height, width), bool)
    for (x1, y1, x2, y2), area in zip(boxes, bx.area(clipped, inclusive=inclusive), strict=True):
        inside = image.copy()
        inside[max(y1, 0) : max(y2 + inclusive, 0), max(x1, 0) : max(x2 + inclusive, 0)] = True
        if inside.any() or not inclusive:
            assert area == inside.sum()
    last = np.array([width, height, width, height]) - inclusive
    assert ((clipped >= 0) & (clipped <= last)).all()


def test_shape_iou_of_the_notes():
    """The notes' examples: a box of 3 x 4 with YOLOv2's anchors for VOC and COCO, and one of (.42, .61) x 13, fit the
    second, the third and the third best."""
    voc = [[1.3221, 1.73145], [3.19275, 4.00944], [5.05587, 8.09892], [9.47112, 4.84053], [11.2364, 10.0071]]
    coco = [[0.57273, 0.677385], [1.87446, 2.06253], [3.33843, 5.47434], [7.88282, 3.52778], [9.77052, 9.16828]]
    # The notes give four digits.
    found = bx.shape_iou([[3, 4], [13 * 0.42, 13 * 0.61]], voc)
    np.testing.assert_allclose(found[0], [0.1908, 0.9374, 0.2931, 0.2618, 0.1067], atol=5e-5)
    np.testing.assert_allclose(found[1], [0.0529, 0.2957, 0.9081, 0.4214, 0.3851], atol=5e-5)
    np.testing.assert_allclose(bx.shape_iou([[3, 4]], coco)[0], [0.0323, 0.3222, 0.6566, 0.3621, 0.1340], atol=5e-5)


@given(arrays.arrays(np.int64, (COUNT, 2), elements=st.integers(0, 9)))
def test_shape_iou_is_iou_of_centred_boxes(shapes: np.ndarray):
    """Of each with each it is the IoU of counted pixels of boxes whose centres lie together; 0 without areas."""
    found = bx.shape_iou(shapes, shapes[:4])
    for i, first in enumerate(2 * shapes):  # doubled, so that centred corners are integers
        for j, second in enumerate(2 * shapes[:4]):
            masks = [np.zeros((20, 20), bool) for _ in range(2)]
            for mask, (w, h) in zip(masks, (first, second), strict=True):
                mask[10 - h // 2 : 10 + h // 2, 10 - w // 2 : 10 + w // 2] = True
            union = (masks[0] | masks[1]).sum()
            assert found[i, j] == ((masks[0] & masks[1]).sum() / union if union else 0)


def test_formats():
    """Floating formats of 32 bits and more stay, integers and lists become float64, half formats float32; JAX arrays
    make JAX arrays, with batches in front, and all work under jit."""
    box = np.array([[1, 2, 3, 5]])
    for dtype, expected in ((np.float64, np.float64), (np.float32, np.float32), (np.float16, np.float32)):
        assert bx.xyxy_to_cxcywh(box.astype(dtype)).dtype == expected
        assert bx.iou(box.astype(dtype), box.astype(dtype)).dtype == expected
    assert bx.area(box).dtype == bx.area(box.tolist()).dtype == np.float64
    batch = jnp.ones((2, 3, 4), jnp.bfloat16)
    assert bx.area(batch).dtype == jnp.float32
    found = jax.jit(bx.pairwise_iou)(batch, jnp.ones((2, 5, 4)))
    assert found.shape == (2, 3, 5)
    clipped = jax.jit(bx.clip)(batch, 10, jnp.asarray(20.0))
    assert isinstance(clipped, jax.Array)
    assert bx.pairwise_giou(np.zeros((0, 4)), box).shape == (0, 1)


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        (bx.area, (np.ones((2, 5)),), r"\[\.\.\., 4\], got shape \(2, 5\)"),
        (bx.xywh_to_xyxy, (3.0,), r"got shape \(\)"),
        (bx.iou, (np.ones((2, 4)), np.ones((1, 4))), r"\(2, 4\) and \(1, 4\)"),
        (bx.giou, (np.ones((2, 4)), np.ones(4)), "pairwise_giou"),
        (bx.pairwise_iou, (np.ones(4), np.ones((2, 4))), r"\[\.\.\., n, 4\]"),
        (bx.pairwise_iou, (np.ones((1, 3, 4)), np.ones((2, 3, 4))), r"\(1, 3, 4\) and \(2, 3, 4\)"),
        (bx.shape_iou, (np.ones((1, 4)), np.ones((2, 2))), r"\[\.\.\., 2\]"),
    ],
)
def test_shapes_are_checked(function, arguments, message):
    """Another shape is a ValueError that shows it: nothing broadcasts."""
    with pytest.raises(ValueError, match=message):
        function(*arguments)
    with pytest.raises(ValueError, match=message):
        function(*map(jnp.asarray, arguments))
