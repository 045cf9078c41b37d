"""Convolutions of few weights: the patch product (`layers.convolve` on CPU) against XLA's convolution, with gradients.

python experiments/benchmarks/convolution.py
"""

import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

from xxnet_jax.models.layers import convolve

CASES = {"C1": (32, 1, 6), "C3": (14, 6, 16), "C5": (5, 16, 120)}  # side, channels, maps of LeNet-5's convolutions
LAYOUT = ("NHWC", "HWIO", "NHWC")


def patches(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return convolve(x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT)


def xla(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return jax.lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=LAYOUT)


def milliseconds(function: Callable[..., jax.Array], *arguments: jax.Array) -> Callable[[], float]:
    compiled = jax.jit(jax.grad(lambda *a: jnp.sum(function(*a) ** 2), argnums=(0, 1)))
    jax.block_until_ready(compiled(*arguments))

    def once() -> float:
        started = time.perf_counter()
        jax.block_until_ready(compiled(*arguments))
        return 1e3 * (time.perf_counter() - started)

    return once


def main() -> None:
    for name, (side, channels, maps) in CASES.items():
        x = jax.random.normal(jax.random.key(0), (128, side, side, channels))
        kernel = jax.random.normal(jax.random.key(1), (5, 5, channels, maps))
        runs = [milliseconds(function, x, kernel) for function in (patches, xla)]
        samples = [[run() for run in runs] for _ in range(11)]
        ours, theirs = (statistics.median(column) for column in zip(*samples, strict=True))
        print(f"{name}, forward and both gradients: {ours:.2f} ms, XLA {theirs:.2f} ms: {theirs / ours:.1f} x")


if __name__ == "__main__":
    main()
