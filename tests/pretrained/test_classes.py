"""The classes of ImageNet."""

import re

import numpy as np
import pytest

from xxnet_jax.pretrained import decode_predictions, imagenet_classes


def test_the_list_is_that_of_the_challenge():
    """1,000 ids of nouns, each once and in order; some labels that everybody knows."""
    classes = imagenet_classes()
    ids = [entry.wnid for entry in classes]
    assert len(ids) == len(set(ids)) == 1000
    assert ids == sorted(ids)
    assert all(re.fullmatch(r"n\d{8}", wnid) for wnid in ids)
    known = {0: "tench", 207: "golden retriever", 281: "tabby", 386: "African elephant", 999: "toilet tissue"}
    assert {label: classes[label].name for label in known} == known
    # The notes' example has these three (spec 4, C4).
    assert [classes[label].wnid for label in (385, 101, 386)] == ["n02504013", "n01871265", "n02504458"]


def test_the_ids_are_those_of_tensorflow_datasets():
    """TFDS has the same set in another order."""
    tfds = pytest.importorskip("tensorflow_datasets")
    path = tfds.core.tfds_path("image_classification/imagenet_resized_labels.txt")
    assert set(path.read_text().split()) == {entry.wnid for entry in imagenet_classes()}


@pytest.mark.parametrize("background", [0, 1])
def test_decode_predictions(background: int):
    """The likeliest first, with softmax probabilities; a class more is the background in front."""
    logits = np.random.default_rng(0).normal(size=(3, 1000 + background)).astype(np.float32)
    found = decode_predictions(logits, top=7)
    exponentials = np.exp(logits.astype(np.float64))
    expected = exponentials / exponentials.sum(axis=1, keepdims=True)
    for predictions, row in zip(found, expected, strict=True):
        order = np.argsort(-row)[:7]
        assert [p.wnid for p in predictions] == [
            imagenet_classes()[label - background].wnid if label >= background else "background" for label in order
        ]
        np.testing.assert_allclose([p.probability for p in predictions], row[order], rtol=1e-12)


@pytest.mark.parametrize(("shape", "top"), [((2, 10), 5), ((1000,), 5), ((2, 1000), 0), ((2, 1000), 1001)])
def test_other_shapes_are_refused(shape: tuple[int, ...], top: int):
    """Logits of other classes have no names here."""
    with pytest.raises(ValueError, match=r"1000"):
        decode_predictions(np.zeros(shape), top)
