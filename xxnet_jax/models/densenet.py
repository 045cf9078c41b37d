"""DenseNet (Huang, Liu, van der Maaten, Weinberger: Densely Connected Convolutional Networks, 2016, arXiv 1608.06993),
Table 1 and section 4.

                 map    121       169       201       264       161       layer
    conv1        112    7x7/2, 64 features (96)
    pool1        56     3x3/2 max
    conv2        56     6         6         6         6         6         1x1 4k, 3x3 k
    pool2        28     1x1 to half the features, 2x2 mean
    conv3        28     12        12        12        12        12
    pool3        14     1x1 to half the features, 2x2 mean
    conv4        14     24        32        48        64        36
    pool4        7      1x1 to half the features, 2x2 mean
    conv5        7      16        32        32        48        24
    features     7      1024      1664      1920      2688      2208
    avg_pool     1      mean
    predictions  -      1000
    k                   32        32        32        32        48

    CIFAR: conv1 3x3, three blocks of n layers on maps of 32, 16 and 8 pixels, pool2 and pool3 between them.
    name                 features of conv1   n    layer            pools keep   last features
    densenet40_12        16                  12   3x3 12           all          448
    densenet100_12       16                  32   3x3 12           all          1168
    densenet100_24       16                  32   3x3 24           all          2320
    densenet_bc40_12     24                  6    1x1 48, 3x3 12   half         132
    densenet_bc100_12    24                  16   1x1 48, 3x3 12   half         342
    densenet_bc250_24    48                  41   1x1 96, 3x3 24   half         1734
    densenet_bc190_40    80                  31   1x1 160, 3x3 40  half         2190

A layer sees the outputs of all layers of its block, side by side, and adds k features (k: growth rate). Before each
convolution but conv1 stand normalization and a ReLU. "B" has 1x1 convolutions to 4k features before the 3x3, "C" pools
that keep a part of the features; `bottleneck=None` and `compression=1.0` switch them off one by one.

- `densenet121`, `169`, `201`: Keras, with an epsilon of 1.001e-5. `.torchvision`, `densenet161` and `264`: 1e-5, as
  torchvision, and its initialization.
- `densenet121.xxnet`: the notes' XXNet with their reduction of .5, a scale and a bias behind every normalization. Their
  default, a reduction of 0, is `compression=1.0`.

`remat` makes the outputs of a layer again when the gradient needs them, so that memory grows with the depth of a block
and not with its square (Pleiss et al., 2017, arXiv 1707.06990). A training step of `densenet121` on 8 images of 224x224
then needs 410 MiB in place of 1444 (XLA on CPU, `experiments/benchmarks/compile.py`).
"""

import functools
from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal, ones, variance_scaling, zeros

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.backend import materialized
from xxnet_jax.models.layers import (
    ConvUnit,
    Initialization,
    Network,
    Norm,
    Stages,
    Unit,
    avg_pool,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.normalization import BatchNorm
from xxnet_jax.models.registry import ModelInfo, Variants, counts, register_variants

INITIALIZERS: dict[str, Initialization] = {
    "glorot_uniform": Initialization(glorot_uniform(), glorot_uniform()),  # Keras
    "he_normal": Initialization(he_normal(), he_normal()),  # the paper
    "torch": Initialization(
        variance_scaling(2.0, "fan_in", "normal"), variance_scaling(1 / 3, "fan_in", "uniform")
    ),  # torchvision
}

AROUND = ((1, 1), (1, 1))  # a pixel on each side


class ScaledBatchNorm(BatchNorm):
    """Batch normalization, and behind it a scale and a bias of each channel once more (`gamma`, `beta`)."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = super().__call__(x)
        shape = (x.shape[-1],)
        gamma = self.param("gamma", ones, shape, self.param_dtype).astype(x.dtype)
        beta = self.param("beta", zeros, shape, self.param_dtype).astype(x.dtype)
        return x * gamma.reshape(1, 1, 1, -1) + beta.reshape(1, 1, 1, -1)


@dataclass(frozen=True)
class ScaledNorm(Norm):
    """The normalization of the notes' XXNet, see `ScaledBatchNorm`; attributes as in `Norm`."""

    kind = ScaledBatchNorm


class DenseNet(Network):
    """DenseNet; see the tables above.

    Parameters of layer 3 of conv2 are in `conv2_block3`: its 1x1 with the normalization before it in `1`, its 3x3 in
    `2`, which also is the name of the 3x3 where there is no 1x1.

    Attributes:
        depths: layers of each block.
        growth_rate: features that a layer adds (k).
        bottleneck: features of the 1x1 convolution of a layer as a multiple of the growth rate, or None for no 1x1.
        compression: share of the features that a pool between two blocks keeps, more than 0 and at most 1 (theta).
        stem: "imagenet" (7x7/2 and pooling) or "cifar" (3x3).
        stem_features: of conv1.
        norm: batch normalization.
        dropout_rate: behind each convolution but conv1; the paper has .2 without augmentation.
        remat: compute each layer again in the backward pass; variables, endpoints and results are the same.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are smaller than 29x29 (4x4 with the stem for CIFAR), or the compression is out of range.
    """

    depths: tuple[int, ...] = (6, 12, 24, 16)
    growth_rate: int = 32
    bottleneck: int | None = 4
    compression: float = 0.5
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_features: int = 64
    norm: Norm = Norm(momentum=0.99, epsilon=1.001e-5)
    dropout_rate: float = 0.0
    remat: bool = False
    spatial: bool = False
    window: int = 7
    initialization: str = "glorot_uniform"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        if self.stem == "cifar":
            unit = self._unit(self.stem_features, (3, 3), padding=AROUND, norm=None, activation=None, name="conv1")
            yield "conv1_conv", (x := unit(x, train=train))
        else:
            order = "conv norm activation"
            unit = self._unit(self.stem_features, (7, 7), (2, 2), ((3, 3), (3, 3)), order=order, name="conv1")
            yield "conv1_relu", (x := unit(x, train=train))
            yield "pool1", (x := max_pool(x, 3, 2, padding=1))
        for number, depth in enumerate(self.depths, start=2):
            x = yield from self._block(f"conv{number}", x, depth, train=train)
            if number <= len(self.depths):
                x = self._unit(self._kept(x.shape[-1]), (1, 1), name=f"pool{number}")(x, train=train)
                yield f"pool{number}_conv", x
                x = avg_pool(dropout(x, self.dropout_rate, train=train), 2)
                yield f"pool{number}_pool", x
        yield "relu", nn.relu(self.norm.layer(train=train, name="bn", **self.dtypes)(x))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        assert self.num_classes is not None
        layer = nn.Dense(self.num_classes, kernel_init=self._start.dense, **self.dtypes, name="predictions")
        yield "predictions", layer(x)

    def _block(
        self, name: str, x: jax.Array, depth: int, *, train: bool
    ) -> Generator[tuple[str, jax.Array], None, jax.Array]:
        layer = nn.remat(DenseLayer) if self.remat else DenseLayer
        width = None if self.bottleneck is None else self.bottleneck * self.growth_rate
        outputs = [x]
        for number in range(1, depth + 1):
            new = layer(self.growth_rate, width, self.dropout_rate, self._unit, train, name=f"{name}_block{number}")
            outputs.append(new(*outputs))
            x = materialized(jnp.concatenate(outputs, axis=-1))
            yield f"{name}_block{number}_concat", x
            if not self.remat:
                outputs = [x]
        return x

    def _kept(self, features: int) -> int:
        """Features behind a pool between two blocks (section 3, "Compression")."""
        kept = int(features * self.compression)
        if not (0 < self.compression <= 1 and kept):
            raise InvalidArgument(
                f"compression must be more than 0 and at most 1, and leave a feature of {features}, "
                f"not {self.compression!r}"
            )
        return kept

    @property
    def _unit(self) -> Unit:
        """A convolution behind normalization and ReLU, less its features, size and name."""
        return functools.partial(
            ConvUnit,
            norm=self.norm,
            order="norm activation conv",
            use_bias=False,
            kernel_init=self._start.conv,
            **self.dtypes,
        )

    @property
    def _start(self) -> Initialization:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        def last_map(side: int) -> int:
            if self.stem == "imagenet":
                side = windows_along(windows_along(side, 7, 2, 3), 3, 2, 1)
            return side // 2 ** (len(self.depths) - 1)

        return smallest_side(last_map)


class DenseLayer(nn.Module):
    """k new features from the outputs of all layers before in the block (section 3, "Composite function").

    They come joined, or apart where the layer is rematerialized: it then keeps each of them once, not once for every
    layer that follows.

    Attributes:
        features: that the layer adds (k).
        width: features of the 1x1 convolution, or None for none.
        dropout_rate: behind each convolution.
        unit: makes a convolution with normalization and ReLU before it.
        train: whether this is training.
    """

    features: int
    width: int | None
    dropout_rate: float
    unit: Unit
    train: bool  # not an argument of the call: rematerialization would trace it

    @nn.compact
    def __call__(self, *outputs: jax.Array) -> jax.Array:
        x = jnp.concatenate(outputs, axis=-1)
        if self.width is not None:
            x = self.unit(self.width, (1, 1), name="1")(x, train=self.train)
            x = dropout(x, self.dropout_rate, train=self.train)
        x = self.unit(self.features, (3, 3), padding=AROUND, name="2")(x, train=self.train)
        return dropout(x, self.dropout_rate, train=self.train)


_DENSENET = ModelInfo(
    name="densenet121",
    paper="Huang, Liu, van der Maaten, Weinberger, Densely Connected Convolutional Networks",
    year=2016,
    url="https://arxiv.org/abs/1608.06993",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=7_978_856,
    total_parameters=8_062_504,
    preprocessing="torch",
    deviations=("a ReLU in the pools between blocks, as in the authors' code; the text has none",),
)
_CIFAR: dict[str, Any] = {
    "input_shape": (32, 32, 3),
    "num_classes": 10,
    "preprocessing": "standardized",
    "deviations": (
        *_DENSENET.deviations,
        "images are standardized one by one; the paper takes mean and deviation of the channels",
    ),
}
_FROM_TORCH: dict[str, Any] = {"norm": Norm(momentum=0.9, epsilon=1e-5), "initialization": "torch"}


def _cifar_facts(parameters: int, statistics: int) -> dict[str, Any]:
    return counts(parameters, statistics, **_CIFAR)


def _cifar(depth: int, growth_rate: int, **knobs: Any) -> dict[str, Any]:
    """Knobs of a network for CIFAR with three blocks of so many layers."""
    return {
        "depths": (depth,) * 3,
        "growth_rate": growth_rate,
        "stem": "cifar",
        "window": 8,
        "norm": Norm(momentum=0.9, epsilon=1e-5),
        "initialization": "he_normal",
        **knobs,
    }


def _plain(depth: int, growth_rate: int) -> dict[str, Any]:
    return _cifar(depth, growth_rate, stem_features=16, bottleneck=None, compression=1.0)


def _bc(depth: int, growth_rate: int) -> dict[str, Any]:
    return _cifar(depth, growth_rate, stem_features=2 * growth_rate)


# name: (facts that differ from densenet121's, knobs)
VARIANTS: Variants = {
    "densenet121": ({}, {}),
    "densenet169": (counts(14_149_480, 158_400), {"depths": (6, 12, 32, 32)}),
    "densenet201": (counts(20_013_928, 229_056), {"depths": (6, 12, 48, 32)}),
    "densenet264": (counts(33_337_704, 398_528), {"depths": (6, 12, 64, 48), **_FROM_TORCH}),
    "densenet161": (
        counts(28_681_000, 219_936),
        {"depths": (6, 12, 36, 24), "growth_rate": 48, "stem_features": 96, **_FROM_TORCH},
    ),
    "densenet121.torchvision": ({}, _FROM_TORCH),
    "densenet169.torchvision": (counts(14_149_480, 158_400), {"depths": (6, 12, 32, 32), **_FROM_TORCH}),
    "densenet201.torchvision": (counts(20_013_928, 229_056), {"depths": (6, 12, 48, 32), **_FROM_TORCH}),
    "densenet121.xxnet": (
        counts(
            8_062_504,
            83_648,
            preprocessing="unit",
            deviations=(*_DENSENET.deviations, "a second scale and bias behind every normalization"),
        ),
        {"norm": ScaledNorm(momentum=0.99, epsilon=1.1e-5)},
    ),
    "densenet40_12": (_cifar_facts(1_019_722, 18_096), _plain(12, 12)),
    "densenet100_12": (_cifar_facts(6_979_642, 117_216), _plain(32, 12)),
    "densenet100_24": (_cifar_facts(27_249_082, 231_264), _plain(32, 24)),
    "densenet_bc40_12": (_cifar_facts(176_122, 5_088), _bc(6, 12)),
    "densenet_bc100_12": (_cifar_facts(769_162, 23_988), _bc(16, 12)),
    "densenet_bc250_24": (_cifar_facts(15_324_406, 257_976), _bc(41, 24)),
    "densenet_bc190_40": (_cifar_facts(25_624_430, 256_960), _bc(31, 40)),
}

register_variants(_DENSENET, DenseNet, VARIANTS)
