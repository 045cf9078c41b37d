"""Metrics as sums and counts, so that means over batches, devices and steps are exact."""

import flax.struct
import jax
import jax.numpy as jnp

from xxnet_jax.precision import at_least_float32


@flax.struct.dataclass
class Mean:
    """A weighted mean that is not yet divided: add two, and the mean of all examples results.

    Attributes:
        total: float32 [], the weighted sum.
        weight: float32 [], the sum of the weights.
    """

    total: jax.Array
    weight: jax.Array

    @classmethod
    def of(cls, values: jax.Array, weights: jax.Array | None = None) -> "Mean":
        """The mean of `values` [batch], each with its weight (a mask will do); all ones by default."""
        values = at_least_float32(values)
        weights = jnp.ones_like(values) if weights is None else weights.astype(values.dtype)
        if values.shape != weights.shape:
            raise ValueError(f"values have shape {values.shape}, weights {weights.shape}")
        # The value of a masked example may be NaN: it is selected away, not multiplied by zero.
        return cls(jnp.sum(jnp.where(weights != 0, values * weights, 0.0)), jnp.sum(weights))

    def __add__(self, other: "Mean") -> "Mean":
        return Mean(self.total + other.total, self.weight + other.weight)

    def value(self) -> jax.Array:
        """total / weight, float32 []; 0 when nothing was counted."""
        return jnp.where(self.weight > 0, self.total / jnp.maximum(self.weight, 1e-12), 0.0)
