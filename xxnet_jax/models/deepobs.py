"""Two small networks of DeepOBS (Schneider, Balles, Hennig: DeepOBS: A Deep Learning Optimizer Benchmark Suite, 2019).

    2c2d, 28x28                         3c3d, 32x32
    conv1   5x5, 32, same  28x28        conv1   5x5, 64, valid   28x28
    pool1   2x2 / 2        14x14        pool1   3x3 / 2, same    14x14
    conv2   5x5, 64, same  14x14        conv2   3x3, 96, valid   12x12
    pool2   2x2 / 2        7x7          pool2   3x3 / 2, same    6x6
    -                                   conv3   3x3, 128, same   6x6
    -                                   pool3   3x3 / 2, same    3x3
    dense1  1024                        dense1  512
    -                                   dense2  256
    logits  3,274,634 parameters        logits  895,210 parameters

ReLU after each layer but the last. 2c2d starts from a truncated normal of standard deviation .05 with biases of .05;
3c3d from Glorot's uniform with zero biases. Optimizers are compared on them: they are small, and nothing regularizes
2c2d.
"""

from typing import Any, Literal

import flax.linen as nn
import jax
from flax.linen.initializers import constant, glorot_uniform, truncated_normal, zeros

from xxnet_jax.models.layers import Conv, Initializer, Network, Stages, max_pool
from xxnet_jax.models.registry import ModelInfo, register

Padding = Literal["SAME", "VALID"]


class DeepOBSNetwork(Network):
    """Convolutions, each with a ReLU and max pooling, then dense layers; see the table above.

    Attributes:
        convolutions: (kernel size, features, padding) of each.
        pool_window: of the max pooling with stride 2 and SAME padding.
        dense: units of the hidden dense layers.
        kernel_init, bias_init: initializers of all layers.

    Raises:
        ValueError: the images are smaller than the convolutions need.
    """

    num_classes: int | None = 10
    convolutions: tuple[tuple[int, int, Padding], ...] = ((5, 32, "SAME"), (5, 64, "SAME"))
    pool_window: int = 2
    dense: tuple[int, ...] = (1024,)
    kernel_init: Initializer = truncated_normal(0.05)
    bias_init: Initializer = constant(0.05)

    def features(self, x: jax.Array, *, train: bool) -> Stages:
        for stage, (size, features, padding) in enumerate(self.convolutions, start=1):
            x = Conv(features, (size, size), padding=padding, **self.options, name=f"conv{stage}")(x)
            yield f"conv{stage}", (x := nn.relu(x))
            yield f"pool{stage}", (x := max_pool(x, self.pool_window, 2, padding="SAME"))

    def classifier(self, x: jax.Array, *, train: bool) -> Stages:
        x = x.reshape(len(x), -1)
        for stage, units in enumerate(self.dense, start=1):
            yield f"dense{stage}", (x := nn.relu(nn.Dense(units, **self.options, name=f"dense{stage}")(x)))
        assert self.num_classes is not None
        yield "logits", nn.Dense(self.num_classes, **self.options, name="logits")(x)

    @property
    def options(self) -> dict[str, Any]:
        return {"kernel_init": self.kernel_init, "bias_init": self.bias_init, **self.dtypes}

    def smallest_input(self) -> int:
        side = 1
        for size, _, padding in reversed(self.convolutions):
            side = 2 * side - 1 + (size - 1 if padding == "VALID" else 0)
        return side


_PAPER: dict[str, Any] = {
    "paper": "Schneider, Balles, Hennig, DeepOBS: A Deep Learning Optimizer Benchmark Suite",
    "year": 2019,
    "url": "https://arxiv.org/abs/1903.05499",
    "num_classes": 10,
}

register(
    ModelInfo(
        name="deepobs_2c2d",
        input_shape=(28, 28, 1),
        parameters=3_274_634,
        total_parameters=3_274_634,
        preprocessing="unit",
        **_PAPER,
    ),
    DeepOBSNetwork,
)
register(
    ModelInfo(
        name="deepobs_3c3d",
        input_shape=(32, 32, 3),
        parameters=895_210,
        total_parameters=895_210,
        preprocessing="standardized",
        **_PAPER,
    ),
    DeepOBSNetwork,
    convolutions=((5, 64, "VALID"), (3, 96, "VALID"), (3, 128, "SAME")),
    pool_window=3,
    dense=(512, 256),
    kernel_init=glorot_uniform(),
    bias_init=zeros,
)
