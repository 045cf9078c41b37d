"""From 8-bit images to network inputs, on the device, inside the compiled step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.data.statistics import Statistics
from xxnet_jax.errors import InvalidArgument, UnknownName

WHITENING_FLOOR = 0.1  # added to variances: small ones are noise (Goodfellow et al., Maxout Networks, 2013)


def standardize(images: jax.Array) -> jax.Array:
    """Images [..., height, width, channels] with values in [0, 1], each with mean 0 and standard deviation 1.

    TensorFlow's per-image standardization: of values in [0, 255], a deviation below 1 / sqrt(values) counts as that.
    """
    axes = (-3, -2, -1)
    smallest = 1 / (255 * math.sqrt(math.prod(images.shape[-3:])))
    mean = jnp.mean(images, axes, keepdims=True)
    return (images - mean) / jnp.maximum(jnp.std(images, axes, keepdims=True), smallest)


def _channels(images: jax.Array, *values: float) -> jax.Array:
    if images.shape[-1] != len(values):
        raise InvalidArgument(
            f"this preprocessing is for images with {len(values)} channels, got {images.shape[-1]}: give another "
            f"--preprocessing ({', '.join(PREPROCESSING)})"
        )
    return jnp.asarray(values, images.dtype).reshape(*[1] * (images.ndim - 1), -1)


# name: function of pixels already scaled to [0, 1]
PREPROCESSING: dict[str, Callable[[jax.Array], jax.Array]] = {
    "unit": lambda x: x,
    # LeCun et al., 1998, section II.B: background -0.1, foreground 1.175, so that mean and variance are about 0 and 1.
    "lecun": lambda x: 1.275 * x - 0.1,
    "standardized": standardize,
    # Of published weights, for RGB images. The mean colour of ImageNet's training images, in Caffe's order BGR (VGG):
    "caffe": lambda x: (255 * x - _channels(x, 123.68, 116.779, 103.939))[..., ::-1],
    # from -1 to 1 (the Inceptions of TensorFlow):
    "tf": lambda x: 2 * x - 1,
    # mean and standard deviation of ImageNet's colours (PyTorch):
    "torch": lambda x: (x - _channels(x, 0.485, 0.456, 0.406)) / _channels(x, 0.229, 0.224, 0.225),
}


def _whitened(x: jax.Array, statistics: Statistics) -> jax.Array:
    """Coordinates of the standardized images along the principal components, each with variance 1."""
    center = statistics.standardized_mean.reshape(*[1] * (x.ndim - 3), -1)
    flat = standardize(x).reshape(*x.shape[:-3], -1) - center
    return flat @ (statistics.directions / np.sqrt(statistics.variances + WHITENING_FLOOR))


# name: function of pixels scaled to [0, 1] and of the statistics of the training images
FITTED: dict[str, Callable[[jax.Array, Statistics], jax.Array]] = {
    # Huang et al., Densely Connected Convolutional Networks, 2017, section 4.1: by channel.
    "channels": lambda x, s: (x - _channels(x, *s.channel_mean)) / _channels(x, *s.channel_std),
    # He et al., Deep Residual Learning, 2015, section 4.2: "with the per-pixel mean subtracted".
    "pixel_mean": lambda x, s: x - s.mean[(None,) * (x.ndim - 3)],
    # Decorrelated; PCA leaves no image, ZCA turns back to the image that is nearest (Bell and Sejnowski, 1997).
    "pca": lambda x, s: _whitened(x, s).reshape(x.shape),
    "zca": lambda x, s: (_whitened(x, s) @ s.directions.T).reshape(x.shape),
}
WHITENING = ("pca", "zca")
BY_PIXEL = ("pixel_mean", *WHITENING)  # for images of one size


def check_preprocessing(name: str) -> None:
    """Refuse a name that is in neither table."""
    if name not in (known := [*PREPROCESSING, *FITTED]):
        raise UnknownName("preprocessing", name, known)


def unit_values(images: jax.Array) -> jax.Array:
    """uint8 images as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def preprocess(images: jax.Array, name: str, statistics: Statistics | None = None) -> jax.Array:
    """Images [..., height, width, channels], uint8 or float32 in [0, 1], as float32 inputs.

    Args:
        images: as said.
        name: a rule of `PREPROCESSING` or `FITTED`.
        statistics: of the training images, for a rule of `FITTED`.

    Raises:
        ValueError: unknown rule, one of `FITTED` without statistics, or with those of images of another size.
    """
    check_preprocessing(name)
    values = unit_values(images) if images.dtype == jnp.uint8 else images
    if name in PREPROCESSING:
        return PREPROCESSING[name](values)
    if statistics is None:
        raise InvalidArgument(
            f"the preprocessing '{name}' needs statistics of the training images: see image_statistics"
        )
    if name in BY_PIXEL and images.shape[-3:] != statistics.mean.shape:
        raise InvalidArgument(
            f"the preprocessing '{name}' is for images of {statistics.mean.shape}, the training images' size, got "
            f"{images.shape[-3:]}"
        )
    return FITTED[name](values, statistics)
