"""Features as points of a plane."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xxnet_jax.visualization.figures import save_png

LEGEND_UP_TO = 20  # classes


def plot_embedding(points: np.ndarray, labels: np.ndarray, classes: Sequence[str], title: str, out: Path) -> None:
    """Draw points, coloured by class.

    Args:
        points: float [points, 2].
        labels: int [points].
        classes: names, by label.
        title: of the picture.
        out: PNG file.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 7), layout="constrained")
    axes = figure.subplots()
    present = np.unique(labels)
    tab = {True: "tab10", False: "tab20" if len(present) <= 20 else "turbo"}[len(present) <= 10]
    for place, label in enumerate(present):
        colour = colormaps[tab](place if len(present) <= 20 else place / (len(present) - 1))
        chosen = labels == label
        axes.scatter(*points[chosen].T, s=10, color=colour, label=classes[label], linewidths=0)
    axes.set(title=title, xticks=[], yticks=[], aspect="equal")
    if len(present) <= LEGEND_UP_TO:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), markerscale=2, fontsize=9)
    save_png(figure, out)
