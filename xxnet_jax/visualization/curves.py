"""Learning curves of a run."""

from pathlib import Path

from xxnet_jax.files import read_json_lines
from xxnet_jax.visualization.figures import save_png


def plot_curves(metrics: Path, out: Path) -> None:
    """Draw loss and accuracy (training and validation) and the learning rate of `metrics.jsonl` over the epochs.

    Args:
        metrics: JSON lines with "epoch" and values such as "train/loss".
        out: PNG file.
    """
    from matplotlib.figure import Figure

    lines = read_json_lines(metrics)
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    panels = figure.subplots(1, 3)
    for axes, quantity in zip(panels, ("loss", "accuracy", "learning_rate"), strict=True):
        for split, style in (("train", "-"), ("validation", "o-")):
            name = f"{split}/{quantity}"
            points = [(line["epoch"], line[name]) for line in lines if name in line]
            if points:
                axes.plot(*zip(*points, strict=True), style, label=split, markersize=3)
        axes.set(xlabel="epoch", title=quantity.replace("_", " "))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
        if axes.lines and quantity == "loss" and min(axes.lines[0].get_ydata()) > 0:
            axes.set_yscale("log")
    save_png(figure, out)
