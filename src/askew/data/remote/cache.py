"""A folder of bounded size that holds parts of shards, shared by all processes of a machine.

A part is a file whose name says what it holds; while it is being fetched, `.part` is appended. File locks say which
parts are being fetched, so that those of a process that died are recognised. Whoever makes room holds the lock of the
folder, so that the bound is kept however many processes fetch at once.
"""

import os
import time
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from askew.data.files import move_into_place
from askew.data.remote.address import RemoteShard
from askew.data.remote.store import locked
from askew.data.sources.base import stable_id
from askew.errors import Unusable

FETCHING, LEDGER = ".part", ".used"
WAIT = 0.05  # seconds between two looks at what another process fetches


@dataclass(frozen=True)
class ShardPart:
    """Bytes start .. stop - 1 of a shard."""

    shard: RemoteShard
    start: int
    stop: int

    @property
    def size(self) -> int:
        """In bytes."""
        return self.stop - self.start

    @cached_property
    def name(self) -> str:
        """The file's name: of another version of the shard, it is another."""
        what = stable_id(f"{self.shard.url}\n{self.shard.size}\n{self.shard.version}")
        return f"{self.shard.name[-80:]}-{what:016x}-{self.start}-{self.stop}"


class PartCache:
    """Parts of shards in a folder.

    Args:
        folder: made if need be.
        limit: bytes that all files in it may have together, those that are being fetched included.
    """

    def __init__(self, folder: Path, limit: int):
        self.folder, self.limit = folder, limit

    def has(self, part: ShardPart) -> bool:
        """Whether a part is there."""
        return (self.folder / part.name).exists()

    def read(self, part: ShardPart, position: int, size: int) -> bytes | None:
        """Bytes of a shard that lie in a part; None if it is not there, or shorter than it should be."""
        with self.held(part) as file:
            data = None if file is None else os.pread(file, size, position - part.start)
        return data if data is not None and len(data) == size else None

    @contextmanager
    def held(self, part: ShardPart) -> Iterator[int | None]:
        """The open file of a part, which nobody removes meanwhile; None if it is not there."""
        import fcntl

        try:
            file = os.open(self.folder / part.name, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            with suppress(OSError):  # somebody decides just now whether to remove it; reading goes well all the same
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            with suppress(OSError):  # another user's file
                os.utime(file)  # what was used last is removed last
            yield file
        finally:
            os.close(file)

    def discard(self, part: ShardPart) -> None:
        """Remove a part that turned out to be damaged."""
        with locked(self.folder / LEDGER) as ledger, suppress(FileNotFoundError):
            (self.folder / part.name).unlink()
            _write(ledger, _used(ledger) - part.size)

    def fetch(
        self, part: ShardPart, fill: Callable[[ShardPart, Path], None], keep: Container[str] = (), wait: bool = True
    ) -> bool:
        """See that a part is there. Returns False if it is not, because there is no room, or not yet.

        Args:
            fill: writes the part's bytes to the file that is named.
            keep: names of parts that must stay. Of the others, those that were not used for longest make room.
            wait: whether to wait while another process fetches it, or while what is in use takes up the room.

        Raises:
            Unusable: what `fill` raises.
        """
        while True:
            with locked(self.folder / LEDGER) as ledger:
                if self.has(part):
                    return True
                file, is_crowded = self._claim(part), True
                if file is not None:
                    has_room, is_crowded = self._make_room(ledger, part, keep)
                    if not has_room:
                        self._give_up(part, file)
                        file = None
            if file is not None:
                self._fill(part, file, fill)
                return True
            if not wait or not is_crowded:
                return False
            time.sleep(WAIT)

    def _claim(self, part: ShardPart) -> int | None:
        """The locked file to write a part to; None if another process or thread has it."""
        import fcntl

        file = os.open(self.folder / (part.name + FETCHING), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        return file

    def _give_up(self, part: ShardPart, file: int) -> None:
        """Let go of a claim; the caller holds the folder's lock, so that nobody opens the file just now."""
        import fcntl

        with suppress(FileNotFoundError):
            (self.folder / (part.name + FETCHING)).unlink()
        fcntl.flock(file, fcntl.LOCK_UN)  # a process forked meanwhile has the same lock
        os.close(file)

    def _fill(self, part: ShardPart, file: int, fill: Callable[[ShardPart, Path], None]) -> None:
        place, is_there = self.folder / (part.name + FETCHING), False
        try:
            fill(part, place)
            is_there = place.stat().st_size == part.size
            if not is_there:
                raise Unusable(f"{part.shard}: {place.stat().st_size:,} of {part.size:,} bytes came", "truncated tar")
            os.fsync(file)
        finally:
            with locked(self.folder / LEDGER) as ledger:
                if is_there:
                    move_into_place(place, self.folder / part.name)
                else:
                    _write(ledger, _used(ledger) - part.size)
                self._give_up(part, file)

    def _make_room(self, ledger: int, part: ShardPart, keep: Container[str]) -> tuple[bool, bool]:
        """Reserve a part's bytes, removing others if need be: whether they fit, and whether there may be room soon.

        The folder is looked through only if the ledger says that it is full. What the ledger counts too much, because
        a process died, is corrected then.
        """
        used, crowded = _used(ledger), False
        if used + part.size > self.limit:
            used, others = 0, []
            for entry in os.scandir(self.folder):
                if entry.name in (part.name + FETCHING,) or entry.name.startswith("."):
                    continue
                facts = entry.stat()
                if entry.name.endswith(FETCHING):
                    if not _removed_if_free(Path(entry.path)):
                        first, last = entry.name.removesuffix(FETCHING).rsplit("-", 2)[1:]
                        used, crowded = used + int(last) - int(first), True
                    continue
                used += facts.st_size
                if entry.name not in keep:
                    others.append((facts.st_mtime_ns, entry.path, facts.st_size))
            can_fit = used - sum(size for _, _, size in others) + part.size <= self.limit
            for _, path, size in sorted(others) if can_fit else ():
                if used + part.size <= self.limit:
                    break
                if _removed_if_free(Path(path)):
                    used -= size
                else:
                    crowded = True
        fits = used + part.size <= self.limit
        _write(ledger, used + part.size if fits else used)
        return fits, crowded


def _removed_if_free(path: Path) -> bool:
    """Remove a file unless somebody holds it."""
    import fcntl

    try:
        file = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink()
        return True
    except OSError:
        return False
    finally:
        os.close(file)


def _used(ledger: int) -> int:
    return int(os.pread(ledger, 24, 0) or 0)


def _write(ledger: int, used: int) -> None:
    os.pwrite(ledger, f"{max(used, 0):020d}".encode(), 0)
