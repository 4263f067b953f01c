"""What an evaluation data set is, whoever reads it: images by index, what belongs to them, and where they came from.

Readers (catalog.py and its neighbours) make these; tasks (zero_shot.py, linear_probe.py, retrieval.py, sugarcrepe.py)
take them. Nothing is decoded before it is asked for, so a set of a million images is a list of paths.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from PIL import Image

from askew.errors import UserError


class Images(Protocol):
    """Images by index. `keys[i]` names image i, the same on every machine (a path inside the set, or an index)."""

    keys: Sequence[str]

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """The encoded bytes, or the raw pixels of a set that stores pixels: what a content hash is taken of."""
        ...

    def __getitem__(self, index: int) -> Image.Image:
        """The RGB image, decoded whole (never scaled). Raises OSError with the key where it cannot be read."""
        ...


@dataclass(frozen=True)
class Labelled:
    """A split: images (n) and their labels (n,), indices into the set's classes."""

    images: Images
    labels: np.ndarray

    def __post_init__(self) -> None:
        assert len(self.images) == len(self.labels), "a label for each image"


@dataclass(frozen=True)
class Classification:
    """A labelled data set, for zero-shot classification and linear probes.

    Attributes:
        name: as in results, e.g. "flowers102".
        metric: "top1" or "mean_per_class", the one that the paper reports.
        classes: the names of each class; most have one, some have several.
        templates: prompts with one `{}`.
        test: what is reported.
        train, validation: for the probe; None where a set has none.
        class_orders: other class orders to report beside the right one, by name (Flowers: "lexicographic"): with
            `order`, the names of class order[c] stand for class c.
        expected: published sizes by split, e.g. {"test": 6149}; compared with what was found, and stored.
        notes: what a reader of a number should know, one short line each.
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


@dataclass(frozen=True)
class Captioned:
    """Images and captions for retrieval; `image_of[j]` is the image that caption j belongs to."""

    name: str
    images: Images
    captions: tuple[str, ...]
    image_of: np.ndarray
    expected: tuple[tuple[str, int], ...] = ()  # "images", "captions"
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Preference:
    """Items of one image, a right and a wrong caption (SugarCrepe); `image_of[i]` is item i's image."""

    name: str
    images: Images
    image_of: np.ndarray
    positive: tuple[str, ...]
    negative: tuple[str, ...]
    expected: tuple[tuple[str, int], ...] = ()  # "items"
    notes: tuple[str, ...] = ()


class MissingSet(UserError):
    """A data set, or a part of it, that is not there; the message says where to put it and how it is laid out.

    Attributes:
        name: the data set, as in the catalogue.
    """

    def __init__(self, name: str, message: str):
        super().__init__(message)
        self.name = name
