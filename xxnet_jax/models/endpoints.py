"""Activations of a network by their published names."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from xxnet_jax.models.layers import Network


def endpoints(model: Network, variables: Any, images: jax.Array) -> dict[str, jax.Array]:
    """Every named activation of `model` in inference, in the order of the computation.

    Args:
        model: a network of the zoo.
        variables: its variables, `{"params": ..., "batch_stats": ...}`.
        images: float32 [batch, height, width, channels].

    Returns:
        name -> activation; names are those of the paper or of the reference implementation.
    """
    return _compiled_endpoints(model)(variables, images)  # type: ignore[arg-type]


@functools.lru_cache(maxsize=32)
def _compiled_endpoints(model: Network) -> Callable[..., dict[str, jax.Array]]:
    names: list[str] = []

    @jax.jit
    def activations(variables, images):
        _, state = model.apply(variables, images, train=False, mutable=["intermediates"])
        published = state["intermediates"]["endpoints"]
        names[:] = published  # noted while tracing: jit returns a dict sorted by name
        return published

    def ordered(variables, images):
        values = activations(variables, images)
        return {name: values[name] for name in names}

    return ordered
