"""Ctrl-C and SIGTERM end a run after the step in progress, and a wait for data at once."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

from askew.errors import Stopped

REPEATED = 1.0  # seconds; torchrun passes on a signal that its processes have had from the terminal too


class StopWaiting(BaseException):
    """Raised out of a wait by a signal. No `except Exception` of a source takes it for an error of its own."""


class SignalGuard:
    """While it is open, the first signal is remembered, and a second one stops the process at once.

    Signals reach the main thread only, and there alone it can be known that one came: elsewhere none is remembered.

    Attributes:
        received: the number of the first signal, or 0.
    """

    def __init__(self, say: Callable[[str], None]):
        self.received = 0
        self._since = 0.0
        self._say = say
        self._waits = ""  # for what; "" while a step is taken
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalGuard":
        numbers = (signal.SIGINT, signal.SIGTERM)
        if threading.current_thread() is not threading.main_thread():
            numbers = ()
        self._previous = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    @contextmanager
    def waiting(self, what: str = "the wait for data") -> Iterator[None]:
        """Inside, the first signal raises StopWaiting, for nothing would be lost. So does one that came before.

        Args:
            what: ends by a signal, in words.
        """
        self._waits = what
        try:
            if self.received:
                raise StopWaiting
            yield
        finally:
            self._waits = ""

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            if time.monotonic() - self._since < REPEATED:
                return
            raise Stopped(number)
        self.received, self._since = number, time.monotonic()
        what = f"ending {self._waits}" if self._waits else "saving after this step"
        self._say(f"{signal.Signals(number).name}: {what} (again: stop at once, without saving)")
        if self._waits:
            raise StopWaiting
