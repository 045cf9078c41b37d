"""ResNet and what was made of it: deep networks of blocks that add to what they get.

- v1 (He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition, 2015, arXiv 1512.03385), Tables 1 and 6.
- v2 (the same: Identity Mappings in Deep Residual Networks, 2016, arXiv 1603.05027): normalization and ReLU stand
  before the convolutions ("pre-activation"), nothing behind the sum.
- Wide ResNets (Zagoruyko, Komodakis, 2016, arXiv 1605.07146), ResNeXt (Xie et al., 2016, arXiv 1611.05431).

                 map    18        34        50              101              152             features
    conv1        112    7x7/2                                                                64
    pool1        56     3x3/2 max
    conv2        56     basic 2   basic 3   bottleneck 3    bottleneck 3     bottleneck 3    64 or 256
    conv3        28     basic 2   basic 4   bottleneck 4    bottleneck 4     bottleneck 8    128 or 512
    conv4        14     basic 2   basic 6   bottleneck 6    bottleneck 23    bottleneck 36   256 or 1024
    conv5        7      basic 2   basic 3   bottleneck 3    bottleneck 3     bottleneck 3    512 or 2048
    avg_pool     1      mean
    predictions  -      1000

    CIFAR: conv1 3x3 16, then three stages of n basic blocks with 16, 32, 64 features on maps of 32, 16 and 8 pixels;
    6n + 2 layers, so resnet20, 32, 44, 56, 110 and 1202 have n = 3, 5, 7, 9, 18 and 200.

A basic block is relu(x + norm(3x3(relu(norm(3x3(x)))))), a bottleneck has 1x1, 3x3 and 1x1 with four times the
features. The first block of a stage halves the map. Where the features change, the shortcut is (section 3.3 of v1)
A: every second pixel, with zeros for the new features; B: a 1x1 convolution, and the pixels as in A elsewhere; C: a 1x1
convolution in every block. CIFAR networks have A, the others B. `plain*` are the same layers without shortcuts.

Names and tags:

- `resnet50`, `101`, `152`: Keras. Biases in the convolutions, the stride in the first 1x1. `.torchvision`: no biases,
  the stride in the 3x3 ("v1.5"); `resnet18` and `34` are torchvision's. `.paper`: no biases, the stride in the first
  1x1.
- `.notebook`: the notes' ResNets. No ReLU in the stem, behind the first 3x3 of a basic block and behind the 3x3 of a
  bottleneck (slips of theirs, which no count shows), SAME padding. `resnet50.xxnet`: ReLU before normalization, 3x3
  shortcuts, nothing behind the sum.
- `resnet50v2`, `101v2`, `152v2`: Keras, the stride in the last block of a stage. `resnet110v2`, `164v2`, `1001v2`: the
  paper's for CIFAR, the last two with bottlenecks.
- `resnext50`, `resnext101`: 32 groups of 4 features, keras-applications; `resnext50.torchvision` has another epsilon;
  `resnext101_32x8d`: groups of 8 (torchvision).
- `wide_resnet16_4`, `wide_resnet28_10`: for CIFAR, pre-activation, 4 and 10 times the features; `wide_resnet50_2`:
  bottlenecks of twice the width (torchvision).

Further knobs: `zero_init` (blocks start as their shortcut; Goyal et al., 2017), `drop_path_rate` (stochastic depth;
Huang et al., 2016), `gated` (highway gates; Srivastava et al., 2015, in the form of v2's section 3), `dropout_rate`
(Wide ResNets).
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import constant, glorot_uniform, he_normal, variance_scaling, zeros

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.backend import materialized
from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Initialization,
    Network,
    Norm,
    Padding,
    PoolPadding,
    Stages,
    drop_path,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
)
from xxnet_jax.models.registry import ModelInfo, Variants, counts, register_variants

INITIALIZERS: dict[str, Initialization] = {
    "glorot_uniform": Initialization(glorot_uniform(), glorot_uniform()),  # Keras
    "he_normal": Initialization(he_normal(), he_normal()),  # the papers
    "torch": Initialization(
        variance_scaling(2.0, "fan_out", "normal"), variance_scaling(1 / 3, "fan_in", "uniform")
    ),  # torchvision
}


class Convolution(NamedTuple):
    """A convolution of a block."""

    size: int
    features: int
    stride: int = 1
    groups: int = 1


class ResNet(Network):
    """A network of residual blocks; see the tables above.

    Parameters of the third convolution of the first block of conv2 are in `conv2_block1_3`, its shortcut's in
    `conv2_block1_0`.

    Attributes:
        depths: blocks of each stage.
        widths: features of the 3x3 convolutions of each stage.
        block: "basic" or "bottleneck".
        expansion: features that a bottleneck gives, as a multiple of its width.
        groups: of the 3x3 convolutions.
        stem: "imagenet" (7x7/2 and pooling) or "cifar" (3x3).
        stem_features: of conv1.
        stem_padding, pool_padding: of conv1 and of the pooling.
        stem_relu: whether conv1 has one.
        pool_zeros: padding counts as zeros in the pooling; only after a stem without ReLU it is seen.
        shortcut: "A", "B" or "C", or None for none: a plain network.
        shortcut_size: height and width of a projection's kernel.
        stride_in_3x3: where a bottleneck halves the map, in its 3x3 or in its first 1x1.
        stride_last: the last block of a stage but the last halves the map, not the first of the next stage.
        preactivation: normalization and ReLU before the convolutions, and none behind the sum.
        norm: batch normalization.
        norm_last: normalization stands after the ReLU, and every convolution has one and a bias.
        use_bias: of convolutions; None for those without normalization behind them.
        linear: convolutions of a block, counted from 1, that have no ReLU; the last one never has.
        relu_of_sum: whether there is the ReLU behind a sum (v1).
        symmetric: 3x3 convolutions pad a pixel on each side; if not, SAME as TensorFlow.
        zero_init: the last convolution of a block, or the scale behind it, starts at zero.
        gated: the residual is weighted by a gate sigmoid(1x1(x)), the shortcut by 1 less the gate.
        gate_bias: initial bias of the gates.
        drop_path_rate: share of the training images for which the last block is left out; it grows linearly with depth.
        dropout_rate: between the convolutions of a block.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: a knob has a value that makes no sense.
    """

    depths: tuple[int, ...] = (3, 4, 6, 3)
    widths: tuple[int, ...] = (64, 128, 256, 512)
    block: Literal["basic", "bottleneck"] = "bottleneck"
    expansion: int = 4
    groups: int = 1
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_features: int = 64
    stem_padding: Padding = ((3, 3), (3, 3))
    pool_padding: PoolPadding = 1
    stem_relu: bool = True
    pool_zeros: bool = False
    shortcut: Literal["A", "B", "C"] | None = "B"
    shortcut_size: int = 1
    stride_in_3x3: bool = False
    stride_last: bool = False
    preactivation: bool = False
    norm: Norm = Norm(momentum=0.9, epsilon=1e-5)
    norm_last: bool = False
    use_bias: bool | None = None
    linear: tuple[int, ...] = ()
    relu_of_sum: bool = True
    symmetric: bool = True
    zero_init: bool = False
    gated: bool = False
    gate_bias: float = -2.0
    drop_path_rate: float = 0.0
    dropout_rate: float = 0.0
    spatial: bool = False
    window: int = 7
    initialization: str = "he_normal"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        relu = self.stem_relu and not self.preactivation
        stem = "conv1_relu" if relu else "conv1_conv"
        if self.stem == "cifar":
            yield stem, (x := self._unit(Convolution(3, self.stem_features), name="conv1", relu=relu)(x, train=train))
        else:
            convolution = Convolution(7, self.stem_features, stride=2)
            unit = self._unit(convolution, name="conv1", padding=self.stem_padding, relu=relu)
            yield stem, (x := unit(x, train=train))
            yield "pool1_pool", (x := self._pool(x))
        total, before = sum(self.depths), 0
        for stage, (depth, width) in enumerate(zip(self.depths, self.widths, strict=True), start=2):
            for number in range(1, depth + 1):
                before += 1
                rate = self.drop_path_rate * before / total
                block = f"conv{stage}_block{number}"
                x = self._block(block, x, width, self._stride(stage, number), rate, train=train)
                yield f"{block}_out", x
        if self.preactivation:
            yield "post_relu", nn.relu(self._norm("post", x, train=train))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        assert self.num_classes is not None
        layer = nn.Dense(self.num_classes, kernel_init=self._start.dense, **self.dtypes, name="predictions")
        yield "predictions", layer(x)

    def _pool(self, x: jax.Array) -> jax.Array:
        if self.pool_zeros and isinstance(self.pool_padding, int):
            sides = (self.pool_padding, self.pool_padding)
            return max_pool(jnp.pad(x, ((0, 0), sides, sides, (0, 0))), 3, 2)
        return max_pool(x, 3, 2, self.pool_padding)

    def _stride(self, stage: int, number: int) -> int:
        """That of a block; the map of conv2 has its size from the stem."""
        if self.stride_last:
            return 2 if number == self.depths[stage - 2] and stage <= len(self.depths) else 1
        return 2 if number == 1 and stage > 2 else 1

    def _convolutions(self, width: int, stride: int) -> tuple[Convolution, ...]:
        match self.block:
            case "basic":
                return Convolution(3, width, stride, self.groups), Convolution(3, width, 1, self.groups)
            case "bottleneck":
                first, second = (1, stride) if self.stride_in_3x3 else (stride, 1)
                return (
                    Convolution(1, width, first),
                    Convolution(3, width, second, self.groups),
                    Convolution(1, width * self.expansion),
                )
            case other:
                raise InvalidArgument(f"block must be 'basic' or 'bottleneck', not {other!r}")

    def _block(self, name: str, x: jax.Array, width: int, stride: int, rate: float, *, train: bool) -> jax.Array:
        convolutions = self._convolutions(width, stride)
        activated = nn.relu(self._norm(f"{name}_preact", x, train=train)) if self.preactivation else x
        y = activated
        for number, convolution in enumerate(convolutions, start=1):
            last = number == len(convolutions)
            relu = not last and number not in self.linear
            y = self._unit(convolution, name=f"{name}_{number}", relu=relu, last=last)(y, train=train)
            if number == 1:
                y = dropout(y, self.dropout_rate, train=train)
        if self.shortcut is not None:
            shortcut = self._shortcut(f"{name}_0", x, activated, y.shape[-1], stride, train=train)
            y = drop_path(self, y, rate, train=train)
            if self.gated:
                gate = self._gate(f"{name}_gate", activated, y.shape[-1], stride)
                y, shortcut = gate * y, (1 - gate) * shortcut
            y = shortcut + y
        return materialized(nn.relu(y) if self.relu_of_sum and not self.preactivation else y)

    def _shortcut(
        self, name: str, x: jax.Array, activated: jax.Array, features: int, stride: int, *, train: bool
    ) -> jax.Array:
        new = features - x.shape[-1]
        if self.shortcut == "C" or (self.shortcut == "B" and new):
            projection = Convolution(self.shortcut_size, features, stride)
            return self._unit(projection, name=name, relu=False, last=True)(activated, train=train)
        if self.shortcut not in ("A", "B") or new < 0:
            raise InvalidArgument(
                f"shortcut must be 'A', 'B', 'C' or None, not {self.shortcut!r}; A cannot drop features"
            )
        return jnp.pad(x[:, ::stride, ::stride], ((0, 0), (0, 0), (0, 0), (0, new)))

    def _gate(self, name: str, x: jax.Array, features: int, stride: int) -> jax.Array:
        start = constant(self.gate_bias)
        layer = Conv(
            features, (1, 1), (stride, stride), kernel_init=self._start.conv, bias_init=start, **self.dtypes, name=name
        )
        return nn.sigmoid(layer(x))

    def _unit(
        self,
        convolution: Convolution,
        *,
        name: str,
        relu: bool,
        last: bool = False,
        padding: Padding | None = None,
    ) -> Callable[..., jax.Array]:
        """A convolution with what belongs to it; `last` for those whose output is added."""
        size, features, stride, groups = convolution
        if padding is None:
            padding = [(size // 2, size // 2)] * 2 if self.symmetric else "SAME"
        kernel, strides = (size, size), (stride, stride)
        options: dict[str, Any] = {"padding": padding, "kernel_init": self._start.conv, **self.dtypes, "name": name}
        if self.norm_last:
            return ConvUnit(features, kernel, strides, norm=self.norm, order="conv activation norm", **options)
        starts_at_zero = self.zero_init and last and not name.endswith("_0")
        normalized = not (self.preactivation and (last or name == "conv1"))
        if starts_at_zero:
            options |= {"scale_init": zeros} if normalized else {"kernel_init": zeros}
        return ConvUnit(
            features,
            kernel,
            strides,
            norm=self.norm if normalized else None,
            use_bias=self.use_bias,
            activation=nn.relu if relu else None,
            groups=groups,
            **options,
        )

    def _norm(self, name: str, x: jax.Array, *, train: bool) -> jax.Array:
        return self.norm.layer(train=train, name=name, **self.dtypes)(x)

    @property
    def _start(self) -> Initialization:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        return 1


_RESNET = ModelInfo(
    name="resnet50",
    paper="He, Zhang, Ren, Sun, Deep Residual Learning for Image Recognition",
    year=2015,
    url="https://arxiv.org/abs/1512.03385",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=25_583_592,
    total_parameters=25_636_712,
    preprocessing="caffe",
    deviations=("biases in the convolutions: Keras",),
)
_V2: dict[str, Any] = {
    "paper": "He, Zhang, Ren, Sun, Identity Mappings in Deep Residual Networks",
    "year": 2016,
    "url": "https://arxiv.org/abs/1603.05027",
}
_WIDE: dict[str, Any] = {
    "paper": "Zagoruyko and Komodakis, Wide Residual Networks",
    "year": 2016,
    "url": "https://arxiv.org/abs/1605.07146",
}
_RESNEXT: dict[str, Any] = {
    "paper": "Xie, Girshick, Dollar, Tu, He, Aggregated Residual Transformations for Deep Neural Networks",
    "year": 2016,
    "url": "https://arxiv.org/abs/1611.05431",
    "preprocessing": "torch",
    "deviations": (),
}
_CIFAR: dict[str, Any] = {
    "input_shape": (32, 32, 3),
    "num_classes": 10,
    "preprocessing": "standardized",
    "deviations": ("images are standardized one by one; the paper subtracts the mean image",),
}
_V15 = ("the stride of a bottleneck is in its 3x3: torchvision",)
_SLIPS = (
    "no ReLU in the stem, behind the first 3x3 of a basic block and behind the 3x3 of a bottleneck: slips of the notes",
    "biases in the convolutions, SAME padding",
)
_KERAS = Norm(momentum=0.99, epsilon=1.001e-5)

DEPTHS: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def _imagenet(layers: int, **knobs: Any) -> dict[str, Any]:
    """Knobs of a network of so many layers."""
    return {"depths": DEPTHS[layers], "block": "basic" if layers < 50 else "bottleneck", **knobs}


def _cifar(depth: int, **knobs: Any) -> dict[str, Any]:
    """Knobs of a network with so many blocks in each of three stages."""
    common = {"stem": "cifar", "stem_features": 16, "shortcut": "A", "window": 8}
    return {**common, "depths": (depth,) * 3, "widths": (16, 32, 64), "block": "basic", **knobs}


_FROM_KERAS: dict[str, Any] = {"norm": _KERAS, "use_bias": True, "initialization": "glorot_uniform"}
_FROM_TORCH: dict[str, Any] = {"stride_in_3x3": True, "initialization": "torch"}
_FROM_KERAS_V2: dict[str, Any] = {
    "norm": _KERAS,
    "preactivation": True,
    "stride_last": True,
    "stride_in_3x3": True,
    "pool_zeros": True,
    "initialization": "glorot_uniform",
}
_FROM_NOTES: dict[str, Any] = {
    "norm": Norm(),
    "use_bias": True,
    "symmetric": False,
    "stem_padding": "SAME",
    "pool_padding": "SAME",
    "stem_relu": False,
    "initialization": "glorot_uniform",
}


def _torch_facts(parameters: int, statistics: int, **facts: Any) -> dict[str, Any]:
    return counts(parameters, statistics, **{"preprocessing": "torch", "deviations": (), **facts})


def _cifar_facts(parameters: int, statistics: int, **facts: Any) -> dict[str, Any]:
    return counts(parameters, statistics, **{**_CIFAR, **facts})


# name: (facts that differ from resnet50's, knobs)
VARIANTS: Variants = {
    "resnet18": (_torch_facts(11_689_512, 9_600), _imagenet(18, **_FROM_TORCH)),
    "resnet34": (_torch_facts(21_797_672, 17_024), _imagenet(34, **_FROM_TORCH)),
    "resnet50": ({}, _imagenet(50, **_FROM_KERAS)),
    "resnet101": (counts(44_601_832, 105_344), _imagenet(101, **_FROM_KERAS)),
    "resnet152": (counts(60_268_520, 151_424), _imagenet(152, **_FROM_KERAS)),
    "resnet50.torchvision": (_torch_facts(25_557_032, 53_120, deviations=_V15), _imagenet(50, **_FROM_TORCH)),
    "resnet101.torchvision": (_torch_facts(44_549_160, 105_344, deviations=_V15), _imagenet(101, **_FROM_TORCH)),
    "resnet152.torchvision": (_torch_facts(60_192_808, 151_424, deviations=_V15), _imagenet(152, **_FROM_TORCH)),
    "resnet50.paper": (counts(25_557_032, 53_120, deviations=()), _imagenet(50)),
    "resnet101.paper": (counts(44_549_160, 105_344, deviations=()), _imagenet(101)),
    "resnet152.paper": (counts(60_192_808, 151_424, deviations=()), _imagenet(152)),
    "resnet18.notebook": (
        counts(11_694_312, 9_600, preprocessing="unit", deviations=_SLIPS),
        _imagenet(18, **_FROM_NOTES, linear=(1,)),
    ),
    "resnet34.notebook": (
        counts(21_806_184, 17_024, preprocessing="unit", deviations=_SLIPS),
        _imagenet(34, **_FROM_NOTES, linear=(1,)),
    ),
    "resnet50.notebook": (
        counts(25_583_592, 53_120, preprocessing="unit", deviations=_SLIPS),
        _imagenet(50, **_FROM_NOTES, linear=(2,)),
    ),
    "resnet101.notebook": (
        counts(44_601_832, 105_344, preprocessing="unit", deviations=_SLIPS),
        _imagenet(101, **_FROM_NOTES, linear=(2,)),
    ),
    "resnet152.notebook": (
        counts(60_268_520, 151_424, preprocessing="unit", deviations=_SLIPS),
        _imagenet(152, **_FROM_NOTES, linear=(2,)),
    ),
    "resnet50.xxnet": (
        counts(
            47_734_760,
            53_120,
            preprocessing="unit",
            deviations=(
                "ReLU before each normalization, on the residual too, and none behind the sum",
                "3x3 convolutions in the shortcuts",
                "biases in the convolutions, SAME padding",
            ),
        ),
        _imagenet(
            50,
            norm=Norm(),
            norm_last=True,
            relu_of_sum=False,
            shortcut_size=3,
            symmetric=False,
            pool_padding="SAME",
            initialization="glorot_uniform",
        ),
    ),
    "resnet50v2": (
        counts(
            25_568_360, 45_440, **_V2, preprocessing="tf", deviations=("the stride is in the last block of a stage",)
        ),
        _imagenet(50, **_FROM_KERAS_V2),
    ),
    "resnet101v2": (
        counts(
            44_577_896, 97_664, **_V2, preprocessing="tf", deviations=("the stride is in the last block of a stage",)
        ),
        _imagenet(101, **_FROM_KERAS_V2),
    ),
    "resnet152v2": (
        counts(
            60_236_904, 143_744, **_V2, preprocessing="tf", deviations=("the stride is in the last block of a stage",)
        ),
        _imagenet(152, **_FROM_KERAS_V2),
    ),
    "resnext50": (
        counts(25_028_904, 68_224, **_RESNEXT),
        _imagenet(50, **_FROM_TORCH, widths=(128, 256, 512, 1024), expansion=2, groups=32, norm=_KERAS),
    ),
    "resnext50.torchvision": (
        counts(25_028_904, 68_224, **_RESNEXT),
        _imagenet(50, **_FROM_TORCH, widths=(128, 256, 512, 1024), expansion=2, groups=32),
    ),
    "resnext101": (
        counts(44_177_704, 137_856, **_RESNEXT),
        _imagenet(101, **_FROM_TORCH, widths=(128, 256, 512, 1024), expansion=2, groups=32, norm=_KERAS),
    ),
    "resnext101_32x8d": (
        counts(88_791_336, 202_880, **_RESNEXT),
        _imagenet(101, **_FROM_TORCH, widths=(256, 512, 1024, 2048), expansion=1, groups=32),
    ),
    "wide_resnet50_2": (
        _torch_facts(68_883_240, 68_224, **_WIDE, deviations=_V15),
        _imagenet(50, **_FROM_TORCH, widths=(128, 256, 512, 1024), expansion=2),
    ),
    "plain18": (_torch_facts(11_515_688, 7_808), _imagenet(18, shortcut=None)),
    "plain34": (_torch_facts(21_623_848, 15_232), _imagenet(34, shortcut=None)),
    "resnet20": (_cifar_facts(269_722, 1_376), _cifar(3)),
    "resnet32": (_cifar_facts(464_154, 2_272), _cifar(5)),
    "resnet44": (_cifar_facts(658_586, 3_168), _cifar(7)),
    "resnet56": (_cifar_facts(853_018, 4_064), _cifar(9)),
    "resnet110": (_cifar_facts(1_727_962, 8_096), _cifar(18)),
    "resnet1202": (_cifar_facts(19_421_274, 89_632), _cifar(200)),
    "plain20": (_cifar_facts(269_722, 1_376), _cifar(3, shortcut=None)),
    "plain32": (_cifar_facts(464_154, 2_272), _cifar(5, shortcut=None)),
    "plain44": (_cifar_facts(658_586, 3_168), _cifar(7, shortcut=None)),
    "plain56": (_cifar_facts(853_018, 4_064), _cifar(9, shortcut=None)),
    "resnet110v2": (_cifar_facts(1_727_962, 8_096, **_V2), _cifar(18, preactivation=True, use_bias=False)),
    "resnet164v2": (
        _cifar_facts(1_703_258, 24_224, **_V2),
        _cifar(18, block="bottleneck", shortcut="B", preactivation=True, use_bias=False),
    ),
    "resnet1001v2": (
        _cifar_facts(10_327_706, 149_216, **_V2),
        _cifar(111, block="bottleneck", shortcut="B", preactivation=True, use_bias=False),
    ),
    "wide_resnet16_4": (
        _cifar_facts(2_748_890, 3_616, **_WIDE),
        _cifar(2, widths=(64, 128, 256), shortcut="B", preactivation=True, use_bias=False),
    ),
    "wide_resnet28_10": (
        _cifar_facts(36_479_194, 17_952, **_WIDE),
        _cifar(4, widths=(160, 320, 640), shortcut="B", preactivation=True, use_bias=False),
    ),
}

register_variants(_RESNET, ResNet, VARIANTS)
