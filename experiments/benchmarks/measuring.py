"""What the benchmarks share: contestants in turns, ratios within a round, and tables that an interruption keeps.

Speed is that of one machine in one hour, so contestants are measured side by side: in every round each of them has a
turn, ratios are taken within a round, and medians are reported with their range. The first call, which compiles, is
apart. A turn begins with a call that does not count: the one before has taken caches and memory, and fetching memory
back from the system took up to twice the time of a step.
"""

import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import psutil
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from xxnet_jax.training.run import versions

sys.path.append(str(Path(__file__).parents[1]))  # for a script of this folder, what the scripts above share
from provenance import cores, device_name, provenance
from run_table import Row, RunTable

OURS = "xxnet_jax"

Run = Callable[[], object]  # one unit of work; it is done when this returns


class Timing(NamedTuple):
    """Seconds.

    Attributes:
        first: of the first call, with what it compiles.
        rounds: of the calls after it, one a round.
    """

    first: float
    rounds: list[float]


COUNTED_CALLS = 2  # of a turn


def seconds(run: Run, calls: int = 1) -> float:
    """Of a call, the mean of several that follow each other."""
    started = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - started) / calls


def turn(run: Run) -> float:
    """Seconds of a call, after one that does not count."""
    run()
    return seconds(run, COUNTED_CALLS)


def in_turns(contestants: Mapping[str, Run], rounds: int) -> dict[str, Timing]:
    """The timing of each: a first call of all, then a turn of each in every round."""
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("first calls", total=len(contestants) * (rounds + 1))

        def timed(measure: Callable[[Run], float], what: str) -> dict[str, float]:
            spent = {}
            for name, run in contestants.items():
                progress.update(task, description=f"{what}: {name}")
                spent[name] = measure(run)
                progress.advance(task)
            return spent

        first = timed(seconds, "first call")
        later = [timed(turn, f"round {i + 1}") for i in range(rounds)]
    return {name: Timing(first[name], [each[name] for each in later]) for name in contestants}


def against_ours(timings: Mapping[str, Timing], units: float) -> list[Row]:
    """A row for each peer: medians of both, and how many times faster we are, median and range over the rounds.

    Args:
        timings: of `OURS` and of the peers, from one `in_turns`.
        units: of work in a call, such as images.
    """
    ours = timings[OURS]
    rows = []
    for peer, timing in timings.items():
        if peer == OURS:
            continue
        ratios = [theirs / own for theirs, own in zip(timing.rounds, ours.rounds, strict=True)]
        rows.append(
            {
                "peer": peer,
                "ratio": rounded(statistics.median(ratios)),
                "lowest": rounded(min(ratios)),
                "highest": rounded(max(ratios)),
                "ours_ms": rounded(1e3 * statistics.median(ours.rounds)),
                "peer_ms": rounded(1e3 * statistics.median(timing.rounds)),
                "ours_per_s": rounded(units / statistics.median(ours.rounds)),
                "peer_per_s": rounded(units / statistics.median(timing.rounds)),
                "ours_first_s": rounded(ours.first),
                "peer_first_s": rounded(timing.first),
                "rounds": len(ratios),
                **provenance(),
            }
        )
    return rows


def peak_memory(process: int, run: Run, every: float = 0.05) -> float:
    """MiB that a process and all that it started have in memory at most while a call lasts, by looking `every` seconds.

    What several of them share is counted once (PSS) where the system says it, as Linux does; else it is RSS.
    """
    done, highest = threading.Event(), 0.0

    def look() -> None:
        nonlocal highest
        ended = False
        while not ended:  # once at least, however short the call is
            root = psutil.Process(process)
            highest = max(highest, sum(map(_mebibytes, [root, *root.children(recursive=True)])))
            ended = done.wait(every)

    looking = threading.Thread(target=look)
    looking.start()
    try:
        run()
    finally:
        done.set()
        looking.join()
    return highest


def _mebibytes(process: psutil.Process) -> float:
    try:
        memory = process.memory_full_info()
    except psutil.NoSuchProcess:  # it has ended meanwhile
        return 0.0
    return getattr(memory, "pss", memory.rss) / 2**20


def rounded(value: float) -> float:
    """To four digits."""
    return float(f"{value:.4g}")


def machine() -> dict[str, Any]:
    """What decides the figures: processor or device, cores that may be used, huge pages, versions."""
    return {
        "device": device_name(),
        "cores": cores(),
        "devices": jax.device_count(),
        "glibc_tunables": os.environ.get("GLIBC_TUNABLES", ""),
        **versions(),
    }


def results(folder: Path, benchmark: str, settings: Mapping[str, Any], key: tuple[str, ...]) -> RunTable:
    """The table of a benchmark on this machine; what is in it need not be measured again.

    Raises:
        ValueError: the folder has figures of another machine, other versions or other settings.
    """
    return RunTable(folder, {"benchmark": benchmark, **settings, **machine()}, key)


def show(title: str, rows: list[Row]) -> None:
    """Print rows as a table."""
    table = Table(title=title, title_justify="left", box=None)
    for column in rows[0]:
        table.add_column(column, justify="left" if isinstance(rows[0][column], str) else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(f"{value:,}" if isinstance(value, int | float) else str(value) for value in row.values()))
    Console(width=180).print(table)
