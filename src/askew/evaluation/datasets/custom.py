"""A user's own data as a data set: a folder of class folders, or any source of images and captions."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Source, open_source
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, Classification
from askew.evaluation.datasets.classes import open_class_folders, refuse_for_captions


class SourceImages:
    """The images of a training source, named as the source names them."""

    def __init__(self, source: Source, names: Sequence[str]):
        self.source, self.keys = source, names

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The encoded bytes."""
        return self.source[index].image

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return decode(self.read(index))
        except OSError as error:
            raise OSError(f"{self.keys[index]}: {error.strerror or error}") from error


def open_custom(text: str, prompts: str = "", class_names: str = "") -> Classification | Captioned:
    """Open a folder of class folders, maybe within test/, train/ and validation/, or a source of images and captions.

    Args:
        text: the folder, or anything that `askew train --data` takes.
        prompts: a template with `{}`, or a file with one template per line; "" is "a photo of a {}".
        class_names: a file of names of the classes; "" takes the names of the folders.

    Raises:
        UserError: the layout is neither, or has two readings; prompts or names are malformed, or given for captions.
    """
    folder = Path(text).expanduser()
    if (
        folder.is_dir()
        and not any(folder.glob("*.parquet"))
        and any(p.is_dir() and not p.name.startswith(".") for p in folder.iterdir())
    ):
        return open_class_folders(folder, prompts, class_names)
    refuse_for_captions(text, prompts, class_names)
    return _captioned(text)


def _captioned(text: str) -> Captioned:
    source = open_source(text)
    names: list[str] = []
    captions: list[str] = []
    image_of: list[int] = []
    unreadable: list[str] = []
    bare: list[str] = []
    for index in range(len(source)):
        try:
            sample = source[index]
        except OSError as error:
            unreadable.append(f"{error.strerror or error}" + (f" ({error.filename})" if error.filename else ""))
            continue
        if not sample.captions:
            bare.append(sample.name)
        names.append(sample.name or str(index))
        captions += sample.captions
        image_of += [index] * len(sample.captions)
    for found, what in ((unreadable, "images cannot be read"), (bare, "images have no caption")):
        if found:
            raise UserError(
                f"{printable(text)}: {len(found):,} of {len(source):,} {what}: {printable(found[0])}"
                f"{', ...' if len(found) > 1 else ''}; fix or remove their rows"
            )
    name = Path(text).expanduser().stem or "data"
    return Captioned(name, SourceImages(source, names), tuple(captions), np.array(image_of, dtype=int))
