"""The best candidates of every query, without sorting all of them."""

from dataclasses import dataclass

import numpy as np

BLOCK = 2**24  # numbers that are in memory at once
ROUNDING = 1e-5  # more than a product of float32 can be off


@dataclass(frozen=True)
class Ranked:
    """The k best candidates of each of m queries, the best first. `Model.rank` makes it.

    Attributes:
        indices: (m, k) int64, the places of the candidates among those that were given, from 0.
        scores: (m, k) float32, their cosines, which never rise along a row.

    Examples:
        >>> found = askew.load("runs/my-run").rank(["photos/1.jpg", "photos/2.jpg"], ["two dogs"], k=1)
        >>> found.indices.shape, found.scores.shape
        ((1, 1), (1, 1))
    """

    indices: np.ndarray
    scores: np.ndarray


def best_candidates(queries: np.ndarray, candidates: np.ndarray, k: int) -> Ranked:
    """The k candidates with the highest cosines, or all if there are fewer. Of equal cosines, the first is first.

    A matrix product finds which candidates may be among them. It may give two copies of a candidate cosines that differ
    in the last digit, so these few are compared again by sums in float64, which depend on nothing but the two vectors.

    Args:
        queries: (m, D) float32 of unit length.
        candidates: (n, D), the same.
    """
    k = min(k, len(candidates))
    indices = np.empty((len(queries), k), dtype=np.int64)
    scores = np.empty((len(queries), k), dtype=np.float32)
    rows = max(1, BLOCK // max(1, len(candidates)))
    for start in range(0, len(queries) if k else 0, rows):
        products = queries[start : start + rows] @ candidates.T
        lowest = np.partition(products, -k, axis=1)[:, -k] - ROUNDING
        for number, (row, least) in enumerate(zip(products, lowest, strict=True), start):
            maybe = np.flatnonzero(row >= least)
            cosines = _cosines(queries[number], candidates, maybe)
            order = np.lexsort((maybe, -cosines))[:k]
            indices[number], scores[number] = maybe[order], cosines[order]
    return Ranked(indices, scores)


def _cosines(query: np.ndarray, candidates: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The cosines (r,) of a query (D,) and some rows of the candidates, as float32."""
    size = max(1, BLOCK // max(1, len(query)))
    parts = [rows[start : start + size] for start in range(0, len(rows), size)]
    sums = [np.multiply(candidates[part], query, dtype=np.float64).sum(axis=1) for part in parts]
    return np.concatenate(sums).astype(np.float32)
