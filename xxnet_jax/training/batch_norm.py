"""Statistics of batch normalization: over a whole population in place of running averages, or left as they are."""

from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network
from xxnet_jax.models.normalization import BatchNorm
from xxnet_jax.precision import at_least_float32


def frozen_norms(frozen: Any, batch_stats: Any) -> frozenset[str]:
    """Paths of the layers of batch normalization, such as "conv1/bn", all of whose parameters are frozen.

    Args:
        frozen: tree of bool, of the parameters.
        batch_stats: tree of running statistics.
    """
    leaves = flax.traverse_util.flatten_dict(frozen)
    layers = {path[:-1] for path in flax.traverse_util.flatten_dict(batch_stats)}
    trained = {path[:-1] for path, is_frozen in leaves.items() if not is_frozen}
    return frozenset("/".join(layer) for layer in layers - trained)


def recalibrate_batch_norm(
    model: Network, variables: dict[str, Any], batches: Iterable[jax.Array], *, seed: int = 0
) -> dict[str, Any]:
    """The variables with statistics of inference as Ioffe and Szegedy (2015, algorithm 2) compute them.

    For each layer the mean is E[batch mean] and the variance m / (m - 1) E[batch variance], with m values of a channel
    in a batch, over all batches, each normalized by itself as in training.

    Args:
        model: a network with batch normalization.
        variables: "params" and "batch_stats".
        batches: images [batch, height, width, channels], all of one size.
        seed: of dropout.

    Raises:
        ValueError: there is no batch, no batch normalization, or a channel with a single value in a batch.
    """
    statistics = jax.jit(_batch_statistics(model))
    total, count = None, 0
    for images in batches:
        key = jax.random.fold_in(jax.random.key(seed), count)
        found = statistics(variables, images, key)
        total = found if total is None else jax.tree.map(jnp.add, total, found)
        count += 1
    if total is None:
        raise InvalidArgument("recalibration needs at least one batch")
    if not total:
        raise InvalidArgument(f"{type(model).__name__} has no batch normalization")
    means = jax.tree.map(lambda x: x / count, total)
    return {**variables, "batch_stats": flax.traverse_util.unflatten_dict(means)}


def _batch_statistics(model: Network) -> Callable[[Any, jax.Array, jax.Array], dict[tuple[str, ...], jax.Array]]:
    """(variables, images, key) -> path of each statistic -> its value in this batch, the variance unbiased."""

    def statistics(variables: Any, images: jax.Array, key: jax.Array) -> dict[tuple[str, ...], jax.Array]:
        found: dict[tuple[str, ...], jax.Array] = {}

        def listen(next_function: Any, arguments: Any, keywords: Any, context: Any) -> Any:
            if isinstance(context.module, BatchNorm) and context.method_name == "__call__":
                x = at_least_float32(arguments[0])
                axes = tuple(range(x.ndim - 1))
                m = x.size // x.shape[-1]
                if m < 2:
                    raise InvalidArgument("a channel has one value in a batch, and so no variance: take larger batches")
                found[(*context.module.path, "mean")] = jnp.mean(x, axes)
                found[(*context.module.path, "var")] = jnp.var(x, axes) * (m / (m - 1))
            return next_function(*arguments, **keywords)

        with nn.intercept_methods(listen):
            model.apply(variables, images, train=True, mutable=True, rngs={"dropout": key})
        return found

    return statistics
