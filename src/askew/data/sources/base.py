"""What a source is: random access to samples. Sharding, shuffling and resuming are then arithmetic."""

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
IMAGE_SUFFIXES = (  # of what data/images.py decodes, in lower case; the same list in every reader
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".jpx", ".jpf", ".avif", ".heic", ".heif", ".hif"),
)
TEXT_SUFFIXES = (".txt", ".caption", ".json")
SHUFFLE_BLOCK, SHUFFLE_WINDOW = (
    1_024,
    65_536,
)  # of the order: blocks of neighbours are shuffled, then samples inside a window
MAX_BYTES = 256 * 2**20  # a larger encoded image or caption is refused before it is read


@dataclass(frozen=True)
class Sample:
    """One image with its texts.

    Attributes:
        id: unique in the source, and the same in every run.
        match_id: samples with equal match_id are positives of one another; by default, samples of the same image.
        image: encoded bytes. The loader decodes them, once per sample.
        captions: at least one; each visit draws one of them.
        tags: keywords that may be added to a caption in training (`views.tags`).
        name: where it came from, for messages.
    """

    id: int
    match_id: int
    image: bytes
    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    name: str = ""


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
        image_column, caption_column: names of columns; "" finds them by name.
        image_root: folder of the images that a file lists; "" finds it.
        split: the one to read, of files that hold several (Karpathy, `datasets` on disk).
        allow_outside: whether listed paths may lead out of that folder.
    """

    image_column: str = ""
    caption_column: str = ""
    image_root: str = ""
    split: str = "train"
    allow_outside: bool = False


def stable_id(key: str) -> int:
    """A 63-bit integer that depends only on the key: the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "big") >> 1


def caption_text(cell: object) -> str:
    """A caption as text. A number becomes its digits; None and NaN become "", which is no caption."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def caption_texts(cell: object) -> tuple[str, ...]:
    """The captions in a cell that holds one or a list of them, without empty ones."""
    texts = cell if isinstance(cell, list | tuple) else [cell]
    return tuple(filter(None, map(caption_text, texts)))


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 text, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Unusable(f"{what} is not UTF-8 text (byte {error.start})", "caption not UTF-8") from error


def pick_columns(
    columns: Sequence[str], options: SourceOptions, path: Path, what: str, images: Sequence[str] = ()
) -> tuple[str, str]:
    """The image column and the caption column: those of the options, or the first with a known name, in any case.

    Args:
        what: what the image column holds, for messages.
        images: if any, the only columns among which a known name for images is looked for.

    Raises:
        UserError: columns are missing. It names all that are missing, and the columns that exist.
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
            return file.read()
    finally:
        os.close(handle)
