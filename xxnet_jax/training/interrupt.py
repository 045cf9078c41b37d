"""SIGTERM and Ctrl-C as requests that a loop can honour between two steps."""

import signal as signals
import threading
from types import FrameType
from typing import Any


class InterruptRequest:
    """Within `with InterruptRequest() as request:`, the first SIGTERM or SIGINT only sets `request.signal`.

    A second one acts as it would without this. What is ignored stays so; outside the main thread nothing is caught.
    """

    signal: signals.Signals | None = None

    def __enter__(self) -> "InterruptRequest":
        self._previous: dict[signals.Signals, Any] = {}
        if threading.current_thread() is threading.main_thread():
            for number in (signals.SIGTERM, signals.SIGINT):
                if signals.getsignal(number) == signals.SIG_IGN:  # a shell's background job: it shall not hear Ctrl-C
                    continue
                self._previous[number] = signals.signal(number, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.signal = signals.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            signals.signal(number, handler)
        self._previous.clear()

    def __exit__(self, *exception: object) -> None:
        self._restore()
