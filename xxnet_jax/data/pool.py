"""A function of many arguments, computed ahead by threads or processes, in order."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, TypeVar

from xxnet_jax.errors import XXNetError

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], *, processes: int = 0, threads: int = 1
) -> Generator[Result, None, None]:
    """`function(item)` for each item, in their order, at most one more ahead than there are threads or processes.

    Args:
        function: to compute; for processes it is pickled once, and must be defined in a module.
        items: without end or not.
        processes: that compute, started anew (not forked: JAX has threads); 0: threads of this process.
        threads: in that case.

    Raises:
        XXNetError: a process died. What the function raises is raised in its place in the order.
    """
    ahead = (processes or threads) + 1
    waiting = iter(items)
    executor = _processes(function, processes) if processes else concurrent.futures.ThreadPoolExecutor(threads)
    submitted = _computed if processes else function
    try:
        pending: deque[Future[Any]] = deque(executor.submit(submitted, item) for item in islice(waiting, ahead))
        while pending:
            result = pending.popleft().result()
            for item in islice(waiting, 1):
                pending.append(executor.submit(submitted, item))
            yield result
    except BrokenProcessPool as error:
        raise XXNetError(
            "a process that reads images died: was it killed, or out of memory? Fewer --workers or a smaller "
            "--batch-size need less"
        ) from error
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def _processes(function: Callable[[Any], Any], number: int) -> Executor:
    context = multiprocessing.get_context("spawn")
    return concurrent.futures.ProcessPoolExecutor(number, context, initializer=_begin, initargs=(function,))


_function: Callable[[Any], Any]


def _begin(function: Callable[[Any], Any]) -> None:
    """In a process: keep the function; leave signals to the parent, and end with it."""
    global _function
    _function = function
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def _computed(item: Any) -> Any:
    return _function(item)
