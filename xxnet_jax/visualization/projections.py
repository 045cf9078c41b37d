"""Deconvnet's pictures: patches beside their projections; and maps of what speaks for a class."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from xxnet_jax.visualization.figures import save_png

GAP = 2  # pixels between tiles
DPI = 120


class Excited(NamedTuple):
    """What excites a feature.

    Attributes:
        feature: its number.
        patches: uint8 [height, width, 1 or 3], of the images, the strongest first.
        projections: float [height, width, 1 or 3], of the same pixels.
    """

    feature: int
    patches: list[np.ndarray]
    projections: list[np.ndarray]


def cut(image: np.ndarray, box: tuple[float, float, float, float]) -> np.ndarray:
    """The part of an image [height, width, channels] in the box (x1, y1, x2, y2), as far as it is in the image."""
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(value) for value in box)
    return image[max(y1, 0) : min(y2, height), max(x1, 0) : min(x2, width)]


def signed_colours(values: np.ndarray) -> np.ndarray:
    """uint8 of values with a sign: grey is 0, the largest size is black or white."""
    return np.round(127.5 + 127.5 * values / max(np.abs(values).max(), 1e-12)).astype(np.uint8)


def plot_strongest(layers: Mapping[str, Sequence[Excited]], out: Path, side: int = 36) -> None:
    """Draw, for each layer and feature, the projections in a square and the patches beside it.

    As Figure 2 of Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013.

    Args:
        layers: name -> features, of each as many patches.
        out: PNG file.
        side: of a tile, in pixels.
    """
    from matplotlib.figure import Figure

    rows = {name: np.concatenate([_cell(feature, side) for feature in found], 1) for name, found in layers.items()}
    height = max(row.shape[0] for row in rows.values())
    width = max(row.shape[1] for row in rows.values())
    figure = Figure(figsize=(width / DPI, len(rows) * (height / DPI + 0.3)), layout="constrained")
    for axes, (name, row) in zip(figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True):
        axes.imshow(row, interpolation="nearest")
        axes.set_title(f"{name}, features {', '.join(str(found.feature) for found in layers[name])}", loc="left")
        axes.axis("off")
    save_png(figure, out)


def _cell(found: Excited, side: int) -> np.ndarray:
    """Projections and patches, uint8 [height, width, 3], with a margin behind."""
    squares = [_square(list(map(signed_colours, found.projections)), side), _square(found.patches, side)]
    margin = np.full((squares[0].shape[0], 4 * GAP, 3), 255, np.uint8)
    return np.concatenate([squares[0], margin[:, :GAP], squares[1], margin], 1)


def _square(images: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Tiles in as many rows as columns, on white."""
    from PIL import Image

    across = int(np.ceil(np.sqrt(len(images))))
    canvas = np.full((across * (side + GAP), across * (side + GAP), 3), 255, np.uint8)
    for place, image in enumerate(images):
        colours = np.ascontiguousarray(np.broadcast_to(image, (*image.shape[:2], 3)))
        y, x = (side + GAP) * (place // across), (side + GAP) * (place % across)
        canvas[y : y + side, x : x + side] = np.asarray(Image.fromarray(colours).resize((side, side)))
    return canvas


def plot_on_image(image: np.ndarray, panels: Mapping[str, np.ndarray], out: Path, columns: int = 5) -> None:
    """Draw an image, and beside it maps of it: of strength over the image, of signed colours by themselves.

    Args:
        image: uint8 [height, width, 1 or 3].
        panels: title -> strength [height, width], at least 0, or values with a sign [height, width, 1 or 3].
        out: PNG file.
        columns: panels in a row.
    """
    from matplotlib.figure import Figure

    height, width = image.shape[:2]
    shown = np.broadcast_to(image, (height, width, 3))
    rows = -(-(len(panels) + 1) // columns)
    across = min(columns, len(panels) + 1)
    figure = Figure(figsize=(3 * across, rows * (3 * height / width + 0.4)), layout="constrained")
    cells = figure.subplots(rows, across, squeeze=False).flat
    for axes in cells:
        axes.axis("off")
    cells = figure.axes
    cells[0].imshow(shown)
    for axes, (title, values) in zip(cells[1:], panels.items(), strict=False):
        axes.set_title(title, fontsize=9)
        if values.ndim == 2:
            axes.imshow(shown.mean(-1), cmap="gray")
            axes.imshow(values, cmap="inferno", alpha=0.65, vmin=0)
        else:
            axes.imshow(np.broadcast_to(signed_colours(values), (height, width, 3)))
    save_png(figure, out)
