"""The data sets that askew evaluates on, a row each: what they are called, where they lie, who reads them.

A set lies under the data root in the folder that its official archive unpacks to; docs/datasets.md is made from these
rows. Nothing is downloaded.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from askew.errors import UserError, printable
from askew.evaluation import captioned, cifar, foldered, listed, matlab
from askew.evaluation.places import Place
from askew.evaluation.sets import Captioned, Classification, MissingSet, Preference

Opened = Classification | Captioned | Preference | tuple[Preference, ...]


@dataclass(frozen=True)
class Row:
    """A data set.

    Attributes:
        name: as on the command line and in results.
        title: as in papers.
        folders: where it may lie under the data root; the first is recommended.
        layout: what the folder holds.
        read: makes the set of its place.
        traps: what goes wrong elsewhere, and what is done here.
    """

    name: str
    title: str
    folders: tuple[str, ...]
    layout: str
    read: Callable[[Place], Opened]
    traps: str


IMAGENET_LAYOUT = (
    "val/ with a folder for each WordNet id, or val/*.JPEG with ILSVRC2012_devkit_t12/data/ or "
    "LOC_val_solution.csv beside it; train/ with a folder for each WordNet id for the probe"
)

ROWS = (
    Row(
        "pets", "Oxford-IIIT Pets", ("oxford-iiit-pet",),
        "images/*.jpg, annotations/trainval.txt and annotations/test.txt", listed.pets,
        "The class numbers sort breeds without regard to case, the list of names with it: labels go by the breed's "
        "name. There is no official validation set.",
    ),
    Row(
        "cifar10", "CIFAR-10", ("cifar-10-batches-py",),
        "data_batch_1 to data_batch_5, test_batch and batches.meta (the python version)", cifar.cifar10,
        "The files are pickles; they are read and never unpickled.",
    ),
    Row(
        "cifar100", "CIFAR-100", ("cifar-100-python",), "train, test and meta (the python version)", cifar.cifar100,
        "Fine labels. The files are pickles; they are read and never unpickled.",
    ),
    Row(
        "sun397", "SUN397", ("SUN397",),
        "a/ to y/ with the images, and ClassName.txt, Training_01.txt and Testing_01.txt of Partitions.zip, "
        "there or in Partitions/", listed.sun397,
        "Official partition 1 of 10. Sorted by path jail/indoor stands before jail_cell, in the list of names after "
        "it: labels go by the name. torchvision has no split, and a probe on all 108,754 images is tested on what it "
        "was trained on; VISSL's own 70/10/20 split is another set.",
    ),
    Row(
        "food101", "Food-101", ("food-101",), "images/CLASS/*.jpg, meta/train.txt and meta/test.txt", listed.food101,
        "The training labels are noisy by design; there is no official validation set.",
    ),
    Row(
        "flowers102", "Oxford Flowers 102", ("flowers-102",), "jpg/*.jpg, imagelabels.mat and setid.mat",
        matlab.flowers102,
        "`tstid` (6,149 images) is the test; labels count from 1. The published zero-shot numbers of 6-8 % pair the "
        "names with folders sorted as strings; that order is reported beside the right one as `lexicographic`.",
    ),
    Row(
        "cars", "Stanford Cars", ("stanford_cars",),
        "cars_train/, cars_test/, devkit/cars_train_annos.mat, devkit/cars_meta.mat and "
        "cars_test_annos_withlabels.mat", matlab.cars,
        "The original host is gone. Taken are torchvision's layout, cars_test_annos_withlabels.mat inside devkit/, and "
        "Kaggle's cars_train/cars_train; a mirror without test labels, or with the images in folders of classes, is "
        "refused.",
    ),
    Row(
        "caltech101", "Caltech-101",
        ("caltech101/101_ObjectCategories", "caltech-101/101_ObjectCategories", "101_ObjectCategories"),
        "a folder of images for each of the 102 classes, BACKGROUND_Google among them", foldered.caltech101,
        "No split was published: 30 images a class for training by NumPy's legacy generator with seed 0 over sorted "
        "names, the rest is the test. BACKGROUND_Google/tmp is an image and counts.",
    ),
    Row(
        "aircraft", "FGVC Aircraft", ("fgvc-aircraft-2013b",),
        "data/images/*.jpg, data/variants.txt and data/images_variant_train.txt, _val.txt and _test.txt",
        listed.aircraft,
        "Variants (100), not families or manufacturers; labels go by the variant's name.",
    ),
    Row(
        "dtd", "Describable Textures", ("dtd", "dtd/dtd"),
        "images/CLASS/*.jpg and labels/train1.txt, labels/val1.txt and labels/test1.txt", listed.dtd,
        "Split 1 of the ten.",
    ),
    Row(
        "imagenet", "ImageNet-1k", ("imagenet", "ILSVRC2012"),
        IMAGENET_LAYOUT, foldered.imagenet,
        "SLIP's 7 templates. The devkit's class numbers are not those of the sorted WordNet ids.",
    ),
    Row(
        "imagenet-80", "ImageNet-1k, 80 templates", ("imagenet", "ILSVRC2012"),
        IMAGENET_LAYOUT, foldered.imagenet,
        "The same images with OpenAI's 80 templates, as CLIP and DeCLIP use them.",
    ),
    Row(
        "flickr30k", "Flickr30k", ("flickr30k",),
        "flickr30k-images/*.jpg and dataset_flickr30k.json (Karpathy), or results_20130124.token and test.txt",
        captioned.flickr30k,
        "Karpathy's 1,000 test images, all five captions, no prompt before them.",
    ),
    Row(
        "coco", "COCO captions", ("coco",), "val2014/*.jpg and dataset_coco.json (Karpathy)", captioned.coco,
        "Karpathy's 5,000 test images come from val2014; val2017 is another set. All 25,010 captions, not five an "
        "image.",
    ),
    Row(
        "sugarcrepe", "SugarCrepe", ("sugarcrepe", "sugar-crepe"),
        "data/replace_obj.json and the six others, and COCO's val2017/ there or in coco/val2017", captioned.sugarcrepe,
        "Ties lose. Keys of swap_obj are not contiguous. Some images are grey: all are made RGB.",
    ),
)  # fmt: skip

SUITES: dict[str, tuple[str, ...]] = {"paper": tuple(row.name for row in ROWS if row.name != "imagenet-80")}
"""Suites by name: the data sets of each, in the order of the paper's tables."""


def names() -> tuple[str, ...]:
    """Every data set that can be named."""
    return tuple(row.name for row in ROWS)


def open_set(name: str, root: Path) -> Opened:
    """The data set of this name under the data root; no image is decoded yet.

    Raises:
        MissingSet: it is not there, or a part of it is not.
        UserError: no such name, no such root, or files that cannot be those of the set.
    """
    row = next((row for row in ROWS if row.name == name), None)
    if row is None:
        raise UserError(f"no data set is called {printable(name)!r}; there are {', '.join(names())}")
    if not root.is_dir():
        raise UserError(f"--data-root {printable(str(root), 400)} is not a folder")
    for folder in sorted(row.folders, key=lambda folder: -folder.count("/")):  # dtd/dtd lies inside a dtd
        if (root / folder).is_dir():
            return row.read(Place(name, root / folder, row.layout))
    where = printable(str(root / row.folders[0]), 400)
    raise MissingSet(name, f"{name}: {where} is missing; it should hold {row.layout} (see docs/datasets.md)")
