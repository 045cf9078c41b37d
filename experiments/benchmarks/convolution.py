"""Convolutions as `layers.convolve` lowers them on CPU against XLA's own, with both gradients.

    python experiments/benchmarks/convolution.py

Kernels of few weights become a product with patches, a few groups become as many convolutions.
"""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from xxnet_jax.models.layers import convolve


class Case(NamedTuple):
    """A convolution with stride 1 and without padding."""

    batch: int
    side: int
    channels: int
    kernel: int
    features: int
    groups: int = 1


CASES = {
    "LeNet-5 C1": Case(128, 32, 1, 5, 6),
    "LeNet-5 C3": Case(128, 14, 6, 5, 16),
    "LeNet-5 C5": Case(128, 5, 16, 5, 120),
    "AlexNet conv2, 2 groups": Case(8, 31, 96, 5, 256, groups=2),
    "AlexNet conv4, 2 groups": Case(8, 15, 384, 3, 384, groups=2),
    "4 groups": Case(8, 15, 384, 3, 384, groups=4),
    "8 groups": Case(8, 15, 384, 3, 384, groups=8),
    "32 groups": Case(8, 15, 384, 3, 384, groups=32),
}


def milliseconds(convolution: Callable[..., jax.Array], case: Case) -> Callable[[], float]:
    """A function that runs it once, compiled already, and says how long it took."""
    x = jax.random.normal(jax.random.key(0), (case.batch, case.side, case.side, case.channels))
    shape = (case.kernel, case.kernel, case.channels // case.groups, case.features)
    kernel = jax.random.normal(jax.random.key(1), shape)

    @jax.jit
    def gradients(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
        layout = ("NHWC", "HWIO", "NHWC")

        def loss(x: jax.Array, kernel: jax.Array) -> jax.Array:
            y = convolution(x, kernel, (1, 1), "VALID", dimension_numbers=layout, feature_group_count=case.groups)
            return jnp.sum(y**2)

        return jax.grad(loss, argnums=(0, 1))(x, kernel)

    jax.block_until_ready(gradients(x, kernel))

    def once() -> float:
        started = time.perf_counter()
        jax.block_until_ready(gradients(x, kernel))
        return 1e3 * (time.perf_counter() - started)

    return once


def main() -> None:
    for name, case in CASES.items():
        runs = [milliseconds(convolution, case) for convolution in (convolve, jax.lax.conv_general_dilated)]
        samples = [[run() for run in runs] for _ in range(11)]
        ours, theirs = (statistics.median(column) for column in zip(*samples, strict=True))
        print(f"{name}, forward and both gradients: {ours:.2f} ms, XLA {theirs:.2f} ms: {theirs / ours:.1f} x")


if __name__ == "__main__":
    main()
