"""Hashes of images, which tell whether two evaluations saw the same ones, and which images are copies."""

import hashlib
from typing import NamedTuple

from askew.evaluation.datasets.base import Images
from askew.evaluation.results import item_hash


class Digest(NamedTuple):
    """Hashes of an image: of its key and bytes, and of its bytes alone, "" if they cannot be read."""

    item: str
    picture: str


def digest_of(images: Images, index: int) -> Digest:
    """Of an image whose bytes cannot be read, the item's hash is that of its key only."""
    try:
        data = images.read(index)
    except OSError:
        return Digest(item_hash(images.keys[index]), "")
    return Digest(item_hash(images.keys[index], data), hashlib.blake2b(data, digest_size=16).hexdigest())
