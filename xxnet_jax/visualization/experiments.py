"""Pictures of a comparison of runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.visualization.figures import save_png

Curve = Sequence[Sequence[float]]  # [epoch, training loss] of each line of a log


def plot_experiment(
    values: Mapping[str, Sequence[float]],
    curves: Mapping[str, Sequence[Curve]],
    out: Path,
    *,
    quantity: str,
    title: str,
) -> None:
    """Draw a figure of each cell, every run and their mean, and beside it the training losses, their mean and range.

    Args:
        values: name -> the figure of each run.
        curves: name -> the learning curve of each run; where the names are the same, so are the colours.
        out: PNG file.
        quantity: what the figure is.
        title: of the picture.
    """
    from matplotlib.figure import Figure

    picture = Figure(figsize=(11, max(3.5, 1.3 + 0.32 * len(values))), layout="constrained")
    left, right = picture.subplots(1, 2)
    for place, own in enumerate(values.values()):
        left.plot(own, [-place] * len(own), "o", color=_color(place), markersize=4, alpha=0.5)
        if len(own):
            left.plot(np.mean(own), -place, "|", color=_color(place), markersize=16, markeredgewidth=2)
    left.set_yticks(range(0, -len(values), -1), list(values))
    left.set(xlabel=quantity, ylim=(-len(values) + 0.4, 0.6))
    for place, (name, own) in enumerate(curves.items()):
        _curves(right, own, _color(place), "--" if place >= 10 else "-", name)
    right.set(xlabel="epoch", ylabel="training loss")
    losses = [loss for own in curves.values() for curve in own for _, loss in curve if 0 < loss < np.inf]
    if losses and max(losses) > 10 * min(losses):  # one cell that fails would flatten all others
        right.set_yscale("log")
    if len(right.lines) > 1:
        right.legend(fontsize="x-small")
    for axes in (left, right):
        axes.grid(alpha=0.3)
    picture.suptitle(title)
    save_png(picture, out)


def _color(place: int) -> str:
    return f"C{place % 10}"


def _curves(axes: Any, curves: Sequence[Curve], color: str, style: str, label: str) -> None:
    """Mean and range, as far as all of them go."""
    whole = [np.array(curve) for curve in curves if len(curve)]
    if not whole:
        return
    length = min(map(len, whole))
    epochs = whole[0][:length, 0]
    losses = np.stack([curve[:length, 1] for curve in whole])
    axes.plot(epochs, losses.mean(axis=0), style, color=color, label=label, linewidth=1.5)
    axes.fill_between(epochs, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.15, linewidth=0)
