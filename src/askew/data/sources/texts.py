"""Captions as text: from a cell of a table, and from the text file of one image.

Nothing that is not text becomes a caption: `b'a kite'` or `{'raw': 'a kite'}` would be trained on as it is printed.
"""

import ast
import html
import json
import math
from pathlib import Path

from askew.data.sources.base import read_file
from askew.data.sources.columns import CAPTION_COLUMNS
from askew.errors import Unusable, printable

MISSING = ("nan", "null", "none", "<na>", "n/a", "#n/a")  # what tools write for a cell without a value
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))
NOT_TEXT = "caption not text"


def caption_texts(cell: object) -> tuple[str, ...]:
    """The captions in a cell that holds a text, UTF-8 bytes, or a list of them; without empty ones.

    A text that is a list as Python or JSON writes it (`['a', 'b']`) is that list. None, NaN, what tools write for them,
    and texts of which nothing can be seen (`&nbsp;`) are no captions.

    Raises:
        Unusable: a number, a mapping, a list of lists, or bytes that are not UTF-8.
    """
    if isinstance(cell, str):
        listed = _listed(cell)
        return _each(listed) if listed is not None else _each([cell])
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


def _listed(text: str) -> list | None:
    """The list that a text stands for; None for any other text."""
    text = text.strip()
    if len(text) < 2 or text[0] + text[-1] not in ("[]", "()") or text[1:2] not in ("'", '"', "]"):
        return None
    try:
        found = ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    wanted = isinstance(found, list | tuple) and all(isinstance(item, str) for item in found)
    return list(found) if wanted else None


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
        return caption_texts(text)
    try:
        fields = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise Unusable(f"the .json is not valid JSON ({error})", "caption not JSON") from error
    if not isinstance(fields, dict):
        raise Unusable("the .json is not an object", "caption not JSON")
    return caption_texts(fields.get(field or next((name for name in CAPTION_COLUMNS if name in fields), "caption")))


def captions_of(path: Path, kind: str, field: str) -> tuple[str, ...]:
    """The captions in a file."""
    return captions_in(read_file(path), kind, field)
