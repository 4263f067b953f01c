"""Standard output and standard error that cannot fail: every line that askew or a library of its prints goes there."""

import errno
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

GONE = (errno.EPIPE, errno.EIO, errno.EBADF)  # nobody reads any longer: `| head`, a terminal that was closed


class Unfailing:
    """A text stream that shows what its encoding lacks as escapes, and that falls silent when nobody can read it.

    Attributes:
        lost: why the stream could not be written to, where somebody misses what was printed (a full disk); or None.
    """

    def __init__(self, stream: Any):
        self._stream = stream
        self.lost: OSError | None = None
        if isinstance(stream, io.TextIOWrapper):
            with suppress(ValueError, OSError):  # closed
                stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write what can be written."""
        try:
            return self._stream.write(text)
        except UnicodeEncodeError:  # a stream that is not the interpreter's own
            encoding = self._stream.encoding or "ascii"
            self._stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        except OSError as error:
            self._fall_silent(error)
        except (ValueError, RuntimeError):  # closed; or a signal's message amid the write of another
            pass
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Write one after the other."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what was written."""
        try:
            self._stream.flush()
        except OSError as error:
            self._fall_silent(error)
        except (ValueError, RuntimeError):
            pass

    def _fall_silent(self, error: OSError) -> None:
        """Send what is left, and all that follows, nowhere: the interpreter would try again at its end."""
        if error.errno not in GONE and self.lost is None:
            self.lost = error
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)


@contextmanager
def unfailing() -> Iterator[Unfailing]:
    """Inside, sys.stdout, which is given, and sys.stderr cannot fail."""
    before = sys.stdout, sys.stderr
    out, err = Unfailing(sys.stdout), Unfailing(sys.stderr)
    sys.stdout, sys.stderr = out, err  # type: ignore[assignment]
    try:
        yield out
    finally:
        out.flush()
        err.flush()
        sys.stdout, sys.stderr = before
