"""Activations of a network by their published names, and responses of its layers."""

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from xxnet_jax.models.layers import Network
from xxnet_jax.models.normalization import BatchNorm


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


def observe(model: Network, variables: Any, images: jax.Array) -> tuple[jax.Array, dict[str, dict[str, jax.Array]]]:
    """The result of a network in inference, and what happened within; under `jax.jit` only what is used is computed.

    The response of a layer is what comes of its kernel and of the batch normalization that follows at once, if one
    does, before anything else (He, Zhang, Ren, Sun, 2015, section 4.2).

    Args:
        model: a network of the zoo.
        variables: its variables.
        images: float32 [batch, height, width, channels].

    Returns:
        Logits, and {"endpoints": name -> activation, "responses": path of the layer -> response}, both in the order of
        the computation.
    """
    if getattr(model, "remat", False):
        model = model.clone(remat=False)  # nothing leaves a rematerialized layer but its result
    responses: dict[str, jax.Array] = {}

    def listen(next_function: Any, arguments: Any, keywords: Any, context: Any) -> Any:
        module, result = context.module, next_function(*arguments, **keywords)
        if context.method_name != "__call__":
            return result
        if module.has_variable("params", "kernel"):
            responses["/".join(module.path)] = result
        elif isinstance(module, BatchNorm) and responses:
            last, response = next(reversed(responses.items()))
            if response is arguments[0]:
                responses[last] = result
        return result

    with nn.intercept_methods(listen):
        logits, state = model.apply(variables, images, train=False, mutable=["intermediates"])
    collections: Any = state
    return logits, {"endpoints": collections["intermediates"]["endpoints"], "responses": responses}
