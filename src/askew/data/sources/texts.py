"""Captions from the text file of one image: `.txt`, `.caption`, or a field of a `.json`."""

import json
from pathlib import Path

from askew.data.sources.base import CAPTION_COLUMNS, caption_texts, decode_text, read_file
from askew.errors import Unusable


def captions_in(data: bytes, kind: str, field: str) -> tuple[str, ...]:
    """The whole text as one caption; of JSON, the named field or the first of `caption`, `title`, `text`, ...

    Raises:
        Unusable: not UTF-8, or not a JSON object.
    """
    text = decode_text(data, f"the .{kind}")
    if kind != "json":
        return (text,) if text else ()
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
