"""Ticks of logarithmic axes."""

import pytest
from matplotlib.figure import Figure

from xxnet_jax.visualization.figures import plain_ticks


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0.15, 2.5, ["0.2", "0.3", "0.4", "0.6", "1", "2"]),
        (0.09, 30, ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20"]),
        (9e-6, 1.1, ["1e-05", "0.0001", "0.001", "0.01", "0.1", "1"]),
    ],
)
def test_plain_ticks(low: float, high: float, labels: list[str]):
    """Powers of ten are labelled, and as much between them as the range leaves room for."""
    figure = Figure()
    axes = figure.subplots()
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    plain_ticks(axes.xaxis)
    figure.draw_without_rendering()
    ticks = [*axes.xaxis.get_major_ticks(), *axes.xaxis.get_minor_ticks()]
    found = sorted((float(tick.get_loc()), tick.label1.get_text()) for tick in ticks)
    assert [text for place, text in found if low <= place <= high and text] == labels
