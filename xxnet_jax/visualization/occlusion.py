"""What a network looks at, as maps beside the image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xxnet_jax.analysis.occlusion import Occluder, Occlusion
from xxnet_jax.visualization.figures import save_png, show_image

LEGEND_UP_TO = 8  # classes


def plot_occlusion(
    image: np.ndarray,
    found: Occlusion,
    occluder: Occluder,
    label: int,
    endpoint: str,
    classes: Sequence[str],
    out: Path,
) -> None:
    """Draw an image with the square in its middle, and over the places of the square: the sum of the feature map, the
    probability of the class, and the likeliest class (Zeiler and Fergus, 2013, Figure 7).

    Args:
        image: uint8 [height, width, 1 or 3].
        found: of `occlusion`.
        occluder: the square.
        label: the class.
        endpoint: of the feature map.
        classes: names, by label.
        out: PNG file.
    """
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(15, 3.9), layout="constrained")
    panels = figure.subplots(1, 4)
    height, width = image.shape[:2]
    rows, columns = (side * occluder.stride - occluder.stride / 2 for side in found.probability.shape)
    first = -occluder.stride / 2  # a place is drawn as what is nearer to it than to another
    extent = (first, columns, rows, first)
    show_image(panels[0], occluder.cover(image, height // 2, width // 2))
    panels[0].set_title("the square", fontsize=10)
    for axes, values, title, top in (
        (panels[1], found.activity, f"sum of {endpoint}, map {found.feature}", None),
        (panels[2], found.probability, f"probability of {classes[label]}", 1.0),
    ):
        picture = axes.imshow(values, cmap="turbo", extent=extent, vmin=None if top is None else 0.0, vmax=top)
        axes.set_title(title, fontsize=10)
        figure.colorbar(picture, ax=axes, shrink=0.8)
    labels, places = np.unique(found.predicted, return_inverse=True)
    colours = colormaps["tab20"](np.arange(len(labels)) % 20)
    panels[3].imshow(
        places.reshape(found.predicted.shape),
        cmap=ListedColormap(colours),
        vmin=-0.5,
        vmax=len(labels) - 0.5,
        extent=extent,
        interpolation="nearest",
    )
    panels[3].set_title("likeliest class", fontsize=10)
    most = np.argsort(-np.bincount(places.reshape(-1)), kind="stable")[:LEGEND_UP_TO]
    handles = [Patch(color=tuple(colours[place]), label=classes[int(labels[place])]) for place in most]
    panels[3].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    for axes in panels:
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[])
    save_png(figure, out)
