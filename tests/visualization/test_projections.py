"""Patches, colours and pictures of projections."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.visualization.projections import Excited, cut, plot_on_image, plot_strongest, signed_colours


@pytest.mark.parametrize(
    ("box", "rows", "columns"),
    [
        ((1, 2, 4, 6), slice(2, 6), slice(1, 4)),
        ((-3, -1, 2, 3), slice(0, 3), slice(0, 2)),
        ((5, 4, 99, 99), slice(4, 8), slice(5, 9)),
    ],
)
def test_cut(box: tuple[float, float, float, float], rows: slice, columns: slice):
    """Rows and columns of the box that the image has."""
    image = np.random.default_rng(0).integers(0, 255, (8, 9, 3))
    np.testing.assert_array_equal(cut(image, box), image[rows, columns])


def test_signed_colours():
    """Zero is grey, the largest size is black or white; nothing at all is grey."""
    assert signed_colours(np.array([-2.0, 0.0, 1.0])).tolist() == [0, 128, 191]
    assert signed_colours(np.zeros(3)).tolist() == [128, 128, 128]


def test_pictures(tmp_path: Path):
    """A layer more makes it higher, a feature more wider; grey and coloured images."""
    random = np.random.default_rng(0)

    def excited(channels: int) -> Excited:
        patches = [random.integers(0, 255, (7, 5, channels), np.uint8) for _ in range(9)]
        return Excited(3, patches, [random.normal(size=(7, 5, channels)) for _ in range(9)])

    sizes = {}
    for layers, features in ((1, 1), (2, 1), (1, 2)):
        out = tmp_path / f"{layers}_{features}.png"
        plot_strongest({f"conv{i}": [excited(1 + 2 * i)] * features for i in range(layers)}, out)
        with Image.open(out) as picture:
            sizes[layers, features] = picture.size
    assert sizes[2, 1][1] > 1.5 * sizes[1, 1][1]
    assert sizes[1, 2][0] > 1.5 * sizes[1, 1][0]


def test_maps_beside_the_image(tmp_path: Path):
    """Strengths and signed values, with as many rows as they need."""
    image = np.zeros((8, 8, 1), np.uint8)
    panels = {f"strength {i}": np.ones((8, 8)) for i in range(4)} | {"signed": np.full((8, 8, 3), -1.0)}
    plot_on_image(image, panels, tmp_path / "many.png")
    plot_on_image(image, {"strength": np.ones((8, 8))}, tmp_path / "one.png")
    with Image.open(tmp_path / "many.png") as many, Image.open(tmp_path / "one.png") as one:
        assert many.height > 1.5 * one.height
        assert many.width > 2 * one.width
