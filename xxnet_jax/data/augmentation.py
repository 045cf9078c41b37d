"""Augmentation: random changes of training images, on the device, inside the compiled step.

What happens to an example is decided by its draw (`Loader`), that is, by the seed, the epoch and its place in the
epoch: the same on any number of devices, in batches of any size, and after a restart.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from xxnet_jax.errors import UnknownName

Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def mirror(key: jax.Array, image: jax.Array) -> jax.Array:
    """`image` [height, width, channels], or with probability 1/2 its mirror image, left for right."""
    return jnp.where(jax.random.bernoulli(key), image[:, ::-1], image)


def shift(key: jax.Array, image: jax.Array, pixels: int = 4) -> jax.Array:
    """A crop of the size of `image` [height, width, channels] from it with `pixels` zeros added on each side.

    Each of the (2 pixels + 1)^2 places is as likely.
    """
    padded = jnp.pad(image, ((pixels, pixels), (pixels, pixels), (0, 0)))
    row, column = jax.random.randint(key, (2,), 0, 2 * pixels + 1)
    return jax.lax.dynamic_slice(padded, (row, column, 0), image.shape)


def shift_and_mirror(key: jax.Array, image: jax.Array) -> jax.Array:
    """`shift` by up to 4 pixels, then `mirror`."""
    shift_key, mirror_key = jax.random.split(key)
    return mirror(mirror_key, shift(shift_key, image))


# name: function of a key and the input [height, width, channels] that preprocessing made
AUGMENTATION: dict[str, Augmentation] = {
    "mirror": mirror,
    # Lee et al., Deeply-Supervised Nets, 2014; He et al., Deep Residual Learning, 2015, section 4.2. The mean is
    # subtracted before zeros are added, so that they are the mean colour.
    "cifar": shift_and_mirror,
}


def augment(images: jax.Array, draws: jax.Array | np.ndarray, name: str) -> jax.Array:
    """Network inputs, each changed by the rule `name` of `AUGMENTATION`.

    Args:
        images: [batch, height, width, channels], of any dtype.
        draws: uint32 [batch, 2], the `draw` of a training batch.
        name: of the rule.

    Raises:
        ValueError: unknown rule.
    """
    if name not in AUGMENTATION:
        raise UnknownName("augmentation", name, AUGMENTATION)
    keys = jax.random.wrap_key_data(jnp.asarray(draws), impl="threefry2x32")
    return jax.vmap(AUGMENTATION[name])(keys, images)
