"""What a training step costs before it runs: seconds to trace and to compile, and the memory that XLA plans for it.

    python experiments/benchmarks/compilation.py resnet152 densenet201 nasnet_large resnet1202
    python experiments/benchmarks/compilation.py densenet121 --batch-size 8 --model-options remat True
    python experiments/benchmarks/compilation.py nasnet_large --plain     # XLA's convolutions, as on GPU and TPU

Momentum, cross-entropy; nothing is computed, and no parameter is made. Memory is that of intermediate values, without
the state and the batch.
"""

import contextlib
import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro

import xxnet_jax as xx
from xxnet_jax.errors import XXNetError
from xxnet_jax.losses import classification_loss
from xxnet_jax.models import Network
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.training.state import abstract_state
from xxnet_jax.training.step import make_train_step

LARGEST = ("resnet152", "densenet201", "nasnet_large", "resnet1202")


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        models: registered names.
        side: of the images; by default the nominal one of each network.
        batch_size: images in a step.
        model_options: knobs of the networks, such as remat True.
        plain: without the lowerings for CPU.
    """

    models: Annotated[tuple[str, ...], tyro.conf.Positional] = LARGEST
    side: int | None = None
    batch_size: int = 2
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    plain: bool = False


class Cost(NamedTuple):
    """Seconds and bytes; None where the backend does not say how much memory it plans."""

    trace: float
    compile: float
    temporary: int | None


def step_cost(model: Network, batch_size: int, image_shape: tuple[int, int, int]) -> Cost:
    """The cost of the training step of a network, before it runs."""
    tx = xx.create_optimizer("momentum", learning_rate=0.1)
    batch = {
        "image": jax.ShapeDtypeStruct((batch_size, *image_shape), jnp.float32),
        "label": jax.ShapeDtypeStruct((batch_size,), jnp.int32),
        "mask": jax.ShapeDtypeStruct((batch_size,), jnp.bool_),
    }
    state = abstract_state(model, tx, image_shape)
    step = jax.jit(make_train_step(model, tx, classification_loss()), donate_argnums=0)
    start = time.perf_counter()
    lowered = step.lower(state, batch)
    traced = time.perf_counter()
    compiled = lowered.compile()
    done = time.perf_counter()
    memory = compiled.memory_analysis()
    return Cost(traced - start, done - traced, None if memory is None else memory.temp_size_in_bytes)


def main() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    options: dict[str, Any] = arguments.model_options
    print(
        f"{'network':<24} {'input':>12} {'trace s':>9} {'compile s':>10} {'memory MiB':>11}   {jax.default_backend()}"
    )
    for name in arguments.models:
        height, width, channels = xx.model_info(name).input_shape
        shape = (arguments.side or height, arguments.side or width, channels)
        model = xx.create_model(name, **options)
        with plain_operations() if arguments.plain else contextlib.nullcontext():
            cost = step_cost(model, arguments.batch_size, shape)
        memory = "unknown" if cost.temporary is None else f"{cost.temporary / 2**20:,.0f}"
        size = "x".join(map(str, (arguments.batch_size, *shape)))
        print(f"{name:<24} {size:>12} {cost.trace:9.1f} {cost.compile:10.1f} {memory:>11}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except XXNetError as error:
        sys.exit(f"error: {error}")
