"""Labels as places in a table: what all metrics count by."""

from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np

from xxnet_jax.arrays import Array, known
from xxnet_jax.errors import InvalidArgument


def check_labels_in_range(labels: Any, classes: int) -> None:
    """Raise InvalidArgument for a label that is not in 0 .. classes - 1, where the values are known."""
    if known(labels) and len(labels):
        values = np.asarray(labels)
        if values.min() < 0 or values.max() >= classes:
            raise InvalidArgument(f"expected labels in 0..{classes - 1}, got {values.min()} .. {values.max()}")


def labels_of(labels: Any, y_true: Array, y_pred: Array) -> np.ndarray:
    """The labels that are looked at, in their order."""
    if labels is None:
        if not known(y_true, y_pred):
            raise InvalidArgument("a traced function needs `labels`: the shape of the result depends on them")
        return np.unique(np.concatenate([np.asarray(y_true).ravel(), np.asarray(y_pred).ravel()]))
    kept = np.asarray(labels)
    if kept.size == 0:
        raise InvalidArgument("there are no labels: give at least one, or None for those that occur")
    return kept


def places(xp: ModuleType, values: Array, labels: np.ndarray) -> Array:
    """The place of each value in `labels`, and their number for others, int [n]."""
    order = np.argsort(labels, kind="stable")
    ordered = xp.asarray(labels[order])
    found = xp.clip(xp.searchsorted(ordered, values), 0, len(labels) - 1)
    return xp.where(ordered[found] == values, xp.asarray(order)[found], len(labels))


def count_pairs(
    xp: ModuleType, rows: Array, columns: Array, shape: tuple[int, int], counted: Any = None, weights: Any = None
) -> Array:
    """How often each pair of places occurs, or the sum of its weights, `shape`; see `bincount`."""
    cells = bincount(xp, rows * shape[1] + columns, shape[0] * shape[1], counted, weights)
    return cells.reshape(shape)


def bincount(xp: ModuleType, places: Array, number: int, counted: Any = None, weights: Any = None) -> Array:
    """How often each place 0 .. number - 1 occurs, or the sum of its weights; of integers in integers.

    Args:
        xp: numpy or jax.numpy.
        places: int [n].
        number: of places.
        counted: bool [n]; the places of others may be anything. By default all count.
        weights: [n].
    """
    if counted is not None:
        places = xp.where(counted, places, number)
    if xp is jnp:
        return jnp.bincount(places, None if weights is None else jnp.asarray(weights), length=number + 1)[:-1]
    sums = np.bincount(places, weights, minlength=number + 1)[:number]
    return sums.astype(np.int64) if weights is not None and np.asarray(weights).dtype.kind in "iub" else sums
