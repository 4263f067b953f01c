"""Reading at a position of an open file, without a shared position, on every system.

POSIX has `pread`. Windows has not: there a lock keeps threads apart while one of them seeks and reads. Every process
opens its own files.
"""

import os
import threading
from pathlib import Path


class PositionedFile:
    """A file that is read at any position, by any thread.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, path: Path):
        # Without O_BINARY, Windows would translate line ends
        flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        self._handle: int | None = os.open(path, flags)
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """The file's size in bytes."""
        assert self._handle is not None, "closed"
        return os.fstat(self._handle).st_size

    def read(self, size: int, position: int) -> bytes:
        """Up to `size` bytes from `position` on; fewer at the end of the file."""
        assert self._handle is not None, "closed"
        if hasattr(os, "pread"):
            return os.pread(self._handle, size, position)
        with self._lock:
            os.lseek(self._handle, position, os.SEEK_SET)
            parts = []
            while size > 0 and (part := os.read(self._handle, size)):
                parts.append(part)
                size -= len(part)
        return b"".join(parts)

    def close(self) -> None:
        """Close it; once is enough."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def __enter__(self) -> "PositionedFile":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()
