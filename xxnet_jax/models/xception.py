"""Xception (Chollet: Xception: Deep Learning with Depthwise Separable Convolutions, 2016, arXiv 1610.02357), Figure 5.

    block         layers                              shortcut    map    features    parameters
    block1        3x3/2V 32, 3x3V 64                              147    64          19,488
    block2        sep 128, sep 128, pool              1x1/2       74     128         35,264
    block3        sep 256, sep 256, pool              1x1/2       37     256         136,064
    block4        sep 728, sep 728, pool              1x1/2       19     728         915,944
    block5 to 12  sep 728, sep 728, sep 728           identity    19     728         1,613,976 each
    block13       sep 728, sep 1024, pool             1x1/2       10     1024        2,039,584
    block14       sep 1536, sep 2048                              10     2048        4,748,800
    avg_pool      mean                                            1      2048
    predictions                                                   -      1000        2,049,000

"sep 128" is a separable convolution: a 3x3 convolution of each channel by itself ("depthwise"), then a 1x1 to 128
features ("pointwise"), nothing between the two. Normalization stands behind each convolution; the ReLU behind that in
block1 and block14, and else before the convolution, so that the shortcuts are linear. The first ReLU of block2 is
block1's. Pools are 3x3/2 maxima.

`xception` is Keras. Section 1.2 places the separable convolution at the end of a row of which the convolution is the
beginning: `segments` is the number of parts of the channels that the 3x3 sees apart, from 1 (a 1x1 and a regular
convolution) over a few (an Inception module) to one for each channel; 2, 4 and 8 divide all widths of the table.
`pointwise_first` is Inception's order, `between` an activation between the two (section 4.7), `residual` whether there
are shortcuts (section 4.6).
"""

import functools
from collections.abc import Callable
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Dtype,
    Initializer,
    Network,
    Norm,
    Stages,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

INITIALIZERS: dict[str, Initializer] = {
    "glorot_uniform": glorot_uniform(),  # Keras
    "he_normal": he_normal(),
}

Activation = Callable[[jax.Array], jax.Array]
ACTIVATIONS: dict[str | None, Activation | None] = {None: None, "relu": nn.relu, "elu": nn.elu}

# Features of the separable convolutions of block2 to block13. Those whose features change at the end halve the map.
BLOCKS = ((128, 128), (256, 256), (728, 728), *((728, 728, 728),) * 8, (728, 1024))


class Xception(Network):
    """Xception; see the table above.

    Attributes:
        stem: features of the convolutions of block1.
        blocks: features of the separable convolutions of each block with a shortcut. A block whose last features are
            not those of its input halves the map, and its shortcut is a 1x1 convolution.
        last: features of the separable convolutions of the last block.
        segments: into how many parts the 3x3 of a separable convolution divides the channels, or None for as many as
            there are channels.
        pointwise_first: the 1x1 stands before the 3x3.
        between: activation between the two: None, "relu" or "elu".
        residual: whether there are shortcuts.
        norm: batch normalization.
        dropout_rate: before the logits; the paper has .5 on ImageNet.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are smaller than 7x7, or the channels cannot be divided into so many segments.
    """

    stem: tuple[int, int] = (32, 64)
    blocks: tuple[tuple[int, ...], ...] = BLOCKS
    last: tuple[int, ...] = (1536, 2048)
    segments: int | None = None
    pointwise_first: bool = False
    between: Literal["relu", "elu"] | None = None
    residual: bool = True
    norm: Norm = Norm(momentum=0.99, epsilon=1e-3)
    dropout_rate: float = 0.0
    spatial: bool = False
    window: int = 10
    initialization: str = "glorot_uniform"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for number, (features, stride) in enumerate(zip(self.stem, (2, 1), strict=True), start=1):
            name = f"block1_conv{number}"
            unit = self._conv(features, (3, 3), (stride, stride), "VALID", activation=nn.relu, name=name)
            yield f"{name}_act", (x := unit(x, train=train))
        for block, widths in enumerate(self.blocks, start=2):
            before = x
            for number, features in enumerate(widths, start=1):
                name = f"block{block}_sepconv{number}"
                x = x if (block, number) == (2, 1) else nn.relu(x)
                yield f"{name}_bn", (x := self._separable(features, name=name)(x, train=train))
            halves = before.shape[-1] != x.shape[-1]
            if halves:
                yield f"block{block}_pool", (x := max_pool(x, 3, 2, "SAME"))
            if self.residual:
                if halves:
                    projection = self._conv(x.shape[-1], (1, 1), (2, 2), name=f"block{block}_shortcut")
                    before = projection(before, train=train)
                yield f"block{block}_add", (x := x + before)
        for number, features in enumerate(self.last, start=1):
            name = f"block{len(self.blocks) + 2}_sepconv{number}"
            yield f"{name}_act", (x := nn.relu(self._separable(features, name=name)(x, train=train)))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        yield "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        layer = nn.Dense(self.num_classes, kernel_init=self._kernel_init, **self.dtypes, name="predictions")
        yield "predictions", layer(x)

    @property
    def _conv(self) -> Callable[..., ConvUnit]:
        """A convolution with normalization, less its features, size and name."""
        return functools.partial(
            ConvUnit, norm=self.norm, activation=None, kernel_init=self._kernel_init, **self.dtypes
        )

    def _separable(self, features: int, *, name: str) -> "SeparableUnit":
        if self.between not in ACTIVATIONS:
            raise InvalidArgument(f"between must be None, 'relu' or 'elu', not {self.between!r}")
        return SeparableUnit(
            features,
            norm=self.norm,
            segments=self.segments,
            pointwise_first=self.pointwise_first,
            between=ACTIVATIONS[self.between],
            kernel_init=self._kernel_init,
            **self.dtypes,
            name=name,
        )

    @property
    def _kernel_init(self) -> Initializer:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        return smallest_side(lambda side: windows_along(windows_along(side, 3, 2), 3, 1))


class SeparableUnit(nn.Module):
    """A 3x3 convolution inside segments of the channels, a 1x1 over all of them, normalization.

    Parameters: `depthwise/kernel` [3, 3, channels of a segment, channels], `pointwise/kernel`, `bn/scale`, `bn/bias`.
    Attributes as in `Xception`.
    """

    features: int
    norm: Norm
    segments: int | None = None
    pointwise_first: bool = False
    between: Activation | None = None
    kernel_init: Initializer = glorot_uniform()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        options: dict[str, Any] = {"use_bias": False, "kernel_init": self.kernel_init, **dtypes}
        channels = self.features if self.pointwise_first else x.shape[-1]
        segments = channels if self.segments is None else self.segments
        if segments < 1 or channels % segments:
            raise InvalidArgument(f"{channels} channels cannot be divided into {segments} segments of the same size")
        depthwise = Conv(channels, (3, 3), feature_group_count=segments, **options, name="depthwise")
        pointwise = Conv(self.features, (1, 1), **options, name="pointwise")
        first, second = (pointwise, depthwise) if self.pointwise_first else (depthwise, pointwise)
        x = first(x)
        if self.between is not None:
            x = self.between(x)
        return self.norm.layer(train=train, name="bn", **dtypes)(second(x))


_XCEPTION = ModelInfo(
    name="xception",
    paper="Chollet, Xception: Deep Learning with Depthwise Separable Convolutions",
    year=2016,
    url="https://arxiv.org/abs/1610.02357",
    input_shape=(299, 299, 3),
    num_classes=1000,
    parameters=22_855_952,
    total_parameters=22_910_480,
    preprocessing="tf",
    deviations=("no dropout before the logits, where the paper drops 50 %",),
)

# name: (facts that differ, knobs)
VARIANTS: Variants = {"xception": ({}, {})}

register_variants(_XCEPTION, Xception, VARIANTS)
