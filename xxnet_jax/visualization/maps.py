"""Feature maps as images."""

from pathlib import Path

import numpy as np

from xxnet_jax.visualization.filters import plot_filters


def plot_maps(maps: np.ndarray, out: Path) -> None:
    """Draw the feature maps of an image in one grid, each scaled to its own range from black to white.

    Args:
        maps: float [height, width, features].
        out: PNG file.
    """
    plot_filters(maps[:, :, None], out)
