"""Which queries a model answers best, typically and worst, and which names it prefers to the right one."""

from dataclasses import dataclass

import numpy as np

from askew.evaluation.metrics import matching_columns, ranks, recall_at_k

KS = (1, 5, 10)  # of recall


@dataclass(frozen=True)
class RankedQuery:
    """One query, and what a model ranks highest for it.

    Attributes:
        query: its row.
        rank: of its best match, from 0; among equal scores a match comes last.
        match: column of its best match.
        top: columns of the first candidates, from best to worst.
    """

    query: int
    rank: int
    match: int
    top: tuple[int, ...]


@dataclass(frozen=True)
class RankedQueries:
    """All queries of one direction in numbers, and some of them in full.

    Attributes:
        queries, candidates: how many there are.
        recall: share of queries with a match among the first k, by k.
        median: of the ranks, from 0.
        best, typical, worst: queries from the two ends and the middle of their order by rank. None occurs twice.
    """

    queries: int
    candidates: int
    recall: dict[int, float]
    median: float
    best: tuple[RankedQuery, ...]
    typical: tuple[RankedQuery, ...]
    worst: tuple[RankedQuery, ...]


def ranking(scores: np.ndarray, match: np.ndarray, num: int = 3, k: int = 5) -> RankedQueries:
    """Rank the candidates of every query, and choose `num` queries of each kind, with their first `k` candidates.

    Queries are ordered by rank, and those of equal rank by how far the best match is ahead of the best candidate that
    is none (or behind it). Ties lose, as in recall.

    Args:
        scores: (A, C), one row per query.
        match: (A, C) bool; every row has a match.
    """
    assert match.any(axis=1).all(), "every query needs a match"
    columns = matching_columns(match)
    rank = ranks(scores, columns)
    chosen = [_ranked(scores[query], columns[query], query, int(rank[query]), k) for query in range(len(scores))]
    order = np.lexsort((-_margins(scores, match), rank))
    best, typical, worst = _ends_and_middle(order, num)
    return RankedQueries(
        len(scores),
        scores.shape[1],
        {k: recall_at_k(rank, k) for k in KS},
        float(np.median(rank)),
        tuple(chosen[query] for query in best),
        tuple(chosen[query] for query in typical),
        tuple(chosen[query] for query in worst[::-1]),
    )


def _ranked(scores: np.ndarray, matching: np.ndarray, query: int, rank: int, k: int) -> RankedQuery:
    right = np.zeros(len(scores), dtype=bool)
    right[matching] = True
    top = np.lexsort((right, -scores))[:k]  # of equal scores, what is no match comes first
    best = matching[scores[matching].argmax()]
    return RankedQuery(query, rank, int(best), tuple(int(column) for column in top))


def _margins(scores: np.ndarray, match: np.ndarray) -> np.ndarray:
    """(A,) the score of the best match minus that of the best candidate that is none; infinite where there is none."""
    return np.where(match, scores, -np.inf).max(axis=1) - np.where(match, -np.inf, scores).max(axis=1)


def _ends_and_middle(order: np.ndarray, num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`num` of the first, the middle and the last; fewer of each where they would overlap."""
    size = len(order)
    ends = min(num, max(1, size // 3)) if size > 1 else size
    middle = min(num, size - 2 * ends) if size > 2 else 0
    start = (size - middle) // 2
    return order[:ends], order[start : start + middle], order[max(ends, size - ends) :]


@dataclass(frozen=True)
class Confusion:
    """A text of an image, and the wrong text that a model puts nearest.

    Attributes:
        right, wrong: columns of the two texts.
        confused: images of `right` to which `wrong` is at least as near.
        images: all images of `right`.
        example: row of the image to which `wrong` is nearest, compared to `right`.
        margin: by how much `wrong` scores higher for that image; negative where it scores lower.
    """

    right: int
    wrong: int
    confused: int
    images: int
    example: int
    margin: float


def confusions(scores: np.ndarray, match: np.ndarray) -> list[Confusion]:
    """Every pair of a right text and the nearest wrong one of some image; those that are confused most often first.

    Pairs with equal counts are ordered by their margin. An image with several texts counts under the nearest of them.
    An image to which all texts belong has no wrong one, and is left out.

    Args:
        scores: (images, texts).
        match: (images, texts) bool; every image has a text.
    """
    assert match.any(axis=1).all(), "every image needs a text"
    right = np.where(match, scores, -np.inf).argmax(axis=1)
    wrong = np.where(match, -np.inf, scores).argmax(axis=1)
    rows = np.flatnonzero(~match.all(axis=1))
    images = np.bincount(right, minlength=scores.shape[1])
    margins = -_margins(scores, match)
    of_pair: dict[tuple[int, int], list[int]] = {}
    for row in rows.tolist():
        of_pair.setdefault((int(right[row]), int(wrong[row])), []).append(row)
    found = [
        Confusion(
            *pair,
            sum(margins[row] >= 0 for row in members),
            int(images[pair[0]]),
            max(members, key=lambda row: margins[row]),
            float(max(margins[row] for row in members)),
        )
        for pair, members in of_pair.items()
    ]
    return sorted(found, key=lambda one: (-one.confused, -one.margin, one.right))
