"""Rows of Arrow tables as samples: shared by Parquet files and `datasets` on disk."""

from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from askew.data.sources.base import (
    IMAGE_COLUMNS,
    MAX_BYTES,
    Sample,
    SourceOptions,
    caption_texts,
    pick_columns,
    stable_id,
)
from askew.errors import Unusable, UserError

ID_COLUMNS = ("id", "path", "file_name", "filename", "filepath", "image_path", "key", "__key__")


@dataclass(frozen=True)
class Columns:
    """The name of each column that is read; "" if there is none.

    Attributes:
        image: encoded bytes, or Hugging Face's {"bytes", "path"}; with `is_path`, a path.
        caption: a text or a list of texts.
        id: an integer, or a name to hash, best the image's path. Rows with equal ids are the same image.
        match_id: what the image shows. Rows with equal values are positives of one another.
        tags: a list of keywords. A column of this name that holds anything else is not read.
    """

    image: str
    caption: str
    id: str
    match_id: str
    tags: str
    is_path: bool

    @property
    def light(self) -> list[str]:
        """Every column except the image."""
        return [name for name in dict.fromkeys((self.caption, self.id, self.match_id, self.tags)) if name]

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return list(dict.fromkeys([self.image, *self.light]))


def choose_columns(schema: pa.Schema, path: Path, options: SourceOptions) -> Columns:
    """The columns to read, found by name and type.

    Raises:
        UserError: no image column or no caption column. It lists the columns that exist.
    """
    names = schema.names
    holds_bytes = [name for name in names if is_bytes(schema.field(name).type)]
    named = [name for name in holds_bytes if name.lower() in IMAGE_COLUMNS]
    image, caption = pick_columns(names, options, path, "image bytes", named)
    kind = schema.field(image).type
    is_path = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (is_path or is_bytes(kind)):
        raise UserError(
            f"{path}: column {image!r} holds {kind}, not image bytes or paths; set data.image_column to one that does"
        )
    ids = [name for name in ID_COLUMNS if name in names and name not in (image, caption)]
    match_id = "concept" if "concept" in names else ""
    tags = "tags" if "tags" in names and is_texts(schema.field("tags").type) else ""
    return Columns(image, caption, ids[0] if ids else "", match_id, tags, is_path)


def is_texts(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of texts."""
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return listed and (pa.types.is_string(kind.value_type) or pa.types.is_large_string(kind.value_type))


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded images."""
    if pa.types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def row_sample(columns: Columns, table: pa.Table | pa.RecordBatch, row: int, name: str) -> Sample:
    """A row as a sample. `name` is where the row is, for messages, and gives the id if no column does."""
    cells = {column: table[column][row] for column in columns.all}
    image = cells[columns.image]
    if pa.types.is_struct(image.type) and image.is_valid:
        image = image["bytes"]
    if image.is_valid and len(image.as_buffer()) > MAX_BYTES:
        raise Unusable(f"{len(image.as_buffer()):,} bytes are over the limit of {MAX_BYTES:,}", "file too large")
    try:
        captions = caption_texts(cells[columns.caption].as_py())
        tags = tuple(filter(None, cells[columns.tags].as_py() or ())) if columns.tags else ()
        named = cells[columns.id].as_py() if columns.id else None
        match = cells[columns.match_id].as_py() if columns.match_id else None
    except UnicodeDecodeError as error:
        raise Unusable(f"{name}: the caption is not UTF-8", "caption not UTF-8") from error
    key = named if isinstance(named, int) else stable_id(str(named).removeprefix("./") if named else name)
    return Sample(key, key if match is None else stable_id(str(match)), image.as_py() or b"", captions, tags, name)
