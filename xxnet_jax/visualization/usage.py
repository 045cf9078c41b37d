"""What a process used, over time."""

from collections.abc import Sequence
from pathlib import Path

from xxnet_jax.analysis.monitor import Usage
from xxnet_jax.visualization.figures import save_png


def plot_usage(usages: Sequence[Usage], out: Path) -> None:
    """Draw cores and memory, and where there are GPUs their utilization and memory.

    Args:
        usages: in the order of time.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    seconds = [usage.seconds for usage in usages]
    gpus = range(min(len(usage.gpus) for usage in usages))
    panels = {
        "cores in use": {"": [usage.cores for usage in usages]},
        "memory, GiB": {"": [usage.memory / 2**30 for usage in usages]},
        "GPU utilization, %": {f"GPU {i}": [100 * usage.gpus[i].utilization for usage in usages] for i in gpus},
        "GPU memory, GiB": {f"GPU {i}": [usage.gpus[i].memory / 2**30 for usage in usages] for i in gpus},
    }
    shown = {title: lines for title, lines in panels.items() if lines}
    figure = Figure(figsize=(5.5 * len(shown), 3.4), layout="constrained")
    for axes, (title, lines) in zip(figure.subplots(1, len(shown)), shown.items(), strict=True):
        for label, values in lines.items():
            axes.plot(seconds, values, label=label)
        axes.set(xlabel="seconds", title=title, ylim=(0, None))
        axes.grid(alpha=0.3)
        if any(lines):
            axes.legend()
    save_png(figure, out)
