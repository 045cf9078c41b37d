"""Pictures as files."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np

from xxnet_jax.files import write_atomically


def save_png(figure: Any, out: Path) -> None:
    """Write a matplotlib figure as PNG file `out`: whole, or not at all."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    write_atomically(out, stream.getvalue())


def show_image(axes: Any, image: np.ndarray) -> None:
    """Draw an image [height, width, 1 or 3], uint8 or from 0 to 1, without ticks."""
    gray = image.shape[-1] == 1
    axes.imshow(image[..., 0] if gray else image, cmap="gray", vmin=0, vmax=255 if image.dtype == np.uint8 else 1)
    axes.set(xticks=[], yticks=[])


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers, 0.2 and not 2 x 10^-1: every power of ten, and what there is room
    for between them.

    Args:
        axis: of matplotlib, such as `axes.yaxis`.
    """
    from matplotlib.ticker import FuncFormatter

    def label(value: float, place: int | None = None) -> str:
        low, high = axis.get_view_interval()
        leading = round(value / 10 ** math.floor(math.log10(value) + 1e-9))
        shown = (1,) if high > 1000 * low else (1, 2, 5) if high > 30 * low else (1, 2, 3, 4, 6)
        return f"{value:g}" if leading in shown else ""

    axis.set_major_formatter(FuncFormatter(label))
    axis.set_minor_formatter(FuncFormatter(label))
