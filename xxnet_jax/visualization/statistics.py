"""What a dataset looks like on the whole."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from xxnet_jax.data.statistics import Statistics
from xxnet_jax.visualization.figures import save_png

COMPONENTS = 16
NAMES_UP_TO = 40  # classes


def plot_statistics(statistics: Statistics, classes: Mapping[str, int], out: Path) -> None:
    """Draw the mean image, the images of each class and, if they are there, the first principal components.

    Args:
        statistics: of the images.
        classes: name -> number of images.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    columns = 3 if statistics.whitens else 2
    figure = Figure(figsize=(5 * columns, 4.5), layout="constrained")
    mean_axes, class_axes, *more = figure.subplots(1, columns)
    mean_axes.imshow(_picture(statistics.mean), vmin=0, vmax=1, cmap="gray")
    mean_axes.set(title=f"mean of {statistics.images:,} images", xticks=(), yticks=())
    names, counts = list(classes), list(classes.values())
    class_axes.bar(range(len(names)), counts)
    class_axes.set(title="images of each class", ylabel="images")
    if len(names) <= NAMES_UP_TO:
        class_axes.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=8)
    else:
        class_axes.set(xlabel="class")
    for axes in more:
        axes.imshow(_picture(_components(statistics)), vmin=0, vmax=1, cmap="gray")
        axes.set(title="principal components of standardized images", xticks=(), yticks=())
    save_png(figure, out)


def _picture(image: np.ndarray) -> np.ndarray:
    return image[..., 0] if image.shape[-1] == 1 else image


def _components(statistics: Statistics) -> np.ndarray:
    """The first principal components, each from black to white, as squares in a square."""
    shape = statistics.mean.shape
    side = int(np.sqrt(min(COMPONENTS, len(statistics.variances))))
    directions = statistics.directions.T[: side * side]
    scaled = 0.5 + directions / (2 * np.abs(directions).max(1, keepdims=True))
    grid = np.pad(scaled.reshape(side, side, *shape), ((0, 0), (0, 0), (0, 1), (0, 1), (0, 0)), constant_values=1)
    rows, columns = side * (shape[0] + 1), side * (shape[1] + 1)
    return grid.transpose(0, 2, 1, 3, 4).reshape(rows, columns, shape[2])
