"""What in a store of embeddings is nearest to a query: exactly, chunk by chunk, in flat memory.

Of candidates that are the same, such as copies of an image, the most similar one is found, and the others are left out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from askew.data.sources.base import bytes_id
from askew.evaluation.chunks import Chunk

TOGETHER = 16_384  # candidates in a block
Kind = Literal["images", "captions"]


class Block(NamedTuple):
    """Candidates.

    Attributes:
        vectors: (n, D) float32 of unit length.
        places: (n,) int64, where each one is; see `place_of`.
        same: (n,) int64, equal for candidates that are the same.
    """

    vectors: np.ndarray
    places: np.ndarray
    same: np.ndarray


@dataclass(frozen=True)
class Nearest:
    """The k nearest candidates of each of Q queries, the most similar first.

    Attributes:
        similarity: (Q, k) cosines. k is smaller than asked if there are fewer candidates that differ.
        places: (Q, k), where they are.
    """

    similarity: np.ndarray
    places: np.ndarray


def place_of(chunk: int, row: int | np.ndarray) -> int | np.ndarray:
    """A candidate's place in a store: the number of its chunk and its row there, in one integer."""
    return (chunk << 32) + row


def located(place: int) -> tuple[int, int]:
    """The number of the chunk, and the row in it."""
    return int(place) >> 32, int(place) & 0xFFFFFFFF


def candidates(number: int, chunk: Chunk, kind: Kind) -> Block:
    """The images or captions of a chunk that belong to samples that can be used."""
    if kind == "images":
        rows = np.flatnonzero(chunk.readable)
        return Block(chunk.image[rows], place_of(number, rows), chunk.picture[rows])  # type: ignore[arg-type]
    rows = np.flatnonzero(chunk.readable[chunk.owner - chunk.first])
    same = np.array([bytes_id(chunk.captions[row].encode("utf-8", "replace")) for row in rows], dtype=np.int64)
    return Block(chunk.text[rows], place_of(number, rows), same)  # type: ignore[arg-type]


def blocks(chunks: Iterable[Chunk], kind: Kind) -> Iterator[Block]:
    """The candidates of all chunks of a store, several chunks together: many small products take longer."""
    found: list[Block] = []
    for number, chunk in enumerate(chunks):
        found.append(candidates(number, chunk, kind))
        if sum(len(block.places) for block in found) >= TOGETHER:
            yield _one(found)
            found = []
    if found:
        yield _one(found)


def _one(found: list[Block]) -> Block:
    return Block(*(np.concatenate(parts) for parts in zip(*found, strict=True)))


def nearest(found: Iterable[Block], queries: np.ndarray, top: int) -> Nearest:
    """The `top` candidates with the highest cosines, by products with all of them.

    Of equal cosines, the candidate that comes first is first.

    Args:
        queries: (Q, D) of unit length.
        top: 1 or more.
    """
    best = [(np.empty(0, np.float32), np.empty(0, np.int64), np.empty(0, np.int64)) for _ in queries]
    for block in found:
        scores = queries.astype(np.float32) @ block.vectors.T  # (Q, n)
        for query, row in enumerate(scores):
            best[query] = _merged(best[query], row, block, top)
    k = min((len(places) for _, places, _ in best), default=0)
    return Nearest(
        np.stack([similarity[:k] for similarity, _, _ in best]), np.stack([places[:k] for _, places, _ in best])
    )


def _merged(
    best: tuple[np.ndarray, np.ndarray, np.ndarray], row: np.ndarray, block: Block, top: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of those found so far and of a block, as similarities, places and what is the same."""
    similarity, places, same = best
    if len(similarity) == top:
        rows = np.flatnonzero(row > similarity[-1])  # few, once the best are among those found
    else:
        rows = np.arange(len(row))
    if not len(rows):
        return best
    similarity = np.concatenate([similarity, row[rows]])
    places = np.concatenate([places, block.places[rows]])
    same = np.concatenate([same, block.same[rows]])
    order = np.lexsort((places, -similarity))
    _, first = np.unique(same[order], return_index=True)
    kept = order[np.sort(first)][:top]
    return similarity[kept], places[kept], same[kept]
