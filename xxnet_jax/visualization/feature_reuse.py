"""The heat map of DenseNet's paper."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.visualization.figures import save_png


def plot_feature_reuse(blocks: Mapping[str, np.ndarray], out: Path) -> None:
    """Draw which sources each layer uses: a panel for each dense block, a column for each layer (Huang et al., 2016,
    Figure 5).

    A column is divided by its strongest source: weights of layers of different sizes cannot be compared, and those of a
    transition or a classifier would leave the others dark.

    Args:
        blocks: of `feature_reuse`.
        out: PNG file.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(blocks), 4.6), layout="constrained")
    panels = figure.subplots(1, len(blocks), squeeze=False)[0]
    shade: Any = {"cmap": "turbo", "vmin": 0, "vmax": 1}
    for axes, (name, means) in zip(panels, blocks.items(), strict=True):
        sources, layers = means.shape
        axes.imshow(means / np.nanmax(means, axis=0), **shade)
        axes.set(title=name, xlabel="layer", ylabel="source (0: input of the block)")
        ticks = np.linspace(0, sources - 2, min(6, sources - 1)).round().astype(int)
        behind = [layers - 1] if layers == sources else []
        axes.set_xticks([*ticks, *behind], [*(ticks + 1), *["out"] * len(behind)])
        axes.set_yticks([0, *ticks + 1])
    figure.colorbar(panels[0].images[0], ax=panels, label="mean |w| over that of the strongest source", shrink=0.8)
    save_png(figure, out)
