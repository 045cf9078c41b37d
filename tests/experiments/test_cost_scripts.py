"""summarize.py, monitor.py and the check of the largest batch."""

import csv
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import largest_batch
import monitor
import pytest
import summarize


def test_summarize(tmp_path: Path, call: Any):
    """The layers on the terminal and in files; memory, and the largest batch, with which a step fits."""
    words = ("lenet5", "--batch-size", 4, "--optimizer", "adam", "--memory", "20MiB", "--compiled")
    files = ("--csv", tmp_path / "layers.csv", "--markdown", tmp_path / "layers.md")
    status, output, _ = call(summarize.summarize_network, *words, *files)
    assert status == 0
    with (tmp_path / "layers.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    assert (rows["C3"]["parameters"], rows["C3"]["macs"], rows["C3"]["output_shape"]) == (
        "2416",
        "960000",
        "4x10x10x16",
    )
    assert "| C3 | conv | 4x10x10x16 | 2,416 | 960,000 |" in (tmp_path / "layers.md").read_text(encoding="utf-8")
    assert "x4.00" in output
    found = re.search(r"a step of ([\d,]+) images fits into 20.00 MiB, one of ([\d,]+) does not", output)
    assert found is not None
    fits, not_any_more = (int(number.replace(",", "")) for number in found.groups())
    assert not_any_more == fits + 1 > 50


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("lenet5", "--memory", "much"), "expected bytes such as 16GiB"),
        (("lenet6",), "unknown model 'lenet6'"),
        (("lenet5", "--optimizer", "adm"), "unknown optimizer 'adm'"),
        (("lenet5", "--memory", "100KB"), "a batch of 1 takes"),
    ],
)
def test_summarize_nothing(words: tuple[str, ...], message: str, call: Any):
    status, _, errors = call(summarize.summarize_network, *words)
    assert (status, message in errors) == (2, True)


def test_monitor(tmp_path: Path, call: Any):
    """A command's status is that of the script; its usage is kept."""
    command = (sys.executable, "-c", "import time; time.sleep(0.5); raise SystemExit(3)")
    status, output, _ = call(monitor.watch, "--interval", 0.1, "--out", tmp_path, "--", *command)
    assert status == 3
    assert "memory: peak" in output
    with (tmp_path / "usage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[-1]["seconds"]) > 0.3
    assert (tmp_path / "usage.png").is_file()


@pytest.mark.parametrize(
    ("words", "message"),
    [((), "give a command behind --"), (("--", "no-such-command"), "cannot run"), (("--pid", "4194305"), "no process")],
)
def test_monitor_nothing(words: tuple[str, ...], message: str, tmp_path: Path, call: Any):
    status, _, errors = call(monitor.watch, "--out", tmp_path, *words)
    assert (status, message in errors) == (2, True)


@pytest.mark.slow
def test_the_largest_batch_runs():
    """In as much memory as was asked for, and one of twice as many images does not."""
    # One device, and compiled as for users.
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "0"}
    command = [sys.executable, largest_batch.__file__, "vgg11.slim", "--memory", "2500MiB"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"images: trained\n.*images: did not fit", done.stdout)
