"""Data sets whose splits are MATLAB files: Flowers-102 and Stanford Cars. Both number their classes from 1."""

from typing import Any

import numpy as np
from scipy.io import loadmat

from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.datasets.folder import DatasetFolder
from askew.evaluation.datasets.prompts import prompts


def flowers102(folder: DatasetFolder) -> Classification:
    """Flowers-102: imagelabels.mat has the class of every image, setid.mat the numbers of the images in each split.

    The official test split is `tstid`, with 6,149 images. The published list of names numbers the classes as the labels
    do. `class_orders` has "lexicographic", the order behind published accuracies of 6 to 8 %: class folders named by
    number and sorted as strings ("1", "10", "100", ...), paired with names in the order of the numbers. Only eleven
    classes get their own name that way.
    """
    numbers = np.ravel(_variable(folder, "imagelabels.mat", "labels")).astype(int)
    setid = {split: np.ravel(_variable(folder, "setid.mat", key)).astype(int)
             for split, key in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))}  # fmt: skip
    splits: dict[str, Labelled] = {}
    for split, images in setid.items():
        if images.min() < 1 or images.max() > len(numbers):
            raise folder.wrong(f"setid.mat names image {images.max()}, imagelabels.mat has {len(numbers):,} labels")
        keys = [f"jpg/image_{image:05d}.jpg" for image in images]
        splits[split] = folder.split(keys, [str(numbers[image - 1]) for image in images], f"setid.mat ({split})")
    folder.check_disjoint(*splits.items())
    known = prompts(folder.name)
    position = {key: index for index, key in enumerate(sorted(known.keys))}
    return Classification(
        folder.name, "mean_per_class", known.classes, known.templates,
        splits["test"], splits["train"], splits["validation"],
        class_orders=(("lexicographic", tuple(position[key] for key in known.keys)),),
        expected=(("train", 1020), ("validation", 1020), ("test", 6149)),
        notes=("names in the order of the labels; the published 6-8 % are an artefact of the lexicographic order",),
    )  # fmt: skip


def cars(folder: DatasetFolder) -> Classification:
    """Stanford Cars: cars_train_annos.mat and cars_test_annos_withlabels.mat have the file and class of each image.

    The test labels are a separate file, which some mirrors put into devkit/ and some lack. cars_meta.mat must name the
    same 196 classes as the prompts, in the same order. Kaggle's mirrors repeat a folder: cars_train/cars_train.
    """
    known = prompts(folder.name)
    names = [str(name) for name in _variable(folder, "devkit/cars_meta.mat", "class_names").tolist()]
    wrong = [f"{number + 1} is {a!r}, not {b!r}" for number, (a, b) in enumerate(zip(names, known.keys, strict=False))
             if _letters(a) != _letters(b)]  # fmt: skip
    if wrong or len(names) != len(known.keys):
        raise folder.wrong(
            f"cars_meta.mat has {len(names)} classes for {len(known.keys)}"
            + (f", and {len(wrong)} of them differ: {wrong[0]}" if wrong else "")
        )
    files = {
        "train": ("devkit/cars_train_annos.mat",),
        "test": ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
    }
    splits = {}
    for split, choices in files.items():
        path = folder.find(*choices).relative_to(folder.path).as_posix()
        rows = np.atleast_1d(_variable(folder, path, "annotations"))
        if "class" not in (rows.dtype.names or ()):
            raise folder.wrong(f"{path} has no classes; take cars_test_annos_withlabels.mat")
        keys = [str(row["fname"]) for row in rows]
        labels = [int(row["class"]) for row in rows]
        if min(labels) < 1 or max(labels) > len(known.keys):
            raise folder.wrong(f"{path} has the class {max(labels)}; classes are 1 to {len(known.keys)}")
        images = folder.inside(f"cars_{split}/cars_{split}", f"cars_{split}")
        splits[split] = images.split(keys, [known.keys[label - 1] for label in labels], path)
    return Classification(
        folder.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 8144), ("test", 8041)),
    )  # fmt: skip


def _letters(name: str) -> str:
    """Only the letters and digits: mirrors write "Ram C-V Cargo Van" for "Ram C/V Cargo Van"."""
    return "".join(c for c in name.lower() if c.isalnum())


def _variable(folder: DatasetFolder, path: str, name: str) -> Any:
    """A variable of a .mat file, without dimensions of size 1."""
    found = folder.find(path)
    try:
        return loadmat(str(found), squeeze_me=True)[name]
    except Exception as error:  # scipy raises many kinds of errors for files that are not .mat files
        reason = f"it has no variable {name}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise folder.wrong(f"{path} is not the data set's .mat file ({reason})") from error
