"""The weights of ImageNet that Keras and torchvision publish for our networks, and what their images need."""

import csv
import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xxnet_jax.data.images import Interpolation
from xxnet_jax.errors import UnknownName
from xxnet_jax.models import model_info

# Written by experiments/checks/weights_manifest.py.
MANIFEST = Path(__file__).with_name("imagenet_weights.csv")


@dataclass(frozen=True)
class Published:
    """A file of weights and how the images that it saw were made.

    Attributes:
        model: our registered name.
        weights: "imagenet", or "imagenet_v2": torchvision's second recipe.
        url: of the file.
        checksum: as published: "md5:" and 32 digits (Keras), "sha256:" and the first 8 (torchvision), or empty.
        licence: SPDX identifier.
        size: of the square that the network takes, in pixels.
        shorter_side: of the image from whose centre the square is cut; None: the image is squeezed to the square.
        interpolation: "bilinear" or "bicubic".
        top1, top5: published accuracy on the validation images, percent.
    """

    model: str
    weights: str
    url: str
    checksum: str
    licence: str
    size: int
    shorter_side: int | None
    interpolation: Interpolation
    top1: float
    top5: float


@functools.cache
def manifest() -> tuple[Published, ...]:
    """All rows."""
    with MANIFEST.open(encoding="utf-8", newline="") as file:
        return tuple(_row(row) for row in csv.DictReader(file))


def _row(text: dict[str, str]) -> Published:
    numbers: dict[str, Any] = {
        "size": int(text["size"]),
        "shorter_side": int(text["shorter_side"]) if text["shorter_side"] else None,
        "top1": float(text["top1"]),
        "top5": float(text["top5"]),
    }
    return Published(**{**text, **numbers})


def published(model: str, weights: str = "imagenet") -> Published:
    """The row of a model.

    Raises:
        ValueError: there is no such model, or nobody publishes such weights for it.
    """
    model_info(model)
    rows = {(row.model, row.weights): row for row in manifest()}
    if (model, weights) not in rows:
        raise UnknownName("published weights", f"{model} {weights}", (" ".join(key) for key in rows))
    return rows[model, weights]
