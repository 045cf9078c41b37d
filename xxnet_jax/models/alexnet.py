"""AlexNet (Krizhevsky, Sutskever, Hinton: ImageNet Classification with Deep Convolutional Neural Networks, 2012).

Section 3.5 and Figure 2; maps are what a layer gives for the nominal image, 227x227 or 224x224:

    layer    alexnet                 .tf1, .xxnet        .slim         .torchvision         .notebook
    image    227                     227                 224           224                  224
    conv1    96 11x11/4        55    96          55      64      54    64, padding 2  55    96   54
    pool1    3x3/2             27                27              26                   27         26
    conv2    256 5x5, 2 groups 27    256         27      192     26    192            27    256  26
    pool2    3x3/2             13                13              12                   13         12
    conv3    384 3x3           13    384         13      384     12    384            13    384  12
    conv4    384 3x3, 2 groups 13    384         13      384     12    256            13    256  12
    conv5    256 3x3, 2 groups 13    256         13      256     12    256            13    -
    pool5    3x3/2              6                 6               5    to any image's 6           5
    fc6      4096, dropout
    fc7      4096, dropout
    fc8      1000
    count    60,965,224              62,378,344          50,303,912    61,100,840           49,516,520

ReLU after each layer but the last; convolutions from the second on keep the size of the map; pooling windows overlap.
The groups are the paper's two GPUs: maps of one half do not see those of the other. Local response normalization (k 2,
n 5, alpha 1e-4, beta .75) stands between conv1 and pool1, conv2 and pool2 in `alexnet`, after pool1 in `.tf1`, and
nowhere else.

Deviations of `alexnet`: images of 227 pixels (from the 224 that the paper says, its own 55x55 do not come out); dropout
scales while training (`classic_dropout` halves at test time, as the paper does); a mean colour, not a mean image, is
subtracted. Tags are later networks of that name, with one tower: `.tf1` and `.xxnet` are the notes' two, `.slim` is
TF-Slim's (Krizhevsky: One weird trick for parallelizing convolutional neural networks, 2014), `.torchvision` the same
paper's with padding, `.notebook` the notes' with a convolution of 384 maps left out. `.cifar10`
is `alexnet` at half width for images of 32x32 (2,819,274 parameters).

As in VGG, the dense layers see every window of the last map of a larger image, and the scores are their mean, or with
`spatial` the map of scores.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
from flax.linen.initializers import constant, glorot_uniform, normal, ones, truncated_normal, variance_scaling, zeros

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    Conv,
    DenseOnMap,
    Initializer,
    Network,
    PoolPadding,
    Stages,
    adaptive_avg_pool,
    dropout,
    initializer,
    keras_uniform,
    local_response_norm,
    max_pool,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants


class Convolution(NamedTuple):
    """A row of the table.

    Attributes:
        features: of the output.
        size: height and width of the kernel.
        stride: of rows and columns.
        padding: zeros on every side, or "SAME" as TensorFlow places them.
        groups: the channels are divided into so many towers, each convolved by itself.
        norm: local response normalization follows.
        pool: max pooling follows.
    """

    features: int
    size: int
    stride: int = 1
    padding: int | Literal["SAME"] = 0
    groups: int = 1
    norm: bool = False
    pool: bool = False


@dataclass(frozen=True)
class ResponseNorm:
    """The constants of local response normalization: the paper's n = 2 radius + 1, k = bias, alpha and beta."""

    radius: int = 2
    bias: float = 2.0
    alpha: float = 1e-4
    beta: float = 0.75


@dataclass(frozen=True)
class Initialization:
    """How a network starts.

    Attributes:
        conv, dense: of the kernels.
        bias: the initializer for the layer of this name with so many weights for each output.
    """

    conv: Initializer
    dense: Initializer
    bias: Callable[[str, int], Initializer] = lambda layer, fan_in: zeros


def torch_bias(layer: str, fan_in: int) -> Initializer:
    """Uniform in +-1 / sqrt(fan-in): PyTorch's default, of biases as of kernels."""
    limit = fan_in**-0.5
    return lambda key, shape, dtype: jax.random.uniform(key, shape, dtype, -limit, limit)


POSITIVE = ("conv2", "conv4", "conv5", "fc6", "fc7")  # start with biases of 1, so that ReLUs are on at first
TORCH_KERNEL = variance_scaling(1 / 3, "fan_in", "uniform")  # +-1 / sqrt(fan-in)

INITIALIZERS: dict[str, Initialization] = {
    "paper": Initialization(normal(0.01), normal(0.01), lambda layer, _: ones if layer in POSITIVE else zeros),
    "normal": Initialization(normal(0.01), normal(0.01)),
    "truncated_normal": Initialization(truncated_normal(0.1), truncated_normal(0.1)),  # the notes' chapter
    "uniform": Initialization(keras_uniform, glorot_uniform()),  # the notes' XXNet
    "glorot_uniform": Initialization(glorot_uniform(), glorot_uniform()),  # Keras
    "slim": Initialization(
        glorot_uniform(), truncated_normal(0.005), lambda layer, _: zeros if layer == "fc8" else constant(0.1)
    ),
    "torch": Initialization(TORCH_KERNEL, TORCH_KERNEL, torch_bias),
}
ACTIVATIONS = {"relu": nn.relu, "tanh": nn.tanh, "sigmoid": nn.sigmoid}

PAPER = (
    Convolution(96, 11, stride=4, norm=True, pool=True),
    Convolution(256, 5, padding=2, groups=2, norm=True, pool=True),
    Convolution(384, 3, padding=1),
    Convolution(384, 3, padding=1, groups=2),
    Convolution(256, 3, padding=1, groups=2, pool=True),
)


class AlexNet(Network):
    """AlexNet; see the table above.

    Attributes:
        convolutions: the rows of the table; conv4, say, is the fourth.
        lrn: constants of the local response normalization.
        order: what follows a convolution where its row says so; ("pool",) leaves all normalization out.
        pool_window: side of the pooling windows, which lie 2 pixels apart: 2 for windows that do not overlap.
        pool_padding: "CEIL" where a last window that reaches beyond the edge of the map counts.
        activation: of all layers but the last, "relu", or "tanh" or "sigmoid" to compare with (Figure 1).
        dense: units of the hidden dense layers.
        window: side of the feature map that the first dense layer sees.
        adaptive_pool: pool any feature map to `window` x `window` pixels first.
        spatial: return the scores of all windows, [batch, rows, columns, num_classes], not their mean.
        dropout_rate: probability that a unit is dropped.
        dropout_before: dropout of what the hidden dense layers get, not of what they give.
        classic_dropout: units are not scaled while training, but all of them by 1 - `dropout_rate` at test time.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are too small for the pools, or for the window of the dense layers.
    """

    convolutions: tuple[Convolution, ...] = PAPER
    lrn: ResponseNorm = ResponseNorm()
    order: tuple[Literal["norm", "pool"], ...] = ("norm", "pool")
    pool_window: int = 3
    pool_padding: PoolPadding = "VALID"
    activation: Literal["relu", "tanh", "sigmoid"] = "relu"
    dense: tuple[int, ...] = (4096, 4096)
    window: int = 6
    adaptive_pool: bool = False
    spatial: bool = False
    dropout_rate: float = 0.5
    dropout_before: bool = False
    classic_dropout: bool = False
    initialization: str = "paper"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for number, row in enumerate(self.rows, start=1):
            yield f"conv{number}", (x := self.activate(self.convolution(f"conv{number}", row, x)))
            for step in self.order:
                if step == "norm" and row.norm:
                    yield f"norm{number}", (x := local_response_norm(x, **vars(self.lrn)))
                if step == "pool" and row.pool:
                    yield f"pool{number}", (x := self.pool(x))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        if self.adaptive_pool:
            x = adaptive_avg_pool(x, self.window, self.window)
        rows, columns = x.shape[1:3]
        if min(rows, columns) < self.window:
            side = smallest_side(self.map_side, self.window)
            raise InvalidArgument(
                f"the dense layers need images of at least {side}x{side}; for smaller ones give a smaller window, "
                "adaptive_pool=True or num_classes=None"
            )
        size = self.window
        for number, units in enumerate(self.dense, start=len(self.convolutions) + 1):
            if self.dropout_before:
                x = self.drop(x, train=train)
            yield f"fc{number}", (x := self.activate(self.dense_layer(f"fc{number}", units, size, x)))
            if not self.dropout_before:
                x = self.drop(x, train=train)
            size = 1
        assert self.num_classes is not None
        name = f"fc{len(self.convolutions) + len(self.dense) + 1}"
        scores = self.dense_layer(name, self.num_classes, size, x)
        yield name, scores if self.spatial else scores.mean(axis=(1, 2))

    @property
    def rows(self) -> tuple[Convolution, ...]:
        """The rows of the table, also where they are plain tuples, as JSON has them."""
        return tuple(Convolution(*row) for row in self.convolutions)

    def convolution(self, name: str, row: Convolution, x: jax.Array) -> jax.Array:
        fan_in = row.size**2 * x.shape[-1] // row.groups
        layer = Conv(
            row.features,
            (row.size, row.size),
            (row.stride, row.stride),
            padding=row.padding,
            feature_group_count=row.groups,
            kernel_init=self.start.conv,
            bias_init=self.start.bias(name, fan_in),
            **self.dtypes,
            name=name,
        )
        return layer(x)

    def dense_layer(self, name: str, units: int, size: int, x: jax.Array) -> jax.Array:
        bias_init = self.start.bias(name, size**2 * x.shape[-1])
        layer = DenseOnMap(units, size, self.start.dense, bias_init, **self.dtypes, name=name)
        return layer(x)

    def activate(self, x: jax.Array) -> jax.Array:
        return ACTIVATIONS[self.activation](x)

    def pool(self, x: jax.Array) -> jax.Array:
        return max_pool(x, self.pool_window, 2, self.pool_padding)

    def drop(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = dropout(x, self.dropout_rate, train=train)
        return x * (1 - self.dropout_rate) if self.classic_dropout else x

    @property
    def start(self) -> Initialization:
        return initializer(self.initialization, INITIALIZERS)

    def map_side(self, side: int) -> int:
        """Side of the last feature map for images of `side` pixels, 0 where one of the maps has none."""
        for row in self.rows:
            side = windows_along(side, row.size, row.stride, row.padding)
            if row.pool and "pool" in self.order and side:
                side = windows_along(side, self.pool_window, 2, self.pool_padding)
            if not side:
                return 0
        return side

    def smallest_input(self) -> int:
        return smallest_side(self.map_side)


_ALEXNET = ModelInfo(
    name="alexnet",
    paper="Krizhevsky, Sutskever, Hinton, ImageNet Classification with Deep Convolutional Neural Networks",
    year=2012,
    url="https://papers.nips.cc/paper/4824-imagenet-classification-with-deep-convolutional-neural-networks",
    input_shape=(227, 227, 3),
    num_classes=1000,
    parameters=60_965_224,
    total_parameters=60_965_224,
    preprocessing="caffe",
    deviations=(
        "images of 227x227: from 224x224 the paper's own maps of 55x55 do not come out",
        "dropout scales while training; classic_dropout=True halves at test time, as the paper does",
        "the mean colour is subtracted, not the mean image, and colours are in the order BGR",
    ),
)
_WEIRD: dict[str, Any] = {
    "paper": "Krizhevsky, One weird trick for parallelizing convolutional neural networks",
    "year": 2014,
    "url": "https://arxiv.org/abs/1404.5997",
    "input_shape": (224, 224, 3),
}


def one_tower(*features: int, padding: int = 0, norm: bool = False) -> tuple[Convolution, ...]:
    """The rows of a variant without groups: `padding` of the first, `norm` after the first."""
    first, second, *middle, last = features
    return (
        Convolution(first, 11, stride=4, padding=padding, norm=norm, pool=True),
        Convolution(second, 5, padding=2, pool=True),
        *(Convolution(count, 3, padding=1) for count in middle),
        Convolution(last, 3, padding=1, pool=True),
    )


# name: (facts that differ from alexnet, knobs)
VARIANTS: Variants = {
    "alexnet": ({}, {}),
    "alexnet.tf1": (
        {
            "parameters": 62_378_344,
            "deviations": (
                "no groups",
                "local response normalization comes after pool1, over 9 channels with k 1, alpha 1e-3 / 9; the one "
                "after pool2 is left out, since the notes compute it and do not use it",
                "three quarters of the hidden units are dropped: the notes feed their rate of .25 as the share to keep",
                "kernels start from a truncated normal of deviation .1, biases from 0: the notes' chapter",
            ),
        },
        {
            "convolutions": one_tower(96, 256, 384, 384, 256, norm=True),
            "lrn": ResponseNorm(radius=4, bias=1.0, alpha=1e-3 / 9, beta=0.75),
            "order": ("pool", "norm"),
            "dropout_rate": 0.75,
            "initialization": "truncated_normal",
        },
    ),
    "alexnet.xxnet": (
        {
            "parameters": 62_378_344,
            "preprocessing": "unit",
            "deviations": (
                "no groups, no local response normalization, dropout that scales while training, uniform initial "
                "kernels: the notes' XXNet",
            ),
        },
        {"convolutions": one_tower(96, 256, 384, 384, 256), "initialization": "uniform"},
    ),
    "alexnet.slim": (
        {
            **_WEIRD,
            "parameters": 50_303_912,
            "deviations": (
                "no local response normalization, conv1 without padding, Glorot's initial kernels: TF-Slim",
                "num_classes=None returns the feature map (every network here does), not fc7",
            ),
        },
        {"convolutions": one_tower(64, 192, 384, 384, 256), "window": 5, "initialization": "slim"},
    ),
    "alexnet.torchvision": (
        {
            **_WEIRD,
            "parameters": 61_100_840,
            "preprocessing": "torch",
            "deviations": (
                "no local response normalization, 256 maps in conv4, any map pooled to 6x6, dropout before the hidden "
                "dense layers: torchvision",
            ),
        },
        {
            "convolutions": one_tower(64, 192, 384, 256, 256, padding=2),
            "adaptive_pool": True,
            "dropout_before": True,
            "initialization": "torch",
        },
    ),
    "alexnet.cifar10": (
        {
            "input_shape": (32, 32, 3),
            "num_classes": 10,
            "parameters": 2_819_274,
            "preprocessing": "standardized",
            "deviations": (
                "for images of 32x32: the first kernel is 5x5 with stride 1, and every layer has half the maps, the "
                "hidden dense ones a quarter of the units",
                "Glorot's initial kernels",
            ),
        },
        {
            "convolutions": (
                Convolution(48, 5, padding=2, norm=True, pool=True),
                Convolution(128, 5, padding=2, groups=2, norm=True, pool=True),
                Convolution(192, 3, padding=1),
                Convolution(192, 3, padding=1, groups=2),
                Convolution(128, 3, padding=1, groups=2, pool=True),
            ),
            "dense": (1024, 1024),
            "window": 3,
            "initialization": "glorot_uniform",
        },
    ),
    "alexnet.notebook": (
        {
            "input_shape": (224, 224, 3),
            "parameters": 49_516_520,
            "preprocessing": "unit",
            "deviations": (
                "four convolutions (one of 384 maps is missing), no groups, no local response normalization, 224x224 "
                "without padding: the notes' notebook",
            ),
        },
        {"convolutions": one_tower(96, 256, 384, 256), "window": 5, "initialization": "glorot_uniform"},
    ),
}

register_variants(_ALEXNET, AlexNet, VARIANTS)
