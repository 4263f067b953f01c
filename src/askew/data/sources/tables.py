"""Tables of image paths and captions: CSV, TSV, JSON lines and JSON arrays, in UTF-8."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from askew.data.sources import splits
from askew.data.sources.base import SourceOptions
from askew.data.sources.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, pick_columns, unread_captions
from askew.data.sources.delimited import delimited_rows, dialect_of, lines_of, with_first
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.index import facts, indexed
from askew.data.sources.near import root_of
from askew.errors import UserError, printable

DELIMITED = {".csv": ",", ".tsv": "\t", ".txt": ","}  # suffix, and the separator that it stands for
TABLE_SUFFIXES = (*DELIMITED, ".jsonl", ".ndjson")
FIRST_LINES = 1_000  # of JSON: their keys are its columns
LARGE = 64 * 2**20  # bytes: a larger table is read once, and after that from its index


class TableSource(FileSource):
    """Rows of an image path and a caption. Rows with the same path are one sample.

    Paths are relative to the table's folder, to a folder beside it that holds the images, or to `image_root`. Columns
    are found by name (`image`, `filepath`, `path`, ...; `caption`, `title`, `text`, ...) or given by `image_column` and
    `caption_column`. Where a column names the split of each row, only rows of `split` are read.

    Raises:
        UserError: no such file, no rows, missing columns, or a line that cannot be read.
    """

    def __init__(self, path: Path, options: SourceOptions | None = None):
        options = options or SourceOptions()
        self.path = path

        def build(path: Path) -> tuple[pa.Table, dict[str, Any]]:
            pairs, notes = pairs_of(path, options)
            table, found = pairs.table(), pairs.facts()
            return table, {**found, "notes": [*notes, *found["notes"]]}

        if path.stat().st_size < LARGE:
            table, found = build(path)
        else:
            kind = f"table {options.image_column} {options.caption_column} {options.split} {options.separator} "
            table = indexed(path, kind + options.quotes, build)
            found = facts(table)
        if not len(table):
            raise UserError(f"{path}: the table has no rows; it needs one line per image-caption pair")
        root, note = root_of(path, table, options)
        notes = (note,) if note else ()
        super().__init__(root, table, f"table {path.name}", options.allow_outside, notes, found)


def pairs_of(path: Path, options: SourceOptions) -> tuple[CaptionsByPath, list[str]]:
    """The captions of a table, grouped by image path, and notes on what was read."""
    rows, columns, image, captions = opened(path, options)
    notes = unread_captions(columns, image, captions, options)
    candidates = splits.columns_of([name for name in columns if name not in (image, *captions)])
    pairs, column, chosen = CaptionsByPath(), "", None
    if candidates:
        values: dict[str, Counter] = {name: Counter() for name in candidates}
        for row in rows:
            for name in candidates:
                values[name][splits.as_name(row.get(name))] += 1
        for column in candidates:
            chosen, said = splits.rows_of_split(column, values[column], options, str(path))
            notes += [said] if said else []
            if said:
                break
        rows = opened(path, options)[0]
    for row in rows:
        if chosen is None or splits.as_name(row.get(column)) in chosen:
            pairs.add(_path_text(row.get(image)), [row.get(caption) for caption in captions])
    kept, said = splits.paths_of_split(pairs, options, str(path))
    return kept, notes + ([said] if said else [])


def opened(path: Path, options: SourceOptions) -> tuple[Iterator[dict], list[str], str, tuple[str, ...]]:
    """Rows as dictionaries, the names of the columns, and which hold images and captions.

    Raises:
        UserError: missing columns, or a row that cannot be read. The iterator may raise the latter.
    """
    if path.suffix.lower() in DELIMITED:
        dialect = dialect_of(path, DELIMITED[path.suffix.lower()], options)
        columns = list(dialect.names)
        image, captions = pick_columns(columns, options, path, "image path", about=dialect.about)
        return delimited_rows(path, dialect, image, options.quotes == "auto"), columns, image, captions
    first, rows = with_first(json_rows(path), FIRST_LINES)
    columns = list(dict.fromkeys(key for row in first for key in row))
    image, captions = pick_columns(columns, options, path, "image path")
    return (_with_other_keys(row, image, captions, options) for row in rows), columns, image, captions


def _with_other_keys(row: dict, image: str, captions: Sequence[str], options: SourceOptions) -> dict:
    """A JSON row, with its image and caption under the chosen keys where it has them under other known ones."""
    for chosen, known, asked in (
        ((image,), IMAGE_COLUMNS, options.image_column),
        (captions, CAPTION_COLUMNS, options.caption_column),
    ):
        if not asked and not any(key in row for key in chosen):
            other = next((key for name in known for key in row if key.lower() == name), None)
            row = {**row, chosen[0]: row[other]} if other is not None else row
    return row


def _path_text(cell: object) -> str:
    """A path as text; "" where the cell holds none. A mapping is Hugging Face's {bytes, path}."""
    if isinstance(cell, dict):
        cell = cell.get("path")
    return str(cell).strip() if isinstance(cell, str | int | float) else ""


def json_rows(path: Path) -> Iterator[dict]:
    """The objects of a JSON array, or of a file with one JSON object per line, whose blank lines are skipped."""
    if path.suffix.lower() == ".json":
        yield from json_array(path, json_of(path))
        return
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
                reason = error.msg if isinstance(error, json.JSONDecodeError) else printable(str(error), 60)
                raise UserError(f"{path}, line {number}: not valid JSON ({reason})") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: each line must be a JSON object")
            yield row


def json_of(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        UserError: it is not JSON, or JSON lines.
    """
    try:
        return json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"{path}: not readable as JSON ({printable(str(error))}); JSON lines belong in a .jsonl file"
        ) from error


def json_array(path: Path, content: Any) -> list[dict]:
    """The records of a JSON array.

    Raises:
        UserError: it has none, or one that is no object.
    """
    if not content:
        raise UserError(f"{path}: the table has no rows; it needs one record per image-caption pair")
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise UserError(f"{path}, record {number}: {printable(str(row), 40)} is not a JSON object")
    return content
