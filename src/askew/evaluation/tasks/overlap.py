"""Test images that are also in a training source: with equal bytes, or nearly equal by a 64-bit hash of the picture.

The hash (dHash) has one bit for each of 8 x 8 cells: whether the picture gets brighter to the right. A scaled or
recompressed copy differs in a few bits. A flat picture has no bit set and is left out, because it would resemble every
other flat picture.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Source
from askew.evaluation.datasets.base import Images
from askew.evaluation.results import Result

NEAR = 3  # bits of 64 in which near copies may differ
COMPARED_AT_ONCE = 64  # source images
_ONES = np.array([bin(value).count("1") for value in range(2**16)], dtype=np.uint8)


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 cells of the grayscale picture is darker than the cell to its right."""
    gray = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (gray[:, 1:] > gray[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def bits_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamming distances of 64-bit hashes: (n,), (m,) -> (n, m)."""
    differing = (a[:, None] ^ b[None, :]).view(np.uint16).reshape(len(a), len(b), 4)
    return _ONES[differing].sum(axis=2)


@dataclass(frozen=True)
class _Prints:
    names: list[str]
    sha256: list[bytes]  # of the encoded bytes; b"" for an unreadable image
    hashes: np.ndarray  # (n,) uint64; 0 for an unreadable or flat image
    unreadable: int


def overlap(name: str, images: Images, source: Source, described: str) -> Result:
    """How many test images have an equal or nearly equal one in a training source, and which ones.

    Images that cannot be read, on either side, are counted and not compared.

    Args:
        described: what to call the source in the protocol.
    """
    test = _prints(images)
    by_bytes: dict[bytes, list[int]] = {}
    for index, value in enumerate(test.sha256):
        by_bytes.setdefault(value, []).append(index)
    exact: dict[int, str] = {}  # test image -> its copy in the source
    near: dict[int, str] = {}
    waiting: list[tuple[int, str]] = []  # source images to compare: hash and name
    unreadable = 0
    for index in range(len(source)):
        try:
            sample = source[index]
            image = decode(sample.image)
        except OSError:
            unreadable += 1
            continue
        label = sample.name or str(index)
        for copied in by_bytes.get(hashlib.sha256(sample.image).digest(), ()):
            exact[copied] = label
        waiting.append((difference_hash(image), label))
        if len(waiting) == COMPARED_AT_ONCE:
            _compare(waiting, test.hashes, near)
    _compare(waiting, test.hashes, near)
    near = {copied: label for copied, label in near.items() if copied not in exact}
    protocol = {
        "against": described,
        "source_images": len(source),
        "source_unreadable": unreadable,
        "test_unreadable": test.unreadable,
        "near": f"64-bit difference hashes at most {NEAR} bits apart",
        "pairs": [[test.names[i], (exact | near)[i], "exact" if i in exact else "near"] for i in sorted(exact | near)],
    }
    values: dict[str, float] = {"exact": len(exact), "near": len(near), "n": len(test.names)}
    return Result(f"{name}/overlap", values, protocol)


def _compare(waiting: list[tuple[int, str]], hashes: np.ndarray, near: dict[int, str]) -> None:
    """Add the test images that are near to one of the waiting source images to `near`, and empty `waiting`."""
    source = np.array([value for value, _ in waiting], dtype=np.uint64)
    close = (bits_apart(source, hashes) <= NEAR) & (source != 0)[:, None] & (hashes != 0)[None, :]
    for row, column in np.argwhere(close).tolist():
        near.setdefault(column, waiting[row][1])
    waiting.clear()


def _prints(images: Images) -> _Prints:
    """What images are compared by."""
    names = [str(key) for key in images.keys]
    sha256, hashes, unreadable = [], [], 0
    for index in range(len(images)):
        try:
            digest, value = hashlib.sha256(images.read(index)).digest(), difference_hash(images[index])
        except OSError:
            unreadable += 1
            digest, value = b"", 0
        sha256.append(digest)
        hashes.append(value)
    return _Prints(names, sha256, np.array(hashes, dtype=np.uint64), unreadable)
