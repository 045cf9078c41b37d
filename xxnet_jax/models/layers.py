"""What the network families share: the interface of a network, bricks, pooling, and a check of the input.

Every max pooling goes through `max_pool`, every convolution through `Conv`: there a lowering is chosen for a backend.
Semantics (padding, parameter names, dtypes) are Flax's.
"""

import functools
import itertools
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from xxnet_jax.errors import InvalidArgument, UnknownName
from xxnet_jax.models.backend import for_cpu
from xxnet_jax.models.convolution import Conv, Padding, convolve, shifted
from xxnet_jax.models.normalization import Norm
from xxnet_jax.precision import at_least_float32

Dtype = Any
Pooling = Literal["avg", "max"] | None
Initializer = Callable[..., jax.Array]
PoolPadding = Literal["VALID", "SAME", "CEIL"] | int
Stages = Iterator[tuple[str, jax.Array]]
Order = Literal["conv norm activation", "norm activation conv", "conv activation norm"]
NORMALIZATION_SCOPE = "local_response_norm"  # by which its operations are known in a traced network
Unit = Callable[..., nn.Module]  # makes a convolution from its features, size and name


class Network(nn.Module):
    """The interface of every network.

    `network.apply(variables, images, train=False)` maps images `[batch, height, width, channels]` to float32 logits
    `[batch, num_classes]`. With `num_classes=None` there is no classifier: the result is the last feature map
    `[batch, height', width', features]`, or, with `pooling`, its spatial mean or maximum `[batch, features]`. With
    `final_endpoint` it is the activation of that name, and nothing behind it is computed or has parameters.

    A family implements `features` and `classifier`. Both are generators of the named activations in their order, each
    made of the one before: what is not asked for is never made.

    Attributes:
        num_classes: size of the classifier, or None for features.
        pooling: how features are pooled when `num_classes` is None.
        new_head: another classifier than the published one, for images of any size and for fine-tuning: the mean of the
            last map, a dense layer of so many features with a ReLU (0: none), and the logits.
        final_endpoint: name of the activation to return, or None.
        dtype: dtype of the computation; logits are float32 whatever it is.
        param_dtype: dtype of the parameters.
    """

    num_classes: int | None = 1000
    pooling: Pooling = None
    new_head: int | None = None
    final_endpoint: str | None = None
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        """Yield (endpoint, activation) from the images to the last feature map."""
        raise NotImplementedError

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        """Yield (endpoint, activation) from the last feature map to the logits."""
        raise NotImplementedError

    def smallest_input(self) -> int:
        """The smallest side of an image for which every feature map has at least one pixel."""
        raise NotImplementedError

    @nn.compact
    def __call__(self, images: jax.Array, *, train: bool) -> jax.Array:
        check_images(images, self.smallest_input())
        published: dict[str, jax.Array] = {}
        for name, activation in self._stages(images.astype(self.dtype), train=train):
            published[name] = self.endpoint(name, activation)
            if name == self.final_endpoint:
                return activation
        if self.final_endpoint is not None:
            raise UnknownName(f"endpoint of {type(self).__name__}", self.final_endpoint, published)
        name, last = published.popitem()
        return self.pooled_features(last) if self.num_classes is None else self.endpoint(name, at_least_float32(last))

    def _stages(self, images: jax.Array, *, train: bool) -> Stages:
        features = images
        for name, features in self.features(images, train=train):
            yield name, features
        if self.num_classes is not None:
            classifier = self.classifier if self.new_head is None else self._new_classifier
            yield from classifier(features, train=train)

    def _new_classifier(self, x: jax.Array, *, train: bool) -> Stages:
        assert self.new_head is not None
        assert self.num_classes is not None
        yield "head_pool", (x := spatial_mean(x))
        if self.new_head:
            yield "head_relu", (x := nn.relu(nn.Dense(self.new_head, **self.dtypes, name="head_dense")(x)))
        yield "head_logits", nn.Dense(self.num_classes, **self.dtypes, name="head_logits")(x)

    @property
    def dtypes(self) -> dict[str, Any]:
        """The options that every layer of the network gets."""
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def endpoint(self, name: str, x: jax.Array) -> jax.Array:
        """Publish activation `x` under `name` in the collection `intermediates`, and return it."""
        self._publish("intermediates", "endpoints", name, x)
        return x

    def runs_auxiliary_heads(self, *, train: bool) -> bool:
        """Whether auxiliary heads run: while training, and to get their parameters; only beside published logits."""
        has_logits = self.num_classes is not None and self.new_head is None and self.final_endpoint is None
        return has_logits and (train or self.is_initializing())

    def auxiliary(self, name: str, logits: jax.Array) -> None:
        """Publish the logits of an auxiliary head in the collection `aux_logits`, as float32."""
        if not self.is_initializing():
            self._publish("aux_logits", "heads", name, at_least_float32(logits))

    def _publish(self, collection: str, group: str, name: str, x: jax.Array) -> None:
        # One dict per collection: sown on its own, a name would collide with the layer of that name.
        self.sow(collection, group, {name: x}, init_fn=dict, reduce_fn=operator.or_)

    def pooled_features(self, x: jax.Array) -> jax.Array:
        """What a network without classifier returns for the last feature map `x`."""
        match self.pooling:
            case None:
                return x
            case "avg":
                return self.endpoint("global_pool", spatial_mean(x))
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


def windows_along(side: int, window: int, stride: int, padding: PoolPadding = "VALID") -> int:
    """How many windows of a convolution or a pooling there are along `side` pixels, 0 where none fits.

    Padding is none ("VALID"), TensorFlow's ("SAME"), what lets the last window reach over the edge ("CEIL", the ceil
    mode of Caffe and PyTorch), or so many pixels on both sides.
    """
    match padding:
        case "SAME":
            count = -(-side // stride)
        case "CEIL":
            count = min(-(-(side - window) // stride) + 1, -(-side // stride))  # each begins inside
        case "VALID":
            count = (side - window) // stride + 1
        case int():
            count = (side + 2 * padding - window) // stride + 1
        case _:
            raise InvalidArgument(f"padding of a pool must be 'VALID', 'SAME', 'CEIL' or an integer, not {padding!r}")
    return max(0, count)


def smallest_side(map_side: Callable[[int], int], wanted: int = 1) -> int:
    """The smallest image whose map, of `map_side(side of the image)` pixels a side, has `wanted` or more."""
    return next(side for side in itertools.count(1) if map_side(side) >= wanted)


def max_pool(x: jax.Array, window: int, stride: int | None = None, padding: PoolPadding = "VALID") -> jax.Array:
    """Maximum over `window` x `window` pixels of `x` [batch, height, width, channels]; stride = window by default.

    Padding, as in `windows_along`, is never the maximum. The gradient goes to the first maximum of a window in row
    order, and NaN propagates, on every backend. On CPU the maximum is taken over strided slices: XLA's
    select-and-scatter, the gradient of a reduce-window, is 30 to 60 times slower there
    (`experiments/benchmarks/operations.py`).
    """
    stride = stride or window
    pads: Any = _pool_pads(x, window, stride, padding)
    if not for_cpu():
        return nn.max_pool(x, (window, window), strides=(stride, stride), padding=pads)
    return functools.reduce(_first_maximum, shifted(x, (window, window), (stride, stride), pads, -jnp.inf))


def _first_maximum(a: jax.Array, b: jax.Array) -> jax.Array:
    return jnp.where((b > a) | jnp.isnan(b), b, a)


def avg_pool(x: jax.Array, window: int, stride: int | None = None, padding: PoolPadding = "VALID") -> jax.Array:
    """Mean over `window` x `window` pixels of `x` [batch, height, width, channels]; padding does not count.

    Summed in float32. On CPU strided slices are summed, which keeps NaN, see `spatial_mean`.
    """
    stride = stride or window
    pads: Any = _pool_pads(x, window, stride, padding)  # Flax annotates str and takes pairs too
    if not for_cpu():
        mean = nn.avg_pool(x, (window, window), (stride, stride), padding=pads, count_include_pad=False)
        return mean.astype(x.dtype)  # Flax counts in float32
    wide = at_least_float32(x)
    inside = jnp.ones((1, *x.shape[1:3], 1), wide.dtype)
    sums, counts = (
        functools.reduce(operator.add, shifted(y, (window, window), (stride, stride), pads)) for y in (wide, inside)
    )
    return (sums / counts).astype(x.dtype)


def _pool_pads(x: jax.Array, window: int, stride: int, padding: PoolPadding) -> list[tuple[int, int]]:
    """Pixels before and after the rows and the columns of `x` [batch, height, width, channels]."""
    pads = []
    for side in x.shape[1:3]:
        covered = (windows_along(side, window, stride, padding) - 1) * stride + window
        missing = max(0, covered - side)
        match padding:
            case "SAME":
                pads.append((missing // 2, missing - missing // 2))
            case int():
                pads.append((padding, padding))
            case _:
                pads.append((0, missing if padding == "CEIL" else 0))
    return pads


def dropout(x: jax.Array, rate: float, *, train: bool, name: str | None = None) -> jax.Array:
    """Inverted dropout: while training, units are zeroed with probability `rate` and the rest scaled by 1 / (1 - rate).

    Draws from the rng stream "dropout" (Srivastava et al., 2014, section 10).
    """
    return nn.Dropout(rate, deterministic=not train, name=name)(x)


def drop_path(module: nn.Module, x: jax.Array, rate: float | jax.Array, *, train: bool) -> jax.Array:
    """Stochastic depth: while training, `x` of an image is zero with probability `rate`, and else 1 / (1 - rate) of it.

    Draws from the stream "dropout" of `module` (Huang et al., 2016; they scale at test time). The rate may be traced.
    """
    if not train or (isinstance(rate, int | float) and rate == 0):
        return x
    kept = jax.random.bernoulli(module.make_rng("dropout"), 1 - rate, (len(x), 1, 1, 1))
    share = jnp.maximum(1 - rate, jnp.finfo(x.dtype).tiny)  # so that a rate of 1 has gradients of zero, not NaN
    return jnp.where(kept, x / share.astype(x.dtype), 0)


def keras_uniform(key: jax.Array, shape: Sequence[int], dtype: Dtype = jnp.float32) -> jax.Array:
    """Uniform in +-0.05: Keras's initializer "uniform", which the notes' XXNet takes."""
    return jax.random.uniform(key, shape, dtype, -0.05, 0.05)


Start = TypeVar("Start")


def initializer(name: str, known: Mapping[str, Start]) -> Start:
    """How a family starts under `name`: an initializer, or whatever else its table `known` holds.

    Raises:
        ValueError: the family has none of that name.
    """
    if name not in known:
        raise UnknownName("initialization", name, known)
    return known[name]


@dataclass(frozen=True)
class Initialization:
    """Initializers of convolutions and of the classifier."""

    conv: Initializer
    dense: Initializer


class ConvUnit(nn.Module):
    """Convolution, batch normalization if there is one, activation: the brick of the families from 2014 on.

    Parameters: `conv/kernel`, `conv/bias` where it has one, `bn/scale`, `bn/bias`.

    Attributes:
        features: of the output.
        kernel_size: height and width.
        strides: of rows and columns.
        padding: as in `flax.linen.Conv`.
        norm: of the output, or None.
        use_bias: of the convolution; by default where there is no norm, or the activation is between the two.
        activation: after the norm, or None.
        groups: the channels are divided into so many groups, each convolved by itself.
        order: of the three; "norm activation conv" is that of pre-activation, "conv activation norm" the notes' XXNet.
        kernel_init, bias_init: initializers of the convolution.
        scale_init: of the norm's scale.
        dtype, param_dtype: of computation and parameters.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: tuple[int, int] = (1, 1)
    padding: Padding = "SAME"
    norm: Norm | None = None
    use_bias: bool | None = None
    activation: Callable[[jax.Array], jax.Array] | None = nn.relu
    groups: int = 1
    order: Order = "conv norm activation"
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    scale_init: Initializer = nn.initializers.ones
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        biased = self.norm is None or self.order == "conv activation norm"
        conv = Conv(
            self.features,
            self.kernel_size,
            self.strides,
            self.padding,
            use_bias=biased if self.use_bias is None else self.use_bias,
            feature_group_count=self.groups,
            kernel_init=self.kernel_init,
            bias_init=self.bias_init,
            **dtypes,
            name="conv",
        )
        for step in self.order.split():
            match step:
                case "conv":
                    x = conv(x)
                case "norm" if self.norm is not None:
                    x = self.norm.layer(train=train, name="bn", scale_init=self.scale_init, **dtypes)(x)
                case "activation" if self.activation is not None:
                    x = self.activation(x)
        return x


@jax.named_scope(NORMALIZATION_SCOPE)
def local_response_norm(x: jax.Array, radius: int, bias: float, alpha: float, beta: float) -> jax.Array:
    """x / (bias + alpha * sum of x^2 over the channels at most `radius` away)^beta, [batch, height, width, channels].

    The form of TensorFlow, alpha for each square. AlexNet's paper (section 3.3) has n = 2 radius + 1 = 5 channels, bias
    2, alpha 1e-4, beta .75. Caffe and PyTorch divide alpha by n.
    """
    squares = jnp.square(at_least_float32(x))
    padded = jnp.pad(squares, ((0, 0), (0, 0), (0, 0), (radius, radius)))
    channels = x.shape[-1]
    near = functools.reduce(operator.add, (padded[..., i : i + channels] for i in range(2 * radius + 1)))
    return (x / _power(bias + alpha * near, beta)).astype(x.dtype)


def _power(x: jax.Array, exponent: float) -> jax.Array:
    """`x` to a power; .5 and .75 by square roots, which are many times faster than logarithms on CPU."""
    if exponent == 0.5:
        return jnp.sqrt(x)
    if exponent == 0.75:
        root = jnp.sqrt(x)
        return root * jnp.sqrt(root)
    return x**exponent


def adaptive_avg_pool(x: jax.Array, rows: int, columns: int) -> jax.Array:
    """Means of `rows` x `columns` regions that cover `x` [batch, height, width, channels], as PyTorch divides it.

    Region i of n covers the pixels from floor(i h / n) to ceil((i + 1) h / n).
    """
    for axis, count in ((1, rows), (2, columns)):
        size = x.shape[axis]
        if size == count:
            continue
        edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        parts = [jnp.mean(jax.lax.slice_in_dim(x, *edge, axis=axis), axis=axis, keepdims=True) for edge in edges]
        x = jnp.concatenate(parts, axis=axis)
    return x


def spatial_mean(x: jax.Array) -> jax.Array:
    """The mean of the map `x` [batch, height, width, channels]: [batch, channels], summed in float32.

    On CPU the sum is a matrix product: XLA would fuse a plain one with the ReLU before it, and that loses NaN, so that
    a network which has diverged would seem to give numbers (jax 0.10 to 0.12).
    """
    if not for_cpu():
        return x.mean(axis=(1, 2))
    batch, height, width, channels = x.shape
    ones = jnp.ones(height * width, x.dtype)
    pixels = x.reshape(batch, height * width, channels)
    wide = jnp.promote_types(x.dtype, jnp.float32)
    sums = jnp.einsum("bpc,p->bc", pixels, ones, precision="highest", preferred_element_type=wide)
    return (sums / (height * width)).astype(x.dtype)


def mean_of_windows(x: jax.Array, window: int | None) -> jax.Array:
    """The mean of the map `x` [batch, height, width, channels], [batch, channels]: global average pooling.

    With a window it is that of every `window` x `window` pixels, [batch, rows, columns, channels]; of the whole map
    where that is smaller.
    """
    return spatial_mean(x) if window is None else avg_pool(x, min(window, *x.shape[1:3]), 1)


def auxiliary_pool(x: jax.Array, size: int) -> jax.Array:
    """5x5 average pooling with stride 3 where that gives `size` x `size` pixels, means of as many regions elsewhere.

    The auxiliary heads of the Inception family begin so: their parameters do not depend on the size of the images.
    """
    if all(windows_along(side, 5, 3) == size for side in x.shape[1:3]):
        return avg_pool(x, 5, 3)
    return adaptive_avg_pool(x, size, size)


class DenseOnMap(nn.Module):
    """A dense layer on a feature map of `size` x `size` pixels, applied to every window of that size of a larger map.

    Parameters are those of `flax.linen.Dense` on the flattened map, [size * size * channels, features]: as a
    convolution they give one set of weights for images of any size (VGG's paper, section 3.2).

    Attributes:
        features: of the output.
        size: of the window.
        kernel_init, bias_init: initializers.
        dtype, param_dtype: of computation and parameters.
    """

    features: int
    size: int
    kernel_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[batch, height, width, channels] to [batch, height - size + 1, width - size + 1, features]."""
        channels = x.shape[-1]
        shape = (self.size * self.size * channels, self.features)
        kernel = self.param("kernel", self.kernel_init, shape, self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype)
        x, kernel, bias = promote_dtype(x, kernel, bias, dtype=self.dtype)
        if x.shape[1:3] == (self.size, self.size):
            return (x.reshape(len(x), -1) @ kernel + bias[None])[:, None, None, :]
        kernel = kernel.reshape(self.size, self.size, channels, self.features)
        y = convolve(x, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        return y + bias.reshape(1, 1, 1, -1)
