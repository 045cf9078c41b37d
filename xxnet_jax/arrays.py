"""Functions that take NumPy or JAX: which of the two, in which numbers, and whether the values can be looked at.

They are written once, in what `numpy` and `jax.numpy` have in common. Only errors and number formats stand below, so
every room can use it.
"""

import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.precision import at_least_float32

Array = Any  # np.ndarray or jax.Array, of the kind that the arguments have


def namespace(*arrays: Any) -> ModuleType:
    """`jax.numpy` if one of the arrays is JAX's, else `numpy`. None is passed over."""
    return jnp if any(isinstance(array, jax.Array) for array in arrays) else np


def as_array(xp: ModuleType, array: Any) -> Array:
    """An array of `xp`, or InvalidArgument for what cannot be one (rows of different lengths, text in JAX)."""
    try:
        return xp.asarray(array)
    except (TypeError, ValueError) as error:
        raise InvalidArgument(f"expected an array, got a {type(array).__name__} that cannot be one: {error}") from error


def floats(xp: ModuleType, array: Any) -> Array:
    """An array of float64 in NumPy, of float32 or more in JAX; InvalidArgument unless it holds real numbers."""
    array = as_array(xp, array)
    if not any(jnp.issubdtype(array.dtype, kind) for kind in (jnp.bool_, jnp.integer, jnp.floating)):
        raise InvalidArgument(f"expected real numbers, got an array of {array.dtype}")
    return at_least_float32(array) if xp is jnp else array.astype(np.float64, copy=False)


def known(*arrays: Any) -> bool:
    """Whether the values can be looked at: not while JAX traces a function."""
    return not any(isinstance(array, Tracer) for array in arrays)


def divide(xp: ModuleType, numerator: Array, denominator: Array, zero_division: float) -> Array:
    """numerator / denominator, and `zero_division` where the denominator is 0; without warnings, and differentiable."""
    some = denominator != 0
    return xp.where(some, numerator / xp.where(some, denominator, 1), zero_division)


def root(xp: ModuleType, values: Array) -> Array:
    """Square root of values >= 0, with the gradient 0 at 0, where it would be infinite (and NaN in a chain)."""
    positive = values > 0
    return xp.where(positive, xp.sqrt(xp.where(positive, values, 1)), 0)


def over_blocks(xp: ModuleType, function: Callable[[Array], Array], rows: Array, block: int) -> Array:
    """`function`, [b, ...] -> [b, ...] row by row, of `rows` in blocks of at most `block`: for intermediates that would
    be too large for all rows at once, also under differentiation."""
    if len(rows) <= block:
        return function(rows)
    if xp is np:
        return np.concatenate([function(rows[start : start + block]) for start in range(0, len(rows), block)])
    # A scan keeps what its steps need for the gradient, unless they are told to compute it again.
    return jax.lax.map(jax.checkpoint(lambda row: function(row[None])[0]), rows, batch_size=block)


def rows_within(budget: int, shape: tuple[int, ...]) -> int:
    """How many arrays of a shape, in numbers of 8 bytes, are within a budget of bytes; 1 at least."""
    if budget <= 0:
        raise InvalidArgument(f"expected a budget of bytes above 0, got {budget}")
    return max(1, int(budget // (8 * math.prod(shape))))
