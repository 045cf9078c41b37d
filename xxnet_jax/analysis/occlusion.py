"""What a network looks at: its answer while a grey square covers one part of the image after another.

Zeiler, Fergus: Visualizing and Understanding Convolutional Networks (2013, arXiv 1311.2901), section 4.2 and Figure 7.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from xxnet_jax.analysis.responses import Inputs, responses
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network


@dataclass(frozen=True)
class Occluder:
    """A grey square that is moved over an image.

    Attributes:
        size: its side in pixels; at the borders it reaches over the image.
        stride: pixels between two places of its centre, the first of which is the first pixel.
        grey: its value.

    Raises:
        ValueError: size or stride is below 1, or the grey is not in 0..255.
    """

    size: int
    stride: int
    grey: int = 128

    def __post_init__(self) -> None:
        if self.size < 1 or self.stride < 1 or not 0 <= self.grey <= 255:
            raise InvalidArgument(
                f"expected a size and a stride of at least 1 and a grey of 0 to 255, got {self.size}, {self.stride} "
                f"and {self.grey}"
            )

    def centres(self, side: int) -> np.ndarray:
        """Rows or columns of the centre along a side of the image, int [places]."""
        return np.arange(0, side, self.stride)

    def cover(self, image: np.ndarray, row: int, column: int) -> np.ndarray:
        """The image, uint8 [height, width, channels], with the square around a pixel."""
        covered = image.copy()
        top, left = (centre - self.size // 2 for centre in (row, column))
        covered[max(top, 0) : max(top + self.size, 0), max(left, 0) : max(left + self.size, 0)] = self.grey
        return covered


class Occlusion(NamedTuple):
    """At each place of the centre of the square, [rows, columns].

    Attributes:
        probability: of the class, float32.
        predicted: the likeliest class, int64.
        activity: sum of the feature map, float32.
        feature: which one that is.
    """

    probability: np.ndarray
    predicted: np.ndarray
    activity: np.ndarray
    feature: int


def occlusion(
    model: Network,
    variables: Any,
    image: np.ndarray,
    label: int,
    occluder: Occluder,
    endpoint: str,
    *,
    feature: int | None = None,
    inputs: Inputs,
    batch_size: int = 32,
    watch: Callable[[Iterable[np.ndarray]], Iterable[np.ndarray]] = iter,
) -> Occlusion:
    """Cover one part of an image after another (Figure 7).

    Args:
        model: a classifier of the zoo.
        variables: of it.
        image: uint8 [height, width, channels].
        label: the class whose probability is asked for.
        occluder: the square.
        endpoint: whose feature map is summed, one with rows and columns.
        feature: which map; by default the one with the greatest sum where nothing is covered.
        inputs: from uint8 images to those of the network.
        batch_size: images that are looked at together.
        watch: put around the batches of places, such as a progress bar.

    Raises:
        ValueError: the endpoint or the feature is not there, or the endpoint has no maps.
    """
    height, width = image.shape[:2]
    rows, columns = occluder.centres(height), occluder.centres(width)
    respond = responses(model, (endpoint,), inputs)
    sums = _sums(respond(variables, image[None])[1][endpoint], endpoint)
    if feature is None:
        feature = int(sums[0].argmax())
    if not 0 <= feature < sums.shape[-1]:
        raise InvalidArgument(f"{endpoint} has the features 0 to {sums.shape[-1] - 1}, there is no {feature}")
    places = np.stack(np.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)
    probabilities, activities = [], []
    for batch in watch(_batches(places, batch_size)):
        probability, found = respond(variables, np.stack([occluder.cover(image, *place) for place in batch]))
        probabilities.append(np.asarray(probability))
        activities.append(_sums(found[endpoint], endpoint)[:, feature])
    shape = (len(rows), len(columns))
    probability, activity = (
        np.concatenate(parts)[: len(places)].reshape(*shape, -1) for parts in (probabilities, activities)
    )
    return Occlusion(probability[..., label], probability.argmax(-1), activity[..., 0], feature)


def _sums(activation: Any, endpoint: str) -> np.ndarray:
    """Of the maps, float32 [images, features]."""
    if activation.ndim != 4:
        raise InvalidArgument(f"{endpoint} has no feature maps, but {activation.shape[1:]}: name an earlier endpoint")
    return np.asarray(activation.sum((1, 2)), np.float32)


def _batches(places: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """All of the same size, so that one shape is compiled; the last is filled up with its last place."""
    size = min(size, len(places))
    for first in range(0, len(places), size):
        batch = places[first : first + size]
        yield np.pad(batch, ((0, size - len(batch)), (0, 0)), mode="edge")
