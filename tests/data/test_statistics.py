"""Statistics of images beside NumPy's float64 lines, and what preprocessing makes of them."""

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.decomposition import PCA

from xxnet_jax.data.preprocessing import WHITENING_FLOOR, preprocess
from xxnet_jax.data.statistics import Statistics, image_statistics
from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData

IMAGES = np.random.default_rng(0).integers(0, 256, (2500, 4, 3, 2)).astype(np.uint8)
IMAGES[:, :, 1] = IMAGES[:, :, 0] // 2 + IMAGES[:, :, 1] // 2  # neighbours that are alike


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return image_statistics(IMAGES, whiten=True)


def contrast_normalized(images: np.ndarray) -> np.ndarray:
    """Each image with mean 0 and deviation 1, float64 [images, values]."""
    flat = images.reshape(len(images), -1) / 255
    return (flat - flat.mean(1, keepdims=True)) / flat.std(1, keepdims=True)


def test_means_and_deviations(statistics: Statistics):
    """As NumPy's of all images at once, in float64."""
    values = IMAGES.astype(np.float64) / 255
    assert statistics.images == 2500
    np.testing.assert_allclose(statistics.mean, values.mean(0), rtol=1e-6)
    np.testing.assert_allclose(statistics.channel_mean, values.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(statistics.channel_std, values.std((0, 1, 2)), rtol=1e-6)
    expected = np.cov(values.reshape(-1, 2), rowvar=False, bias=True)
    np.testing.assert_allclose(statistics.channel_covariance, expected, rtol=1e-5)


def test_channels_and_pixel_mean(statistics: Statistics):
    """Of the images that they were computed from: each channel has mean 0 and deviation 1, each pixel has mean 0."""
    by_channel = np.asarray(preprocess(jnp.asarray(IMAGES), "channels", statistics), np.float64)
    np.testing.assert_allclose(by_channel.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(by_channel.std((0, 1, 2)), 1, rtol=1e-5)
    centered = np.asarray(preprocess(jnp.asarray(IMAGES), "pixel_mean", statistics), np.float64)
    np.testing.assert_allclose(centered.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(centered[7], IMAGES[7] / 255 - IMAGES.mean(0) / 255, atol=1e-6)


def test_pca_is_scikit_learns(statistics: Statistics):
    """Coordinates along the principal components, but for their signs; variances with the floor."""
    flat = contrast_normalized(IMAGES)
    fitted = PCA().fit(flat)
    found = np.asarray(preprocess(jnp.asarray(IMAGES), "pca", statistics), np.float64).reshape(len(IMAGES), -1)
    variances = fitted.explained_variance_ * (len(flat) - 1) / len(flat)
    expected = fitted.transform(flat) / np.sqrt(variances + WHITENING_FLOOR)
    kept = variances > 1e-6  # standardized images have one direction without variance
    np.testing.assert_allclose(np.abs(found[:, kept]), np.abs(expected[:, kept]), atol=1e-3)
    covariance = np.cov(found[:, kept], rowvar=False, bias=True)
    np.testing.assert_allclose(covariance, np.diag((variances / (variances + WHITENING_FLOOR))[kept]), atol=1e-3)


def test_zca_is_the_symmetric_root(statistics: Statistics):
    """x (C + floor)^(-1/2), with the root of SciPy's kind: symmetric, by the eigenvectors of NumPy's covariance."""
    flat = contrast_normalized(IMAGES)
    center = flat.mean(0)
    variances, directions = np.linalg.eigh(np.cov(flat, rowvar=False, bias=True) + WHITENING_FLOOR * np.eye(24))
    root = directions @ np.diag(variances**-0.5) @ directions.T
    found = np.asarray(preprocess(jnp.asarray(IMAGES[:50]), "zca", statistics), np.float64).reshape(50, -1)
    np.testing.assert_allclose(found, (flat[:50] - center) @ root, atol=1e-3)


def test_saved_and_loaded(statistics: Statistics, tmp_path: Path):
    statistics.save(tmp_path / "s.npz")
    loaded = Statistics.load(tmp_path / "s.npz")
    assert loaded.images == 2500
    assert loaded.whitens
    for name, value in vars(statistics).items():
        np.testing.assert_array_equal(getattr(loaded, name), value)


def test_files_that_are_none(tmp_path: Path):
    with pytest.raises(MissingData, match="no statistics"):
        Statistics.load(tmp_path / "s.npz")
    (tmp_path / "s.npz").write_bytes(b"no archive")
    with pytest.raises(CorruptData, match="cannot read"):
        Statistics.load(tmp_path / "s.npz")
    np.savez(tmp_path / "s.npz", images=1)
    with pytest.raises(CorruptData, match="cannot read"):
        Statistics.load(tmp_path / "s.npz")


def test_images_that_have_none():
    with pytest.raises(InvalidArgument, match="empty"):
        image_statistics([])
    with pytest.raises(InvalidArgument, match="one size"):
        image_statistics([np.zeros((2, 2, 1), np.uint8), np.zeros((2, 3, 1), np.uint8)])
    with pytest.raises(InvalidArgument, match="too many to be whitened"):
        image_statistics([np.zeros((64, 64, 3), np.uint8)], whiten=True)


def test_rules_without_statistics():
    with pytest.raises(InvalidArgument, match="needs statistics"):
        preprocess(jnp.asarray(IMAGES), "zca")
