"""What preprocessing takes from the training images: means, deviations, principal components."""

import functools
import io
import itertools
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from xxnet_jax.errors import CorruptData, InvalidArgument, MissingData
from xxnet_jax.files import write_npz

WHITENED_VALUES = 8192  # of an image, at most: the matrix that whitens has the square of it
_CHUNK = 1000


@dataclass(frozen=True, eq=False)
class Statistics:
    """Of images with values in [0, 1].

    Attributes:
        images: how many.
        mean: the mean image, float32 [height, width, channels].
        channel_mean: of each channel, float32 [channels].
        channel_covariance: over all pixels of all images, float32 [channels, channels].
        standardized_mean: the mean of the images after each was standardized, float32 [height * width * channels];
            empty unless wanted.
        directions: the principal components of those, one a column, the largest variance first, float32 [values,
            values].
        variances: along them, float32 [values].
    """

    images: int
    mean: np.ndarray
    channel_mean: np.ndarray
    channel_covariance: np.ndarray
    standardized_mean: np.ndarray
    directions: np.ndarray
    variances: np.ndarray

    @property
    def channel_std(self) -> np.ndarray:
        """Standard deviation of each channel, float32 [channels]."""
        return np.sqrt(np.diag(self.channel_covariance))

    @property
    def whitens(self) -> bool:
        """Whether it has the principal components."""
        return self.variances.size > 0

    def save(self, path: Path) -> None:
        """Write a .npz file.

        Raises:
            OSError: it could not be written.
        """
        write_npz(path, **vars(self))

    @classmethod
    def load(cls, path: Path) -> "Statistics":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is another file, or damaged.
        """
        try:
            content = path.read_bytes()
        except FileNotFoundError as error:
            raise MissingData(f"no statistics in {path}") from error
        try:
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                values = {item.name: arrays[item.name] for item in fields(cls)}
        except (zipfile.BadZipFile, KeyError, ValueError, EOFError, OSError) as error:
            raise CorruptData(f"cannot read the statistics in {path}: {error}") from error
        return cls(int(values.pop("images")), **values)


def image_statistics(images: Iterable[np.ndarray], *, whiten: bool = False) -> Statistics:
    """One pass over uint8 images [height, width, channels], all of one size; sums are float64.

    Args:
        images: at least one.
        whiten: also the principal components of the images, each standardized before (mean 0, deviation 1), as is
            usual: "global contrast normalization" (Goodfellow et al., Maxout Networks, 2013, for CIFAR-10).

    Raises:
        ValueError: there is no image, they differ in size, or they are too large to be whitened.
    """
    count = 0
    shape: tuple[int, ...] = ()
    total = squares = products = standardized_total = np.zeros(())  # each takes its shape from what is added
    for chunk in _chunks(images):
        values = chunk.astype(np.float32) / 255
        shape = shape or chunk.shape[1:]
        if chunk.shape[1:] != shape:
            raise InvalidArgument(f"images of {shape} and {chunk.shape[1:]}: statistics are of images of one size")
        count += len(chunk)
        total = total + values.sum(0, dtype=np.float64)
        pixels = values.reshape(-1, shape[-1]).astype(np.float64)
        squares = squares + pixels.T @ pixels
        if whiten:
            flat = _standardized(values).reshape(len(values), -1)
            if flat.shape[1] > WHITENED_VALUES:
                raise InvalidArgument(
                    f"images of {shape} have {flat.shape[1]:,} values, too many to be whitened (at most "
                    f"{WHITENED_VALUES:,}): take smaller images or another preprocessing"
                )
            standardized_total = standardized_total + flat.sum(0, dtype=np.float64)
            products = products + (flat.T @ flat).astype(np.float64)
    if count == 0:
        raise InvalidArgument("statistics of no image: the split is empty")
    mean = total / count  # [height, width, channels]
    channel_mean = mean.mean((0, 1))
    covariance = squares / (count * mean[..., 0].size) - np.outer(channel_mean, channel_mean)
    found = [mean, channel_mean, covariance]
    if whiten:
        center = standardized_total / count
        variances, directions = np.linalg.eigh(products / count - np.outer(center, center))
        found += [center, directions[:, ::-1], np.maximum(variances[::-1], 0)]
    else:
        found += [np.zeros(0), np.zeros((0, 0)), np.zeros(0)]
    return Statistics(count, *(array.astype(np.float32) for array in found))


def _chunks(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    iterator = iter(images)
    for chunk in iter(lambda: list(itertools.islice(iterator, _CHUNK)), []):
        shapes = {image.shape for image in chunk}
        if len(shapes) > 1:
            raise InvalidArgument(f"images of the sizes {sorted(shapes)}: statistics are of images of one size")
        yield np.stack(chunk)


@functools.partial(np.vectorize, signature="(h,w,c)->(h,w,c)")
def _standardized(image: np.ndarray) -> np.ndarray:
    """As `preprocessing.standardize`, on the host."""
    smallest = 1 / (255 * np.sqrt(image.size))
    return (image - image.mean()) / max(image.std(), smallest)
