"""Pictures of how a classifier errs."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.visualization.classification import plot_confusion, plot_precision_recall, plot_roc


@pytest.mark.parametrize("classes", [2, 10, 100])
def test_confusion_matrix_shows_the_errors(classes: int, tmp_path: Path):
    """The picture of a matrix with errors differs from that without; a class without examples does not matter."""
    names = [f"class {number}" for number in range(classes)]
    right = np.diag(np.arange(classes))
    wrong = right.copy()
    wrong[1] = np.roll(wrong[1], 1)
    pictures = []
    for matrix in (right, wrong):
        plot_confusion(matrix, names, tmp_path / "confusion.png")
        pictures.append(np.asarray(Image.open(tmp_path / "confusion.png")))
    assert (pictures[0] != pictures[1]).any()


@pytest.mark.parametrize("plot", [plot_roc, plot_precision_recall])
@pytest.mark.parametrize("curves", [0, 1, 10, 30])
def test_curves_of_classes(plot: object, curves: int, tmp_path: Path):
    """There is a picture of none, of few and of many curves, and it shows them."""
    assert callable(plot)
    x = np.linspace(0, 1, 5)
    pictures = []
    for power in (1, 2):
        named = {f"class {number}": (x, x ** (power * number)) for number in range(1, curves + 1)}
        plot(named, dict.fromkeys(named, 0.5), tmp_path / "curves.png")
        pictures.append(np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")))
    assert pictures[0].shape[1] > 300
    assert np.array_equal(*pictures) == (curves == 0)
