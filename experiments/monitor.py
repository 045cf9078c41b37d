"""Run a command and see what it uses: processor cores, memory and GPUs over time.

    python experiments/monitor.py -- python experiments/train.py lenet5_digits
    python experiments/monitor.py --interval 0.2 --out usage -- python experiments/summarize.py vgg16 --compiled
    python experiments/monitor.py --pid 4711

The command, behind --, keeps its own output. At its end come peaks and means; OUT gets usage.csv and usage.png. With
--pid it is a process that runs already, and Ctrl-C ends the watching. The exit status is the command's.
"""

import contextlib
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from script import main

from xxnet_jax.analysis import format_bytes
from xxnet_jax.analysis.monitor import Monitor, Usage
from xxnet_jax.errors import InvalidArgument
from xxnet_jax.files import make_folder, write_csv
from xxnet_jax.visualization.usage import plot_usage


@dataclass(frozen=True)
class Arguments:
    """Watch a command, given behind --, or a process.

    Attributes:
        pid: of a process to watch in place of a command.
        interval: seconds between two samples.
        out: folder for usage.csv and usage.png.
    """

    pid: int | None = None
    interval: float = 0.5
    out: Path = Path("usage")


def watch() -> int:
    words = sys.argv[1:]
    end = words.index("--") if "--" in words else len(words)
    arguments = tyro.cli(Arguments, description=__doc__, args=words[:end])
    command = words[end + 1 :]
    if bool(command) == (arguments.pid is not None):
        raise InvalidArgument("give a command behind --, as in: monitor.py -- python train.py; or a process with --pid")
    make_folder(arguments.out)
    usages, status = of_command(command, arguments) if command else (of_process(arguments), 0)
    show(usages)
    write_csv(arguments.out / "usage.csv", [row(usage) for usage in usages])
    plot_usage(usages, arguments.out / "usage.png")
    print(f"{arguments.out}/usage.csv, usage.png")
    return status


def of_command(command: Sequence[str], arguments: Arguments) -> tuple[list[Usage], int]:
    """Its usage, and its exit status."""
    try:
        process = subprocess.Popen(command)
    except OSError as error:
        raise InvalidArgument(f"cannot run {command[0]}: {error.strerror}") from error
    with Monitor(process.pid, arguments.interval) as monitor:
        status = process.wait()
    return monitor.usages, status


def of_process(arguments: Arguments) -> list[Usage]:
    with Monitor(arguments.pid, arguments.interval) as monitor, contextlib.suppress(KeyboardInterrupt):
        monitor.wait()
    return monitor.usages


def row(usage: Usage) -> dict[str, Any]:
    gpus = {f"gpu{gpu.number}_{name}": getattr(gpu, name) for gpu in usage.gpus for name in ("utilization", "memory")}
    return {"seconds": round(usage.seconds, 3), "cores": round(usage.cores, 3), "memory": usage.memory, **gpus}


def show(usages: Sequence[Usage]) -> None:
    cores, memory = [usage.cores for usage in usages], [usage.memory for usage in usages]
    print(f"{usages[-1].seconds:.1f} s; cores: mean {statistics.mean(cores):.2f}, peak {max(cores):.2f}; ", end="")
    print(f"memory: peak {format_bytes(max(memory))}")
    for gpu in usages[-1].gpus:
        own = [usage.gpus[gpu.number] for usage in usages if len(usage.gpus) > gpu.number]
        busy = statistics.mean(sample.utilization for sample in own)
        peak = max(sample.memory for sample in own)
        print(f"GPU {gpu.number}: busy {busy:.0%}; memory: peak {format_bytes(peak)} of {format_bytes(gpu.total)}")


if __name__ == "__main__":
    main(watch)
