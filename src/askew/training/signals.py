"""Ctrl-C and SIGTERM end a run after the step in progress."""

import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any


class SignalGuard:
    """While it is open, the first signal is remembered, and a second one stops the process at once.

    Attributes:
        received: the number of the first signal, or 0.
    """

    def __init__(self, say: Callable[[str], None]):
        self.received = 0
        self._say = say
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "SignalGuard":
        self._previous = {number: signal.signal(number, self._receive) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self.received:
            raise KeyboardInterrupt
        self.received = number
        self._say(f"{signal.Signals(number).name}: saving after this step (again: stop at once, without saving)")
