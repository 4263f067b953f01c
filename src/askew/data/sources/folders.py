"""Folders of image files, with a metadata table (Hugging Face's imagefolder) or a text file for each image."""

import os
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES, SourceOptions, path_bytes
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.listing import Listing, files_below
from askew.data.sources.tables import TableSource
from askew.errors import UserError, printable

METADATA = ("metadata.csv", "metadata.jsonl")
TEXTS = tuple(suffix[1:] for suffix in TEXT_SUFFIXES)
TEXT_FOLDERS = ("texts", "text", "captions", "caption", "txt", "labels", "annotations")  # beside a folder of images


def metadata_of(folder: Path) -> Path | None:
    """The metadata table of an imagefolder; None if the folder has none."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


@dataclass
class Contents:
    """The files below a folder.

    Attributes:
        images: their sorted paths, relative to the folder.
        texts: of each kind (txt, caption, json): the path of the text by its path without the suffix.
        others: paths without the suffix of all other files, and their suffix.
    """

    images: list[str] = field(default_factory=list)
    texts: dict[str, dict[str, str]] = field(default_factory=lambda: {kind: {} for kind in TEXTS})
    others: dict[str, str] = field(default_factory=dict)
    listing: Listing = field(default_factory=Listing)

    def text_of(self, image: str, kind: str) -> str:
        """The text of an image: of the same name beside it, or in a folder of texts beside its folder; or ""."""
        texts, stem = self.texts[kind], os.path.splitext(image)[0]
        if not texts or stem in texts:
            return texts.get(stem, "")
        folder, slash, rest = stem.rpartition("/")
        above, _, _ = folder.rpartition("/")
        first, _, inside = stem.partition("/")
        tried = [f"{above}/{name}/{rest}".lstrip("/") for name in TEXT_FOLDERS if slash]
        tried += [f"{name}/{inside}" for name in TEXT_FOLDERS if inside and first.lower() not in TEXT_FOLDERS]
        return next((texts[one] for one in tried if one in texts), "")


def contents_of(folder: Path) -> Contents:
    """What is below a folder, without hidden files and system files."""
    found = Contents()
    for name in files_below(folder, found.listing):
        stem, suffix = os.path.splitext(name)
        kind = suffix[1:].lower()
        if suffix.lower() in IMAGE_SUFFIXES:
            found.images.append(name)
        elif kind in found.texts:
            found.texts[kind][stem] = name
        else:
            found.others[stem] = suffix
    found.images.sort()
    return found


class FolderSource(FileSource):
    """Images anywhere below a folder, each with a text file of the same name: `.txt`, `.caption` or `.json`.

    The text lies beside its image, or in a folder `texts` (`captions`, ...) beside the folder of images. Names are
    listed once and sorted. A text is read when its sample is. An image without a text is a bad sample.

    Raises:
        UserError: no images, or no texts.
    """

    def __init__(self, folder: Path, options: SourceOptions, contents: Contents | None = None):
        found = contents or contents_of(folder)
        asked = options.caption_column
        counts = {kind: len(names) for kind, names in found.texts.items()}
        if not found.images:
            raise UserError(f"data: {folder} is a folder without images ({', '.join(IMAGE_SUFFIXES)}) below it")
        used = asked if asked in TEXTS else "json" if asked else _first_kind(found)
        if not counts.get(used):
            raise UserError(
                f"data: {folder} has {len(found.images):,} images but no texts; put NAME.txt beside NAME.jpg, or list "
                f"the images in {METADATA[0]} with the columns file_name,text"
            )
        self._field = asked if asked not in TEXTS else ""
        pairs = CaptionsByPath()
        for name in found.images:
            pairs.add(name, ())
        matched = [found.text_of(name, used) for name in found.images]
        table = pairs.table().append_column("text", pa.array(map(path_bytes, matched), pa.large_binary()))
        super().__init__(folder, table, f"folder {folder.name}", options.allow_outside, _notes(found, used, matched))
        number = sum(map(bool, matched))
        self.describe = f"folder {folder.name}: {len(found.images):,} images, {number:,} texts (.{used})"


def _first_kind(found: Contents) -> str:
    """The first kind of text that any image has, else the first that there is."""
    by_image = (kind for kind in TEXTS if any(found.text_of(name, kind) for name in found.images))
    return next(by_image, next((kind for kind in TEXTS if found.texts[kind]), ""))


def _notes(found: Contents, used: str, matched: list[str]) -> tuple[str, ...]:
    """Faults of the folder that belong to no single image."""
    notes = [*found.listing.notes, found.listing.note]
    alone = sorted(set(found.texts[used].values()) - set(matched))
    if alone:
        stem = os.path.splitext(alone[0])[0]
        there = f" ({stem}{found.others[stem]} is there, which is not read)" if stem in found.others else ""
        notes.append(f"text without image: {len(alone):,}, for example {printable(alone[0])}{printable(there)}")
    return tuple(filter(None, notes))


def open_metadata(table: Path, folder: Path, options: SourceOptions) -> FileSource:
    """An imagefolder: a folder of images with their metadata table."""
    source = TableSource(table, options)
    source.describe = source.describe.replace(f"table {table.name}", f"imagefolder {folder.name}")
    return source
