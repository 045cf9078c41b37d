"""Darknet: the networks under YOLO v1 (Redmon, Divvala, Girshick, Farhadi: You Only Look Once, 2015, arXiv 1506.02640,
Figure 3) and v2 (Redmon, Farhadi: YOLO9000: Better, Faster, Stronger, 2016, arXiv 1612.08242, Table 6).

    darknet19                     darknet24                                  darknet_tiny
    3x3 32                        7x7/2 64                                   3x3 16
    3x3 64                        3x3 192                                    3x3 32
    3x3 128, 1x1 64, 3x3 128      1x1 128, 3x3 256, 1x1 256, 3x3 512         3x3 64
    3x3 256, 1x1 128, 3x3 256     4 times (1x1 256, 3x3 512),                3x3 128
                                  1x1 512, 3x3 1024
    3x3 512, 1x1 256, 3x3 512,    2 times (1x1 512, 3x3 1024),               3x3 256
      1x1 256, 3x3 512            3x3 1024, 3x3/2 1024, 3x3 1024, 3x3 1024
    3x3 1024, 1x1 512, 3x3 1024,                                             3x3 512
      1x1 512, 3x3 1024
                                                                             3x3 1024, 3x3 1024, 3x3 1024
    1x1 classes, mean, for all of them

    parameters    features      1x1 1000      all           statistics    image, map without classifier
    darknet19     19,817,376    1,025,000     20,842,376    14,400        224, 7x7x1024
    darknet20     22,403,136    1,025,000     23,428,136                  224, 7x7x1024
    darknet24     60,155,968    1,025,000     61,180,968                  448, 7x7x1024
    darknet_tiny  25,168,800    1,025,000     26,193,800                  448, 7x7x1024

"3x3/2 1024" is a 3x3 convolution with stride 2 and 1024 features, padded by half its size. 2x2 max pooling stands
between two rows; a map of odd size keeps its last row and column. Behind each convolution but that of the classes
stands a leaky ReLU, max(x, .1 x); darknet19 normalizes before it.

- `darknet19`: the classifier of YOLO9000. Its passthrough takes the endpoint `conv13`, 512 features before `pool5`; the
  detector goes on from `num_classes=None`.
- `darknet24`: the convolutions of YOLO v1. There dense layers of 4096 and 1470 follow. `darknet20` is the classifier
  of which the first twenty come (section 2.2 of the paper; "Extraction" in its authors' files): the parameters have the
  same names.
- `darknet_tiny`: the nine convolutions of Fast YOLO, as its authors' file has them; the paper only counts them. It is
  not what they later called Tiny Darknet.

Authors' later files also normalize in v1's networks and Fast YOLO (`norm=BATCH_NORM`).
"""

import functools
import re
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from flax.linen.initializers import variance_scaling

from xxnet_jax.models.layers import (
    Conv,
    ConvUnit,
    Initializer,
    Network,
    Norm,
    PoolPadding,
    Stages,
    initializer,
    max_pool,
    mean_of_windows,
    smallest_side,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

INITIALIZERS: dict[str, Initializer] = {
    "darknet": variance_scaling(2.0, "fan_in", "normal"),
    "torch": variance_scaling(1 / 3, "fan_in", "uniform"),  # torch's default
}

BATCH_NORM = Norm(momentum=0.99, epsilon=1e-5)


class Convolution(NamedTuple):
    """A convolution of the table."""

    size: int
    stride: int
    features: int


def convolution(text: str) -> Convolution:
    """The convolution that the table above writes as "3x3/2 1024"."""
    match = re.fullmatch(r"(\d)x\1(?:/(\d))? (\d+)", text.strip())
    assert match, text
    size, stride, features = match.groups()
    return Convolution(int(size), int(stride or 1), int(features))


def table(*rows: str) -> tuple[tuple[Convolution, ...], ...]:
    """A column of the table above; pooling stands between two rows."""
    return tuple(tuple(convolution(word) for word in row.split(",")) for row in rows)


_BOTTLENECK = "1x1 512, 3x3 1024"
DARKNET_19 = table(
    *("3x3 32", "3x3 64", "3x3 128, 1x1 64, 3x3 128", "3x3 256, 1x1 128, 3x3 256"),
    *("3x3 512, 1x1 256, 3x3 512, 1x1 256, 3x3 512", f"3x3 1024, {_BOTTLENECK}, {_BOTTLENECK}"),
)
DARKNET_20 = table(
    *("7x7/2 64", "3x3 192", "1x1 128, 3x3 256, 1x1 256, 3x3 512"),
    *(f"{'1x1 256, 3x3 512, ' * 4}{_BOTTLENECK}", f"{_BOTTLENECK}, {_BOTTLENECK}"),
)
DARKNET_24 = (*DARKNET_20[:-1], DARKNET_20[-1] + table("3x3 1024, 3x3/2 1024, 3x3 1024, 3x3 1024")[0])
TINY = table("3x3 16", "3x3 32", "3x3 64", "3x3 128", "3x3 256", "3x3 512", "3x3 1024, 3x3 1024, 3x3 1024")


class Darknet(Network):
    """Darknet; see the tables above. Endpoints are `conv1`, `pool1`, ..., and `avgpool`, the logits.

    Attributes:
        stages: convolutions of each row; a 2x2 max pool stands between two rows.
        negative_slope: of the leaky ReLU.
        pool_padding: "CEIL" keeps the last row and column of a map of odd size.
        norm: batch normalization of all convolutions but that of the classes, or None.
        spatial: return the scores of every `window` x `window` pixels of the last map, [batch, rows, columns,
            num_classes]; of the whole map where it is smaller.
        window: see `spatial`.
        initialization: a name of `INITIALIZERS`.
    """

    stages: tuple[tuple[Convolution, ...], ...] = DARKNET_19
    negative_slope: float = 0.1
    pool_padding: PoolPadding = "CEIL"
    norm: Norm | None = None
    spatial: bool = False
    window: int = 7
    initialization: str = "darknet"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        number = 0
        for row, convolutions in enumerate(self.stages):
            if row:
                yield f"pool{row}", (x := max_pool(x, 2, padding=self.pool_padding))
            for size, stride, features in convolutions:
                number += 1
                unit = ConvUnit(
                    features,
                    (size, size),
                    (stride, stride),
                    _around(size),
                    norm=self.norm,
                    activation=functools.partial(nn.leaky_relu, negative_slope=self.negative_slope),
                    kernel_init=self._kernel_init,
                    **self.dtypes,
                    name=f"conv{number}",
                )
                yield f"conv{number}", (x := unit(x, train=train))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        assert self.num_classes is not None
        name = f"conv{sum(map(len, self.stages)) + 1}"
        layer = Conv(self.num_classes, (1, 1), kernel_init=self._kernel_init, **self.dtypes, name=name)
        yield name, (x := layer(x))
        yield "avgpool", mean_of_windows(x, self.window if self.spatial else None)

    @property
    def _kernel_init(self) -> Initializer:
        return initializer(self.initialization, INITIALIZERS)

    def smallest_input(self) -> int:
        def last_map(side: int) -> int:
            for row, convolutions in enumerate(self.stages):
                if row:
                    side = windows_along(side, 2, 2, self.pool_padding)
                for size, stride, _ in convolutions:
                    side = windows_along(side, size, stride, size // 2)
            return side

        return smallest_side(last_map)


def _around(size: int) -> tuple[tuple[int, int], tuple[int, int]]:
    pad = (size // 2, size // 2)
    return pad, pad


_DARKNET = ModelInfo(
    name="darknet19",
    paper="Redmon, Farhadi, YOLO9000: Better, Faster, Stronger",
    year=2016,
    url="https://arxiv.org/abs/1612.08242",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=20_842_376,
    total_parameters=20_856_776,
    preprocessing="unit",
)
_V1: dict[str, Any] = {
    "paper": "Redmon, Divvala, Girshick, Farhadi, You Only Look Once: Unified, Real-Time Object Detection",
    "year": 2015,
    "url": "https://arxiv.org/abs/1506.02640",
}
_CLASSIFIER = "logits are a mean and a linear layer, where the paper has the dense layers of the detector"

# name: (facts that differ from darknet19's, knobs)
VARIANTS: Variants = {
    "darknet19": ({}, {"norm": BATCH_NORM}),
    "darknet20": ({**_V1, "parameters": 23_428_136}, {"stages": DARKNET_20}),
    "darknet24": (
        {**_V1, "parameters": 61_180_968, "input_shape": (448, 448, 3), "deviations": (_CLASSIFIER,)},
        {"stages": DARKNET_24},
    ),
    "darknet_tiny": (
        {**_V1, "parameters": 26_193_800, "input_shape": (448, 448, 3), "deviations": (_CLASSIFIER,)},
        {"stages": TINY},
    ),
}

register_variants(_DARKNET, Darknet, VARIANTS)
