"""Images with the classes that a network names."""

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from xxnet_jax.visualization.figures import save_png

COLUMNS = 4


def plot_predictions(predictions: Sequence[tuple[np.ndarray, Sequence[tuple[str, float]]]], out: Path) -> None:
    """Draw each image above bars of its likeliest classes.

    Args:
        predictions: uint8 [height, width, 1 or 3] and (class, probability), the likeliest first.
        out: PNG file to write.
    """
    from matplotlib.figure import Figure

    columns = min(COLUMNS, len(predictions))
    rows = math.ceil(len(predictions) / columns)
    figure = Figure(figsize=(3.2 * columns, 4.2 * rows), layout="constrained")
    cells = figure.subplots(2 * rows, columns, squeeze=False, height_ratios=(3, 1.2) * rows)
    for axes in cells.flat:
        axes.axis("off")
    for place, (image, ranking) in enumerate(predictions):
        row, column = divmod(place, columns)
        above, below = cells[2 * row, column], cells[2 * row + 1, column]
        above.set_anchor("S")
        above.imshow(image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255)
        names, probabilities = zip(*reversed(ranking), strict=True)
        below.axis("on")
        below.barh(range(len(names)), probabilities, color="lightsteelblue")
        for height, (name, probability) in enumerate(zip(names, probabilities, strict=True)):
            below.text(0.02, height, f"{name}  {probability:.1%}", va="center")
        below.set(xlim=(0, 1), xticks=[], yticks=[])
    save_png(figure, out)
