"""Pairs drawn at random from a stream of chunks, in one pass and in flat memory.

Every sample has a random number that depends on the seed, its chunk and its place in it alone. The samples with the
smallest numbers are drawn, so that a larger draw holds every smaller one, and all ranks draw the same pairs.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from askew.data.sources.base import stable_id
from askew.evaluation.chunks import Chunk
from askew.evaluation.misalignment.pairs import Pool

ARRAYS = ("sample", "caption", "image", "text", "match", "words")
STREAM = 11  # of random numbers; others have others


@dataclass(frozen=True)
class DrawnPairs:
    """P pairs of an image and one of its captions, in the order of their random numbers.

    Attributes:
        sample: (P,) index in the source. caption: (P,) number of the caption within the sample.
        image, text: (P, D) embeddings.
        match: (P,) of the image. words: (P,) of the caption; equal numbers: the same image, the same caption.
        captions: P texts.
    """

    sample: np.ndarray
    caption: np.ndarray
    image: np.ndarray
    text: np.ndarray
    match: np.ndarray
    words: np.ndarray
    captions: list[str]

    def __len__(self) -> int:
        return len(self.sample)

    def first(self, number: int) -> "DrawnPairs":
        """The first `number` of them, or all if there are fewer."""
        return _taken(self, np.arange(min(number, len(self))))

    @property
    def pool(self) -> Pool:
        """What pairs are compared with."""
        return Pool(self.image, self.text, self.match, self.words)


def words_of(captions: Iterable[str]) -> np.ndarray:
    """(M,) int64, equal for equal captions."""
    return np.array([stable_id(caption) for caption in captions], dtype=np.int64)


def starts_of(chunk: Chunk) -> np.ndarray:
    """(n + 1,) the row of each sample's first caption in a chunk, and the number of captions."""
    return np.searchsorted(chunk.owner, chunk.first + np.arange(len(chunk) + 1))


def numbers_of(chunk: Chunk) -> np.ndarray:
    """(m,) each caption's number within its sample."""
    return np.arange(len(chunk.owner)) - starts_of(chunk)[chunk.owner - chunk.first]


def draw_pairs(chunks: Iterable[Chunk], number: int, seed: int = 0) -> DrawnPairs:
    """Up to `number` pairs of different samples that can be used."""
    keys = np.empty(0)
    kept = None
    for chunk in chunks:
        rng = np.random.default_rng([STREAM, seed, chunk.first])
        drawn, share = rng.random((2, len(chunk)))
        usable = np.flatnonzero(chunk.readable & (drawn < keys[-1] if len(keys) == number else True))
        usable = usable[np.argsort(drawn[usable], kind="stable")][:number]
        if kept is not None and not len(usable):
            continue
        starts = starts_of(chunk)
        caption = (share[usable] * (starts[usable + 1] - starts[usable])).astype(np.int64)
        rows = starts[usable] + caption
        texts = [chunk.captions[row] for row in rows]
        found = DrawnPairs(
            chunk.first + usable, caption, chunk.image[usable], chunk.text[rows], chunk.match[usable],
            words_of(texts), texts,
        )  # fmt: skip
        keys = np.concatenate([keys, drawn[usable]])
        order = np.argsort(keys, kind="stable")[:number]
        kept, keys = _taken(found if kept is None else _joined(kept, found), order), keys[order]
    assert kept is not None, "a source has samples"
    return kept


def _joined(one: DrawnPairs, other: DrawnPairs) -> DrawnPairs:
    arrays = {name: np.concatenate([getattr(one, name), getattr(other, name)]) for name in ARRAYS}
    return DrawnPairs(**arrays, captions=one.captions + other.captions)


def _taken(drawn: DrawnPairs, order: np.ndarray) -> DrawnPairs:
    arrays = {name: getattr(drawn, name)[order] for name in ARRAYS}
    return DrawnPairs(**arrays, captions=[drawn.captions[place] for place in order])
