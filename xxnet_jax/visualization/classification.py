"""Pictures of how a classifier errs: confusion matrix, ROC curves, precision-recall curves."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.visualization.figures import save_png

NUMBERS_UP_TO = 20  # classes: with more of them the cells of a matrix have no numbers, and its sides no names
LEGEND_UP_TO = 12  # curves

Curve = tuple[np.ndarray, np.ndarray]  # x and y


def plot_confusion(matrix: np.ndarray, classes: Sequence[str], out: Path) -> None:
    """Draw a confusion matrix; a cell is shaded by its share of the row, so that rare classes are seen.

    Args:
        matrix: counts [classes, classes], a row for each true class.
        classes: names.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    count = len(classes)
    side = min(4 + 0.4 * count, 10)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if count <= NUMBERS_UP_TO:
        axes.set_xticks(range(count), classes, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(count), classes)
        for row, column in np.argwhere(matrix):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{matrix[row, column]:,}", ha="center", va="center", color=colour, fontsize=8)
    save_png(figure, out)


def plot_roc(curves: Mapping[str, Curve], areas: Mapping[str, float], out: Path) -> None:
    """Draw true over false positive rates.

    Args:
        curves: name -> (fpr, tpr).
        areas: name -> area under its curve.
        out: PNG file.
    """
    _plot(curves, areas, "AUC", ("false positive rate", "true positive rate"), out, diagonal=True)


def plot_precision_recall(curves: Mapping[str, Curve], areas: Mapping[str, float], out: Path) -> None:
    """Draw precision over recall.

    Args:
        curves: name -> (recall, precision).
        areas: name -> average precision.
        out: PNG file.
    """
    _plot(curves, areas, "AP", ("recall", "precision"), out, diagonal=False)


def _plot(
    curves: Mapping[str, Curve],
    areas: Mapping[str, float],
    area: str,
    labels: tuple[str, str],
    out: Path,
    *,
    diagonal: bool,
) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5), layout="constrained")
    axes = figure.subplots()
    if diagonal:
        axes.plot([0, 1], [0, 1], ":", color="gray", linewidth=1)
    many = len(curves) > LEGEND_UP_TO
    for name, (x, y) in curves.items():
        style: Any = {"color": "tab:blue", "alpha": 0.2} if many else {"label": f"{name}  {area} {areas[name]:.3f}"}
        axes.plot(x, y, linewidth=1, **style)
    axes.set(xlabel=labels[0], ylabel=labels[1], xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    axes.grid(alpha=0.3)
    if curves:
        mean = np.mean([areas[name] for name in curves])
        axes.set_title(f"mean {area} of {len(curves)} class{'es' * (len(curves) > 1)}: {mean:.3f}", fontsize=10)
    if curves and not many:
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    save_png(figure, out)
