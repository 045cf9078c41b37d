"""What tests of whole runs on drawn objects share."""

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.files import read_json_lines
from xxnet_jax.training import loop

OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def begin_voc(folder: Path, splits: dict[str, list[str]]) -> None:
    """The folders of VOC's form, and the names of the images of each split."""
    for name in ("ImageSets/Main", "JPEGImages", "Annotations"):
        (folder / name).mkdir(parents=True)
    for split, names in splits.items():
        (folder / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(names) + "\n")


def write_voc(folder: Path, name: str, image: np.ndarray, objects: Iterable[tuple[str, int, int, int, int]]) -> None:
    """An image and its objects: class, left, top, width, height in pixels, counted from 0."""
    Image.fromarray(image).save(folder / "JPEGImages" / f"{name}.png")
    boxes = (OBJECT.format(kind, x + 1, y + 1, x + width, y + height) for kind, x, y, width, height in objects)
    (folder / "Annotations" / f"{name}.xml").write_text(f"<annotation>{''.join(boxes)}</annotation>")


def untimed(workdir: Path) -> list[dict[str, Any]]:
    """The metrics of a run but for what depends on the machine."""
    lines = read_json_lines(workdir / "metrics.jsonl")
    return [{key: value for key, value in line.items() if not key.startswith("time/")} for line in lines]


@contextlib.contextmanager
def terminated_after(step: int) -> Iterator[None]:
    """Within, a run gets SIGTERM after this step."""
    advance = loop._Training.advance

    def advance_and_signal(training: Any) -> None:
        advance(training)
        if training.host.step == step:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop._Training, "advance", advance_and_signal)
        yield
