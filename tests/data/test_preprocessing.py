"""Network inputs from 8-bit images, against float64 NumPy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from xxnet_jax.data import PREPROCESSING, preprocess
from xxnet_jax.errors import UnknownName

BYTES = np.arange(256)
EVERY_BYTE = np.stack([BYTES, (BYTES + 85) % 256, BYTES[::-1]], axis=-1).astype(np.uint8).reshape(2, 8, 16, 3)
# values of the channels red, green, blue in [0, 1] -> channels of the result, in float64
EXPECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "unit": lambda x: x,
    # LeCun et al., 1998, section II.B: the background (white paper, here 0) is -0.1 and the foreground is 1.175
    "lecun": lambda x: -0.1 + x * (1.175 + 0.1),
    # keras.applications.imagenet_utils.preprocess_input, by its three modes
    "caffe": lambda x: 255 * x[..., ::-1] - np.array([103.939, 116.779, 123.68]),
    "tf": lambda x: 255 * x / 127.5 - 1,
    "torch": lambda x: (x - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
}
FOR_RGB = ["caffe", "torch"]
OF_THE_IMAGE = {"standardized"}  # rules whose result depends on the other pixels


def test_every_rule_is_tested():
    """A new rule needs its expected values here, or a test of its own below."""
    assert set(PREPROCESSING) == EXPECTED.keys() | OF_THE_IMAGE


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_every_byte_becomes_its_value(name: str):
    """All 256 bytes in each channel, compiled or not, become the float32 next to the rule's line, in the same shape."""
    expected = EXPECTED[name](EVERY_BYTE.astype(np.float64) / 255)
    for function in (preprocess, jax.jit(preprocess, static_argnums=1)):
        found = function(jnp.asarray(EVERY_BYTE), name)
        assert found.dtype == jnp.float32
        assert found.shape == EVERY_BYTE.shape
        # three roundings to 24 bits of numbers as large as the largest
        np.testing.assert_allclose(found, expected, rtol=0, atol=3e-7 * np.abs(expected).max())


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_rules_for_colours_refuse_other_images(channels: int):
    """The error of the rules for RGB says how many channels there are; the other rules take them."""
    images = jnp.zeros((1, 2, 2, channels), jnp.uint8)
    for name in PREPROCESSING:
        if name in FOR_RGB:
            with pytest.raises(ValueError, match=f"3 channels, got {channels}.*--preprocessing"):
                preprocess(images, name)
        else:
            assert preprocess(images, name).shape == images.shape


def test_an_unknown_rule_suggests_the_nearest():
    """`lecunn` is answered by `lecun`."""
    with pytest.raises(UnknownName, match="did you mean lecun"):
        preprocess(jnp.zeros((1, 2, 2, 1), jnp.uint8), "lecunn")


# ------------------------------------------------------------------------------------------------ standardization


def per_image_standardization(images: np.ndarray) -> np.ndarray:
    """TensorFlow's formula on values in [0, 255], in float64: (x - mean) / max(deviation, 1 / sqrt(values))."""
    values = images.astype(np.float64).reshape(len(images), -1)
    deviation = np.maximum(values.std(axis=1), 1 / np.sqrt(values.shape[1]))
    return ((values - values.mean(axis=1)[:, None]) / deviation[:, None]).reshape(images.shape)


standardized = jax.jit(lambda images: preprocess(images, "standardized"))


@given(st.integers(0, 2**16), st.integers(0, 255), st.integers(0, 104))
def test_images_are_standardized_each_for_itself(seed: int, constant: int, where: int):
    """Each image by its own mean and deviation over all pixels and channels; in a constant image, and in one with a
    single other value, the deviation is the smallest that counts."""
    images = np.random.default_rng(seed).integers(0, 256, (3, 7, 5, 3), np.uint8)
    images[1:] = constant
    images[2].reshape(-1)[where] ^= 1
    found = standardized(jnp.asarray(images))
    assert (found.dtype, found.shape) == (jnp.float32, images.shape)
    expected = per_image_standardization(images)
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)  # means of 105 float32, divided by about .3
    # The same mean, off by up to 2e-6, divided by the smallest deviation that counts, 1 / (255 sqrt(105)).
    np.testing.assert_allclose(found[1:], expected[1:], atol=5e-3)


def test_standardized_images_have_mean_0_and_deviation_1():
    """Random photographs of CIFAR's size: the defining property, whatever their brightness and contrast."""
    random = np.random.default_rng(0)
    images = random.normal(random.uniform(60, 200, (8, 1, 1, 1)), random.uniform(3, 50, (8, 1, 1, 1)), (8, 32, 32, 3))
    found = np.asarray(standardized(jnp.asarray(images.clip(0, 255), jnp.uint8)), np.float64)
    # sums of 3,072 float32 of size 1, whose rounding errors mostly cancel
    np.testing.assert_allclose(found.mean(axis=(1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), 1, atol=1e-5)
