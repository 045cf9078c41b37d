"""Network in Network (Lin, Chen, Yan, 2014), Figure 2, with the layers of the authors' published configurations.

    layer       nin_cifar10                    map     nin                                  map
    image       32x32                          32      224x224                              224
    mlpconv1    5x5, 192, 160, 96              32      11x11/4, no padding, 96, 96, 96      54
    pool1       max 3x3/2, dropout             16      max 3x3/2                            27
    mlpconv2    5x5, 192, 192, 192             16      5x5, 256, 256, 256                   27
    pool2       average 3x3/2, dropout         8       max 3x3/2                            13
    mlpconv3    3x3, 192, 192, classes         8       3x3, 384, 384, 384                   13
    pool3       -                                      max 3x3/2, dropout                   6
    mlpconv4    -                                      3x3, 1024, 1024, classes             6
    logits      the mean of each map           1       the mean of each map                 1
    parameters  966,986                                7,595,176

An mlpconv layer moves a small multilayer perceptron over the map: a convolution, then 1x1 convolutions, a ReLU after
each. The last one ends in one map per class, and the score of a class is the mean of its map. Pools reach to the edge
of the map (Caffe's ceil mode).

The paper prints no table of widths; these are those of its authors' code, and the counts follow by arithmetic. Tags:
`nin_cifar10.fc` and `.fc_dropout` have a dense layer on the maps of the classes in place of their mean, without and
with dropout before it, as the paper compares them (section 4.6: 11.59, 10.88 and, with means, 10.41 % error).

Deviations: scores have the ReLU of every mlpconv layer, as in the authors' code, so no logit is negative; give
`relu_scores=False` for plain ones. Kernels start from a normal of deviation .05 (in three layers of `nin` the authors
have .01). CIFAR images are standardized one by one: the paper's contrast normalization without its whitening.
"""

from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.initializers import he_normal, normal

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.layers import (
    Conv,
    DenseOnMap,
    Dtype,
    Initializer,
    Network,
    Stages,
    avg_pool,
    dropout,
    initializer,
    max_pool,
    smallest_side,
    spatial_mean,
    windows_along,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

INITIALIZERS: dict[str, Initializer] = {"normal": normal(0.05), "he_normal": he_normal()}


class MLPConv(nn.Module):
    """An mlpconv layer: a convolution and 1x1 convolutions, a ReLU after each (equation 2).

    Parameters: `conv` and `mlp1`, `mlp2`, ...

    Attributes:
        features: of the convolution and of the 1x1 convolutions.
        size: height and width of the kernel.
        stride: of rows and columns.
        padding: zeros on every side.
        kernel_init: initializer.
        dtype, param_dtype: of computation and parameters.
    """

    features: tuple[int, ...]
    size: int
    stride: int = 1
    padding: int = 0
    kernel_init: Initializer = nn.initializers.lecun_normal()
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        options: dict[str, Any] = {
            "kernel_init": self.kernel_init,
            "dtype": self.dtype,
            "param_dtype": self.param_dtype,
        }
        first, *rest = self.features
        size, stride = (self.size, self.size), (self.stride, self.stride)
        x = nn.relu(Conv(first, size, stride, padding=self.padding, **options, name="conv")(x))
        for number, features in enumerate(rest, start=1):
            x = nn.relu(Conv(features, (1, 1), **options, name=f"mlp{number}")(x))
        return x


class Row(NamedTuple):
    """A row of the table: an mlpconv layer and what follows it.

    Attributes:
        features, size, stride, padding: as in `MLPConv`; in the last row without the maps of the classes.
        pool: 3x3/2 pooling that follows, or None.
        dropout: follows the pooling.
    """

    features: tuple[int, ...]
    size: int
    stride: int = 1
    padding: int = 0
    pool: Literal["max", "average"] | None = None
    dropout: bool = False


CIFAR10 = (
    Row((192, 160, 96), 5, padding=2, pool="max", dropout=True),
    Row((192, 192, 192), 5, padding=2, pool="average", dropout=True),
    Row((192, 192), 3, padding=1),
)
IMAGENET = (
    Row((96, 96, 96), 11, stride=4, pool="max"),
    Row((256, 256, 256), 5, padding=2, pool="max"),
    Row((384, 384, 384), 3, padding=1, pool="max", dropout=True),
    Row((1024, 1024), 3, padding=1),
)


POOLS = {"max": max_pool, "average": avg_pool}


class NIN(Network):
    """Network in Network; see the table above.

    The last feature map is what the maps of the classes, endpoint and layer `classes`, are made of.

    Attributes:
        rows: of the table.
        head: "gap" for the mean of each class's map, or "dense" for a dense layer on the maps.
        window: side of the map that the dense head sees; of a larger one it sees every window.
        spatial: return the maps of the scores, [batch, rows, columns, num_classes], not their mean.
        relu_scores: a ReLU on the maps of the classes.
        dropout_rate: where the table has dropout.
        head_dropout_rate: of the maps of the classes, before the dense head.
        initialization: a name of `INITIALIZERS`.

    Raises:
        ValueError: the images are too small for the pools, or for the window of the dense head.
    """

    num_classes: int | None = 10
    rows: tuple[Row, ...] = CIFAR10
    head: Literal["gap", "dense"] = "gap"
    window: int = 8
    spatial: bool = False
    relu_scores: bool = True
    dropout_rate: float = 0.5
    head_dropout_rate: float = 0.0
    initialization: str = "normal"

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for number, row in enumerate(self.table, start=1):
            name = f"mlpconv{number}"
            layer = MLPConv(row.features, row.size, row.stride, row.padding, **self.options, name=name)
            yield name, (x := layer(x))
            if row.pool is not None:
                yield f"pool{number}", (x := POOLS[row.pool](x, 3, 2, "CEIL"))
            if row.dropout:
                x = dropout(x, self.dropout_rate, train=train)

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        assert self.num_classes is not None
        x = Conv(self.num_classes, (1, 1), **self.options, name="classes")(x)
        yield "classes", (x := nn.relu(x) if self.relu_scores else x)
        if self.head == "dense":
            if min(x.shape[1:3]) < self.window:
                side = smallest_side(self.map_side, self.window)
                raise InvalidArgument(
                    f"the dense head needs images of at least {side}x{side}; for smaller ones give a smaller window, "
                    "head='gap' or num_classes=None"
                )
            x = dropout(x, self.head_dropout_rate, train=train)
            x = DenseOnMap(self.num_classes, self.window, **self.options, name="fc")(x)
        yield "logits", x if self.spatial else spatial_mean(x)

    @property
    def table(self) -> tuple[Row, ...]:
        """The rows, also where they are plain tuples, as JSON has them."""
        return tuple(Row(*row) for row in self.rows)

    @property
    def options(self) -> dict[str, Any]:
        return {"kernel_init": initializer(self.initialization, INITIALIZERS), **self.dtypes}

    def map_side(self, side: int) -> int:
        """Side of the last feature map for images of `side` pixels, 0 where one of the maps has none."""
        for row in self.table:
            side = windows_along(side, row.size, row.stride, row.padding)
            if row.pool is not None and side:
                side = windows_along(side, 3, 2, "CEIL")
            if not side:
                return 0
        return side

    def smallest_input(self) -> int:
        return smallest_side(self.map_side)


_NIN = ModelInfo(
    name="nin",
    paper="Lin, Chen, Yan, Network In Network",
    year=2013,
    url="https://arxiv.org/abs/1312.4400",
    input_shape=(224, 224, 3),
    num_classes=1000,
    parameters=7_595_176,
    total_parameters=7_595_176,
    preprocessing="caffe",
    deviations=(
        "the paper has no ImageNet network: it is the one that its authors published later",
        "kernels start from a normal of deviation .05 everywhere: the authors' have .01 in three layers",
    ),
)
_CIFAR10: dict[str, Any] = {
    "input_shape": (32, 32, 3),
    "num_classes": 10,
    "parameters": 966_986,
    "preprocessing": "standardized",
    "deviations": (
        "widths are those of the authors' code: the paper prints none",
        "images are standardized one by one, without the paper's ZCA whitening",
    ),
}
_FC = "a dense layer in place of global average pooling, the paper's comparison"

# name: (facts that differ from nin, knobs)
VARIANTS: Variants = {
    "nin": ({}, {"rows": IMAGENET, "window": 6}),
    "nin_cifar10": (_CIFAR10, {}),
    "nin_cifar10.fc": (
        {**_CIFAR10, "parameters": 973_396, "deviations": (*_CIFAR10["deviations"], _FC)},
        {"head": "dense"},
    ),
    "nin_cifar10.fc_dropout": (
        {**_CIFAR10, "parameters": 973_396, "deviations": (*_CIFAR10["deviations"], f"{_FC}, with dropout before it")},
        {"head": "dense", "head_dropout_rate": 0.5},
    ),
}

register_variants(_NIN, NIN, VARIANTS)
