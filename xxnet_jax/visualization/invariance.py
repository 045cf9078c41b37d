"""Curves of how features and answers change while an image is moved, enlarged or turned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xxnet_jax.analysis.invariance import Invariance, Transform
from xxnet_jax.visualization.figures import save_png, show_image

EXAMPLES = 3  # images that show a transformation


class Change(NamedTuple):
    """A transformation and what it did.

    Attributes:
        unit: of the amounts, such as "degrees".
        transform: the function.
        amounts: of it.
        found: of `invariance`.
    """

    unit: str
    transform: Transform
    amounts: Sequence[float]
    found: Invariance


def plot_invariance(images: np.ndarray, names: Sequence[str], changes: Mapping[str, Change], out: Path) -> None:
    """Draw a row for each transformation: the first image by some amounts, then over the amount, a line for each image,
    the distances of the features and the probability of the class (Zeiler and Fergus, 2013, Figure 5).

    Args:
        images: uint8 [images, height, width, 1 or 3].
        names: of the images.
        changes: name of the transformation -> what it did.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    endpoints = list(next(iter(changes.values())).found.distances)
    figure = Figure(figsize=(4 * (len(endpoints) + 2), 3 * len(changes) + 0.4), layout="constrained")
    grid = figure.subplots(len(changes), len(endpoints) + 2, squeeze=False)
    for (name, change), row in zip(changes.items(), grid, strict=True):
        shown = np.linspace(0, len(change.amounts) - 1, EXAMPLES).round().astype(int)
        show_image(row[0], np.concatenate([change.transform(images[0], change.amounts[at]) for at in shown], axis=1))
        row[0].set_title(f"{name}, {', '.join(f'{change.amounts[at]:g}' for at in shown)} {change.unit}", fontsize=10)
        for axes, endpoint in zip(row[1:], endpoints, strict=False):
            axes.plot(change.amounts, change.found.distances[endpoint])
            axes.set(title=f"distance in {endpoint}", ylim=(0, None))
        row[-1].plot(change.amounts, change.found.probability, label=names)
        row[-1].set(title="probability of the class", ylim=(-0.02, 1.02))
        for axes in row[1:]:
            axes.set_xlabel(f"{name}, {change.unit}")
            axes.grid(alpha=0.3)
    figure.legend(*grid[0, -1].get_legend_handles_labels(), loc="outside right upper", fontsize=8)
    save_png(figure, out)
