"""A network with published weights, ready for photographs."""

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np

from xxnet_jax.data.preprocessing import preprocess as to_inputs
from xxnet_jax.models import Network, create_model, model_info
from xxnet_jax.pretrained.classes import BACKGROUND, imagenet_classes
from xxnet_jax.pretrained.conversion import variables_from
from xxnet_jax.pretrained.preprocessing import fitted, preprocess
from xxnet_jax.pretrained.weights import read_source
from xxnet_jax.training.protocols import Classifier


@dataclass(frozen=True)
class PretrainedNetwork:
    """A network with its variables, and what its images need.

    Attributes:
        name: the registered one.
        weights: "imagenet_v2" where images are made as for torchvision's second recipe, else "imagenet".
        preprocessing: of the pixels, a name of `xxnet_jax.data.PREPROCESSING`.
        classes: names, by label; none without a classifier.
        model: the network.
        variables: of it.
    """

    name: str
    weights: str
    preprocessing: str
    classes: tuple[str, ...]
    model: Network
    variables: dict[str, Any]

    def inputs(self, images: Sequence[np.ndarray]) -> jax.Array:
        """Inputs of the network, of uint8 images [height, width, channels] of any size; see `preprocess`."""
        return preprocess(images, self.name, self.weights, self.preprocessing)

    def logits(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """float32 [images, classes]."""
        return np.asarray(self._apply(self.variables, self.inputs(images)))

    def predict(self, images: Sequence[np.ndarray]) -> np.ndarray:
        """Class probabilities, float32 [images, classes]."""
        return np.asarray(jax.nn.softmax(self.logits(images)))

    @functools.cached_property
    def classifier(self) -> Classifier:
        """The network as test protocols take it."""
        return Classifier(
            self.model,
            self.variables,
            lambda images: to_inputs(images, self.preprocessing),
            lambda image: fitted([image], self.name, self.weights)[0],
            model_info(self.name).input_shape,
        )

    @functools.cached_property
    def _apply(self) -> Callable[..., jax.Array]:
        return jax.jit(lambda variables, images: self.model.apply(variables, images, train=False))


def load_network(
    name: str, source: str | Path, *, num_classes: int | Literal["published"] | None = "published", **knobs: Any
) -> PretrainedNetwork:
    """`load_weights` with the network that they are of, and the names of its classes.

    A file of `save_weights` knows its preprocessing and its classes; others are taken to be of ImageNet, if their
    number fits.

    Raises:
        As `load_weights`.
    """
    weights = read_source(name, source)
    names = json.loads(weights.metadata.get("classes", "null"))
    if num_classes == "published" and names:
        num_classes = len(names)
    model = create_model(name, num_classes=num_classes, **knobs)
    return PretrainedNetwork(
        name,
        "imagenet_v2" if source == "imagenet_v2" else "imagenet",
        weights.metadata.get("preprocessing", model_info(name).preprocessing),
        () if num_classes is None else tuple(names or class_names(model.num_classes or 0)),
        model,
        variables_from(weights, name, num_classes, **knobs),
    )


def class_names(number: int) -> tuple[str, ...]:
    """Of ImageNet where there are 1,000, or 1,001 with the background first; else numbers."""
    names = tuple(entry.name for entry in imagenet_classes())
    if number == len(names):
        return names
    if number == len(names) + 1:
        return (BACKGROUND.name, *names)
    return tuple(map(str, range(number)))
