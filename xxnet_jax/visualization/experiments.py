"""Pictures of a comparison of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.visualization.figures import save_png

Row = Mapping[str, Any]


def plot_experiment(results: Mapping[str, Sequence[Row]], figure: str, out: Path, *, title: str) -> None:
    """Draw a figure of each cell, with every run and their mean, and beside it the training losses.

    Args:
        results: cell -> runs, each with the figure (None where it diverged) and "curve", a list of [epoch, loss].
        figure: name of what is drawn; accuracies are in percent.
        out: PNG file.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    height = max(3.5, 1.3 + 0.32 * len(results))
    picture = Figure(figsize=(11, height), layout="constrained")
    left, right = picture.subplots(1, 2)
    percent = figure.endswith("accuracy")
    factor = 100 if percent else 1
    for place, (cell, rows) in enumerate(results.items()):
        color = f"C{place % 10}"
        values = [factor * row[figure] for row in rows if row[figure] is not None]
        left.plot(values, [-place] * len(values), "o", color=color, markersize=4, alpha=0.5)
        if values:
            left.plot(np.mean(values), -place, "|", color=color, markersize=16, markeredgewidth=2)
        _curves(right, [row["curve"] for row in rows], color, "--" if place >= 10 else "-", cell)
    left.set_yticks(range(0, -len(results), -1), list(results))
    left.set(xlabel=figure.replace("_", " ") + (", %" if percent else ""), ylim=(-len(results) + 0.4, 0.6))
    left.grid(alpha=0.3)
    right.set(xlabel="epoch", ylabel="training loss")
    right.grid(alpha=0.3)
    if len(results) > 1:
        right.legend(fontsize="x-small")
    picture.suptitle(title)
    save_png(picture, out)


def _curves(axes: Any, curves: Sequence[Sequence[Sequence[float]]], color: str, style: str, label: str) -> None:
    """Mean and range of learning curves, as far as all of them go."""
    whole = [np.array(curve) for curve in curves if len(curve)]
    if not whole:
        return
    length = min(map(len, whole))
    epochs = whole[0][:length, 0]
    losses = np.stack([curve[:length, 1] for curve in whole])
    axes.plot(epochs, losses.mean(axis=0), style, color=color, label=label, linewidth=1.5)
    axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.15, linewidth=0)
