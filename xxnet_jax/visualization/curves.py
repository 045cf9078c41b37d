"""Learning curves: of a run, and of several."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from xxnet_jax.files import read_json_lines
from xxnet_jax.visualization.figures import plain_ticks, save_png

Line = Mapping[str, Any]
Along = Literal["epoch", "step", "seconds"]


def plot_curves(metrics: Path, out: Path, figure_of_merit: str = "accuracy") -> None:
    """Draw loss and accuracy (training and validation) and the learning rate of `metrics.jsonl` over the epochs.

    Args:
        metrics: JSON lines with "epoch" and values such as "train/loss".
        out: PNG file.
        figure_of_merit: what is drawn in place of the accuracy.
    """
    from matplotlib.figure import Figure

    lines = read_json_lines(metrics)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, quantity in zip(panels, ("loss", figure_of_merit, "learning_rate"), strict=True):
        for split, style in (("train", "-"), ("validation", "o-")):
            name = f"{split}/{quantity}"
            points = [(line["epoch"], line[name]) for line in lines if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=split, markersize=3)
        axes.set(xlabel="epoch", title=quantity.replace("_", " "))
        _finish(axes, quantity)
        if axes.lines:
            axes.legend()
    save_png(figure, out)


def plot_runs(runs: Mapping[str, Sequence[Sequence[Line]]], out: Path, *, along: Along = "epoch") -> None:
    """Draw loss and accuracy of several runs, each in its colour: validation strong, training faint.

    Runs that are repeats of each other share a colour: a line for their mean at each step that all of them have, and a
    band from the lowest to the highest.

    Args:
        runs: name -> the lines of each of its repeats, with "step", what they are drawn along, and values such as
            "train/loss".
        out: PNG file.
        along: what they are drawn along.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    columns = 3
    figure = Figure(figsize=(11, 4.4 + 0.2 * (len(runs) // columns)), layout="constrained")
    colours = colormaps["tab10" if len(runs) <= 10 else "turbo"]
    handles: list[Any] = []
    panels = figure.subplots(1, 2)
    for number, (name, repeats) in enumerate(runs.items()):
        colour = colours(number) if len(runs) <= 10 else colours(number / (len(runs) - 1))
        repeated = f" ({len(repeats)} runs)" if len(repeats) > 1 else ""
        handles.append(Line2D([], [], color=colour, label=name + repeated))
        for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
            for split, style in _STYLES.items():
                band = _band(repeats, f"{split}/{quantity}", along)
                axes.plot(band.x, band.mean, color=colour, **style)
                if len(repeats) > 1:
                    axes.fill_between(band.x, band.low, band.high, color=colour, alpha=style["alpha"] / 5, linewidth=0)
    for axes, quantity in zip(panels, ("loss", "accuracy"), strict=True):
        axes.set(xlabel=along, title=quantity)
        _finish(axes, quantity)
    handles += [Line2D([], [], color="black", label=split, **style) for split, style in _STYLES.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, fontsize="small")
    save_png(figure, out)


_STYLES: dict[str, dict[str, Any]] = {
    "validation": {"marker": "o", "markersize": 2.5, "linewidth": 1.6, "alpha": 1.0},
    "train": {"linewidth": 0.9, "alpha": 0.5},
}


class _Band(NamedTuple):
    """Of repeats, at each step that all of them have, [steps]: where it is drawn, and their values."""

    x: np.ndarray
    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def _band(repeats: Sequence[Sequence[Line]], name: str, along: Along) -> _Band:
    tables = [{line["step"]: (line[along], line[name]) for line in lines if name in line} for lines in repeats]
    steps = sorted(set.intersection(*map(set, tables)))
    points = np.array([[table[step] for step in steps] for table in tables], np.float64).reshape(len(tables), -1, 2)
    values = points[..., 1]
    return _Band(points[..., 0].mean(0), values.mean(0), values.min(0), values.max(0))


def _finish(axes: Any, quantity: str) -> None:
    """A grid, and for a loss that allows it a logarithmic scale."""
    axes.grid(alpha=0.3)
    values = np.concatenate([line.get_ydata() for line in axes.lines] or [[]])
    if quantity == "loss" and len(values) and values.min() > 0:
        axes.set_yscale("log")
        plain_ticks(axes.yaxis)
