"""Parquet files with image bytes, read one row group at a time; and the embedded data."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from importlib import resources
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.data.sources import splits
from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample, SourceOptions
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.near import root_of
from askew.data.sources.rows import Columns, RowSplit, columns_of_all, find_row_split, numbers_of_captions, row_sample
from askew.errors import Unusable, UserError, printable

IN_MEMORY = 256 * 2**20  # bytes: a smaller source is read at once; of a larger one each process keeps this much
ROW = "row number"  # a column that is added


class ParquetSource:
    """Rows of Parquet files with image bytes and a caption.

    A source of up to IN_MEMORY bytes is read at once, into Arrow tables whose memory forked workers share. A larger one
    is read one row group at a time, when one of its samples is needed. Each process keeps the most recent row groups.
    The order then shuffles whole row groups, and the samples inside as many of them as are kept.

    Args:
        paths: the files, in this order, all with the same columns.
        keep: read only some rows; None asks the rows themselves whether they name a split.

    Raises:
        UserError: a file that is not Parquet, missing columns, or no rows.
    """

    def __init__(self, paths: Sequence[Path], options: SourceOptions | None = None, keep: RowSplit | None = None):
        options = options or SourceOptions()
        paths, self._facts, self.notes = with_rows(paths)
        self.paths = tuple(paths)
        schemas = [facts.schema.to_arrow_schema() for facts in self._facts]
        self._columns = columns_of_all(schemas, paths, options)
        self._groups = [(file, group) for file, f in enumerate(self._facts) for group in range(f.num_row_groups)]
        self._stamps = [stamp(path) for path in paths]
        self.notes += self._columns[0].notes
        if keep is None and self._groups:
            keep, said = find_row_split(self._columns[0], schemas[0].names, self._values, options, str(paths[0]))
            self.notes += (said,) if said else ()
        self._selected = [] if keep is None else [keep.keep(values) for values in self._values(keep.column)]
        rows = [self._rows(number) for number in range(len(self._groups))]
        sizes = [self._size(file, group) for file, group in self._groups]
        self._kept: OrderedDict[int, pa.Table] = OrderedDict()
        self._budget = max(IN_MEMORY, 2 * max(sizes, default=0))
        self.block, self.window = SHUFFLE_BLOCK, SHUFFLE_WINDOW
        if sum(sizes) <= IN_MEMORY:
            self._budget = sum(sizes) * 2 + IN_MEMORY
            for number in range(len(self._groups)):
                self._keep_at_once(number)
        else:
            self.block = -(-SHUFFLE_BLOCK // max(rows)) * max(rows)
            together = max(1, IN_MEMORY * sum(rows) // sum(sizes) // self.block)
            self.window = self.block * min(together, max(1, SHUFFLE_WINDOW // self.block))
            if max(sizes) > IN_MEMORY:
                self.notes += (
                    f"row groups of {max(sizes) / 2**20:,.0f} MB: each worker holds two of them; files written with "
                    f"row_group_size={max(rows) * 2**24 // max(sizes):,} take less memory and are shuffled better",
                )
        self._ends = list(accumulate(rows))
        if not self._ends or not self._ends[-1]:
            raise UserError(f"{paths[0]}: no rows")
        self.describe = f"Parquet, {len(paths)} file(s): {len(self):,} images"

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        group, row = self._locate(index)
        file, _ = self._groups[group]
        table = self._table(group)
        return row_sample(self._columns[file], table, row, f"{self.paths[file].name} row {table[ROW][row]}")

    def caption_counts(self) -> list[int]:
        """How many captions each row has. No image is read. Rows of a damaged row group have none."""
        found: list[int] = []
        for number, (file, _) in enumerate(self._groups):
            columns = self._columns[file]
            try:
                table = self._read(number, list(columns.captions))
            except Unusable:
                found += [0] * self._rows(number)
                continue
            rows = table.take(pa.array(self._selected[number])) if self._selected else table
            found += numbers_of_captions(columns, rows)
        return found

    def name(self, index: int) -> str:
        """The file, the row group, and the row in it, counted from 0."""
        group, row = self._locate(index)
        file, inside = self._groups[group]
        row = int(self._selected[group][row]) if self._selected else row
        return f"{self.paths[file].name}, row group {inside}, its row {row}"

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        group = int(np.searchsorted(self._ends, index, side="right"))
        return group, index - (self._ends[group - 1] if group else 0)

    def _size(self, file: int, group: int) -> int:
        facts = self._facts[file].row_group(group)
        columns = [facts.column(place) for place in range(facts.num_columns)]
        wanted = set(self._columns[file].all)
        return sum(c.total_uncompressed_size for c in columns if c.path_in_schema.split(".")[0] in wanted)

    def _rows(self, number: int) -> int:
        """How many rows of a row group are read."""
        file, group = self._groups[number]
        return len(self._selected[number]) if self._selected else self._facts[file].row_group(group).num_rows

    def _values(self, column: str) -> Iterator[list]:
        """The values of one column, row group by row group; of a damaged one, none."""
        for number, (file, group) in enumerate(self._groups):
            if column not in self._facts[file].schema.to_arrow_schema().names:
                raise UserError(f"{self.paths[file]}: no column {printable(column)!r}, which {self.paths[0].name} has")
            try:
                yield self._read(number, [column])[column].to_pylist()
            except Unusable:
                yield [None] * self._facts[file].row_group(group).num_rows

    def _keep_at_once(self, number: int) -> None:
        try:
            self._kept[number] = self._table(number).combine_chunks()
        except Unusable as error:  # counted each time a sample of this row group is drawn
            self.notes += (f"{error.cause}: {error}",)

    def _table(self, number: int) -> pa.Table:
        if number in self._kept:
            self._kept.move_to_end(number)
            return self._kept[number]
        file, group = self._groups[number]
        table, facts = self._read(number, self._columns[file].all), self._facts[file]
        first = sum(facts.row_group(before).num_rows for before in range(group))
        table = table.append_column(ROW, pa.array(np.arange(first, first + len(table))))
        if self._selected:
            table = table.take(pa.array(self._selected[number]))
        self._kept[number] = table
        while len(self._kept) > 1 and sum(kept.nbytes for kept in self._kept.values()) > self._budget:
            self._kept.popitem(last=False)
        return table

    def _read(self, number: int, columns: list[str]) -> pa.Table:
        """Columns of a row group. Raises Unusable if the file changed, is gone, or is damaged."""
        file, group = self._groups[number]
        path = self.paths[file]
        try:
            if stamp(path) != self._stamps[file]:
                raise Unusable(f"{path} changed while in use", "file changed")
            with pq.ParquetFile(path, metadata=self._facts[file]) as opened:
                return opened.read_row_group(group, columns, use_threads=False)
        except FileNotFoundError as error:
            raise Unusable(f"{path} is gone", "missing file") from error
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, Unusable | PermissionError):
                raise
            message = f"{path.name}, row group {group}: {printable(str(error))}"
            raise Unusable(message, "damaged Parquet") from error


def read_facts(path: Path) -> pq.FileMetaData:
    """A Parquet file's metadata."""
    try:
        return pq.read_metadata(path)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: not a readable Parquet file ({printable(str(error))})") from error


def with_rows(paths: Sequence[Path]) -> tuple[list[Path], list[pq.FileMetaData], tuple[str, ...]]:
    """The files that have rows, what is known of each, and a note on the others.

    Raises:
        UserError: no file has rows, or one is not Parquet.
    """
    facts = {path: read_facts(path) for path in paths}
    full = [path for path in paths if facts[path].num_rows]
    if not full:
        raise UserError(f"{paths[0]}: no rows")
    empty = [path for path in paths if not facts[path].num_rows]
    note = f"files without rows: {len(empty):,}, for example {printable(empty[0].name)}" if empty else ""
    return full, [facts[path] for path in full], (note,) if note else ()


def stamp(path: Path) -> tuple[int, int]:
    """Size and modification time, to tell whether a file has changed."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def parquet_of_paths(paths: Sequence[Path], columns: Columns, options: SourceOptions) -> FileSource:
    """Parquet files whose image column holds paths: a table like CSV."""
    names = read_facts(paths[0]).schema.to_arrow_schema().names

    def read(column: str) -> Iterator[list]:
        for path in paths:
            yield pq.read_table(path, columns=[column])[column].to_pylist()

    keep, said = find_row_split(columns, names, read, options, str(paths[0]))
    pairs = CaptionsByPath()
    for path in paths:
        wanted = list(dict.fromkeys((columns.image, *columns.captions, *((keep.column,) if keep else ()))))
        table = pq.read_table(path, columns=wanted)
        if keep is not None:
            table = table.take(pa.array(keep.keep(table[keep.column].to_pylist())))
        cells = [table[name].to_pylist() for name in (columns.image, *columns.captions)]
        for where, *captions in zip(*cells, strict=True):
            pairs.add(str(where or "").strip(), captions)
    pairs, by_path = splits.paths_of_split(pairs, options, str(paths[0]))
    table = pairs.table()
    root, note = root_of(paths[0], table, options)
    notes = tuple(filter(None, (*columns.notes, said, by_path, note)))
    return FileSource(root, table, f"table {paths[0].name}", options.allow_outside, notes, pairs.facts())


def open_parquet(paths: Sequence[Path], options: SourceOptions) -> "ParquetSource | FileSource":
    """Parquet files with image bytes, or with image paths."""
    full, facts, _ = with_rows(paths)
    columns = columns_of_all([one.schema.to_arrow_schema() for one in facts], full, options)[0]
    return parquet_of_paths(full, columns, options) if columns.is_path else ParquetSource(paths, options)


class EmbeddedSource(ParquetSource):
    """The training rows of the data that come with askew: drawings and photographs with names written by people."""

    def __init__(self) -> None:
        super().__init__(embedded_files(), keep=RowSplit("cell", False, frozenset(["train"])))
        self.describe = f"embedded drawings and photographs: {len(self):,} training images"


def embedded_files() -> list[Path]:
    """The Parquet files of the embedded data, in a fixed order."""
    folder = Path(str(resources.files("askew") / "assets" / "embedded"))
    return sorted(folder.glob("*.parquet"))
