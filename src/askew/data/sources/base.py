"""What a source is: random access to samples, so that sharding, shuffling and resuming are arithmetic."""

import hashlib
import math
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from askew.errors import Unusable, UserError, printable

IMAGE_COLUMNS = ("image", "filepath", "image_path", "path", "file_name", "filename", "jpg", "png", "webp")
CAPTION_COLUMNS = ("caption", "title", "text", "captions", "txt")
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
TEXT_SUFFIXES = (".txt", ".caption", ".json")
BLOCK, WINDOW = 1_024, 65_536  # of the order: blocks of neighbours are shuffled, then samples inside a window
MAX_BYTES = 256 * 2**20  # an encoded image or a caption larger than this is refused before it is read


@dataclass(frozen=True)
class Sample:
    """One image with its texts.

    Attributes:
        id: unique and stable in the run.
        group: equal group = positives; by default the same image.
        image: encoded bytes; decoding is the loader's business, once per sample.
        captions: at least one; one is drawn per visit.
        tags: keywords that may be added to a caption in training (`loader.tags`).
        name: where it came from, for messages.
    """

    id: int
    group: int
    image: bytes
    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    name: str = ""


class Source(Protocol):
    """Random access to samples.

    Attributes:
        describe: in a few words, what was recognised.
        notes: what was found on opening that a user should know: faults that no single sample stands for.
        block, window: samples that are best read together, and that may be shuffled among each other without reading
            the same bytes again and again; a property of the files alone, since the order depends on it.
    """

    describe: str
    notes: tuple[str, ...]
    block: int
    window: int

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """The sample; an OSError (`Unusable`, with its cause) where it cannot be had."""
        ...

    def name(self, index: int) -> str:
        """Where sample `index` is, found without reading it."""
        ...


@dataclass(frozen=True)
class Options:
    """How sources are read; config.Data has the same fields.

    Attributes:
        image_column, caption_column: "" finds them by name.
        image_root: folder of the images that a file lists; "" finds it.
        split: of files that hold several (Karpathy, `datasets` on disk).
        allow_outside: whether listed paths may leave that folder.
    """

    image_column: str = ""
    caption_column: str = ""
    image_root: str = ""
    split: str = "train"
    allow_outside: bool = False


def stable_id(key: str) -> int:
    """A 63-bit integer that depends on the key alone, the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1


def caption_text(cell: object) -> str:
    """A caption as text: a number is its digits, nothing and NaN are no caption."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def caption_texts(cell: object) -> tuple[str, ...]:
    """Every caption of a cell that holds one or a list of them."""
    texts = cell if isinstance(cell, list | tuple) else [cell]
    return tuple(filter(None, map(caption_text, texts)))


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 text, a BOM tolerated."""
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Unusable(f"{what} is not UTF-8 text (byte {error.start})", "caption not UTF-8") from error


def pick_columns(
    columns: Sequence[str], options: Options, path: Path, what: str, images: Sequence[str] = ()
) -> tuple[str, str]:
    """The columns of images and of captions: those of the options, or the first known names, compared without case.

    `what` says what an image's column holds; `images` are the only columns that its name is looked for in, if any.

    Raises:
        UserError: what is missing, both at once, with the columns that there are.
    """
    found, missing = [], {}
    for key, asked, known, where, kind in (
        ("data.image_column", options.image_column, IMAGE_COLUMNS, images or columns, f"{what} column"),
        ("data.caption_column", options.caption_column, CAPTION_COLUMNS, columns, "caption column"),
    ):
        lowered = {name.lower(): name for name in where if name}
        name = asked or next((lowered[name] for name in known if name in lowered), "")
        found.append(name)
        if not name or name not in columns:
            missing[key] = f"column '{printable(asked)}' ({key})" if asked else kind
    if missing:
        have = ", ".join(f"'{printable(name)}'" for name in columns if name) or "none"
        named = " ".join(f"--set {key}=NAME" for key in missing)
        raise UserError(
            f"{path}: no {' and no '.join(missing.values())}; the columns are {have}; "
            f"name {'it' if len(missing) == 1 else 'them'} with {named}"
        )
    return found[0], found[1]


def read_file(path: Path) -> bytes:
    """The whole of a regular file; a pipe or a device would block or never end, so it is refused unread."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            what = "a folder" if stat.S_ISDIR(facts.st_mode) else "a pipe or a device"
            raise Unusable(f"it is {what}", "not a regular file")
        if facts.st_size > MAX_BYTES:
            raise Unusable(f"{facts.st_size:,} bytes are over the limit of {MAX_BYTES:,}", "file too large")
        with open(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)
