"""Kill training at random moments, run it again, and compare with a run that nobody disturbed.

    python experiments/checks/kill_and_resume.py --kills 20

Training is ended by SIGKILL or SIGTERM, at moments that are uniform over start-up, compilation, training and
checkpointing, and started again with the same command until it is finished. Then parameters, optimizer state and
metrics must be those of the undisturbed run, bit for bit; only timing may differ. Exit status 1 if they are not.
"""

import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        recipe: to run.
        epochs: of training.
        longest: seconds after which a run is killed at the latest; by default what the undisturbed run takes.
        seed: of the moments.
        devices: to train on.
    """

    kills: int = 20
    recipe: str = "lenet5_digits"
    epochs: int = 40
    longest: float | None = None
    seed: int = 0
    devices: int = 1


def command(arguments: Arguments, workdir: Path) -> list[str]:
    return [
        *(sys.executable, str(TRAIN), arguments.recipe, "--workdir", str(workdir), "--quiet"),
        *("--epochs", str(arguments.epochs), "--devices", str(arguments.devices)),
    ]


def disturbed_run(arguments: Arguments, workdir: Path, moments: random.Random, longest: float, kills: int) -> int:
    """Run to the end, killed at most `kills` times on the way; returns how often."""
    sent = 0
    while True:
        process = subprocess.Popen(command(arguments, workdir), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        after = moments.uniform(0.0, longest) if sent < kills else None
        try:
            _, errors = process.communicate(timeout=after)
        except subprocess.TimeoutExpired:
            how = moments.choice((signal.SIGKILL, signal.SIGTERM))
            process.send_signal(how)
            process.communicate()
            sent += 1
            lines = read_json_lines(workdir / "metrics.jsonl")
            step = lines[-1]["step"] if lines else 0
            print(f"{sent:3}: {how.name} after {after:5.2f} s, last metrics at step {step}", flush=True)
            continue
        if process.returncode:
            raise SystemExit(f"training failed: {errors.decode()}")
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
        while sent < arguments.kills:
            workdir = Path(folder) / f"disturbed{runs}"
            longest = arguments.longest or duration
            sent += disturbed_run(arguments, workdir, moments, longest, arguments.kills - sent)
            different += [f"run {runs}: {name}" for name in differences(result(workdir), expected)]
            runs += 1
        if different:
            raise SystemExit("DIFFERENT: " + ", ".join(different))
        print(f"{sent} kills, {runs} finished run(s): state, host state, metrics and report are identical")


if __name__ == "__main__":
    main()
