"""Tar shards, read in any order through an index of byte offsets: without webdataset, reading order or saved state."""

import bisect
import logging
import os
from collections import Counter, OrderedDict
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from askew.data.sources import splits
from askew.data.sources.base import (
    MAX_BYTES,
    SHUFFLE_BLOCK,
    SHUFFLE_WINDOW,
    Sample,
    SourceOptions,
    stable_id,
)
from askew.data.sources.index import facts, indexed
from askew.data.sources.layout import COLUMNS, EXAMPLES, TEXTS, layout
from askew.data.sources.positioned import PositionedFile
from askew.data.sources.tar import TAR_BLOCK, Damaged, check_header, header_name, number
from askew.data.sources.texts import captions_in
from askew.errors import Unusable, UserError, printable

LOG = logging.getLogger(__name__)  # without a handler of the program's, it writes to standard error
NEXT_LINE = 15.0  # seconds between two lines that say how many shards are indexed


class Shard(Protocol):
    """What a shard is called: its file's name, and as a text where it lies."""

    @property
    def name(self) -> str: ...


OPEN_FILES = 64  # kept open by each process, or fewer where the system allows few


def most_open_files() -> int:
    """How many shards a process keeps open: a quarter of what the system allows it (`ulimit -n`), at most 64."""
    try:
        import resource
    except ImportError:  # Windows
        return OPEN_FILES
    allowed = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return OPEN_FILES if allowed == resource.RLIM_INFINITY else max(4, min(OPEN_FILES, allowed // 4))


class TarSource:
    """Samples of plain tar files. Ids are hashes of the images' member names.

    If names occur in more than one shard, ids include the shard's name. A key without an image or a text, or one that
    is cut off by the end of the file, is a bad sample: it is counted when it is drawn.

    Args:
        paths: the shards. Samples are numbered through them in this order.
        options: `caption_column` is `txt`, `caption`, `json`, or a field of the .json. "" takes the first of the three
            kinds that any sample has, and of a .json the field `caption`, `title`, `text`, ...

    Raises:
        UserError: a shard that is compressed or cannot be opened, or no samples at all.
    """

    block, window = SHUFFLE_BLOCK, SHUFFLE_WINDOW
    index_threads = min(32, 2 * (os.cpu_count() or 1))

    def __init__(self, paths: Sequence[Shard], options: SourceOptions):
        self.paths = tuple(paths)
        self._files: OrderedDict[int, PositionedFile] = OrderedDict()
        self._process = os.getpid()
        self._split = 0
        self._open_indices()
        counts = np.sum(
            [np.bincount(mapped(t, "split"), minlength=1 + len(splits.WORDS)) for t in self._tables], axis=0
        )
        self._split, said = splits.folders_of_split(counts.tolist(), options, f"data: {shard_names(self.paths)}")
        if self._split:
            self._select()
        found = [facts(table) for table in self._tables]
        have = sum((Counter(f["have"]) for f in found), Counter())
        asked = options.caption_column
        self._text = asked if asked in TEXTS else next((t for t in TEXTS if have[t]), "txt")
        self._field = ""
        if asked and asked not in TEXTS:
            self._text, self._field = "json", asked
        if not len(self):
            reasons = "; ".join(e for f in found for group in f["examples"].values() for e in group[:1])
            raise UserError(
                f"data: {shard_names(self.paths)}: no samples; members are named KEY.jpg (.png, .webp, .tif, ...) and "
                f"KEY.txt (.caption, .json)" + (f"; {reasons}" if reasons else "")
            )
        if asked and not have[self._text]:
            raise UserError(
                f"data: {shard_names(self.paths)}: no member is a .{self._text} (data.caption_column={asked!r}); "
                f"there are {', '.join(f'{have[t]:,} .{t}' for t in COLUMNS if have[t])}"
            )
        faults = sum((Counter(f["faults"]) for f in found), Counter())
        self.notes = tuple(
            f"{cause}: {count:,}, for example "
            + ", ".join([e for f in found for e in f["examples"].get(cause, ())][:EXAMPLES])
            for cause, count in faults.items()
        )
        self.notes += (said,) if said else ()
        images, texts = have["image"], have[self._text]
        if self._split:
            rows = zip(self._tables, self._rows, strict=True)
            images, texts = len(self), sum(int((mapped(t, self._text)[kept] > 0).sum()) for t, kept in rows)
        self._repeated = len(self._tables) > 1 and has_repeats(self._ids)
        self.describe = (
            f"{shard_names(self.paths)}: {images:,} images, {texts:,} texts (.{self._text}"
            + (f", field {self._field}" if self._field else "")
            + ")"
            + (", ids by shard and name" if self._repeated else "")
        )

    def _open_indices(self) -> None:
        self._tables = self._indices()
        self._ends = list(accumulate(map(len, self._tables)))
        self._ids = [mapped(table, "id") for table in self._tables]
        self._arrays: dict[tuple[int, str], np.ndarray] = {}
        self._select()

    def _indices(self) -> list[pa.Table]:
        """The index of each shard. What takes long says how far it is."""
        with ThreadPoolExecutor(max_workers=self.index_threads) as pool:
            made = [pool.submit(self._index, path) for path in self.paths]
            try:
                done, left = wait(made, NEXT_LINE, FIRST_EXCEPTION)
                while left and not any(one.exception() for one in done):
                    ready = f"{len(made) - len(left):,} of {len(made):,} shards are indexed"
                    LOG.warning(f"data: {ready} (no wait where an index was kept by an earlier run)")
                    done, left = wait(left, NEXT_LINE, FIRST_EXCEPTION)
                return [one.result() for one in made]
            finally:
                for one in made:
                    one.cancel()

    def _index(self, path: Any) -> pa.Table:
        try:
            return indexed(path, "tar", layout)
        except OSError as error:
            raise UserError(f"data: {path}: cannot be read ({error.strerror or error})") from error

    def _select(self) -> None:
        """Which rows of each index are read, if not all: those of one split."""
        self._rows: list[np.ndarray] = []
        if self._split:
            self._rows = [np.flatnonzero(mapped(table, "split") == self._split) for table in self._tables]
            self._ends = list(accumulate(map(len, self._rows)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        shard, row = self._locate(index)
        key = int(self._ids[shard][row])
        if not self._place(shard, row, "image")[0]:
            raise Unusable(self._without_image(shard, row), "no image")
        image, header = self._read(shard, row, "image")
        name = header_name(header).decode("utf-8", "replace").removeprefix("./")
        captions: tuple[str, ...] = ()
        if self._place(shard, row, self._text)[0]:
            captions = captions_in(self._read(shard, row, self._text)[0], self._text, self._field)
        if self._repeated:
            key = stable_id(f"{self.paths[shard].name}/{key}")
        return Sample(key, None, image, captions, (), f"{self.paths[shard].name}/{name}")

    def name(self, index: int) -> str:
        """The shard, and the byte at which the image begins."""
        shard, row = self._locate(index)
        return f"{self.paths[shard]}, byte {self._place(shard, row, 'image')[0] * TAR_BLOCK:,}"

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        shard = bisect.bisect_right(self._ends, index)
        row = index - (self._ends[shard - 1] if shard else 0)
        return shard, int(self._rows[shard][row]) if self._rows else row

    def _column(self, shard: int, name: str) -> np.ndarray:
        if (shard, name) not in self._arrays:
            self._arrays[shard, name] = mapped(self._tables[shard], name)
        return self._arrays[shard, name]

    def _place(self, shard: int, row: int, column: str) -> tuple[int, int]:
        return int(self._column(shard, column)[row]), int(self._column(shard, f"{column}_size")[row])

    def _read(self, shard: int, row: int, column: str) -> tuple[bytes, bytes]:
        """A member's contents and its header, which shows whether the shard has changed since it was indexed."""
        block, size = self._place(shard, row, column)
        if size > MAX_BYTES:
            name = self._member(shard, block)
            raise Unusable(f"{name}: {size:,} bytes are over the limit of {MAX_BYTES:,}", "file too large")
        data = self._at(shard, TAR_BLOCK + size, (block - 1) * TAR_BLOCK)
        header, content = data[:TAR_BLOCK], data[TAR_BLOCK:]
        try:
            check_header(header, "")
            same = number(header[124:136]) == size
        except (Damaged, ValueError, IndexError):
            same = False
        if not same:
            message = (
                f"{self.paths[shard]} changed while in use: the same member is no longer at byte {block * TAR_BLOCK:,}"
            )
            raise Unusable(message, "shard changed")
        if len(content) < size:
            raise Unusable(f"{self._member(shard, block)} is cut off by the end of the file", "truncated tar")
        return content, header

    def _member(self, shard: int, block: int) -> str:
        header = self._at(shard, TAR_BLOCK, (block - 1) * TAR_BLOCK)
        return f"{self.paths[shard].name}/{header_name(header).decode('utf-8', 'replace')}"

    def _without_image(self, shard: int, row: int) -> str:
        """What is there of a sample without an image: its text, and what lies where the image should be."""
        block = next(filter(None, (self._place(shard, row, text)[0] for text in TEXTS)), 0)
        message = f"{self._member(shard, block)}: there is no image of this name"
        beside = facts(self._tables[shard]).get("beside", {}).get(str(row))
        return f"{message}; {printable(beside)} is there, which is not read as an image" if beside else message

    def _at(self, shard: int, size: int, position: int) -> bytes:
        """Up to `size` bytes from a position of a shard on; fewer at its end."""
        return self._file(shard).read(size, position)

    def _file(self, shard: int) -> PositionedFile:
        if self._process != os.getpid():  # the parent closes its own files
            self._files, self._process = OrderedDict(), os.getpid()
        if shard not in self._files:
            if len(self._files) >= most_open_files():
                self._files.popitem(last=False)[1].close()
            try:
                self._files[shard] = PositionedFile(Path(str(self.paths[shard])))
            except FileNotFoundError as error:
                raise Unusable(f"{self.paths[shard]} is gone", "shard gone") from error
        self._files.move_to_end(shard)
        return self._files[shard]

    def __getstate__(self) -> dict:
        gone = ("_files", "_tables", "_ids", "_arrays", "_rows")  # opened again in the other process
        return {key: value for key, value in self.__dict__.items() if key not in gone}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._files = OrderedDict()
        self._open_indices()

    def __del__(self) -> None:
        if self.__dict__.get("_process") == os.getpid():
            for file in self._files.values():
                file.close()


def mapped(table: pa.Table, name: str) -> np.ndarray:
    """A column of an index, without a copy: pages of the file, which are read when they are used."""
    column = table[name]
    return column.chunk(0).to_numpy(zero_copy_only=True) if len(column) else np.empty(0, np.uint8)


def has_repeats(ids: Sequence[np.ndarray]) -> bool:
    """Whether any id occurs twice."""
    together = np.concatenate(ids)
    together.sort()
    return bool((together[1:] == together[:-1]).any())


def shard_names(paths: Sequence[Shard]) -> str:
    """`7 tar shards 00000.tar to 00006.tar`."""
    if len(paths) == 1:
        return f"tar {paths[0].name}"
    return f"{len(paths):,} tar shards {paths[0].name} to {paths[-1].name}"
