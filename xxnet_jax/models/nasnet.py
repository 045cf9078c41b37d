"""NASNet-A (Zoph, Vasudevan, Shlens, Le: Learning Transferable Architectures for Scalable Image Recognition, 2017,
arXiv 1707.07012), Figures 2 and 4 and appendix A.4.

    block    normal cell            reduction cell
    1        sep5(h) + sep3(p)      sep5(h) + sep7(p)
    2        sep5(p) + sep3(p)      max3(h) + sep7(p)
    3        avg3(h) + p            avg3(h) + sep5(p)
    4        avg3(p) + avg3(p)      2 + avg3(1)
    5        sep3(h) + h            sep3(1) + max3(h)
    output   p 1 2 3 4 5            2 3 4 5

A cell sees the outputs of the two cells before it. h is the last one behind a ReLU, a 1x1 convolution to the cell's
features and normalization, and p the one before, made alike where its features or its size differ ("adjust"). sep5 is
twice a ReLU, a separable convolution with a 5x5 and normalization; avg3 and max3 are pools; a number is the sum of that
block. Outputs go side by side. A reduction cell halves the map: what it makes of h and p has stride 2.

                     nasnet_mobile          nasnet_large           nasnet_cifar10
                     map    features        map    features        map   features
    stem             111    32              165    96              32    96
    reduction        56     11 (44)         83     42 (168)
    reduction        28     22 (88)         42     84 (336)
    normal           28     44 (264) x4     42     168 (1008) x6   32    32 (192) x6
    reduction        14     88 (352)        21     336 (1344)      16    64 (256)
    normal           14     88 (528) x4     21     336 (2016) x6   16    64 (384) x6
    reduction        7      176 (704)       11     672 (2688)      8     128 (512)
    normal           7      176 (1056) x4   11     672 (4032) x6   8     128 (768) x6
    predictions      1000                   1000                   10
    parameters       5,289,978              88,753,150             3,346,538

Features are those of a cell's convolutions, in brackets of its output. The paper writes these networks as NASNet-A
(4 @ 1056), (6 @ 4032) and (6 @ 768): `cells` and `penultimate_filters`.

- `nasnet_mobile`, `nasnet_large`: Keras, with its names of the endpoints. In its reduction cells, zeros around h count
  in maxima and means.
- `.slim`: TF-Slim, with its names. Padding does not count in pools; dropout before the logits; drop path in the large
  one; an auxiliary head. `nasnet_large.timm`: padding counts in means and not in maxima.
- `nasnet_cifar10`: TF-Slim's for CIFAR. Its first cell has no cell before it but the stem, whose 96 features get a 1x1
  convolution wherever 32 are needed.

The auxiliary head stands before the last reduction: ReLU, 5x5 average pooling with stride 3, a 1x1 convolution of 128,
one of 768 that sees all of the map, logits. It runs while training, and its logits go to the collection `aux_logits`;
the paper's loss weighs them by .4. A map that is not pooled to `auxiliary_regions` pixels a side is averaged over as
many regions that cover it, so the parameters do not depend on the size of the images.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import glorot_uniform, he_normal, variance_scaling

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Dtype,
    Initializer,
    Network,
    Norm,
    Stages,
    auxiliary_pool,
    avg_pool,
    drop_path,
    dropout,
    initializer,
    max_pool,
    mean_of_windows,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants


class Initialization(NamedTuple):
    """Initializers of regular convolutions, of the two halves of separable ones, and of the classifier."""

    conv: Initializer
    depthwise: Initializer
    pointwise: Initializer
    dense: Initializer


_FAN_OUT = variance_scaling(2.0, "fan_out", "truncated_normal")
_TORCH = variance_scaling(1 / 3, "fan_in", "uniform")
INITIALIZERS: dict[str, Initialization] = {
    "keras": Initialization(he_normal(), glorot_uniform(), glorot_uniform(), glorot_uniform()),
    "torch": Initialization(_TORCH, _TORCH, _TORCH, _TORCH),  # timm
    "slim": Initialization(_FAN_OUT, he_normal(), _FAN_OUT, _FAN_OUT),  # there a depthwise kernel fans out to 1
}


class Branch(NamedTuple):
    """An operation on h, p or the sum of a block."""

    operation: Literal["sep", "avg", "max", "identity"]
    size: int
    source: str


class CellTable(NamedTuple):
    """The branches that each block adds, and what the cell puts out."""

    blocks: tuple[tuple[Branch, Branch], ...]
    outputs: tuple[str, ...]


def branch(text: str) -> Branch:
    """The branch that the table above writes as "sep5(h)", "p" or "2"."""
    match = re.fullmatch(r"(sep|avg|max)(\d)\(([hp1-9])\)|([hp1-9])", text.strip())
    assert match, text
    operation, size, source, same = match.groups()
    kind: Any = operation or "identity"
    return Branch(kind, int(size or 1), source or same)


def cell_table(*blocks: str, outputs: str) -> CellTable:
    """A column of the table above."""
    pairs = [text.split("+") for text in blocks]
    return CellTable(tuple((branch(left), branch(right)) for left, right in pairs), tuple(outputs.split()))


NORMAL = cell_table(
    *("sep5(h) + sep3(p)", "sep5(p) + sep3(p)", "avg3(h) + p", "avg3(p) + avg3(p)", "sep3(h) + h"),
    outputs="p 1 2 3 4 5",
)
REDUCTION = cell_table(
    *("sep5(h) + sep7(p)", "max3(h) + sep7(p)", "avg3(h) + sep5(p)", "2 + avg3(1)", "sep3(1) + max3(h)"),
    outputs="2 3 4 5",
)


class Place(NamedTuple):
    """A cell in the network."""

    kind: Literal["normal", "reduction"]
    number: str  # in Keras's names
    slim: str  # name of the endpoint in TF-Slim
    filters: int
    skipped: bool = False  # the next cell sees as p what this one sees
    has_head: bool = False  # the auxiliary head stands behind it


class NASNet(Network):
    """NASNet; see the tables above.

    Endpoints are the outputs of the cells (`normal_concat_0`, `reduction_concat_reduce_4`), whose parameters are in
    `normal_0` and `reduction_reduce_4`.

    Attributes:
        normal, reduction: the two kinds of cells.
        penultimate_filters: 24 times the features of the first normal cell; with the multiplier 2 so many has the last
            map.
        cells: normal cells on maps of one size.
        filter_multiplier: of the features wherever the map is halved.
        stem: "imagenet" (3x3/2 without padding and two reduction cells) or "cifar" (3x3).
        stem_features: of the convolution.
        skip_reduction: the cell behind a reduction takes as p what that had as p, not what it had as x.
        pool_zeros: pools ("avg", "max") of a reduction cell for which zeros around h count.
        norm: batch normalization.
        drop_path_rate: share of the training images for which an operation of the last cell is left out; it grows
            linearly with depth. The paper also raises it linearly during training: a rate may be traced, so a step can
            call `model.clone(drop_path_rate=rate * progress).apply(...)`.
        dropout_rate: before the logits.
        auxiliary_head: whether there is one; there is none without logits (`num_classes=None` or a `final_endpoint`).
        auxiliary_regions: rows and columns of its pooled map.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.
        names: of the endpoints, "keras" or "slim" (Cell_0, Reduction_Cell_0).

    Raises:
        ValueError: the penultimate filters are no multiple of 24 times the square of the multiplier, another knob has a
            value that makes no sense, or the images are smaller than 3x3 with the stem for ImageNet.
    """

    normal: CellTable = NORMAL
    reduction: CellTable = REDUCTION
    penultimate_filters: int = 1056
    cells: int = 4
    filter_multiplier: int = 2
    stem: Literal["imagenet", "cifar"] = "imagenet"
    stem_features: int = 32
    skip_reduction: bool = False
    pool_zeros: tuple[Literal["avg", "max"], ...] = ("avg", "max")
    norm: Norm = Norm(momentum=0.9997, epsilon=1e-3)
    drop_path_rate: float | jax.Array = 0.0
    dropout_rate: float = 0.0
    auxiliary_head: bool = False
    auxiliary_regions: int = 4
    spatial: bool = False
    window: int = 7
    initialization: str = "keras"
    names: Literal["keras", "slim"] = "keras"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        if isinstance(self.drop_path_rate, int | float) and not 0 <= self.drop_path_rate < 1:
            raise InvalidArgument(f"drop_path_rate must be at least 0 and less than 1, not {self.drop_path_rate!r}")
        places = list(self._places())
        stem: dict[str, Any] = {"padding": "SAME"} if self.stem == "cifar" else {"strides": (2, 2), "padding": "VALID"}
        conv = Conv(
            self.stem_features,
            (3, 3),
            **stem,
            use_bias=False,
            kernel_init=self._start.conv,
            **self.dtypes,
            name="stem_conv1",
        )
        yield "stem_conv1", (x := conv(x))
        name = "Stem" if (self.names, self.stem) == ("slim", "cifar") else "stem_bn1"
        yield name, (x := self.norm.layer(train=train, name="stem_bn1", **self.dtypes)(x))
        previous, larger = x, False  # larger: the previous map has twice the size
        for index, place in enumerate(places):
            reduces = place.kind == "reduction"
            cell = Cell(
                self.reduction if reduces else self.normal,
                place.filters,
                stride=2 if reduces else 1,
                adjust=("halve" if larger else "project") if index else None,
                pool_zeros=self.pool_zeros,
                drop_path_rate=self.drop_path_rate * (index + 1) / len(places),
                norm=self.norm,
                start=self._start,
                **self.dtypes,
                name=f"{place.kind}_{place.number}",
            )
            before, x = x, cell(x, previous, train=train)
            previous = previous if place.skipped else before
            larger = reduces
            yield place.slim if self.names == "slim" else f"{place.kind}_concat_{place.number}", x
            if place.has_head:
                self._auxiliary_head(x, train=train)
        yield "relu", nn.relu(x)

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        slim = self.names == "slim"
        yield "global_pool" if slim else "avg_pool", (x := mean_of_windows(x, self.window if self.spatial else None))
        x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        layer = nn.Dense(self.num_classes, kernel_init=self._start.dense, **self.dtypes, name="predictions")
        yield "Logits" if slim else "predictions", layer(x)

    def _places(self) -> Iterator[Place]:
        """The cells in their order."""
        multiplier, count = self.filter_multiplier, self.cells
        if multiplier < 1 or count < 1:
            raise InvalidArgument(f"filter_multiplier and cells must be positive, not {multiplier} and {count}")
        if self.penultimate_filters < 1 or self.penultimate_filters % (24 * multiplier**2):
            raise InvalidArgument(
                f"penultimate_filters must be a multiple of 24 * filter_multiplier^2 = {24 * multiplier**2}, "
                f"not {self.penultimate_filters}"
            )
        filters = self.penultimate_filters // 24
        if self.stem == "imagenet":
            yield Place("reduction", "stem_1", "reduction_concat_stem_1", filters // multiplier**2)
            yield Place("reduction", "stem_2", "Stem", filters // multiplier)
        for stage in range(3):
            wide = filters * multiplier**stage
            first, last = stage * count, (stage + 1) * count - 1
            if stage:
                yield Place("reduction", f"reduce_{first}", f"Reduction_Cell_{stage - 1}", wide, self.skip_reduction)
            for index in range(first, last + 1):
                has_head = stage == 1 and index == last
                yield Place("normal", f"{index + (stage > 0)}", f"Cell_{index}", wide, has_head=has_head)

    def _auxiliary_head(self, x: jax.Array, *, train: bool) -> None:
        if not self.auxiliary_head or not self.runs_auxiliary_heads(train=train):
            return
        assert self.num_classes is not None
        head = AuxiliaryHead(
            self.num_classes, self.auxiliary_regions, self.norm, self._start, **self.dtypes, name="aux"
        )
        self.auxiliary("aux", head(x, train=train))

    @property
    def _start(self) -> Initialization:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        return 3 if self.stem == "imagenet" else 1


class Cell(nn.Module):
    """The output of a cell from those of the two before it.

    Parameters: `conv_1` of h, `adjust` of p, `left1_1`, `left1_2`, `right1_1` to `right5_2` of the separable
    convolutions, of which Keras calls the reduction cells' `left5` `left4`.

    Attributes:
        table: branches of its blocks.
        filters: features of its convolutions.
        stride: of the operations on h and p.
        adjust: what becomes of the output of the cell before the last: "project" gives it the right features if it has
            others, "halve" halves its map too, None leaves it as it is.
        drop_path_rate: share of the training images for which an operation is left out.
        start: initializers.

    Others as in `NASNet`.
    """

    table: CellTable
    filters: int
    stride: int
    adjust: Literal["project", "halve"] | None
    pool_zeros: tuple[Literal["avg", "max"], ...]
    drop_path_rate: float | jax.Array
    norm: Norm
    start: Initialization
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, previous: jax.Array, *, train: bool) -> jax.Array:
        def unit(y: jax.Array, name: str) -> jax.Array:
            """A 1x1 convolution to the cell's features."""
            options = {"norm": self.norm, "activation": None, "kernel_init": self.start.conv, **self._dtypes}
            return ConvUnit(self.filters, (1, 1), **options, name=name)(y, train=train)

        def matched(y: jax.Array, name: str) -> jax.Array:
            return y if y.shape[-1] == self.filters else unit(y, name)

        def applied(branch: Branch, name: str) -> jax.Array:
            operation, size, source = branch
            y = states[source]
            stride = self.stride if source in ("h", "p") else 1
            match operation:
                case "identity":
                    return y if y.shape[-1] == self.filters else unit(nn.relu(y), name)
                case "sep":
                    for number, step in ((1, stride), (2, 1)):
                        separable = SeparableUnit(
                            self.filters, size, step, self.norm, self.start, **self._dtypes, name=f"{name}_{number}"
                        )
                        y = separable(nn.relu(y), train=train)
                case pool:
                    y = matched(self._pool(pool, y, size, stride), name)
            return drop_path(self, y, self.drop_path_rate, train=train)

        previous = self._adjusted(previous, unit, train=train)
        states = {"h": unit(nn.relu(x), "conv_1"), "p": previous}
        for number, (left, right) in enumerate(self.table.blocks, start=1):
            states[f"{number}"] = applied(left, f"left{number}") + applied(right, f"right{number}")
        outputs = [matched(states[source], f"output_{source}") for source in self.table.outputs]
        return jnp.concatenate(outputs, axis=-1)

    def _adjusted(self, previous: jax.Array, unit: Callable[[jax.Array, str], jax.Array], *, train: bool) -> jax.Array:
        match self.adjust:
            case "halve":
                reduction = FactorizedReduction(self.filters, self.norm, self.start, **self._dtypes, name="adjust")
                return reduction(nn.relu(previous), train=train)
            case "project" if previous.shape[-1] != self.filters:
                return unit(nn.relu(previous), "adjust")
            case _:
                return previous

    def _pool(self, kind: Literal["avg", "max"], x: jax.Array, size: int, stride: int) -> jax.Array:
        pool = {"avg": avg_pool, "max": max_pool}[kind]
        if stride == 1 or kind not in self.pool_zeros:
            return pool(x, size, stride, "SAME")
        pads = jax.lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), "SAME")
        return pool(jnp.pad(x, ((0, 0), *pads, (0, 0))), size, stride)

    @property
    def _dtypes(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}


class SeparableUnit(nn.Module):
    """A convolution of each channel by itself, a 1x1 over all of them, normalization.

    Parameters: `depthwise/kernel` [size, size, 1, channels], `pointwise/kernel`, `bn/scale`, `bn/bias`.
    """

    features: int
    size: int
    stride: int
    norm: Norm
    start: Initialization
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        channels, kernel, strides = x.shape[-1], (self.size, self.size), (self.stride, self.stride)
        options: dict[str, Any] = {"use_bias": False, **dtypes}
        depthwise = Conv(
            channels,
            kernel,
            strides,
            "SAME",
            feature_group_count=channels,
            kernel_init=self.start.depthwise,
            **options,
            name="depthwise",
        )
        pointwise = Conv(self.features, (1, 1), kernel_init=self.start.pointwise, **options, name="pointwise")
        return self.norm.layer(train=train, name="bn", **dtypes)(pointwise(depthwise(x)))


class FactorizedReduction(nn.Module):
    """Half the map in each direction: a 1x1 convolution of the even pixels and one of the odd ones, side by side.

    The second begins a pixel below and right, and sees a zero where it leaves the map. Parameters: `conv_1/kernel`,
    `conv_2/kernel`, `bn/scale`, `bn/bias`.
    """

    features: int
    norm: Norm
    start: Initialization
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        shifted = jnp.pad(x, ((0, 0), (0, 1), (0, 1), (0, 0)))[:, 1:, 1:]
        first = self.features // 2
        halves = [
            Conv(features, (1, 1), use_bias=False, kernel_init=self.start.conv, **dtypes, name=name)(y[:, ::2, ::2])
            for name, features, y in (("conv_1", first, x), ("conv_2", self.features - first, shifted))
        ]
        return self.norm.layer(train=train, name="bn", **dtypes)(jnp.concatenate(halves, axis=-1))


class AuxiliaryHead(nn.Module):
    """Logits [batch, num_classes] from the map before the last reduction, while training; see the module's docstring.

    Attributes:
        num_classes: size of the classifier.
        regions: rows and columns of the pooled map.
        norm: batch normalization of the convolutions.
        start: initializers.
        dtype, param_dtype: of computation and parameters.
    """

    num_classes: int
    regions: int
    norm: Norm
    start: Initialization
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        dtypes: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = auxiliary_pool(nn.relu(x), self.regions)
        for name, features, size in (("conv0", 128, 1), ("conv1", 768, self.regions)):
            options = {"padding": "VALID", "norm": self.norm, "kernel_init": self.start.conv, **dtypes}
            x = ConvUnit(features, (size, size), **options, name=name)(x, train=train)
        return nn.Dense(self.num_classes, kernel_init=self.start.dense, **dtypes, name="logits")(x.reshape(len(x), -1))


_NO_HEAD = "no auxiliary head, no dropout, no drop path"
_NASNET = ModelInfo(
    name="nasnet_mobile",
    paper="Zoph, Vasudevan, Shlens, Le, Learning Transferable Architectures for Scalable Image Recognition",
    year=2017,
    url="https://arxiv.org/abs/1707.07012",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=5_289_978,
    total_parameters=5_326_716,
    preprocessing="tf",
    deviations=("zeros around h count in the pools of reduction cells: Keras", _NO_HEAD),
)
_LARGE: dict[str, Any] = {
    "penultimate_filters": 4032,
    "cells": 6,
    "stem_features": 96,
    "skip_reduction": True,
    "auxiliary_regions": 6,
    "window": 11,
}
_SLIM: dict[str, Any] = {
    "pool_zeros": (),
    "auxiliary_head": True,
    "dropout_rate": 0.5,
    "initialization": "slim",
    "names": "slim",
}
_CONSTANT = "the rate of drop path is constant, unless the caller raises it as the paper does"
_LARGE_FACTS: dict[str, Any] = {"input_shape": (331, 331, 3), "parameters": 88_753_150, "total_parameters": 88_949_818}

# name: (facts that differ from nasnet_mobile's, knobs)
VARIANTS: Variants = {
    "nasnet_mobile": ({}, {}),
    "nasnet_large": (_LARGE_FACTS, _LARGE),
    "nasnet_mobile.slim": (
        {"total_parameters": 5_328_508, "auxiliary_parameters": 2_411_240, "deviations": ()},
        _SLIM,
    ),
    "nasnet_large.slim": (
        {
            **_LARGE_FACTS,
            "total_parameters": 88_951_610,
            "auxiliary_parameters": 4_567_784,
            "deviations": (_CONSTANT,),
        },
        {**_LARGE, **_SLIM, "drop_path_rate": 0.3},
    ),
    "nasnet_large.timm": (
        {**_LARGE_FACTS, "deviations": ("zeros around h count in the means of reduction cells: timm", _NO_HEAD)},
        {**_LARGE, "pool_zeros": ("avg",), "norm": Norm(momentum=0.9, epsilon=1e-3), "initialization": "torch"},
    ),
    "nasnet_cifar10": (
        {
            "input_shape": (32, 32, 3),
            "num_classes": 10,
            "parameters": 3_346_538,
            "total_parameters": 3_385_578,
            "auxiliary_parameters": 1_631_498,
            "preprocessing": "standardized",
            "deviations": (_CONSTANT, "images are standardized one by one"),
        },
        {
            **_SLIM,
            "penultimate_filters": 768,
            "cells": 6,
            "stem": "cifar",
            "stem_features": 96,
            "norm": Norm(momentum=0.9, epsilon=1e-5),
            "drop_path_rate": 0.4,
            "dropout_rate": 0.0,
            "window": 8,
        },
    ),
}

register_variants(_NASNET, NASNet, VARIANTS)
