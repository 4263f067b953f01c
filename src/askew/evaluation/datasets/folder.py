"""The folder of a data set: finding its files and checking what they hold. Every fault is reported in one line."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Labelled, MissingSet
from askew.evaluation.datasets.prompts import prompts


class ImageFiles:
    """Image files by their paths in a folder. `keys` are these paths, or names that do not depend on the layout.

    Attributes:
        absent: indices of images that are listed and not there.
    """

    keys: Sequence[str]

    def __init__(self, folder: Path, paths: Sequence[str], keys: Sequence[str] = (), absent: Sequence[int] = ()):
        self.folder = folder
        self.paths = tuple(paths)
        self.keys = tuple(keys) or self.paths
        self.absent = tuple(absent)

    def __len__(self) -> int:
        return len(self.keys)

    def read(self, index: int) -> bytes:
        """The file's bytes."""
        return (self.folder / self.paths[index]).read_bytes()

    def __getitem__(self, index: int) -> Image.Image:
        try:
            return decode(self.read(index))
        except OSError as error:
            raise OSError(f"{self.folder / self.paths[index]}: {error.strerror or error}") from error


@dataclass(frozen=True)
class DatasetFolder:
    """Where a data set lies. Readers find and check its files with these methods.

    Attributes:
        name: the data set's name in the catalogue.
        path: the folder that was found.
        layout: what the folder should hold; used in messages.
    """

    name: str
    path: Path
    layout: str

    def find(self, *choices: str) -> Path:
        """The first of these paths in the folder that exists.

        Raises:
            MissingSet: none of them exists.
        """
        for choice in choices:
            if (self.path / choice).exists():
                return self.path / choice
        raise self.missing(choices[0])

    def missing(self, what: str) -> MissingSet:
        """The error to raise for a missing part; it also says what the folder should hold."""
        where = printable(str(self.path), 400)
        return MissingSet(self.name, f"{self.name}: {where} has no {what}; it should hold {self.layout}")

    def wrong(self, what: str) -> UserError:
        """The error to raise for files that exist and cannot be right."""
        return UserError(f"{self.name}: {what}; {printable(str(self.path), 400)} should hold {self.layout}")

    def lines(self, *choices: str) -> list[str]:
        """The non-empty lines of a text file, stripped of surrounding white space.

        Raises:
            MissingSet: none of the choices exists.
            UserError: the file is empty or cannot be read as text.
        """
        path = self.find(*choices)
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8-sig").split("\n")]
        except (OSError, UnicodeDecodeError) as error:
            raise self.wrong(f"{path.name} is not a readable text file ({error})") from error
        if not any(lines):
            raise self.wrong(f"{path.name} is empty")
        return [line for line in lines if line]

    def inside(self, *choices: str) -> "DatasetFolder":
        """The same data set, with paths relative to the first of these subfolders that exists."""
        return DatasetFolder(self.name, self.find(*choices), self.layout)

    def files(self, paths: Sequence[str], listed_in: str, keys: Sequence[str] = ()) -> ImageFiles:
        """Images by their paths in the folder. Each parent folder is listed once, and no file is opened.

        Images that are listed and do not exist are the result's `absent`; a task that needs them is refused later.

        Args:
            listed_in: where the paths come from; used in messages.
            keys: names of the images, if not their paths.

        Raises:
            UserError: an image is listed twice, or none of them exists.
        """
        if len(set(paths)) < len(paths):
            seen: set[str] = set()
            twice = next(path for path in paths if path in seen or seen.add(path))
            raise self.wrong(f"{listed_in} lists {printable(twice)} twice")
        present: dict[str, set[str]] = {}
        absent = []
        for index, path in enumerate(paths):
            parent, _, name = path.rpartition("/")
            if parent not in present:
                folder = self.path / parent
                present[parent] = set(os.listdir(folder)) if folder.is_dir() else set()
            if name not in present[parent]:
                absent.append(index)
        if absent and len(absent) == len(paths):
            raise self.wrong(
                f"none of the {len(paths):,} images of {listed_in} is in {printable(str(self.path), 400)}, the first "
                f"is {printable(paths[0])}: unpack the images again"
            )
        return ImageFiles(self.path, paths, keys, absent)

    def labels(self, found: Sequence[str], listed_in: str, class_keys: Sequence[str] = ()) -> np.ndarray:
        """The label of each image (n,) int64, from what the data set itself calls the image's class.

        Args:
            found: the class of each image, in the data set's own words.
            listed_in: where the classes come from; used in messages.
            class_keys: what the data set calls its classes, in the order of the labels. By default those stored for a
                data set of this name (prompts.py); a data set from outside askew passes its own.

        Raises:
            UserError: a class that the data set does not have, or a class without an image.
        """
        index = {key: label for label, key in enumerate(class_keys or prompts(self.name).keys)}
        unknown = sorted(set(found) - index.keys())
        if unknown:
            names = ", ".join(printable(name, 40) for name in unknown[:3])
            raise self.wrong(f"{listed_in} has {len(unknown)} class(es) that are not among its {len(index)}: {names}")
        empty = [key for key in index if key not in set(found)] if len(set(found)) < len(index) else []
        if empty:
            names = ", ".join(empty[:3]) + (", ..." if len(empty) > 3 else "")
            raise self.wrong(f"{listed_in} has no image of {len(empty)} of the {len(index)} classes: {names}")
        return np.array([index[key] for key in found], dtype=np.int64)

    def split(
        self,
        paths: Sequence[str],
        classes: Sequence[str],
        listed_in: str,
        keys: Sequence[str] = (),
        class_keys: Sequence[str] = (),
    ) -> Labelled:
        """The images and labels of one split, checked as by `files` and `labels`."""
        labels = self.labels(classes, listed_in, class_keys)
        return Labelled(self.files(paths, listed_in, keys), labels)

    def check_disjoint(self, *splits: tuple[str, Labelled]) -> None:
        """Check that no image is in two splits.

        Raises:
            UserError: one is; a probe would be tested on an image that it was trained on.
        """
        owner: dict[str, str] = {}
        for split, labelled in splits:
            for key in labelled.images.keys:
                if owner.setdefault(key, split) != split:
                    raise self.wrong(f"{printable(key)} is in both {owner[key]} and {split}")
