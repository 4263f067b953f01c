"""Tables of image paths and captions: CSV, TSV and JSONL, in UTF-8."""

import codecs
import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from askew.data.sources.base import SourceOptions, caption_texts, pick_columns
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.index import indexed
from askew.errors import UserError

TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
FIRST_LINES = 1_000  # of a JSONL file: their keys are its columns
QUOTING = "put a caption that contains the separator in quotes, and double the quotes inside it"
LARGE = 64 * 2**20  # bytes: a larger table is read once, and after that from its index


class TableSource(FileSource):
    """Rows of an image path and a caption. Rows with the same path are one sample.

    Paths are relative to the table's folder, or to `image_root`. Columns are found by name (`image`, `filepath`,
    `path`, ...; `caption`, `title`, `text`, ...) or given by `image_column` and `caption_column`.

    Raises:
        UserError: no such file, no rows, missing columns, or a line that cannot be read.
    """

    def __init__(self, path: Path, options: SourceOptions | None = None):
        options = options or SourceOptions()
        self.path = path

        def build(path: Path) -> tuple[pa.Table, dict[str, Any]]:
            return pairs_of(path, options).table(), {}

        if path.stat().st_size < LARGE:
            table, _ = build(path)
        else:
            table = indexed(path, f"table {options.image_column} {options.caption_column}", build)
        if not len(table):
            raise UserError(f"{path}: the table has no rows; it needs one line per image-caption pair")
        root = Path(options.image_root).expanduser() if options.image_root else path.parent
        super().__init__(root, table, f"table {path.name}", options.allow_outside)


def pairs_of(path: Path, options: SourceOptions) -> CaptionsByPath:
    """The captions of a table, grouped by image path."""
    rows, columns = read_table(path)
    image, caption = pick_columns(columns, options, path, "image path")
    pairs = CaptionsByPath()
    for row in rows:
        pairs.add(str(row.get(image) or "").strip(), caption_texts(row.get(caption)))
    return pairs


def read_table(path: Path) -> tuple[Iterator[dict], list[str]]:
    """An iterator over rows as dictionaries, and the names of the columns. A byte order mark is skipped.

    Raises:
        UserError: a row cannot be read. The iterator may raise it later.
    """
    rows = json_rows(path) if path.suffix.lower() == ".jsonl" else delimited_rows(path)
    first = list(islice(rows, FIRST_LINES))
    columns = list(dict.fromkeys(key for row in first for key in row if key is not None))
    return (row for row in chain(first, rows) if row), columns


def lines_of(path: Path) -> Iterator[str]:
    """Lines of UTF-8 text, with their line ends."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        where = first_wrong_byte(path)
        raise UserError(f"{path}: not UTF-8 text (byte {where}); convert it with iconv -t utf-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def first_wrong_byte(path: Path) -> int:
    """The position of the first byte of a file that is not UTF-8."""
    decoder, read = codecs.getincrementaldecoder("utf-8")(), 0
    with path.open("rb") as file:
        while chunk := file.read(2**20):
            held = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return read - held + error.start
            read += len(chunk)
    return read


def json_rows(path: Path) -> Iterator[dict]:
    """One JSON object per line; blank lines are skipped."""
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise UserError(f"{path}, line {number}: not valid JSON ({error.msg})") from error
            if not isinstance(row, dict):
                raise UserError(f"{path}, line {number}: each line must be a JSON object")
            yield row


def delimited_rows(path: Path) -> Iterator[dict]:
    """Rows by the column names in the first line."""
    csv.field_size_limit(2**31 - 1)  # a caption may exceed the module's limit of 128 kB; the tokenizer cuts it
    lines: Iterable[str] = lines_of(path)
    reader = csv.DictReader(lines, delimiter=TABLE_SUFFIXES[path.suffix.lower()], strict=True)
    try:
        if not reader.fieldnames:
            raise UserError(f"{path}: the table is empty; its first line must name the columns: image,caption")
        row = None
        for row in reader:
            if None in row:
                raise UserError(
                    f"{path}, line {reader.line_num}: {len(reader.fieldnames) + len(row[None])} fields under "
                    f"{len(reader.fieldnames)} names; {QUOTING}"
                )
            yield row
        if row is None:
            raise UserError(f"{path}: the table has no rows; it needs one line per image-caption pair")
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.reader.line_num}: not a readable table ({error}); {QUOTING}") from error
