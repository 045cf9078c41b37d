"""Operations as this project writes them for CPU against Flax's and XLA's own: convolution, pooling, normalization.

    python experiments/benchmarks/operations.py
    python experiments/benchmarks/operations.py "ResNet*"

Forward, and all gradients together (with the forward pass, where they need it). "ratio" says how many times faster ours
is: median and range over the rounds, in each of which everyone has one turn. Figures go to results.csv in OUT.
"""

import fnmatch
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
import tyro
from measuring import OURS, Run, against_ours, in_turns, results, show
from script import main

from xxnet_jax.errors import UnknownName
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.models.convolution import LAYOUT, convolve
from xxnet_jax.models.layers import max_pool
from xxnet_jax.models.normalization import BatchNorm


class Case(NamedTuple):
    """A function of arrays, and their shapes."""

    function: Callable[..., jax.Array]
    shapes: Sequence[tuple[int, ...]]


def convolution(
    batch: int, side: int, channels: int, size: int | tuple[int, int], features: int, stride: int = 1, groups: int = 1
) -> Case:
    """With SAME padding."""
    height, width = size if isinstance(size, tuple) else (size, size)
    options: dict[str, Any] = {"dimension_numbers": LAYOUT, "feature_group_count": groups}
    return Case(
        lambda x, kernel: convolve(x, kernel, (stride, stride), "SAME", **options),
        ((batch, side, side, channels), (height, width, channels // groups, features)),
    )


def pooling(batch: int, side: int, channels: int, window: int, stride: int) -> Case:
    return Case(lambda x: max_pool(x, window, stride), ((batch, side, side, channels),))


def normalization(batch: int, side: int, channels: int) -> Case:
    """While training, and ReLU."""

    def normalized(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
        layer = BatchNorm(use_running_average=False)
        variables = {"params": {"scale": scale, "bias": bias}}
        y: Any = layer.apply(variables, x, mutable=["batch_stats"])[0]
        return nn.relu(y)

    return Case(normalized, ((batch, side, side, channels), (channels,), (channels,)))


CASES = {
    "LeNet-5 C1": convolution(128, 32, 1, 5, 6),
    "LeNet-5 C3": convolution(128, 10, 6, 5, 16),
    "AlexNet conv2": convolution(8, 31, 96, 5, 256, groups=2),
    "AlexNet conv4": convolution(8, 15, 384, 3, 384, groups=2),
    "VGG conv1_1, 32x32": convolution(128, 32, 3, 3, 64),
    "VGG conv3_2, 32x32": convolution(64, 8, 256, 3, 256),
    "VGG conv4_2, 32x32": convolution(128, 4, 512, 3, 512),
    "VGG conv5_2, 32x32": convolution(128, 2, 512, 3, 512),
    "VGG conv2_1": convolution(2, 112, 64, 3, 128),
    "VGG conv3_2": convolution(2, 56, 256, 3, 256),
    "VGG conv4_2": convolution(2, 28, 512, 3, 512),
    "Inception-v3 1x7": convolution(8, 17, 128, (1, 7), 192),
    "Inception-v3 3x3": convolution(8, 35, 64, 3, 96),
    "ResNet-20 16": convolution(128, 32, 16, 3, 16),
    "ResNet-20 64": convolution(128, 8, 64, 3, 64),
    "ResNet-50 conv1": convolution(8, 224, 3, 7, 64, stride=2),
    "ResNet-50 conv2 3x3": convolution(8, 56, 64, 3, 64),
    "ResNet-50 conv3 3x3": convolution(8, 28, 128, 3, 128),
    "ResNet-50 conv4 3x3": convolution(8, 14, 256, 3, 256),
    "ResNet-50 conv5 3x3": convolution(8, 7, 512, 3, 512),
    "ResNet-50 conv4 3x3/2": convolution(8, 28, 256, 3, 256, stride=2),
    "ResNet-50 conv3 1x1": convolution(8, 28, 512, 1, 128),
    "ResNet-50 conv3 shortcut": convolution(8, 56, 256, 1, 512, stride=2),
    "ResNeXt-50 conv4 3x3": convolution(2, 14, 512, 3, 512, groups=32),
    "DenseNet-121 3x3": convolution(8, 28, 128, 3, 32),
    "Xception middle flow": convolution(4, 19, 728, 3, 728, groups=728),
    "MobileNet depthwise": convolution(8, 56, 128, 3, 128, groups=128),
    "MobileNet depthwise/2": convolution(8, 56, 128, 3, 128, stride=2, groups=128),
    "max pooling 2x2/2": pooling(100, 28, 32, 2, 2),
    "max pooling 3x3/2": pooling(8, 112, 64, 3, 2),
    "batch norm 56x56x256": normalization(8, 56, 256),
    "batch norm 14x14x1024": normalization(8, 14, 1024),
    "batch norm 32x32x16": normalization(128, 32, 16),
}


def prepared(case: Case, *, gradients: bool, plain: bool) -> Run:
    """A call of the forward pass, or of all gradients."""
    random = np.random.default_rng(0)
    arrays = [jax.numpy.asarray(random.standard_normal(shape, np.float32)) for shape in case.shapes]
    if gradients:
        of_result = jax.numpy.asarray(random.standard_normal(jax.eval_shape(case.function, *arrays).shape, np.float32))
        function = jax.jit(lambda g, *arrays: jax.vjp(case.function, *arrays)[1](g))
        call = functools.partial(function, of_result, *arrays)
    else:
        call = functools.partial(jax.jit(lambda *arrays: case.function(*arrays)), *arrays)

    def run() -> None:
        if not plain:
            jax.block_until_ready(call())
            return
        with plain_operations():  # it matters while the first call traces
            jax.block_until_ready(call())

    return run


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        pattern: shell pattern on the names of the operations.
        rounds: calls of each after the first.
        out: folder for the figures of one machine.
    """

    pattern: Annotated[str, tyro.conf.Positional] = "*"
    rounds: int = 9
    out: Path = Path("runs/benchmarks/operations")


def measure_operations() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    names = fnmatch.filter(CASES, arguments.pattern)
    if not names:
        raise UnknownName("operation", arguments.pattern, CASES)
    table = results(arguments.out, "operations", {}, ("operation", "pass"))
    for name in names:
        for which in ("forward", "gradients"):
            if (name, which) in table:
                continue
            runs = {
                contestant: prepared(CASES[name], gradients=which == "gradients", plain=contestant != OURS)
                for contestant in (OURS, "plain")
            }
            (row,) = against_ours(in_turns(runs, arguments.rounds), units=1)
            del row["peer"], row["ours_per_s"], row["peer_per_s"]
            table.add({"operation": name, "pass": which, **row})
    show("operations", [row for row in table if row["operation"] in names])
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_operations)
