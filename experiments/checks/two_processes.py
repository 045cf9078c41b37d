"""Train in two processes of four devices each, and compare with one process of eight; kill one, and start both again.

    python experiments/checks/two_processes.py

The processes find each other on this machine, as hosts would over a network, and share the run folder.

1. One process with eight simulated devices, and two with four each: the losses of the first 50 steps are the same, to
   the order of sums, whose difference grows from step to step.
2. One of two is killed (SIGKILL) at a random moment: the other must end with an error within a minute. Started again,
   they must end with the state, the metrics and the report of two that nobody disturbed, bit for bit.
3. The same with SIGTERM, the notice that a machine will be taken away: both save the same step and end.

Exit status 1 if something is not so.
"""

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from kill_and_resume import TRAIN, differences, result

from xxnet_jax.files import read_json_lines

DEVICES = 8
PATIENCE = 60  # seconds in which the other process has to end


@dataclass(frozen=True)
class Arguments:
    """Train in two processes, kill one, and compare.

    Attributes:
        recipe: to run.
        epochs: of training.
        seed: of the moments.
        tolerance: relative difference of the first 50 losses between one process and two.
    """

    recipe: str = "lenet5_digits"
    epochs: int = 10
    seed: int = 0
    tolerance: float = 1e-5


def start(arguments: Arguments, workdir: Path, count: int) -> list[subprocess.Popen[bytes]]:
    """The processes of a run, their messages in files beside the run folder."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        coordinator = f"localhost:{free.getsockname()[1]}"
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={DEVICES // count}"
    command = [
        *(sys.executable, str(TRAIN), arguments.recipe, "--workdir", str(workdir), "--quiet"),
        *("--epochs", str(arguments.epochs), "--log-every", "1"),
    ]
    processes = []
    for number in range(count):
        own = ["--coordinator", coordinator, "--processes", str(count), "--process", str(number)] if count > 1 else []
        with messages(workdir, number).open("wb") as log:
            processes.append(subprocess.Popen([*command, *own], env=environment, stdout=log, stderr=log))
    return processes


def messages(workdir: Path, number: int) -> Path:
    """What process `number` says."""
    return workdir.with_name(f"{workdir.name}.{number}.log")


def finish(processes: list[subprocess.Popen[bytes]], workdir: Path) -> dict[str, Any]:
    """Wait for a run to end well, and read what it left."""
    for number, process in enumerate(processes):
        if process.wait():
            raise SystemExit(f"process {number} failed:\n{messages(workdir, number).read_text()[-3000:]}")
    return result(workdir)


def disturb(arguments: Arguments, workdir: Path, how: signal.Signals, at_step: int, victim: int) -> None:
    """Signal one of two processes when the metrics have reached a step; check how both end."""
    processes = start(arguments, workdir, 2)
    while not (lines := read_json_lines(workdir / "metrics.jsonl")) or lines[-1]["step"] < at_step:
        if any(process.poll() is not None for process in processes):
            raise SystemExit(f"a process ended too early, see {workdir}.*.log")
        time.sleep(0.05)
    processes[victim].send_signal(how)
    sent = time.perf_counter()
    survivor = processes[1 - victim]
    try:
        status = survivor.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        survivor.kill()
        raise SystemExit(f"process {1 - victim} went on for {PATIENCE} s without the other") from None
    seconds = time.perf_counter() - sent
    processes[victim].wait()
    statuses = [process.returncode for process in processes]
    print(
        f"{how.name} to process {victim} at step {at_step}: exit statuses {statuses} after {seconds:.0f} s", flush=True
    )
    said = messages(workdir, 1 - victim).read_text()
    if how is signal.SIGKILL and (status == 0 or "another" not in said):
        raise SystemExit(f"process {1 - victim} did not say that another has ended:\n{said[-3000:]}")
    if how is signal.SIGTERM and statuses != [128 + how, 128 + how]:
        raise SystemExit(f"the processes did not end together:\n{said[-3000:]}")


def relative_differences(found: dict[str, Any], expected: dict[str, Any]) -> np.ndarray:
    """Of the training losses of two runs, step by step."""

    def losses(values: dict[str, Any]) -> np.ndarray:
        return np.array([line["train/loss"] for line in values["metrics.jsonl"] if "train/loss" in line])

    return np.abs(losses(found) / losses(expected) - 1)


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        expected = finish(start(arguments, two, 2), two)
        difference = relative_differences(expected, finish(start(arguments, one, 1), one))
        first, last = difference[:50].max(), difference.max()
        print(
            f"two processes and one: losses differ by {first:.1e} in 50 steps, {last:.1e} in all, relative", flush=True
        )
        if not first <= arguments.tolerance:
            raise SystemExit(f"DIFFERENT: by more than {arguments.tolerance:g} in the first 50 steps")
        steps = expected["report.json"]["total_steps"]
        for how in (signal.SIGKILL, signal.SIGTERM):
            for victim in (0, 1):
                workdir = Path(folder) / f"{how.name}{victim}"
                disturb(arguments, workdir, how, moments.randint(1, steps * 9 // 10), victim)
                different = differences(finish(start(arguments, workdir, 2), workdir), expected)
                if different:
                    raise SystemExit("DIFFERENT: " + ", ".join(different))
        print("started again, they ended as those that nobody disturbed, bit for bit")


if __name__ == "__main__":
    main()
