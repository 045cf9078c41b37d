"""Batch normalization, and whose statistics it takes."""

import contextlib
import contextvars
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.precision import at_least_float32


@dataclass(frozen=True)
class BatchNormScope:
    """Which examples are normalized together while training.

    Attributes:
        examples: so many neighbours of a batch, which are a "ghost batch" (Hoffer, Hubara, Soudry, Train longer,
            generalize better, 2017); None for all of the batch. The running statistics follow the mean over the groups.
        axis_name: of `jax.pmap`, over whose devices the batch is divided; None where one program sees all of it.
    """

    examples: int | None = None
    axis_name: str | None = None

    def groups(self, batch: int) -> int:
        """How many there are in a batch, or in a device's share of one.

        Raises:
            ValueError: the batch cannot be divided so.
        """
        if self.examples is None:
            return 1
        if batch % self.examples:
            raise InvalidArgument(
                f"a batch of {batch} examples cannot be divided into groups of {self.examples} for batch normalization"
            )
        return batch // self.examples


FOLDED = "folded"  # in place of statistics: the convolution before has them (see `fold_batch_norm`)
WHOLE_BATCH = BatchNormScope()
_scope = contextvars.ContextVar("_scope", default=WHOLE_BATCH)


@contextlib.contextmanager
def batch_norm_scope(scope: BatchNormScope) -> Iterator[None]:
    """What is traced within normalizes by the statistics of `scope` while training."""
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


class BatchNorm(nn.Module):
    """y = scale (x - mean) / sqrt(var + epsilon) + bias, for each channel (Ioffe and Szegedy, 2015).

    Parameters `scale` and `bias`; running statistics `mean` and `var`, float32. While training, mean and variance are
    those of all examples over all devices, unless a `batch_norm_scope` says otherwise; else the running ones. The
    variance is the biased one everywhere, as in Keras. Statistics are summed in float32 at least.

    Attributes:
        use_running_average: inference.
        momentum: of the running statistics: running = momentum * running + (1 - momentum) * batch.
        epsilon: added to the variance.
        use_scale: whether there is a scale.
        scale_init: of the scale.
        dtype, param_dtype: of the output and of the parameters.
    """

    use_running_average: bool
    momentum: float = 0.99
    epsilon: float = 1e-5
    use_scale: bool = True
    scale_init: Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        if self.use_running_average and self.has_variable("batch_stats", FOLDED):
            bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
            return (at_least_float32(x) + bias.reshape(*[1] * (x.ndim - 1), -1)).astype(self.dtype)
        running = tuple(
            self.variable("batch_stats", name, start, shape, jnp.float32)
            for name, start in (("mean", jnp.zeros), ("var", jnp.ones))
        )
        scope = WHOLE_BATCH if self.use_running_average or self.is_initializing() else _scope.get()
        groups = scope.groups(len(x))
        grouped = at_least_float32(x.reshape(groups, -1, *x.shape[1:]))
        if self.use_running_average:
            mean, var = (statistic.value[None] for statistic in running)
        else:
            mean, var = _moments(grouped, scope.axis_name if scope.examples is None else None)
            if not self.is_initializing():
                for statistic, found in zip(running, (mean, var), strict=True):
                    new = self.momentum * statistic.value + (1 - self.momentum) * found.mean(axis=0)
                    statistic.value = new.astype(statistic.value.dtype)
        factor = jax.lax.rsqrt(var + self.epsilon)
        if self.use_scale:
            factor = factor * self.param("scale", self.scale_init, shape, self.param_dtype)[None]
        bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
        y = (grouped - _over_pixels(mean, x.ndim)) * _over_pixels(factor, x.ndim)
        return (y + _over_pixels(bias[None], x.ndim)).reshape(x.shape).astype(self.dtype)


def _over_pixels(statistic: jax.Array, dimensions: int) -> jax.Array:
    """[groups, channels] as [groups, 1, ..., 1, channels], to go with grouped examples of so many dimensions."""
    return statistic.reshape(len(statistic), *[1] * (dimensions - 1), -1)


def _moments(x: jax.Array, axis_name: str | None) -> tuple[jax.Array, jax.Array]:
    """Mean and variance, [groups, channels] each, of x [groups, examples, ..., channels]."""
    axes = tuple(range(1, x.ndim - 1))
    sums = jnp.stack([x.mean(axes), (x * x).mean(axes)])
    mean, of_squares = sums if axis_name is None else jax.lax.pmean(sums, axis_name)
    return mean, jnp.maximum(of_squares - mean * mean, 0)


@dataclass(frozen=True)
class Norm:
    """How a family normalizes its convolutions.

    Attributes:
        momentum: of the running statistics: running = momentum * running + (1 - momentum) * batch.
        epsilon: added to the variance.
        scale: whether there is a scale (gamma); there always is a bias (beta).
    """

    kind: ClassVar[type[BatchNorm]] = BatchNorm

    momentum: float = 0.99
    epsilon: float = 1e-3
    scale: bool = True

    def layer(
        self, *, train: bool, name: str, scale_init: Initializer = nn.initializers.ones, **dtypes: Any
    ) -> BatchNorm:
        """The normalization as a layer of a network."""
        return self.kind(
            use_running_average=not train,
            momentum=self.momentum,
            epsilon=self.epsilon,
            use_scale=self.scale,
            scale_init=scale_init,
            name=name,
            **dtypes,
        )
