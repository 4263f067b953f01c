"""Anything missing or wrong in a data set is one line that names the set, the file and the remedy."""

import json
import shutil
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import replicas
from scipy.io import loadmat, savemat

from askew.errors import UserError
from askew.evaluation.datasets.base import MissingSet
from askew.evaluation.datasets.catalog import find_entry, names, open_set

VARIANTS = {"devkit": "imagenet", "kaggle": "imagenet", "token": "flickr30k"}


@dataclass(frozen=True)
class Damage:
    """Something to do to one path of a data root."""

    path: str
    do: Callable[[Path], None]

    @contextmanager
    def __call__(self, root):
        """Do it, and undo it afterwards."""
        path = root / self.path
        is_folder, data, is_new = path.is_dir(), path.read_bytes() if path.is_file() else None, not path.parent.exists()
        away = root / "away"
        if is_folder:
            path.rename(away)
        else:
            self.do(path)
        try:
            yield
        finally:
            if is_folder:
                away.rename(path)
            elif data is not None:
                path.write_bytes(data)
            elif is_new:
                shutil.rmtree(path.parent)
            else:
                path.unlink()


def remove(path):
    return Damage(path, Path.unlink)


def write(path, data):
    return Damage(path, lambda file: replicas.put(file, data))


def edit(path, old, new):
    def do(file):
        text = file.read_text(encoding="utf-8")
        assert old in text
        file.write_text(text.replace(old, new, 1), encoding="utf-8")

    return Damage(path, do)


def without(path, word):
    """A text file without the lines that contain the word."""

    def do(file):
        lines = file.read_text(encoding="utf-8").split("\n")
        file.write_text("\n".join(line for line in lines if word not in line), encoding="utf-8")

    return Damage(path, do)


def mat(path, name, change):
    return Damage(path, lambda file: savemat(file, {name: change(loadmat(file)[name])}))


def karpathy(path, change):
    def do(file):
        data = json.loads(file.read_text(encoding="utf-8"))
        change(data)
        file.write_text(json.dumps(data), encoding="utf-8")

    return Damage(path, do)


def no_classes(rows):
    kept = np.zeros(rows.shape, dtype=[(name, "O") for name in rows.dtype.names if name != "class"])
    for name in kept.dtype.names:
        kept[name] = rows[name]
    return kept


def first_class(rows):
    rows["class"][0, 0] = np.array([[197]])
    return rows


CARS, CALTECH, CIFAR = "stanford_cars", "caltech101/101_ObjectCategories", "cifar-10-batches-py"
DEVKIT = "imagenet/ILSVRC2012_devkit_t12"
PETS, FOOD, DTD, AIR, SUN = "oxford-iiit-pet", "food-101", "dtd", "fgvc-aircraft-2013b", "SUN397"
KARPATHY, CREPE = "flickr30k/dataset_flickr30k.json", "sugar-crepe/data/swap_att.json"
WINOGROUND = "winoground/examples.jsonl"
TWICE = 2 * '{"image_0": "ex_0_img_0", "image_1": "ex_0_img_1", "caption_0": "a", "caption_1": "b"}\n'

MISSING = [
    (
        "pets",
        remove(f"{PETS}/annotations/test.txt"),
        r"pets: \S+/oxford-iiit-pet has no annotations/test.txt; it should",
    ),
    ("sun397", remove(f"{SUN}/Training_01.txt"), r"has no Training_01.txt; it should hold .*Partitions.zip"),
    ("cars", remove("stanford_cars/cars_test_annos_withlabels.mat"), "has no cars_test_annos_withlabels.mat"),
    ("cars", remove("stanford_cars/cars_test"), "has no cars_test/cars_test; it should hold cars_train/, cars_test/"),
    ("kaggle", remove("imagenet/val"), "has no val; it should hold val/"),
    (
        "devkit",
        remove("imagenet/ILSVRC2012_devkit_t12"),
        "has no ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground",
    ),
    ("cifar10", remove("cifar-10-batches-py/data_batch_3"), "has no data_batch_3"),
    ("flickr30k", remove(KARPATHY), r"has no dataset_flickr30k.json; .*results_20130124.token"),
    ("token", remove("flickr30k/test.txt"), "has no test.txt"),
    ("coco", remove("coco/val2014"), "has no val2014"),
    ("sugarcrepe", remove(CREPE), "has no data/swap_att.json"),
    ("winoground", remove(WINOGROUND), "has no examples.jsonl"),
    ("winoground", remove("winoground/images"), "has no images; it should hold examples.jsonl"),
    ("sugarcrepe", remove("coco"), "has no coco/val2017; it should hold SugarCrepe's images"),
]

WRONG = [
    ("pets", remove(f"{PETS}/images"), r"none of the 111 images of annotations/trainval.txt is in"),
    ("pets", edit(f"{PETS}/annotations/test.txt", "beagle_7 5", "beagle_7 6"), "the line 'beagle_7 6 .* not fit"),
    ("pets", edit(f"{PETS}/annotations/test.txt", "beagle_7 5", "poodle_7 5"), "that are not among its 37: poodle"),
    ("pets", without(f"{PETS}/annotations/test.txt", "pug_"), r"test.txt has no image of 1 of the 37 classes: pug"),
    ("pets", write(f"{PETS}/annotations/test.txt", "\n \n"), "test.txt is empty"),
    ("pets", write(f"{PETS}/annotations/test.txt", b"\xff\xfe\x00"), "test.txt is not a readable text file"),
    ("pets", edit(f"{PETS}/annotations/test.txt", "pug_7", "pug_3"), r"lists images/pug_3.jpg twice"),
    ("food101", edit(f"{FOOD}/meta/test.txt", "pho/300", "pho/27"), r"images/pho/27.jpg is in both train and test"),
    ("dtd", without(f"{DTD}/labels/val1.txt", "woven"), r"labels/val1.txt has no image of 1 of the 47 classes: woven"),
    ("aircraft", without(f"{AIR}/data/variants.txt", "A380"), "has no image of 1 of the 100 classes: A380"),
    ("aircraft", edit(f"{AIR}/data/images_variant_test.txt", " F-16A/B", " F-17"), "that are not among its 100: F-17"),
    ("sun397", edit(f"{SUN}/ClassName.txt", "/a/abbey", "/a/abbot"),
     r"ClassName.txt has 1 class.* not among its 397: abbot"),
    ("flowers102", write("flowers-102/setid.mat", b"no mat"), r"setid.mat is not the data set's .mat file \("),
    ("flowers102", mat("flowers-102/imagelabels.mat", "labels", lambda v: v - 1), r"that are not among its 102: 0"),
    ("flowers102", mat("flowers-102/imagelabels.mat", "labels", lambda v: v[:, :300]), r"image \d+, .* 300 labels"),
    ("cars", mat(f"{CARS}/cars_test_annos_withlabels.mat", "annotations", no_classes), "mat has no classes"),
    ("cars", mat(f"{CARS}/devkit/cars_train_annos.mat", "annotations", first_class), "has the class 197; classes"),
    ("cars", mat(f"{CARS}/devkit/cars_meta.mat", "class_names", lambda v: v[:, ::-1]), "196 of them differ: 1 is"),
    ("cars", mat(f"{CARS}/devkit/cars_meta.mat", "class_names", lambda v: v[:, 1:]), "has 195 classes for 196"),
    ("caltech101", write(f"{CALTECH}/zebra/image_0001.jpg", b""), "that are not among its 102: zebra"),
    ("caltech101", remove(f"{CALTECH}/ant"), "has no image of 1 of the 102 classes: ant"),
    ("caltech101", remove(f"{CALTECH}/crab/image_0031.jpg"), "crab has 30 images; 30 are for"),
    ("imagenet", write("imagenet/val/n99999999/x.JPEG", b""), "val has 1 class.* not among its 1000: n99999999"),
    ("imagenet", remove("imagenet/train/n01440764"), "train has no image of 1 of the 1000 classes: n01440764"),
    ("devkit", remove("imagenet/val/ILSVRC2012_val_00000005.JPEG"), "val/ holds 999 images, .* ground truth 1,000"),
    ("devkit", write(f"{DEVKIT}/data/meta.mat", b"no"), "meta.mat does not explain its ground truth"),
    ("kaggle", without("imagenet/LOC_val_solution.csv", "00000005"), "has 999 images, val/ 1,000; it lacks"),
    ("cifar10", write(f"{CIFAR}/test_batch", b"no pickle"), "test_batch is not a file of the python version"),
    ("cifar10", write(f"{CIFAR}/test_batch", replicas.python2_pickle({"data": 1})), "it has no entry 'labels'"),
    ("cifar10", write(f"{CIFAR}/test_batch", replicas.python2_pickle({"data": np.zeros((2, 5), np.uint8),
     "labels": [1]})), r"1 labels for pixels of shape \(2, 5\)"),
    ("flickr30k", karpathy(KARPATHY, lambda d: d["images"][1]["sentences"].clear()), "without a caption, .* 1007.jpg"),
    ("flickr30k", karpathy(KARPATHY, lambda d: d["images"][1]["sentences"][2].update(raw=" ")), "without a caption"),
    ("flickr30k", karpathy(KARPATHY, lambda d: d.update(images=d["images"][:1])), "no images of the split 'test'"),
    ("flickr30k", write(KARPATHY, '{"annotations": []}'), "is not Karpathy's file"),
    ("flickr30k", write(KARPATHY, "{"), "dataset_flickr30k.json is not valid JSON"),
    ("token", edit("flickr30k/test.txt", "1007", "1008"), "1 images without a caption, the first is 1008.jpg"),
    ("token", edit("flickr30k/results_20130124.token", "\t", " "), "has no tab"),
    ("sugarcrepe", edit(CREPE, "negative_caption", "negative"), "swap_att.json is not a subset: .* lacks a field"),
    ("winoground", edit(WINOGROUND, "caption_1", "caption"), "examples.jsonl, line 1: .* lacks caption_1"),
    ("winoground", edit(WINOGROUND, "ex_0_img_1", "ex_0_img_0"), "line 1: both images are the same"),
    ("winoground", edit(WINOGROUND, "a cat sees dog 0", "a dog sees cat 0"), "line 1: both captions are the same"),
    ("winoground", edit(WINOGROUND, "ex_0_img_1", "../ex_0_img_1"), "line 1: '../ex_0_img_1' is no name of an image"),
    ("winoground", edit(WINOGROUND, '"Object"', '"../../evil"'), r"line 1: '\.\./\.\./evil' is no tag"),
    ("winoground", write(WINOGROUND, TWICE), "line 2: the item is there already"),
    ("winoground", write(WINOGROUND, "[1]"), "examples.jsonl, line 1: .* lacks image_0"),
    ("winoground", write(WINOGROUND, "{"), "examples.jsonl, line 1: not valid JSON"),
    ("sugarcrepe", write(CREPE, "[]"), "swap_att.json is not a subset: it is not a JSON object of items"),
]  # fmt: skip


@pytest.mark.parametrize(("made", "damage", "words"), MISSING + WRONG, ids=lambda v: v if isinstance(v, str) else "")
def test_one_line_names_the_fault(made, damage, words, replica):
    name, root = VARIANTS.get(made, made), replica(made if made in VARIANTS else "")
    with damage(root), pytest.raises(UserError, match=words) as caught:
        open_set(name, root)
    open_set(name, root)
    message = str(caught.value)
    assert message.startswith(f"{name}: ")
    assert "\n" not in message
    assert "should hold" in message
    missing = isinstance(caught.value, MissingSet)
    assert missing == ((made, damage, words) in MISSING)
    if missing:
        assert caught.value.name == name


@pytest.mark.parametrize("name", [name for name in names() if find_entry(name).folders])
def test_a_missing_set_is_one_line_that_names_its_place(name, tmp_path):
    entry = find_entry(name)
    with pytest.raises(MissingSet) as caught:
        open_set(name, tmp_path)
    assert caught.value.name == name
    assert str(caught.value) == (f"{name}: {tmp_path / entry.folders[0]} is missing; it should hold {entry.layout}")


def test_names_and_root_are_checked(tmp_path):
    with pytest.raises(
        UserError, match=r"'flower' is not known; .*suites: tiny, paper; data sets: pets, cifar10, .*sugarcrepe"
    ):
        open_set("flower", tmp_path)
    with pytest.raises(UserError, match=r"--data-root \S+/nowhere is not a folder"):
        open_set("pets", tmp_path / "nowhere")
