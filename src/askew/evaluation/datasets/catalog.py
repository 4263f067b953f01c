"""The catalogue of evaluation data sets: what each is called, where it lies, and which function reads it.

A data set lies under the data root, in the folder that its official archive unpacks to; docs/datasets.md is generated
from these entries. Nothing is downloaded. A data set from outside askew is a `CatalogEntry` in any module, and is named
`module:NAME`.
"""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from askew.errors import UserError, imported, printable
from askew.evaluation.datasets import captioned, cifar, class_folders, matlab, split_files, two_by_two
from askew.evaluation.datasets.base import EvaluationSet, MissingSet
from askew.evaluation.datasets.folder import DatasetFolder


@dataclass(frozen=True)
class CatalogEntry:
    """One data set.

    Attributes:
        name: on the command line and in results.
        title: the name that papers use.
        folders: the folders under the data root that it may lie in; the first one is recommended.
        layout: what the folder holds, for messages and for docs/datasets.md.
        read: the reader, a function that makes the data set from its folder and decodes no image.
        traps: what commonly goes wrong with this data set, and what the reader does about it.
        packaged: the folder of data that come with a package; such a set needs no data root.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    layout: str
    read: Callable[[DatasetFolder], EvaluationSet]
    traps: str = ""
    packaged: Path | None = None

    def open(self, root: Path | None) -> EvaluationSet:
        """Read the data set under the data root. No image is decoded yet.

        Raises:
            MissingSet: the data set, or a part of it, is not there.
            UserError: there is no such root, or the files cannot be right.
        """
        return self.read(self.folder(root))

    def folder(self, root: Path | None) -> DatasetFolder:
        """Where the data set lies under the data root. Raises what `open` raises if it is not there."""
        if self.packaged is not None:
            return DatasetFolder(self.name, self.packaged, self.layout)
        if root is None:
            raise UserError(f"{self.name} needs a data root, the folder that holds the data sets")
        if not root.is_dir():
            raise UserError(f"--data-root {printable(str(root), 400)} is not a folder")
        for folder in sorted(self.folders, key=lambda folder: -folder.count("/")):  # dtd/dtd is inside a dtd
            if (root / folder).is_dir():
                return DatasetFolder(self.name, root / folder, self.layout)
        where = printable(str(root / self.folders[0]), 400)
        raise MissingSet(self.name, f"{self.name}: {where} is missing; it should hold {self.layout}")


IMAGENET_LAYOUT = (
    "val/ with one folder per WordNet id, or val/*.JPEG with ILSVRC2012_devkit_t12/data/ or LOC_val_solution.csv "
    "beside it; for the probe also train/ with one folder per WordNet id"
)

ENTRIES = (
    CatalogEntry(
        "pets", "Oxford-IIIT Pets", ("oxford-iiit-pet",),
        "images/*.jpg, annotations/trainval.txt and annotations/test.txt", split_files.pets,
        "The class numbers follow the order of the breeds if case is ignored, but in the list of names upper case "
        "comes first. So labels go by the breed's name. There is no official validation split.",
    ),
    CatalogEntry(
        "cifar10", "CIFAR-10", ("cifar-10-batches-py",),
        "data_batch_1 to data_batch_5, test_batch and batches.meta (the python version)", cifar.cifar10,
        "The files are pickles. They are read without unpickling them.",
    ),
    CatalogEntry(
        "cifar100", "CIFAR-100", ("cifar-100-python",), "train, test and meta (the python version)", cifar.cifar100,
        "The 100 fine labels are used. The files are pickles. They are read without unpickling them.",
    ),
    CatalogEntry(
        "sun397", "SUN397", ("SUN397",),
        "a/ to y/ with the images, and ClassName.txt, Training_01.txt and Testing_01.txt of Partitions.zip, either "
        "there or in Partitions/", split_files.sun397,
        "The first of the ten official partitions is used. `jail/indoor` comes before `jail_cell` when sorted by path, "
        "but after it in the list of names. So labels go by the name. torchvision offers no split, and a probe on all "
        "of its 108,754 images is tested on images that it was trained on. VISSL's own 70/10/20 split is different.",
    ),
    CatalogEntry(
        "food101", "Food-101", ("food-101",), "images/CLASS/*.jpg, meta/train.txt and meta/test.txt",
        split_files.food101,
        "The training labels are noisy by design. There is no official validation split.",
    ),
    CatalogEntry(
        "flowers102", "Oxford Flowers 102", ("flowers-102",), "jpg/*.jpg, imagelabels.mat and setid.mat",
        matlab.flowers102,
        "`tstid` (6,149 images) is the test split, and labels start at 1. The published zero-shot accuracies of 6-8 % "
        "come from pairing the names with folders sorted as strings. The accuracy in that order is reported beside the "
        "right one, as `lexicographic`.",
    ),
    CatalogEntry(
        "cars", "Stanford Cars", ("stanford_cars",),
        "cars_train/, cars_test/, devkit/cars_train_annos.mat, devkit/cars_meta.mat and "
        "cars_test_annos_withlabels.mat", matlab.cars,
        "The original host is gone. Three layouts are accepted: torchvision's, the same with "
        "`cars_test_annos_withlabels.mat` inside `devkit/`, and Kaggle's `cars_train/cars_train`. A mirror without "
        "test labels, or with one folder of images per class, is refused.",
    ),
    CatalogEntry(
        "caltech101", "Caltech-101",
        ("caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories", "101_ObjectCategories"),
        "one folder of images for each of the 102 classes, including BACKGROUND_Google", class_folders.caltech101,
        "No official split exists. NumPy's legacy generator with seed 0 draws 30 training images per class from the "
        "sorted file names; the rest is the test split. The file `BACKGROUND_Google/tmp` is an image too, and counts.",
    ),
    CatalogEntry(
        "aircraft", "FGVC Aircraft", ("fgvc-aircraft-2013b",),
        "data/images/*.jpg, data/variants.txt and data/images_variant_train.txt, _val.txt and _test.txt",
        split_files.aircraft,
        "The classes are the 100 variants, not the families or manufacturers. Labels go by the variant's name.",
    ),
    CatalogEntry(
        "dtd", "Describable Textures", ("dtd", "dtd/dtd"),
        "images/CLASS/*.jpg and labels/train1.txt, labels/val1.txt and labels/test1.txt", split_files.dtd,
        "The first of the ten official splits is used.",
    ),
    CatalogEntry(
        "imagenet", "ImageNet-1k", ("imagenet", "ILSVRC2012"),
        IMAGENET_LAYOUT, class_folders.imagenet,
        "Prompts are SLIP's 7 templates. The devkit does not number the classes in the order of the sorted WordNet "
        "ids.",
    ),
    CatalogEntry(
        "imagenet-80", "ImageNet-1k, 80 templates", ("imagenet", "ILSVRC2012"),
        IMAGENET_LAYOUT, class_folders.imagenet,
        "The same images with OpenAI's 80 templates, which CLIP and DeCLIP use.",
    ),
    CatalogEntry(
        "flickr30k", "Flickr30k", ("flickr30k",),
        "flickr30k-images/*.jpg and dataset_flickr30k.json (Karpathy), or results_20130124.token and test.txt",
        captioned.flickr30k,
        "Karpathy's 1,000 test images are used, with all five captions and no prompt.",
    ),
    CatalogEntry(
        "coco", "COCO captions", ("coco",), "val2014/*.jpg and dataset_coco.json (Karpathy)", captioned.coco,
        "Karpathy's 5,000 test images come from `val2014`; `val2017` is a different set. All 25,010 captions are used, "
        "not five per image.",
    ),
    CatalogEntry(
        "sugarcrepe", "SugarCrepe", ("sugarcrepe", "sugar-crepe"),
        "data/replace_obj.json and the other six subsets, and COCO's val2017/, either there or in coco/val2017",
        captioned.sugarcrepe,
        "Ties lose. The keys of `swap_obj` have gaps. Some images are grayscale; all are converted to RGB.",
    ),
    CatalogEntry(
        "winoground", "Winoground", ("winoground",),
        "examples.jsonl and images/*.png (from images.zip), either there or in data/", two_by_two.winoground,
        "Ties lose, and an item counts only if both of its images are right. Many items need more than word order: see "
        "Diwan et al. (EMNLP 2022) before a low score is read as blindness to it.",
    ),
    CatalogEntry(
        "emoji-pairs", "Pairs of drawings", (), "nothing: the drawings come with askew", two_by_two.emoji_pairs,
        "Drawings and their names say nothing about photographs or people. The kinds differ in size, so read each kind "
        "and not only the whole. Pairs that share a drawing are not independent; intervals of comparisons resample "
        "them together.", two_by_two.packaged_emoji_pairs(),
    ),
)  # fmt: skip

SUITES: dict[str, tuple[str, ...]] = {
    "paper": (
        "pets", "cifar10", "cifar100", "sun397", "food101", "flowers102", "cars", "caltech101", "aircraft", "dtd",
        "imagenet", "flickr30k", "coco", "sugarcrepe",
    ),
}  # fmt: skip
"""Suites by name. Each lists its data sets, in the order of the paper's tables."""


def names() -> tuple[str, ...]:
    """The names of all data sets in this catalogue."""
    return tuple(entry.name for entry in ENTRIES)


def find_entry(name: str) -> CatalogEntry:
    """The entry of a data set: one of this catalogue by its name, any other as `module:NAME`.

    Raises:
        UserError: nothing has this name, or `module:NAME` is not a CatalogEntry.
    """
    if ":" in name:
        found = imported(name, "--suite")
        if not isinstance(found, CatalogEntry):
            raise UserError(
                f"--suite {printable(name)}: it is a {type(found).__name__}, not a CatalogEntry of "
                "askew.evaluation.datasets.catalog"
            )
        return found
    for entry in ENTRIES:
        if entry.name == name:
            return entry
    near = difflib.get_close_matches(name, [*names(), *SUITES, "tiny"], n=1)
    raise UserError(
        f"--suite {printable(name)!r} is not known; "
        + (f"did you mean {near[0]!r}? " if near else "")
        + f"suites: tiny, {', '.join(SUITES)}; data sets: {', '.join(names())}, or module:NAME"
    )


def find_entries(suite: str) -> tuple[CatalogEntry, ...]:
    """The entries that a --suite asks for: names of suites and data sets, separated by commas, without repetitions.

    Raises:
        UserError: as `find_entry`, or two different data sets have the same name.
    """
    asked = [name for part in suite.split(",") for name in SUITES.get(part, (part,))]
    found: dict[str, CatalogEntry] = {}
    for name in asked:
        entry = find_entry(name)
        if found.setdefault(entry.name, entry) is not entry:
            raise UserError(
                f"--suite {printable(suite)}: two different data sets are called {entry.name!r}; rename one"
            )
    return tuple(found.values())


def open_set(name: str, root: Path) -> EvaluationSet:
    """Open the data set that `find_entry` finds; see `CatalogEntry.open`."""
    return find_entry(name).open(root)
