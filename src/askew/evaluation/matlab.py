"""Sets whose splits are MATLAB files: Flowers-102 and Stanford Cars. Both number their classes from 1."""

from typing import Any

import numpy as np
from scipy.io import loadmat

from askew.evaluation.places import Place
from askew.evaluation.prompts import prompts
from askew.evaluation.sets import Classification, Labelled


def flowers102(place: Place) -> Classification:
    """Flowers-102: imagelabels.mat has the class of every image, setid.mat the numbers of each split's images.

    The official test split is `tstid` with 6,149 images. The pages of names number the classes as the labels do.
    `class_orders` has "lexicographic", the order behind published numbers of 6 to 8 %: folders named by the class's
    number and sorted as strings ("1", "10", "100", ...), paired with the names in the order of the numbers. Only eleven
    classes keep their name by it.
    """
    numbers = np.ravel(_variable(place, "imagelabels.mat", "labels")).astype(int)
    setid = {split: np.ravel(_variable(place, "setid.mat", key)).astype(int)
             for split, key in (("train", "trnid"), ("validation", "valid"), ("test", "tstid"))}  # fmt: skip
    splits: dict[str, Labelled] = {}
    for split, images in setid.items():
        if images.min() < 1 or images.max() > len(numbers):
            raise place.wrong(f"setid.mat names image {images.max()}, imagelabels.mat has {len(numbers):,} labels")
        keys = [f"jpg/image_{image:05d}.jpg" for image in images]
        splits[split] = place.split(keys, [str(numbers[image - 1]) for image in images], f"setid.mat ({split})")
    place.apart(*splits.items())
    known = prompts(place.name)
    position = {key: index for index, key in enumerate(sorted(known.keys))}
    return Classification(
        place.name, "mean_per_class", known.classes, known.templates,
        splits["test"], splits["train"], splits["validation"],
        class_orders=(("lexicographic", tuple(position[key] for key in known.keys)),),
        expected=(("train", 1020), ("validation", 1020), ("test", 6149)),
        notes=("names in the order of the labels; the published 6-8 % are an artefact of the lexicographic order",),
    )  # fmt: skip


def cars(place: Place) -> Classification:
    """Stanford Cars: cars_train_annos.mat and cars_test_annos_withlabels.mat have each image's file and class.

    The test labels are in a file of their own, which some mirrors put into devkit/ and some lack. cars_meta.mat has to
    name the same 196 classes in the same order as the prompts. Kaggle's mirrors repeat a folder: cars_train/cars_train.
    """
    known = prompts(place.name)
    names = [str(name) for name in _variable(place, "devkit/cars_meta.mat", "class_names").tolist()]
    wrong = [f"{number + 1} is {a!r}, not {b!r}" for number, (a, b) in enumerate(zip(names, known.keys, strict=False))
             if _letters(a) != _letters(b)]  # fmt: skip
    if wrong or len(names) != len(known.keys):
        raise place.wrong(
            f"cars_meta.mat has {len(names)} classes for {len(known.keys)}"
            + (f", and {len(wrong)} of them are others: {wrong[0]}" if wrong else "")
        )
    files = {
        "train": ("devkit/cars_train_annos.mat",),
        "test": ("cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
    }
    splits = {}
    for split, choices in files.items():
        path = place.find(*choices).relative_to(place.folder).as_posix()
        rows = np.atleast_1d(_variable(place, path, "annotations"))
        if "class" not in (rows.dtype.names or ()):
            raise place.wrong(f"{path} has no classes; take cars_test_annos_withlabels.mat")
        keys = [str(row["fname"]) for row in rows]
        labels = [int(row["class"]) for row in rows]
        if min(labels) < 1 or max(labels) > len(known.keys):
            raise place.wrong(f"{path} has the class {max(labels)}; classes are 1 to {len(known.keys)}")
        images = place.inside(f"cars_{split}/cars_{split}", f"cars_{split}")
        splits[split] = images.split(keys, [known.keys[label - 1] for label in labels], path)
    return Classification(
        place.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 8144), ("test", 8041)),
    )  # fmt: skip


def _letters(name: str) -> str:
    """Letters and digits alone: mirrors write "Ram C-V Cargo Van" for "Ram C/V Cargo Van"."""
    return "".join(c for c in name.lower() if c.isalnum())


def _variable(place: Place, path: str, name: str) -> Any:
    """A variable of a .mat file, squeezed."""
    found = place.find(path)
    try:
        return loadmat(str(found), squeeze_me=True)[name]
    except Exception as error:  # scipy raises many kinds for files that are no .mat files
        reason = f"it has no variable {name}" if isinstance(error, KeyError) else str(error) or type(error).__name__
        raise place.wrong(f"{path} is not the .mat file of the set ({reason})") from error
