"""Data sets of images and sentences: Flickr30k and COCO for retrieval, SugarCrepe for preference."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from askew.errors import printable
from askew.evaluation.datasets.base import Captioned, Preference
from askew.evaluation.datasets.folder import DatasetFolder

SUGARCREPE = {
    "replace_obj": 1652, "replace_att": 788, "replace_rel": 1406, "swap_obj": 245, "swap_att": 666,
    "add_obj": 2062, "add_att": 692,
}  # fmt: skip
"""Number of items in each subset."""

KARPATHY = {"flickr30k": "dataset_flickr30k.json", "coco": "dataset_coco.json"}  # his files, of all splits
FLICKR30K_IMAGES = ("flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images", "images")


def flickr30k(folder: DatasetFolder) -> Captioned:
    """Flickr30k, Karpathy's 1,000 test images: dataset_flickr30k.json, or the token file and a list of test images.

    A line of the token file (results_20130124.token) is IMAGE.jpg#NUMBER, a tab, and a caption. It has no splits, so
    test.txt beside it lists the test images, one number or file name per line.
    """
    images = folder.inside(*FLICKR30K_IMAGES)
    if (folder.path / KARPATHY["flickr30k"]).exists():
        pairs, source = _karpathy(folder, KARPATHY["flickr30k"]), KARPATHY["flickr30k"]
    elif (folder.path / "results_20130124.token").exists():
        source = "results_20130124.token"
        captions_of: dict[str, list[str]] = {}
        for line in folder.lines(source):
            image, tab, caption = line.partition("\t")
            if not tab:
                raise folder.wrong(f"{source}: the line {printable(line, 60)!r} has no tab")
            captions_of.setdefault(image.partition("#")[0], []).append(caption)
        names = [line if line.endswith(".jpg") else f"{line}.jpg" for line in folder.lines("test.txt")]
        pairs = [(name, captions_of.get(name, [])) for name in names]
    else:
        raise folder.missing(KARPATHY["flickr30k"])
    return _captioned(images, pairs, source, (("images", 1000), ("captions", 5000)))


def coco(folder: DatasetFolder) -> Captioned:
    """COCO, Karpathy's 5,000 test images and all their captions, five to seven each: dataset_coco.json, val2014/."""
    folder.find("val2014")
    pairs = _karpathy(folder, KARPATHY["coco"])
    return _captioned(folder, pairs, KARPATHY["coco"], (("images", 5000), ("captions", 25010)))


def _karpathy(folder: DatasetFolder, file: str) -> list[tuple[str, list[str]]]:
    """(path, captions) of each test image in Karpathy's JSON, in its order. COCO's entries also name the folder."""
    try:
        return [
            ("/".join(filter(None, (entry.get("filepath"), entry["filename"]))), [s["raw"] for s in entry["sentences"]])
            for entry in _json(folder, folder.find(file))["images"]
            if entry["split"] == "test"
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise folder.wrong(f"{file} is not Karpathy's file ({type(error).__name__}: {error})") from error


def _captioned(folder: DatasetFolder, pairs: list[tuple[str, list[str]]], source: str, expected: tuple) -> Captioned:
    """Every caption of every image. An image without captions, or with an empty one, is an error."""
    if not pairs:
        raise folder.wrong(f"{source} has no images of the split 'test'")
    bare = [path for path, captions in pairs if not captions or not all(c.strip() for c in captions)]
    if bare:
        raise folder.wrong(f"{source} has {len(bare)} images without a caption, the first is {printable(bare[0])}")
    captions = tuple(caption for _, texts in pairs for caption in texts)
    repeated = len(captions) - len(set(captions))
    return Captioned(
        folder.name,
        folder.files([path for path, _ in pairs], source),
        captions,
        np.repeat(np.arange(len(pairs)), [len(texts) for _, texts in pairs]),
        expected,
        ("Karpathy's test split, all captions as written",)
        + ((f"{repeated} captions repeat another one; such ties lose",) if repeated else ()),
    )


def sugarcrepe(folder: DatasetFolder) -> tuple[Preference, ...]:
    """SugarCrepe's seven subsets, which share one list of COCO val2017 images without repetitions.

    A subset is a JSON object of items {filename, caption, negative_caption}. Its keys are numbers as strings, and those
    of swap_obj have gaps. The images are looked for in val2017/, and in coco/val2017/ beside the data set's folder.
    """
    subsets: dict[str, list[dict[str, str]]] = {}
    for subset in SUGARCREPE:
        path = folder.find(f"data/{subset}.json", f"{subset}.json")
        items = _json(folder, path)
        items = list(items.values()) if isinstance(items, dict) else []
        wrong = [item for item in items if not _is_item(item)]
        if wrong or not items:
            raise folder.wrong(
                f"{path.name} is not a subset: "
                + (f"{printable(str(wrong[0]), 80)} lacks a field" if wrong else "it is not a JSON object of items")
            )
        subsets[subset] = items
    names = list(dict.fromkeys(item["filename"] for items in subsets.values() for item in items))
    index = {name: number for number, name in enumerate(names)}
    if (folder.path / "val2017").is_dir():
        where = folder.inside("val2017")
    else:
        beside = DatasetFolder(folder.name, folder.path.parent, "SugarCrepe's images in coco/val2017")
        where = beside.inside("coco/val2017")
    images = where.files(names, "data/*.json")
    return tuple(
        Preference(
            f"{folder.name}/{subset}",
            images,
            np.array([index[item["filename"]] for item in items]),
            tuple(item["caption"] for item in items),
            tuple(item["negative_caption"] for item in items),
            (("items", SUGARCREPE[subset]),),
        )
        for subset, items in subsets.items()
    )


def _is_item(item: Any) -> bool:
    fields = ("filename", "caption", "negative_caption")
    return isinstance(item, dict) and all(isinstance(item.get(field), str) and item[field].strip() for field in fields)


def _json(folder: DatasetFolder, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise folder.wrong(f"{path.name} is not valid JSON ({error})") from error
