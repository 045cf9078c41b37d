"""SIGTERM and Ctrl-C as requests that a loop can honour between two steps."""

import os
import signal as signals
import threading
from types import FrameType
from typing import Any

import jax


class InterruptRequest:
    """Within `with InterruptRequest() as request:`, the first SIGTERM or SIGINT only sets `request.signal`.

    A second one acts as it would without this. What is ignored stays so; outside the main thread nothing is caught.

    Where several processes run together, JAX hears the SIGTERM that one of them gets, the notice that a machine will be
    taken away, and they agree on a step: `reached` tells when it is there.
    """

    signal: signals.Signals | None = None

    def __enter__(self) -> "InterruptRequest":
        self._previous: dict[signals.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signals.SIGTERM, signals.SIGINT) if jax.process_count() == 1 else (signals.SIGINT,):
                if signals.getsignal(number) == signals.SIG_IGN:  # a shell's background job: it shall not hear Ctrl-C
                    continue
                self._previous[number] = signals.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._restore()
        if jax.process_count() == 1:
            self.signal = signals.Signals(number)
        else:
            os.kill(os.getpid(), signals.SIGTERM)

    def reached(self, step: int) -> bool:
        """Whether to end after this step, the same in every process."""
        if jax.process_count() > 1:
            from jax.experimental.multihost_utils import reached_preemption_sync_point

            if reached_preemption_sync_point(step):
                self.signal = signals.SIGTERM
        return self.signal is not None

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signals.signal(number, handler)
        self._previous.clear()

    def __exit__(self, *exception: object) -> None:
        self._restore()
