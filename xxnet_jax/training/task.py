"""What runs differ in by what their networks are for: the rest of `run` is the same for all."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import flax.linen as nn

from xxnet_jax.data import Decoder, Loader, Source
from xxnet_jax.data.source import Task as TaskName
from xxnet_jax.losses import Batch, LossFn
from xxnet_jax.training.dispatch import InputFn
from xxnet_jax.training.evaluation import Evaluate
from xxnet_jax.training.folder import RunConfig
from xxnet_jax.training.recipe import Recipe


def images_alone(batch: Batch) -> dict[str, Any]:
    """Nothing: the network is called with the images of the batch."""
    del batch
    return {}


@dataclass(frozen=True)
class Task:
    """What a run is about.

    Attributes:
        recipe: its kind of recipe, whose `task` says what examples of a source are for.
        ranked_by: the figure of evaluations by which the best checkpoint is chosen, the higher the better.
        resolve: `(recipe, source) -> config`, what the recipe leaves to the network and the dataset.
        decoder: `config -> decoder` of training examples; it decodes others, too.
        model: `config -> network`.
        loss: `recipe -> loss function` of training.
        inputs: `(loader, config) -> input function` of training.
        evaluator: `(config, network, source, split, *, decoder, mesh) -> evaluate`.
        arguments: `batch -> keywords` that the network is called with in training, beside the images.
    """

    recipe: type[Recipe]
    ranked_by: str
    resolve: Callable[[Any, Source], RunConfig]
    decoder: Callable[[RunConfig], Decoder]
    model: Callable[[RunConfig], nn.Module]
    loss: Callable[[Any], LossFn]
    inputs: Callable[[Loader, RunConfig], InputFn]
    evaluator: Callable[..., Evaluate]
    arguments: Callable[[Batch], dict[str, Any]] = images_alone

    @property
    def name(self) -> TaskName:
        return self.recipe.task
