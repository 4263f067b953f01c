"""Tar shards in a store: the samples of the same shards on this machine, bit for bit."""

import os
import threading
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from askew.data.files import home_path
from askew.data.remote.address import RemoteShard, shard_of, shards_of
from askew.data.remote.ahead import FetchAhead, ahead_of
from askew.data.remote.cache import PartCache, ShardPart
from askew.data.remote.parts import ShardParts
from askew.data.remote.store import FAILED, REQUEST, RemoteStore, shown
from askew.data.sources.base import SourceOptions
from askew.data.sources.index import cache_folder, remote_index
from askew.data.sources.layout import COLUMNS, layout
from askew.data.sources.listing import missing_parts
from askew.data.sources.shards import TarSource
from askew.data.sources.tar import TAR_BLOCK
from askew.errors import RunFailed, Unusable, UserError, printable

MARGIN = 8 * 2**10  # bytes read on both sides of a single member: its text is there
MISSES = 4  # members of one part that are read alone before the whole part is fetched, where no order was announced
INDICES = ".index"  # the folder in the cache for what was learned of shards; its size does not count
CHECKSUM = "_crc"  # of the columns of an index


def open_remote(text: str, named: Sequence[str], options: SourceOptions) -> "RemoteTarSource":
    """The shards that an address names.

    Args:
        named: what its braces expand to.

    Raises:
        UserError: the extra `remote` is not installed, the shards cannot be found, or do not fit the settings.
    """
    if os.name == "nt":
        raise UserError(f"data: {shown(text)}: shards are not read from afar on Windows; download them first")
    folder = home_path(options.remote_folder) if options.remote_folder else cache_folder() / "remote"
    try:
        (folder / INDICES).mkdir(parents=True, exist_ok=True)
        (folder / ".writable").touch()
    except OSError as error:
        raise UserError(
            f"data.remote_folder: {printable(str(folder), 400)} cannot be written to ({error.strerror}); name a folder "
            "on a local disk, to keep parts of shards in"
        ) from error
    store = RemoteStore(text, options, folder)
    shards, notes = shards_of(text, named, options, store)
    total, limit = sum(shard.size for shard in shards), int(options.remote_cache_gb * 1e9)
    ranges = store.gives_ranges(shards[0].url)
    if not ranges and options.remote_read == "range":
        raise UserError(f"data: {shown(text)}: this server gives no parts of files; leave data.remote_read out")
    largest = max(shards, key=lambda shard: shard.size)
    needed, what = (largest.size, str(largest)) if ranges else (total, f"{shown(text)}, whose server gives no parts")
    if needed > limit:
        raise UserError(
            f"data: {what}: {needed / 1e9:,.4g} GB do not fit into data.remote_cache_gb={options.remote_cache_gb:g}; "
            "set it higher, and data.remote_folder to a disk with as much room"
        )
    whole = options.remote_read == "whole" or not ranges or (options.remote_read == "auto" and total <= limit)
    source = RemoteTarSource(shards, options, store, PartCache(folder, limit), ranges, whole)
    source.notes = (*notes, *filter(None, [missing_parts([Path(shard.name) for shard in shards])]), *source.notes)
    return source


class RemoteTarSource(TarSource):
    """Samples of tar shards in a store.

    A part of a shard that is in the cache is read there. Otherwise, the member is read alone. Every member is compared
    with its checksum in the index, so that it is the one that was indexed, however it came here.

    Args:
        shards, options: see TarSource.
        ranges: whether the store gives parts of files.
        whole: whether shards are fetched whole. Otherwise 256 neighbouring samples at a time.

    Raises:
        UserError: see TarSource; or a shard that cannot be fetched in order to index it.
    """

    index_threads = 8

    def __init__(
        self,
        shards: Sequence[RemoteShard],
        options: SourceOptions,
        store: RemoteStore,
        cache: PartCache,
        ranges: bool,
        whole: bool,
    ):
        self.shards, self._store, self._cache, self._ranges, self._whole = tuple(shards), store, cache, ranges, whole
        self._fetch = partial(fetch_part, store, ranges)
        self._start()
        super().__init__(self.shards, options)
        self._parts = self._divided()

    def _start(self) -> None:
        """What every process has of its own."""
        self._ahead: FetchAhead | None = None
        self._ahead_process = 0
        self._near = threading.local()
        self._misses: Counter[ShardPart] = Counter()

    def _divided(self) -> ShardParts:
        return ShardParts(self.shards, self._ends, self._span_of_rows, self._whole)

    def expect(self, starts: np.ndarray, stops: np.ndarray, soon: int, places: np.ndarray | None = None) -> None:
        """Say which samples are needed, in order, so that they are fetched ahead.

        Args:
            starts, stops: (n,) ranges of indices: those of one range are needed at about the same time.
            soon: how many of the ranges are needed so soon that they are fetched now.
            places: (n,) the place of each range in the order; by default 0 .. n - 1, and then `soon` is one of them.
        """
        if self._ahead is None or self._ahead_process != os.getpid():
            self._ahead, self._ahead_process = ahead_of(self._cache), os.getpid()
        places = np.arange(len(starts)) if places is None else places
        self._ahead.expect(self, self._needed(starts, stops, places), soon)

    def _needed(
        self, starts: np.ndarray, stops: np.ndarray, places: np.ndarray
    ) -> Iterator[tuple[int, ShardPart, Any]]:
        for place, start, stop in zip(places.tolist(), starts.tolist(), stops.tolist(), strict=True):
            for part in self._parts.between(start, stop):
                yield place, part, self._fetch

    def _index(self, path: RemoteShard) -> pa.Table:
        try:
            place = self._cache.folder / INDICES
            return remote_index(path.url, path.size, path.version, place, lambda: self._build(path))
        except OSError as error:
            raise UserError(f"data: {error}") from error

    def _build(self, shard: RemoteShard) -> tuple[pa.Table, dict[str, Any]]:
        """The layout of a shard, and the checksum of each member, from the whole shard, which is fetched for it."""
        whole = ShardPart(shard, 0, shard.size)
        while True:
            if not self._cache.fetch(whole, self._fetch):
                raise UserError(
                    f"data: {shard}: no room for its {shard.size / 1e9:,.4g} GB; set data.remote_cache_gb higher"
                )
            with self._cache.held(whole) as file:
                if file is not None:
                    table, facts = layout(self._cache.folder / whole.name, Path(shard.name))
                    checksums = {c + CHECKSUM: _checksums(file, table, c) for c in COLUMNS}
                    break
        self._refuse_change(shard)
        for name, column in checksums.items():
            table = table.append_column(name, pa.array(column))
        return table, facts

    def _refuse_change(self, shard: RemoteShard) -> None:
        """Raises RunFailed if the store has another version of a shard than when it was opened."""
        now = shard_of(shard.url, self._store.info(shard.url))
        if now != shard:
            raise RunFailed(
                f"{shard} changed while in use ({shard.size:,} bytes when it was opened, {now.size:,} now, of another "
                "version); put the former one back, and resume with --resume, or start a new run with the new data"
            )

    def _read(self, shard: int, row: int, column: str) -> tuple[bytes, bytes]:
        """A member's contents and its header, which are those that were indexed."""
        for _ in range(2):
            try:
                content, header = super()._read(shard, row, column)
                if zlib.crc32(content) == int(self._column(shard, column + CHECKSUM)[row]):
                    return content, header
            except Unusable as error:
                if error.cause != "shard changed":
                    raise
            # What is kept here may be damaged; what the store has decides
            block, size = self._place(shard, row, column)
            part = self._part(shard, (block - 1) * TAR_BLOCK, block * TAR_BLOCK + size)
            self._cache.discard(part)
            self._near.data = None
        self._refuse_change(self.shards[shard])
        raise Unusable(f"{self.shards[shard]}: byte {block * TAR_BLOCK:,}: other bytes than were indexed", FAILED)

    def _at(self, shard: int, size: int, position: int) -> bytes:
        stop = min(position + size, self.shards[shard].size)
        if stop <= position:
            return b""
        part = self._part(shard, position, stop)
        data = self._cache.read(part, position, stop - position)
        if data is not None:
            return data
        if self._is_worth_fetching(part) and self._cache.fetch(part, self._fetch, self._kept()):
            data = self._cache.read(part, position, stop - position)
        return self._alone(shard, position, stop) if data is None else data

    def _part(self, shard: int, position: int, stop: int) -> ShardPart:
        return self._parts.covering(shard, position, stop)

    def _kept(self) -> frozenset[str]:
        return self._ahead.keep if self._ahead is not None else frozenset()

    def _is_worth_fetching(self, part: ShardPart) -> bool:
        """Whether a part that is not there is fetched at once, and not only the member."""
        if not self._ranges:
            return True
        if self._ahead is not None and self._ahead_process == os.getpid():
            return False  # it is fetched in its turn
        self._misses[part] += 1
        return self._misses[part] >= MISSES

    def _alone(self, shard: int, position: int, stop: int) -> bytes:
        """Some bytes of a shard, by a request for them. What lies around them is kept for the next one."""
        near = getattr(self._near, "data", None)
        if near is not None and near[0] == shard and near[1] <= position and stop <= near[1] + len(near[2]):
            return near[2][position - near[1] : stop - near[1]]
        url, size = self.shards[shard].url, self.shards[shard].size
        if not self._ranges:
            raise Unusable(f"{self.shards[shard]}: no room for it in data.remote_cache_gb; set it higher", FAILED)
        first, last = max(0, position - MARGIN), min(size, stop + MARGIN)
        pieces = [self._store.read(url, at, min(at + REQUEST, last)) for at in range(first, last, REQUEST)]
        data = b"".join(pieces)
        self._near.data = (shard, first, data)
        return data[position - first : stop - first]

    def _span_of_rows(self, shard: int) -> tuple[np.ndarray, np.ndarray]:
        """(rows,) where the members of each sample begin and end, in bytes; their headers included."""
        rows = self._rows[shard] if self._rows else np.arange(len(self._tables[shard]))
        first = np.full(len(rows), self.shards[shard].size, dtype=np.int64)
        last = np.zeros(len(rows), dtype=np.int64)
        for column in ("image", self._text):
            block, size = (self._column(shard, name)[rows] for name in (column, f"{column}_size"))
            there = block > 0
            begin = (block.astype(np.int64) - 1) * TAR_BLOCK
            first = np.where(there, np.minimum(first, begin), first)
            last = np.where(there, np.maximum(last, begin + TAR_BLOCK + size), last)
        return first, np.minimum(last, self.shards[shard].size)

    def __getstate__(self) -> dict:
        own = ("_ahead", "_near", "_misses", "_parts")
        return {key: value for key, value in super().__getstate__().items() if key not in own}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._start()
        super().__setstate__(state)
        self._parts = self._divided()


def fetch_part(store: RemoteStore, ranges: bool, part: ShardPart, place: Path) -> None:
    """Write a part's bytes to a file. It is no method: what is fetched ahead must not keep a source alive."""
    store.download(part.shard.url, part.start, part.stop, part.shard.size, place, ranges)


def _checksums(file: int, table: pa.Table, column: str) -> np.ndarray:
    """(rows,) CRC-32 of the contents of one kind of member; 0 where there is none."""
    found = np.zeros(len(table), dtype=np.uint32)
    blocks, sizes = table[column].to_numpy(), table[f"{column}_size"].to_numpy()
    for row in np.flatnonzero(blocks):
        found[row] = zlib.crc32(os.pread(file, int(sizes[row]), int(blocks[row]) * TAR_BLOCK))
    return found
