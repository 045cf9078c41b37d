"""Activations of pretrained networks as descriptors of images."""

import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.data.images import IMAGE_SUFFIXES, padded, read_image, squares
from xxnet_jax.data.preprocessing import preprocess as to_inputs
from xxnet_jax.errors import InvalidArgument, MissingData, UnknownName
from xxnet_jax.files import write_npz
from xxnet_jax.models import Network, model_info
from xxnet_jax.models.layers import Pooling
from xxnet_jax.pretrained.network import load_network

Combine = Literal["concatenate", "average"]
TINY = 1e-12  # a descriptor of zeros stays one


class FeatureExtractor:
    """From images to an activation of a network, pooled or as a map.

    Args:
        name: a registered network.
        source: of its weights, as in `load_weights`.
        endpoint: name of the activation, such as "block4_pool" or "fc2"; None: the last feature map.
        pooling: "avg" or "max" over the map; None: the map itself.
        normalize: divide what belongs to an image by its Euclidean norm.
        **knobs: as in `create_model`.

    Raises:
        As `load_weights`; ValueError: there is no such endpoint.
    """

    def __init__(
        self,
        name: str,
        source: str | Path,
        *,
        endpoint: str | None = None,
        pooling: Pooling = "avg",
        normalize: bool = False,
        **knobs: Any,
    ):
        self._network = load_network(name, source, num_classes=None, **knobs)
        if endpoint is not None and not _is_feature(self._network.model, endpoint, name):
            self._network = load_network(name, source, **knobs)  # of the classifier, such as "fc2"
        self._model = self._network.model.clone(final_endpoint=endpoint)
        self._pooling: Pooling = pooling
        self._normalize = normalize
        self.channels = model_info(name).input_shape[-1]

    def __call__(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [images, features], or [images, height, width, features], of uint8 images of any size."""
        return np.asarray(self._apply(self._network.variables, self._network.inputs(images)))

    def batches(self, files: Sequence[Path], batch_size: int) -> Iterator[np.ndarray]:
        """The features of image files, a batch at a time; the last batch is as large as the others while it is made.

        Raises:
            FileNotFoundError, ValueError: a file is not there, or no image.
        """
        for first in range(0, len(files), batch_size):
            batch = [read_image(path, self.channels) for path in files[first : first + batch_size]]
            yield self(padded(batch, min(batch_size, len(files))))[: len(batch)]

    def dense(
        self, images: Sequence[np.ndarray], scales: Sequence[int], *, combine: Combine = "concatenate"
    ) -> np.ndarray:
        """Descriptors as the VGG paper makes them for other datasets (appendix B): multi-scale and multi-position.

        At each scale the shorter side of the image is that long; the network sees the squares at the beginning, in the
        middle and at the end of the longer side, each also mirrored; features are averaged over all of their positions
        and divided by their norm. Then the scales are put side by side, or averaged, and normalized again.

        Args:
            images: uint8 [height, width, channels], each of any size.
            scales: in pixels, such as (256, 384, 512).
            combine: "concatenate" or "average".

        Returns:
            float32 [images, features], or [images, scales x features].

        Raises:
            ValueError: no scale, an unknown way to combine them, or features without pooling.
        """
        if not scales or self._pooling is None:
            raise InvalidArgument("dense descriptors need at least one scale, and pooling")
        if combine not in ("concatenate", "average"):
            raise UnknownName("way to combine scales", combine, ("concatenate", "average"))
        descriptors = []
        for scale in scales:
            cut = np.stack([square for image in images for square in squares(image, scale)])
            both = [self._apply(self._network.variables, self._colours(x)) for x in (cut, cut[:, :, ::-1])]
            mean = np.mean([np.asarray(found) for found in both], axis=0)
            descriptors.append(_unit(mean.reshape(len(images), -1, mean.shape[-1]).mean(axis=1)))
        joined = np.concatenate(descriptors, axis=-1) if combine == "concatenate" else np.mean(descriptors, axis=0)
        return _unit(joined)

    def _colours(self, images: np.ndarray) -> jax.Array:
        return to_inputs(jnp.asarray(images), self._network.preprocessing)

    @functools.cached_property
    def _apply(self) -> Callable[..., jax.Array]:
        def features(variables: Any, images: jax.Array) -> jax.Array:
            x: Any = self._model.apply(variables, images, train=False)
            x = x.astype(jnp.float32)
            if x.ndim == 4 and self._pooling is not None:
                x = x.mean(axis=(1, 2)) if self._pooling == "avg" else x.max(axis=(1, 2))
            if self._normalize:
                norm = jnp.sqrt(jnp.sum(x * x, axis=tuple(range(1, x.ndim)), keepdims=True))
                x = x / jnp.maximum(norm, TINY)
            return x

        return jax.jit(features)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), TINY)


def _is_feature(model: Network, endpoint: str, name: str) -> bool:
    images = jax.ShapeDtypeStruct((1, *model_info(name).input_shape), jnp.float32)
    probe = model.clone(final_endpoint=endpoint)
    try:
        jax.eval_shape(lambda x: probe.init(jax.random.key(0), x, train=False), images)
    except UnknownName:
        return False
    return True


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, by name.

    Raises:
        FileNotFoundError: there is no folder, or no image in it.
    """
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise MissingData(f"there are no images in {folder}; known kinds: {', '.join(sorted(IMAGE_SUFFIXES))}")
    return files


def write_features(out: Path, folder: Path, files: Sequence[Path], features: Sequence[np.ndarray]) -> tuple[int, ...]:
    """Write features, paths, labels and classes as .npz; the labels are the folders that the images lie in.

    Args:
        out: the file; it is there as a whole or not at all.
        folder: of the images.
        files: of the images.
        features: batches of them.

    Returns:
        The shape of all.
    """
    joined = np.concatenate(features)
    owners = [path.relative_to(folder).parent.as_posix() for path in files]
    classes = sorted(set(owners) - {"."})
    arrays: dict[str, Any] = {
        "features": joined,
        "paths": np.array([path.relative_to(folder).as_posix() for path in files]),
        "labels": np.array([classes.index(owner) if owner in classes else -1 for owner in owners], np.int32),
        "classes": np.array(classes, str),
    }
    write_npz(out, **arrays)
    return joined.shape
