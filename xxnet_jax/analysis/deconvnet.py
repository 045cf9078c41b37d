"""Deconvnet (Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, 2013): what excites a feature.

Section 2.1: from an activation back to the pixels, by unpooling to the places of the maxima ("switches"), rectification
of the signal, and the transposed filters. Section 3 and Figure 2: the nine images that excite a feature most, cut to
what the unit sees, beside the projections of that unit.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.analysis.backward import Rule, check_endpoint, network_with_rule
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network
from xxnet_jax.parameters import abstract_variables


def project(
    model: Network,
    variables: Any,
    images: jax.Array,
    endpoint: str,
    features: Sequence[int] | jax.Array | None = None,
    *,
    rule: Rule = "deconvnet",
) -> jax.Array:
    """The strongest unit of a feature in each image, projected down to the pixels; all other units are set to zero.

    Args:
        model: a network.
        variables: of it.
        images: float32 [batch, height, width, channels], as the network takes them.
        endpoint: a name of `xxnet_jax.endpoints`.
        features: of each image one, int [batch]; by default that with the strongest unit.
        rule: "gradient" for the gradient times the activation, "guided" for guided backpropagation.

    Returns:
        float32 [batch, height, width, channels]; biases are not taken off, and take no part on the way back.

    Raises:
        ValueError: unknown endpoint or feature.
    """
    chosen = np.full(len(images), -1) if features is None else np.asarray(features)
    compute = _projection(model, images.shape, endpoint, rule)  # type: ignore[arg-type]
    count = compute.features
    if chosen.shape != (len(images),) or chosen.max(initial=-1) >= count or chosen.min(initial=0) < -1:
        raise InvalidArgument(
            f"features must be {len(images)} numbers of 0 to {count - 1}, one an image, of {endpoint}"
        )
    return compute.function(variables, images, jnp.asarray(chosen))


class _Projection(NamedTuple):
    function: Callable[..., jax.Array]
    features: int


@functools.lru_cache(maxsize=16)
def _projection(model: Network, shape: tuple[int, ...], endpoint: str, rule: Rule) -> _Projection:
    batch_size, height, width, channels = shape
    activations = network_with_rule(model, (height, width, channels), batch_size, rule)
    variables, _ = abstract_variables(model, (height, width, channels))
    shapes = jax.eval_shape(activations, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    check_endpoint(endpoint, shapes)

    def compute(variables: Any, images: jax.Array, features: jax.Array) -> jax.Array:
        activation, back = jax.vjp(lambda images: activations(variables, images)[endpoint], images)
        units = activation.reshape(batch_size, -1, activation.shape[-1])
        of_feature = jax.nn.one_hot(features, units.shape[-1], dtype=bool)  # none for -1
        any_feature = (features < 0).reshape(-1, 1, 1)
        allowed = jnp.where(of_feature[:, None] | any_feature, units, -jnp.inf).reshape(batch_size, -1)
        strongest = jax.nn.one_hot(allowed.argmax(1), allowed.shape[1], dtype=activation.dtype)
        (projection,) = back((strongest.reshape(units.shape) * units).reshape(activation.shape))
        return projection

    return _Projection(jax.jit(compute), shapes[endpoint].shape[-1])


class Strongest(NamedTuple):
    """The images in which features are strongest, the strongest first.

    Attributes:
        images: int64 [features, count], numbers of the images in the order in which they came; -1 for none.
        values: float32 [features, count], the activations.
        rows, columns: int64 [features, count], of the unit; 0 for an endpoint without pixels.
    """

    images: np.ndarray
    values: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


def strongest(
    model: Network,
    variables: Any,
    batches: Iterable[jax.Array],
    endpoint: str,
    features: Sequence[int],
    count: int = 9,
) -> Strongest:
    """For each feature the images with the largest activations; of each image its strongest unit.

    Only the best so far are kept, so that any number of images may come.

    Args:
        model, variables, endpoint: as in `project`.
        batches: of float32 images [batch, height, width, channels].
        features: numbers of them.
        count: images for each.

    Raises:
        ValueError: unknown endpoint or feature.
    """
    best = Strongest(
        np.full((len(features), count), -1),
        np.full((len(features), count), -np.inf, np.float32),
        *np.zeros((2, len(features), count), np.int64),
    )
    seen = 0
    chosen = jnp.asarray(features)
    for images in batches:
        compute = _maxima(model, images.shape, endpoint)  # type: ignore[arg-type]
        if not all(0 <= feature < compute.features for feature in features):
            raise InvalidArgument(f"{endpoint} has features 0 to {compute.features - 1}, got {list(features)}")
        values, units = map(np.asarray, compute.function(variables, images, chosen))
        rows, columns = np.divmod(units, compute.columns)
        numbers = np.broadcast_to(np.arange(seen, seen + len(images)), values.shape)
        best = _merged(best, Strongest(numbers, values, rows, columns), count)
        seen += len(images)
    return best


def _merged(a: Strongest, b: Strongest, count: int) -> Strongest:
    both = [np.concatenate(pair, axis=1) for pair in zip(a, b, strict=True)]
    order = np.argsort(-both[1], axis=1, kind="stable")[:, :count]
    return Strongest(*(np.take_along_axis(values, order, axis=1) for values in both))


class _Maxima(NamedTuple):
    function: Callable[..., tuple[jax.Array, jax.Array]]
    features: int
    columns: int


@functools.lru_cache(maxsize=16)
def _maxima(model: Network, shape: tuple[int, ...], endpoint: str) -> _Maxima:
    def activations(variables: Any, images: jax.Array) -> dict[str, jax.Array]:
        result: Any = model.apply(variables, images, train=False, mutable=["intermediates"])
        return result[1]["intermediates"]["endpoints"]

    _, height, width, channels = shape
    variables, _ = abstract_variables(model, (height, width, channels))
    shapes = jax.eval_shape(activations, variables, jax.ShapeDtypeStruct(shape, jnp.float32))
    check_endpoint(endpoint, shapes)

    def compute(variables: Any, images: jax.Array, features: jax.Array) -> tuple[jax.Array, jax.Array]:
        activation = activations(variables, images)[endpoint]
        units = activation.reshape(len(activation), -1, activation.shape[-1])[..., features]
        return units.max(1).T, units.argmax(1).T

    found = shapes[endpoint].shape
    return _Maxima(jax.jit(compute), found[-1], found[2] if len(found) == 4 else 1)
