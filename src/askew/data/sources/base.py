"""What a source is: random access to samples. Sharding, shuffling and resuming are then arithmetic."""

import hashlib
import os
import stat
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

from askew.errors import Unusable

IMAGE_SUFFIXES = (  # of what data/images.py decodes, in lower case; the same list in every reader
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".avif", ".heic", ".heif", ".hif"),
)
TEXT_SUFFIXES = (".txt", ".caption", ".json")
SHUFFLE_BLOCK, SHUFFLE_WINDOW = (
    1_024,
    65_536,
)  # of the order: blocks of neighbours are shuffled, then samples inside a window
LFS = b"version https://git-lfs"  # how the files begin that Git LFS leaves in place of others
EVALUATED = "test,validation,train"  # the split that is evaluated: the first of these that the data have
MAX_BYTES = 256 * 2**20  # a larger encoded image or caption is refused before it is read


@dataclass(frozen=True)
class Sample:
    """One image with its texts.

    Attributes:
        id: unique in the source, and the same in every run.
        match_id: samples with equal match_id are positives of one another. None: samples of the same image, which are
            those with equal bytes.
        image: encoded bytes. The loader decodes them, once per sample.
        captions: at least one; each visit draws one of them.
        tags: keywords that may be added to a caption in training (`views.tags`).
        name: where it came from, for messages.
    """

    id: int
    match_id: int | None
    image: bytes
    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    name: str = ""

    @property
    def matched(self) -> int:
        """The match id that counts."""
        return bytes_id(self.image) if self.match_id is None else self.match_id


class Source(Protocol):
    """Random access to samples.

    Attributes:
        describe: what was recognised, in a few words.
        notes: what a user should know about the files: faults found on opening that belong to no single sample.
        block: number of neighbouring samples that are best read together.
        window: number of samples that can be shuffled without reading the same bytes over and over. Both may depend on
            the files only, since the order depends on them.
    """

    describe: str
    notes: tuple[str, ...]
    block: int
    window: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """The sample. Raises an OSError (best: `Unusable`, with a cause) if it cannot be read: it is then replaced."""
        ...

    def name(self, index: int) -> str:
        """Where sample `index` is, for messages, without reading it."""
        ...


@dataclass(frozen=True)
class SourceOptions:
    """How sources are read. config.DataSettings has the same fields.

    Attributes:
        image_column, caption_column: names of columns; "" finds them by name. Several caption columns have commas
            between them.
        image_root: folder of the images that a file lists; "" finds it.
        split: the one to read, where files, folders or rows name one; "all", or names of which the first that exists
            is read, with commas. See splits.py.
        separator: of a table's columns; "" finds it.
        quotes: what double quotes mean in a table: "enclosing" a field, or "literal" letters. "auto": they enclose in
            CSV, and are letters in tab-separated tables.
        layout: what a folder holds, if it could be two things: "pairs" or "classes".
        allow_outside: whether listed paths may lead out of that folder.
        selected_from: where the data of a selection lie now; "" where they lay when it was made. See selection.py.
        remote_read, remote_cache_gb, remote_folder, remote_requests, remote_timeout, remote_retries: how shards in a
            store are fetched, which does not change the samples. See data/remote.
    """

    image_column: str = ""
    caption_column: str = ""
    image_root: str = ""
    split: str = "train"
    separator: str = ""
    quotes: str = "auto"
    layout: str = "auto"
    allow_outside: bool = False
    selected_from: str = ""
    remote_read: str = "auto"
    remote_cache_gb: float = 50.0
    remote_folder: str = ""
    remote_requests: float = 0.0
    remote_timeout: float = 60.0
    remote_retries: int = 8


HOW_FETCHED = tuple(field.name for field in fields(SourceOptions) if field.name.startswith("remote_"))
FINGERS = 64  # samples whose names go into a hash


def names_hash(source: Source) -> str:
    """A hash of the number of samples and of the names of some of them, evenly spaced. No sample is read."""
    number = len(source)
    names = [source.name(index * number // FINGERS) for index in range(min(FINGERS, number))]
    return hashlib.sha256("\n".join([str(number), *names]).encode("utf-8", "surrogateescape")).hexdigest()


def path_bytes(text: str) -> bytes:
    """A path or key as bytes: what the system gave, and half of a surrogate pair, which no file has, escaped."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        data = text.encode("utf-8", "backslashreplace")
        return b"./" + data if data.startswith(b"\\") else data  # what is escaped is not the path of a drive


def stable_id(key: str) -> int:
    """A 63-bit integer that depends only on the key: the same on every machine and in every run."""
    return bytes_id(path_bytes(key))


def bytes_id(data: bytes) -> int:
    """A 63-bit integer that depends only on the bytes."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big") >> 1


def read_file(path: Path) -> bytes:
    """The contents of a regular file. Pipes and devices, which could block or never end, are refused unread."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            what = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or a device"
            raise Unusable(f"it is {what}", "not a regular file")
        if facts.st_size > MAX_BYTES:
            raise Unusable(f"{facts.st_size:,} bytes are over the limit of {MAX_BYTES:,}", "file too large")
        with open(handle, "rb", closefd=False) as file:
            data = file.read()
        if data.startswith(LFS):
            raise Unusable("it is a Git LFS pointer, not the file; fetch the file with git lfs pull", "Git LFS pointer")
        return data
    finally:
        os.close(handle)
