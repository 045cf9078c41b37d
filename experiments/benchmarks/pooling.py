"""Max pooling and its gradient: strided slices (`layers.max_pool` on CPU) against XLA's reduce-window.

python experiments/benchmarks/pooling.py
"""

import statistics
import time
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from xxnet_jax.models.layers import max_pool

CASES = ((100, 28, 32, 2, 2), (32, 55, 96, 3, 2), (8, 112, 64, 3, 2))  # batch, side, channels, window, stride


def milliseconds(function: Callable[[jax.Array], jax.Array], x: jax.Array) -> Callable[[], float]:
    compiled = jax.jit(function)
    compiled(x).block_until_ready()

    def once() -> float:
        started = time.perf_counter()
        compiled(x).block_until_ready()
        return 1e3 * (time.perf_counter() - started)

    return once


def main() -> None:
    for batch, side, channels, window, stride in CASES:
        x = jax.nn.relu(jax.random.normal(jax.random.key(0), (batch, side, side, channels)))

        def slices(x, window=window, stride=stride):
            return max_pool(x, window, stride)

        def reduce_window(x, window=window, stride=stride):
            return nn.max_pool(x, (window, window), (stride, stride))

        def gradient(pool):
            return jax.grad(lambda images: jnp.sum(pool(images) ** 2))

        runs = [
            milliseconds(function, x) for function in (slices, reduce_window, gradient(slices), gradient(reduce_window))
        ]
        samples = [[run() for run in runs] for _ in range(9)]
        ours, xla, ours_gradient, xla_gradient = (statistics.median(column) for column in zip(*samples, strict=True))
        print(
            f"{batch}x{side}x{side}x{channels}, {window}x{window}/{stride}: forward {ours:.2f} ms, XLA {xla:.2f} ms; "
            f"gradient {ours_gradient:.2f} ms, XLA {xla_gradient:.2f} ms: {xla_gradient / ours_gradient:.1f} x"
        )


if __name__ == "__main__":
    main()
