"""LeNet-5 (LeCun, Bottou, Bengio, Haffner: Gradient-Based Learning Applied to Document Recognition, 1998), Figure 2.

    layer   size        kernel     maps  connections                  parameters
    input   32x32       -          1     -                            -
    C1      28x28       5x5        6     all                          156
    S2      14x14       2x2 / 2    6     -                            12 (1998), 0
    C3      10x10       5x5        16    Table I (1998), all          1,516 (1998), 2,416
    S4      5x5         2x2 / 2    16    -                            32 (1998), 0
    C5      1x1         5x5        120   all                          48,120
    F6      84          -          -     all                          10,164
    output  10          -          -     84 fixed RBF centres (1998)  0 (1998), 850

Base name `lenet5` is the network as it is taught today: full connections, average pooling, tanh, a linear output
(61,706 parameters). Tags:

- `.1998`: the paper. Trainable subsampling, the connection table of C3, f(a) = 1.7159 tanh(2a/3), radial basis function
  output (60,000 trainable parameters). Deviations: logits are the negated distances of equation 7, so cross-entropy is
  equation 9 without its constant e^-j; the bitmaps of Figure 3 are drawn anew; with other than 10 classes the codes are
  random signs, which the paper names as an alternative.
- `.notebook`: two convolutions with SAME padding, max pooling, 500 hidden units, 32x32 (520,082).
- `.xxnet`: 32 and 64 maps with VALID padding, 100 hidden units, 28x28 (155,606).
- `.tf1`: 32 and 64 maps with SAME padding, 512 hidden units with dropout, 28x28 (1,663,370): the TensorFlow 1 tutorial.
- `.slim`: as `.tf1` with 1,024 hidden units (3,274,634): TF-Slim.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype
from flax.linen.initializers import constant, truncated_normal, zeros

from xxnet_jax.errors import InvalidArgument
from xxnet_jax.models.convolution import convolve
from xxnet_jax.models.layers import (
    Conv,
    Dtype,
    Initializer,
    Network,
    Norm,
    Stages,
    avg_pool,
    dropout,
    keras_uniform,
    max_pool,
)
from xxnet_jax.models.registry import ModelInfo, Variants, register_variants

# Table I: the maps of S2 that each of the 16 maps of C3 sees.
C3_TABLE = (
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)

# After Figure 3: the 7x12 bitmap that F6 should show for each digit.
DIGIT_BITMAPS = """
 ..###..  ...##..  .#####.  #######  .....#.  #######  ..####.  #######  .#####.  .####..
 .#...#.  ..###..  #.....#  .....#.  ....##.  #......  .#.....  ......#  #.....#  #....#.
 #.....#  .#.##..  ......#  ....#..  ...#.#.  #......  #......  .....#.  #.....#  #.....#
 #.....#  ...##..  ......#  ...#...  ..#..#.  #......  #......  .....#.  #.....#  #.....#
 #.....#  ...##..  .....#.  ..####.  .#...#.  ######.  #.###..  ....#..  .#####.  #.....#
 #.....#  ...##..  ....#..  ......#  #....#.  ......#  ##...#.  ....#..  #.....#  .#...##
 #.....#  ...##..  ...#...  ......#  #######  ......#  #.....#  ...#...  #.....#  ..###.#
 #.....#  ...##..  ..#....  ......#  .....#.  ......#  #.....#  ...#...  #.....#  ......#
 #.....#  ...##..  .#.....  ......#  .....#.  ......#  #.....#  ..#....  #.....#  ......#
 .#...#.  ...##..  #......  #.....#  .....#.  #.....#  .#...#.  ..#....  #.....#  .....#.
 ..###..  .######  #######  .#####.  .....#.  .#####.  ..###..  .#.....  .#####.  .####..
 .......  .......  .......  .......  .......  .......  .......  .......  .......  .......
"""


def lecun_uniform_1998(key: jax.Array, shape: tuple[int, ...], dtype: Dtype = jnp.float32):
    """Uniform in +-2.4 / fan-in (section II.B); for kernels [..., fan-in, fan-out]."""
    limit = 2.4 / float(np.prod(shape[:-1]))
    return jax.random.uniform(key, shape, dtype, -limit, limit)


ACTIVATIONS = {
    "tanh": nn.tanh,
    "relu": nn.relu,
    "sigmoid": nn.sigmoid,
    "scaled_tanh": lambda a: 1.7159 * nn.tanh(a * (2 / 3)),
}


class TrainableSubsampling(nn.Module):
    """S2 and S4: the sum of 2x2 pixels, times one coefficient per map, plus one bias per map."""

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        maps = x.shape[-1]
        coefficient = self.param("coefficient", constant(0.25), (maps,), self.param_dtype)
        bias = self.param("bias", zeros, (maps,), self.param_dtype)
        x, coefficient, bias = promote_dtype(x, coefficient, bias, dtype=self.dtype)
        shape = (1, 1, 1, maps)
        return 4 * avg_pool(x, 2) * coefficient.reshape(shape) + bias.reshape(shape)


class TableConv(nn.Module):
    """C3: a 5x5 convolution in which each map sees only the maps that Table I connects it with.

    The parameters are the 60 kernels that exist, [5, 5, 60]; missing connections are zeros in the dense kernel.
    """

    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        inputs = np.concatenate(C3_TABLE)
        fan_in = np.array([len(maps) for maps in C3_TABLE])
        outputs = np.repeat(np.arange(len(C3_TABLE)), fan_in)

        def initializer(key, shape, dtype):
            limit = jnp.asarray(2.4 / (25 * fan_in[outputs]), dtype).reshape(1, 1, -1)
            return limit * jax.random.uniform(key, shape, dtype, -1, 1)

        kernels = self.param("kernel", initializer, (5, 5, len(inputs)), self.param_dtype)
        bias = self.param("bias", zeros, (len(C3_TABLE),), self.param_dtype)
        x, kernels, bias = promote_dtype(x, kernels, bias, dtype=self.dtype)
        dense = jnp.zeros((5, 5, x.shape[-1], len(C3_TABLE)), kernels.dtype)
        dense = dense.at[:, :, inputs, outputs].set(kernels)
        layout = ("NHWC", "HWIO", "NHWC")
        x = convolve(x, dense, (1, 1), "VALID", dimension_numbers=layout)
        return x + bias.reshape(1, 1, 1, -1)


def rbf_codes(num_classes: int, units: int) -> np.ndarray:
    """Centres of the output units, [num_classes, units] of +1 and -1: the digit bitmaps for 10 classes of 84 units."""
    if (num_classes, units) == (10, 84):
        rows = [line.split() for line in DIGIT_BITMAPS.split("\n") if line]
        bitmaps = ["".join(row[digit] for row in rows) for digit in range(10)]
        return np.array([[1.0 if dot == "#" else -1.0 for dot in bitmap] for bitmap in bitmaps])
    return np.random.default_rng(1998).choice([-1.0, 1.0], (num_classes, units))


class LeNet(Network):
    """Convolutions with subsampling between them, then dense layers: Figure 2 and its later variants.

    Attributes:
        convolutions: maps of the 5x5 convolutions; the first two are followed by 2x2 subsampling.
        padding: of the convolutions; the SAME variants also pool with `pool_padding`.
        subsampling: "average", "max", or "trainable" as in 1998.
        activation: "tanh", "relu", "sigmoid", or "scaled_tanh".
        batch_norm: batch normalization before each activation, with a momentum of .9 (the notes' comparison; Ioffe and
            Szegedy, 2015, section 4.1, have it on dense layers). Its parameters are in `C1_bn` and so on.
        connection_table: C3 is connected by Table I; needs 6 and 16 maps.
        dense: units of the hidden dense layers, each followed by dropout while training.
        output: "linear", or "rbf" for negated squared distances to fixed codes (equation 7).
        conv_init, dense_init, dense_bias: initializers.
        names: published names of the layers, in order, subsampling included.

    Raises:
        ValueError: the images are smaller than the convolutions need (32x32 for LeNet-5).
    """

    num_classes: int | None = 10
    convolutions: tuple[int, ...] = (6, 16, 120)
    padding: Literal["VALID", "SAME"] = "VALID"
    subsampling: Literal["average", "max", "trainable"] = "average"
    pool_padding: Literal["VALID", "SAME"] = "VALID"
    activation: Literal["tanh", "relu", "sigmoid", "scaled_tanh"] = "tanh"
    batch_norm: bool = False
    connection_table: bool = False
    dense: tuple[int, ...] = (84,)
    dropout_rate: float = 0.0
    output: Literal["linear", "rbf"] = "linear"
    conv_init: Initializer = nn.initializers.lecun_normal()
    dense_init: Initializer = nn.initializers.lecun_normal()
    dense_bias: Initializer = zeros
    names: tuple[str, ...] = ("C1", "S2", "C3", "S4", "C5", "F6", "output")

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        if self.connection_table and self.convolutions[:2] != (6, 16):
            raise InvalidArgument(f"Table I connects 6 maps with 16, not {self.convolutions[:2]}")
        names = iter(self.names)
        for stage, maps in enumerate(self.convolutions, start=1):
            name = next(names)
            if stage == 2 and self.connection_table:
                layer = TableConv(**self.dtypes, name=name)
            else:
                layer = Conv(maps, (5, 5), padding=self.padding, kernel_init=self.conv_init, **self.dtypes, name=name)
            yield name, (x := self.activate(layer(x), name, train=train))
            if stage <= 2:
                name = next(names)
                yield name, (x := self.subsample(x, name))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        *hidden, last = self.names[-len(self.dense) - 1 :]
        options: dict[str, Any] = {"kernel_init": self.dense_init, "bias_init": self.dense_bias, **self.dtypes}
        x = x.reshape(len(x), -1)
        for name, units in zip(hidden, self.dense, strict=True):
            yield name, (x := self.activate(nn.Dense(units, **options, name=name)(x), name, train=train))
            if self.dropout_rate:
                x = dropout(x, self.dropout_rate, train=train)
        assert self.num_classes is not None
        if self.output == "rbf":
            codes = jnp.asarray(rbf_codes(self.num_classes, x.shape[-1]), jnp.float32)
            difference = x.astype(jnp.float32)[:, None, :] - codes[None]
            yield last, -jnp.sum(difference**2, axis=-1)
        else:
            yield last, nn.Dense(self.num_classes, **options, name=last)(x)

    def activate(self, x: jax.Array, name: str, *, train: bool) -> jax.Array:
        if self.batch_norm:
            x = Norm(momentum=0.9).layer(train=train, name=f"{name}_bn", **self.dtypes)(x)
        return ACTIVATIONS[self.activation](x)

    def subsample(self, x: jax.Array, name: str) -> jax.Array:
        match self.subsampling:
            case "average":
                return avg_pool(x, 2, padding=self.pool_padding)
            case "max":
                return max_pool(x, 2, padding=self.pool_padding)
            case "trainable":
                layer = TrainableSubsampling(self.dtype, self.param_dtype, name=name)
                return ACTIVATIONS[self.activation](layer(x))

    def smallest_input(self) -> int:
        side = 1
        for stage in range(len(self.convolutions), 0, -1):
            if stage <= 2 and self.pool_padding == "VALID":
                side *= 2
            if self.padding == "VALID":
                side += 4
        return side


_LENET5 = ModelInfo(
    name="lenet5",
    paper="LeCun et al., Gradient-Based Learning Applied to Document Recognition",
    year=1998,
    url="http://yann.lecun.com/exdb/publis/pdf/lecun-01a.pdf",
    input_shape=(32, 32, 1),
    num_classes=10,
    parameters=61_706,
    total_parameters=61_706,
    preprocessing="lecun",
    deviations=(
        "all maps of S2 are connected to all maps of C3",
        "average pooling without parameters, plain tanh",
        "linear output for cross-entropy in place of radial basis functions",
    ),
)
_MODERN: dict[str, Any] = {
    "padding": "SAME",
    "subsampling": "max",
    "activation": "relu",
    "dense_init": truncated_normal(0.1),
    "conv_init": truncated_normal(0.1),
    "convolutions": (32, 64),
    "dropout_rate": 0.5,
}

# name: (facts that differ from lenet5, knobs)
VARIANTS: Variants = {
    "lenet5": ({}, {}),
    "lenet5.1998": (
        {
            "parameters": 60_000,
            "deviations": (
                "logits are the negated distances: cross-entropy is equation 9 without e^-j",
                "the bitmaps of Figure 3 are drawn anew; random signs with other than 10 classes",
            ),
        },
        {
            "subsampling": "trainable",
            "activation": "scaled_tanh",
            "connection_table": True,
            "output": "rbf",
            "conv_init": lecun_uniform_1998,
            "dense_init": lecun_uniform_1998,
        },
    ),
    "lenet5.notebook": (
        {
            "parameters": 520_082,
            "preprocessing": "unit",
            "deviations": ("SAME padding, ReLU, max pooling, 500 hidden units, no C5: the notes' notebook",),
        },
        {
            "convolutions": (6, 16),
            "padding": "SAME",
            "subsampling": "max",
            "activation": "relu",
            "dense": (500,),
            "conv_init": nn.initializers.glorot_uniform(),
            "dense_init": nn.initializers.glorot_uniform(),
            "names": ("conv1", "pool1", "conv2", "pool2", "dense1", "logits"),
        },
    ),
    "lenet5.xxnet": (
        {
            "input_shape": (28, 28, 1),
            "parameters": 155_606,
            "preprocessing": "unit",
            "deviations": ("28x28 input, widths 32, 64, 100, ReLU, max pooling, no C5: the notes' XXNet",),
        },
        {
            "convolutions": (32, 64),
            "subsampling": "max",
            "activation": "relu",
            "dense": (100,),
            "conv_init": keras_uniform,
            "dense_init": nn.initializers.glorot_uniform(),
            "names": (
                "conv2d",
                "max_pooling2d",
                "conv2d_1",
                "max_pooling2d_1",
                "dense",
                "dense_1",
            ),
        },
    ),
    "lenet5.tf1": (
        {
            "input_shape": (28, 28, 1),
            "parameters": 1_663_370,
            "preprocessing": "unit",
            "deviations": (
                "28x28 input, widths 32, 64, 512, SAME padding, ReLU, max pooling, dropout, no C5: "
                "the notes' MNIST chapter",
            ),
        },
        {
            **_MODERN,
            "pool_padding": "SAME",
            "dense": (512,),
            "dense_bias": constant(0.1),
            "names": (
                "layer1_conv1",
                "layer2_pool1",
                "layer3_conv2",
                "layer4_pool2",
                "layer5_fc1",
                "layer6_fc2",
            ),
        },
    ),
    "lenet5.slim": (
        {
            "input_shape": (28, 28, 1),
            "parameters": 3_274_634,
            "preprocessing": "unit",
            "deviations": (
                "28x28 input, widths 32, 64, 1024, SAME padding, ReLU, max pooling, dropout, no C5: TF-Slim",
                "num_classes=None returns the feature map (every network here does), not fc3",
            ),
        },
        {
            **_MODERN,
            "dense": (1024,),
            "names": ("conv1", "pool1", "conv2", "pool2", "fc3", "Logits"),
        },
    ),
}

register_variants(_LENET5, LeNet, VARIANTS)
