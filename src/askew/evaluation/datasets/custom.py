"""A user's own data as a data set: a folder of class folders, or any source of images and captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.loader import cause_of
from askew.data.sources import Sample, Source, SourceOptions, folder_reading, open_source
from askew.data.sources.base import bytes_id
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, Classification
from askew.evaluation.datasets.classes import class_layout, open_class_folders, refuse_for_captions

EVALUATED = "test,validation,train"  # the split that is evaluated: the first of these that the data have
MOSTLY = 0.5  # share of images with a text of their own, from which on they are captions and not class folders


class SourceImages:
    """Some images of a source, named as the source names them."""

    def __init__(self, source: Source, rows: Sequence[int], names: Sequence[str]):
        self.source, self.rows, self.keys = source, tuple(rows), names

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded bytes."""
        return self.source[self.rows[index]].image

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return decode(self.read(index))
        except OSError as error:
            raise OSError(f"{self.keys[index]}: {error.strerror or error}") from error


def open_custom(
    text: str, options: SourceOptions | None = None, prompts: str = "", class_names: str = ""
) -> Classification | Captioned:
    """Open a folder of class folders, maybe within test/, train/ and validation/, or a source of images and captions.

    Args:
        text: the folder, or anything that `askew train --data` takes.
        options: how it is read.
        prompts: a template with `{}`, or a file with one template per line; "" is "a photo of a {}".
        class_names: a file of names of the classes; "" takes the names of the folders.

    Raises:
        UserError: the layout is neither, or has two readings; prompts or names are malformed, or given for captions.
    """
    folder, options = Path(text).expanduser(), options or SourceOptions(split=EVALUATED)
    if folder.is_dir() and holds_classes(folder, options):
        return open_class_folders(folder, prompts, class_names)
    refuse_for_captions(text, prompts, class_names)
    return captioned(text, options)


def holds_classes(folder: Path, options: SourceOptions) -> bool:
    """Whether a folder is one of class folders, rather than of images with captions.

    Raises:
        UserError: it can be read in both ways.
    """
    if options.layout != "auto":
        return options.layout == "classes"
    layout = class_layout(folder)
    if layout is None:
        return False
    try:
        pairs = folder_reading(folder, options)
    except UserError:
        if layout.problem:
            raise
        return True
    if not pairs.what:
        return True
    if layout.problem or pairs.texts >= MOSTLY:
        return False
    classes = ", ".join(printable(name, 40) for name in layout.classes[:3])
    raise UserError(
        f"{printable(str(folder), 400)} can be read in two ways: as images with captions ({printable(pairs.what)}), or "
        f"as {len(layout.classes)} class folders ({classes}{', ...' if len(layout.classes) > 3 else ''}); choose with "
        "--set data.layout=pairs or --set data.layout=classes"
    )


def captioned(text: str, options: SourceOptions) -> Captioned:
    """A source as a set for retrieval. Samples of one path, or of equal bytes, are captions of one image.

    Raises:
        UserError: images that cannot be read, or have no caption.
    """
    source = open_source(text, options)
    groups, rows, names = _Groups(), list[int](), list[str]()
    captions: list[str] = []
    group_of: list[int] = []
    unreadable: list[str] = []
    bare: list[str] = []
    for index in range(len(source)):
        try:
            sample = source[index]
        except OSError as error:
            unreadable.append(f"{cause_of(error)}: {error.strerror or error}: {error.filename or source.name(index)}")
            continue
        if not sample.captions:
            bare.append(sample.name)
        group = groups.add(sample)
        if group == len(rows):
            rows.append(index)
            names.append(sample.name or str(index))
        captions += sample.captions
        group_of += [group] * len(sample.captions)
    for found, what in ((unreadable, "images cannot be read"), (bare, "images have no caption (no caption)")):
        if found:
            raise UserError(
                f"{printable(text)}: {len(found):,} of {len(source):,} {what}: {printable(found[0], 300)}"
                f"{', ...' if len(found) > 1 else ''}; fix or remove their rows"
            )
    kept, image_of = groups.merged(group_of)
    images = SourceImages(source, [rows[group] for group in kept], [names[group] for group in kept])
    notes = [*source.notes, *groups.notes(len(source), len(kept))]
    name = Path(text).expanduser().stem or "data"
    return Captioned(name, images, tuple(captions), image_of, notes=tuple(notes))


class _Groups:
    """Which samples are of one image: those with equal `image_id` (path), and those with equal bytes."""

    def __init__(self) -> None:
        self._by_path: dict[int, int] = {}
        self._by_bytes: dict[int, int] = {}
        self._parent: list[int] = []
        self._bytes_of: dict[int, int] = {}  # path, and the bytes it came with first
        self._others: set[int] = set()  # paths that came with other bytes too

    def add(self, sample: Sample) -> int:
        """The group of a sample; a new one has the next number. Groups may be merged later."""
        content, path = bytes_id(sample.image), sample.image_id
        if path is not None and self._bytes_of.setdefault(path, content) != content:
            self._others.add(path)
        found = [self._by_bytes[content]] if content in self._by_bytes else []
        found += [self._by_path[path]] if path in self._by_path else []
        if not found:
            found = [len(self._parent)]
            self._parent.append(found[0])
        first, last = min(map(self._root, found)), max(map(self._root, found))
        self._parent[last] = first
        self._by_bytes.setdefault(content, found[0])
        if path is not None:
            self._by_path.setdefault(path, found[0])
        return found[0]

    def _root(self, group: int) -> int:
        while self._parent[group] != group:
            group = self._parent[group]
        return group

    def merged(self, group_of: Sequence[int]) -> tuple[list[int], np.ndarray]:
        """The groups that are images, and for each caption the number of its image among them."""
        roots = [self._root(group) for group in range(len(self._parent))]
        kept = sorted(set(roots))
        number = {root: place for place, root in enumerate(kept)}
        return kept, np.array([number[roots[group]] for group in group_of], dtype=int)

    def notes(self, samples: int, images: int) -> list[str]:
        """What was put together, for the reader of the numbers."""
        found = []
        if images < samples:
            found.append(f"{samples:,} rows of {images:,} images: rows of one path, or of equal bytes, are one image")
        if self._others:
            found.append(f"{len(self._others):,} paths come with different images; the first of each is used")
        return found
