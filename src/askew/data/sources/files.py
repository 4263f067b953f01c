"""Samples whose images are files: paths below one folder and their captions, from any kind of list."""

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from askew.data.sources.base import (
    SHUFFLE_BLOCK,
    SHUFFLE_WINDOW,
    Sample,
    path_bytes,
    read_file,
    stable_id,
)
from askew.data.sources.listing import is_copy_of_a_tool
from askew.data.sources.texts import caption_texts, captions_of
from askew.errors import Unusable, UserError, printable

CHUNK = 65_536
NO_PATH = "\0"  # begins what stands for a missing path: no file is called so
OUTSIDE = r"^([/\\~]|[A-Za-z]:[/\\])|(^|[/\\])\.\.([/\\]|$)"  # absolute, or with ..
OUTSIDE_NAME = re.compile(OUTSIDE)
REMEDY = "move the list to a folder above the images, or set data.allow_outside=true if you trust it"
REMOTE = ("http://", "https://", "ftp://", "s3://", "gs://", "hf://", "data:")
BASE64 = "/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR"  # how JPEG, PNG, GIF and WebP begin in base64


class CaptionsByPath:
    """Captions grouped by path while a list is read; compact while it grows, an Arrow table at the end.

    Attributes:
        left_out: rows of copies that tools have made, which are not added (see listing.py).
        folders: how many paths begin with each folder; of the first few only.
    """

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._owners: list[np.ndarray] = []
        self._texts: list[pa.Array] = []
        self._owner: list[int] = []
        self._text: list[str] = []
        self._faults: dict[int, tuple[str, str]] = {}
        self._empty: Counter = Counter()
        self._rows = self._lists = 0
        self.left_out: list[str] = []
        self.folders: Counter = Counter()

    def __len__(self) -> int:
        return len(self._numbers)

    def add(self, path: str, cells: Iterable[object]) -> None:
        """Add one row: a path, seen before or not, and its cells with captions. See texts.caption_texts."""
        if is_copy_of_a_tool(path):
            self.left_out.append(path)
            return
        while path.startswith("./"):
            path = path[2:]
        self._rows += 1
        if not path:  # each such row is a bad sample of its own
            path = f"{NO_PATH}row {self._rows} without an image path"
        number = self._numbers.setdefault(path, len(self._numbers))
        if len(self.folders) <= CHUNK:
            self.folders[path.partition("/")[0] if "/" in path else ""] += 1
        found: list[str] = []
        for cell in cells:
            try:
                texts = caption_texts(cell)
                self._lists += isinstance(cell, str) and len(texts) > 1
                found += texts
            except Unusable as error:
                self._faults.setdefault(number, (error.cause, str(error)))
        if not found:
            self._empty[number] += 1
        self._owner += [number] * len(found)
        self._text += found
        if len(self._text) >= CHUNK:
            self._flush()

    def _flush(self) -> None:
        self._owners.append(np.array(self._owner, dtype=np.int64))
        self._texts.append(pa.array(self._text, pa.large_string()))
        self._owner, self._text = [], []

    def table(self) -> pa.Table:
        """`path` and `captions` (a list): one row per path, in the order of their first rows."""
        self._flush()
        owners = np.concatenate(self._owners)
        order = np.argsort(owners, kind="stable")
        counts = np.bincount(owners, minlength=len(self._numbers)) if self._numbers else np.zeros(0, np.int64)
        offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        texts = pa.chunked_array(self._texts).take(pa.array(order)).combine_chunks()
        captions = pa.LargeListArray.from_arrays(pa.array(offsets), texts)
        paths = [path_bytes(path) for path in self._numbers]
        return pa.table({"path": pa.array(paths, pa.large_binary()), "captions": captions})

    def in_folders(self, folders: Iterable[str]) -> "CaptionsByPath":
        """The part of the list whose paths begin with one of these folders."""
        self._flush()
        kept, wanted, place = CaptionsByPath(), set(folders), np.full(len(self._numbers), -1)
        for path, number in self._numbers.items():
            folder, slash, _ = path.partition("/")
            if slash and folder in wanted:
                place[number] = kept._numbers[path] = len(kept._numbers)
                kept.folders[folder] += 1
        for owners, texts in zip(self._owners, self._texts, strict=True):
            here = place[owners] >= 0
            kept._owners.append(place[owners][here])
            kept._texts.append(texts.filter(pa.array(here)))
        kept._faults = {int(place[n]): fault for n, fault in self._faults.items() if place[n] >= 0}
        kept._empty = Counter({int(place[n]): count for n, count in self._empty.items() if place[n] >= 0})
        kept.left_out = self.left_out
        return kept

    def facts(self) -> dict:
        """What is known beside the table, as plain JSON: faults of captions by row of the table, and notes."""
        self._flush()
        captioned = np.zeros(len(self._numbers), dtype=bool)
        for part in self._owners:
            captioned[part] = True
        lost = {number: count for number, count in self._empty.items() if captioned[number]}
        notes = []
        if lost:
            number = sum(lost.values())
            first = next(path for path, row in self._numbers.items() if row in lost)
            notes.append(f"rows without a caption, of images that have others: {number:,} (first: {printable(first)})")
        if self._lists:
            notes.append(f"cells that hold a list are read as several captions: {self._lists:,}")
        if self.left_out:
            notes.append(
                f"rows of hidden files and system files left out: {len(self.left_out):,}, for example "
                f"{printable(self.left_out[0])}"
            )
        faults = [[number, *fault] for number, fault in self._faults.items() if not captioned[number]]
        return {"faults": faults, "notes": notes}


class FileSource:
    """Samples from a table of `path` and `captions`.

    Ids are hashes of the paths as written. The table is Arrow's rather than a list of objects, so that forked workers
    share its memory: reading a row writes nothing.

    Args:
        root: the folder that paths are relative to.
        table: see CaptionsByPath.
        describe: what the source is called; counts are added.
        allow_outside: whether paths may be absolute or leave `root` by `..`.
        facts: see CaptionsByPath.

    Raises:
        UserError: every path leads out of `root`, and that is not allowed; or the paths are addresses or images.
    """

    block, window = SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(
        self,
        root: Path,
        table: pa.Table,
        describe: str,
        allow_outside: bool = False,
        notes: tuple[str, ...] = (),
        facts: dict | None = None,
    ):
        facts = facts or {"faults": [], "notes": []}
        self.root, self.notes = root, (*notes, *facts["notes"])
        self._faults = {number: (cause, message) for number, cause, message in facts["faults"]}
        self._paths, self._captions = (table[name].combine_chunks() for name in ("path", "captions"))
        self._texts = table["text"].combine_chunks() if "text" in table.column_names else None
        self._allow_outside = allow_outside
        refuse_what_is_no_path(describe, [self.name(index) for index in range(min(100, len(self._paths)))])
        if not allow_outside:
            outside = pc.sum(pc.match_substring_regex(self._paths, OUTSIDE)).as_py()  # type: ignore[attr-defined]
            if outside == len(self._paths):
                first = printable(self.name(0))
                raise UserError(f"{describe}: every image path points outside {root} (first: {first}); {REMEDY}")
            if outside:
                self.notes += (f"path outside the folder: {outside:,} of {len(self._paths):,}; {REMEDY}",)
        captions = len(self._captions.flatten()) if len(self._captions) else 0
        self.describe = f"{describe}: {len(self._paths):,} images, {captions:,} captions"

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        where = self._path(index)
        if where.startswith(NO_PATH):
            raise Unusable("the image path is empty", "no image path")
        if not self._allow_outside and is_outside(where):
            raise Unusable(f"{where} points outside {self.root}; {REMEDY}", "path outside the folder")
        key = stable_id(where.removeprefix("./"))
        image = self._read(where)
        captions = tuple(self._captions[index].as_py())
        if self._texts is not None and (text := self._texts[index].as_py()):
            place = Path(text.decode("utf-8", "surrogateescape"))
            captions = captions_of(self.root / place, place.suffix[1:].lower(), self._field)
        if not captions and index in self._faults:
            cause, message = self._faults[index]
            raise Unusable(message, cause)
        return Sample(key, None, image, captions, (), where)

    def caption_counts(self) -> np.ndarray | None:
        """(n,) how many captions each image has; None where they lie in files of their own."""
        if self._texts is not None:
            return None
        return pc.list_value_length(self._captions).to_numpy(zero_copy_only=False)  # type: ignore[attr-defined]

    _field = ""  # of the .json beside an image

    def _read(self, where: str) -> bytes:
        """The file's bytes. A path that Windows wrote, with backslashes, is found too."""
        path = self.root / where
        try:
            if "\\" in where and not path.exists() and (turned := self.root / where.replace("\\", "/")).exists():
                path = turned
            return read_file(path)
        except ValueError as error:  # a NUL in the name
            raise Unusable(f"{printable(where)}: {error}", "missing file") from error

    def name(self, index: int) -> str:
        """The path as written."""
        return self._path(index).removeprefix(NO_PATH)

    def _path(self, index: int) -> str:
        return self._paths[index].as_py().decode("utf-8", "surrogateescape")


def is_outside(path: str) -> bool:
    """Whether a path is absolute, or leads out of its folder by `..`."""
    return OUTSIDE_NAME.search(path) is not None


def refuse_what_is_no_path(describe: str, some: list[str]) -> None:
    """Refuse a column that holds addresses of images, or images as text, in place of paths.

    Raises:
        UserError: the first hundred are all of that kind.
    """
    remote = [path for path in some if path.lower().startswith(REMOTE)]
    if remote and len(remote) == len([path for path in some if path]):
        raise UserError(
            f"{describe}: the image column holds addresses ({printable(remote[0], 60)}), not paths; askew downloads "
            "nothing: download the images first, for example with img2dataset, and train on what it writes"
        )
    encoded = [path for path in some if len(path) > 100 and path.startswith(BASE64)]
    if encoded and len(encoded) == len([path for path in some if path]):
        raise UserError(
            f"{describe}: the image column holds images as base64 text ({printable(encoded[0], 30)}), not paths; "
            "decode them (base64.b64decode) and save the bytes in a Parquet column `image`"
        )
