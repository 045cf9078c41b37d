"""Sliding windows, image pyramids, and regions that may be letters."""

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from xxnet_jax.boxes import pairwise_iou
from xxnet_jax.detection import image_pyramid, sliding_windows, text_regions
from xxnet_jax.errors import InvalidArgument, XXNetError

SIDE = st.integers(1, 40)


@given(height=SIDE, width=SIDE, rows=SIDE, columns=SIDE, stride=st.floats(0.05, 1))
def test_windows_of_a_size_cover_the_image(height: int, width: int, rows: int, columns: int, stride: float):
    """Each has the size, all lie inside, none comes twice, every pixel is in one, and the next one is at most a stride
    away; where the size does not fit there are none."""
    boxes = sliding_windows(height, width, [(rows, columns)], stride)
    assert boxes.dtype == np.float32
    if rows > height or columns > width:
        assert boxes.shape == (0, 4)
        return
    assert (boxes[:, 2:] - boxes[:, :2] == (columns, rows)).all()
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (width, height)).all()
    assert len(np.unique(boxes, axis=0)) == len(boxes)
    covered = np.zeros((height, width), bool)
    for x1, y1, x2, y2 in boxes.astype(int):
        covered[y1:y2, x1:x2] = True
    assert covered.all()
    steps = np.diff(np.unique(boxes[:, 0]))
    assert (steps <= max(1, round(stride * columns))).all()


def test_windows_go_size_by_size_and_row_by_row():
    """A worked example: windows of 2x2, half a window apart, and of 2x4, in an image of 2x4."""
    found = sliding_windows(2, 4, [(2, 2), (2, 4)])
    assert found.tolist() == [[0, 0, 2, 2], [1, 0, 3, 2], [2, 0, 4, 2], [0, 0, 4, 2]]
    assert sliding_windows(2, 4, []).shape == (0, 4)


@pytest.mark.parametrize("arguments", [(0, 4, [(1, 1)], 0.5), (4, 4, [(0, 1)], 0.5), (4, 4, [(1, 1)], 0.0)])
def test_windows_without_a_side_are_refused(arguments: tuple):
    """An image, a window or a stride of nothing is an error that says what was given."""
    with pytest.raises(InvalidArgument, match="positive"):
        sliding_windows(*arguments)


def test_a_pyramid_shrinks_by_its_factor():
    """Sides are those of the image times the scale, rounded, down to the smallest side; the first is the image itself,
    and a region keeps its place."""
    image = np.zeros((160, 240, 3), np.uint8)
    image[40:80, 120:180] = 255
    levels = image_pyramid(image, factor=2, smallest_side=20)
    assert [scale for scale, _ in levels] == [1, 1 / 2, 1 / 4, 1 / 8]
    assert [level.shape for _, level in levels] == [(160, 240, 3), (80, 120, 3), (40, 60, 3), (20, 30, 3)]
    np.testing.assert_array_equal(levels[0][1], image)
    for scale, level in levels:
        rows, columns = np.nonzero(level[..., 0] > 127)
        found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]) / scale
        np.testing.assert_allclose(found, (120, 40, 180, 80), atol=0.5 / scale)
    assert len(image_pyramid(image[:10], smallest_side=20)) == 1
    with pytest.raises(InvalidArgument, match="factor above 1"):
        image_pyramid(image, factor=1)


def letters(dark: bool) -> tuple[np.ndarray, np.ndarray]:
    """A gray image with three bars like letters, with soft edges and noise, and the boxes of these."""
    boxes = np.array([[20, 30, 28, 70], [50, 30, 58, 70], [80, 20, 130, 28]], np.float32)
    picture = Image.new("L", (600, 400), 210)
    for box in boxes:
        x1, y1, x2, y2 = 4 * box
        ImageDraw.Draw(picture).rectangle((x1, y1, x2 - 1, y2 - 1), fill=60)
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(4)).resize((150, 100)), np.float64)
    gray = (soft + np.random.default_rng(0).normal(0, 1, soft.shape)).astype(np.uint8)[..., None]
    return gray if dark else 255 - gray, boxes


@pytest.mark.parametrize("dark", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_letters_are_found(dark: bool, channels: int):
    """Dark and bright bars of known places are among the boxes; the mask covers them and leaves
    most of the rest; no two boxes overlap by more than the threshold."""
    pytest.importorskip("cv2")
    image, expected = letters(dark)
    found = text_regions(np.repeat(image, channels, -1))
    assert found.boxes.dtype == np.float32
    assert (pairwise_iou(expected, found.boxes).max(1, initial=0) > 0.9).all()
    assert (found.boxes[:, :2] >= 0).all()
    assert (found.boxes[:, 2:] <= (150, 100)).all()
    for x1, y1, x2, y2 in expected.astype(int):
        assert found.mask[y1:y2, x1:x2].mean() > 0.9
    assert found.mask.mean() < 0.2
    overlaps = pairwise_iou(found.boxes, found.boxes) - np.eye(len(found.boxes))
    assert overlaps.max() <= 0.4


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (40, 40, 1)])
def test_nothing_is_found_where_nothing_is(shape: tuple[int, int, int]):
    """An image of one colour, of any size, has no regions: no boxes, and an empty mask."""
    pytest.importorskip("cv2")
    found = text_regions(np.full(shape, 90, np.uint8))
    assert found.boxes.shape == (0, 4)
    assert found.mask.shape == shape[:2]
    assert not found.mask.any()


def test_other_arrays_are_no_images():
    """Floating numbers are an error with the shape."""
    pytest.importorskip("cv2")
    with pytest.raises(InvalidArgument, match=r"uint8.*float64 \[9, 9, 1\]"):
        text_regions(np.zeros((9, 9, 1)))


def test_without_opencv_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    """Where OpenCV is not installed the error says what to install."""
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(XXNetError, match=r"xxnet_jax\[detection\]"):
        text_regions(np.zeros((9, 9, 1), np.uint8))
