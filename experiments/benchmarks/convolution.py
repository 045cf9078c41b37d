"""Convolutions as `models/convolution.py` lowers them on CPU against XLA's own, with both gradients.

    python experiments/benchmarks/convolution.py

Interleaved, medians; compilation is reported apart. Where both are XLA's the ratio is 1.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.models.convolution import convolve


class Case(NamedTuple):
    """A convolution with SAME padding."""

    batch: int
    side: int
    channels: int
    kernel: int
    features: int
    stride: int = 1
    groups: int = 1


CASES = {
    "LeNet-5 C1": Case(128, 32, 1, 5, 6),
    "LeNet-5 C3": Case(128, 10, 6, 5, 16),
    "VGG conv1, 32x32": Case(128, 32, 3, 3, 64),
    "VGG block 3, 32x32": Case(64, 8, 256, 3, 256),
    "VGG block 4, 32x32": Case(128, 4, 512, 3, 512),
    "VGG block 5, 32x32": Case(128, 2, 512, 3, 512),
    "VGG block 4, 224x224": Case(2, 28, 512, 3, 512),
    "AlexNet conv2": Case(8, 31, 96, 5, 256, groups=2),
    "AlexNet conv4": Case(8, 15, 384, 3, 384, groups=2),
    "ResNet-20": Case(128, 32, 16, 3, 16),
    "ResNet-50 1x1": Case(8, 28, 512, 1, 128),
    "ResNet-50 shortcut": Case(8, 56, 256, 1, 512, stride=2),
    "ResNeXt-50, 14x14": Case(2, 14, 512, 3, 512, groups=32),
    "Xception middle flow": Case(4, 19, 728, 3, 728, groups=728),
    "MobileNet, stride 2": Case(8, 56, 128, 3, 128, stride=2, groups=128),
}


def prepared(convolution: Callable[..., jax.Array], case: Case) -> tuple[Callable[[], float], float]:
    """A function that runs it once and says how many milliseconds it took; and the seconds of its compilation."""
    x = jax.random.normal(jax.random.key(0), (case.batch, case.side, case.side, case.channels))
    shape = (case.kernel, case.kernel, case.channels // case.groups, case.features)
    kernel = jax.random.normal(jax.random.key(1), shape)

    @jax.jit
    def gradients(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            y = convolution(
                x,
                kernel,
                (case.stride, case.stride),
                "SAME",
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
                feature_group_count=case.groups,
            )
            return jnp.sum(y**2)

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    def once() -> float:
        started = time.perf_counter()
        jax.block_until_ready(gradients(x, kernel))
        return 1e3 * (time.perf_counter() - started)

    first = once()
    return once, max(0.0, first - once()) / 1e3


def main() -> None:
    for name, case in CASES.items():
        (ours, our_compilation), (xla, xla_compilation) = (
            prepared(convolution, case) for convolution in (convolve, jax.lax.conv_general_dilated)
        )
        samples = [(ours(), xla()) for _ in range(7)]
        ours_ms, xla_ms = (statistics.median(column) for column in zip(*samples, strict=True))
        print(
            f"{name:22} {ours_ms:8.1f} ms, XLA {xla_ms:8.1f} ms: {xla_ms / ours_ms:6.1f} x"
            f"   (compiled in {our_compilation:.1f} s and {xla_compilation:.1f} s)"
        )


if __name__ == "__main__":
    main()
