"""Every reader, on a replica of its data set: what an image shows, its label and its name are of one class."""

import dataclasses
import os
import re
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import replicas

from askew.evaluation.datasets.base import Captioned, Classification, MissingSet, TwoByTwo
from askew.evaluation.datasets.catalog import ENTRIES, names, open_set
from askew.evaluation.datasets.prompts import prompts

CLASSES = [name for name in names() if name not in ("flickr30k", "coco", "sugarcrepe", "winoground", "emoji-pairs")]

SIZES = {  # of the replicas: train, validation, test
    "pets": (111, 0, 74), "cifar10": (100, 0, 10), "cifar100": (200, 0, 100), "sun397": (397, 0, 397),
    "food101": (202, 0, 101), "flowers102": (102, 102, 204), "cars": (392, 0, 196), "caltech101": (3060, 0, 205),
    "aircraft": (200, 100, 100), "dtd": (47, 47, 47), "imagenet": (1000, 0, 1000), "imagenet-80": (1000, 0, 1000),
}  # fmt: skip

PUBLISHED = {  # CLIP's table of data sets, Karpathy's splits, the counts of SugarCrepe's JSON files
    "pets": {"train": 3680, "test": 3669},
    "cifar10": {"train": 50000, "test": 10000},
    "cifar100": {"train": 50000, "test": 10000},
    "sun397": {"train": 19850, "test": 19850},
    "food101": {"train": 75750, "test": 25250},
    "flowers102": {"train": 1020, "validation": 1020, "test": 6149},
    "cars": {"train": 8144, "test": 8041},
    "caltech101": {"train": 3060, "test": 6085},
    "aircraft": {"train": 3334, "validation": 3333, "test": 3333},
    "dtd": {"train": 1880, "validation": 1880, "test": 1880},
    "imagenet": {"train": 1281167, "test": 50000},
    "imagenet-80": {"train": 1281167, "test": 50000},
    "flickr30k": {"images": 1000, "captions": 5000},
    "coco": {"images": 5000, "captions": 25010},
    "sugarcrepe/replace_obj": {"items": 1652},
    "sugarcrepe/replace_att": {"items": 788},
    "sugarcrepe/replace_rel": {"items": 1406},
    "sugarcrepe/swap_obj": {"items": 245},
    "sugarcrepe/swap_att": {"items": 666},
    "sugarcrepe/add_obj": {"items": 2062},
    "sugarcrepe/add_att": {"items": 692},
    "winoground": {"items": 400, "images": 800},
    "emoji-pairs": {"items": 668, "images": 983},
}
MEAN_PER_CLASS = {"pets", "flowers102", "caltech101", "aircraft"}


PAGE = runpy.run_path(str(Path(__file__).parents[3] / "scripts" / "datasets_page.py"))


def native_order(name):
    """The classes in the set's own order, in which the replica numbers its colours."""
    keys = prompts(name).keys
    by_name = {"pets": lambda key: key.lower(), "sun397": replicas.sun_path}
    return sorted(keys, key=by_name[name]) if name in by_name else list(keys)


def found(opened):
    """{split or kind: count} of a data set, under the names that `expected` uses."""
    if isinstance(opened, Classification):
        splits = {"train": opened.train, "validation": opened.validation, "test": opened.test}
        return {split: len(labelled.labels) for split, labelled in splits.items() if labelled is not None}
    if isinstance(opened, Captioned):
        return {"images": len(opened.images), "captions": len(opened.captions)}
    if isinstance(opened, TwoByTwo):
        return {"items": len(opened.captions), "images": len(opened.images)}
    return {"items": len(opened.positive)}


@pytest.mark.parametrize("name", CLASSES)
def test_image_label_and_name_are_of_one_class(name, root):
    opened, known, order = open_set(name, root), prompts(name), native_order(name)
    assert (opened.name, opened.classes, opened.templates) == (name, known.classes, known.templates)
    assert opened.metric == ("mean_per_class" if name in MEAN_PER_CLASS else "top1")
    for labelled in filter(None, (opened.train, opened.validation, opened.test)):
        assert labelled.labels.dtype == np.int64
        assert len(set(labelled.images.keys)) == len(labelled.images) == len(labelled.labels)
        for index in range(0, len(labelled.images), 3 if len(labelled.images) > 500 else 1):
            image = labelled.images[index]
            assert image.mode == "RGB"
            shown = order[replicas.number_of(image)]
            assert known.keys[labelled.labels[index]] == shown, labelled.images.keys[index]


@pytest.mark.parametrize("name", CLASSES)
def test_the_splits_are_complete_and_disjoint(name, root):
    opened = open_set(name, root)
    splits = [opened.train, opened.validation, opened.test]
    assert tuple(0 if split is None else len(split.images) for split in splits) == SIZES[name]
    if name != "cars":  # both folders number their images from 00001
        keys = [key for split in splits if split is not None for key in split.images.keys]
        assert len(set(keys)) == len(keys)
    assert len(set(opened.test.labels.tolist())) == len(opened.classes)
    assert sorted(set(opened.train.labels.tolist())) == list(range(len(opened.classes)))


def test_names_are_unique():
    assert names() == tuple(entry.name for entry in ENTRIES)
    assert len(set(names())) == len(names()) == 17


@pytest.mark.parametrize("name", names())
def test_counts_against_the_published_ones(name, root):
    """Of the real data sets in ASKEW_DATA_ROOT, if that is set; otherwise of the replicas, which are smaller."""
    real = Path(os.environ.get("ASKEW_DATA_ROOT", root))
    try:
        opened = open_set(name, real)
    except MissingSet:
        real, opened = root, open_set(name, root)
    for one in opened if isinstance(opened, tuple) else (opened,):
        assert dict(one.expected) == PUBLISHED[one.name]
        counts = found(one)
        assert counts.keys() == PUBLISHED[one.name].keys()
        if real != root or name == "emoji-pairs":  # which come with askew
            assert counts == PUBLISHED[one.name]
        else:
            assert all(counts[key] <= PUBLISHED[one.name][key] for key in counts)
            assert counts != PUBLISHED[one.name]


def test_flowers_in_the_lexicographic_order_are_what_folders_of_numbers_give(root):
    """ImageFolder sorts folders "1" to "102" as strings; the k-th folder then gets name k."""
    opened = open_set("flowers102", root)
    ((label, order),) = opened.class_orders
    assert label == "lexicographic"
    assert sorted(order) == list(range(102))
    folders = sorted(str(number) for number in range(1, 103))
    for position, folder in enumerate(folders):
        assert opened.classes[order[int(folder) - 1]] == opened.classes[position]
    assert [c + 1 for c in range(102) if order[c] == c] == [1, *range(60, 70)]


def test_only_flowers_has_another_order(root):
    assert [n for n in CLASSES if open_set(n, root).class_orders] == ["flowers102"]


def test_caltech_is_split_as_by_vissl_with_sorted_folders(root):
    """The loop that the docstring describes, with NumPy's global generator, and three test images by name."""
    opened = open_set("caltech101", root)
    base = root / "caltech101" / "101_ObjectCategories"
    state = np.random.get_state()
    np.random.seed(0)
    train, test = [], []
    for folder in sorted(path.name for path in base.iterdir() if path.is_dir()):
        files = sorted(path.name for path in (base / folder).iterdir())
        drawn = set(np.random.choice(len(files), size=30, replace=False))
        for index, file in enumerate(files):
            (train if index in drawn else test).append(f"{folder}/{file}")
    np.random.set_state(state)
    assert list(opened.train.images.keys) == train
    assert list(opened.test.images.keys) == test
    assert test[:3] == ["BACKGROUND_Google/image_0013.jpg", "BACKGROUND_Google/image_0016.jpg", "Faces/image_0020.jpg"]
    assert "BACKGROUND_Google/tmp" in train
    assert np.bincount(opened.train.labels).tolist() == [30] * 102


def test_imagenet_is_the_same_set_in_every_layout(root, replica):
    folders = open_set("imagenet", root)
    for val in ("devkit", "kaggle"):
        other = open_set("imagenet", replica(val))
        assert other.test.images.keys == folders.test.images.keys
        assert np.array_equal(other.test.labels, folders.test.labels)
        assert other.train is None
        assert "no train/ folder: no linear probe" in other.notes
        assert dict(other.expected) == {"test": 50000}
    assert len(set(folders.test.labels.tolist())) == 1000
    eighty = open_set("imagenet-80", root)
    assert (len(folders.templates), len(eighty.templates)) == (7, 80)
    assert eighty.classes == folders.classes


def same(one, other):
    return all(
        getattr(one, split).images.keys == getattr(other, split).images.keys
        and np.array_equal(getattr(one, split).labels, getattr(other, split).labels)
        for split in ("train", "test")
    )


def test_other_layouts_that_are_accepted(root, tmp_path):
    """Links to the same images, under other names."""
    sun, cars = tmp_path / "SUN397", tmp_path / "stanford_cars"
    for folder in ("dtd", "SUN397/Partitions", *(f"stanford_cars/{name}" for name in ("cars_train", "cars_test"))):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "dtd" / "dtd").symlink_to(root / "dtd")
    (tmp_path / "caltech-101").symlink_to(root / "caltech101")
    for path in (root / "SUN397").iterdir():
        (sun / ("Partitions" if path.suffix else "") / path.name).symlink_to(path)
    for name in ("cars_train", "cars_test"):
        (cars / name / name).symlink_to(root / "stanford_cars" / name)
    shutil.copytree(root / "stanford_cars" / "devkit", cars / "devkit")
    shutil.copy(root / "stanford_cars" / "cars_test_annos_withlabels.mat", cars / "devkit")
    for name in ("dtd", "caltech101", "sun397", "cars"):
        assert same(open_set(name, tmp_path), open_set(name, root)), name


def test_flickr30k_has_the_test_images_in_order_and_all_their_captions(root, tmp_path):
    opened = open_set("flickr30k", root)
    assert opened.images.keys == ("1007.jpg", "1021.jpg", "1028.jpg", "1042.jpg")
    assert [replicas.number_of(opened.images[i]) for i in range(4)] == [1, 3, 4, 6]
    assert opened.image_of.tolist() == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert opened.captions[6] == "Sentence 1 about image 3 , as it was written ."
    for number, images in enumerate(("flickr30k_images/flickr30k_images", "flickr30k_images", "images")):
        replicas.flickr30k(tmp_path / str(number), images, token=number == 0)
        other = open_set("flickr30k", tmp_path / str(number))
        assert (other.images.keys, other.captions) == (opened.images.keys, opened.captions)
        assert np.array_equal(other.image_of, opened.image_of)


def test_coco_has_karpathys_images_and_uneven_captions(root):
    opened = open_set("coco", root)
    assert [key.partition("/")[0] for key in opened.images.keys] == ["val2014"] * 3
    assert np.bincount(opened.image_of).tolist() == [5, 6, 7]
    assert [replicas.number_of(opened.images[i]) for i in range(3)] == [1, 3, 4]
    assert opened.captions[0] == "A dog."
    assert opened.captions[5] == opened.captions[11] == "A man on a bench."
    assert "1 captions repeat another one; such ties lose" in opened.notes


def test_sugarcrepe_is_seven_subsets_over_one_list_of_images(root, tmp_path):
    subsets = open_set("sugarcrepe", root)
    assert [s.name.partition("/")[2] for s in subsets] == [
        "replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att",
    ]  # fmt: skip
    assert len({id(s.images) for s in subsets}) == 1
    assert len(subsets[0].images) == 6
    assert [len(s.positive) for s in subsets] == [2, 3, 4, 5, 6, 7, 8]
    for rank, subset in enumerate(subsets):
        for item, image in enumerate(subset.image_of):
            assert subset.images.keys[image] == f"{(item + rank) % 6 + 139:012d}.jpg"
            assert subset.positive[item].endswith(f"right {item}")
            assert subset.negative[item].endswith(f"wrong {item}")
    grayscale = subsets[0].images.keys.index("000000000141.jpg")
    assert subsets[0].images[grayscale].mode == "RGB"
    replicas.sugarcrepe(tmp_path, "sugarcrepe", "sugarcrepe/val2017")
    assert open_set("sugarcrepe", tmp_path)[0].images.keys == subsets[0].images.keys


@pytest.mark.parametrize(("inside", "images"), [("winoground", "images"), ("winoground/data", "images")])
def test_winoground_has_two_images_and_two_captions_an_item(inside, images, tmp_path):
    replicas.winoground(tmp_path, inside, images)
    opened = open_set("winoground", tmp_path)
    assert opened.image_of.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert opened.captions[2] == ("a dog sees cat 2", "a cat sees dog 2")
    assert opened.kinds == ("Object", "Object", "Relation", "Object")
    assert opened.images.keys[4:6] == ("ex_2_img_0", "ex_2_img_1")
    assert [opened.images[i].getpixel((0, 0))[0] for i in range(8)] == [10 * i for i in range(8)]


def test_the_pairs_of_drawings_differ_in_one_word_or_in_the_order_of_two():
    opened = open_set("emoji-pairs", None)
    assert len(opened.captions) == len(opened.kinds) == len(set(opened.captions))
    assert (opened.image_of[:, 0] != opened.image_of[:, 1]).all()
    assert sorted(set(opened.image_of.ravel())) == list(range(len(opened.images)))
    contents = [opened.images.read(i) for i in range(len(opened.images))]
    assert len(set(contents)) == len(contents)
    assert {opened.images[i].size for i in (0, 500)} == {(64, 64)}
    for kind, captions in zip(opened.kinds, opened.captions, strict=True):
        words = [re.findall(r"[^ ,:]+", caption) for caption in captions]
        if kind == "skin_tones_swapped":
            assert sorted(words[0]) == sorted(words[1])
            assert words[0] != words[1]
        elif kind != "colour" and kind != "hair":  # "light blue" and "red hair" are two words
            assert len({(a, b) for a, b in zip(*words, strict=True) if a != b}) == 1  # maybe in two places: man, man
        else:
            assert 1 <= len(set(words[0]) ^ set(words[1])) <= 4


def test_cifar_pixels_are_planes(tmp_path):
    """Red, green and blue follow one another, each row by row."""
    replicas.cifar(tmp_path, "cifar10")
    planes = np.arange(3072, dtype=np.uint16).astype(np.uint8).reshape(1, 3072).repeat(10, axis=0)
    entry = {"data": planes, "labels": list(range(10))}
    replicas.put(tmp_path / "cifar-10-batches-py" / "test_batch", replicas.python2_pickle(entry))
    test = open_set("cifar10", tmp_path).test
    pixels = np.asarray(test.images[9])
    assert pixels.shape == (32, 32, 3)
    for channel in range(3):
        for row, column in ((0, 0), (0, 5), (7, 31)):
            assert pixels[row, column, channel] == (1024 * channel + 32 * row + column) % 256
    assert test.images.keys[9] == "test_batch/00009"
    assert test.images.read(9) == planes[9].tobytes()


def test_nothing_is_decoded_before_it_is_asked_for(tmp_path):
    replicas.dtd(tmp_path)
    damaged = tmp_path / "dtd" / "images" / "banded" / "banded_0003.jpg"
    damaged.write_bytes(b"no image")
    opened = open_set("dtd", tmp_path)
    index = opened.test.images.keys.index("images/banded/banded_0003.jpg")
    assert opened.test.images.read(index) == b"no image"
    with pytest.raises(OSError, match=r"banded_0003\.jpg: .*no known format"):
        opened.test.images[index]


def test_sets_are_frozen(root):
    with pytest.raises(dataclasses.FrozenInstanceError):
        open_set("dtd", root).name = "other"


def test_the_page_of_data_sets_is_the_catalogues():
    text = PAGE["page"]()
    assert PAGE["PAGE"].read_text(encoding="utf-8") == text, "run python scripts/datasets_page.py"
    assert max(map(len, text.splitlines())) <= 100
    for entry in ENTRIES:
        section = " ".join(text.split(f"\n### `{entry.name}`: {entry.title}\n")[1].split("\n#")[0].split())
        assert f"- Contents: {PAGE['code'](entry.layout)} -" in section
        assert f"- Traps: {entry.traps}" in section
        assert all(f"`{folder}/`" in section for folder in entry.folders)


@pytest.mark.parametrize("name", names())
def test_counts_and_metrics_on_the_page_are_the_readers(name, root):
    opened = open_set(name, root)
    shown = [int(number.replace(",", "")) for number in re.findall(r"\d[\d,]*", PAGE["SPLITS"][name])]
    if isinstance(opened, tuple):
        assert shown == [sum(dict(subset.expected)["items"] for subset in opened), 1560]
    else:
        assert shown == [count for _, count in opened.expected]
    if isinstance(opened, Classification):
        metric = PAGE["METRICS"].get(name, "top-1")
        assert metric == {"top1": "top-1", "mean_per_class": "mean per class"}[opened.metric]


@pytest.mark.parametrize(
    ("name", "variant", "folders"),
    [
        ("caltech101", "", ("caltech101/101_ObjectCategories", "caltech101/101_ObjectCategories/crab")),
        ("imagenet", "", ("imagenet/val", "imagenet/val/n01440764", "imagenet/train/n01440764")),
        ("imagenet", "devkit", ("imagenet/val",)),
        ("imagenet", "kaggle", ("imagenet/val",)),
    ],
)
def test_hidden_files_and_other_suffixes_change_nothing_and_are_counted(name, variant, folders, replica):
    """A checkpoint of Jupyter's would shift Caltech's draw; `valprep.sh` beside ImageNet's images would be an image."""
    root = replica(variant)
    clean = open_set(name, root)
    added = []
    try:
        for folder in folders:
            for rubbish in ("._x.jpg", "Thumbs.db", ".ipynb_checkpoints/x.jpg", "@eaDir/x.jpg", "a.jpg~"):
                added.append(root / folder / rubbish)
        added.append(root / folders[-1] / "valprep.sh")
        for file in added:
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(b"x")
        spoilt = open_set(name, root)
    finally:
        for file in added:
            file.unlink(missing_ok=True)
            if file.parent.name in (".ipynb_checkpoints", "@eaDir"):
                file.parent.rmdir()
    assert list(spoilt.test.images.keys) == list(clean.test.images.keys)
    assert (spoilt.test.labels == clean.test.labels).all()
    if clean.train is not None:
        assert list(spoilt.train.images.keys) == list(clean.train.images.keys)

    def left_out(notes):
        return {n.partition(": ")[0]: int(n.partition(": ")[2].partition(",")[0]) for n in notes if "left out: " in n}

    hidden = left_out(clean.notes).get("hidden files and system files left out", 0)  # Caltech's replica has one
    assert left_out(spoilt.notes) == {
        "hidden files and system files left out": hidden + 5 * len(folders),
        "files without the suffix of an image left out": 1,
    }
