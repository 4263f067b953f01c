"""Sets of images and sentences: Flickr30k and COCO for retrieval, SugarCrepe for preference."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from askew.errors import printable
from askew.evaluation.places import Place
from askew.evaluation.sets import Captioned, Preference

SUGARCREPE = {
    "replace_obj": 1652, "replace_att": 788, "replace_rel": 1406, "swap_obj": 245, "swap_att": 666,
    "add_obj": 2062, "add_att": 692,
}  # fmt: skip
"""Subset -> items."""


def flickr30k(place: Place) -> Captioned:
    """Flickr30k, Karpathy's 1,000 test images: dataset_flickr30k.json, or the token file with a list of test images.

    The token file (results_20130124.token: IMAGE.jpg#NUMBER, a tab, the caption) has no split; test.txt beside it then
    names the test images, a number or a file name a line.
    """
    images = place.inside("flickr30k-images", "flickr30k_images/flickr30k_images", "flickr30k_images", "images")
    if (place.folder / "dataset_flickr30k.json").exists():
        pairs, source = _karpathy(place, "dataset_flickr30k.json"), "dataset_flickr30k.json"
    elif (place.folder / "results_20130124.token").exists():
        source = "results_20130124.token"
        captions_of: dict[str, list[str]] = {}
        for line in place.lines(source):
            image, tab, caption = line.partition("\t")
            if not tab:
                raise place.wrong(f"{source}: the line {printable(line, 60)!r} has no tab")
            captions_of.setdefault(image.partition("#")[0], []).append(caption)
        names = [line if line.endswith(".jpg") else f"{line}.jpg" for line in place.lines("test.txt")]
        pairs = [(name, captions_of.get(name, [])) for name in names]
    else:
        raise place.missing("dataset_flickr30k.json")
    return _captioned(images, pairs, source, (("images", 1000), ("captions", 5000)))


def coco(place: Place) -> Captioned:
    """COCO, Karpathy's 5,000 test images with all their captions (five to seven each): dataset_coco.json, val2014/."""
    place.find("val2014")
    pairs = _karpathy(place, "dataset_coco.json")
    return _captioned(place, pairs, "dataset_coco.json", (("images", 5000), ("captions", 25010)))


def _karpathy(place: Place, file: str) -> list[tuple[str, list[str]]]:
    """(path, captions) of the test images of Karpathy's JSON, in its order; COCO's entries name the folder too."""
    try:
        return [
            ("/".join(filter(None, (entry.get("filepath"), entry["filename"]))), [s["raw"] for s in entry["sentences"]])
            for entry in _json(place, place.find(file))["images"]
            if entry["split"] == "test"
        ]
    except (KeyError, TypeError, AttributeError) as error:
        raise place.wrong(f"{file} is not Karpathy's file ({type(error).__name__}: {error})") from error


def _captioned(place: Place, pairs: list[tuple[str, list[str]]], source: str, expected: tuple) -> Captioned:
    """Every caption of every image; an image without one, or a caption of nothing, is an error."""
    if not pairs:
        raise place.wrong(f"{source} has no image of the split test")
    bare = [path for path, captions in pairs if not captions or not all(c.strip() for c in captions)]
    if bare:
        raise place.wrong(f"{source} has {len(bare)} images without a caption, the first is {printable(bare[0])}")
    captions = tuple(caption for _, texts in pairs for caption in texts)
    repeated = len(captions) - len(set(captions))
    return Captioned(
        place.name,
        place.files([path for path, _ in pairs], source),
        captions,
        np.repeat(np.arange(len(pairs)), [len(texts) for _, texts in pairs]),
        expected,
        ("Karpathy's test split, all captions as they are written",)
        + ((f"{repeated} captions repeat another: such ties lose",) if repeated else ()),
    )


def sugarcrepe(place: Place) -> tuple[Preference, ...]:
    """SugarCrepe's seven subsets, over one shared list of COCO val2017 images, each image once.

    A subset is a JSON object of items {filename, caption, negative_caption}; its keys are strings of numbers, and in
    swap_obj not contiguous. The images are looked for in the set's own val2017/ and in coco/val2017/ beside it.
    """
    subsets: dict[str, list[dict[str, str]]] = {}
    for subset in SUGARCREPE:
        path = place.find(f"data/{subset}.json", f"{subset}.json")
        items = _json(place, path)
        items = list(items.values()) if isinstance(items, dict) else []
        wrong = [item for item in items if not _is_item(item)]
        if wrong or not items:
            raise place.wrong(
                f"{path.name} is not a subset: "
                + (f"{printable(str(wrong[0]), 80)} lacks a field" if wrong else "it has no items by key")
            )
        subsets[subset] = items
    names = list(dict.fromkeys(item["filename"] for items in subsets.values() for item in items))
    index = {name: number for number, name in enumerate(names)}
    if (place.folder / "val2017").is_dir():
        images = place.inside("val2017")
    else:
        images = Place(place.name, place.folder.parent, "SugarCrepe's images in coco/val2017").inside("coco/val2017")
    images = images.files(names, "data/*.json")
    return tuple(
        Preference(
            f"{place.name}/{subset}",
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


def _json(place: Place, path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise place.wrong(f"{path.name} is not valid JSON ({error})") from error
