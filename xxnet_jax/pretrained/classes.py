"""The 1,000 classes of ImageNet (ILSVRC 2012), and logits in their words."""

import csv
import functools
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from xxnet_jax.errors import InvalidArgument


class ImageNetClass(NamedTuple):
    """A synset of WordNet 3.0: its id, and its words, the most frequent first."""

    wnid: str
    names: str

    @property
    def name(self) -> str:
        """The first word. Two cranes and two maillots differ in their ids alone."""
        return self.names.split(",")[0]


BACKGROUND = ImageNetClass("background", "background")


class Prediction(NamedTuple):
    """A class and its probability."""

    wnid: str
    name: str
    probability: float


@functools.cache
def imagenet_classes() -> tuple[ImageNetClass, ...]:
    """In the order of the labels of the challenge's usual packages, which is that of the ids.

    Ids and words are those of WordNet; the list of the challenge (Russakovsky et al., ImageNet Large Scale Visual
    Recognition Challenge, 2015) as timm has it.
    """
    with Path(__file__).with_name("imagenet_classes.csv").open(encoding="utf-8", newline="") as file:
        return tuple(ImageNetClass(row["wnid"], row["names"]) for row in csv.DictReader(file))


def decode_predictions(logits: jax.Array | np.ndarray, top: int = 5) -> list[list[Prediction]]:
    """The likeliest classes of each image, the likeliest first.

    Args:
        logits: [images, 1000], or [images, 1001] with the background first, as TensorFlow's networks give.
        top: classes for each image.

    Raises:
        ValueError: other shapes, or `top` is not in 1 ... the number of classes.
    """
    logits = np.asarray(logits, np.float64)
    classes = imagenet_classes()
    if logits.ndim != 2 or logits.shape[1] not in (len(classes), len(classes) + 1):
        raise InvalidArgument(
            f"expected logits [images, {len(classes)}] of ImageNet's classes, or one more with the background first, "
            f"got {logits.shape}"
        )
    if logits.shape[1] > len(classes):
        classes = (BACKGROUND, *classes)
    if not 1 <= top <= len(classes):
        raise InvalidArgument(f"top must be in 1..{len(classes)}, got {top}")
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    return [
        [
            Prediction(classes[label].wnid, classes[label].name, float(row[label]))
            for label in np.argsort(-row, kind="stable")[:top]
        ]
        for row in probabilities
    ]
