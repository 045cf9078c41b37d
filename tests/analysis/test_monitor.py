"""The monitor on a process that is known to work and to take memory; nvidia-smi's lines."""

import itertools
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from xxnet_jax.analysis.monitor import Gpu, Monitor, Usage, parse_gpus
from xxnet_jax.errors import MissingData
from xxnet_jax.visualization.usage import plot_usage

BUSY = """
import time
taken = bytearray(b"x") * (300 * 2**20)
end = time.process_time() + 1.0
while time.process_time() < end:
    pass
"""


def test_memory_and_cores():
    """A second of processor time and 300 MiB, in a process that another one starts, beside the kernel's account."""
    before_all = resource.getrusage(resource.RUSAGE_CHILDREN)
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BUSY!r}])"
    process = subprocess.Popen([sys.executable, "-c", child])
    with Monitor(process.pid, interval=0.05) as monitor:
        process.wait()
    usages = monitor.usages
    assert 300 * 2**20 < max(usage.memory for usage in usages) < 400 * 2**20
    steps = itertools.pairwise(usages)
    seconds = sum(after.cores * (after.seconds - before.seconds) for before, after in steps)
    after_all = resource.getrusage(resource.RUSAGE_CHILDREN)
    taken = after_all.ru_utime + after_all.ru_stime - before_all.ru_utime - before_all.ru_stime
    assert 0.5 < seconds < taken + 0.1  # what a process does before the first and after the last look is not seen
    assert all(before.seconds < after.seconds for before, after in itertools.pairwise(usages))


def test_no_process():
    with pytest.raises(MissingData, match="there is no process"):
        Monitor(2**22 + 1)


def test_gpus():
    """Lines as the driver prints them; what a card does not tell is 0."""
    lines = "0, 97, 1024, 144384\n1, [N/A], 3, 144384\n"
    total = 144384 * 2**20
    assert parse_gpus(lines) == (Gpu(0, 0.97, 2**30, total), Gpu(1, 0.0, 3 * 2**20, total))
    assert parse_gpus("") == ()


@pytest.mark.parametrize("gpus", [(), (Gpu(0, 0.5, 2**30, 2**31),)])
def test_picture(gpus: tuple[Gpu, ...], tmp_path: Path):
    plot_usage([Usage(float(i), 1.5, i * 2**28, gpus) for i in range(3)], tmp_path / "usage.png")
    assert (tmp_path / "usage.png").read_bytes().startswith(b"\x89PNG")
