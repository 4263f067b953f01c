"""Caption files of retrieval data sets: COCO captions, Karpathy's splits, Flickr30k's token file."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from askew.data.sources import splits
from askew.data.sources.base import SourceOptions
from askew.data.sources.delimited import lines_of
from askew.data.sources.files import CaptionsByPath, FileSource
from askew.data.sources.near import located
from askew.data.sources.tables import TableSource, json_of
from askew.errors import UserError

SENTENCE = ("raw", "sentence", "caption", "text")  # where a Karpathy sentence keeps its text


def open_json(path: Path, options: SourceOptions) -> FileSource:
    """COCO captions (`images`, `annotations`), a Karpathy split (`images` with `sentences`), or an array of records.

    Raises:
        UserError: JSON of another form, an empty split, or images that cannot be found.
    """
    content = json_of(path)
    if isinstance(content, list):
        return TableSource(path, options)
    images = content.get("images") if isinstance(content, dict) else None
    if not (isinstance(images, list) and images and all(isinstance(image, dict) for image in images)):
        raise UserError(
            f"{path}: neither COCO captions (images, annotations), nor a Karpathy split (images, sentences), nor an "
            "array of records with an image and a caption"
        )
    try:
        if "sentences" in images[0]:
            pairs, said = karpathy(images, options, path)
            return opened(path, pairs, "Karpathy split", options, [said])
        return opened(path, coco(images, content["annotations"]), "COCO captions", options)
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: an entry lacks {error}; docs/sources.md lists what is read") from error


def karpathy(images: list[dict[str, Any]], options: SourceOptions, path: Path) -> tuple[CaptionsByPath, str]:
    """Images of one split, with their raw sentences, and one line that names the split."""
    counts = Counter(str(image["split"]) for image in images)
    chosen, said = splits.rows_of_split("split", counts, options, str(path))
    pairs = CaptionsByPath()
    for image in images:
        if chosen is None or str(image["split"]) in chosen:
            name = f"{image['filepath']}/{image['filename']}" if image.get("filepath") else str(image["filename"])
            pairs.add(name, [_sentence(sentence) for sentence in image["sentences"]])
    return pairs, said


def _sentence(sentence: Any) -> Any:
    """The text of one sentence, which is a mapping in Karpathy's files, and a text in some copies of them."""
    if not isinstance(sentence, dict):
        return sentence
    return sentence[next((key for key in SENTENCE if key in sentence), SENTENCE[0])]


def coco(images: list[dict[str, Any]], annotations: list[dict[str, Any]]) -> CaptionsByPath:
    """Images in the order of the file, with their captions. Images without a caption are bad samples."""
    captions: dict[Any, list[Any]] = {image["id"]: [] for image in images}
    for annotation in annotations:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
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
            pairs.add(name.rpartition("#")[0] or name, [caption])
    if not len(pairs):
        raise UserError(f"{path}: the file is empty")
    return opened(path, pairs, "Flickr captions", options)


def opened(
    path: Path, pairs: CaptionsByPath, what: str, options: SourceOptions, notes: Sequence[str] = ()
) -> FileSource:
    """The source, with its images in the first folder near it that holds any of the first hundred."""
    table = pairs.table()
    root = located(path, table, options)
    return FileSource(root, table, f"{what} {path.name}", options.allow_outside, tuple(notes), pairs.facts())
