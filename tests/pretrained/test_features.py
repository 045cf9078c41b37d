"""Descriptors of images."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from PIL import Image

import xxnet_jax as xx
from xxnet_jax.pretrained import FeatureExtractor, image_files, load_weights, preprocess, save_weights, write_features

MODEL = "resnet20"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "resnet20.safetensors"
    model = xx.create_model(MODEL)
    variables: Any = model.init(jax.random.key(0), np.zeros((1, 32, 32, 3), np.float32), train=False)
    save_weights(variables, path, model=MODEL, preprocessing="torch")
    return path


def photographs(*sizes: tuple[int, int]) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), np.uint8) for size in sizes]


@pytest.mark.parametrize("endpoint", ["conv3_block3_out", None, "predictions"])
def test_features_are_the_endpoints(weights: Path, endpoint: str | None):
    """Of the network with its own images; pooled features are means and maxima of the maps."""
    images = photographs((32, 32), (40, 50))
    model, variables = xx.create_model(MODEL), load_weights(MODEL, weights)
    points = xx.endpoints(model, variables, preprocess(images, MODEL, colours="torch"))
    expected = np.asarray(points[endpoint or "conv4_block3_out"])
    found = FeatureExtractor(MODEL, weights, endpoint=endpoint, pooling=None)(images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    if found.ndim == 4:
        poolings: dict[Any, np.ndarray] = {"avg": expected.mean((1, 2)), "max": expected.max((1, 2))}
        for pooling, pooled in poolings.items():
            features = FeatureExtractor(MODEL, weights, endpoint=endpoint, pooling=pooling)(images)
            np.testing.assert_allclose(features, pooled, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["avg", None])
def test_normalized_features_have_norm_one(weights: Path, pooling: Any):
    """Of each image, over all of its features."""
    found = FeatureExtractor(MODEL, weights, pooling=pooling, normalize=True)(photographs((32, 32), (32, 32)))
    np.testing.assert_allclose(np.linalg.norm(found.reshape(2, -1), axis=1), 1, rtol=1e-5)


def test_batches_are_the_images_in_their_order(weights: Path, tmp_path: Path):
    """Also where the last batch is smaller, and the file says which image is which."""
    images = photographs(*[(32, 32)] * 5)
    for i, image in enumerate(images):
        folder = tmp_path / "photos" / ("cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.png")
    files = image_files(tmp_path / "photos")
    extractor = FeatureExtractor(MODEL, weights)
    batches = list(extractor.batches(files, 2))
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert write_features(tmp_path / "out.npz", tmp_path / "photos", files, batches) == (5, 64)
    stored = np.load(tmp_path / "out.npz")
    assert list(stored["paths"]) == ["cat/1.png", "cat/3.png", "dog/0.png", "dog/2.png", "dog/4.png"]
    assert [stored["classes"][label] for label in stored["labels"]] == ["cat", "cat", "dog", "dog", "dog"]
    np.testing.assert_allclose(
        stored["features"], extractor([images[i] for i in (1, 3, 0, 2, 4)]), rtol=1e-4, atol=1e-6
    )


def test_dense_descriptors(weights: Path):
    """The mean over squares and mirror images, of norm one at each scale: the arithmetic with single images."""
    (image,) = photographs((32, 48))
    extractor = FeatureExtractor(MODEL, weights)
    cuts = [image[:, :32], image[:, 8:40], image[:, 16:]]
    mean = np.mean(extractor([*cuts, *(cut[:, ::-1] for cut in cuts)]), axis=0)
    (found,) = extractor.dense([image], [32])
    np.testing.assert_allclose(found, mean / np.linalg.norm(mean), rtol=1e-4)
    (mirrored,) = extractor.dense([image[:, ::-1]], [32])
    np.testing.assert_allclose(mirrored, found, rtol=1e-4)
    several = extractor.dense([image], [32, 40])
    assert several.shape == (1, 128)
    np.testing.assert_allclose(several[0, :64] * np.sqrt(2), found, rtol=1e-4)
    assert extractor.dense([image], [32, 40], combine="average").shape == (1, 64)
    with pytest.raises(ValueError, match="at least one scale"):
        extractor.dense([image], [])


def test_unknown_endpoints_are_named(weights: Path):
    """With the nearest ones."""
    with pytest.raises(ValueError, match="unknown endpoint of ResNet 'conv3_block9_out': did you mean conv"):
        FeatureExtractor(MODEL, weights, endpoint="conv3_block9_out")(photographs((32, 32)))


def test_a_folder_without_images(tmp_path: Path):
    """Says what would be one."""
    with pytest.raises(FileNotFoundError, match="no images in"):
        image_files(tmp_path)
