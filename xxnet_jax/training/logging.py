"""What a run tells: metrics for machines (JSON lines, TensorBoard), progress for people."""

import importlib.util
import json
import math
import sys
import time
from pathlib import Path
from typing import IO, Any

import jax
import numpy as np

from xxnet_jax.errors import CannotWrite
from xxnet_jax.files import read_json_lines, write_atomically
from xxnet_jax.losses import Metrics

SHOWN = ("loss", "accuracy", "mAP", "mIoU")  # of the metrics, in a line for people


class MeanWindow:
    """Means of metrics over steps or batches.

    Values stay on the device until they are needed, so that nothing waits for them. They are added in float64 in the
    order of the steps: where a window is interrupted and saved changes nothing.
    """

    def __init__(self, sums: dict[str, list[float]] | None = None):
        self._sums = {name: list(pair) for name, pair in (sums or {}).items()}
        self._pending: list[Metrics] = []

    def add(self, metrics: Metrics) -> None:
        """Metrics of a step, leaves [], or of several, leaves [steps]."""
        self._pending.append(metrics)

    def collect(self) -> list[float]:
        """Fetch what is pending into the sums; returns the loss of each of its steps."""
        losses: list[float] = []
        for metrics in jax.device_get(self._pending):
            for name, mean in metrics.items():
                totals, weights = np.ravel(mean.total), np.ravel(mean.weight)
                sums = self._sums.setdefault(name, [0.0, 0.0])
                for total, weight in zip(totals, weights, strict=True):
                    sums[0] += float(total)
                    sums[1] += float(weight)
                if name == "loss":
                    losses += (totals / np.maximum(weights, 1e-12)).tolist()
        self._pending.clear()
        return losses

    def sums(self) -> dict[str, list[float]]:
        """name -> [total, weight], as JSON."""
        self.collect()
        return self._sums

    def means(self) -> dict[str, float]:
        """name -> mean of all that was added; names without weight are left out."""
        return {name: total / weight for name, (total, weight) in self.sums().items() if weight}


class MetricsFile:
    """`metrics.jsonl`: one JSON object a line, in the order of the steps.

    Args:
        path: of the file.
        from_step: lines of later steps, which an interrupted run left behind, are dropped.
    """

    def __init__(self, path: Path, from_step: int = 0):
        self.path = path
        kept = [line for line in read_json_lines(path) if line["step"] <= from_step]
        write_atomically(path, "".join(json.dumps(line) + "\n" for line in kept))
        self._file: IO[bytes] = path.open("ab", buffering=0)

    def write(self, record: dict[str, Any]) -> None:
        """Append a line; when this returns it survives the end of the process.

        Raises:
            OSError: it could not be written.
        """
        try:
            self._file.write(f"{json.dumps(record, allow_nan=False)}\n".encode())
        except OSError as error:
            raise CannotWrite(
                f"cannot write {self.path}: {error.strerror}. Free space and run the same command again"
            ) from error

    def close(self) -> None:
        self._file.close()


class TensorBoard:
    """Scalars as TensorBoard events, where tensorboardX is installed; nothing elsewhere."""

    def __init__(self, folder: Path, from_step: int):
        self._writer: Any = None
        if importlib.util.find_spec("tensorboardX") is not None:
            from tensorboardX import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=from_step + 1)

    def write(self, record: dict[str, Any]) -> None:
        if self._writer is not None:
            for name, value in record.items():
                if name not in ("step", "epoch"):
                    self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        if self._writer is not None:
            self._writer.close()


class Progress:
    """A progress bar on a terminal, plain lines elsewhere.

    Args:
        total: steps of the whole run.
        step: already made.
        batch_size: to tell examples per second.
        enabled: False prints nothing.
    """

    def __init__(self, total: int, step: int, batch_size: int, *, enabled: bool = True):
        self._bar: Any = None
        self._task: Any = None
        self._enabled = enabled
        self._start: tuple[float, int] | None = None  # when the first steps, with the compilation, are made
        self._shown: dict[str, float] = {}
        self._total, self._batch_size = total, batch_size
        if enabled and sys.stdout.isatty():
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
            from rich.progress import Progress as RichProgress

            self._bar = RichProgress(
                TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
                BarColumn(),
                TextColumn("{task.fields[numbers]}"),
                TimeElapsedColumn(),
            )
            self._task = self._bar.add_task("", total=total, completed=step, numbers="compiling")
            self._bar.start()

    def update(self, step: int, means: dict[str, float]) -> None:
        """Move the bar to `step`; show loss and accuracy (the last ones, if `means` is empty), rate and time left."""
        self._start = self._start or (time.perf_counter(), step)
        self._shown = means or self._shown
        if self._bar is not None:
            numbers = "  ".join([_format(self._shown), self._rate(step)])
            self._bar.update(self._task, completed=step, numbers=numbers)

    def line(self, text: str) -> None:
        """A line that stays, above the bar."""
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        elif self._enabled:
            print(text, flush=True)

    def record(self, step: int, epoch: float, means: dict[str, float]) -> None:
        """A line about the metrics at `step`."""
        self.line(f"step {step}/{self._total}  epoch {epoch:.2f}  {_format(means)}  {self._rate(step)}")

    def _rate(self, step: int) -> str:
        started, first = self._start or (0.0, step)
        if step == first:
            return ""
        seconds, steps = time.perf_counter() - started, step - first
        left = (self._total - step) * seconds / steps
        return f"{steps * self._batch_size / seconds:,.0f} examples/s  {_clock(left)} left"

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()


def _format(means: dict[str, float]) -> str:
    return "  ".join(
        f"{name.replace('train/', '')} {value:.4g}" for name, value in means.items() if name.rsplit("/")[-1] in SHOWN
    )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
