"""Rows of delimited text: which separator, which quotes, and what is refused because it can be read in two ways."""

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from askew.data.sources.base import IMAGE_SUFFIXES, SourceOptions
from askew.data.sources.columns import CAPTION_COLUMNS, IMAGE_COLUMNS, NUMBERED_CAPTIONS
from askew.errors import UserError, printable

NUMBER = re.compile(r"\d+")
_NAMED = {"comma": ",", "tab": "\t", "semicolon": ";", "bar": "|"}
SEPARATORS = {sign: name for name, sign in _NAMED.items()}
QUOTING = "put a caption that contains the separator in quotes, and double the quotes inside it"
NO_QUOTES = "if quotes are ordinary letters in this table, read it with --set data.quotes=literal"


@dataclass(frozen=True)
class Dialect:
    """How a delimited table is written.

    Attributes:
        separator: one character.
        quoted: whether a field may be in double quotes.
        names: of the columns, from the first line.
        skipped: lines before the first row: 1, or 2 after Excel's `sep=;`.
    """

    separator: str
    quoted: bool
    names: tuple[str, ...]
    skipped: int

    @property
    def about(self) -> str:
        """What was looked for, for messages."""
        name = SEPARATORS.get(self.separator, repr(self.separator))
        return f" (separated by {name}; another one: --set data.separator=semicolon)"


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


def dialect_of(path: Path, usual: str, options: SourceOptions) -> Dialect:
    """The separator and the names of the columns, from the first line.

    Args:
        usual: the separator that the file's suffix stands for. Another one is taken only if it gives known columns.

    Raises:
        UserError: an empty table, or a first line that is a pair instead of names.
    """
    lines = [line.rstrip("\r\n") for line in islice(lines_of(path), 2)]
    if not lines or not any(line.strip() for line in lines):
        raise UserError(f"{path}: the table is empty; its first line must name the columns: image,caption")
    asked, skipped = _NAMED.get(options.separator, options.separator).replace("\\t", "\t"), 1
    if lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:  # Excel's, which it does not show
        asked, skipped = asked or lines[0].strip()[4], 2
    if len(asked) > 1:
        raise UserError(
            f"data.separator={printable(options.separator)!r}: a separator is one character, or {', '.join(_NAMED)}"
        )
    first = lines[skipped - 1] if len(lines) >= skipped else ""
    candidates = [asked] if asked else [usual, *(one for one in SEPARATORS if one != usual)]
    found = {one: _names(first, one) for one in candidates}
    known = [one for one in candidates if _is_known(found[one], options)]
    most = max(candidates, key=lambda one: len(found[one]) if one != "|" or len(found[one]) > 2 else 0)
    separator = known[0] if known else usual if not asked and len(found[usual]) >= len(found[most]) else most
    if not known:
        _refuse_pair_in_place_of_names(path, found[separator], SEPARATORS.get(separator, repr(separator)))
    quoted = {"enclosing": True, "literal": False}.get(options.quotes, separator not in "\t|")
    return Dialect(separator, quoted, tuple(found[separator]), skipped)


def _names(line: str, separator: str) -> list[str]:
    """The fields of the first line, without quotes and white space around them."""
    try:
        fields = next(csv.reader([line], delimiter=separator, strict=True), [])
    except csv.Error:
        fields = line.split(separator)
    return [field.strip() for field in fields]


def _is_known(names: list[str], options: SourceOptions) -> bool:
    """Whether an image column and a caption column are among the names."""
    lowered = [name.lower() for name in names]
    image = options.image_column in names if options.image_column else any(n in lowered for n in IMAGE_COLUMNS)
    asked = [part.strip() for part in options.caption_column.split(",")] if options.caption_column else []
    known = any(n in lowered for n in CAPTION_COLUMNS) or any(NUMBERED_CAPTIONS.fullmatch(n) for n in lowered)
    return image and (all(part in names for part in asked) if asked else known)


def _refuse_pair_in_place_of_names(path: Path, names: list[str], separator: str) -> None:
    image = next((name for name in names if name.lower().endswith(IMAGE_SUFFIXES)), "")
    if image:
        raise UserError(
            f"{path}: the first line holds a pair ({printable(image, 60)}), not the names of the columns (separated by "
            f"{separator}); put a first line before it that names them, for example image,caption"
        )


def rows_of(path: Path, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """(number of its last line, fields) of each row after the names. Blank lines are skipped."""
    if not dialect.quoted:
        for number, line in enumerate(lines_of(path), 1):
            text = line.rstrip("\r\n")
            if number > dialect.skipped and text.strip():
                yield number, text.split(dialect.separator)
        return
    csv.field_size_limit(2**31 - 1)  # a caption may exceed the module's limit of 128 kB; the tokenizer cuts it
    lines = lines_of(path)
    for _ in range(dialect.skipped):
        next(lines, None)
    reader = csv.reader(lines, delimiter=dialect.separator, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num + dialect.skipped, row
    except csv.Error as error:
        line = reader.line_num + dialect.skipped
        raise UserError(f"{path}, line {line}: not a readable table ({error}); {QUOTING}; {NO_QUOTES}") from error


def delimited_rows(path: Path, dialect: Dialect, image: str, checked: bool) -> Iterator[dict[str, str]]:
    """Rows by the names of the columns.

    Args:
        image: the image column.
        checked: whether a field with line breaks that holds what looks like a row is refused.

    Raises:
        UserError: no rows, a row with more fields than names, or an open quote that swallowed rows.
    """
    names, width, last, empty = dialect.names, len(dialect.names), dialect.skipped, True
    place = names.index(image) if image in names else 0
    for number, fields in rows_of(path, dialect):
        empty = False
        if dialect.quoted and checked and number - last > 1:
            _refuse_swallowed_rows(path, fields, dialect, place, last + 1)
        last = number
        if len(fields) > width:
            extra = "" if dialect.quoted else f" (no quotes are read: {SEPARATORS.get(dialect.separator, 'text')})"
            raise UserError(
                f"{path}, line {number}: {len(fields)} fields under {width} names{extra}; "
                + (
                    QUOTING
                    if dialect.quoted
                    else "remove the separator from the caption, or read it with --set data.quotes=enclosing"
                )
            )
        yield dict(zip(names, fields, strict=False))
    if empty:
        raise UserError(f"{path}: the table has no rows; it needs one line per image-caption pair")


def _refuse_swallowed_rows(path: Path, fields: list[str], dialect: Dialect, place: int, first: int) -> None:
    """An open quote makes one field of many lines. A line of it that looks like a row shows that."""
    for field in fields:
        for line in field.replace("\r", "\n").split("\n")[1:]:
            parts = line.split(dialect.separator)
            named = len(parts) > place and parts[place].strip().strip('"').lower().endswith(IMAGE_SUFFIXES)
            whole = len(parts) == len(dialect.names) and len(parts) > 1
            if named or (whole and _looks_like_a_path(parts[place], fields[place])):
                raise UserError(
                    f"{path}, line {first}: a quote opens here and its field holds other lines, one of which looks "
                    f"like a row ({printable(line, 60)}); double the quotes inside captions; {NO_QUOTES}, and if the "
                    "field is right, with --set data.quotes=enclosing"
                )


def _looks_like_a_path(text: str, another: str) -> bool:
    """Whether a text may be a path: it has a slash or a suffix, or differs from the row's own only in its numbers."""
    text, alike = text.strip(), NUMBER.sub("0", text.strip()) == NUMBER.sub("0", another.strip())
    return bool(text) and " " not in text and ("/" in text or "\\" in text or "." in text[1:] or alike)


def with_first(rows: Iterator[dict], number: int) -> tuple[list[dict], Iterator[dict]]:
    """The first rows, and all rows again."""
    first = list(islice(rows, number))
    return first, chain(first, rows)
