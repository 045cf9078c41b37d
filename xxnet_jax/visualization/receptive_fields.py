"""Receptive fields, drawn on an image."""

from pathlib import Path

import numpy as np

from xxnet_jax.visualization.figures import save_png


def plot_receptive_field(
    image: np.ndarray,
    box: tuple[float, float, float, float],
    seen: np.ndarray,
    title: str,
    out: Path,
    strength: np.ndarray | None = None,
) -> None:
    """Draw what a unit sees: the image with the pixels that it does not see darkened, and the box of its field.

    Args:
        image: uint8 [height, width, 1 or 3].
        box: (x1, y1, x2, y2) of the field; it may reach over the borders.
        seen: bool [height, width].
        title: such as the name of the unit.
        out: PNG file.
        strength: how much each pixel matters, 0 .. 1, [height, width], as a second picture.
    """
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    height, width = seen.shape
    panels = 1 if strength is None else 2
    figure = Figure(figsize=(5.5 * panels, 5.5 * height / width + 0.5), layout="constrained")
    cells = figure.subplots(1, panels, squeeze=False)[0]
    shown = np.broadcast_to(image, (height, width, 3)) * np.where(seen, 1.0, 0.3)[..., None]
    cells[0].imshow(shown.astype(np.uint8))
    cells[0].set_title(title, fontsize=10)
    if strength is not None:
        cells[1].imshow(strength, cmap="magma")
        cells[1].set_title("effective: mean |gradient|", fontsize=10)
    x1, y1, x2, y2 = box
    for axes in cells:
        # A pixel of imshow reaches half to each side of its number.
        axes.add_patch(Rectangle((x1 - 0.5, y1 - 0.5), x2 - x1, y2 - y1, fill=False, edgecolor="red", linewidth=1.5))
        margin = 0.05 * max(height, width)
        axes.set_xlim(min(x1, 0) - margin, max(x2, width) + margin)
        axes.set_ylim(max(y2, height) + margin, min(y1, 0) - margin)
    save_png(figure, out)
