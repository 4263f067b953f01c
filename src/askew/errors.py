"""The ways a run ends that are not our fault. The command line turns each into one line and an exit code."""

import importlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from safetensors import SafetensorError


class UserError(ValueError):
    """Something the user can fix. One line: what is wrong, where, and how to fix it. Exit code 2.

    Examples:
        >>> try:
        ...     askew.train("fotos")
        ... except askew.UserError as error:
        ...     print(str(error)[:53])
        recipe 'fotos' is not known; did you mean 'photos'? (
    """


class RunFailed(RuntimeError):
    """A run that started well and cannot continue: non-finite numbers, too many bad samples. Exit code 3.

    Examples:
        >>> settings = {"train.learning_rate": 1e30, "train.warmup_epochs": 0}
        >>> try:
        ...     askew.train("my_recipe.yaml", data="pairs.csv", out="runs/failed", overrides=settings)
        ... except askew.RunFailed as error:
        ...     print("is not finite" in str(error))
        True
    """


class OtherRankFailed(RunFailed):
    """Another rank has failed, and reports it better than this one could."""


class Stopped(BaseException):
    """A signal where there is nothing to save. Exit code 128 + the signal's number.

    It is no KeyboardInterrupt, which the parser of the command line would keep for itself.
    """

    def __init__(self, signal_number: int):
        super().__init__(signal.Signals(signal_number).name)
        self.signal_number = signal_number


def is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def stopping() -> Iterator[None]:
    """Inside, Ctrl-C and SIGTERM raise Stopped.

    SIGTERM ends one of several ranks at once: it may be waiting for the others where no exception can be raised.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Stopped(number)

    numbers = (signal.SIGINT,) if is_launched() else (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():
        numbers = ()
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Interrupted(Exception):
    """Stopped by a signal after saving. Exit code 128 + the signal's number."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


class Unusable(OSError):
    """A sample that cannot be used; it is replaced, and counted under `cause`: the kind of fault in a few words."""

    def __init__(self, message: str, cause: str):
        super().__init__(message)
        self.cause = cause


THEN_RESUME = ", and resume with --resume: earlier checkpoints are untouched"


@contextmanager
def writing(what: str, where: Path, then: str = "") -> Iterator[None]:
    """Turn a disk that is full, read-only or gone into one line that says what could not be written.

    Args:
        then: what to do after making room.

    Raises:
        UserError: in place of an OSError, or of a SafetensorError, which is how safetensors says the same.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{what} could not be written to {printable(str(where), 400)} ({reason}); "
            f"make room there, or make it writable{then}"
        ) from error


def imported(text: str, what: str) -> Any:
    """The object that `module:NAME` names. Modules in the working directory are found, as by `python -m`.

    Args:
        what: what asks for it, for messages.

    Raises:
        UserError: no such module or name, or a module that fails when it is imported.
    """
    module, _, name = text.partition(":")
    here = os.getcwd()
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:  # the module is not ours: anything may happen while it runs
        kind = "" if isinstance(error, ImportError | AttributeError) else f"{type(error).__name__}: "
        raise UserError(f"{what}={printable(text)}: {kind}{printable(str(error), 300)}{place_of(error)}") from error
    return found


def place_of(error: BaseException) -> str:
    """` (FILE:LINE)` where it was raised, or nothing if that was in the function that caught it."""
    frames = traceback.extract_tb(error.__traceback__)[1:]
    place = next((f" ({f.filename}:{f.lineno})" for f in reversed(frames) if "importlib" not in f.filename), "")
    return printable(place, 400)


def printable(text: str, limit: int = 120) -> str:
    """Text from data or file names, safe to show: control codes escaped, cut to `limit` characters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
