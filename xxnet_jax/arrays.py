"""Functions that take NumPy or JAX: which of the two, in which numbers, and whether the values can be looked at.

They are written once, in what `numpy` and `jax.numpy` have in common. It imports nothing of this project's but the
number formats, so every room can use it.
"""

from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from xxnet_jax.precision import at_least_float32

Array = Any  # np.ndarray or jax.Array, of the kind that the arguments have


def namespace(*arrays: Any) -> ModuleType:
    """`jax.numpy` if one of the arrays is JAX's, else `numpy`. None is passed over."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def floats(xp: ModuleType, array: Any) -> Array:
    """An array of float64 in NumPy, of float32 or more in JAX."""
    return at_least_float32(jnp.asarray(array)) if xp is jnp else np.asarray(array, np.float64)


def known(*arrays: Any) -> bool:
    """Whether the values can be looked at: not while JAX traces a function."""
    return not any(isinstance(array, Tracer) for array in arrays)


def divide(xp: ModuleType, numerator: Array, denominator: Array, zero_division: float) -> Array:
    """numerator / denominator, and `zero_division` where the denominator is 0; without warnings, and differentiable."""
    some = denominator != 0
    return xp.where(some, numerator / xp.where(some, denominator, 1), zero_division)
