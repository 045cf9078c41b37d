"""Which pixels speak for a class: saliency, guided backpropagation, Grad-CAM."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from xxnet_jax.analysis.backward import Rule, check_endpoint, network_with_rule
from xxnet_jax.analysis.program import OUTPUT
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network


def saliency(model: Network, variables: Any, images: jax.Array, classes: jax.Array | None = None) -> jax.Array:
    """How much each pixel matters to a class: the largest |d logit / d pixel| of its channels.

    Simonyan, Vedaldi, Zisserman, Deep Inside Convolutional Networks, 2013, section 3.

    Args:
        model: a classifier.
        variables: of it.
        images: float32 [batch, height, width, channels].
        classes: int [batch]; by default the predicted ones.

    Returns:
        float32 [batch, height, width].
    """
    return jnp.abs(_backward_from_class(model, variables, images, classes, "gradient")).max(-1)


def guided_backpropagation(
    model: Network, variables: Any, images: jax.Array, classes: jax.Array | None = None
) -> jax.Array:
    """The gradient of a class, of which ReLUs let pass only what is positive, forth and back.

    Springenberg, Dosovitskiy, Brox, Riedmiller, Striving for Simplicity: The All Convolutional Net, 2014, section 3.4.

    Args:
        As `saliency`.

    Returns:
        float32 [batch, height, width, channels].
    """
    return _backward_from_class(model, variables, images, classes, "guided")


def grad_cam(
    model: Network,
    variables: Any,
    images: jax.Array,
    endpoint: str | None = None,
    classes: jax.Array | None = None,
) -> jax.Array:
    """Where a class is seen: a map's features, weighted by the mean gradients of the class, and of their sum what is
    positive, enlarged to the size of the images.

    Selvaraju et al., Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization, 2017, equations
    1 and 2.

    Args:
        model, variables, images, classes: as in `saliency`.
        endpoint: whose map; by default the last one that has several pixels.

    Returns:
        float32 [batch, height, width], at most 1 in each image; all 0 where no feature speaks for the class.

    Raises:
        ValueError: unknown endpoint, or one without pixels.
    """
    compute = _grad_cam(model, images.shape, endpoint)  # type: ignore[arg-type]
    return compute(variables, images, _classes(model, variables, images, classes))


def last_map(shapes: dict[str, tuple[int, ...]]) -> str:
    """The last endpoint that has several pixels.

    Raises:
        ValueError: there is none.
    """
    maps = [name for name, shape in shapes.items() if len(shape) == 4 and shape[1] * shape[2] > 1 and name != OUTPUT]
    if not maps:
        raise InvalidArgument("the network has no map of several pixels: give larger images")
    return maps[-1]


def _classes(model: Network, variables: Any, images: jax.Array, classes: jax.Array | None) -> jax.Array:
    if classes is not None:
        return jnp.asarray(classes)
    return _predicted(model)(variables, images)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def _predicted(model: Network) -> Callable[..., jax.Array]:
    return jax.jit(lambda variables, images: model.apply(variables, images, train=False).argmax(-1))  # type: ignore[union-attr]


def _backward_from_class(
    model: Network, variables: Any, images: jax.Array, classes: jax.Array | None, rule: Rule
) -> jax.Array:
    compute = _from_class(model, images.shape, rule)  # type: ignore[arg-type]
    return compute(variables, images, _classes(model, variables, images, classes))


@functools.lru_cache(maxsize=8)
def _from_class(model: Network, shape: tuple[int, ...], rule: Rule) -> Callable[..., jax.Array]:
    batch_size, height, width, channels = shape
    activations = network_with_rule(model, (height, width, channels), batch_size, rule)

    def score(images: jax.Array, variables: Any, classes: jax.Array) -> jax.Array:
        return _scores(activations(variables, images)[OUTPUT], classes).sum()

    return jax.jit(lambda variables, images, classes: jax.grad(score)(images, variables, classes))


@functools.lru_cache(maxsize=8)
def _grad_cam(model: Network, shape: tuple[int, ...], endpoint: str | None) -> Callable[..., jax.Array]:
    batch_size, height, width, channels = shape
    activations = network_with_rule(model, (height, width, channels), batch_size)

    def compute(variables: Any, images: jax.Array, classes: jax.Array) -> jax.Array:
        shapes = {name: x.shape for name, x in jax.eval_shape(activations, variables, images).items()}
        name = last_map(shapes) if endpoint is None else endpoint
        check_endpoint(name, shapes)
        if len(shapes[name]) != 4:
            raise InvalidArgument(f"{name} is no map, its shape is {shapes[name]}; the last map is {last_map(shapes)}")

        def score(added: jax.Array) -> tuple[jax.Array, jax.Array]:
            found = activations(variables, images, {name: added})
            return _scores(found[OUTPUT], classes).sum(), found[name]

        gradient, features = jax.grad(score, has_aux=True)(jnp.zeros(shapes[name]))
        weights = gradient.mean((1, 2), keepdims=True)
        maps = jax.nn.relu((weights * features).sum(-1))
        maps = jax.image.resize(maps, (batch_size, height, width), "bilinear")
        largest = maps.max((1, 2), keepdims=True)
        return maps / jnp.where(largest > 0, largest, 1)

    return jax.jit(compute)


def _scores(logits: jax.Array, classes: jax.Array) -> jax.Array:
    """Of each image, that of its class."""
    return jnp.take_along_axis(logits, classes[:, None], axis=1)
