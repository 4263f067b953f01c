"""Small replicas of every evaluation data set, in its real layout and file formats.

The colour of an image encodes the class that it belongs to, as the class's number in the set's own order (`shade`).
So a test can compare what an image shows with the label and the name that it was given. Text files are written
unsorted.
"""

import functools
import io
import json
import random
import struct
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from askew.evaluation.datasets.prompts import prompts


def shade(number: int) -> tuple[int, int, int]:
    """A distinct colour for each of a thousand classes, far enough from the others to survive JPEG."""
    return 25 * (number % 10), 25 * (number // 10 % 10), 25 * (number // 100)


def number_of(image: Image.Image) -> int:
    """The class number that an image's colour encodes."""
    digits = [round(float(value) / 25) for value in np.asarray(image, dtype=float).mean(axis=(0, 1))]
    return digits[0] + 10 * digits[1] + 100 * digits[2]


@functools.cache
def jpeg(number: int) -> bytes:
    """An 8 x 8 image of the class's colour."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), shade(number)).save(file, "JPEG", quality=95)
    return file.getvalue()


def put(path: Path, data: bytes | str) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(data, str):
        path.write_text(data, encoding="utf-8")
    else:
        path.write_bytes(data)


def unsorted(lines: list[str]) -> str:
    """The lines in another order than that of the classes, with an empty one at the end."""
    return "\n".join(random.Random(5).sample(lines, len(lines))) + "\n\n"


def pets(root: Path) -> list[str]:
    """Breeds numbered without regard to case, as in the official files. Returns the classes in that order."""
    order = sorted(prompts("pets").keys, key=str.lower)
    species = {breed: 1 if breed[0].isupper() else 2 for breed in order}
    folder = root / "oxford-iiit-pet"
    for split, numbers in (("trainval", (1, 20, 100)), ("test", (3, 7))):
        lines = []
        for index, breed in enumerate(order):
            for number in numbers:
                put(folder / "images" / f"{breed}_{number}.jpg", jpeg(index))
                lines.append(f"{breed}_{number} {index + 1} {species[breed]} {index % 12 + 1}")
        put(folder / "annotations" / f"{split}.txt", unsorted(lines))
    put(folder / "images" / "Abyssinian_100.mat", b"the archive holds a few of these")
    return order


def food101(root: Path) -> list[str]:
    """meta/*.txt beside the JSON files of the archive."""
    order, folder = list(prompts("food101").keys), root / "food-101"
    for split, numbers in (("train", (1011, 27)), ("test", (300,))):
        lines = [f"{name}/{number}" for name in order for number in numbers]
        for line in lines:
            put(folder / "images" / f"{line}.jpg", jpeg(order.index(line.partition("/")[0])))
        put(folder / "meta" / f"{split}.txt", unsorted(lines))
    put(folder / "meta" / "classes.txt", "\n".join(order))
    return order


def dtd(root: Path, inside: str = "dtd") -> list[str]:
    """labels/*1.txt, and those of split 2, which list other images."""
    order, folder = list(prompts("dtd").keys), root / inside
    for split, number in (("train1", 1), ("val1", 2), ("test1", 3), ("train2", 4)):
        lines = [f"{name}/{name}_{number:04d}.jpg" for name in order]
        for index, line in enumerate(lines):
            put(folder / "images" / line, jpeg(index))
        put(folder / "labels" / f"{split}.txt", unsorted(lines))
    return order


def aircraft(root: Path) -> list[str]:
    """Variants have spaces and slashes in their names. Images are numbered."""
    order, folder = list(prompts("aircraft").keys), root / "fgvc-aircraft-2013b" / "data"
    put(folder / "variants.txt", "\n".join(order) + "\n")
    image = 1000000
    for split, count in (("train", 2), ("val", 1), ("test", 1)):
        lines = []
        for index, variant in enumerate(order):
            for _ in range(count):
                image += 17
                put(folder / "images" / f"{image:07d}.jpg", jpeg(index))
                lines.append(f"{image:07d} {variant}")
        put(folder / f"images_variant_{split}.txt", unsorted(lines))
    return order


KINDS = ("indoor", "outdoor", "interior", "exterior", "natural", "urban", "public", "platform", "baseball", "football")
NO_KIND = ("subway interior", "bus interior", "van interior", "limousine interior")


def sun_path(name: str) -> str:
    """a/abbey, a/apartment_building/outdoor: a kind is a folder."""
    words = name.split()
    if words[-1] in KINDS and name not in NO_KIND:
        return f"{name[0]}/{'_'.join(words[:-1])}/{words[-1]}"
    return f"{name[0]}/{'_'.join(words)}"


def sun397(root: Path, partitions: str = "") -> list[str]:
    """ClassName.txt in the order of the paths, which is not that of the names: jail/indoor comes before jail_cell."""
    order, folder = sorted(prompts("sun397").keys, key=sun_path), root / "SUN397"
    put(folder / partitions / "ClassName.txt", "\n".join(f"/{sun_path(name)}" for name in order) + "\n")
    for split, letter in (("Training_01", "a"), ("Testing_01", "b"), ("Training_02", "c")):
        lines = []
        for index, name in enumerate(order):
            lines.append(f"/{sun_path(name)}/sun_{letter}{index:015d}.jpg")
            put(folder / lines[-1][1:], jpeg(index))
        put(folder / partitions / f"{split}.txt", unsorted(lines))
    return order


def flowers102(root: Path) -> list[str]:
    """Images numbered from 1, not sorted by class; trnid, valid and tstid have 1, 1 and 2 images per class."""
    folder, rng = root / "flowers-102", np.random.default_rng(3)
    labels = rng.permutation(np.repeat(np.arange(1, 103), 4))
    for image, label in enumerate(labels, 1):
        put(folder / "jpg" / f"image_{image:05d}.jpg", jpeg(label - 1))
    of = [np.flatnonzero(labels == label) + 1 for label in range(1, 103)]
    split = {"trnid": [i[0] for i in of], "valid": [i[1] for i in of], "tstid": [n for i in of for n in i[2:]]}
    savemat(folder / "imagelabels.mat", {"labels": labels[None].astype(np.uint8)})
    savemat(folder / "setid.mat", {key: rng.permutation(ids)[None].astype(np.uint16) for key, ids in split.items()})
    return [str(number) for number in range(1, 103)]


def cars(root: Path, nested: bool = False, labels_in: str = ".") -> list[str]:
    """The devkit's structures: bounding boxes, a class from 1, a file name. The test labels are a separate file."""
    order, folder = list(prompts("cars").keys), root / "stanford_cars"
    boxes = [(f"bbox_{corner}", "O") for corner in ("x1", "y1", "x2", "y2")]
    for split, count, path in (
        ("train", 2, "devkit/cars_train_annos.mat"), ("test", 1, f"{labels_in}/cars_test_annos_withlabels.mat"),
    ):  # fmt: skip
        labels = np.random.default_rng(count).permutation(np.repeat(np.arange(1, 197), count))
        rows = np.zeros((1, len(labels)), dtype=[*boxes, ("class", "O"), ("fname", "O")])
        for image, label in enumerate(labels):
            name = f"{image + 1:05d}.jpg"
            inside = f"cars_{split}/cars_{split}" if nested else f"cars_{split}"
            put(folder / inside / name, jpeg(label - 1))
            rows[0, image] = (1, 1, 7, 7, label, name)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        savemat(folder / path, {"annotations": rows})
    names = np.array([name.replace("/", "-") for name in order], dtype=object)[None]
    savemat(folder / "devkit" / "cars_meta.mat", {"class_names": names})
    return order


def caltech101(root: Path, inside: str = "caltech101") -> list[str]:
    """31 to 33 images per class, so that one to three are left for testing, and a file `tmp` in the background."""
    order = list(prompts("caltech101").keys)
    for index, name in enumerate(order):
        data = jpeg(index)
        for number in range(1, 32 + index % 3):
            put(root / inside / "101_ObjectCategories" / name / f"image_{number:04d}.jpg", data)
    put(root / inside / "101_ObjectCategories" / "BACKGROUND_Google" / "tmp", jpeg(0))
    put(root / inside / "101_ObjectCategories" / ".DS_Store", b"hidden")
    return order


def imagenet(root: Path, val: str = "folders", train: bool = True) -> list[str]:
    """val/ in folders of WordNet ids, or side by side with Kaggle's table or the devkit, which has its own numbers."""
    order, folder = list(prompts("imagenet").keys), root / "imagenet"
    numbers = list(range(1000))
    random.Random(2).shuffle(numbers)  # image k of val/ shows class numbers[k]
    for image, index in enumerate(numbers, 1):
        inside = order[index] if val == "folders" else ""
        put(folder / "val" / inside / f"ILSVRC2012_val_{image:08d}.JPEG", jpeg(index))
    if train:
        for index, wnid in enumerate(order):
            put(folder / "train" / wnid / f"{wnid}_{index + 10}.JPEG", jpeg(index))
    if val == "devkit":
        ids = random.Random(4).sample(range(1, 1001), 1000)  # ILSVRC2012_ID of each sorted WordNet id
        kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
        synsets = np.zeros((1001, 1), dtype=kind)
        for index, wnid in enumerate(order):
            synsets[ids[index] - 1, 0] = (ids[index], wnid, f"word {index}", "a gloss", 0)
        synsets[1000, 0] = (1001, "n00001740", "entity", "an inner node", 1000)
        data = folder / "ILSVRC2012_devkit_t12" / "data"
        truth = "\n".join(str(ids[index]) for index in numbers)
        put(data / "ILSVRC2012_validation_ground_truth.txt", truth + "\n")
        savemat(data / "meta.mat", {"synsets": synsets})
    if val == "kaggle":
        rows = [f"ILSVRC2012_val_{i:08d},{order[c]} 1 2 3 4 {order[c]} 5 6 7 8 " for i, c in enumerate(numbers, 1)]
        put(folder / "LOC_val_solution.csv", "ImageId,PredictionString\n" + unsorted(rows))
    return order


def python2_pickle(value) -> bytes:
    """A pickle as Python 2 wrote it at protocol 2: byte strings, and arrays under NumPy's old module name."""

    def text(data: bytes) -> bytes:
        return b"U" + bytes([len(data)]) + data if len(data) < 256 else b"T" + struct.pack("<i", len(data)) + data

    def dump(item) -> bytes:
        if isinstance(item, dict):
            return b"}(" + b"".join(dump(k) + dump(v) for k, v in item.items()) + b"u"
        if isinstance(item, list):
            return b"](" + b"".join(map(dump, item)) + b"e"
        if isinstance(item, str):
            return text(item.encode("latin-1"))
        if isinstance(item, int):
            return b"K" + bytes([item]) if item < 256 else b"J" + struct.pack("<i", item)
        shape = b"".join(dump(size) for size in item.shape)
        dtype = (
            b"cnumpy\ndtype\n"
            + text(b"u1")
            + b"K\x00K\x01\x87R(K\x03"
            + text(b"|")
            + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        start = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85" + text(b"b") + b"\x87R"
        return start + b"(K\x01(" + shape + b"t" + dtype + b"\x89" + text(item.tobytes()) + b"tb"

    return b"\x80\x02" + dump(value) + b"."


def cifar(root: Path, name: str) -> list[str]:
    """The official keys of each batch: 2 images per class in each training batch, 1 in the test batch."""
    order = list(prompts(name).keys)
    coarse = name == "cifar100"
    folder = root / ("cifar-100-python" if coarse else "cifar-10-batches-py")
    batches = {"train": 2, "test": 1} if coarse else {**{f"data_batch_{n}": 2 for n in range(1, 6)}, "test_batch": 1}
    for seed, (batch, count) in enumerate(batches.items()):
        labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(order)), count)).tolist()
        planes = np.array([np.repeat(shade(label), 1024) for label in labels], dtype=np.uint8)
        entry = {
            "batch_label": batch, ("fine_labels" if coarse else "labels"): labels, "data": planes,
            "filenames": [f"{order[label]}_s_{row:06d}.png" for row, label in enumerate(labels)],
        }  # fmt: skip
        if coarse:
            entry["coarse_labels"] = [label % 20 for label in labels]
        put(folder / batch, python2_pickle(entry))
    names = {"fine_label_names": order, "coarse_label_names": ["fish"]} if coarse else {"label_names": order}
    put(folder / ("meta" if coarse else "batches.meta"), python2_pickle(names))
    return order


def flickr30k(root: Path, images: str = "flickr30k-images", token: bool = False) -> None:
    """Karpathy's JSON with train, val and test entries, or the token file with a list. Four test images."""
    folder, entries, lines = root / "flickr30k", [], []
    for number, split in enumerate(["train", "test", "val", "test", "test", "train", "test"]):
        name = f"{1000 + 7 * number}.jpg"
        put(folder / images / name, jpeg(number))
        texts = [f"Sentence {k} about image {number} , as it was written ." for k in range(5)]
        sentences = [{"tokens": text.lower().split(), "raw": text, "imgid": number, "sentid": 5 * number + k}
                     for k, text in enumerate(texts)]  # fmt: skip
        entries.append({"sentids": [], "imgid": number, "sentences": sentences, "split": split, "filename": name})
        lines += [f"{name}#{k}\t{text}" for k, text in enumerate(texts)]
    if token:
        put(folder / "results_20130124.token", "\n".join(lines) + "\n")
        tests = [entry["filename"].partition(".")[0] for entry in entries if entry["split"] == "test"]
        put(folder / "test.txt", "\n".join(tests) + "\n")
    else:
        put(folder / "dataset_flickr30k.json", json.dumps({"images": entries, "dataset": "flickr30k"}))


def coco(root: Path) -> None:
    """Three test images with 5, 6 and 7 captions, one caption twice. `restval` images are in val2014 as well."""
    folder, entries = root / "coco", []
    for number, (split, count) in enumerate(
        [("train", 5), ("test", 5), ("restval", 5), ("test", 6), ("test", 7), ("val", 5)]
    ):
        inside = "train2014" if split == "train" else "val2014"
        name = f"COCO_{inside}_{number + 391000:012d}.jpg"
        if split == "test":
            put(folder / inside / name, jpeg(number))
        texts = [
            f"Caption {k} of {number}." if k else "A man on a bench." if count > 5 else "A dog." for k in range(count)
        ]
        sentences = [{"raw": text, "imgid": number, "sentid": k} for k, text in enumerate(texts)]
        entries.append({"filepath": inside, "filename": name, "imgid": number, "split": split, "sentences": sentences,
                        "cocoid": number + 391000})  # fmt: skip
    put(folder / "dataset_coco.json", json.dumps({"images": entries, "dataset": "coco"}))


def sugarcrepe(root: Path, folder: str = "sugar-crepe", images: str = "coco/val2017") -> None:
    """Seven subsets of two to eight items over six images, one of them grayscale. swap_obj has gaps in its keys."""
    subsets = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
    for number in range(6):
        file = io.BytesIO()
        Image.new("L", (8, 8), 40 * number).save(file, "JPEG")
        put(root / images / f"{number + 139:012d}.jpg", file.getvalue() if number == 2 else jpeg(number))
    for rank, subset in enumerate(subsets):
        items = {
            str(k + (k > 1 and subset == "swap_obj")): {
                "filename": f"{(k + rank) % 6 + 139:012d}.jpg",
                "caption": f"{subset} right {k}",
                "negative_caption": f"{subset} wrong {k}",
            }
            for k in range(rank + 2)
        }
        put(root / folder / "data" / f"{subset}.json", json.dumps(items))


def winoground(root: Path, inside: str = "winoground", images: str = "images") -> None:
    """Four items of eight images; the keys that the reader does not need are there too."""
    items = [
        {"id": k, "image_0": f"ex_{k}_img_0", "image_1": f"ex_{k}_img_1", "caption_0": f"a dog sees cat {k}",
         "caption_1": f"a cat sees dog {k}", "tag": "Noun", "secondary_tag": "", "num_main_preds": 1,
         "collapsed_tag": "Relation" if k == 2 else "Object"}
        for k in range(4)
    ]  # fmt: skip
    put(root / inside / "examples.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    for k in range(4):
        for side in (0, 1):
            file = io.BytesIO()
            Image.new("RGB", (8, 8), (10 * (2 * k + side), 0, 0)).save(file, "PNG")
            put(root / inside / images / f"ex_{k}_img_{side}.png", file.getvalue())


def everything(root: Path) -> None:
    """All data sets under one data root."""
    for make in (
        pets,
        food101,
        dtd,
        aircraft,
        sun397,
        flowers102,
        cars,
        caltech101,
        imagenet,
        flickr30k,
        coco,
        sugarcrepe,
        winoground,
    ):
        make(root)
    cifar(root, "cifar10")
    cifar(root, "cifar100")
