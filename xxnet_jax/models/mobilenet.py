"""MobileNet: networks of separable convolutions, of any width, for phones.

- v1 (Howard et al.: MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications, 2017, arXiv
  1704.04861), Table 1. A block is a 3x3 convolution of each channel by itself ("depthwise") and a 1x1 ("pointwise").
- v2 (Sandler et al.: MobileNetV2: Inverted Residuals and Linear Bottlenecks, 2018, arXiv 1801.04381), Table 2. A block
  is a 1x1 to t times the features of its input, a depthwise 3x3, and a 1x1 without ReLU to c features, with a shortcut
  where neither size nor features change.

    v1            map    features       v2            map    t    c      blocks
    conv1 3x3/2   112    32             Conv1 3x3/2   112         32
    1             112    64             0             112    1    16     1
    2/2, 3        56     128            1/2, 2        56     6    24     2
    4/2, 5        28     256            3/2 to 5      28     6    32     3
    6/2 to 11     14     512            6/2 to 9      14     6    64     4
    12/2, 13      7      1024           10 to 12      14     6    96     3
    avg_pool      1                     13/2 to 15    7      6    160    3
    predictions   -      1000           16            7      6    320    1
                                        Conv_1 1x1    7           1280
                                        avg_pool      1
                                        predictions   -           1000

Normalization stands behind each convolution, and ReLU6 (the minimum of the ReLU and 6) behind that. `alpha` multiplies
the features (the width multiplier). v1 cuts the product to an integer; v2 takes the nearest multiple of 8, see
`make_divisible`, and has 1280 features at the end unless alpha is more than 1.

- `mobilenet`: Keras. Maps are halved with a pixel of padding at the bottom and the right, the logits are a 1x1
  convolution. Further knobs are Tables 4 and 5: `separable=False` (regular convolutions), and fewer `blocks`.
- `mobilenet_v2`: Keras, with SAME padding; features are cut to integers before they are rounded. `linear=False` and
  `residual=False` are Figure 6.
- `mobilenet_v2.torchvision`: a pixel of padding on every side, 20 % dropout.
- `.tflite`: TensorFlow's networks as TFLite files have them. Normalization is part of the convolutions, which have
  biases; class 0 of 1,001 is the background.
"""

import functools
import math
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.linen.initializers import glorot_uniform, normal, variance_scaling

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Initializer,
    Network,
    Norm,
    Padding,
    Stages,
    Unit,
    dropout,
    initializer,
    mean_of_windows,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants


class Initialization(NamedTuple):
    """Initializers of convolutions and of the classifier."""

    conv: Initializer
    dense: Initializer


INITIALIZERS: dict[str, Initialization] = {
    "glorot_uniform": Initialization(glorot_uniform(), glorot_uniform()),  # Keras
    "torch": Initialization(variance_scaling(2.0, "fan_out", "normal"), normal(0.01)),  # torchvision
}


class Block(NamedTuple):
    """A block of v1: features of its 1x1, stride of its 3x3."""

    features: int
    stride: int


class Bottlenecks(NamedTuple):
    """A row of v2's table: expansion, features, number of blocks, stride of the first one."""

    expansion: int
    features: int
    blocks: int
    stride: int


V1 = (
    Block(64, 1),
    *(Block(128, 2), Block(128, 1)),
    *(Block(256, 2), Block(256, 1)),
    *(Block(512, 2), *(Block(512, 1),) * 5),
    *(Block(1024, 2), Block(1024, 1)),
)
V2 = (
    Bottlenecks(1, 16, 1, 1),
    Bottlenecks(6, 24, 2, 2),
    Bottlenecks(6, 32, 3, 2),
    Bottlenecks(6, 64, 4, 2),
    Bottlenecks(6, 96, 3, 1),
    Bottlenecks(6, 160, 3, 2),
    Bottlenecks(6, 320, 1, 1),
)


def make_divisible(features: float, divisor: int = 8) -> int:
    """The multiple of the divisor that is nearest to `features`, at least one of it and no less than .9 of them."""
    rounded = max(divisor, int(features + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * features else rounded + divisor


class Mobile(Network):
    """What both networks have.

    Attributes:
        alpha: factor of the features, more than 0.
        norm: batch normalization, or None: then convolutions have biases.
        dropout_rate: before the logits.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.
    """

    alpha: float = 1.0
    norm: Norm | None = Norm(momentum=0.99, epsilon=1e-3)
    dropout_rate: float = 0.0
    spatial: bool = False
    window: int = 7
    initialization: str = "glorot_uniform"

    @property
    def _unit(self) -> Unit:
        """A convolution with normalization and ReLU6, less its features, size and name."""
        return functools.partial(
            ConvUnit, norm=self.norm, activation=nn.relu6, kernel_init=self._start.conv, **self.dtypes
        )

    @property
    def _start(self) -> Initialization:
        return initializer(self.initialization, INITIALIZERS)

    def _scaled(self, features: int) -> float:
        if not 0 < self.alpha < math.inf:
            raise InvalidArgument(f"alpha must be more than 0, not {self.alpha!r}")
        return features * self.alpha


class MobileNet(Mobile):
    """MobileNet v1; see the table above. Parameters of block 3 are in `conv_dw_3` and `conv_pw_3`.

    Attributes:
        depth_multiplier: features that a depthwise convolution makes of each channel.
        stem_features: of conv1.
        blocks: features and stride of each block.
        separable: if not, a block is one regular 3x3 convolution, `conv_3` (Table 4).

    Others as in `Mobile`.

    Raises:
        ValueError: the images are smaller than 31x31, or alpha or the depth multiplier leaves no features.
    """

    dropout_rate: float = 1e-3
    depth_multiplier: int = 1
    stem_features: int = 32
    blocks: tuple[Block, ...] = V1
    separable: bool = True

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        unit = self._unit(self._width(self.stem_features), (3, 3), (2, 2), name="conv1")
        yield "conv1_relu", (x := unit(x, train=train))
        for number, (features, stride) in enumerate(self.blocks, start=1):
            depthwise = f"conv_dw_{number}"
            pointwise = f"conv_pw_{number}"
            strides = (stride, stride)
            if self.separable:
                channels = x.shape[-1]
                width = channels * self._checked_multiplier()
                unit = self._unit(width, (3, 3), strides, _around(stride), groups=channels, name=depthwise)
                yield f"{depthwise}_relu", (x := unit(x, train=train))
                unit = self._unit(self._width(features), (1, 1), name=pointwise)
                yield f"{pointwise}_relu", (x := unit(x, train=train))
            else:
                unit = self._unit(self._width(features), (3, 3), strides, _around(stride), name=f"conv_{number}")
                yield f"conv_{number}_relu", (x := unit(x, train=train))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        layer = Conv(self.num_classes, (1, 1), kernel_init=self._start.dense, **self.dtypes, name="conv_preds")
        yield "predictions", layer(x) if self.spatial else layer(x[:, None, None])[:, 0, 0]

    def _width(self, features: int) -> int:
        width = int(self._scaled(features))
        if width < 1:
            raise InvalidArgument(f"alpha={self.alpha!r} leaves none of {features} features")
        return width

    def _checked_multiplier(self) -> int:
        if self.depth_multiplier < 1:
            raise InvalidArgument(f"depth_multiplier must be a positive integer, not {self.depth_multiplier!r}")
        return self.depth_multiplier

    def smallest_input(self) -> int:
        def last_map(side: int) -> int:
            side = windows_along(side, 3, 2, "SAME")
            for _, stride in self.blocks:
                side = windows_along(side + sum(_around(stride)[0]), 3, stride)
            return side

        return smallest_side(last_map)


def _around(stride: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Padding of a 3x3 convolution in a block of v1: a stride of 2 has none above and left."""
    return ((1, 1), (1, 1)) if stride == 1 else ((0, 1), (0, 1))


class MobileNetV2(Mobile):
    """MobileNet v2; see the table above. Parameters of block 3 are in `block_3_expand`, `_depthwise` and `_project`,
    those of block 0 in `expanded_conv_depthwise` and `_project`.

    Attributes:
        stem_features: of Conv1.
        stem_stride: of Conv1; 1 for small images.
        rows: of the table.
        last_features: of Conv_1; alpha does not reduce them.
        cut: features of blocks are cut to integers before they are rounded.
        symmetric: convolutions pad a pixel on each side; if not, SAME as TensorFlow.
        linear: no ReLU6 behind the last convolution of a block (Figure 6a).
        residual: shortcuts between the ends of blocks (Figure 6b).

    Others as in `Mobile`.

    Raises:
        ValueError: alpha is not positive.
    """

    norm: Norm | None = Norm(momentum=0.999, epsilon=1e-3)
    stem_features: int = 32
    stem_stride: int = 2
    rows: tuple[Bottlenecks, ...] = V2
    last_features: int = 1280
    cut: bool = True
    symmetric: bool = False
    linear: bool = True
    residual: bool = True

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        padding: Padding = ((1, 1), (1, 1)) if self.symmetric else "SAME"
        strides = (self.stem_stride, self.stem_stride)
        unit = self._unit(make_divisible(self._scaled(self.stem_features)), (3, 3), strides, padding, name="Conv1")
        yield "Conv1_relu", (x := unit(x, train=train))
        number = 0
        for expansion, features, blocks, first_stride in self.rows:
            width = self._scaled(features)
            width = make_divisible(int(width) if self.cut else width)
            for stride in (first_stride, *(1,) * (blocks - 1)):
                prefix = f"block_{number}" if number else "expanded_conv"
                before = x
                if expansion != 1:
                    unit = self._unit(expansion * x.shape[-1], (1, 1), name=f"{prefix}_expand")
                    yield f"{prefix}_expand_relu", (x := unit(x, train=train))
                unit = self._unit(
                    x.shape[-1], (3, 3), (stride, stride), padding, groups=x.shape[-1], name=f"{prefix}_depthwise"
                )
                yield f"{prefix}_depthwise_relu", (x := unit(x, train=train))
                end = None if self.linear else nn.relu6
                unit = self._unit(width, (1, 1), activation=end, name=f"{prefix}_project")
                yield f"{prefix}_project_BN" if self.linear else f"{prefix}_project_relu", (x := unit(x, train=train))
                if self.residual and stride == 1 and before.shape[-1] == width:
                    yield f"{prefix}_add", (x := before + x)
                number += 1
        last = make_divisible(self._scaled(self.last_features)) if self.alpha > 1 else self.last_features
        yield "out_relu", self._unit(last, (1, 1), name="Conv_1")(x, train=train)

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        layer = nn.Dense(self.num_classes, kernel_init=self._start.dense, **self.dtypes, name="predictions")
        yield "predictions", layer(x)

    def smallest_input(self) -> int:
        return 1


_V1 = ModelInfo(
    name="mobilenet",
    paper="Howard et al., MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications",
    year=2017,
    url="https://arxiv.org/abs/1704.04861",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=4_231_976,
    total_parameters=4_253_864,
    preprocessing="tf",
    deviations=("ReLU6 where the paper has a ReLU", "dropout of .1 % before the logits"),
)
_V2 = ModelInfo(
    name="mobilenet_v2",
    paper="Sandler, Howard, Zhu, Zhmoginov, Chen, MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    year=2018,
    url="https://arxiv.org/abs/1801.04381",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=3_504_872,
    total_parameters=3_538_984,
    preprocessing="tf",
)

FOLDED: dict[str, Any] = {"num_classes": 1001, "deviations": ("normalization is part of the convolutions",)}

# name: (facts that differ, knobs)
V1_VARIANTS: Variants = {
    "mobilenet": ({}, {}),
    "mobilenet.tflite": ({"parameters": 4_222_057, **FOLDED}, {"norm": None}),
}
V2_VARIANTS: Variants = {
    "mobilenet_v2": ({}, {}),
    "mobilenet_v2.tflite": ({"parameters": 3_489_097, **FOLDED}, {"norm": None}),
    "mobilenet_v2.torchvision": (
        {"preprocessing": "torch", "deviations": ("20 % dropout before the logits",)},
        {
            "norm": Norm(momentum=0.9, epsilon=1e-5),
            "cut": False,
            "symmetric": True,
            "dropout_rate": 0.2,
            "initialization": "torch",
        },
    ),
}

register_variants(_V1, MobileNet, V1_VARIANTS)
register_variants(_V2, MobileNetV2, V2_VARIANTS)
