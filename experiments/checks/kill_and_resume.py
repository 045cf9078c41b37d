"""Kill training at random moments, run it again, and compare with a run that nobody disturbed.

    python experiments/checks/kill_and_resume.py --kills 20
    python experiments/checks/kill_and_resume.py --steps 4 12 --epochs 4 --recipe alexnet_cats_and_dogs \
        --options data folder:PHOTOGRAPHS augmentation inception_crop workers 2 log_every 1 evaluate_every 3

Training is ended by SIGKILL or SIGTERM, at moments that are uniform over start-up, compilation, training and
checkpointing, and started again with the same command until it is finished; or by SIGKILL as soon as the metrics of
given steps are there. Then parameters, optimizer state and metrics must be those of the undisturbed run, bit for bit;
only timing may differ. Exit status 1 if they are not.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import tyro

from xxnet_jax.files import read_json_lines
from xxnet_jax.training import Run

TRAIN = Path(__file__).parents[1] / "train.py"
TIMING = {"seconds", "examples_per_second", "finished"}


@dataclass(frozen=True)
class Arguments:
    """Kill training at random moments and compare with a run that nobody disturbed.

    Attributes:
        kills: signals to send in all; a run that is finished before is compared, and a new one begun.
        steps: kill one run after these steps, in place of random moments.
        recipe: to run.
        options: of the recipe, in place of its own values, such as workers 2.
        epochs: of training.
        longest: seconds after which a run is killed at the latest; by default what the undisturbed run takes.
        seed: of the moments.
        devices: to train on.
    """

    kills: int = 20
    steps: tuple[int, ...] = ()
    recipe: str = "lenet5_digits"
    options: dict[str, str] = field(default_factory=dict)
    epochs: int = 40
    longest: float | None = None
    seed: int = 0
    devices: int = 1


class Kill(NamedTuple):
    """A signal, and what waits for its moment; False: the process has ended before."""

    how: signal.Signals
    wait: Callable[[subprocess.Popen[bytes]], bool]


def at_random(moments: random.Random, longest: float) -> Iterator[Kill]:
    """Kills at moments before `longest` seconds."""

    def wait(process: subprocess.Popen[bytes]) -> bool:
        try:
            process.wait(timeout=moments.uniform(0.0, longest))
        except subprocess.TimeoutExpired:
            return True
        return False

    while True:
        yield Kill(moments.choice((signal.SIGKILL, signal.SIGTERM)), wait)


def after_steps(steps: tuple[int, ...], workdir: Path) -> Iterator[Kill]:
    """Kills as soon as a run has written the metrics of each of these steps."""
    for step in steps:

        def wait(process: subprocess.Popen[bytes], step: int = step) -> bool:
            while process.poll() is None:
                if last_step(workdir) >= step:
                    return True
                time.sleep(0.02)
            if process.returncode == 0:
                raise SystemExit(
                    f"training has no metrics of step {step}, or ended too soon: log_every 1, fewer --steps"
                )
            return False

        yield Kill(signal.SIGKILL, wait)


def last_step(workdir: Path) -> int:
    """The last one that has metrics."""
    lines = read_json_lines(workdir / "metrics.jsonl")
    return lines[-1]["step"] if lines else 0


def command(arguments: Arguments, workdir: Path) -> list[str]:
    return [
        *(sys.executable, str(TRAIN), arguments.recipe, "--workdir", str(workdir), "--quiet"),
        *("--epochs", str(arguments.epochs), "--devices", str(arguments.devices)),
        *(word for name, value in arguments.options.items() for word in (f"--{name.replace('_', '-')}", value)),
    ]


def disturbed_run(arguments: Arguments, workdir: Path, kills: Iterator[Kill]) -> int:
    """Run to the end, killed on the way; returns how often."""
    sent = 0
    while True:
        kill = next(kills, None)
        with tempfile.TemporaryFile() as errors:
            process = subprocess.Popen(command(arguments, workdir), stdout=subprocess.DEVNULL, stderr=errors)
            started = time.perf_counter()
            if kill is not None and kill.wait(process):
                process.send_signal(kill.how)
                process.wait()
                sent += 1
                after = time.perf_counter() - started
                print(
                    f"{sent:3}: {kill.how.name} after {after:5.2f} s, last metrics at step {last_step(workdir)}",
                    flush=True,
                )
                continue
            if process.wait():
                errors.seek(0)
                raise SystemExit(f"training failed: {errors.read().decode()}")
            return sent


def result(workdir: Path) -> dict[str, Any]:
    """Everything of a finished run that must not depend on interruptions; "state" maps paths to arrays."""
    run = Run(workdir)
    checkpoints = run.checkpoints()
    last = max(checkpoints.steps())
    state, host = checkpoints.restore(last, run.template())
    report = run.folder.report() or {}
    return {
        "metrics.jsonl": [
            {name: value for name, value in line.items() if not name.startswith("time/")}
            for line in read_json_lines(run.folder.metrics)
        ],
        "report.json": {name: value for name, value in report.items() if name not in TIMING},
        "host state": {name: value for name, value in host.items() if name not in TIMING},
        "state": {
            jax.tree_util.keystr(path): np.asarray(leaf)
            for path, leaf in jax.tree_util.tree_leaves_with_path(state.replace(rng=jax.random.key_data(state.rng)))
        },
    }


def differences(found: dict[str, Any], expected: dict[str, Any]) -> list[str]:
    """Which parts of two results are not the same, to the bit."""
    different = [name for name in expected if name != "state" and found[name] != expected[name]]
    different += [name for name, leaf in expected["state"].items() if leaf.tobytes() != found["state"][name].tobytes()]
    return different


def main() -> None:
    arguments = tyro.cli(Arguments, description=__doc__)
    moments = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        subprocess.run(command(arguments, Path(folder) / "undisturbed"), check=True, stdout=subprocess.DEVNULL)
        duration = time.perf_counter() - started
        expected = result(Path(folder) / "undisturbed")
        print(f"undisturbed: {duration:.0f} s, {json.dumps(expected['report.json'])}")
        sent = runs = 0
        different = []
        wanted = len(arguments.steps) or arguments.kills
        while sent < wanted:
            workdir = Path(folder) / f"disturbed{runs}"
            if arguments.steps:
                kills = after_steps(arguments.steps[sent:], workdir)
            else:
                kills = islice(at_random(moments, arguments.longest or duration), wanted - sent)
            sent += disturbed_run(arguments, workdir, kills)
            different += [f"run {runs}: {name}" for name in differences(result(workdir), expected)]
            runs += 1
        if different:
            raise SystemExit("DIFFERENT: " + ", ".join(different))
        print(f"{sent} kills, {runs} finished run(s): state, host state, metrics and report are identical")


if __name__ == "__main__":
    main()
