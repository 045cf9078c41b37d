"""Learning curves."""

import json

import numpy as np
from PIL import Image

from xxnet_jax.visualization.curves import plot_curves


def test_curves_show_what_was_logged(tmp_path):
    """The picture differs where the metrics differ, and a run without validation can be drawn too."""
    pictures = []
    for scale in (1.0, 2.0):
        lines = [{"step": s, "epoch": s / 2, "train/loss": scale / s, "train/accuracy": s / 9} for s in range(1, 9)]
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
        pictures.append(np.asarray(Image.open(tmp_path / "curves.png")))
    assert pictures[0].shape[1] > pictures[0].shape[0] > 300
    assert not np.array_equal(*pictures)


def test_curves_of_nothing(tmp_path):
    """A run that was interrupted before its first line still gets its (empty) picture."""
    plot_curves(tmp_path / "metrics.jsonl", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 0
