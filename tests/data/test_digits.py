"""The digits that come with scikit-learn, against scikit-learn."""

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from sklearn.datasets import load_digits

from xxnet_jax.data import Source, open_source
from xxnet_jax.data.source import ArrayExamples

# 20 % of 1,797, then 20 % of the rest, each rounded up as scikit-learn does
SIZES = {"train": 1149, "validation": 288, "test": 360}
FRACTIONS = {"train": 0.64, "validation": 0.16, "test": 0.2}
TO_BYTE = [round(Fraction(value * 255, 16)) for value in range(17)]


@pytest.fixture(scope="module")
def digits() -> Source:
    return open_source("digits")


@pytest.fixture(scope="module")
def published() -> list[tuple[bytes, int]]:
    """Image bytes and label of each digit in scikit-learn, in its order."""
    pixels, target = load_digits(return_X_y=True)
    return [
        (bytes(TO_BYTE[int(value)] for value in row), int(label)) for row, label in zip(pixels, target, strict=True)
    ]


def pairs(source: Source, split: str) -> list[tuple[bytes, int]]:
    return [(example["image"].tobytes(), example["label"]) for example in source.examples(split)]


def test_the_splits_together_are_scikit_learns_digits(digits: Source, published: list[tuple[bytes, int]]):
    """Every digit with its label is in exactly one split, with its 17 gray levels spread over 0 to 255."""
    together = Counter(pair for split in FRACTIONS for pair in pairs(digits, split))
    assert together.total() == 1797
    assert together == Counter(published)


def test_splits_do_not_overlap(digits: Source):
    """No image of one split is an image of another."""
    images = {split: {image for image, _ in pairs(digits, split)} for split in FRACTIONS}
    assert not images["train"] & images["validation"]
    assert not images["train"] & images["test"]
    assert not images["validation"] & images["test"]


@pytest.mark.parametrize("split", FRACTIONS)
def test_splits_are_stratified(digits: Source, published: list[tuple[bytes, int]], split: str):
    """64, 16 and 20 percent of each class, to within one example."""
    total = Counter(label for _, label in published)
    found = Counter(label for _, label in pairs(digits, split))
    assert found.total() == SIZES[split]
    for label in range(10):
        assert abs(found[label] - FRACTIONS[split] * total[label]) <= 1, label


def test_the_division_is_the_same_every_time(digits: Source):
    """Opening again gives the same examples in the same order."""
    again = open_source("digits")
    for split in FRACTIONS:
        assert pairs(again, split) == pairs(digits, split)


def test_shapes_and_types(digits: Source):
    """Images are uint8 [8, 8, 1], labels whole numbers of ten named classes."""
    assert digits.image_shape == (8, 8, 1)
    assert digits.classes == tuple("0123456789")
    assert digits.num_classes == 10
    examples = digits.examples("train")
    assert isinstance(examples, ArrayExamples)
    assert examples.images.dtype == np.uint8
    assert examples.images.shape[1:] == (8, 8, 1)
    assert examples.labels.dtype == np.int32
    assert examples.images.max() == 255
