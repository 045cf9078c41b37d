"""What a training step costs before it runs: seconds to trace, compile and load it from a cache, and its memory.

    python experiments/benchmarks/compile.py resnet50 densenet201 nasnet_large
    python experiments/benchmarks/compile.py densenet121 --batch-size 8 --model-options remat True
    python experiments/benchmarks/compile.py nasnet_large --peer flax_plain     # XLA's convolutions, as on GPU and TPU

Momentum, cross-entropy; nothing is computed, and no parameter is made. "cached_s" is a start with JAX's persistent
compilation cache, which the scripts have on by default: tracing, and reading what was compiled before. Memory is that
of intermediate values, without the state and the batch. Figures go to results.csv in OUT.
"""

import contextlib
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import jax
import tyro
from measuring import OURS, results, rounded, show
from rich.progress import track
from script import compilation_cache, main

import xxnet_jax as xx
from xxnet_jax.models import Network
from xxnet_jax.models.backend import plain_operations
from xxnet_jax.training.recipe import KnobValue
from xxnet_jax.training.step import lowered_train_step

LARGEST = ("resnet50", "densenet201", "nasnet_large")


@dataclass(frozen=True)
class Arguments:
    """Measure.

    Attributes:
        networks: registered names.
        peer: the same network of Flax's and XLA's plain operations.
        batch_size: images in a step.
        side: of the images; by default the nominal one of each network.
        model_options: knobs of the networks, such as remat True.
        out: folder for the figures of one machine.
    """

    networks: Annotated[tuple[str, ...], tyro.conf.Positional] = LARGEST
    peer: tuple[Literal["flax_plain"], ...] = ()
    batch_size: int = 2
    side: int | None = None
    model_options: dict[str, KnobValue] = field(default_factory=dict)
    out: Path = Path("runs/benchmarks/compile")


class Cost(NamedTuple):
    """Seconds, and MiB where the backend says how much memory it plans."""

    trace_s: float
    compile_s: float
    cached_s: float
    memory_mib: float | None


def step_cost(model: Network, batch_size: int, image_shape: tuple[int, int, int]) -> Cost:
    """The cost of the training step of a network, before it runs."""
    tx = xx.create_optimizer("momentum", learning_rate=0.1)

    def start() -> tuple[float, float, Any]:
        jax.clear_caches()
        began = time.perf_counter()
        lowered = lowered_train_step(model, tx, image_shape, batch_size)
        traced = time.perf_counter()
        compiled = lowered.compile()
        return traced - began, time.perf_counter() - traced, compiled.memory_analysis()

    with tempfile.TemporaryDirectory() as folder, compilation_cache(Path(folder)):
        trace, compilation, memory = start()
        cached_trace, loading, _ = start()
    mebibytes = None if memory is None else rounded(memory.temp_size_in_bytes / 2**20)
    return Cost(rounded(trace), rounded(compilation), rounded(cached_trace + loading), mebibytes)


def measure_compilation() -> int:
    arguments = tyro.cli(Arguments, description=__doc__)
    options: dict[str, Any] = arguments.model_options
    key = ("network", "options", "input", "operations")
    table = results(arguments.out, "compile", {}, key)
    shown = []
    for name in track(arguments.networks, "compiling", transient=True):
        height, width, channels = xx.model_info(name).input_shape
        shape = (arguments.side or height, arguments.side or width, channels)
        chosen = " ".join(f"{knob}={value}" for knob, value in options.items())
        for operations in (OURS, *arguments.peer):
            case = (name, chosen, "x".join(map(str, (arguments.batch_size, *shape))), operations)
            if case not in table:
                with contextlib.nullcontext() if operations == OURS else plain_operations():
                    cost = step_cost(xx.create_model(name, **options), arguments.batch_size, shape)
                table.add(dict(zip(key, case, strict=True)) | cost._asdict())
            shown.append(table[case])
    show(f"compilation of training steps, {jax.default_backend()}", shown)
    print(f"{table.folder}/results.csv")
    return 0


if __name__ == "__main__":
    main(measure_compilation)
