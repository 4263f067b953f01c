"""Data sets saved to disk by Hugging Face's `datasets`. Their files are Arrow streams, read without that library."""

import json
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa

from askew.data.sources import splits
from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample, SourceOptions
from askew.data.sources.rows import RowSplit, columns_of_all, find_row_split, numbers_of_captions, row_sample
from askew.errors import UserError, printable

STATE, SPLITS = "state.json", "dataset_dict.json"
ROW = "row number"  # a column that is added


class ArrowSource:
    """Rows of Arrow files, mapped into memory: nothing is read before it is needed.

    Args:
        paths: Arrow streams (as `datasets` writes them) or Arrow files, in this order, all with the same columns.

    Raises:
        UserError: a file that is not Arrow, missing columns, paths instead of bytes, or no rows.
    """

    block, window = SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(self, paths: Sequence[Path], options: SourceOptions, notes: tuple[str, ...] = ()):
        self.paths, self.notes = tuple(paths), notes
        self._keep: RowSplit | None = None
        self._open()
        if not self._ends or not self._ends[-1]:
            raise UserError(f"data: {paths[0] if paths else 'the data set'}: no rows")
        schemas = {file: batch.drop_columns([ROW]).schema for file, batch in self._batches}
        files = sorted(schemas)
        columns = columns_of_all([schemas[file] for file in files], [self.paths[file] for file in files], options)
        self._columns = dict(zip(files, columns, strict=True))
        self.notes += columns[0].notes
        names = schemas[files[0]].names
        self._keep, said = find_row_split(columns[0], names, self._values, options, str(paths[0]))
        if said:
            self.notes += (said,)
        if self._keep is not None:
            self._open()
        if columns[0].is_path:
            raise UserError(
                f"data: {paths[0]}: column {columns[0].image!r} holds paths; save the images as bytes "
                "(cast_column to Image), or set data.image_column to a column of bytes"
            )
        self.describe = f"Arrow, {len(paths)} file(s): {len(self):,} images"

    def _open(self) -> None:
        self._batches: list[tuple[int, pa.RecordBatch]] = []
        for file, path in enumerate(self.paths):
            try:
                mapped = pa.memory_map(str(path))
                try:
                    batches = list(pa.ipc.open_stream(mapped))
                except pa.ArrowInvalid:
                    mapped.seek(0)
                    reader = pa.ipc.open_file(mapped)
                    batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
            except (OSError, pa.ArrowException) as error:
                raise UserError(f"{path}: not a readable Arrow file ({printable(str(error))})") from error
            first = 0
            for batch in batches:
                numbered = batch.append_column(ROW, pa.array(np.arange(first, first + len(batch))))
                first += len(batch)
                if self._keep is not None:
                    numbered = numbered.take(pa.array(self._keep.keep(batch[self._keep.column].to_pylist())))
                if len(numbered):
                    self._batches.append((file, numbered))
        self._ends = list(accumulate(len(batch) for _, batch in self._batches))

    def _values(self, column: str) -> Iterator[list]:
        for _, batch in self._batches:
            yield batch[column].to_pylist()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Sample:
        number, row = self._locate(index)
        file, batch = self._batches[number]
        return row_sample(self._columns[file], batch, row, self.name(index))

    def caption_counts(self) -> list[int]:
        """How many captions each row has. No image is read."""
        return [n for file, batch in self._batches for n in numbers_of_captions(self._columns[file], batch)]

    def name(self, index: int) -> str:
        """The file, and the row in it, counted from 0."""
        number, row = self._locate(index)
        file, batch = self._batches[number]
        return f"{self.paths[file].name} row {batch[ROW][row]}"

    def _locate(self, index: int) -> tuple[int, int]:
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = int(np.searchsorted(self._ends, index, side="right"))
        return number, index - (self._ends[number - 1] if number else 0)

    def __getstate__(self) -> dict:
        return {key: value for key, value in self.__dict__.items() if key not in ("_batches", "_ends")}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        self._open()


def is_saved_dataset(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder."""
    return (folder / STATE).is_file() or (folder / SPLITS).is_file()


def open_saved_dataset(folder: Path, options: SourceOptions) -> ArrowSource:
    """What `save_to_disk` wrote; of several splits, the one that `data.split` names.

    Raises:
        UserError: no such split, a selection of rows that was not flattened, or no list of files.
    """
    notes: tuple[str, ...] = ()
    if (folder / SPLITS).is_file():
        names = [str(name) for name in read_json(folder / SPLITS).get("splits", [])]
        split = splits.wanted(options, names, f"data: {folder}")
        if split == splits.ALL:
            raise UserError(f"data: {folder}: name one split, or mix them: {folder}/{names[0]} + ...")
        left = [name for name in names if name != split]
        notes = (f"split {printable(split)}" + (f"; left out: {printable(', '.join(left))}" if left else ""),)
        folder = folder / split
    state = read_json(folder / STATE)
    if state.get("_indices_data_files"):
        raise UserError(f"data: {folder} is a selection of rows; call flatten_indices() and save it again")
    names = [Path(str(file["filename"])).name for file in state.get("_data_files", [])]
    return ArrowSource([folder / name for name in names], options, notes)


def read_json(path: Path) -> dict:
    """A small JSON object; any other JSON counts as empty."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as JSON ({printable(str(error))})") from error
    return content if isinstance(content, dict) else {}
