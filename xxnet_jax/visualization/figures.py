"""Pictures as files."""

import io
from pathlib import Path
from typing import Any

from xxnet_jax.files import write_atomically


def save_png(figure: Any, out: Path) -> None:
    """Write a matplotlib figure as PNG file `out`: whole, or not at all."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=120)
    write_atomically(out, stream.getvalue())
