"""Captions as text: from a cell of a table, and from the text file of one image.

Nothing that is not text becomes a caption: `b'a kite'` or `{'raw': 'a kite'}` would be trained on as it is printed.
"""

import ast
import html
import json
import math
import re
from pathlib import Path

from askew.data.sources.base import read_file
from askew.data.sources.columns import CAPTION_COLUMNS
from askew.errors import Unusable, printable

MISSING = ("nan", "null", "none", "<na>", "n/a", "#n/a")  # what tools write for a cell without a value
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
NOT_TEXT = "caption not text"
BOX = re.compile(r"\d+(\s+-?(0|1|[01]?\.\d+|\d(\.\d+)?e-\d+)){4,}")  # YOLO's line: a class and shares of the picture


def caption_texts(cell: object) -> tuple[str, ...]:
    """The captions in a cell that holds a text, UTF-8 bytes, or a list of them; without empty ones.

    A text that is a list or bytes as Python or JSON writes them (`['a', 'b']`, `b'a'`) is what it stands for. None,
    NaN, what tools write for them, and texts of which nothing can be seen (`&nbsp;`) are no captions.

    Raises:
        Unusable: a number, a mapping, a list of lists, or bytes that are not UTF-8.
    """
    if isinstance(cell, str):
        cell = _literal(cell)
    return _each(cell) if isinstance(cell, list | tuple) else _each([cell])


def _each(cells: list | tuple) -> tuple[str, ...]:
    return tuple(filter(None, map(_caption_text, cells)))


def _caption_text(cell: object) -> str:
    """One caption, without surrounding white space; "" where there is none."""
    if isinstance(cell, bytes):
        cell = decode_text(cell, "the caption")
    if isinstance(cell, str):
        # JSON may hold half of a surrogate pair, which is not a character and cannot be written in UTF-8
        text = cell.encode("utf-8", "replace").decode().strip()
        plain = html.unescape(html.unescape(text)) if "&" in text else text
        seen = plain.translate(INVISIBLE).strip()
        return text if seen and seen.lower() not in MISSING else ""
    if cell is None or (isinstance(cell, float) and math.isnan(cell)):
        return ""
    kind = {dict: "a mapping", list: "a list inside a list", tuple: "a list inside a list", bool: "true or false"}
    what = kind.get(type(cell), "a number" if isinstance(cell, int | float) else f"a {type(cell).__name__}")
    raise Unusable(f"the caption is {what}, not a text: {printable(str(cell), 60)}", NOT_TEXT)


LITERALS = re.compile(r"""\s*(\[\s*(['"]|[bu]['"]|\])|\(\s*['"]|\{\s*['"]|b['"]).*[\])}'"]\s*""", re.DOTALL)

QUOTED = re.compile(r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\"""", re.DOTALL)
NUMPY_LIST = re.compile(rf"\s*\[\s*(?:{QUOTED.pattern})(?:\s+(?:{QUOTED.pattern}))+\s*\]\s*", re.DOTALL)  # no commas
ARRAY = re.compile(r"\s*array\((\[.*\])(?:,\s*dtype=[\w<>|'\"]+)?\)\s*", re.DOTALL)


def _literal(text: str) -> object:
    """The list, mapping or bytes that a text is, as Python or JSON writes them; any other text as it is."""
    array = ARRAY.fullmatch(text)
    text = array[1] if array else text
    if not LITERALS.fullmatch(text):
        return text
    listed = NUMPY_LIST.fullmatch(text)
    if listed:  # Python would join the texts into one
        return [ast.literal_eval(each[0]) for each in QUOTED.finditer(text)]
    for read in (ast.literal_eval, json.loads):
        try:
            found = read(text.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        return found if isinstance(found, list | tuple | dict | bytes) else text
    return text


def decode_text(data: bytes, what: str) -> str:
    """UTF-8 text, with or without a byte order mark."""
    try:
        return data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise Unusable(f"{what} is not UTF-8 text (byte {error.start})", "caption not UTF-8") from error


def captions_in(data: bytes, kind: str, field: str) -> tuple[str, ...]:
    """The whole text as one caption; of JSON, the named field or the first of `caption`, `title`, `text`, ...

    Raises:
        Unusable: not UTF-8, not a JSON object, or a field that holds no text.
    """
    text = decode_text(data, f"the .{kind}")
    if kind != "json":
        lines = [line.strip() for line in text.splitlines()]
        if "." in text and all(BOX.fullmatch(line) for line in lines):
            raise Unusable(f"the .{kind} holds boxes or outlines of objects (YOLO), not a caption", NOT_TEXT)
        return caption_texts(text)
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise Unusable(f"the .json is not valid JSON ({error})", "caption not JSON") from error
    if not isinstance(fields, dict):
        raise Unusable("the .json is not an object", "caption not JSON")
    return caption_texts(fields.get(field or next((name for name in CAPTION_COLUMNS if name in fields), "caption")))


def captions_of(path: Path, kind: str, field: str) -> tuple[str, ...]:
    """The captions in a file."""
    return captions_in(read_file(path), kind, field)
