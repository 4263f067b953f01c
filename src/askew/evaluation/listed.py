"""Sets whose splits are text files: Pets, Food-101, DTD, Aircraft and SUN397.

Labels come from the class's name in the split file, never from a position, an id or the order of folders: Pets numbers
its breeds without regard to case, the lists of names are sorted with it, and pairing them by position would be wrong.
"""

from askew.evaluation.places import Place
from askew.evaluation.prompts import prompts
from askew.evaluation.sets import Classification


def pets(place: Place) -> Classification:
    """Oxford-IIIT Pets: annotations/trainval.txt and test.txt name an image and its class, species and breed numbers.

    The breed is the image's name without its number; a breed whose class number changes is an error.
    """
    splits, numbers = {}, {}
    for split in ("trainval", "test"):
        keys, classes = [], []
        for line in place.lines(f"annotations/{split}.txt"):
            image, number, *_ = [*line.split(), ""]
            breed = image.rpartition("_")[0]
            if numbers.setdefault(breed, number) != number or not number.isdigit():
                raise place.wrong(f"annotations/{split}.txt: the line {line!r} does not fit the others")
            keys.append(f"images/{image}.jpg")
            classes.append(breed)
        splits[split] = place.split(keys, classes, f"annotations/{split}.txt")
    place.apart(*splits.items())
    known = prompts(place.name)
    return Classification(
        place.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["trainval"],
        expected=(("train", 3680), ("test", 3669)), notes=("train is the official trainval",),
    )  # fmt: skip


def food101(place: Place) -> Classification:
    """Food-101: meta/train.txt and test.txt list CLASS/NUMBER of images/CLASS/NUMBER.jpg."""
    splits = {}
    for split in ("train", "test"):
        lines = place.lines(f"meta/{split}.txt")
        keys = [f"images/{line}.jpg" for line in lines]
        splits[split] = place.split(keys, [line.partition("/")[0] for line in lines], f"meta/{split}.txt")
    place.apart(*splits.items())
    known = prompts(place.name)
    return Classification(
        place.name, "top1", known.classes, known.templates, splits["test"], splits["train"],
        expected=(("train", 75750), ("test", 25250)),
    )  # fmt: skip


def dtd(place: Place) -> Classification:
    """Describable Textures, split 1 of ten: labels/train1.txt, val1.txt and test1.txt list CLASS/FILE of images/."""
    splits = {}
    for split in ("train1", "val1", "test1"):
        lines = place.lines(f"labels/{split}.txt")
        keys = [f"images/{line}" for line in lines]
        splits[split] = place.split(keys, [line.partition("/")[0] for line in lines], f"labels/{split}.txt")
    place.apart(*splits.items())
    known = prompts(place.name)
    return Classification(
        place.name, "top1", known.classes, known.templates, splits["test1"], splits["train1"], splits["val1"],
        expected=(("train", 1880), ("validation", 1880), ("test", 1880)), notes=("split 1 of 10",),
    )  # fmt: skip


def aircraft(place: Place) -> Classification:
    """FGVC Aircraft, the 100 variants: data/images_variant_SPLIT.txt has an image's number, a space, its variant.

    data/variants.txt has to name the same hundred variants as the prompts.
    """
    known = prompts(place.name)
    place.labels(place.lines("data/variants.txt"), "data/variants.txt")
    splits = {}
    for split in ("train", "val", "test"):
        rows = [line.partition(" ") for line in place.lines(f"data/images_variant_{split}.txt")]
        keys = [f"data/images/{image}.jpg" for image, _, _ in rows]
        splits[split] = place.split(keys, [variant for _, _, variant in rows], f"data/images_variant_{split}.txt")
    place.apart(*splits.items())
    return Classification(
        place.name, "mean_per_class", known.classes, known.templates, splits["test"], splits["train"], splits["val"],
        expected=(("train", 3334), ("validation", 3333), ("test", 3333)),
        notes=("the 100 variants, not families or manufacturers",),
    )  # fmt: skip


def sun397(place: Place) -> Classification:
    """SUN397, the first official partition: Training_01.txt and Testing_01.txt list /LETTER/CLASS[/KIND]/FILE.

    ClassName.txt has to name the same 397 classes as the prompts. The archive holds 108,754 images; the partition uses
    39,700 of them, 50 and 50 of each class.
    """

    def class_of(path: str) -> str:
        return path.partition("/")[2].replace("/", " ").replace("_", " ")

    names = [class_of(line.strip("/")) for line in place.lines("ClassName.txt", "Partitions/ClassName.txt")]
    place.labels(names, "ClassName.txt")
    splits = {}
    for split in ("Training_01", "Testing_01"):
        lines = place.lines(f"{split}.txt", f"Partitions/{split}.txt")
        keys = [line.strip("/") for line in lines]
        splits[split] = place.split(keys, [class_of(key.rpartition("/")[0]) for key in keys], f"{split}.txt")
    place.apart(*splits.items())
    known = prompts(place.name)
    return Classification(
        place.name, "top1", known.classes, known.templates, splits["Testing_01"], splits["Training_01"],
        expected=(("train", 19850), ("test", 19850)), notes=("official partition 1 of 10",),
    )  # fmt: skip
