"""Folders of image files, with a metadata table (Hugging Face's imagefolder) or a text file beside each image."""

import os
from collections.abc import Iterator
from pathlib import Path

from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES, Sample, SourceOptions
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.tables import TableSource
from askew.data.sources.texts import captions_of
from askew.errors import UserError, printable

METADATA = ("metadata.csv", "metadata.jsonl")
TEXTS = tuple(suffix[1:] for suffix in TEXT_SUFFIXES)


def metadata_of(folder: Path) -> Path | None:
    """The metadata table of an imagefolder; None if the folder has none."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


class FolderSource(FileSource):
    """Images anywhere below a folder, each with a text file of the same name: `.txt`, `.caption` or `.json`.

    Names are listed once and sorted. A text is read when its sample is. Links to files are followed, links to folders
    are not, so that there can be no loops. An image without a text is a bad sample.

    Raises:
        UserError: no images, or no texts.
    """

    def __init__(self, folder: Path, options: SourceOptions):
        images, texts, notes = listed(folder)
        asked = options.caption_column
        counts = {kind: len(names) for kind, names in texts.items()}
        self._text = asked if asked in TEXTS else "json" if asked else next((t for t in TEXTS if counts[t]), "")
        self._field = asked if asked not in TEXTS else ""
        if not images:
            raise UserError(f"data: {folder} is a folder without images ({', '.join(IMAGE_SUFFIXES)}) below it")
        if not counts.get(self._text):
            raise UserError(
                f"data: {folder} has {len(images):,} images but no texts; put NAME.txt beside NAME.jpg, or list the "
                f"images in {METADATA[0]} with the columns file_name,text"
            )
        pairs = CaptionsByPath()
        for name in images:
            pairs.add(name, ())
        alone = texts[self._text] - {os.path.splitext(name)[0] for name in images}
        if alone:
            notes.append(f"text without image: {len(alone):,}, for example {printable(min(alone))}.{self._text}")
        super().__init__(folder, pairs.table(), f"folder {folder.name}", options.allow_outside, tuple(notes))
        self.describe = f"folder {folder.name}: {len(images):,} images, {counts[self._text]:,} texts (.{self._text})"

    def __getitem__(self, index: int) -> Sample:
        sample = super().__getitem__(index)
        text = (self.root / sample.name).with_suffix(f".{self._text}")
        captions = captions_of(text, self._text, self._field) if text.exists() else ()
        return Sample(sample.id, sample.match_id, sample.image, captions, (), sample.name)


def listed(folder: Path) -> tuple[list[str], dict[str, set[str]], list[str]]:
    """Sorted names of images below a folder; names of texts by kind, without suffix; and notes on what was left out."""
    images: list[str] = []
    texts: dict[str, set[str]] = {kind: set() for kind in TEXTS}
    notes: list[str] = []

    def refused(error: OSError) -> None:
        notes.append(f"folder that cannot be read: {printable(str(error.filename))} ({error.strerror})")

    for name in walk(folder, refused):
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in IMAGE_SUFFIXES:
            images.append(name)
        elif suffix[1:] in texts:
            texts[suffix[1:]].add(stem)
    return sorted(images), texts, notes


def walk(folder: Path, refused) -> Iterator[str]:
    """Paths of files below a folder, relative to it and with `/`. Hidden files and folders are left out."""
    for place, folders, files in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        for name in files:
            if not name.startswith("."):
                yield name if inside == "." else f"{inside}/{name}".replace(os.sep, "/")


def open_image_folder(folder: Path, options: SourceOptions) -> FileSource:
    """An imagefolder with its metadata table, or a folder of images and texts."""
    table = metadata_of(folder)
    if table is not None:
        source = TableSource(table, options)
        source.describe = source.describe.replace(f"table {table.name}", f"imagefolder {folder.name}")
        return source
    return FolderSource(folder, options)
