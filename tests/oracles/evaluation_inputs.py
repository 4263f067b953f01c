"""Embeddings that are given both to other people's evaluation code and to ours, by a seed and a name.

"free" draws random unit vectors: no two scores are equal. "tied" draws vectors of sixteen entries of plus or minus a
quarter: their norm is one, and every dot product is exactly a whole number of eighths, so that many scores are equal,
and equal in any arithmetic. "constant" gives every image and every text the same vector.
"""

from dataclasses import dataclass

import numpy as np

SEED = 20231006
KINDS = ("free", "tied", "constant")
WIDTH = 16
SUBSETS = {
    "replace_obj": 31,
    "replace_att": 17,
    "replace_rel": 29,
    "swap_obj": 7,
    "swap_att": 13,
    "add_obj": 37,
    "add_att": 11,
}


@dataclass(frozen=True)
class Classes:
    """image (n, D), label (n,) and text (K, T, D), a vector for each class and template."""

    image: np.ndarray
    label: np.ndarray
    text: np.ndarray


@dataclass(frozen=True)
class Captions:
    """image (n, D), text (m, D) and image_of (m,), with five to seven texts per image."""

    image: np.ndarray
    text: np.ndarray
    image_of: np.ndarray


@dataclass(frozen=True)
class Choices:
    """image, positive and negative (n, D), one row per item."""

    image: np.ndarray
    positive: np.ndarray
    negative: np.ndarray


@dataclass(frozen=True)
class Items:
    """image and text (n, 2, D): two images and two captions of each item; caption k belongs to image k."""

    image: np.ndarray
    text: np.ndarray


def vectors(kind: str, num: int, rng: np.random.Generator) -> np.ndarray:
    """(num, 16) float32 unit vectors."""
    if kind == "free":
        drawn = rng.normal(size=(num, WIDTH)).astype(np.float32)
        return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)
    signs = rng.choice(np.array([-0.25, 0.25], dtype=np.float32), size=(num, WIDTH))
    return np.full_like(signs, 0.25) if kind == "constant" else signs


def near(centre: np.ndarray, kind: str, rng: np.random.Generator) -> np.ndarray:
    """Vectors that share about half of each centre, so that recall lies between 0 and 1."""
    other = vectors(kind, len(centre), rng)
    if kind != "free":
        return np.where(rng.random(centre.shape) < 0.5, centre, other)
    mixed = centre + 1.9 * other
    return mixed / np.linalg.norm(mixed, axis=1, keepdims=True)


def classes(kind: str) -> Classes:
    """211 images of 9 classes of uneven sizes; 3 templates, or one if ties matter."""
    rng = np.random.default_rng([SEED, 1, KINDS.index(kind)])
    label = rng.choice(9, size=211, p=np.arange(1, 10) / 45)
    label[:9] = np.arange(9)
    centre = vectors(kind, 9, rng)
    text = np.stack([near(centre, kind, rng) for _ in range(3 if kind == "free" else 1)], axis=1)
    return Classes(near(centre[label], kind, rng), label, text)


def captions(kind: str) -> Captions:
    """47 images with five to seven captions."""
    rng = np.random.default_rng([SEED, 2, KINDS.index(kind)])
    image = vectors(kind, 47, rng)
    image_of = np.repeat(np.arange(47), rng.integers(5, 8, size=47))
    return Captions(image, near(image[image_of], kind, rng), image_of)


def choices(kind: str) -> dict[str, Choices]:
    """The seven subsets of SugarCrepe, small and of different sizes. In "tied" some pairs of captions are equal."""
    rng = np.random.default_rng([SEED, 3, KINDS.index(kind)])
    made = {}
    for subset, num in SUBSETS.items():
        image = vectors(kind, num, rng)
        positive, negative = near(image, kind, rng), near(image, kind, rng)
        made[subset] = Choices(image, positive, np.where(rng.random((num, 1)) < 0.2, positive, negative)
                               if kind == "tied" else negative)  # fmt: skip
    return made


def two_by_two(kind: str) -> Items:
    """113 items of two images and two captions. In "tied" the parts of vectors take two values only."""
    rng = np.random.default_rng([SEED, 4, KINDS.index(kind)])
    image = vectors(kind, 226, rng)
    text = near(image, kind, rng)
    return Items(image.reshape(113, 2, -1), text.reshape(113, 2, -1))
