"""The ways a run ends that are not our fault; the command line turns each into one line and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError


class UserError(ValueError):
    """Something the user can mend: what is wrong, where, and how to mend it, in one line. Exit code 2."""


class RunFailed(RuntimeError):
    """A run that started rightly and cannot go on: non-finite numbers, too many broken samples. Exit code 3."""


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


@contextmanager
def writing(what: str, where: Path) -> Iterator[None]:
    """Turn a disk that is full, read-only or gone into one line that says what could not be written.

    Raises:
        UserError: in place of an OSError, or of a SafetensorError, which is how safetensors says the same.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(
            f"{what} could not be written to {printable(str(where), 400)} ({reason}); "
            "earlier checkpoints are untouched: make room there, or make it writable, and go on with --resume"
        ) from error


def printable(text: str, limit: int = 120) -> str:
    """Text from data or file names, safe to show: control codes escaped, cut to `limit` characters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
