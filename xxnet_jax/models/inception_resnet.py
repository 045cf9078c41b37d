"""Inception-ResNet (Szegedy et al.: Inception-v4, Inception-ResNet and the Impact of Residual Connections on Learning,
2016, arXiv 1602.07261), Figures 7 and 10 to 19.

                    inception_resnet_v1                       inception_resnet_v2                            map
    conv2d_1a       3x3/2V 32                                 3x3/2V 32                                      149x149
    conv2d_2a       3x3V 32                                   3x3V 32                                        147x147
    conv2d_2b       3x3 64                                    3x3 64                                         147x147
    maxpool_3a      3x3/2V max                                3x3/2V max                                     73x73
    conv2d_3b       1x1 80                                    1x1 80                                         73x73
    conv2d_4a       3x3V 192                                  3x3V 192                                       71x71
    conv2d_4b       3x3/2V 256                                -                                              35x35
    maxpool_5a      -                                         3x3/2V max                                     35x35
    mixed_5b        -                                         96 | 48, 5x5 64 | 64, 3x3 96, 3x3 96 | avg, 64 35x35
    features        256                                       320
    block35         32 | 32, 3x3 32 | 32, 3x3 32, 3x3 32      32 | 32, 3x3 32 | 32, 3x3 48, 3x3 64
                    5 times, scale .17                        10 times, scale .17                            35x35
    mixed_6a        3x3/2V 384 | 192, 3x3 192, 3x3/2V 256     3x3/2V 384 | 256, 3x3 256, 3x3/2V 384
                    | 3x3/2V max                              | 3x3/2V max                                   17x17
    features        896                                       1088
    block17         128 | 128, 1x7 128, 7x1 128               192 | 128, 1x7 160, 7x1 192
                    10 times, scale .1                        20 times, scale .1                             17x17
    mixed_7a        256, 3x3/2V 384 | 256, 3x3/2V 256         256, 3x3/2V 384 | 256, 3x3/2V 288
                    | 256, 3x3 256, 3x3/2V 256 | 3x3/2V max   | 256, 3x3 288, 3x3/2V 320 | 3x3/2V max         8x8
    features        1792                                      2080
    block8          192 | 192, 1x3 192, 3x1 192               192 | 192, 1x3 224, 3x1 256
                    5 times, scale .2                         9 times, scale .2, and one linear, scale 1     8x8
    conv_7b         -                                         1536                                           8x8
    parameters      22,756,328                                55,813,192

"3x3/2V 32" is a 3x3 convolution with stride 2, VALID padding and 32 features; stride 1, SAME padding and the size 1x1
inside a block are left out. Branches stand between "|", their outputs go side by side. Convolutions have no bias, but
batch normalization and a ReLU. A block is relu(x + scale * up(branches(x))): the 1x1 convolution `up` to the features
of x has a bias, no normalization and no activation (section 3.2). Section 3.3 asks for a scale of .1 to .3.

The auxiliary head of TF-Slim's v2 (`auxiliary_head`) stands after the last block17: 5x5 average pooling with stride 3,
a 1x1 convolution of 128, a 5x5 one of 768 with VALID padding, logits. It runs while training, and its logits go to the
collection `aux_logits`. A map of 17 to 19 pixels is pooled to 5x5; of any other map the means of 5x5 regions that cover
it are taken, so the parameters do not depend on the size of the images.

- `inception_resnet_v1`: the paper; normalization has scales. `linear_block=True` adds facenet's sixth block8.
- `inception_resnet_v2`: Keras and TF-Slim, which differ from the paper: the stem of Inception v3 and mixed_5b in place
  of the stem of Inception v4, 10, 20 and 10 blocks in place of 5, 10 and 5, a last block without ReLU, conv_7b.
- `inception_resnet_v2.timm`: normalization has scales.
"""

import functools
import re
from collections.abc import Generator, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal, variance_scaling

from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Dtype,
    Initializer,
    Network,
    Norm,
    Stages,
    Unit,
    auxiliary_pool,
    avg_pool,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform(),  # Keras
    "he_normal": he_normal(),  # TF-Slim
    "torch": variance_scaling(1 / 3, "fan_in", "uniform"),  # torch's default
}


class Layer(NamedTuple):
    """A convolution, or a pool where `features` says "max" or "avg"."""

    features: int | Literal["max", "avg"]
    size: tuple[int, int]
    stride: int
    padding: Literal["SAME", "VALID"]


Branch = tuple[Layer, ...]


def layer(text: str) -> Layer:
    """The layer that the table above writes as "3x3/2V 384", "1x1 64" or "3x3 avg"."""
    match = re.fullmatch(r"(\d+)x(\d+)(?:/(\d+))?(V?) (\d+|max|avg)", text.strip())
    assert match, text
    height, width, stride, valid, features = match.groups()
    kind: Any = features if features in ("max", "avg") else int(features)
    return Layer(kind, (int(height), int(width)), int(stride or 1), "VALID" if valid else "SAME")


def branches(text: str) -> tuple[Branch, ...]:
    """Branches between "|", layers between commas."""
    return tuple(tuple(layer(word) for word in branch.split(",")) for branch in text.split("|"))


def named_layers(**layers: str) -> tuple[tuple[str, Layer], ...]:
    """The named layers before the first block."""
    return tuple((name, layer(text)) for name, text in layers.items())


_STEM = {
    "conv2d_1a": "3x3/2V 32",
    "conv2d_2a": "3x3V 32",
    "conv2d_2b": "3x3 64",
    "maxpool_3a": "3x3/2V max",
    "conv2d_3b": "1x1 80",
    "conv2d_4a": "3x3V 192",
}
V1: dict[str, Any] = {
    "stem": named_layers(**_STEM, conv2d_4b="3x3/2V 256"),
    "mixed_5b": None,
    "block35": branches("1x1 32 | 1x1 32, 3x3 32 | 1x1 32, 3x3 32, 3x3 32"),
    "mixed_6a": branches("3x3/2V 384 | 1x1 192, 3x3 192, 3x3/2V 256 | 3x3/2V max"),
    "block17": branches("1x1 128 | 1x1 128, 1x7 128, 7x1 128"),
    "mixed_7a": branches("1x1 256, 3x3/2V 384 | 1x1 256, 3x3/2V 256 | 1x1 256, 3x3 256, 3x3/2V 256 | 3x3/2V max"),
    "block8": branches("1x1 192 | 1x1 192, 1x3 192, 3x1 192"),
    "repeats": (5, 10, 5),
    "linear_block": False,
    "last": None,
    "norm": Norm(momentum=0.995, epsilon=1e-3),
    "dropout_rate": 0.2,
    "initialization": "he_normal",
}


class InceptionResNet(Network):
    """Inception-ResNet; see the table above. Endpoints have its names; blocks are numbered from 1: `block35_1`.

    Attributes:
        stem: named layers before the first block.
        mixed_5b: branches between stem and blocks, or None.
        block35, block17, block8: branches of the residual blocks, named for their map in images of 299x299.
        mixed_6a, mixed_7a: branches of the reductions between them.
        repeats: numbers of the three kinds of blocks.
        scales: factors of their residuals before they are added.
        linear_block: one more block8, with scale 1 and without the ReLU.
        last: features of the 1x1 convolution conv_7b, or None for no such layer.
        norm: batch normalization of the convolutions.
        dropout_rate: before the logits.
        auxiliary_head: an auxiliary head after the last block17; there is none without logits (`num_classes=None` or a
            `final_endpoint`).
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are smaller than 75x75.
    """

    stem: tuple[tuple[str, Layer], ...] = named_layers(**_STEM, maxpool_5a="3x3/2V max")
    mixed_5b: tuple[Branch, ...] | None = branches("1x1 96 | 1x1 48, 5x5 64 | 1x1 64, 3x3 96, 3x3 96 | 3x3 avg, 1x1 64")
    block35: tuple[Branch, ...] = branches("1x1 32 | 1x1 32, 3x3 32 | 1x1 32, 3x3 48, 3x3 64")
    mixed_6a: tuple[Branch, ...] = branches("3x3/2V 384 | 1x1 256, 3x3 256, 3x3/2V 384 | 3x3/2V max")
    block17: tuple[Branch, ...] = branches("1x1 192 | 1x1 128, 1x7 160, 7x1 192")
    mixed_7a: tuple[Branch, ...] = branches(
        "1x1 256, 3x3/2V 384 | 1x1 256, 3x3/2V 288 | 1x1 256, 3x3 288, 3x3/2V 320 | 3x3/2V max"
    )
    block8: tuple[Branch, ...] = branches("1x1 192 | 1x1 192, 1x3 224, 3x1 256")
    repeats: tuple[int, int, int] = (10, 20, 9)
    scales: tuple[float, float, float] = (0.17, 0.1, 0.2)
    linear_block: bool = True
    last: int | None = 1536
    norm: Norm = Norm(momentum=0.99, epsilon=1e-3, scale=False)
    dropout_rate: float = 0.0
    auxiliary_head: bool = False
    spatial: bool = False
    window: int = 8
    initialization: str = "glorot_uniform"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for name, description in self.stem:
            yield name, (x := apply_layer(description, x, self.unit, name, train=train))
        if self.mixed_5b is not None:
            yield "mixed_5b", (x := Branches(self.mixed_5b, self.unit, name="mixed_5b")(x, train=train))
        first, second, third = self.repeats
        x = yield from self._blocks("block35", self.block35, first, self.scales[0], x, train=train)
        yield "mixed_6a", (x := Branches(self.mixed_6a, self.unit, name="mixed_6a")(x, train=train))
        x = yield from self._blocks("block17", self.block17, second, self.scales[1], x, train=train)
        self._auxiliary_head(x, train=train)
        yield "mixed_7a", (x := Branches(self.mixed_7a, self.unit, name="mixed_7a")(x, train=train))
        x = yield from self._blocks("block8", self.block8, third, self.scales[2], x, train=train)
        if self.linear_block:
            name = f"block8_{third + 1}"
            block = ResidualBlock(self.block8, 1.0, self.unit, self.kernel_init, False, **self.dtypes, name=name)
            yield name, (x := block(x, train=train))
        if self.last is not None:
            yield "conv_7b", self.unit(self.last, (1, 1), name="conv_7b")(x, train=train)

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        x = mean_of_windows(x, self.window if self.spatial else None)
        yield "avg_pool", x
        x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        logits = nn.Dense(self.num_classes, kernel_init=self.kernel_init, **self.dtypes, name="predictions")
        yield "predictions", logits(x)

    def _blocks(
        self, kind: str, inside: tuple[Branch, ...], count: int, scale: float, x: jax.Array, *, train: bool
    ) -> Generator[tuple[str, jax.Array], None, jax.Array]:
        for number in range(1, count + 1):
            name = f"{kind}_{number}"
            block = ResidualBlock(inside, scale, self.unit, self.kernel_init, **self.dtypes, name=name)
            yield name, (x := block(x, train=train))
        return x

    def _auxiliary_head(self, x: jax.Array, *, train: bool) -> None:
        if not self.auxiliary_head or not self.runs_auxiliary_heads(train=train):
            return
        assert self.num_classes is not None
        head = AuxiliaryHead(self.num_classes, self.unit, self.kernel_init, **self.dtypes, name="aux")
        self.auxiliary("aux", head(x, train=train))

    @property
    def unit(self) -> Unit:
        """A convolution of this network, less its features, size and name."""
        return functools.partial(ConvUnit, norm=self.norm, kernel_init=self.kernel_init, **self.dtypes)

    @property
    def kernel_init(self) -> Initializer:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        side = 1
        for parallel in (self.mixed_7a, self.mixed_6a):
            side = max(smallest_map(branch, side) for branch in parallel)
        return smallest_map([description for _, description in self.stem], side)


class Branches(nn.Module):
    """Branches on the same map, their outputs one after the other in the channels.

    Attributes:
        branches: their layers. Parameters of layer j of branch i are in `branch{i}_conv{j}`, both counted from 0.
        unit: makes a convolution of so many features, of a size, with a name.
    """

    branches: tuple[Branch, ...]
    unit: Unit

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        outputs = []
        for i, branch in enumerate(self.branches):
            y = x
            for j, description in enumerate(branch):
                y = apply_layer(description, y, self.unit, f"branch{i}_conv{j}", train=train)
            outputs.append(y)
        return jnp.concatenate(outputs, axis=-1)


class ResidualBlock(nn.Module):
    """relu(x + scale * up(branches(x))), Figures 10 to 13, 16, 17 and 19.

    Attributes:
        branches: as in `Branches`, under the parameters `mixed`.
        scale: of the residual (section 3.3).
        unit: makes a convolution.
        kernel_init: of `up`, the 1x1 convolution to the features of x.
        activate: whether there is the ReLU.
        dtype, param_dtype: of computation and parameters.
    """

    branches: tuple[Branch, ...]
    scale: float
    unit: Unit
    kernel_init: Initializer
    activate: bool = True
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        mixed = Branches(self.branches, self.unit, name="mixed")(x, train=train)
        up = Conv(x.shape[-1], (1, 1), kernel_init=self.kernel_init, **dtypes, name="up")
        x = x + self.scale * up(mixed)
        return nn.relu(x) if self.activate else x


class AuxiliaryHead(nn.Module):
    """Logits [batch, num_classes] from the last map of block17, while training; see the module's docstring.

    Attributes:
        num_classes: size of the classifier.
        unit: makes a convolution.
        kernel_init: of the dense layer.
        dtype, param_dtype: of computation and parameters.
    """

    num_classes: int
    unit: Unit
    kernel_init: Initializer
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        x = self.unit(128, (1, 1), name="conv0")(auxiliary_pool(x, 5), train=train)
        x = self.unit(768, (5, 5), padding="VALID", name="conv1")(x, train=train)
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        logits = nn.Dense(self.num_classes, kernel_init=self.kernel_init, **dtypes, name="logits")
        return logits(x.reshape(len(x), -1))


def apply_layer(description: Layer, x: jax.Array, unit: Unit, name: str, *, train: bool) -> jax.Array:
    """The layer on `x`; `name` is that of its parameters, if it has any."""
    features, size, stride, padding = description
    if isinstance(features, str):
        pool = {"max": max_pool, "avg": avg_pool}[features]
        return pool(x, size[0], stride, padding)
    return unit(features, size, (stride, stride), padding, name=name)(x, train=train)


def smallest_map(layers: Sequence[Layer], side: int) -> int:
    """The smallest map from which the layers make one of `side` pixels a side."""
    for _, size, stride, padding in reversed(layers):
        side = stride * (side - 1) + (max(size) if padding == "VALID" else 1)
    return side


_V2 = ModelInfo(
    name="inception_resnet_v2",
    paper="Szegedy, Ioffe, Vanhoucke, Alemi, Inception-v4, Inception-ResNet and the Impact of Residual Connections "
    "on Learning",
    year=2016,
    url="https://arxiv.org/abs/1602.07261",
    input_shape=(299, 299, 3),
    num_classes=1000,
    parameters=55_813_192,
    total_parameters=55_873_736,
    preprocessing="tf",
    deviations=(
        "the stem of Inception v3 and mixed_5b in place of the stem of Inception v4",
        "hence 320, 1088 and 2080 features where the figures print 384, 1154 and 2048",
        "10, 20 and 10 blocks in place of 5, 10 and 5, a 1x1 convolution of 1536 behind them",
        "the last block is linear and not scaled",
        "no dropout, where the paper drops 20 %",
    ),
)

# name: (facts that differ from inception_resnet_v2, knobs)
VARIANTS: Variants = {
    "inception_resnet_v1": ({"parameters": 22_756_328, "total_parameters": 22_783_368, "deviations": ()}, V1),
    "inception_resnet_v2": ({}, {}),
    "inception_resnet_v2.timm": (
        {
            "parameters": 55_843_464,
            "total_parameters": 55_904_008,
            "deviations": (*_V2.deviations, "normalization with scales"),
        },
        {"norm": Norm(momentum=0.9, epsilon=1e-3), "initialization": "torch"},
    ),
}

register_variants(_V2, InceptionResNet, VARIANTS)
