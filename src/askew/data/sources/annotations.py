"""Caption files of retrieval data sets: COCO captions, Karpathy's splits, Flickr30k's token file."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from askew.data.sources.base import SourceOptions, caption_texts
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.tables import lines_of
from askew.errors import UserError, printable

FOLDERS = (".", "images", "flickr30k-images", "flickr30k_images")  # relative to the file, where images are looked for
TRAINING = {"train": ("train", "restval")}  # Karpathy's leftover validation images belong to training


def open_json(path: Path, options: SourceOptions) -> FileSource:
    """COCO captions (`images`, `annotations`) or a Karpathy split (`images` with `sentences`).

    Raises:
        UserError: JSON of another form, an empty split, or images that cannot be found.
    """
    try:
        content = json.loads(path.read_bytes().decode("utf-8-sig"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise UserError(
            f"{path}: not readable as JSON ({printable(str(error))}); JSON lines belong in a .jsonl file"
        ) from error
    images = content.get("images") if isinstance(content, dict) else None
    if not (isinstance(images, list) and images and all(isinstance(image, dict) for image in images)):
        raise UserError(f"{path}: neither COCO captions (images, annotations) nor a Karpathy split (images, sentences)")
    try:
        if "sentences" in images[0]:
            return located(path, karpathy(images, options.split, path), f"Karpathy split {options.split}", options)
        return located(path, coco(images, content["annotations"]), "COCO captions", options)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: an entry lacks {error}; docs/sources.md lists what is read") from error


def karpathy(images: list[dict[str, Any]], split: str, path: Path) -> CaptionsByPath:
    """Images of one split, with their raw sentences."""
    pairs, wanted, found = CaptionsByPath(), TRAINING.get(split, (split,)), set()
    for image in images:
        found.add(str(image["split"]))
        if image["split"] in wanted:
            name = f"{image['filepath']}/{image['filename']}" if image.get("filepath") else str(image["filename"])
            pairs.add(name, caption_texts([sentence["raw"] for sentence in image["sentences"]]))
    if not len(pairs):
        listed = ", ".join(map(printable, sorted(found)))
        raise UserError(f"{path}: no images of the split {split!r} (data.split); its splits are {listed}")
    return pairs


def coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> CaptionsByPath:
    """Images in the order of the file, with their captions. Images without a caption are bad samples."""
    captions: dict[Any, list[str]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        captions.setdefault(annotation["image_id"], []).extend(caption_texts(annotation["caption"]))
    pairs = CaptionsByPath()
    for image in images:
        pairs.add(str(image["file_name"]), captions[image["id"]])
    return pairs


def open_tokens(path: Path, options: SourceOptions) -> FileSource:
    """Flickr30k's `results_20130124.token`: lines of `NAME.jpg#NUMBER`, a tab, and a caption.

    Raises:
        UserError: a line of another form, or images that cannot be found.
    """
    pairs = CaptionsByPath()
    for number, line in enumerate(lines_of(path), 1):
        if line.strip():
            name, tab, caption = line.partition("\t")
            if not tab:
                raise UserError(f"{path}, line {number}: each line must be NAME.jpg#NUMBER, a tab, and a caption")
            pairs.add(name.rpartition("#")[0] or name, caption_texts(caption))
    if not len(pairs):
        raise UserError(f"{path}: the file is empty")
    return located(path, pairs, "Flickr30k captions", options)


def located(path: Path, pairs: CaptionsByPath, what: str, options: SourceOptions) -> FileSource:
    """The source, with its images in the first folder that holds any of the first hundred images."""
    table = pairs.table()
    some = [name.as_py().decode("utf-8", "surrogateescape") for name in table["path"][:100]]
    roots = [Path(options.image_root).expanduser()] if options.image_root else list(candidates(path))
    for root in roots:
        if any((root / name).is_file() for name in some):
            return FileSource(root, table, f"{what} {path.name}", options.allow_outside)
    looked = ", ".join(map(str, roots))
    raise UserError(
        f"{path}: its images ({printable(some[0])}, ...) are not in {looked}; set data.image_root to their folder"
    )


def candidates(path: Path) -> Iterator[Path]:
    """Folders near a caption file; for annotations/captions_train2017.json also ../train2017."""
    for name in FOLDERS:
        yield path.parent / name
    yield path.parent.parent / path.stem.rpartition("_")[2]
    yield path.parent.parent / "images"
