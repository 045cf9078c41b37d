"""Images as the networks saw them for which weights are published."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.data.images import central_square, fit_image, with_channels
from xxnet_jax.data.preprocessing import preprocess as to_inputs
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import ModelInfo, model_info
from xxnet_jax.pretrained.manifest import manifest

# Where nobody says how images were cut: the part of the shorter side that the Inceptions' evaluation keeps.
CENTRAL_FRACTION = 0.875
IMAGENET_CLASSES = (1000, 1001)  # without the background and with it


def preprocess(
    images: Sequence[np.ndarray], name: str, weights: str = "imagenet", colours: str | None = None
) -> jax.Array:
    """Photographs as inputs of a network.

    torchvision scales the shorter side (256 for a network of 224) and cuts the central square, Keras squeezes the whole
    image to the square (as in the notes' example); colours follow `ModelInfo.preprocessing`. For networks of ImageNet
    without published weights the square is cut from a shorter side of its size / .875; others get the whole image.

    Args:
        images: uint8 [height, width, channels], each of any size.
        name: of the registered network.
        weights: "imagenet", or "imagenet_v2".
        colours: a name of `xxnet_jax.data.PREPROCESSING`; by default the network's.

    Returns:
        float32 [images, height, width, channels].

    Raises:
        ValueError: unknown name, no image, or one that is not uint8.
    """
    return to_inputs(jnp.asarray(fitted(images, name, weights)), colours or model_info(name).preprocessing)


def fitted(images: Sequence[np.ndarray], name: str, weights: str = "imagenet") -> np.ndarray:
    """The part of `preprocess` that comes before the colours: uint8 [images, height, width, channels].

    Args and Raises: as `preprocess`.
    """
    info = model_info(name)
    if not len(images):
        raise InvalidArgument("there is no image to preprocess")
    wrong = [str(image.dtype) for image in images if image.dtype != np.uint8 or image.ndim != 3]
    if wrong:
        raise InvalidArgument(f"expected images of uint8 [height, width, channels], got one of {wrong[0]}")
    fit = _fit(info, weights)
    return np.stack([fit(with_channels(image, info.input_shape[-1])) for image in images])


def _fit(info: ModelInfo, weights: str) -> Callable[[np.ndarray], np.ndarray]:
    """From any size to that of the network."""
    height, width, _ = info.input_shape
    row = next((row for row in manifest() if (row.model, row.weights) == (info.name, weights)), None)
    if row is not None and row.shorter_side is not None:
        rule = {"shorter_side": row.shorter_side, "interpolation": row.interpolation}
    elif row is None and info.num_classes in IMAGENET_CLASSES:
        rule = {"shorter_side": round(height / CENTRAL_FRACTION)}
    else:
        return functools.partial(fit_image, height=height, width=width)
    return functools.partial(central_square, size=height, **rule)
