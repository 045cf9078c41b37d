"""Figures of layers over the depth of the network."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.visualization.layers import plot_layers


@pytest.mark.parametrize("layers", [1, 20, 200])
def test_layers(layers: int, tmp_path: Path):
    """The picture shows the values, and has a panel for each quantity."""
    pictures = []
    for quantities, scale in ((1, 1), (1, 2), (2, 1)):
        values = {f"layer {number}": float(number % 7) ** scale for number in range(layers)}
        plot_layers({f"quantity_{number}": values for number in range(quantities)}, tmp_path / "layers.png")
        pictures.append(np.asarray(Image.open(tmp_path / "layers.png")))
    assert not np.array_equal(pictures[0], pictures[1]) or layers == 1
    assert pictures[2].shape[0] > 1.8 * pictures[0].shape[0]
