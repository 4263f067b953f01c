"""The contents of one tar shard: the samples that its index file lists."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askew.data.sources import splits
from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES, stable_id
from askew.data.sources.listing import is_left_out
from askew.data.sources.positioned import PositionedFile
from askew.data.sources.tar import TAR_BLOCK, Damaged, members
from askew.errors import UserError, printable

TEXTS = tuple(suffix[1:] for suffix in TEXT_SUFFIXES)  # txt, caption, json, in order of preference
COLUMNS = ("image", *TEXTS)
IMAGE, EMPTY = 1, [0] * (2 * len(COLUMNS))
PLACES = {suffix[1:]: IMAGE for suffix in IMAGE_SUFFIXES} | {
    text: 3 + 2 * n for n, text in enumerate(TEXTS)
}  # in a row
LARGEST = 2**32 - 1  # size in bytes that an index can record; far above MAX_BYTES
EXAMPLES = 3  # named per kind of fault
COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


class ShardLayout:
    """What is learned from the headers of one shard: a row per key, in order, and what was odd."""

    def __init__(self, path: Path):
        self.path = path
        self.rows: dict[str, list[int]] = {}
        self.faults: Counter = Counter()
        self.examples: dict[str, list[str]] = {}
        self.others: dict[str, str] = {}  # key, and the name of a member that is neither image nor text

    def fault(self, cause: str, text: str) -> None:
        """Count one fault; the first few are named."""
        self.faults[cause] += 1
        self.examples.setdefault(cause, [])
        if len(self.examples[cause]) < EXAMPLES:
            self.examples[cause].append(f"{self.path.name}: {printable(text)}")

    def add(self, name: str, block: int, size: int, regular: bool) -> None:
        """One member."""
        if is_left_out(name):
            self.fault("hidden files and system files left out", name)
            return
        key, _, suffix = name.rpartition(".")
        column = PLACES.get(suffix) or PLACES.get(suffix.lower())
        if column is None or not key:
            self.others.setdefault(key, name)
            return
        if not regular:
            self.fault("link in tar", name)
            return
        row = self.rows.get(key)
        if row is None:
            row = self.rows[key] = [stable_id(name), *EMPTY]
        elif row[column]:
            self.fault("duplicate key", name)
            if column == IMAGE and row[0] != stable_id(name):
                return  # another image of the key; a member of the same name replaces the earlier one, as in tar
        if column == IMAGE:
            row[0] = stable_id(name)
        row[column], row[column + 1] = block, min(size, LARGEST)

    def finish(self) -> None:
        """Leave out other pictures of a sample: 0001.seg.png beside 0001.jpg."""
        for key in [key for key, row in self.rows.items() if row[1] and not any(row[3::2])]:
            folder, slash, stem = key.rpartition("/")
            main = self.rows.get(f"{folder}{slash}{stem.partition('.')[0]}")
            if main is not None and main is not self.rows[key] and main[1]:
                del self.rows[key]

    def facts(self, have: dict[str, int]) -> dict[str, Any]:
        """As plain JSON; `beside` names what lies where an image should be, by the row of the text."""
        places = {key: number for number, key in enumerate(self.rows)}
        parts = {key.rpartition("/")[0] + "/" + key.rpartition("/")[2].partition(".")[0]: key for key in self.rows}
        others = self.others | {
            key: f"{part}.*" for name, part in parts.items() if (key := name.lstrip("/")) != part and self.rows[part][1]
        }
        beside = {str(places[key]): name for key, name in others.items() if key in places and not self.rows[key][1]}
        return {"have": have, "faults": dict(self.faults), "examples": self.examples, "beside": beside}


def layout(path: Path, called: Path | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """The samples of one shard, in order: `id`, and for the image and each text its first block (0 = none) and size.

    `split` is the split that the first folder of the name stands for, as a number (splits.py). Members whose names
    differ only in the suffix make up a sample. Sizes are in bytes. Facts: how many samples have each kind of member,
    how many faults of each kind there are, and examples of them.

    Args:
        called: what messages call the shard, if not `path`.
    """
    found = ShardLayout(called or path)
    with PositionedFile(path) as file:
        start = file.read(6, 0)
        for magic, name in COMPRESSED.items():
            if start.startswith(magic):
                raise UserError(
                    f"data: {found.path} is compressed with {name}, which does not allow random access; unpack it to a "
                    ".tar"
                )
        try:
            for member in members(file):
                found.add(*member)
            if file.read(2 * TAR_BLOCK, max(0, file.size - 2 * TAR_BLOCK)).strip(b"\0"):
                found.fault("tar without an end mark, perhaps cut off", "its last samples may be missing")
        except Damaged as error:
            found.fault(error.cause, str(error))
    found.finish()
    table = np.array(list(found.rows.values()), dtype=np.int64).reshape(len(found.rows), 1 + 2 * len(COLUMNS))
    named: dict[str, pa.Array] = {"id": pa.array(table[:, 0])}
    for place, column in enumerate(COLUMNS):
        named[column] = pa.array(table[:, 1 + 2 * place].astype(np.uint32))
        named[f"{column}_size"] = pa.array(table[:, 2 + 2 * place].astype(np.uint32))
    have = {column: int((table[:, 1 + 2 * place] > 0).sum()) for place, column in enumerate(COLUMNS)}
    named["split"] = pa.array(np.array([splits.code_of_folder(key) for key in found.rows], dtype=np.uint8))
    return pa.table(named), found.facts(have)
