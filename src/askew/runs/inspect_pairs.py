"""The pairs of an inspection as tables: Parquet, CSV, and the list of what is kept. In flat memory, part by part."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.data.files import replacing_file
from askew.data.sources import SelectionSource, Source
from askew.data.sources.selection import Origin
from askew.errors import printable
from askew.evaluation.chunks import Chunk
from askew.evaluation.misalignment.parts import MEASURES, PREFIX, Arrays, PairParts
from askew.runs.inspection import InspectionFolder

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")  # how a cell begins that a spreadsheet would compute
INTEGERS = ("pool", "text_rank", "image_rank")


@dataclass(frozen=True)
class Ranking:
    """All M pairs by how misaligned they are.

    Attributes:
        by: the column that they are ranked by.
        values: (M,) of that column, in the order of the source.
        order: (M,) pairs from the best aligned to the most misaligned; of equal ones, those that come first in the
            source are first. Pairs without a value are before all others: nothing speaks against them.
    """

    by: str
    values: np.ndarray
    order: np.ndarray

    @classmethod
    def of(cls, parts: PairParts, by: str) -> "Ranking":
        """The ranking by a column of the parts."""
        values = np.concatenate([parts.part(number)[by].astype(np.float32) for number in range(parts.number)])
        return cls(by, values, np.argsort(np.nan_to_num(values, nan=-np.inf), kind="stable"))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def places(self) -> np.ndarray:
        """(M,) 1 for the most misaligned pair, M for the best aligned one."""
        places = np.empty(len(self), dtype=np.int64)
        places[self.order] = np.arange(len(self), 0, -1)
        return places

    def kept(self, share: float) -> np.ndarray:
        """(M,) whether a pair is among the best aligned `share` of all."""
        kept = np.zeros(len(self), dtype=bool)
        kept[self.order[: round(share * len(self))]] = True
        return kept


@dataclass(frozen=True)
class SelectedFrom:
    """Where the pairs of an inspected source really are: of a selection, in the source that it selects from."""

    source: Source
    origin: Origin

    def columns(self, part: Arrays) -> dict[str, Any]:
        """The columns that make rows a selection."""
        samples, captions = part["sample"], part["caption"]
        if isinstance(self.source, SelectionSource):
            found = [self.source.selected(sample) for sample in samples.tolist()]
            samples = np.array([inside for inside, _ in found], dtype=np.int64)
            captions = np.array([listed[number] for (_, listed), number in zip(found, captions, strict=True)])
        return {
            **self.origin.columns(len(samples)),
            "sample": samples.astype(np.int64),
            "caption": captions.astype(np.int32),
        }


def rows_of_parts(parts: PairParts) -> Iterator[tuple[int, Chunk, Arrays]]:
    """The first pair's number, the chunk and the numbers of every part."""
    first = 0
    store = next(iter(parts.stores.values()))
    for number in range(parts.number):
        part = parts.part(number)
        yield first, store.chunk(number), part
        first += len(part["sample"])


def measured_columns(part: Arrays, parts: PairParts) -> dict[str, Any]:
    """The numbers of each pair, and the nearest caption of the pool in words."""
    found: dict[str, Any] = {}
    for weights, drawn in parts.drawn.items():
        for name in MEASURES:
            column, values = PREFIX[weights] + name, part[PREFIX[weights] + name]
            if name == "nearest":
                texts = [drawn.captions[place] if place >= 0 else None for place in values.tolist()]
                found[f"{PREFIX[weights]}nearest_caption"] = pa.array(texts, pa.string())
            elif name in INTEGERS:
                found[column] = values.astype(np.int32)
            else:
                found[column] = pa.array(values.astype(np.float32), from_pandas=True)  # NaN as a missing value
    return found


def write_pairs(folder: InspectionFolder, parts: PairParts, ranking: Ranking, where: SelectedFrom) -> None:
    """pairs.parquet and pairs.csv, one row group per part, in the order of the source."""
    places = ranking.places
    with ExitStack() as stack:
        as_parquet = stack.enter_context(replacing_file(folder.pairs))
        as_csv = stack.enter_context(replacing_file(folder.pairs_csv))
        text = stack.enter_context(as_csv.open("w", newline="", encoding="utf-8"))
        sheet, writer = csv.writer(text), None
        for first, chunk, part in rows_of_parts(parts):
            rows = part["row"].tolist()
            if not rows:
                continue
            columns: dict[str, Any] = where.columns(part)
            columns["name"] = [_encodable(chunk.names[chunk.owner[row] - chunk.first]) for row in rows]
            columns["text"] = [_encodable(chunk.captions[row]) for row in rows]
            columns["place"] = places[first : first + len(rows)]
            table = pa.table({**columns, **measured_columns(part, parts)})
            if writer is None:
                writer = stack.enter_context(pq.ParquetWriter(as_parquet, table.schema))
                shown = [name for name in table.column_names if not name.startswith("askew_")]
                sheet.writerow(shown)
            writer.write_table(table)
            cells = [table[name].to_pylist() for name in shown]
            sheet.writerows([[cell(value) for value in row] for row in zip(*cells, strict=True)])


def write_kept(folder: InspectionFolder, parts: PairParts, kept: np.ndarray, where: SelectedFrom) -> int:
    """kept.parquet; returns how many captions it lists."""
    with replacing_file(folder.kept) as temporary:
        writer = None
        for first, _, part in rows_of_parts(parts):
            chosen = kept[first : first + len(part["sample"])]
            table = pa.table(where.columns({name: part[name][chosen] for name in ("sample", "caption")}))
            writer = writer or pq.ParquetWriter(temporary, table.schema)
            writer.write_table(table)
        assert writer is not None, "a source has samples"
        writer.close()
    return int(kept.sum())


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> None:
    """A CSV file."""
    with replacing_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow(names)
        sheet.writerows([[cell(row[name]) for name in names] for row in rows])


def cell(value: Any) -> str:
    """A value as a spreadsheet may have it: numbers to 6 digits, text without control codes, and no formulas."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str):
        return f"{value:.6g}" if isinstance(value, float) else str(value)
    text = printable(value, len(value) * 10 + 1)
    return f"'{text}" if value.startswith(FORMULA) else text


def _encodable(text: str) -> str:
    """Half of a surrogate pair cannot be written as UTF-8, and is escaped."""
    return text.encode("utf-8", "backslashreplace").decode()
