"""Pictures of a comparison of optimizers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.visualization.figures import save_png

Row = Mapping[str, Any]


def plot_rates(rows: Sequence[Row], best: Mapping[str, float], out: Path, *, title: str) -> None:
    """Draw test error (networks) or last value (functions) over the learning rate, one line per optimizer.

    Args:
        rows: runs with "optimizer", "learning_rate", "diverged_at", and "test_accuracy" or "loss".
        best: optimizer -> rate to be marked, in the order of the legend.
        out: PNG file.
        title: of the picture.
    """
    is_network = "test_accuracy" in rows[0]
    figure, axes = _figure((9, 5.5))
    for color, (optimizer, best_rate) in zip(_colors(best), best.items(), strict=True):
        points: dict[float, list[float]] = {}
        for row in rows:
            if row["optimizer"] == optimizer and row["diverged_at"] is None:
                value = 1 - row["test_accuracy"] if is_network else row["loss"]
                points.setdefault(row["learning_rate"], []).append(100 * value if is_network else max(value, 1e-16))
        rates = sorted(points)
        means = [float(np.mean(points[rate])) for rate in rates]
        axes.plot(rates, means, "o-", color=color, label=f"{optimizer} (best {best_rate:g})", markersize=3.5)
        spread = [rate for rate in rates if len(points[rate]) > 1]
        low, high = ([bound(points[rate]) for rate in spread] for bound in (min, max))
        axes.vlines(spread, low, high, color=color, linewidth=2, alpha=0.5)
        if best_rate in points:
            axes.plot(best_rate, means[rates.index(best_rate)], "o", color=color, markersize=9, fillstyle="none")
    axes.set(xlabel="learning rate", title=title)
    if any(len(line.get_xdata()) for line in axes.lines):  # else every run diverged
        axes.set(xscale="log", yscale="log")
    axes.set_ylabel("test error, %" if is_network else "last value")
    if is_network:
        from matplotlib.ticker import NullFormatter, ScalarFormatter

        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks([tick for tick in (0.5, 1, 2, 5, 10, 20, 50, 100) if axes.get_ylim()[0] <= tick])
    figure.legend(fontsize="small", ncols=4, loc="outside lower center")  # lines reach every corner
    save_png(figure, out)


def plot_losses(
    rows: Sequence[Row], best: Mapping[str, float], out: Path, *, title: str, quantity: str = "training loss"
) -> None:
    """Draw the training loss over the steps at the best rate: mean and range over the seeds, one line per optimizer.

    Args:
        rows: runs with "optimizer" and "curve", a list of [step, loss].
        best: optimizer -> rate of the rows, in the order of the legend.
        out: PNG file.
        title: of the picture.
        quantity: what the loss is.
    """
    figure, axes = _figure((9, 5.5))
    for color, (optimizer, rate) in zip(_colors(best), best.items(), strict=True):
        curves = [np.array(row["curve"]) for row in rows if row["optimizer"] == optimizer and row["curve"]]
        if not curves:
            continue
        length = min(map(len, curves))
        steps = curves[0][:length, 0]
        losses = np.maximum([curve[:length, 1] for curve in curves], 1e-16)
        axes.plot(steps, losses.mean(axis=0), color=color, label=f"{optimizer} at {rate:g}", linewidth=1.5)
        axes.fill_between(steps, losses.min(axis=0), losses.max(axis=0), color=color, alpha=0.15, linewidth=0)
    axes.set(xlabel="step", ylabel=quantity, title=title)
    if axes.lines:  # else every run diverged at once
        axes.set_yscale("log")
        axes.legend(fontsize="small", ncols=2)
    save_png(figure, out)


def plot_trajectories(
    function: Any, paths: Mapping[str, np.ndarray], rates: Mapping[str, float], out: Path, *, title: str
) -> None:
    """Draw the paths of optimizers on the contours of a function of two variables, one panel per optimizer.

    Args:
        function: with `value` ([2] -> []), `box` (left, right, bottom, top), `start` and `minimum`.
        paths: optimizer -> points [steps + 1, 2].
        rates: optimizer -> its learning rate.
        out: PNG file.
        title: of the picture.
    """
    import jax
    from matplotlib.figure import Figure

    left, right, bottom, top = function.box
    x, y = np.meshgrid(np.linspace(left, right, 200), np.linspace(bottom, top, 200))
    points = np.stack([x, y], axis=-1).reshape(-1, 2).astype(np.float32)
    z = np.log10(np.maximum(np.asarray(jax.vmap(function.value)(points)).reshape(x.shape), 1e-6))
    columns = min(4, len(paths))
    lines = -(-len(paths) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.1 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.ravel()[len(paths) :]:
        axes.set_visible(False)
    for axes, color, (optimizer, path) in zip(grid.ravel(), _colors(paths), paths.items(), strict=False):
        axes.contourf(x, y, z, levels=30, cmap="Greys", alpha=0.5)
        axes.contour(x, y, z, levels=12, colors="grey", linewidths=0.4)
        axes.plot(*path.T, ".-", color=color, linewidth=1.2, markersize=2.5)
        axes.plot(*function.start, "ks", markersize=5)
        axes.plot(*function.minimum, "k*", markersize=10)
        axes.set(xlim=(left, right), ylim=(bottom, top), title=f"{optimizer} at {rates[optimizer]:g}")
    figure.suptitle(f"{title}: the first {max(map(len, paths.values())) - 1:,} steps, square to star")
    save_png(figure, out)


def _figure(size: tuple[float, float]) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots()
    axes.grid(alpha=0.3)
    return figure, axes


def _colors(names: Mapping[str, Any]) -> list[str]:
    return [f"C{index}" for index in range(len(names))]
