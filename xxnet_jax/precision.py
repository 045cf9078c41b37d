"""Number formats: what is computed in which, and the scale that keeps small gradients in float16."""

from typing import Any, Literal, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp

Precision = Literal["f32", "bf16", "bf16_all", "f16"]
GROWTH_STEPS = 2_000  # good steps after which a loss scale is doubled


class Formats(NamedTuple):
    """Of activations and gradients, and of the parameters."""

    dtype: Any
    param_dtype: Any


# Statistics of normalization, logits and losses are float32 in all of them.
FORMATS: dict[str, Formats] = {
    "f32": Formats(jnp.float32, jnp.float32),
    "bf16": Formats(jnp.bfloat16, jnp.float32),
    "bf16_all": Formats(jnp.bfloat16, jnp.bfloat16),
    "f16": Formats(jnp.float16, jnp.float32),
}


def at_least_float32(x: jax.Array) -> jax.Array:
    """`x` in float32, or in float64 if it is: for sums, statistics, logits and losses."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


@flax.struct.dataclass
class LossScale:
    """A factor of the loss, so that gradients do not vanish in float16 (Micikevicius et al., 2018, section 3.2).

    It is halved after a step whose gradients overflow, which is left out, and doubled after 2,000 steps without.

    Attributes:
        factor: float32 [], a power of two.
        good_steps: int32 [], since it changed.
    """

    factor: jax.Array
    good_steps: jax.Array

    @classmethod
    def initial(cls) -> "LossScale":
        return cls(jnp.asarray(2.0**15, jnp.float32), jnp.zeros((), jnp.int32))

    def after(self, finite: jax.Array) -> "LossScale":
        """The scale for the next step, if the gradients of this one were finite or not."""
        grows = finite & (self.good_steps + 1 >= GROWTH_STEPS)
        factor = jnp.where(finite, jnp.where(grows, 2 * self.factor, self.factor), jnp.maximum(self.factor / 2, 1))
        return LossScale(factor, jnp.where(finite & ~grows, self.good_steps + 1, 0))


def all_finite(tree: Any) -> jax.Array:
    """Whether every number in a tree of arrays is finite, bool []."""
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]))
