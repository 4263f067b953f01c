"""Data sets of two images and two captions per item: Winoground, and the pairs of drawings that come with askew."""

import io
import json
import re
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from askew.data.images import decode
from askew.errors import printable
from askew.evaluation.datasets.base import TwoByTwo
from askew.evaluation.datasets.folder import DatasetFolder

SIDES = (0, 1)
EMOJI_PAIRS = "pairs.parquet"
FIELDS = ("image_0", "image_1", "caption_0", "caption_1")
KIND = re.compile(r"[\w-][\w .-]{0,59}")  # it becomes a part of a file's name


class PackedImages:
    """Encoded images that are in memory, by key."""

    keys: Sequence[str]

    def __init__(self, images: dict[str, bytes]):
        self.keys, self.encoded = tuple(images), tuple(images.values())

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded image."""
        return self.encoded[index]

    def __getitem__(self, index: int) -> Image.Image:
        return decode(self.encoded[index])


def packaged_emoji_pairs() -> Path:
    """The folder of the pairs of drawings in the installed package."""
    return Path(str(resources.files("askew") / "assets" / "emoji_pairs"))


def emoji_pairs(folder: DatasetFolder) -> TwoByTwo:
    """Drawings of Twemoji whose names differ in one word, or in the order of two. scripts/build_emoji_pairs.py."""
    rows = pq.read_table(io.BytesIO(folder.find(EMOJI_PAIRS).read_bytes())).to_pylist()
    images = {row[f"key_{side}"]: row[f"image_{side}"] for row in rows for side in SIDES}
    index = {key: number for number, key in enumerate(images)}
    return TwoByTwo(
        folder.name,
        PackedImages(images),
        np.array([[index[row[f"key_{side}"]] for side in SIDES] for row in rows]),
        tuple((row["caption_0"], row["caption_1"]) for row in rows),
        tuple(row["kind"] for row in rows),
        (("items", 668), ("images", 983)),
        ("drawings of Twemoji, the style that askew's recipes never train on",),
    )


def winoground(folder: DatasetFolder) -> TwoByTwo:
    """Winoground's 400 items: examples.jsonl, and its images by name in images/. A kind is the item's collapsed tag."""
    path = folder.find("examples.jsonl", "data/examples.jsonl")
    items, seen = [], set[tuple[str, ...]]()
    for number, line in enumerate(folder.lines(str(path.relative_to(folder.path))), 1):
        try:
            item = json.loads(line)
        except ValueError as error:
            raise folder.wrong(f"{path.name}, line {number}: not valid JSON ({error})") from error
        if fault := _fault(item, line, seen):
            raise folder.wrong(f"{path.name}, line {number}: {fault}")
        seen.add(tuple(item[field] for field in FIELDS))
        items.append(item)
    names = list(dict.fromkeys(item[f"image_{side}"] for item in items for side in SIDES))
    index = {name: number for number, name in enumerate(names)}
    images = folder.inside("images", "data/images").files([f"{name}.png" for name in names], path.name, names)
    return TwoByTwo(
        folder.name,
        images,
        np.array([[index[item[f"image_{side}"]] for side in SIDES] for item in items]),
        tuple((item["caption_0"], item["caption_1"]) for item in items),
        tuple(_kind(item) for item in items),
        (("items", 400), ("images", 800)),
    )


def _kind(item: dict[str, Any]) -> str:
    return str(item.get("collapsed_tag") or "untagged")


def _fault(item: Any, line: str, seen: set[tuple[str, ...]]) -> str:
    """What is wrong with an item, or "". Args: seen: the fields of the items before it."""
    fields = item if isinstance(item, dict) else {}
    for field in FIELDS:
        if not isinstance(fields.get(field), str) or not fields[field].strip():
            return f"{printable(line, 60)} lacks {field}"
    parts = tuple(fields[field] for field in FIELDS)
    if parts[0] == parts[1]:
        return "both images are the same"
    if parts[2] == parts[3]:
        return "both captions are the same"
    if parts in seen:
        return "the item is there already"
    if not KIND.fullmatch(_kind(fields)):
        return f"{printable(_kind(fields), 60)!r} is no tag"
    wrong = next((name for name in parts[:2] if "/" in name or "\\" in name), "")
    return f"{printable(wrong, 60)!r} is no name of an image" if wrong else ""
