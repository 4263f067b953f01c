"""Data sets whose splits are text files: Pets, Food-101, DTD, Aircraft and SUN397.

A label comes from the class's name in the split file, never from a position, an id or the order of folders. Pets shows
why: its numbers sort the breeds without regard to case, the list of names is sorted with regard to it, and pairing the
two by position would be wrong.
"""

from askew.evaluation.datasets.base import Classification
from askew.evaluation.datasets.folder import DatasetFolder
from askew.evaluation.datasets.prompts import prompts


def pets(folder: DatasetFolder) -> Classification:
    """Oxford-IIIT Pets: a line of annotations/trainval.txt or test.txt is an image and its class, species and breed.

    These three are numbers. The breed's name is the image's name without its number. A breed with two class numbers is
    an error.
    """
    splits, numbers = {}, {}
    for split in ("trainval", "test"):
        keys, classes = [], []
        for line in folder.lines(f"annotations/{split}.txt"):
            image, number, *_ = [*line.split(), ""]
            breed = image.rpartition("_")[0]
            if numbers.setdefault(breed, number) != number or not number.isdigit():
                raise folder.wrong(f"annotations/{split}.txt: the line {line!r} does not fit the others")
            keys.append(f"images/{image}.jpg")
            classes.append(breed)
        splits[split] = folder.split(keys, classes, f"annotations/{split}.txt")
    folder.check_disjoint(*splits.items())
    known = prompts(folder.name)
    return Classification(
        folder.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["trainval"],
        expected=(("train", 3680), ("test", 3669)), notes=("train is the official trainval",),
    )  # fmt: skip


def food101(folder: DatasetFolder) -> Classification:
    """Food-101: meta/train.txt and test.txt list CLASS/NUMBER, which is images/CLASS/NUMBER.jpg."""
    splits = {}
    for split in ("train", "test"):
        lines = folder.lines(f"meta/{split}.txt")
        keys = [f"images/{line}.jpg" for line in lines]
        splits[split] = folder.split(keys, [line.partition("/")[0] for line in lines], f"meta/{split}.txt")
    folder.check_disjoint(*splits.items())
    known = prompts(folder.name)
    return Classification(
        folder.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 75750), ("test", 25250)),
    )  # fmt: skip


def dtd(folder: DatasetFolder) -> Classification:
    """Describable Textures, split 1 of ten: labels/train1.txt, val1.txt and test1.txt list CLASS/FILE in images/."""
    splits = {}
    for split in ("train1", "val1", "test1"):
        lines = folder.lines(f"labels/{split}.txt")
        keys = [f"images/{line}" for line in lines]
        splits[split] = folder.split(keys, [line.partition("/")[0] for line in lines], f"labels/{split}.txt")
    folder.check_disjoint(*splits.items())
    known = prompts(folder.name)
    return Classification(
        folder.name, "top1", known.classes, known.templates, splits["test1"], splits["train1"], splits["val1"],
        expected=(("train", 1880), ("validation", 1880), ("test", 1880)), notes=("split 1 of 10",),
    )  # fmt: skip


def aircraft(folder: DatasetFolder) -> Classification:
    """FGVC Aircraft, the 100 variants: a line of data/images_variant_SPLIT.txt is an image number, a space, a variant.

    data/variants.txt must name the same hundred variants as the prompts.
    """
    known = prompts(folder.name)
    folder.labels(folder.lines("data/variants.txt"), "data/variants.txt")
    splits = {}
    for split in ("train", "val", "test"):
        rows = [line.partition(" ") for line in folder.lines(f"data/images_variant_{split}.txt")]
        keys = [f"data/images/{image}.jpg" for image, _, _ in rows]
        splits[split] = folder.split(keys, [variant for _, _, variant in rows], f"data/images_variant_{split}.txt")
    folder.check_disjoint(*splits.items())
    return Classification(
        folder.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["train"], splits["val"],
        expected=(("train", 3334), ("validation", 3333), ("test", 3333)),
        notes=("the 100 variants, not families or manufacturers",),
    )  # fmt: skip


def sun397(folder: DatasetFolder) -> Classification:
    """SUN397, the first official partition: Training_01.txt and Testing_01.txt list /LETTER/CLASS[/KIND]/FILE.

    ClassName.txt must name the same 397 classes as the prompts. The archive holds 108,754 images; the partition uses
    39,700 of them: per class, 50 for training and 50 for testing.
    """

    def class_of(path: str) -> str:
        return path.partition("/")[2].replace("/", " ").replace("_", " ")

    names = [class_of(line.strip("/")) for line in folder.lines("ClassName.txt", "Partitions/ClassName.txt")]
    folder.labels(names, "ClassName.txt")
    splits = {}
    for split in ("Training_01", "Testing_01"):
        lines = folder.lines(f"{split}.txt", f"Partitions/{split}.txt")
        keys = [line.strip("/") for line in lines]
        splits[split] = folder.split(keys, [class_of(key.rpartition("/")[0]) for key in keys], f"{split}.txt")
    folder.check_disjoint(*splits.items())
    known = prompts(folder.name)
    return Classification(
        folder.name, "top1", known.classes, known.templates, splits["Testing_01"], splits["Training_01"],
        expected=(("train", 19850), ("test", 19850)), notes=("official partition 1 of 10",),
    )  # fmt: skip
