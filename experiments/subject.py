"""A network to look at, wherever it comes from: a run, published weights, or random ones where they are asked for."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from script import open_run

from xxnet_jax.analysis.responses import responses
from xxnet_jax.data import preprocess, read_image
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network, create_model, model_info
from xxnet_jax.pretrained import load_network
from xxnet_jax.pretrained.network import class_names
from xxnet_jax.pretrained.preprocessing import fitted
from xxnet_jax.training import Run

RANDOM = "random"


@dataclass(frozen=True)
class Subject:
    """A network, and what its images need.

    Attributes:
        title: what it is, for people.
        model: the network.
        variables: of it.
        classes: names, by label.
        shape: height, width and channels of the images.
        to_inputs: makes inputs of the network, float32, of uint8 [images, *shape].
        fit: uint8 images of any size -> uint8 [images, *shape].
        run: where it is one.
    """

    title: str
    model: Network
    variables: dict[str, Any]
    classes: Sequence[str]
    shape: tuple[int, int, int]
    to_inputs: Callable[[jax.Array], jax.Array]
    fit: Callable[[Sequence[np.ndarray]], np.ndarray]
    run: Run | None = None

    def pixels(self, paths: Sequence[Path]) -> np.ndarray:
        """Image files as uint8 [images, *shape].

        Raises:
            FileNotFoundError, ValueError: a file is not there, or no image; or there is none at all.
        """
        if not paths:
            raise InvalidArgument("there is no image: give at least one file")
        return self.fit([read_image(path, self.shape[2]) for path in paths])

    def inputs(self, pixels: np.ndarray | jax.Array) -> jax.Array:
        """Inputs of the network, float32, of uint8 [images, *shape]."""
        return self.to_inputs(jnp.asarray(pixels))

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Of the classes, float32 [images, classes], for uint8 [images, *shape]."""
        respond = responses(self.model, (), self.inputs)
        return np.asarray(respond(self.variables, pixels)[0])


def open_subject(name: str, weights: str | None, options: dict[str, Any], step: int | None = None) -> Subject:
    """The network of a run, or a registered one.

    Args:
        name: without `weights` a run folder, or a model: then its last run in runs/; with them a registered network.
        weights: a file, the folder of a run, imagenet, or random.
        options: knobs of the registered network.
        step: of the run's checkpoint; by default the best one.

    Raises:
        FileNotFoundError, ValueError: there is no such network.
    """
    if weights is None:
        return subject_of(open_run(name), step)
    if weights == RANDOM:
        return _random(name, options)
    network = load_network(name, weights, **options)
    return Subject(
        f"{name}, weights {weights}",
        network.model,
        network.variables,
        network.classes,
        model_info(name).input_shape,
        functools.partial(preprocess, name=network.preprocessing),
        lambda images: fitted(images, name, network.weights),
    )


def subject_of(run: Run, step: int | None = None) -> Subject:
    """The network of a run, from one of its checkpoints, by default the best one.

    Raises:
        FileNotFoundError: there is no checkpoint.
    """
    trained = run.load(step)
    config = trained.config
    return Subject(
        f"{run.folder.path}, step {trained.step:,}",
        trained.model,
        trained.variables,
        config.classes,
        config.image_format.shape,
        config.inputs,
        trained.batch,
        run,
    )


def _random(name: str, options: dict[str, Any]) -> Subject:
    info = model_info(name)
    model = create_model(name, **options)
    init = jax.jit(functools.partial(model.init, train=False))  # compiled, nothing but the initializers is left of it
    variables: Any = init(jax.random.key(0), jnp.zeros((1, *info.input_shape)))
    classes = class_names(model.num_classes or 0)
    title = f"{name}, random weights"
    to_inputs = functools.partial(preprocess, name=info.preprocessing)
    return Subject(title, model, variables, classes, info.input_shape, to_inputs, lambda images: fitted(images, name))
