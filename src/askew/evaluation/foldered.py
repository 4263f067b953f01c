"""Sets whose classes are folders: Caltech-101 and ImageNet."""

import os
from collections.abc import Sequence

import numpy as np
from scipy.io import loadmat

from askew.evaluation.places import Place
from askew.evaluation.prompts import prompts
from askew.evaluation.sets import Classification, Labelled

TRAIN_PER_CLASS = 30


def caltech101(place: Place) -> Classification:
    """Caltech-101: 102 folders with the background; 30 random images of each for training, the rest is the test.

    Nobody published a split. VISSL, which SLIP's scripts use, draws `choice(n, 30, replace=False)` from NumPy's legacy
    generator with seed 0, folder after folder, of the sorted file names, but takes the folders as the disk lists them.
    Here they are sorted (as bytes: BACKGROUND_Google first), so that the split is the same on every machine. Files
    without an extension count, as they do there: the archive's BACKGROUND_Google/tmp is an image.
    """
    known = prompts(place.name)
    classes = _folders(place, "")
    place.labels(classes, "101_ObjectCategories")
    generator = np.random.RandomState(0)
    found: dict[str, list[tuple[str, str]]] = {"train": [], "test": []}
    for folder in classes:
        files = _files(place, folder)
        if len(files) <= TRAIN_PER_CLASS:
            raise place.wrong(
                f"{folder} has {len(files)} images; {TRAIN_PER_CLASS} are for training, none is left to test"
            )
        train = set(generator.choice(len(files), size=TRAIN_PER_CLASS, replace=False).tolist())
        for index, file in enumerate(files):
            found["train" if index in train else "test"].append((f"{folder}/{file}", folder))
    splits = {split: _labelled(place, rows, split) for split, rows in found.items()}
    return Classification(
        place.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 3060), ("test", 6085)),
        notes=("102 classes with the background; 30 images a class for training, drawn with seed 0",),
    )  # fmt: skip


def imagenet(place: Place) -> Classification:
    """ImageNet-1k: the validation images are the test; train/ is for the probe and may be left out.

    val/ holds a folder for each WordNet id, or the 50,000 images side by side, as the archive unpacks: then their
    classes come from the devkit (ILSVRC2012_devkit_t12/data: the ground truth and meta.mat, whose numbers are not those
    of the sorted ids) or from Kaggle's LOC_val_solution.csv.
    """
    known = prompts(place.name)
    place.find("val")
    foldered = _folders(place, "val")
    rows = _foldered(place, "val", foldered) if foldered else _side_by_side(place)
    rows.sort(key=lambda row: row[0].rpartition("/")[2])  # the same order and names in every layout
    names = [path.rpartition("/")[2] for path, _ in rows]
    train = None
    if (place.folder / "train").is_dir():
        train = _labelled(place, _foldered(place, "train", _folders(place, "train")), "train")
    return Classification(
        place.name, "top1", known.classes, known.templates, _labelled(place, rows, "val", names), train,
        expected=(*((("train", 1281167),) if train else ()), ("test", 50000)),
        notes=("the test is the official validation set", *(() if train else ("no train/ folder: no linear probe",))),
    )  # fmt: skip


def _side_by_side(place: Place) -> list[tuple[str, str]]:
    """(path, WordNet id) of the images in val/, in the order of their names."""
    files = _files(place, "val")
    if (place.folder / "LOC_val_solution.csv").exists():
        lines = place.lines("LOC_val_solution.csv")[1:]  # ImageId,PredictionString
        ids = {image: boxes.split(" ")[0] for image, _, boxes in (line.partition(",") for line in lines)}
        absent = [file for file in files if file.partition(".")[0] not in ids]
        if absent or len(ids) != len(files):
            raise place.wrong(
                f"LOC_val_solution.csv has {len(ids):,} images, val/ {len(files):,}"
                + (f"; it lacks {absent[0]}" if absent else "")
            )
        return [(f"val/{file}", ids[file.partition(".")[0]]) for file in files]
    devkit = "ILSVRC2012_devkit_t12/data"
    lines = place.lines(f"{devkit}/ILSVRC2012_validation_ground_truth.txt")
    if len(lines) != len(files):
        raise place.wrong(f"val/ holds {len(files):,} images, the devkit's ground truth {len(lines):,} lines")
    meta = place.find(f"{devkit}/meta.mat")
    try:
        synsets = loadmat(str(meta), squeeze_me=True)["synsets"]
        ids = {str(int(row["ILSVRC2012_ID"])): str(row["WNID"]) for row in synsets}
        return [(f"val/{file}", ids[line]) for file, line in zip(files, lines, strict=True)]
    except Exception as error:  # scipy raises many kinds for files that are no .mat files
        reason = f"no class {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise place.wrong(f"the devkit's meta.mat does not explain its ground truth ({reason})") from error


def _folders(place: Place, inside: str) -> list[str]:
    """Sorted names of the folders in a folder, hidden ones left out."""
    with os.scandir(place.folder / inside) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _files(place: Place, inside: str) -> list[str]:
    """Sorted names of the files in a folder, hidden ones left out."""
    with os.scandir(place.folder / inside) as entries:
        return sorted(entry.name for entry in entries if not entry.is_dir() and not entry.name.startswith("."))


def _foldered(place: Place, inside: str, folders: Sequence[str]) -> list[tuple[str, str]]:
    return [(f"{inside}/{folder}/{file}", folder) for folder in folders for file in _files(place, f"{inside}/{folder}")]


def _labelled(place: Place, rows: Sequence[tuple[str, str]], split: str, keys: Sequence[str] = ()) -> Labelled:
    return place.split([path for path, _ in rows], [folder for _, folder in rows], split, keys)
