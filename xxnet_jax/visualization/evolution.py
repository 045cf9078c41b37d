"""Filters and feature maps in the course of a training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xxnet_jax.visualization.figures import save_png, show_image
from xxnet_jax.visualization.filters import scaled_filters


def plot_evolution(stages: Mapping[str, np.ndarray], out: Path) -> None:
    """Draw a row for each filter or map and a column for each stage, each scaled to its own range (Zeiler and Fergus,
    2013, Figure 4).

    Args:
        stages: name, such as the epoch -> float [height, width, in, features], as in `plot_filters`.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    pictures = {name: scaled_filters(kernel) for name, kernel in stages.items()}
    features = next(iter(pictures.values())).shape[-1]
    figure = Figure(figsize=(0.9 * len(pictures) + 0.2, 0.9 * features + 0.4), layout="constrained")
    grid = figure.subplots(features, len(pictures), squeeze=False)
    for column, (name, values) in zip(grid.T, pictures.items(), strict=True):
        column[0].set_title(name, fontsize=9)
        for feature, axes in enumerate(column):
            show_image(axes, values[..., feature])
    save_png(figure, out)
