"""Features of labelled images, and their neighbourhoods in the plane."""

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.analysis.responses import Inputs, responses
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models import Network


def pooled_features(
    model: Network,
    variables: Any,
    batches: Iterable[np.ndarray],
    endpoint: str,
    *,
    inputs: Inputs,
) -> np.ndarray:
    """An activation of a network for images, of a map the mean over its places.

    Args:
        model: a network of the zoo.
        variables: of it.
        batches: of uint8 [images, height, width, channels].
        endpoint: a name of `xxnet_jax.endpoints`.
        inputs: from uint8 images to those of the network.

    Returns:
        float32 [images, features].

    Raises:
        ValueError: there is no such endpoint.
    """

    respond = responses(model, (endpoint,), inputs)
    return np.concatenate([np.asarray(_pooled(respond(variables, batch)[1][endpoint])) for batch in batches])


def _pooled(value: jax.Array) -> jax.Array:
    return value.astype(jnp.float32).mean(range(1, value.ndim - 1))


def neighbourhoods(features: np.ndarray, *, perplexity: float = 30.0, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008) of scikit-learn, begun with the two principal components.

    Args:
        features: float [images, features].
        perplexity: about how many neighbours each has; a third of the images at most.
        seed: of the random numbers.

    Returns:
        float32 [images, 2].

    Raises:
        ValueError: there are fewer than four images.
    """
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    if len(features) < 4:
        raise InvalidArgument(f"t-SNE needs at least 4 images, got {len(features)}")
    method = TSNE(2, perplexity=min(perplexity, (len(features) - 1) / 3), init="pca", random_state=seed)
    with threadpool_limits(1):  # on a busy machine its threads wait for each other: 40 s in place of 0.3 for 90 images
        return method.fit_transform(features)
