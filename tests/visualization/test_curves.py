"""Learning curves."""

import json

import numpy as np
from PIL import Image

from xxnet_jax.visualization.curves import plot_curves, plot_runs


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


def lines(scale: float) -> list[dict[str, float]]:
    return [
        {
            "step": s,
            "epoch": s / 2,
            "train/loss": scale / s,
            "validation/loss": 2 * scale / s,
            "validation/accuracy": s / 9,
        }
        for s in range(1, 9)
    ]


def test_repeats_are_a_band(tmp_path):
    """Repeats share one colour: a run and its double are the picture of either but for the legend; where they differ
    there is a band."""
    pictures = []
    for repeats in ([lines(1.0), lines(1.0)], [lines(1.0), lines(3.0)]):
        plot_runs({"a": repeats}, tmp_path / "curves.png", along="step")
        pictures.append(np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int))
    pale = [((p[..., 2] - p[..., 0] > 10) & (p[..., 0] > 150)).sum() for p in pictures]  # washed-out blue
    assert pale[1] > 3 * pale[0]


def test_repeats_of_different_length(tmp_path):
    """Are drawn as far as the shorter one goes; one without any line leaves nothing to draw."""
    pictures = []
    for second in (lines(1.0), lines(1.0)[:3], []):
        plot_runs({"a": [lines(1.0), second]}, tmp_path / "curves.png")
        pictures.append(np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int))
    blue = [((p[..., 2] - p[..., 0]) > 60).sum() for p in pictures]
    assert blue[0] > blue[1] > blue[2]
