"""Folders of image files: with a metadata table (Hugging Face's imagefolder), or with a text beside each image."""

import os
from collections.abc import Iterator
from pathlib import Path

from askew.data.sources.base import IMAGE_SUFFIXES, TEXT_SUFFIXES, Options, Sample
from askew.data.sources.files import FileSource, Pairs
from askew.data.sources.tables import TableSource
from askew.data.sources.texts import captions_of
from askew.errors import UserError, printable

METADATA = ("metadata.csv", "metadata.jsonl")
TEXTS = tuple(suffix[1:] for suffix in TEXT_SUFFIXES)


def metadata_of(folder: Path) -> Path | None:
    """The table of an imagefolder, if it is one."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


class FolderSource(FileSource):
    """Images anywhere below a folder, each with a text of the same name beside it: `.txt`, `.caption` or `.json`.

    Names are listed once, in their order; texts are read when a sample is. Links to folders are not followed, so that
    loops are no danger; links to files are. An image without a text is a sample that cannot be used.

    Raises:
        UserError: no images, or none with a text.
    """

    def __init__(self, folder: Path, options: Options):
        images, texts, notes = listed(folder)
        asked = options.caption_column
        counts = {kind: len(names) for kind, names in texts.items()}
        self._text = asked if asked in TEXTS else "json" if asked else next((t for t in TEXTS if counts[t]), "")
        self._field = asked if asked not in TEXTS else ""
        if not images:
            raise UserError(f"data: {folder} is a folder without images ({', '.join(IMAGE_SUFFIXES)}) below it")
        if not counts.get(self._text):
            raise UserError(
                f"data: {folder} has {len(images):,} images, no texts; put NAME.txt beside NAME.jpg, or list them in "
                f"{METADATA[0]} with the columns file_name,text"
            )
        pairs = Pairs()
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
        return Sample(sample.id, sample.group, sample.image, captions, (), sample.name)


def listed(folder: Path) -> tuple[list[str], dict[str, set[str]], list[str]]:
    """Images below a folder in the order of their names; names of texts by kind, without suffix; what was left out."""
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
    """Paths of files below a folder, relative to it with `/`; hidden ones are left out."""
    for place, folders, files in os.walk(folder, onerror=refused):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = os.path.relpath(place, folder)
        for name in files:
            if not name.startswith("."):
                yield name if inside == "." else f"{inside}/{name}".replace(os.sep, "/")


def open_image_folder(folder: Path, options: Options) -> FileSource:
    """An imagefolder with its table, or a folder of images and texts."""
    table = metadata_of(folder)
    if table is not None:
        source = TableSource(table, options)
        source.describe = source.describe.replace(f"table {table.name}", f"imagefolder {folder.name}")
        return source
    return FolderSource(folder, options)
