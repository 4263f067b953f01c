"""What an evaluation data set is: images by index, the labels or captions that belong to them, and published counts.

Readers (the other modules of this folder) make data sets, tasks (askew.evaluation.tasks) take them. An image is decoded
only when it is asked for, so a set of a million images is no more than a list of paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from askew.errors import UserError


class Images(Protocol):
    """Images by index. `keys[i]` names image i: a path inside the set or an index, the same on every machine.

    A collection that stores pixels may also have `pixels(index)`, (H, W, 3) uint8 of the same image, which saves a way
    through Pillow where a model takes images of that size.
    """

    keys: Sequence[str]

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The bytes that a content hash is taken of: the encoded image, or raw pixels if the set stores pixels."""
        ...

    def __getitem__(self, index: int) -> Image.Image:
        """The RGB image at its full size. Raises an OSError that names the key if the image cannot be read."""
        ...


class SomeImages:
    """Some images of a collection, in the order of `indices`, under their own keys; with `pixels` if that has them."""

    keys: Sequence[str]

    def __init__(self, images: Images, indices: Sequence[int]):
        self.images, self.indices = images, indices
        self.keys = tuple(images.keys[index] for index in indices)
        inner = getattr(images, "pixels", None)
        if inner is not None:
            self.pixels = lambda index: inner(self.indices[index])

    def __len__(self) -> int:
        return len(self.indices)

    def read(self, index: int) -> bytes:
        """The bytes of an image."""
        return self.images.read(self.indices[index])

    def __getitem__(self, index: int) -> Image.Image:
        return self.images[self.indices[index]]


@dataclass(frozen=True)
class Labelled:
    """One split: n images and their labels (n,), which are indices into the set's classes."""

    images: Images
    labels: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.labels), "one label per image"


@dataclass(frozen=True)
class Classification:
    """A labelled data set, for zero-shot classification and linear probes.

    Attributes:
        name: the set's name in results, for example "flowers102".
        metric: the one that the paper reports, "top1" or "mean_per_class".
        classes: the names of each class; most classes have one, some have several.
        templates: prompts, each with one `{}`.
        test: the split that results are reported on.
        train, validation: the splits of the probe; None if the set has none.
        class_orders: other class orders to report beside the right one, by name (Flowers: "lexicographic"). Under
            `order`, class c gets the names of class order[c].
        expected: published sizes by split, for example {"test": 6149}; stored beside the sizes that were found.
        notes: what a reader of the numbers should know, one short line each.
        warnings: what makes the numbers doubtful, one line each; printed as warnings, and stored with the result.
    """

    name: str
    metric: Literal["top1", "mean_per_class"]
    classes: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]
    test: Labelled
    train: Labelled | None = None
    validation: Labelled | None = None
    class_orders: tuple[tuple[str, tuple[int, ...]], ...] = ()
    expected: tuple[tuple[str, int], ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Captioned:
    """Images and captions for retrieval; caption j belongs to image `image_of[j]`."""

    name: str
    images: Images
    captions: tuple[str, ...]
    image_of: np.ndarray
    expected: tuple[tuple[str, int], ...] = ()  # "images", "captions"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preference:
    """Items of one image with a right and a wrong caption (SugarCrepe); item i is about image `image_of[i]`."""

    name: str
    images: Images
    image_of: np.ndarray
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    expected: tuple[tuple[str, int], ...] = ()  # "items"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class TwoByTwo:
    """Items of two images and two captions, each caption right for one of the images (Winoground).

    Attributes:
        image_of: (n, 2) the images of each item; caption k of an item belongs to its image k.
        captions: (n) pairs.
        kinds: (n) what distinguishes the captions of each item; every kind is reported for itself.
    """

    name: str
    images: Images
    image_of: np.ndarray
    captions: tuple[tuple[str, str], ...]
    kinds: tuple[str, ...]
    expected: tuple[tuple[str, int], ...] = ()  # "items", "images"
    notes: tuple[str, ...] = ()


EvaluationSet = Classification | Captioned | Preference | tuple[Preference, ...] | TwoByTwo


class MissingSet(UserError):
    """A data set, or a part of one, is not there. The message says where it belongs and how it is laid out.

    Attributes:
        name: the data set's name in the catalogue.
    """

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name
