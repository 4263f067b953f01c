"""The contents of one tar shard: the samples that its index file lists."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES, stable_id
from askew.data.sources.tar import Damaged, members
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


def layout(path: Path) -> tuple[pa.Table, dict[str, Any]]:
    """The samples of one shard, in order: `id`, and for the image and each text its first block (0 = none) and size.

    Members whose names differ only in the suffix make up a sample. Sizes are in bytes. Facts: how many samples have
    each kind of member, how many faults of each kind there are, and examples of them.
    """
    rows: dict[str, list[int]] = {}
    faults, examples = Counter(), {}

    def fault(cause: str, text: str) -> None:
        faults[cause] += 1
        examples.setdefault(cause, [])
        if len(examples[cause]) < EXAMPLES:
            examples[cause].append(f"{path.name}: {printable(text)}")

    handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    try:
        start = os.pread(handle, 6, 0)
        for magic, name in COMPRESSED.items():
            if start.startswith(magic):
                raise UserError(
                    f"data: {path} is compressed with {name}, which does not allow random access; unpack it to a .tar"
                )
        for member in members(handle, os.fstat(handle).st_size):
            key, _, suffix = member.name.rpartition(".")
            column = PLACES.get(suffix) or PLACES.get(suffix.lower())
            if column is None or not key or key.rpartition("/")[2].startswith("._"):
                continue  # neither image nor text, or one of Apple's shadow files
            if not member.regular:
                fault("link in tar", member.name)
                continue
            row = rows.get(key)
            if row is None:
                row = rows[key] = [stable_id(member.name), *EMPTY]
            elif row[column]:
                fault("duplicate key", member.name)
                if column == IMAGE and row[0] != stable_id(member.name):
                    continue  # another image of the key; a member of the same name replaces the earlier one, as in tar
            if column == IMAGE:
                row[0] = stable_id(member.name)
            row[column], row[column + 1] = member.block, min(member.size, LARGEST)
    except Damaged as error:
        fault(error.cause, str(error))
    finally:
        os.close(handle)
    for key in [key for key, row in rows.items() if row[1] and not any(row[3::2])]:
        folder, slash, stem = key.rpartition("/")
        main = rows.get(f"{folder}{slash}{stem.partition('.')[0]}")
        if main is not None and main is not rows[key] and main[1]:
            del rows[key]  # 0001.seg.png beside 0001.jpg: another kind of picture of the same sample
    table = np.array(list(rows.values()), dtype=np.int64).reshape(len(rows), 1 + 2 * len(COLUMNS))
    named: dict[str, pa.Array] = {"id": pa.array(table[:, 0])}
    for place, column in enumerate(COLUMNS):
        named[column] = pa.array(table[:, 1 + 2 * place].astype(np.uint32))
        named[f"{column}_size"] = pa.array(table[:, 2 + 2 * place].astype(np.uint32))
    have = {column: int((table[:, 1 + 2 * place] > 0).sum()) for place, column in enumerate(COLUMNS)}
    return pa.table(named), {"have": have, "faults": dict(faults), "examples": examples}
