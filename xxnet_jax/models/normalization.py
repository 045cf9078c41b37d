"""Batch normalization, and whose statistics it takes."""

import contextlib
import math
from dataclasses import dataclass
from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.typing import Dtype, Initializer

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.backend import Ambient, for_cpu
from xxnet_jax.precision import at_least_float32


@dataclass(frozen=True)
class BatchNormScope:
    """Which examples are normalized together while training.

    Attributes:
        examples: so many neighbours of a batch, which are a "ghost batch" (Hoffer, Hubara, Soudry, Train longer,
            generalize better, 2017); None for all of the batch. The running statistics follow the mean over the groups.
        axis_name: of `jax.pmap`, over whose devices the batch is divided; None where one program sees all of it.
        frozen: paths of layers, such as "conv1/bn", that take their running statistics and leave them as they are.
    """

    examples: int | None = None
    axis_name: str | None = None
    frozen: frozenset[str] = frozenset()

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
_scope = Ambient(WHOLE_BATCH)


def batch_norm_scope(scope: BatchNormScope) -> contextlib.AbstractContextManager[None]:
    """What is traced within normalizes by the statistics of `scope` while training."""
    return _scope.holding(scope)


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
        inference = self.use_running_average or "/".join(self.path) in _scope.get().frozen
        if inference and self.has_variable("batch_stats", FOLDED):
            bias = self.param("bias", nn.initializers.zeros, shape, self.param_dtype)
            return (at_least_float32(x) + bias.reshape(*[1] * (x.ndim - 1), -1)).astype(self.dtype)
        running = tuple(
            self.variable("batch_stats", name, start, shape, jnp.float32)
            for name, start in (("mean", jnp.zeros), ("var", jnp.ones))
        )
        dtype = self.param_dtype
        scale = self.param("scale", self.scale_init, shape, dtype) if self.use_scale else jnp.ones(shape, dtype)
        bias = self.param("bias", nn.initializers.zeros, shape, dtype)
        scope = WHOLE_BATCH if inference or self.is_initializing() else _scope.get()
        grouped = x.reshape(scope.groups(len(x)), -1, *x.shape[1:])
        if inference:
            mean, var = (statistic.value[None] for statistic in running)
            y = _affine(at_least_float32(grouped), mean, var, scale, bias, self.epsilon)
        else:
            normalize = _normalize_on_cpu if for_cpu() else _normalize
            axis_name = scope.axis_name if scope.examples is None else None
            y, *moments = normalize(grouped, scale, bias, self.epsilon, axis_name)
            if not self.is_initializing():
                for statistic, found in zip(running, moments, strict=True):
                    new = self.momentum * statistic.value + (1 - self.momentum) * found.mean(axis=0)
                    statistic.value = new.astype(statistic.value.dtype)
        return y.reshape(x.shape).astype(self.dtype)


def _affine(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float
) -> jax.Array:
    """x [groups, ..., channels] by mean and variance [groups, channels] and scale and bias [channels]."""
    factor = jax.lax.rsqrt(var + epsilon) * scale[None]
    if for_cpu():  # a difference here would be kept for the gradient, which is one more pass over the images
        return x * _over_pixels(factor, x) + _over_pixels(bias[None] - mean * factor, x)
    return (x - _over_pixels(mean, x)) * _over_pixels(factor, x) + _over_pixels(bias[None], x)


def _over_pixels(values: jax.Array, x: jax.Array) -> jax.Array:
    """[groups, channels] as [groups, 1, ..., 1, channels], to go with x [groups, ..., channels]."""
    return values.reshape(len(values), *[1] * (x.ndim - 2), -1)


def _sums(x: jax.Array) -> jax.Array:
    """[groups, channels] of x [groups, ..., channels]."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim - 1)))


def _over_devices(axis_name: str | None, *values: jax.Array) -> jax.Array:
    """Arrays of one shape, stacked, summed over the devices of `jax.pmap`, if there are any."""
    stacked = jnp.stack(values)
    return stacked if axis_name is None else jax.lax.psum(stacked, axis_name)


def _values(x: jax.Array, axis_name: str | None) -> int:
    """How many values of a channel are normalized together, of x [groups, ..., channels]."""
    devices = 1 if axis_name is None else jax.lax.psum(1, axis_name)
    return devices * math.prod(x.shape[1:-1])


Normalized = tuple[jax.Array, jax.Array, jax.Array]  # of groups; their means and variances [groups, channels]


def _normalize(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None) -> Normalized:
    """Groups [groups, examples, ..., channels] normalized each by itself, in float32 at least."""
    x = at_least_float32(x)
    mean, of_squares = _over_devices(axis_name, _sums(x), _sums(x * x)) / _values(x, axis_name)
    var = jnp.maximum(of_squares - mean * mean, 0)
    return _affine(x, mean, var, scale, bias, epsilon), mean, var


def _forward(x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None) -> Any:
    normalized = _normalize(x, scale, bias, epsilon, axis_name)
    return normalized, (x, scale, *normalized[1:])


def _backward(epsilon: float, axis_name: str | None, saved: tuple[jax.Array, ...], gradients: Normalized) -> Any:
    """Ioffe and Szegedy (2015, section 3): with c = x - mean and f = scale / sqrt(var + epsilon), that of a value is

    f g - mean(f g) - c mean(f g c) / (var + epsilon), and what comes through the mean and the variance themselves.
    Sums and products are of x in place of c, which would take one more pass over the images.
    """
    x, scale, mean, var = saved
    of_y, of_mean, of_var = gradients
    x = at_least_float32(x)
    inverse = jax.lax.rsqrt(var + epsilon)
    factor = inverse * scale[None]
    of_bias = _sums(of_y)
    of_scale = inverse * (_sums(of_y * x) - mean * of_bias)
    all_bias, all_scale, all_mean, all_var = _over_devices(axis_name, of_bias, of_scale, of_mean, of_var)
    values = _values(x, axis_name)
    slope = (2 * all_var - factor * inverse * all_scale) / values
    constant = (all_mean - factor * all_bias) / values - slope * mean
    of_x = of_y * _over_pixels(factor, x) + x * _over_pixels(slope, x) + _over_pixels(constant, x)
    return of_x.astype(saved[0].dtype), of_scale.sum(0).astype(scale.dtype), of_bias.sum(0).astype(scale.dtype)


# By differentiation the gradient has twice the passes over the images (`experiments/benchmarks/operations.py`).
_normalize_on_cpu = jax.custom_vjp(_normalize, nondiff_argnums=(3, 4))
_normalize_on_cpu.defvjp(_forward, _backward)


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
