"""Where samples come from: random access, so that sharding, shuffling and resuming are arithmetic."""

import csv
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.errors import UserError, printable

IMAGE_COLUMNS = ("image", "filepath", "image_path", "path", "file_name", "filename", "jpg", "png", "webp")
CAPTION_COLUMNS = ("caption", "title", "text", "captions", "txt")
TABLE_SUFFIXES = {".csv": ",", ".tsv": "\t", ".jsonl": ""}
EMBEDDED = "embedded"


@dataclass(frozen=True)
class Sample:
    """One image with its texts.

    Attributes:
        id: unique and stable in the run.
        group: equal group = positives; by default the same image.
        image: encoded bytes; decoding is the loader's business, once per sample.
        captions: at least one; one is drawn per visit.
        tags: keywords that may be added to a caption in training (`loader.tags`).
        name: where it came from, for messages.
    """

    id: int
    group: int
    image: bytes
    captions: tuple[str, ...]
    tags: tuple[str, ...] = ()
    name: str = ""


class Source(Protocol):
    """Random access to samples. `describe` says in a few words what was recognised."""

    describe: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample: ...


def stable_id(key: str) -> int:
    """A 63-bit integer that depends on the key alone, the same on every machine and in every run."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big") >> 1


class TableSource:
    """Pairs of an image path and a caption (CSV, TSV, JSONL); rows with the same path are one sample.

    Relative paths are taken from the table's folder. Columns are found by name (`image`, `filepath`, `path`, ...;
    `caption`, `title`, `text`, ...); pass `image_column` and `caption_column` to name others.

    Raises:
        UserError: no such file, no rows, missing columns, a line that cannot be read.
    """

    def __init__(self, path: Path, image_column: str = "", caption_column: str = ""):
        self.path = path
        rows, columns = read_table(path)
        image = image_column or pick_column(columns, IMAGE_COLUMNS, "image path", path, "data.image_column")
        caption = caption_column or pick_column(columns, CAPTION_COLUMNS, "caption", path, "data.caption_column")
        for name, key in ((image, "data.image_column"), (caption, "data.caption_column")):
            if name not in columns:
                raise UserError(f"{path}: no column {name!r} ({key}); the columns are {', '.join(map(repr, columns))}")
        captions: dict[str, list[str]] = {}
        for row in rows:
            texts = row.get(caption)
            texts = texts if isinstance(texts, list) else [texts]
            where = str(row.get(image) or "").strip()
            captions.setdefault(where, []).extend(filter(None, map(caption_text, texts)))
        if not captions:
            raise UserError(f"{path}: the table has no rows; it needs one line per image-caption pair")
        # An Arrow array, not a list of objects: forked workers then share the pages, whatever the size of the table.
        self._paths = pa.array(list(captions))
        self._captions = pa.array(list(captions.values()), type=pa.list_(pa.string()))
        self.describe = f"table {path.name}: {len(self._paths):,} images, {sum(map(len, captions.values())):,} captions"

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Sample:
        where = self._paths[index].as_py()
        key = stable_id(where)
        if not where:
            raise OSError("the image path is empty")
        return Sample(
            key, key, (self.path.parent / where).read_bytes(), tuple(self._captions[index].as_py()), (), where
        )


class ParquetSource:
    """Rows of Parquet files with image bytes and a caption; also the embedded data.

    Args:
        paths: the files, read in this order into memory as Arrow tables, which forked workers share.
        image_column, caption_column: "" finds them by name.
        where: keep only rows whose column has this value, e.g. {"cell": "train"}.

    A column `id` gives the ids (else file and row), `concept` the groups (else the id), `tags` the tags. An image
    column may hold bytes or Hugging Face's {"bytes", "path"} struct.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        image_column: str = "",
        caption_column: str = "",
        where: dict[str, str] | None = None,
    ):
        tables = []
        for path in paths:
            try:
                schema = pq.read_schema(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise UserError(f"{path}: not a readable Parquet file ({printable(str(error))})") from error
            names = schema.names
            image = image_column or pick_column(names, IMAGE_COLUMNS, "image bytes", path, "data.image_column")
            caption = caption_column or pick_column(names, CAPTION_COLUMNS, "caption", path, "data.caption_column")
            for name in (image, caption):
                if name not in names:
                    raise UserError(f"{path}: no column {name!r}; the columns are {', '.join(map(repr, names))}")
            kept = [c for c in (image, caption, "id", "concept", "tags", *(where or {})) if c in names]
            table = pq.read_table(path, columns=list(dict.fromkeys(kept)), memory_map=True)
            rows = np.arange(len(table))
            keep = np.ones(len(table), dtype=bool)
            for column, value in (where or {}).items():
                keep &= np.array([cell == value for cell in table[column].to_pylist()])
            ids = table["id"] if "id" in names else pa.array([stable_id(f"{path.name}/{row}") for row in rows])
            groups = [stable_id(c) for c in table["concept"].to_pylist()] if "concept" in names else ids
            column = table[image]
            if pa.types.is_struct(column.type):
                column = pa.chunked_array(
                    [chunk.field("bytes") for chunk in column.chunks], type=column.type.field("bytes").type
                )
            tags = table["tags"] if "tags" in names else pa.array([[]] * len(table), type=pa.list_(pa.string()))
            captions = table[caption]
            if not pa.types.is_list(captions.type):
                texts = map(caption_text, captions.to_pylist())
                captions = pa.array([[text] if text else [] for text in texts], type=pa.list_(pa.string()))
            columns = {"id": ids, "group": groups, "image": column.cast(pa.large_binary()), "captions": captions,
                       "tags": tags, "name": pa.array([f"{path.name} row {row}" for row in rows])}  # fmt: skip
            tables.append(pa.table(columns).filter(pa.array(keep)))
        self._rows = pa.concat_tables(tables).combine_chunks()
        if not len(self._rows):
            raise UserError(f"{paths[0]}: no usable rows" + (f" where {where}" if where else ""))
        self.describe = f"Parquet, {len(paths)} file(s): {len(self._rows):,} images"

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Sample:
        row = {name: self._rows[name][index].as_py() for name in self._rows.column_names}
        captions, tags = tuple(row["captions"] or ()), tuple(row["tags"] or ())
        return Sample(row["id"], row["group"], row["image"] or b"", captions, tags, row["name"])


class EmbeddedSource(ParquetSource):
    """The training rows of the data that comes with askew: drawings and photographs with human-written names."""

    def __init__(self) -> None:
        super().__init__(embedded_files(), where={"cell": "train"})
        self.describe = f"embedded drawings and photographs: {len(self):,} training images"


def embedded_files() -> list[Path]:
    """The Parquet files of the embedded data, in a fixed order."""
    folder = Path(str(resources.files("askew") / "assets" / "embedded"))
    return sorted(folder.glob("*.parquet"))


def caption_text(cell: object) -> str:
    """A caption as text: a number is its digits, nothing and NaN are no caption."""
    missing = cell is None or (isinstance(cell, float) and math.isnan(cell))
    return "" if missing else str(cell).strip()


def read_table(path: Path) -> tuple[list[dict], list[str]]:
    """Rows as dictionaries, and the column names, of a CSV, TSV or JSONL file (UTF-8, a BOM is tolerated)."""
    csv.field_size_limit(2**31 - 1)  # a caption may be longer than the module's 128 kB; the tokenizer cuts it
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            if path.suffix.lower() == ".jsonl":
                rows = []
                for number, line in enumerate(file, 1):
                    if line.strip():
                        try:
                            row = json.loads(line)
                        except json.JSONDecodeError as error:
                            raise UserError(f"{path}, line {number}: not valid JSON ({error.msg})") from error
                        if not isinstance(row, dict):
                            raise UserError(f"{path}, line {number}: each line must be a JSON object")
                        rows.append(row)
                return rows, list(dict.fromkeys(key for row in rows for key in row))
            reader = csv.DictReader(file, delimiter=TABLE_SUFFIXES[path.suffix.lower()])
            if not reader.fieldnames:
                raise UserError(f"{path}: the table is empty; its first line names the columns: image,caption")
            return list(reader), list(reader.fieldnames)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text (byte {error.start}); convert it with iconv -t utf-8") from error
    except csv.Error as error:
        raise UserError(f"{path}: not a readable table ({error})") from error


def pick_column(columns: Sequence[str], known: Sequence[str], what: str, path: Path, key: str) -> str:
    """The first known name among the columns, compared without case."""
    lowered = {c.lower(): c for c in columns if c}
    for name in known:
        if name in lowered:
            return lowered[name]
    have = ", ".join(f"'{printable(c)}'" for c in columns if c) or "none"
    raise UserError(f"{path}: no {what} column; the columns are {have}; name it with --set {key}=NAME")


RECOGNISED = "give a .csv, .tsv or .jsonl table, a .parquet file, a folder of them, or `embedded`"


def open_source(text: str, image_column: str = "", caption_column: str = "") -> Source:
    """Open what a user named: a table, Parquet, or the embedded data.

    Raises:
        UserError: nothing there, or nothing that is recognised, with what is.
    """
    if not text:
        raise UserError(f"data: the recipe names none: add --data SOURCE; {RECOGNISED}")
    if text == EMBEDDED:
        return EmbeddedSource()
    path = Path(text).expanduser()
    if path.is_dir():
        files = sorted(path.glob("*.parquet"))
        if files:
            return ParquetSource(files, image_column, caption_column)
        raise UserError(f"data: {path} is a folder without *.parquet files; {RECOGNISED}")
    if not path.is_file():
        raise UserError(f"data: {printable(text)} does not exist; {RECOGNISED}")
    if path.suffix.lower() in TABLE_SUFFIXES:
        return TableSource(path, image_column, caption_column)
    if path.suffix.lower() == ".parquet":
        return ParquetSource([path], image_column, caption_column)
    raise UserError(f"data: {path} is of no known kind; {RECOGNISED}")
