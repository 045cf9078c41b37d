"""Photographs to inputs."""

import numpy as np
import pytest
from PIL import Image

from xxnet_jax.data.images import central_square
from xxnet_jax.pretrained import manifest, preprocess


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (256, 256), (100, 90), (257, 301)])
@pytest.mark.parametrize("shorter_side", [224, 232, 256])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_central_square(height: int, width: int, shorter_side: int, interpolation):
    """PIL's scaling of the whole image, and its crop of the middle."""
    image = photograph(height, width)
    scale = shorter_side / min(height, width)
    size = (
        shorter_side if width <= height else int(width * scale),
        shorter_side if height <= width else int(height * scale),
    )
    whole = Image.fromarray(image).resize(size, Image.Resampling[interpolation.upper()])
    left, top = round((whole.width - 224) / 2), round((whole.height - 224) / 2)
    expected = np.asarray(whole.crop((left, top, left + 224, top + 224)))
    np.testing.assert_array_equal(central_square(image, 224, shorter_side, interpolation), expected)


def test_a_square_larger_than_the_image_is_refused():
    """Nothing is invented beyond the border."""
    with pytest.raises(ValueError, match="cannot be cut"):
        central_square(photograph(300, 300), 224, 200)


MEAN, DEVIATION = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def test_torchvision():
    """Shorter side 256, the central 224, mean and deviation of ImageNet's colours; 232 for the second recipe."""
    image = photograph(300, 400)
    for weights, shorter_side in {"imagenet": 256, "imagenet_v2": 232}.items():
        (found,) = preprocess([image], "resnet50.torchvision", weights)
        expected = (central_square(image, 224, shorter_side) / 255 - MEAN) / DEVIATION
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_keras():
    """The whole image is squeezed; blue, green and red less their means."""
    image = photograph(300, 400)
    (found,) = preprocess([image], "resnet50")
    squeezed = np.asarray(Image.fromarray(image).resize((224, 224), Image.Resampling.BILINEAR), np.float64)
    np.testing.assert_allclose(found, squeezed[..., ::-1] - [103.939, 116.779, 123.68], rtol=1e-5, atol=1e-4)


def test_images_of_several_sizes_and_gray_ones_make_one_batch():
    """Without published weights: the square is cut from its size / .875, here from -1 to 1."""
    images = [photograph(300, 400), photograph(90, 70), photograph(50, 60)[..., :1]]
    found = np.asarray(preprocess(images, "mobilenet_v2.tflite"))
    assert found.shape == (3, 224, 224, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], central_square(images[0], 224, 256) / 127.5 - 1, atol=1e-6)
    assert (found[2] == found[2][..., :1]).all()


@pytest.mark.parametrize(("images", "message"), [([], "no image"), ([np.zeros((8, 8, 3))], "uint8")])
def test_what_is_no_photograph_is_refused(images, message: str):
    """Floats could be of any range."""
    with pytest.raises(ValueError, match=message):
        preprocess(images, "resnet50")


def test_the_manifest_speaks_of_registered_networks_of_its_size():
    """Each row is of a network that takes that square, and has a checksum or none."""
    import xxnet_jax as xx

    rows = manifest()
    assert len({(row.model, row.weights) for row in rows}) == len(rows)
    for row in rows:
        assert xx.model_info(row.model).input_shape[0] == row.size
        assert row.url.startswith("https://")
        assert row.checksum.partition(":")[0] in ("md5", "sha256", "")
        assert 50 < row.top1 < row.top5 < 100
