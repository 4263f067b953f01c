"""The metrics. Each is split into an outcome per item, which paired tests need, and a mean of outcomes in [0, 1].

Outcomes: `top_k`, `recalled` (of `ranks`), `preferred`. Means: `accuracy`, `mean_per_class`, `recall_at_k`.
"""

import math
from collections.abc import Sequence

import numpy as np

NEVER = np.iinfo(np.int64).max  # the rank of a query without a match


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the k best classes of each row: scores (n, K), labels (n,) -> (n,) bool.

    The label's rank is the number of classes with a higher score, plus those before it with the same score. So the
    first of equal scores wins, as with argmax.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return rank < k


def accuracy(right: np.ndarray) -> float:
    """Share of items that are right: (n,) bool -> share."""
    return float(right.mean())


def mean_per_class(right: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy within each class, averaged over the classes that occur in `labels`: (n,) bool, (n,) -> share."""
    counts = np.bincount(labels)
    present = counts > 0
    return float((np.bincount(labels, weights=right)[present] / counts[present]).mean())


def both_accuracies(right: np.ndarray, labels: np.ndarray, first: str) -> dict[str, float]:
    """`accuracy` as "top1" and `mean_per_class` under its own name; the one that `first` names comes first."""
    both = {"top1": accuracy(right), "mean_per_class": mean_per_class(right, labels)}
    return {first: both.pop(first), **both}


def ranks(scores: np.ndarray, matches: Sequence[np.ndarray], copies: np.ndarray | None = None) -> np.ndarray:
    """For each query, the number of other candidates that score at least as high as its best match.

    Ties lose: among equal scores, a match ranks behind every candidate that is none. So an encoder that gives
    everything the same score finds nothing.

    Args:
        scores: (A, C), one row per query.
        matches: for each query, the columns of the candidates that match it. A column that stands for several matching
            candidates is listed once for each of them.
        copies: (C,) how many candidates each column stands for; None: one each.

    Returns:
        (A,) ranks, starting at 0; NEVER for a query without matches.
    """
    copies = np.ones(scores.shape[1], dtype=int) if copies is None else copies
    found = np.full(len(scores), NEVER)
    for query, row in enumerate(scores):
        if len(matches[query]):
            match_scores = row[matches[query]]
            best = match_scores.max()
            found[query] = copies[row >= best].sum() - np.count_nonzero(match_scores >= best)
    return found


def matching_columns(match: np.ndarray) -> list[np.ndarray]:
    """The `matches` of `ranks`, from a matrix of which candidate matches which query: (A, C) bool."""
    return [np.flatnonzero(row) for row in match]


def recalled(rank: np.ndarray, k: int) -> np.ndarray:
    """Whether each query has a match among its first k candidates: (A,) ranks -> (A,) bool."""
    return rank < k


def recall_at_k(rank: np.ndarray, k: int) -> float:
    """Share of queries that have a match among their first k candidates: (A,) ranks -> share."""
    return float(recalled(rank, k).mean())


def preferred(positive: np.ndarray, negative: np.ndarray) -> np.ndarray:
    """Whether each item's positive scores strictly higher than its negative; ties lose: (n,), (n,) -> (n,) bool."""
    return positive > negative


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, by default at 95 %: (low, high). Without any trials it is (0, 1)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
