"""Files that are written whole or not at all, and their hashes: the one place that does either.

Everything is written beside its target under a name that ends in `.tmp`, forced to disk, and renamed. The rename is
the commit: a crash leaves the old contents or the new ones, never half of a file.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from askew.errors import UserError, printable


@contextmanager
def replacing_file(path: Path) -> Iterator[Path]:
    """Yield a path to write to; when the block ends, what was written there replaces the file at `path`.

    The path is new and unique, so several processes may replace the same file at once: the last one wins. If the block
    raises, the old file stays and the new one is removed.

    Raises:
        OSError: the folder does not exist or cannot be written to, or the block wrote nothing.
    """
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        yield temporary
        sync(temporary)
        move_into_place(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def move_into_place(written: Path, path: Path) -> None:
    """Replace the file at `path` by one that is complete, and on disk, in the same folder."""
    os.replace(written, path)


@contextmanager
def replacing_directory(path: Path) -> Iterator[Path]:
    """Yield a new, empty folder `NAME.tmp`; when the block ends, it replaces the folder at `path`.

    Missing parents are made, and a `NAME.tmp` that a crash left behind is removed first. If the block raises, the old
    folder stays and the new one is removed. Only one process may replace a folder at a time.
    """
    temporary, old = path.with_name(f"{path.name}.tmp"), path.with_name(f"{path.name}.old.tmp")
    _put_back(old, path)
    for leftover in (temporary, old):
        shutil.rmtree(leftover, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            sync(written)
        if path.exists():
            os.replace(path, old)  # a rename, so that the time without either folder is as short as it can be
        os.replace(temporary, path)
    except BaseException:
        _put_back(old, path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def _put_back(old: Path, path: Path) -> None:
    """Undo the first of the two renames, where the second did not follow."""
    if old.exists() and not path.exists():
        os.replace(old, path)


def home_path(text: str | os.PathLike[str]) -> Path:
    """The path that a user typed: `~` is the home directory. That of a user who does not exist stays as it is."""
    return Path(os.path.expanduser(text))


def check_output_file(path: Path, overwrite: bool) -> None:
    """Before the work for it: whether the file of `--out` can be written.

    Raises:
        UserError: its folder is not there, it is a folder itself, or it is there and may not be replaced.
    """
    name = printable(str(path), 400)
    if not path.parent.is_dir():
        raise UserError(f"--out {name}: there is no folder {printable(str(path.parent), 400)}; make it")
    if path.is_dir():
        raise UserError(f"--out {name} is a folder; name a file")
    if path.exists() and not overwrite:
        raise UserError(f"{name} is there already; replace it with --overwrite")


def check_output_folder(path: Path) -> None:
    """Before the work for it: whether the folder of `--out` is new or empty.

    Raises:
        UserError: it holds something, or it is a file.
    """
    name = printable(str(path), 400)
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {name} is a file; name a new folder")
    if path.is_dir() and any(path.iterdir()):
        raise UserError(f"--out {name} is not empty; name a new folder")


def write_text(path: Path, text: str) -> None:
    """Replace a file by UTF-8 text."""
    with replacing_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Force a file or a folder's list of entries to disk. Windows keeps the latter by itself, and opens no folder."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """The sha256 of a file, as 64 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
