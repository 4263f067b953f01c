"""Rows of Arrow tables as samples: shared by Parquet files and `datasets` on disk."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from askew.data.files import home_path
from askew.data.sources import splits
from askew.data.sources.base import MAX_BYTES, Sample, SourceOptions, read_file, stable_id
from askew.data.sources.columns import IMAGE_COLUMNS, pick_columns, unread_captions
from askew.data.sources.files import is_outside
from askew.data.sources.texts import caption_texts
from askew.errors import Unusable, UserError, printable

ID_COLUMNS = ("id", "path", "file_name", "filename", "filepath", "image_path", "key", "__key__")
PATH_COLUMNS = ("path", "file_name", "filename", "filepath", "image_path", "image_name", "image_file")


@dataclass(frozen=True)
class Columns:
    """The name of each column that is read; "" if there is none.

    Attributes:
        image: encoded bytes, or Hugging Face's {"bytes", "path"}; with `is_path`, a path.
        captions: one or more columns of texts or lists of texts.
        id: an integer, or a name to hash, best the image's path.
        path: the image's path, which may begin with the folder of a split.
        match_id: what the image shows. Rows with equal values are positives of one another. Without it, rows of equal
            bytes are: ids may count captions or restart in each file, and names may repeat from folder to folder.
        tags: a list of keywords. A column of this name that holds anything else is not read.
        root: the folder that paths in place of bytes are relative to.
        allow_outside: whether such a path may lead out of it.
        notes: what was decided, for the user.
    """

    image: str
    captions: tuple[str, ...]
    id: str
    path: str
    match_id: str
    tags: str
    is_path: bool
    root: Path
    allow_outside: bool
    notes: tuple[str, ...]

    @property
    def light(self) -> list[str]:
        """Every column except the image."""
        named = dict.fromkeys((*self.captions, self.id, self.match_id, self.tags))
        return [name for name in named if name]

    @property
    def all(self) -> list[str]:
        """Every column that is read."""
        return list(dict.fromkeys([self.image, *self.light]))


def choose_columns(schema: pa.Schema, path: Path, options: SourceOptions) -> Columns:
    """The columns to read, found by name and type.

    Raises:
        UserError: no image column or no caption column, or one of another type. It lists the columns that exist.
    """
    names = schema.names
    holds_bytes = [name for name in names if is_bytes(schema.field(name).type)]
    named = [name for name in holds_bytes if name.lower() in IMAGE_COLUMNS]
    image, captions = pick_columns(names, options, path, "image bytes", named)
    kind = schema.field(image).type
    if not (is_text(kind) or is_bytes(kind)):
        raise UserError(
            f"{path}: column {image!r} holds {kind}, not image bytes or paths; set data.image_column to one that does"
        )
    for name in captions:
        held = schema.field(name).type
        if not (is_captions(held) or pa.types.is_null(held)):
            raise UserError(
                f"{path}: column {name!r} holds {printable(str(held))}, not texts or lists of texts; name a column of "
                "captions with --set data.caption_column=NAME"
            )
    taken = (image, *captions)
    ids = [name for name in ID_COLUMNS if name in names and name not in taken]
    paths = [name for name in PATH_COLUMNS if name in names and name not in taken]
    match_id = "concept" if "concept" in names else ""
    tags = "tags" if "tags" in names and is_texts(schema.field("tags").type) else ""
    notes = tuple(unread_captions([n for n in names if is_captions(schema.field(n).type)], image, captions, options))
    return Columns(
        image, captions, ids[0] if ids else "", paths[0] if paths else "", match_id, tags, is_text(kind),
        _root(path, options),
        options.allow_outside, notes,
    )  # fmt: skip


def columns_of_all(schemas: Sequence[pa.Schema], paths: Sequence[Path], options: SourceOptions) -> list[Columns]:
    """The columns of files that make up one source: the same in all of them.

    Raises:
        UserError: a file lacks a column of the first one, or has one of another kind.
    """
    first = choose_columns(schemas[0], paths[0], options)
    for schema, path in zip(schemas[1:], paths[1:], strict=True):
        lacking = [name for name in first.all if name not in schema.names]
        if lacking or is_text(schema.field(first.image).type) != first.is_path:
            what = f"no column {printable(lacking[0])!r}" if lacking else f"another kind of column {first.image!r}"
            have = ", ".join(map(printable, schema.names))
            raise UserError(
                f"{path}: {what}, which {paths[0].name} has (its columns are {have}); files of one source have the "
                "same columns: read them apart, with + between them"
            )
        named = replace(options, image_column=first.image, caption_column=",".join(first.captions))
        choose_columns(schema, path, named)
    return [replace(first, root=_root(path, options)) for path in paths]


def _root(path: Path, options: SourceOptions) -> Path:
    return home_path(options.image_root) if options.image_root else path.parent


def is_text(kind: pa.DataType) -> bool:
    """Whether a column of this type holds texts."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def is_listed(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def is_texts(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of texts."""
    return is_listed(kind) and is_text(kind.value_type)


def is_captions(kind: pa.DataType) -> bool:
    """Whether a column of this type can hold captions: texts, texts as bytes, or lists of either."""
    if is_listed(kind):
        kind = kind.value_type
    return is_text(kind) or _is_binary(kind)


def _is_binary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    fixed = pa.types.is_fixed_size_binary(kind)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind) or fixed


def is_bytes(kind: pa.DataType) -> bool:
    """Whether a column of this type holds encoded images."""
    if pa.types.is_struct(kind):
        return any(kind.field(place).name == "bytes" for place in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def row_sample(columns: Columns, table: pa.Table | pa.RecordBatch, row: int, name: str) -> Sample:
    """A row as a sample. `name` is where the row is, for messages, and gives the id if no column does."""
    cells = {column: table[column][row] for column in columns.all}
    image = _image_in(columns, cells[columns.image])
    try:
        captions = tuple(text for column in columns.captions for text in caption_texts(cells[column].as_py()))
        tags = tuple(filter(None, cells[columns.tags].as_py() or ())) if columns.tags else ()
        named = cells[columns.id].as_py() if columns.id else None
        match = cells[columns.match_id].as_py() if columns.match_id else None
    except UnicodeDecodeError as error:
        raise Unusable(f"{name}: the caption is not UTF-8", "caption not UTF-8") from error
    if isinstance(named, int) and 0 <= named < 2**63:
        key = named
    else:
        key = stable_id(str(named).removeprefix("./") if named else name)
    return Sample(key, None if match is None else stable_id(str(match)), image, captions, tags, name)


def numbers_of_captions(columns: Columns, table: pa.Table | pa.RecordBatch) -> list[int]:
    """How many captions each row has; 0 for a row whose captions cannot be used."""
    try:
        cells = [table[column].to_pylist() for column in columns.captions]
        return [_number_of_captions(row) for row in zip(*cells, strict=True)]
    except UnicodeDecodeError:  # somewhere: row by row, then
        return [_number_in_row(columns, table, row) for row in range(len(table))]


def _number_in_row(columns: Columns, table: pa.Table | pa.RecordBatch, row: int) -> int:
    try:
        return _number_of_captions(tuple(table[column][row].as_py() for column in columns.captions))
    except UnicodeDecodeError:
        return 0


def _number_of_captions(cells: tuple[object, ...]) -> int:
    try:
        return sum(len(caption_texts(cell)) for cell in cells)
    except Unusable:
        return 0


def _image_in(columns: Columns, cell: pa.Scalar) -> bytes:
    """The encoded bytes of a cell. Hugging Face's {bytes, path} without bytes is the file at that path."""
    path = None
    if pa.types.is_struct(cell.type):
        if not cell.is_valid:
            return b""
        path = cell["path"].as_py() if "path" in [field.name for field in cell.type] else None
        cell = cell["bytes"]
    if not cell.is_valid and path:
        if not columns.allow_outside and is_outside(path):
            raise Unusable(f"{path} points outside {columns.root}", "path outside the folder")
        try:
            return read_file(columns.root / path)
        except ValueError as error:  # a NUL in the name
            raise Unusable(f"{printable(path)}: {error}", "missing file") from error
    if cell.is_valid and len(cell.as_buffer()) > MAX_BYTES:
        raise Unusable(f"{len(cell.as_buffer()):,} bytes are over the limit of {MAX_BYTES:,}", "file too large")
    return cell.as_py() or b""


@dataclass(frozen=True)
class RowSplit:
    """Which rows are of the split that is read: by a column, or by the first folder of the paths in a column."""

    column: str
    by_folder: bool
    chosen: frozenset

    def keep(self, values: Iterable[object]) -> np.ndarray:
        """The numbers of the rows to read, from the values of the column."""
        names = map(splits.as_name, values)
        kept = ((splits.folder_split(str(name)) if self.by_folder else name) in self.chosen for name in names)
        return np.flatnonzero(np.fromiter(kept, dtype=bool))


def find_row_split(
    columns: Columns, names: list[str], read: Callable[[str], Iterator[list]], options: SourceOptions, where: str
) -> tuple[RowSplit | None, str]:
    """How rows name their split, and one line that says so. None where they name none.

    Args:
        names: all columns.
        read: the values of a column, row group by row group.
    """
    for column in splits.columns_of([name for name in names if name not in columns.all]):
        values = Counter(splits.as_name(value) for group in read(column) for value in group)
        chosen, said = splits.rows_of_split(column, values, options, where)
        if chosen is not None:
            return RowSplit(column, False, frozenset(chosen)), said
        if said:
            return None, said

    def folder(value: object) -> str:
        return splits.folder_split(str(splits.as_name(value)))

    if columns.path and all(map(folder, next(read(columns.path), [""]))):
        have = Counter(folder(value) for group in read(columns.path) for value in group)
        if len(have) > 1 and "" not in have:
            split, line = splits.choice(options, have, where, "row")
            return None if split == splits.ALL else RowSplit(columns.path, True, frozenset([split])), line
    return None, ""
