"""The ways a run ends that are not our fault; the command line turns each into one line and an exit code."""


class UserError(ValueError):
    """Something the user can mend: what is wrong, where, and how to mend it, in one line. Exit code 2."""


class RunFailed(RuntimeError):
    """A run that started rightly and cannot go on: non-finite numbers, too many broken samples. Exit code 3."""


class Interrupted(Exception):
    """Stopped by a signal after saving. Exit code 128 + the signal's number."""

    def __init__(self, signal_number: int, message: str):
        super().__init__(message)
        self.signal_number = signal_number


def printable(text: str, limit: int = 120) -> str:
    """Text from data or file names, safe to show: control codes escaped, cut to `limit` characters."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"
