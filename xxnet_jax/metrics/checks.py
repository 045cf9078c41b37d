"""What the metrics check of their arguments, and the mean that they take."""

from types import ModuleType
from typing import Any

import numpy as np

from xxnet_jax.arrays import Array, divide, floats, known
from xxnet_jax.errors import InvalidArgument


def check_same_length(**arrays: Any) -> None:
    """Raise InvalidArgument with names and lengths, unless all arrays that are not None have the same, above zero."""
    lengths = {name: len(array) for name, array in arrays.items() if array is not None}
    if len(set(lengths.values())) > 1:
        raise InvalidArgument(f"expected as many of each, got {_listed(lengths)}")
    if 0 in lengths.values():
        raise InvalidArgument(f"there are no examples in {', '.join(lengths)}")


def check_finite(**arrays: Any) -> None:
    """Raise InvalidArgument with the names of arrays that have NaN or infinity, where the values are known."""
    wrong = [name for name, array in arrays.items() if array is not None and known(array) and not _finite(array)]
    if wrong:
        raise InvalidArgument(
            f"NaN or infinity in {', '.join(wrong)}: leave those examples out, or see where they come from"
        )


def check_weights(weights: Any, examples: int, name: str = "sample_weight") -> None:
    """Raise InvalidArgument unless each example has a finite weight, 0 or more, and one has more; None is none."""
    if weights is None:
        return
    if np.shape(weights) != (examples,):
        raise InvalidArgument(f"expected {name} of shape ({examples},), got {np.shape(weights)}")
    check_finite(**{name: weights})
    if known(weights) and np.any(np.asarray(weights) < 0):
        raise InvalidArgument(f"a weight of {name} is negative: {np.min(np.asarray(weights)):g}")
    if known(weights) and examples and not np.any(np.asarray(weights)):
        raise InvalidArgument(f"all weights of {name} are 0: nothing would count")


def average(xp: ModuleType, values: Array, weights: Array | None, axis: int = 0) -> Array:
    """Weighted mean along an axis; the plain one without weights. What weighs 0 may be anything, also infinite."""
    if weights is None:
        return values.mean(axis)
    shape = [1] * values.ndim
    shape[axis] = values.shape[axis]
    factors = floats(xp, weights).reshape(shape)
    return (xp.where(factors != 0, values, 0) * factors).sum(axis) / factors.sum()


def mean_of_known(xp: ModuleType, values: Array, weights: Any = None) -> Array:
    """Weighted mean of the values that are not NaN, the plain one where all weights are zero; NaN of none."""
    there = floats(xp, ~xp.isnan(values))
    counted = there if weights is None else there * floats(xp, weights)
    counted = xp.where(counted.sum() == 0, there, counted)
    return divide(xp, (xp.where(there == 1, values, 0) * counted).sum(), counted.sum(), np.nan)


def _finite(array: Any) -> bool:
    values = np.asarray(array)
    return values.dtype.kind not in "fc" or bool(np.isfinite(values).all())


def _listed(lengths: dict[str, int]) -> str:
    return ", ".join(f"{length} of {name}" for name, length in lengths.items())
