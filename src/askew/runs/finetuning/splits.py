"""What a model is fine-tuned on, what its learning rate is chosen on, and what it is tested on."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from askew.config import EvaluateEntry
from askew.data.files import replacing_file
from askew.data.sources import Source, SourceOptions, open_source
from askew.data.sources.each_caption import caption_counts
from askew.data.sources.recognise import absolute_source
from askew.data.sources.selection import Origin, contents_of_source
from askew.errors import UserError, printable, writing
from askew.evaluation.datasets import catalog
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.datasets.captioned import FLICKR30K_IMAGES, KARPATHY
from askew.evaluation.datasets.custom import captioned
from askew.evaluation.results import item_hash
from askew.runs.custom_data import source_options

EPOCHS = {"flickr30k": 10, "coco": 5}  # ALBEF's, since the paper gives none
SEED = 0  # of a share of the training images


@dataclass(frozen=True)
class RetrievalSplits:
    """Three splits of one data set.

    Attributes:
        name: of the data set, in results.
        train: settings of a recipe that name the training data.
        validation: what every run is evaluated on while it trains.
        test: images that no run sees and no choice depends on.
        place: where custom test data are; "" for sets of the catalogue.
        epochs: 0 leaves them to the recipe.
        is_listed: whether training and validation images are lists of images of one source.
    """

    name: str
    train: tuple[str, ...]
    validation: EvaluateEntry
    test: Captioned
    place: str = ""
    epochs: int = 0
    is_listed: bool = False


def of_suite(suite: str, root: Path | None) -> list[RetrievalSplits]:
    """Karpathy's splits of Flickr30k and COCO, by name, separated by commas.

    Raises:
        UserError: another name, no data root, or a data set that is not there.
    """
    names = list(dict.fromkeys(suite.split(",")))
    if unknown := [name for name in names if name not in KARPATHY]:
        raise UserError(
            f"--suite {printable(','.join(unknown))}: retrieval is fine-tuned on {' and '.join(KARPATHY)}; name "
            "data of your own with --data"
        )
    if root is None:
        raise UserError(f"--suite {suite} needs --data-root DIR, the folder that holds the data sets")
    return [_karpathy(name, root) for name in names]


def _karpathy(name: str, root: Path) -> RetrievalSplits:
    entry = catalog.find_entry(name)
    test = entry.open(root)
    assert isinstance(test, Captioned), "both sets are captioned"
    folder = entry.folder(root)
    file = folder.path / KARPATHY[name]
    if not file.is_file():
        raise UserError(
            f"{name}: {printable(str(file), 400)} is missing; fine-tuning needs Karpathy's file, which says "
            "which images are for training and validation"
        )
    images = folder.inside(*FLICKR30K_IMAGES) if name == "flickr30k" else folder
    source, root_of_images = str(file.absolute()), str(images.path.absolute())
    settings = (f"data.image_root={json.dumps(root_of_images)}",)
    validation = EvaluateEntry.model_validate({"data": source, "set": [*settings, "data.split=validation"]})
    return RetrievalSplits(name, (_named(source), *settings, "data.split=train"), validation, test, "", EPOCHS[name])


def of_custom(
    data: str, validation: str, test: str, sets: tuple[str, ...], folder: Path, say: Callable[[str], None]
) -> RetrievalSplits:
    """A user's own data.

    Args:
        data: the training data, or data that name their splits.
        validation: other data; a share of the training images, such as "0.1"; or "" for the split of that name.
        test: other data, or "" for the split of that name.
        sets: how all of them are read.
        folder: where the lists of a share are written.

    Raises:
        UserError: a split that is not there, or that cannot be read.
    """
    plain = source_options(sets)
    options = {split: replace(plain, split=split) for split in ("train", "validation", "test")}
    how = tuple(setting for setting in sets if not setting.startswith("data.split="))
    _refuse_a_choice_of_split(sets)
    for option, source in (("--validation", validation), ("--test", test)):
        if source and _is_source(source) and absolute_source(source) == absolute_source(data):
            raise UserError(f"{option} names the training data; leave it out if they name splits, or name other data")
    if validation and test and _is_source(validation) and absolute_source(validation) == absolute_source(test):
        _require_split(test, options["validation"])  # otherwise both would be all of them
    tested = captioned(test, _preferring(plain, test, "test")) if test else _split_to_test(data, options["test"])
    share = _share(validation)
    if share:
        chosen, rest = _divided(data, options["train"], share, folder, say)
        train, entry = (_named(str(rest)),), EvaluateEntry(data=str(chosen))
    elif validation:
        train = (_named(absolute_source(data)), *how)
        read = _preferring(plain, validation, "validation").split
        entry = EvaluateEntry.model_validate({"data": absolute_source(validation), "set": [*how, f"data.split={read}"]})
    else:
        _require_split(data, options["validation"])
        train = (_named(absolute_source(data)), *how, "data.split=train")
        entry = EvaluateEntry.model_validate({"data": absolute_source(data), "set": [*how, "data.split=validation"]})
    return RetrievalSplits(tested.name, train, entry, tested, absolute_source(test or data), is_listed=share > 0)


def _refuse_a_choice_of_split(sets: tuple[str, ...]) -> None:
    chosen = next((setting for setting in sets if setting.startswith("data.split=")), "")
    if chosen:
        raise UserError(
            f"--set {printable(chosen)}: the splits train, validation and test are read; to use others, name files "
            "or folders with --data, --validation and --test"
        )


def _preferring(options: SourceOptions, source: str, split: str) -> SourceOptions:
    """How other data are read: the split of that name, where they name splits; all of them where they name none.

    Raises:
        UserError: they name splits, and not this one.
    """
    named = replace(options, split=split)
    try:
        open_source(source, named)
    except UserError:
        if any(note.startswith("split ") for note in open_source(source, options).notes):
            raise
        return options
    return named


def _named(source: str) -> str:
    return f"data.source={json.dumps(source)}"


def _is_source(validation: str) -> bool:
    """Whether a text names data, and not a share."""
    try:
        float(validation)
    except ValueError:
        return True
    return False


def _share(validation: str) -> float:
    """The share of the training images that a text names; 0 if it names data."""
    try:
        share = float(validation)
    except ValueError:
        return 0.0
    if not 0 < share < 1:
        raise UserError(f"--validation {printable(validation)}: a share of the training images is between 0 and 1")
    return share


def _split_to_test(data: str, options: SourceOptions) -> Captioned:
    try:
        return captioned(data, options)
    except UserError as error:
        raise UserError(f"no test images ({error}): name them with --test SOURCE") from error


def _require_split(data: str, options: SourceOptions) -> None:
    try:
        open_source(data, options)
    except UserError as error:
        raise UserError(
            f"no validation images ({error}): the learning rate is chosen on images of their own; name them with "
            "--validation SOURCE, or take a share of the training images with --validation 0.1"
        ) from error


def _divided(
    data: str, options: SourceOptions, share: float, folder: Path, say: Callable[[str], None]
) -> tuple[Path, Path]:
    """Lists of a share of the images, and of the others. An image whose bytes occur twice is in one of them.

    Which images these are depends on their bytes alone, so that the order of the data does not matter.
    """
    files = folder / "validation.parquet", folder / "train.parquet"
    if all(file.is_file() for file in files):
        return files
    source = open_source(data, options)
    say(f"data     reading {len(source):,} images once, to set {share:.0%} of them aside for validation")
    keys = np.array([_key(source, index) for index in range(len(source))])
    distinct = np.unique(keys[keys != ""])
    number = round(share * len(distinct))
    if not 0 < number < len(distinct):
        raise UserError(f"--validation {share:g}: of {len(distinct):,} images this leaves none on one side")
    chosen = np.isin(keys, distinct[:number])
    counts = caption_counts(source)
    origin = Origin(absolute_source(data), options, contents_of_source(source, int(counts.sum())))
    for file, rows in zip(files, (np.flatnonzero(chosen), np.flatnonzero(~chosen & (keys != ""))), strict=True):
        samples = np.repeat(rows, counts[rows])
        captions = np.concatenate([np.arange(count) for count in counts[rows]])
        table = pa.table({**origin.columns(len(samples)), "sample": samples, "caption": captions})
        with writing("the list of images", folder), replacing_file(file) as temporary:
            pq.write_table(table, temporary)
    return files


def _key(source: Source, index: int) -> str:
    """A hash that orders images at random; "" for one that cannot be read."""
    try:
        return item_hash(str(SEED), str(source[index].matched))
    except OSError:
        return ""
