"""Data sets that lack some of their images: refusing them, or going on with what is there.

A reader lists every image that the set should have, and which of them are absent (`ImageFiles.absent`). A task that
needs one of those is refused. With --allow-missing, the set is cut to what is there, before any task sees it.
"""

from dataclasses import replace

import numpy as np

from askew.errors import UserError
from askew.evaluation.datasets.base import (
    Captioned,
    Classification,
    EvaluationSet,
    Images,
    Labelled,
    Preference,
    SomeImages,
    TwoByTwo,
)


class Present(SomeImages):
    """The images of a collection that are there.

    Attributes:
        listed: how many images the whole collection has.
    """

    def __init__(self, images: Images, indices: np.ndarray):
        super().__init__(images, indices.tolist())
        self.listed = len(images)


def require_whole(name: str, images: Images) -> None:
    """Raises UserError if one of the images is absent."""
    absent = _absent(images)
    if len(absent):
        raise UserError(
            f"{name}: {len(absent):,} of its {len(images):,} images are not there, the first is "
            f"{images.keys[absent[0]]}: unpack the images again, or evaluate what is there with --allow-missing"
        )


def counts_of_missing(images: Images) -> dict[str, int]:
    """{"found": images that are there, "listed": images of the whole}; empty for a whole collection."""
    return {"found": len(images), "listed": images.listed} if isinstance(images, Present) else {}


def words_for_missing(missing: dict[str, dict[str, int]]) -> list[str]:
    """A few words for each split that is not whole, for tables and messages."""
    return [
        f"{counts['found']:,} of {counts['listed']:,} images" + ("" if split.isdigit() else f" of {split}")
        for split, counts in missing.items()
    ]


def present(dataset: EvaluationSet) -> EvaluationSet:
    """The part of a data set whose images are there: the same object if all are.

    Captions and items go with their image, so that retrieval has fewer candidates.
    """
    if isinstance(dataset, Classification):
        splits = {"test": dataset.test, "train": dataset.train, "validation": dataset.validation}
        return replace(dataset, **{name: split and _present_labelled(split) for name, split in splits.items()})
    if isinstance(dataset, Captioned):
        return _present_captioned(dataset)
    if isinstance(dataset, Preference):
        return _present_preference(dataset, {})
    if isinstance(dataset, TwoByTwo):
        return _present_two_by_two(dataset)
    made: dict[int, Images] = {}
    return tuple(_present_preference(subset, made) for subset in dataset)


def _absent(images: Images) -> np.ndarray:
    """Indices of the images that are not there. Only collections of files know of any."""
    return np.asarray(getattr(images, "absent", ()), dtype=np.int64)


def _kept(images: Images) -> np.ndarray:
    """Indices of the images that are there."""
    return np.setdiff1d(np.arange(len(images)), _absent(images))


def _present_labelled(split: Labelled) -> Labelled:
    kept = _kept(split.images)
    return split if len(kept) == len(split.images) else Labelled(Present(split.images, kept), split.labels[kept])


def _present_captioned(data: Captioned) -> Captioned:
    kept = _kept(data.images)
    if len(kept) == len(data.images):
        return data
    chosen, image_of = _moved(data.image_of, kept)
    captions = tuple(data.captions[caption] for caption in chosen)
    return replace(data, images=Present(data.images, kept), captions=captions, image_of=image_of)


def _present_preference(data: Preference, made: dict[int, Images]) -> Preference:
    """Args: made: the collections that were cut already, so that subsets go on sharing one."""
    kept = _kept(data.images)
    if len(kept) == len(data.images):
        return data
    images = made.setdefault(id(data.images), Present(data.images, kept))
    chosen, image_of = _moved(data.image_of, kept)
    texts = [tuple(side[item] for item in chosen) for side in (data.positive, data.negative)]
    return replace(data, images=images, image_of=image_of, positive=texts[0], negative=texts[1])


def _present_two_by_two(data: TwoByTwo) -> TwoByTwo:
    """An item stays if both of its images are there."""
    kept = _kept(data.images)
    if len(kept) == len(data.images):
        return data
    whole = np.flatnonzero(np.isin(data.image_of, kept).all(axis=1))
    used = np.unique(data.image_of[whole])
    return replace(
        data,
        images=Present(data.images, used),
        image_of=np.searchsorted(used, data.image_of[whole]),
        captions=tuple(data.captions[item] for item in whole),
        kinds=tuple(data.kinds[item] for item in whole),
    )


def _moved(image_of: np.ndarray, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which entries are about a kept image, and the places that those images have among the kept."""
    chosen = np.flatnonzero(np.isin(image_of, kept))
    return chosen, np.searchsorted(kept, image_of[chosen])
