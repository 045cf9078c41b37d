"""What a running process uses: processor cores, memory, GPUs. The notes' `watch gpustat -cpu`, kept as numbers."""

import csv
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

import jax
import psutil

from xxnet_jax.errors import MissingData

NVIDIA_SMI = "nvidia-smi"
QUERY = "--query-gpu=index,utilization.gpu,memory.used,memory.total"


class Gpu(NamedTuple):
    """A GPU, whoever uses it.

    Attributes:
        number: of it.
        utilization: share of the time in which a kernel ran, 0 .. 1.
        memory: bytes that are taken.
        total: bytes that there are.
    """

    number: int
    utilization: float
    memory: int
    total: int


class Usage(NamedTuple):
    """What a process and those that it started use at a moment.

    Attributes:
        seconds: since the monitor began.
        cores: processor time per second since the sample before.
        memory: resident bytes; pages that several processes share count in each.
        gpus: all of the machine.
    """

    seconds: float
    cores: float
    memory: int
    gpus: tuple[Gpu, ...]


class Monitor:
    """Samples the usage of a process, and of those that it started, in a thread.

        with Monitor(interval=0.5) as monitor:
            train()
        max(usage.memory for usage in monitor.usages)

    Args:
        pid: of the process; by default this one.
        interval: seconds between two samples.
        on_sample: called with each, in the thread of the monitor.

    Raises:
        FileNotFoundError: there is no such process.
    """

    def __init__(
        self, pid: int | None = None, interval: float = 1.0, on_sample: Callable[[Usage], None] = lambda usage: None
    ):
        try:
            self._process = psutil.Process(pid)
        except psutil.NoSuchProcess as error:
            raise MissingData(f"there is no process {pid}") from error
        self.usages: list[Usage] = []
        self._interval, self._on_sample = interval, on_sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Monitor":
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self) -> None:
        """Until the process ends."""
        self._thread.join()

    def _watch(self) -> None:
        began = before = time.monotonic()
        spent: dict[int, float] = {}
        while not self._stop.is_set():
            seconds, memory = self._measure()
            if not seconds:
                return
            now = time.monotonic()
            new = sum(value - spent.get(pid, 0.0) for pid, value in seconds.items()) if spent else 0.0
            usage = Usage(now - began, max(0.0, new) / max(now - before, 1e-9), memory, gpus())
            self.usages.append(usage)
            self._on_sample(usage)
            before, spent = now, seconds
            self._stop.wait(self._interval)

    def _measure(self) -> tuple[dict[int, float], int]:
        """Processor seconds by process, none when it has ended; and bytes."""
        seconds: dict[int, float] = {}
        memory = 0
        try:
            family = [self._process, *self._process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return {}, 0
        for process in family:
            try:
                if process.status() == psutil.STATUS_ZOMBIE:
                    continue
                times = process.cpu_times()
                seconds[process.pid] = times.user + times.system
                memory += process.memory_info().rss
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue  # it has ended in the meantime
        return seconds, memory


def gpus() -> tuple[Gpu, ...]:
    """The NVIDIA GPUs of this machine, as their driver tells; none where it is not installed or does not answer."""
    if shutil.which(NVIDIA_SMI) is None:
        return ()
    command = [NVIDIA_SMI, QUERY, "--format=csv,noheader,nounits"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return parse_gpus(answer.stdout) if answer.returncode == 0 else ()


def parse_gpus(answer: str) -> tuple[Gpu, ...]:
    """The lines of nvidia-smi: index, percent, MiB, MiB."""
    rows = csv.reader(answer.splitlines(), skipinitialspace=True)
    return tuple(
        Gpu(int(number), _number(percent) / 100, int(_number(used) * 2**20), int(_number(total) * 2**20))
        for number, percent, used, total in rows
    )


def _number(text: str) -> float:
    """0 for what a GPU does not tell, such as "[N/A]"."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def device_memory() -> dict[str, dict[str, int]]:
    """JAX's own count on each of its devices: "bytes_in_use", "peak_bytes_in_use", "bytes_limit" and others.

    None for devices that do not count, such as CPUs.
    """
    stats = ((str(device), device.memory_stats()) for device in jax.local_devices())
    return {device: dict(found) for device, found in stats if found}
