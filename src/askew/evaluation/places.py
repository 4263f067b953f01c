"""Where a data set lies, and how its files are found: whatever is missing or wrong there is said in one line."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.errors import UserError, printable
from askew.evaluation.prompts import prompts
from askew.evaluation.sets import Images, Labelled, MissingSet


class Files:
    """Image files by their paths in a folder; `keys` are these paths, or names that do not depend on the layout."""

    keys: Sequence[str]

    def __init__(self, folder: Path, paths: Sequence[str], keys: Sequence[str] = ()):
        self.folder = folder
        self.paths = tuple(paths)
        self.keys = tuple(keys) or self.paths

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The bytes of the file."""
        return (self.folder / self.paths[index]).read_bytes()

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return decode(self.read(index))
        except OSError as error:
            raise OSError(f"{self.folder / self.paths[index]}: {error.strerror or error}") from error


@dataclass(frozen=True)
class Place:
    """The folder of a data set.

    Attributes:
        name: the data set, as in the catalogue.
        folder: where it was found.
        layout: what belongs into the folder, for messages.
    """

    name: str
    folder: Path
    layout: str

    def find(self, *choices: str) -> Path:
        """The first of these paths in the folder that exists.

        Raises:
            MissingSet: none does.
        """
        for choice in choices:
            if (self.folder / choice).exists():
                return self.folder / choice
        raise self.missing(choices[0])

    def missing(self, what: str) -> MissingSet:
        """The error that says what is missing and what the folder should hold."""
        where = printable(str(self.folder), 400)
        return MissingSet(
            self.name, f"{self.name}: {where} has no {what}; it should hold {self.layout} (see docs/datasets.md)"
        )

    def wrong(self, what: str) -> UserError:
        """The error for files that are there and cannot be right."""
        return UserError(f"{self.name}: {what} (see docs/datasets.md for the layout)")

    def lines(self, *choices: str) -> list[str]:
        """The lines of a text file that are not empty, without the white space around them."""
        path = self.find(*choices)
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong(f"{path.name} is not a readable text file ({error})") from error
        if not any(lines):
            raise self.wrong(f"{path.name} is empty")
        return [line for line in lines if line]

    def inside(self, *choices: str) -> "Place":
        """The same set, seen from the first of these folders that exists."""
        return Place(self.name, self.find(*choices), self.layout)

    def files(self, paths: Sequence[str], listed_in: str, keys: Sequence[str] = ()) -> Files:
        """Images by their paths in the folder; each parent folder is listed once, no file is opened.

        Raises:
            UserError: an image that is listed and not there, or listed twice.
        """
        if len(set(paths)) < len(paths):
            seen: set[str] = set()
            twice = next(path for path in paths if path in seen or seen.add(path))
            raise self.wrong(f"{listed_in} lists {printable(twice)} twice")
        present: dict[str, set[str]] = {}
        absent = []
        for path in paths:
            parent, _, name = path.rpartition("/")
            if parent not in present:
                folder = self.folder / parent
                present[parent] = set(os.listdir(folder)) if folder.is_dir() else set()
            if name not in present[parent]:
                absent.append(path)
        if absent:
            raise self.wrong(
                f"{len(absent):,} of the {len(paths):,} images of {listed_in} are not in "
                f"{printable(str(self.folder), 400)}, the first is {printable(absent[0])}; unpack the images again"
            )
        return Files(self.folder, paths, keys)

    def labels(self, found: Sequence[str], split: str) -> np.ndarray:
        """Each image's label (n,) int64, from what the set calls its class; `split` is for messages.

        Raises:
            UserError: a class that the set does not have, or one without an image.
        """
        index = {key: label for label, key in enumerate(prompts(self.name).keys)}
        unknown = sorted(set(found) - index.keys())
        if unknown:
            names = ", ".join(printable(name, 40) for name in unknown[:3])
            raise self.wrong(f"{split} has {len(unknown)} class(es) that are none of its {len(index)}: {names}")
        empty = [key for key in index if key not in set(found)] if len(set(found)) < len(index) else []
        if empty:
            names = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
            raise self.wrong(f"{split} has no image of {len(empty)} of the {len(index)} classes: {names}")
        return np.array([index[key] for key in found], dtype=np.int64)

    def split(self, paths: Sequence[str], classes: Sequence[str], listed_in: str, keys: Sequence[str] = ()) -> Labelled:
        """Images and labels of one split, checked as `files` and `labels` do."""
        labels = self.labels(classes, listed_in)
        return Labelled(self.files(paths, listed_in, keys), labels)

    def apart(self, *splits: tuple[str, Labelled]) -> None:
        """Check that no image stands in two splits.

        Raises:
            UserError: one does; a probe would be tested on what it was trained on.
        """
        owner: dict[str, str] = {}
        for split, labelled in splits:
            images: Images = labelled.images
            for key in images.keys:
                if owner.setdefault(key, split) != split:
                    raise self.wrong(f"{printable(key)} stands in both {owner[key]} and {split}")
