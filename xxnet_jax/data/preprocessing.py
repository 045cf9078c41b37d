"""From 8-bit images to network inputs, on the device, inside the compiled step."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xxnet_jax.errors import InvalidArgument, UnknownName


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


def preprocess(images: jax.Array, name: str) -> jax.Array:
    """uint8 images [..., height, width, channels] as float32 inputs by the rule `name` of `PREPROCESSING`.

    Raises:
        ValueError: unknown rule.
    """
    if name not in PREPROCESSING:
        raise UnknownName("preprocessing", name, PREPROCESSING)
    return PREPROCESSING[name](images.astype(jnp.float32) / 255)
