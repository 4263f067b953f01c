"""Test images that also stand in a training source: equal bytes, or nearly equal pictures by a 64-bit hash.

The hash (dHash) says of each of 8 x 8 cells whether the picture gets brighter to the right; a copy that was scaled or
compressed again differs in a few bits. A flat picture has no bit set and is left out: it would resemble every other.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
from PIL import Image

from askew.data.images import decode
from askew.data.sources import Source
from askew.evaluation.results import Result
from askew.evaluation.sets import Images

NEAR = 3  # bits of 64 in which near copies may differ
BLOCK = 64  # source images compared at a time
_ONES = np.array([bin(value).count("1") for value in range(2**16)], dtype=np.uint8)


@dataclass(frozen=True)
class _Prints:
    names: list[str]
    exact: list[bytes]  # sha256 of the encoded bytes
    near: np.ndarray  # (n,) uint64, 0 where there is none


def difference_hash(image: Image.Image) -> int:
    """64 bits: whether each of 8 x 8 cells of the grey picture is darker than its right neighbour."""
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.BOX), dtype=np.int16)
    bits = (grey[:, 1:] > grey[:, :-1]).ravel()
    return int(np.packbits(bits).view(">u8")[0])


def bits_apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamming distances of 64-bit hashes: (n,), (m,) -> (n, m)."""
    differing = (a[:, None] ^ b[None, :]).view(np.uint16).reshape(len(a), len(b), 4)
    return _ONES[differing].sum(axis=2)


def overlap(name: str, images: Images, source: Source, described: str) -> Result:
    """How many test images have an equal or nearly equal one in a training source, and which.

    Images that cannot be read, on either side, are counted and compared with nothing.
    """
    test, unreadable = _prints(images)
    exact, near = np.zeros(len(test.names), dtype=bool), np.zeros(len(test.names), dtype=bool)
    twin = [""] * len(test.names)
    by_bytes: dict[bytes, list[int]] = {}
    for index, value in enumerate(test.exact):
        by_bytes.setdefault(value, []).append(index)
    broken = 0
    hashes: list[int] = []
    names: list[str] = []

    def compare() -> None:
        if hashes:
            close = bits_apart(np.array(hashes, dtype=np.uint64), test.near) <= NEAR
            close &= (test.near != 0)[None, :]
            for row, column in np.argwhere(close):
                near[column] = True
                twin[column] = twin[column] or names[row]
            hashes.clear()
            names.clear()

    for index in range(len(source)):
        try:
            sample = source[index]
            image = decode(sample.image)
        except OSError:
            broken += 1
            continue
        for place in by_bytes.get(hashlib.sha256(sample.image).digest(), ()):
            exact[place] = True
            twin[place] = sample.name or str(index)
        value = difference_hash(image)
        if value:
            hashes.append(value)
            names.append(sample.name or str(index))
        if len(hashes) == BLOCK:
            compare()
    compare()
    near &= ~exact
    found = np.flatnonzero(exact | near)
    protocol = {
        "against": described,
        "source_images": len(source),
        "source_unreadable": broken,
        "test_unreadable": unreadable,
        "near": f"64-bit difference hashes at most {NEAR} bits apart",
        "pairs": [[test.names[i], twin[i], "exact" if exact[i] else "near"] for i in found],
    }
    values: dict[str, float] = {"exact": int(exact.sum()), "near": int(near.sum()), "n": len(test.names)}
    return Result(f"{name}/overlap", values, protocol)


def _prints(images: Images) -> tuple[_Prints, int]:
    names, exact, near, unreadable = [], [], [], 0
    for index in range(len(images)):
        names.append(str(images.keys[index]))
        try:
            exact.append(hashlib.sha256(images.read(index)).digest())
            near.append(difference_hash(images[index]))
        except OSError:
            unreadable += 1
            exact = [*exact[:index], b""]
            near.append(0)
    return _Prints(names, exact, np.array(near, dtype=np.uint64)), unreadable
