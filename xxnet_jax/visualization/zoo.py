"""Networks compared: accuracy over operations, with circles for parameters."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.visualization.figures import plain_ticks, save_png

MILLION_IN_POINTS = 14.0  # area of the circle of a million parameters, in square points
SHOWN_SIZES = (5, 25, 60, 140)  # million parameters, in the legend


class Costs(NamedTuple):
    """A network in the chart.

    Attributes:
        name: label of the circle.
        family: has a colour.
        accuracy: percent.
        macs: multiply-accumulates for an image.
        parameters: number of them.
    """

    name: str
    family: str
    accuracy: float
    macs: int
    parameters: int


def plot_zoo(networks: Sequence[Costs], out: Path, *, title: str) -> None:
    """Draw accuracy over multiply-accumulates, the area of a circle being the number of parameters.

    The chart of Canziani, Paszke, Culurciello, An Analysis of Deep Neural Network Models for Practical Applications,
    2016, Figure 2, with a logarithmic axis.

    Args:
        networks: at least one.
        out: PNG file.
        title: of the picture.
    """
    from matplotlib import colormaps
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=(12.5, 8.2))
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.06, 0.07, 0.77, 0.87))
    families = list(dict.fromkeys(network.family for network in networks))
    colours = {family: colormaps["tab20"](number * 2 % 20 + number // 10) for number, family in enumerate(families)}
    x, y = np.array([network.macs / 1e9 for network in networks]), np.array([network.accuracy for network in networks])
    areas = np.array([network.parameters / 1e6 for network in networks]) * MILLION_IN_POINTS
    shades = [colours[network.family] for network in networks]
    axes.scatter(x, y, areas, shades, alpha=0.35, linewidths=1, edgecolors=shades)
    axes.scatter(x, y, 7, "black", linewidths=0, zorder=3)
    axes.set(xscale="log", xlabel="multiply-accumulates for an image, 10$^9$", ylabel="top-1 accuracy, %", title=title)
    axes.set_xlim(x.min() / 1.5, x.max() * 2)
    plain_ticks(axes.xaxis)
    axes.margins(y=0.09)
    axes.grid(alpha=0.25, which="both", linewidth=0.5)
    marker: dict[str, Any] = {"linestyle": "", "marker": "o"}
    dots = [Line2D([], [], color=colours[family], label=family, markersize=9, **marker) for family in families]
    first = figure.legend(handles=dots, loc="upper left", bbox_to_anchor=(0.84, 0.94), frameon=False)
    circles = [
        Line2D([], [], color="gray", fillstyle="none", label=f"{size} M", markersize=side, **marker)
        for size, side in zip(SHOWN_SIZES, np.sqrt(np.array(SHOWN_SIZES) * MILLION_IN_POINTS), strict=True)
    ]
    figure.add_artist(first)
    figure.legend(
        handles=circles,
        loc="lower left",
        bbox_to_anchor=(0.84, 0.08),
        frameon=False,
        title="parameters",
        labelspacing=3,
        handletextpad=2,
        borderpad=2.5,
    )
    canvas.draw()
    _label(axes, canvas.get_renderer(), networks, x, y)
    save_png(figure, out)


def _label(axes: Any, renderer: Any, networks: Sequence[Costs], x: np.ndarray, y: np.ndarray) -> None:
    """Put each name near its dot, where it covers no other name and is not beside another dot; a line joins the two."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    dots = [
        Bbox([[left - 12, bottom - 6], [left + 12, bottom + 6]])
        for left, bottom in axes.transData.transform(np.stack([x, y], axis=1))
    ]
    names: list[Any] = []
    line = {"arrowstyle": "-", "linewidth": 0.5, "color": "gray", "shrinkA": 0, "shrinkB": 2}
    for number in np.argsort(-x):  # from the right: names stand to the right where they can
        dot, name = (x[number], y[number]), networks[number].name
        text = axes.annotate(name, dot, (0, 0), textcoords="offset points", va="center", fontsize=7.5, arrowprops=line)
        taken = [*names, *dots[:number], *dots[number + 1 :]]

        def box(place: tuple[float, float], text: Any = text) -> Bbox:
            text.set_position(place)
            text.set_horizontalalignment("center" if place[0] == 0 else "left" if place[0] > 0 else "right")
            text.update_positions(renderer)
            return Text.get_window_extent(text, renderer)  # that of an annotation has the line, too

        free = min(PLACES, key=lambda place, box=box, taken=taken: _covered(box(place), taken))
        names.append(box(free))


# Of a name, from its dot, in points: the nearest first.
PLACES = [
    (distance * right, distance * up)
    for distance in (6, 12, 18, 26, 36, 48)
    for right, up in ((1, 0), (-1, 0), (0.8, 0.8), (0.8, -0.8), (-0.8, 0.8), (-0.8, -0.8), (0, 1.2), (0, -1.2))
]


def _covered(box: Any, taken: Sequence[Any]) -> float:
    """Area of `box` that others have, in square pixels."""
    common = (box.intersection(box, other) for other in taken)
    return sum(both.width * both.height for both in common if both is not None)
