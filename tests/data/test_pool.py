"""Results come in order, ahead of time, and with the errors that there were, from threads as from processes."""

import os
import subprocess
import sys
import threading
import time
from itertools import count, islice

import psutil
import pytest

from xxnet_jax.data.pool import in_order
from xxnet_jax.errors import CorruptData, XXNetError


def square(number: int) -> tuple[int, int]:
    time.sleep(0.02 * (number % 3 == 0))  # so that they end in another order than they begin
    return number * number, os.getpid()


def fail_at_three(number: int) -> int:
    if number == 3:
        raise CorruptData("image 3 is damaged")
    return number


def die_at_three(number: int) -> int:
    if number == 3:
        os._exit(9)
    return number


@pytest.mark.parametrize("processes", [0, 1, 2])
def test_results_come_in_order(processes: int):
    """Squares of 0 to 29, computed where they should be."""
    found = list(in_order(square, range(30), processes=processes, threads=4))
    assert [number for number, _ in found] == [number**2 for number in range(30)]
    where = {process for _, process in found}
    assert (where == {os.getpid()}) == (processes == 0)
    assert len(where) <= max(processes, 1)


def test_not_further_ahead_than_said():
    """While the first result is being looked at, three threads have begun five items at most."""
    begun: list[int] = []

    def begin(number: int) -> int:
        begun.append(number)
        return number

    results = in_order(begin, count(), threads=3)
    assert next(results) == 0
    time.sleep(0.2)
    assert len(begun) <= 5
    results.close()
    assert threading.active_count() < 20


@pytest.mark.parametrize("processes", [0, 1])
def test_errors_come_in_their_place(processes: int):
    """The results before are given; then the error itself is raised, with its message."""
    results = in_order(fail_at_three, count(), processes=processes, threads=4)
    assert list(islice(results, 3)) == [0, 1, 2]
    with pytest.raises(CorruptData, match="image 3 is damaged"):
        next(results)


def test_a_process_that_dies_is_an_error():
    results = in_order(die_at_three, count(), processes=1)
    with pytest.raises(XXNetError, match="a process that reads images died"):
        list(islice(results, 10))


def test_processes_end_with_the_iteration():
    """Whoever stops in the middle leaves no process behind."""
    results = in_order(square, count(), processes=2)
    next(results)
    children = psutil.Process().children(recursive=True)
    assert len(children) >= 2
    results.close()
    own = [child for child in children if child.is_running() and "spawn_main" in " ".join(child.cmdline())]
    assert own == []


def test_processes_end_with_their_parent(tmp_path):
    """A parent that is killed leaves no process behind."""
    (tmp_path / "parent.py").write_text(
        "import os, time\n"
        "from itertools import count\n"
        "from xxnet_jax.data.pool import in_order\n"
        "def wait(number):\n"
        "    time.sleep(.05)\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for process in in_order(wait, count(), processes=1):\n"
        "        print(process, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, str(tmp_path / "parent.py")], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    with parent.stdout as lines:
        child = psutil.Process(int(lines.readline()))
        parent.kill()
        parent.wait()
        child.wait(timeout=20)
