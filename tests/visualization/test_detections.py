"""Boxes on images."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.visualization.detections import plot_detections

IMAGE = np.full((60, 80, 3), 255, np.uint8)
NAMES = ("cat", "dog")


def drawn(path: Path, images: Any, boxes: Any, labels: Any, **options: Any) -> np.ndarray:
    plot_detections(images, boxes, labels, NAMES, path, **options)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def test_boxes_are_where_they_should_be(tmp_path: Path):
    """The pixels that differ from the picture without boxes, but for the text above, lie on the box's edges, in
    the proportion in which the image is drawn; the picture of a gray image is as large."""
    box = np.array([[20.0, 30, 60, 50]])
    without = drawn(tmp_path / "a.png", [IMAGE], [box[:0]], [np.zeros(0, int)])
    found = drawn(tmp_path / "b.png", [IMAGE], [box], [np.array([1])])
    gray = drawn(tmp_path / "c.png", [IMAGE[..., :1]], [box], [np.array([1])])
    assert without.shape == found.shape == gray.shape
    frame_rows, frame_columns = np.nonzero((without < 128).all(-1))  # the axes around the image
    top, left = frame_rows.min(), frame_columns.min()
    scale = (frame_columns.max() - left) / 80
    rows, columns = np.nonzero((np.abs(found - without) > 60).any(-1))
    below = rows > top + 40 * scale  # the text is above the box
    for side, expected in ((columns[below].min(), 20), (columns[below].max(), 60)):
        assert abs((side - left) / scale - expected) < 1
    assert abs((rows.max() - top) / scale - 50) < 1


def test_classes_and_scores_change_the_picture(tmp_path: Path):
    """Another class has another colour, a score is written; four images are drawn in two rows."""
    box, label = [np.array([[20.0, 30, 60, 50]])], [np.array([0])]
    one = drawn(tmp_path / "a.png", [IMAGE], box, label)
    other = drawn(tmp_path / "b.png", [IMAGE], box, [np.array([1])])
    scored = drawn(tmp_path / "c.png", [IMAGE], box, label, scores=[np.array([0.5])])
    again = drawn(tmp_path / "d.png", [IMAGE], box, label, scores=[np.array([0.75])])
    assert len({picture.tobytes() for picture in (one, other, scored, again)}) == 4
    four = drawn(tmp_path / "e.png", 4 * [IMAGE], 4 * box, 4 * label)
    assert four.shape[0] == pytest.approx(2 * one.shape[0], abs=2)
    assert four.shape[1] == pytest.approx(3 * one.shape[1], abs=2)


def test_lists_of_other_lengths_are_refused(tmp_path: Path):
    """Boxes of two images for one, or two labels for one box, are errors; nothing is written."""
    box = np.array([[20.0, 30, 60, 50]])
    with pytest.raises(InvalidArgument, match="1 images, but lists of 2, 1"):
        drawn(tmp_path / "a.png", [IMAGE], [box, box], [np.array([1])])
    with pytest.raises(InvalidArgument, match=r"image 0.*got 1, 2"):
        drawn(tmp_path / "a.png", [IMAGE], [box], [np.array([1, 0])])
    with pytest.raises(InvalidArgument, match="0 images"):
        drawn(tmp_path / "a.png", [], [], [])
    assert not list(tmp_path.iterdir())
