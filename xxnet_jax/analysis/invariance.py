"""How features and answers of a network change while its image is moved, enlarged or turned.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (2013, arXiv 1311.2901), section 4.1, "Feature
Invariance", and Figure 5.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.analysis.responses import Inputs, responses
from xxnet_jax.models import Network

Transform = Callable[[np.ndarray, float], np.ndarray]  # uint8 [height, width, channels], by an amount


class Invariance(NamedTuple):
    """How much changes.

    Attributes:
        distances: endpoint -> Euclidean distance between the features of the image and of the transformed one,
            float32 [amounts, images].
        probability: of the class of each image, float32 [amounts, images].
    """

    distances: dict[str, np.ndarray]
    probability: np.ndarray


def invariance(
    model: Network,
    variables: Any,
    images: np.ndarray,
    labels: Sequence[int],
    transform: Transform,
    amounts: Sequence[float],
    endpoints: Sequence[str],
    *,
    inputs: Inputs,
    watch: Callable[[Iterable[float]], Iterable[float]] = iter,
) -> Invariance:
    """Compare the features of images with those of the images transformed by each amount (Figure 5).

    Args:
        model: a classifier of the zoo.
        variables: of it.
        images: uint8 [images, height, width, channels].
        labels: the class of each image.
        transform: such as `translate`.
        amounts: of it.
        endpoints: names of `xxnet_jax.endpoints`.
        inputs: from uint8 images to those of the network.
        watch: put around the amounts, such as a progress bar.

    Raises:
        ValueError: there is no such endpoint.
    """
    respond = responses(model, tuple(endpoints), inputs)
    _, originals = respond(variables, images)
    found: list[dict[str, jax.Array]] = []
    probabilities: list[np.ndarray] = []
    for amount in watch(amounts):
        probability, features = respond(variables, np.stack([transform(image, amount) for image in images]))
        found.append(_distances(originals, features))
        probabilities.append(np.asarray(probability)[np.arange(len(images)), list(labels)])
    distances = {name: np.stack([np.asarray(each[name]) for each in found]) for name in endpoints}
    return Invariance(distances, np.stack(probabilities))


@jax.jit
def _distances(features: dict[str, jax.Array], others: dict[str, jax.Array]) -> dict[str, jax.Array]:
    return {
        name: jnp.sqrt(jnp.square(value - others[name]).sum(range(1, value.ndim))) for name, value in features.items()
    }


def translate(image: np.ndarray, amount: float) -> np.ndarray:
    """The image, uint8 [height, width, channels], moved down by an amount of pixels."""
    return _resampled(image, np.eye(2), (amount, 0.0))


def scale(image: np.ndarray, amount: float) -> np.ndarray:
    """The image, uint8 [height, width, channels], enlarged by a factor about its centre."""
    return _resampled(image, np.eye(2) / amount)


def rotate(image: np.ndarray, amount: float) -> np.ndarray:
    """The image, uint8 [height, width, channels], turned counterclockwise by an amount of degrees about its centre."""
    angle = math.radians(amount)
    cosine, sine = math.cos(angle), math.sin(angle)
    return _resampled(image, np.array([[cosine, sine], [-sine, cosine]]))


def _resampled(image: np.ndarray, matrix: np.ndarray, moved: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    """Each pixel from where the matrix takes it, about the centre; what lies outside is as the nearest border."""
    height, width = image.shape[:2]
    centre = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1)
    places = (grid - centre - moved) @ matrix.T + centre
    values = _interpolated(image, places.astype(np.float32))
    return np.rint(np.asarray(values)).astype(np.uint8)


@jax.jit
def _interpolated(image: jax.Array, places: jax.Array) -> jax.Array:
    """Values between the pixels [height, width, channels], at rows and columns [..., 2], linear."""
    at = jax.vmap(
        lambda plane: jax.scipy.ndimage.map_coordinates(
            plane, [places[..., 0], places[..., 1]], order=1, mode="nearest"
        ),
        in_axes=-1,
        out_axes=-1,
    )
    return at(image.astype(jnp.float32))
