"""The noise source."""

import numpy as np
import pytest

from xxnet_jax.data import Source, open_source
from xxnet_jax.data.source import ArrayExamples
from xxnet_jax.errors import InvalidArgument

SPLITS = ("train", "validation", "test")


def arrays(source: Source, split: str) -> tuple[np.ndarray, np.ndarray]:
    examples = source.examples(split)
    assert isinstance(examples, ArrayExamples)
    return examples.images, examples.labels


@pytest.mark.parametrize("split", SPLITS)
def test_the_noise_has_the_size_that_was_asked_for(split: str):
    """`5x7x3/4` with 200 examples is uint8 [200, 5, 7, 3] over the whole range, with labels of all four classes."""
    source = open_source("fake:5x7x3/4?examples=200")
    images, labels = arrays(source, split)
    assert source.image_shape == (5, 7, 3)
    assert source.num_classes == 4
    assert images.shape == (200, 5, 7, 3)
    assert images.dtype == np.uint8
    assert (images.min(), images.max()) == (0, 255)
    assert labels.dtype == np.int32
    # 200 draws miss one of four classes with probability 4 * .75**200, about 1e-24
    assert set(labels.tolist()) == {0, 1, 2, 3}


def test_there_are_1024_examples_by_default():
    """Without `examples` each split has 1,024."""
    source = open_source("fake:2x2x1/3")
    assert [len(source.examples(split)) for split in SPLITS] == [1024] * 3


def test_the_noise_is_the_same_every_time():
    """Opening again gives the same images and labels."""
    uri = "fake:3x3x1/5?examples=20"
    for split in SPLITS:
        for first, second in zip(arrays(open_source(uri), split), arrays(open_source(uri), split), strict=True):
            np.testing.assert_array_equal(first, second)


def test_the_splits_differ():
    """No image of one split is one of another, so that evaluation does not see what was trained on."""
    source = open_source("fake:4x4x3/2?examples=50")
    images = [image.tobytes() for split in SPLITS for image in arrays(source, split)[0]]
    assert len(set(images)) == 150


@pytest.mark.parametrize(
    "uri",
    [
        "fake:",
        "fake:28",
        "fake:28x28/10",
        "fake:28x28x1",
        "fake:28x28x1/",
        "fake:28x28x1/10/3",
        "fake:-1x28x1/10",
        "fake:0x28x1/10",
        "fake:28x28x0/10",
        "fake:28x28x1/0",
        "fake:axbxc/d",
        "fake:28x28x1/10?examples=",
        "fake:28x28x1/10?examples=many",
        "fake:28x28x1/10?examples=-5",
        "fake:28x28x1/10?examples=1.5",
        "fake:28x28x1/10?examples=0",
        "fake:28x28x1/10?examples=²",
    ],
)
def test_a_malformed_uri_says_what_to_write(uri: str):
    """Sizes that are missing, not positive or not numbers are an error that shows a URI."""
    with pytest.raises(InvalidArgument, match=r"write fake:28x28x1/10\?examples=1024"):
        open_source(uri)
