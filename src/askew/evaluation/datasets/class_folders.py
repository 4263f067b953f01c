"""Data sets with one folder per class: Caltech-101 and ImageNet."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.io import loadmat

from askew.data.sources.base import IMAGE_SUFFIXES
from askew.data.sources.listing import Listing, visible
from askew.errors import printable
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.folder import DatasetFolder
from askew.evaluation.datasets.prompts import prompts

TRAIN_PER_CLASS = 30


@dataclass
class _Files:
    """Lists folders of a data set: images only, in order, and counts what is left out."""

    folder: DatasetFolder
    suffixes: tuple[str, ...] = IMAGE_SUFFIXES
    listing: Listing = field(default_factory=Listing)
    others: list[str] = field(default_factory=list)  # files that are no images
    _listed: set[str] = field(default_factory=set)

    def folders(self, inside: str) -> list[str]:
        """Sorted names of the folders in a folder."""
        return [entry.name for entry in self._entries(inside) if entry.is_dir()]

    def images(self, inside: str) -> list[str]:
        """Sorted names of the image files in a folder."""
        found = []
        for entry in self._entries(inside):
            if os.path.splitext(entry.name)[1].lower() not in self.suffixes:
                self.others += [] if entry.is_dir() else [f"{inside}/{entry.name}"]
            elif not entry.is_dir():
                found.append(entry.name)
        return found

    def in_classes(self, inside: str, classes: Sequence[str]) -> list[tuple[str, str]]:
        """(path, class) of each image in folders named by class."""
        return [(f"{inside}/{name}/{file}", name) for name in classes for file in self.images(f"{inside}/{name}")]

    def notes(self) -> tuple[str, ...]:
        """What was left out."""
        found = [self.listing.note] if self.listing.note else []
        if self.others:
            found.append(f"files without the suffix of an image left out: {len(self.others):,}, for example "
                         f"{printable(self.others[0])}")  # fmt: skip
        return tuple(found)

    def _entries(self, inside: str) -> list[os.DirEntry]:
        listing = Listing() if inside in self._listed else self.listing  # listed twice, counted once
        self._listed.add(inside)
        try:
            return visible(self.folder.path / inside, listing)
        except OSError as error:
            raise self.folder.wrong(f"{printable(inside)} cannot be read ({error.strerror})") from error


def caltech101(folder: DatasetFolder) -> Classification:
    """Caltech-101: 102 folders, background included; 30 random images of each are for training, the rest for testing.

    No official split exists. VISSL, which SLIP's scripts use, goes from folder to folder and draws `choice(n, 30,
    replace=False)` of the sorted file names from NumPy's legacy generator with seed 0. It takes the folders in the
    order in which the disk lists them; here they are sorted (as bytes: BACKGROUND_Google first), so that the split is
    the same on every machine. As in VISSL, files without an extension count: the archive's BACKGROUND_Google/tmp is an
    image. Hidden files and those with the suffix of something else do not, because they would change the draw.
    """
    known = prompts(folder.name)
    listed = _Files(folder, (*IMAGE_SUFFIXES, ""))
    classes = listed.folders("")
    folder.labels(classes, "101_ObjectCategories")
    generator = np.random.RandomState(0)
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for name in classes:
        files = listed.images(name)
        if len(files) <= TRAIN_PER_CLASS:
            raise folder.wrong(
                f"{name} has {len(files)} images; {TRAIN_PER_CLASS} are for training, which leaves none for testing"
            )
        train = set(generator.choice(len(files), size=TRAIN_PER_CLASS, replace=False).tolist())
        for index, file in enumerate(files):
            found["train" if index in train else "test"].append((f"{name}/{file}", name))
    splits = {split: _labelled(folder, rows, split) for split, rows in found.items()}
    return Classification(
        folder.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 3060), ("test", 6085)),
        notes=(
            "102 classes, background included; 30 images per class for training, drawn with seed 0", *listed.notes(),
        ),
    )  # fmt: skip


def imagenet(folder: DatasetFolder) -> Classification:
    """ImageNet-1k: the official validation images are the test split; train/ is for the probe and may be missing.

    val/ holds one folder per WordNet id, or all 50,000 images side by side, as the archive unpacks. In the second case
    their classes come from the devkit (the ground truth and meta.mat in ILSVRC2012_devkit_t12/data, which number the
    classes in another order than that of the sorted ids) or from Kaggle's LOC_val_solution.csv.
    """
    known = prompts(folder.name)
    folder.find("val")
    listed = _Files(folder)
    ids = listed.folders("val")
    rows = listed.in_classes("val", ids) if ids else _side_by_side(folder, listed.images("val"))
    rows.sort(key=lambda row: row[0].rpartition("/")[2])  # the same order and names in every layout
    names = [path.rpartition("/")[2] for path, _ in rows]
    train = None
    if (folder.path / "train").is_dir():
        train = _labelled(folder, listed.in_classes("train", listed.folders("train")), "train")
    return Classification(
        folder.name, "top1", known.classes, known.templates, _labelled(folder, rows, "val", names), train,
        expected=(*((("train", 1281167),) if train else ()), ("test", 50000)),
        notes=(
            "test is the official validation split", *(() if train else ("no train/ folder: no linear probe",)),
            *listed.notes(),
        ),
    )  # fmt: skip


def _side_by_side(folder: DatasetFolder, files: list[str]) -> list[tuple[str, str]]:
    """(path, WordNet id) of each image in val/, in the order of their names."""
    if (folder.path / "LOC_val_solution.csv").exists():
        lines = folder.lines("LOC_val_solution.csv")[1:]  # ImageId,PredictionString
        ids = {image: boxes.split(" ")[0] for image, _, boxes in (line.partition(",") for line in lines)}
        absent = [file for file in files if file.partition(".")[0] not in ids]
        if absent or len(ids) != len(files):
            raise folder.wrong(
                f"LOC_val_solution.csv has {len(ids):,} images, val/ {len(files):,}"
                + (f"; it lacks {absent[0]}" if absent else "")
            )
        return [(f"val/{file}", ids[file.partition(".")[0]]) for file in files]
    devkit = "ILSVRC2012_devkit_t12/data"
    lines = folder.lines(f"{devkit}/ILSVRC2012_validation_ground_truth.txt")
    if len(lines) != len(files):
        raise folder.wrong(f"val/ holds {len(files):,} images, the devkit's ground truth {len(lines):,} lines")
    meta = folder.find(f"{devkit}/meta.mat")
    try:
        synsets = loadmat(str(meta), squeeze_me=True)["synsets"]
        ids = {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in synsets}
        return [(f"val/{file}", ids[line]) for file, line in zip(files, lines, strict=True)]
    except Exception as error:  # scipy raises many kinds of errors for files that are not .mat files
        reason = f"no class {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise folder.wrong(f"the devkit's meta.mat does not explain its ground truth ({reason})") from error


def _labelled(folder: DatasetFolder, rows: Sequence[tuple[str, str]], split: str, keys: Sequence[str] = ()) -> Labelled:
    return folder.split([path for path, _ in rows], [name for _, name in rows], split, keys)
