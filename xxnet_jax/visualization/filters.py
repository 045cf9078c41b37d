"""Filters of a convolution as images."""

import math
from pathlib import Path

import numpy as np

from xxnet_jax.visualization.figures import save_png


def plot_filters(kernel: np.ndarray, out: Path) -> None:
    """Draw all filters of a convolution in one grid, each scaled to its own range from black to white.

    Args:
        kernel: float [height, width, in, out]; filters of three inputs are drawn in colour, those of more as their mean
            over the inputs.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    height, width, _, filters = kernel.shape
    columns = min(filters, math.ceil(math.sqrt(filters * 1.6)))
    rows = math.ceil(filters / columns)
    grid = np.ones((rows * (height + 1) + 1, columns * (width + 1) + 1, 3))
    scaled = scaled_filters(kernel)
    for number in range(filters):
        top, left = (
            1 + place * (side + 1) for place, side in zip(divmod(number, columns), (height, width), strict=True)
        )
        grid[top : top + height, left : left + width] = scaled[..., number]
    side = max(2.0, min(8.0, 0.55 * columns))
    figure = Figure(figsize=(side, side * grid.shape[0] / grid.shape[1]))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.imshow(grid, interpolation="nearest", aspect="auto")
    axes.axis("off")
    save_png(figure, out)


def scaled_filters(kernel: np.ndarray) -> np.ndarray:
    """Filters as pictures, each from 0 to 1 in its own range.

    Args:
        kernel: float [height, width, in, out].

    Returns:
        float [height, width, 3 or 1, out]: in colour where there are three inputs, else their mean.
    """
    shown = kernel if kernel.shape[2] == 3 else kernel.mean(axis=2, keepdims=True)
    low, high = (bound(shown, axis=(0, 1, 2)) for bound in (np.min, np.max))
    return (shown - low) / np.maximum(high - low, np.finfo(shown.dtype).tiny)
