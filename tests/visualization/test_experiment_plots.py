"""The picture of a paper's experiment."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from xxnet_jax.visualization import experiments
from xxnet_jax.visualization.experiments import plot_experiment


def test_what_is_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each run is a dot and their mean a bar, in the order of the cells; a curve is the mean as far as all go."""
    drawn: list[Figure] = []
    monkeypatch.setattr(experiments, "save_png", lambda figure, out: drawn.append(figure))
    curves = {"a": [[[1.0, 3.0], [2.0, 1.0]], [[1.0, 5.0]]], "b": []}
    plot_experiment({"a": [1.0, 3.0], "b": []}, curves, tmp_path, quantity="error", title="two")
    left, right = drawn[0].axes
    runs, mean, none = left.lines
    np.testing.assert_array_equal(runs.get_xdata(), [1, 3])
    np.testing.assert_array_equal(mean.get_xdata(), [2])
    assert len(np.asarray(none.get_xdata())) == 0  # all diverged
    assert [label.get_text() for label in left.get_yticklabels()] == ["a", "b"]
    assert (left.get_xlabel(), right.get_ylabel()) == ("error", "training loss")
    np.testing.assert_array_equal(right.lines[0].get_data(), [[1], [4]])


def test_file(tmp_path: Path):
    """It is written as PNG, higher where there are more cells."""
    heights = []
    for count in (2, 20):
        values = {str(number): [1.0, 2.0] for number in range(count)}
        curves = {name: [[[1.0, 3.0], [2.0, 1.0]]] for name in values}
        plot_experiment(values, curves, tmp_path / "plot.png", quantity="error", title="many")
        with Image.open(tmp_path / "plot.png") as picture:
            heights.append(picture.height)
    assert heights[0] < heights[1]
