"""What the network families share: the interface of a network, convolution, pooling, and a check of the input.

Every convolution of the zoo goes through `convolve`, and every max pooling through `max_pool`: these are the places
where a lowering is chosen for a backend. Semantics (padding, parameter names, dtypes) are Flax's.
"""

import functools
import math
import operator
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from xxnet_jax.errors import InvalidArgument

Dtype = Any
Pooling = Literal["avg", "max"] | None
Initializer = Callable[..., jax.Array]


class Network(nn.Module):
    """The interface of every network.

    `network.apply(variables, images, train=False)` maps images `[batch, height, width, channels]` to float32 logits
    `[batch, num_classes]`. With `num_classes=None` there is no classifier: the result is the last feature map
    `[batch, height', width', features]`, or, with `pooling`, its spatial mean or maximum `[batch, features]`.

    Attributes:
        num_classes: size of the classifier, or None for features.
        pooling: how features are pooled when `num_classes` is None.
        dtype: dtype of the computation; logits are float32 whatever it is.
        param_dtype: dtype of the parameters.
    """

    num_classes: int | None = 1000
    pooling: Pooling = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def endpoint(self, name: str, x: jax.Array) -> jax.Array:
        """Publish activation `x` under `name` in the collection `intermediates`, and return it."""
        self._publish("intermediates", "endpoints", name, x)
        return x

    def auxiliary(self, name: str, logits: jax.Array) -> None:
        """Publish the logits of an auxiliary head in the collection `aux_logits`, as float32."""
        if not self.is_initializing():
            self._publish("aux_logits", "heads", name, logits.astype(jnp.float32))

    def _publish(self, collection: str, group: str, name: str, x: jax.Array) -> None:
        # One dict per collection: sown on its own, a name would collide with the layer of that name.
        self.sow(collection, group, {name: x}, init_fn=dict, reduce_fn=operator.or_)

    def pooled_features(self, x: jax.Array) -> jax.Array:
        """What a network without classifier returns for the last feature map `x`."""
        match self.pooling:
            case None:
                return x
            case "avg":
                return self.endpoint("global_pool", jnp.mean(x, axis=(1, 2)))
            case "max":
                return self.endpoint("global_pool", jnp.max(x, axis=(1, 2)))
            case other:
                raise InvalidArgument(f"pooling must be None, 'avg' or 'max', not {other!r}")


def check_images(images: jax.Array, smallest: int) -> None:
    """Refuse what is not a batch of NHWC images of at least `smallest` pixels a side.

    Raises:
        ValueError: says what the shape should have been.
    """
    shape = tuple(images.shape)
    if len(shape) != 4:
        raise InvalidArgument(f"images must be [batch, height, width, channels], got shape {shape}")
    _, height, width, channels = shape
    if height in (1, 3) and min(width, channels) > 4:
        raise InvalidArgument(
            f"images of shape {shape} look channels-first; this project is channels-last: "
            "pass jnp.transpose(images, (0, 2, 3, 1))"
        )
    if min(height, width) < smallest:
        raise InvalidArgument(
            f"images of {height}x{width} are too small for this network: the smallest size is {smallest}x{smallest}"
        )


def convolve(
    inputs: jax.Array,
    kernel: jax.Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    **options: Any,
) -> jax.Array:
    """`jax.lax.conv_general_dilated`: the one place where a convolution's lowering is chosen.

    On CPU, a kernel of few weights per output channel that moves by single pixels is applied as one matrix product with
    the patches of the image: the step of LeNet-5 is then 1.4 times faster (`experiments/benchmarks/convolution.py`).
    """
    if jax.default_backend() == "cpu" and _is_small(kernel, strides, **options):
        return _patch_product(inputs, kernel, padding)
    return jax.lax.conv_general_dilated(inputs, kernel, strides, padding, **options)


PATCH_WEIGHTS = 400  # largest height x width x input channels of a kernel for which the patches are worth their memory


def _is_small(
    kernel: jax.Array,
    strides: Sequence[int],
    *,
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    feature_group_count: int = 1,
    **_: Any,
) -> bool:
    plain = all(set(steps or (1,)) == {1} for steps in (strides, lhs_dilation, rhs_dilation))
    return plain and feature_group_count == 1 and kernel.ndim == 4 and math.prod(kernel.shape[:3]) <= PATCH_WEIGHTS


def _patch_product(images: jax.Array, kernel: jax.Array, padding: str | Sequence[tuple[int, int]]) -> jax.Array:
    height, width, channels, features = kernel.shape
    if isinstance(padding, str):
        padding = jax.lax.padtype_to_pads(images.shape[1:3], (height, width), (1, 1), padding)
    images = jnp.pad(images, ((0, 0), *padding, (0, 0)))
    rows, columns = images.shape[1] - height + 1, images.shape[2] - width + 1
    taps = [images[:, i : i + rows, j : j + columns] for i in range(height) for j in range(width)]
    patches = jnp.stack(taps, axis=3).reshape(-1, height * width * channels)
    return (patches @ kernel.reshape(-1, features)).reshape(-1, rows, columns, features)


class Conv(nn.Conv):
    """`flax.linen.Conv` (parameters `kernel`, `bias`), lowered by `convolve`."""

    conv_general_dilated: Callable[..., jax.Array] | None = convolve


def max_pool(x: jax.Array, window: int, stride: int | None = None, padding: str = "VALID") -> jax.Array:
    """Maximum over `window` x `window` pixels of `x` [batch, height, width, channels]; stride = window by default.

    The gradient goes to the first maximum of a window in row order, and NaN propagates, on every backend. On CPU the
    maximum is taken over strided slices: XLA's select-and-scatter, the gradient of a reduce-window, is 30 to 60 times
    slower there (`experiments/benchmarks/pooling.py`).
    """
    stride = stride or window
    if jax.default_backend() != "cpu":
        return nn.max_pool(x, (window, window), strides=(stride, stride), padding=padding)
    pads = jax.lax.padtype_to_pads(x.shape[1:3], (window, window), (stride, stride), padding)
    (top, bottom), (left, right) = pads
    lowest = jnp.array(-jnp.inf, x.dtype)
    x = jax.lax.pad(x, lowest, ((0, 0, 0), (top, bottom, 0), (left, right, 0), (0, 0, 0)))
    rows, columns = ((size - window) // stride + 1 for size in x.shape[1:3])
    taps = (
        x[:, i : i + stride * (rows - 1) + 1 : stride, j : j + stride * (columns - 1) + 1 : stride]
        for i in range(window)
        for j in range(window)
    )
    return functools.reduce(_first_maximum, taps)


def _first_maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def avg_pool(x: jax.Array, window: int, stride: int | None = None, padding: str = "VALID") -> jax.Array:
    """Mean over `window` x `window` pixels of `x` [batch, height, width, channels]; padding does not count."""
    stride = stride or window
    mean = nn.avg_pool(x, (window, window), (stride, stride), padding=padding, count_include_pad=False)
    return mean.astype(x.dtype)  # Flax counts in float32


def dropout(x: jax.Array, rate: float, *, train: bool, name: str | None = None) -> jax.Array:
    """Inverted dropout: while training, units are zeroed with probability `rate` and the rest scaled by 1 / (1 - rate).

    Draws from the rng stream "dropout" (Srivastava et al., 2014, section 10).
    """
    return nn.Dropout(rate, deterministic=not train, name=name)(x)
