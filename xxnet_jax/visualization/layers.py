"""What is known of each layer, over the depth of the network."""

from collections.abc import Mapping
from pathlib import Path

from xxnet_jax.visualization.figures import save_png

NAMES_UP_TO = 30  # layers; with more of them their numbers stand below the picture


def plot_layers(quantities: Mapping[str, Mapping[str, float]], out: Path) -> None:
    """Draw figures of layers over their number, as Figure 7 of the ResNet paper does; a panel for each quantity.

    Args:
        quantities: name -> layer -> value, layers in the order of the computation.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6 * len(quantities)), layout="constrained")
    for axes, (name, values) in zip(
        figure.subplots(len(quantities), squeeze=False)[:, 0], quantities.items(), strict=True
    ):
        numbers = range(1, len(values) + 1)
        axes.plot(numbers, list(values.values()), "o-", markersize=4, linewidth=1)
        axes.set(ylabel=name.replace("_", " "))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        if len(values) <= NAMES_UP_TO:
            axes.set_xticks(numbers, values, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
        else:
            axes.set(xlabel="layer")
    save_png(figure, out)
