"""Does the largest batch that is said to fit really run, and one that is too large not?

    python experiments/checks/largest_batch.py resnet50
    python experiments/checks/largest_batch.py vgg11_bn --memory 4GiB --optimizer adam

The largest batch is looked for with XLA's memory analysis of compiled steps. Then a process of its own compiles the
step, makes state and batch, may take no more than the rest (on a CPU the kernel refuses more; on a GPU, JAX's pool is
so large), and trains on random images: with that batch, and with one of twice as many images, for which it must fail.
Exit status 1 if either is not so.
"""

import os
import resource
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jax
import jax.numpy as jnp
import tyro

import xxnet_jax as xx
from xxnet_jax.analysis import compiled_memory, format_bytes, largest_batch, parse_bytes, training_memory
from xxnet_jax.training.state import create_state
from xxnet_jax.training.step import lowered_train_step

sys.path.append(str(Path(__file__).parents[1]))
from script import main

UNCOUNTED = 320 * 2**20  # scratch memory of Eigen's convolutions and of threads on a CPU, which XLA does not plan


@dataclass(frozen=True)
class Arguments:
    """Try the largest batch.

    Attributes:
        model: a registered network.
        memory: that there is, such as 4GiB.
        optimizer: of the step.
        batch_size: train with it under the limit; what the check starts.
    """

    model: Annotated[str, tyro.conf.Positional]
    memory: str = "2GiB"
    optimizer: str = "momentum"
    batch_size: int | None = None


def check_largest_batch() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    if arguments.batch_size is not None:
        return train_within(arguments, arguments.batch_size)
    memory, shape = parse_bytes(arguments.memory), xx.model_info(arguments.model).input_shape
    model, tx = xx.create_model(arguments.model), xx.create_optimizer(arguments.optimizer)

    def compiled_bytes(batch_size: int) -> int:
        return compiled_memory(lowered_train_step(model, tx, shape, batch_size).compile()).total

    batch = largest_batch(compiled_bytes, memory)
    predicted = largest_batch(lambda size: training_memory(model, shape, tx, size).total, memory)
    print(f"{arguments.model} in {format_bytes(memory)}: {batch:,} images by XLA's analysis, {predicted:,} predicted")
    runs = trains(arguments, batch)
    print(f"{batch:,} images: {'trained' if runs else 'FAILED'}", flush=True)
    too_many = trains(arguments, 2 * batch)
    print(f"{2 * batch:,} images: {'TRAINED' if too_many else 'did not fit'}")
    return int(not runs or too_many)


def trains(arguments: Arguments, batch_size: int) -> bool:
    """Whether a process of its own can."""
    words = [arguments.model, "--memory", arguments.memory, "--optimizer", arguments.optimizer]
    environment = {**os.environ, "MALLOC_ARENA_MAX": "2"}
    if jax.default_backend() == "gpu":
        total = jax.devices()[0].memory_stats()["bytes_limit"]
        environment["XLA_PYTHON_CLIENT_MEM_FRACTION"] = str(0.75 * parse_bytes(arguments.memory) / total)
    command = [sys.executable, str(Path(__file__)), *words, "--batch-size", str(batch_size)]
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL).returncode == 0


def train_within(arguments: Arguments, batch_size: int) -> int:
    shape = xx.model_info(arguments.model).input_shape
    model, tx = xx.create_model(arguments.model), xx.create_optimizer(arguments.optimizer)
    step = lowered_train_step(model, tx, shape, batch_size).compile()
    state = create_state(model, tx, shape, seed=0)
    batch = {
        "image": jax.random.normal(jax.random.key(0), (batch_size, *shape)),
        "label": jnp.zeros(batch_size, jnp.int32),
        "mask": jnp.ones(batch_size, bool),
    }
    jax.block_until_ready((state, batch))
    limit_memory(parse_bytes(arguments.memory) - compiled_memory(step).arguments + UNCOUNTED)
    for _ in range(2):
        state, _ = jax.block_until_ready(step(state, batch))
    return 0


def limit_memory(more: int) -> None:
    """On a CPU: let this process have so many bytes more than now."""
    if jax.default_backend() == "cpu":
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
        limit = pages * resource.getpagesize() + more
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


if __name__ == "__main__":
    main(check_largest_batch)
