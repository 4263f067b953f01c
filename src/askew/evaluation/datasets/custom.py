"""A user's own data as a data set: a folder of class folders, or any source of images and captions."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.loader import cause_of
from askew.data.sources import Source, SourceOptions, folder_reading, open_source
from askew.data.sources.base import bytes_id
from askew.data.sources.folders import METADATA
from askew.data.sources.splits import UnclearFolders
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, Classification
from askew.evaluation.datasets.classes import class_layout, open_class_folders, refuse_for_captions

EVALUATED = "test,validation,train"  # the split that is evaluated: the first of these that the data have
MANY = 20  # captions of one image, from which on it looks like a host's "image not available"
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
    folder, options = Path(os.path.expanduser(text)), options or SourceOptions(split=EVALUATED)
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
    except UnclearFolders:  # what is unclear about class folders says more
        return True
    except UserError:
        if layout.problem:
            raise
        return True
    if not pairs.what:
        return True
    if layout.problem or pairs.what in METADATA or pairs.texts >= MOSTLY:
        return False
    classes = ", ".join(printable(name, 40) for name in layout.classes[:3])
    raise UserError(
        f"{printable(str(folder), 400)} can be read in two ways: as images with captions ({printable(pairs.what)}), or "
        f"as {len(layout.classes)} class folders ({classes}{', ...' if len(layout.classes) > 3 else ''}); choose with "
        "--set data.layout=pairs or --set data.layout=classes"
    )


def captioned(text: str, options: SourceOptions) -> Captioned:
    """A source as a set for retrieval. Samples with equal image bytes are captions of one image.

    Raises:
        UserError: images that cannot be read, or have no caption.
    """
    source = open_source(text, options)
    images_of, rows, names = dict[int, int](), list[int](), list[str]()
    captions: list[str] = []
    image_of: list[int] = []
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
        image = images_of.setdefault(bytes_id(sample.image), len(rows))
        if image == len(rows):
            rows.append(index)
            names.append(sample.name or str(index))
        captions += sample.captions
        image_of += [image] * len(sample.captions)
    for found, what in ((unreadable, "images cannot be read"), (bare, "images have no caption (no caption)")):
        if found:
            raise UserError(
                f"{printable(text)}: {len(found):,} of {len(source):,} {what}: {printable(found[0], 300)}"
                f"{', ...' if len(found) > 1 else ''}; fix or remove their rows"
            )
    notes = list(source.notes)
    if len(rows) < len(source):
        most = max(np.bincount(image_of))
        notes.append(
            f"{len(source):,} rows of {len(rows):,} images: rows with equal image bytes are captions of one image"
            + (f"; one image has {most:,} captions: is it a placeholder?" if most > MANY else "")
        )
    name = Path(os.path.expanduser(text)).stem or "data"
    return Captioned(
        name, SourceImages(source, rows, names), tuple(captions), np.array(image_of, dtype=int), notes=tuple(notes)
    )
