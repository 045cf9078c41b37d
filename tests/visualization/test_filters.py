"""Filters as images."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.visualization.filters import plot_filters


@pytest.mark.parametrize(("inputs", "filters"), [(1, 6), (3, 64), (16, 20), (3, 1)])
def test_each_filter_in_its_own_range(inputs: int, filters: int, tmp_path: Path):
    """The picture stays the same when a filter is scaled and shifted, and changes when one pixel of it does; of three
    inputs it has colours, of others it is gray."""
    random = np.random.default_rng(0)
    kernel = random.normal(size=(5, 5, inputs, filters)).astype(np.float32)
    changed = kernel.copy()
    changed[2, 3, :, filters // 2] += 3
    pictures = []
    for each in (kernel, kernel * random.uniform(1, 9, filters) + random.normal(size=filters), changed):
        plot_filters(each.astype(np.float32), tmp_path / "filters.png")
        pictures.append(np.asarray(Image.open(tmp_path / "filters.png").convert("RGB")).astype(int))
    np.testing.assert_allclose(pictures[1], pictures[0], atol=2)
    assert (np.abs(pictures[2] - pictures[0]) > 20).any()
    assert (np.ptp(pictures[0], axis=-1).max() > 20) == (inputs == 3)


def test_a_filter_of_one_value(tmp_path: Path):
    """Has no range, and is black."""
    plot_filters(np.ones((3, 3, 1, 1), np.float32), tmp_path / "filters.png")
    picture = np.asarray(Image.open(tmp_path / "filters.png").convert("L"))
    assert picture[picture.shape[0] // 2, picture.shape[1] // 2] == 0
