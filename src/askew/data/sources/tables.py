"""Tables of image paths and captions: CSV, TSV and JSONL, in UTF-8."""

import codecs
import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from askew.data.sources.base import Options, caption_texts, pick_columns
from askew.data.sources.files import FileSource, Pairs
from askew.data.sources.index import indexed
from askew.errors import UserError

TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
FIRST_LINES = 1_000  # of a JSONL file, whose keys are taken for the columns
QUOTING = "a caption with the separator in it stands in quotes, and a quote in such a caption is written twice"
LARGE = 64 * 2**20  # bytes from which a table is read once and then from its index


class TableSource(FileSource):
    """Pairs of an image path and a caption; rows with the same path are one sample.

    Paths are taken from the table's folder, or from `image_root`. Columns are found by name (`image`, `filepath`,
    `path`, ...; `caption`, `title`, `text`, ...), or named by `image_column` and `caption_column`.

    Raises:
        UserError: no such file, no rows, missing columns, a line that cannot be read.
    """

    def __init__(self, path: Path, options: Options | None = None):
        options = options or Options()
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


def pairs_of(path: Path, options: Options) -> Pairs:
    """The rows of a table, grouped by image path."""
    rows, columns = read_table(path)
    image, caption = pick_columns(columns, options, path, "image path")
    pairs = Pairs()
    for row in rows:
        pairs.add(str(row.get(image) or "").strip(), caption_texts(row.get(caption)))
    return pairs


def read_table(path: Path) -> tuple[Iterator[dict], list[str]]:
    """Rows as dictionaries, one after the other, and the names of the columns. A BOM is tolerated.

    Raises:
        UserError: when a row is reached that cannot be read, or at once.
    """
    rows = json_rows(path) if path.suffix.lower() == ".jsonl" else delimited_rows(path)
    first = list(islice(rows, FIRST_LINES))
    columns = list(dict.fromkeys(key for row in first for key in row if key is not None))
    return (row for row in chain(first, rows) if row), columns


def lines_of(path: Path) -> Iterator[str]:
    """Lines of UTF-8 text with their ends."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            yield from file
    except UnicodeDecodeError as error:
        where = first_wrong_byte(path)
        raise UserError(f"{path}: not UTF-8 text (byte {where}); convert it with iconv -t utf-8") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from error


def first_wrong_byte(path: Path) -> int:
    """Where a file stops being UTF-8."""
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
    """One JSON object a line; blank lines are passed over."""
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
    """Rows under the names of the first line. A table that has only that yields one empty row, for its names."""
    csv.field_size_limit(2**31 - 1)  # a caption may be longer than the module's 128 kB; the tokenizer cuts it
    lines: Iterable[str] = lines_of(path)
    reader = csv.DictReader(lines, delimiter=TABLE_SUFFIXES[path.suffix.lower()], strict=True)
    try:
        if not reader.fieldnames:
            raise UserError(f"{path}: the table is empty; its first line names the columns: image,caption")
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
