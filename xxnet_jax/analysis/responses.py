"""Class probabilities and activations of images as they are stored."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from xxnet_jax.errors import UnknownName
from xxnet_jax.models import Network, observe

Inputs = Callable[[jax.Array], jax.Array]  # uint8 images -> inputs of a network
Responses = Callable[[Any, Any], tuple[jax.Array, dict[str, jax.Array]]]


def responses(model: Network, endpoints: tuple[str, ...], inputs: Inputs) -> Responses:
    """`(variables, images) -> class probabilities [images, classes], {endpoint: activation}`, compiled; nothing else is
    computed.

    Args:
        model: a classifier of the zoo.
        endpoints: names of `xxnet_jax.endpoints`.
        inputs: from uint8 images to those of the network.

    Raises:
        ValueError: when it is called, and there is no such endpoint.
    """
    return _compiled(model, endpoints, inputs)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=8)
def _compiled(model: Network, endpoints: tuple[str, ...], inputs: Inputs) -> Responses:
    @jax.jit
    def respond(variables: Any, images: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        logits, inside = observe(model, variables, inputs(images))
        found = inside["endpoints"]
        for name in endpoints:
            if name not in found:
                raise UnknownName("endpoint", name, found)
        return jax.nn.softmax(logits), {name: found[name] for name in endpoints}

    return respond  # type: ignore[return-value]
