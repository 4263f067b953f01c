"""Arrays in, number out. Every metric is tested alone on a matrix typed by hand. Shares are in [0, 1]."""

import math

import numpy as np


def top_k(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether the label is among the k best of each row: scores (n, K), labels (n,) -> (n,) bool.

    The rank of the label counts the classes with a higher score and, of those with the same score, the ones before it,
    as argmax does.
    """
    own = scores[np.arange(len(labels)), labels][:, None]
    before = np.arange(scores.shape[1])[None, :] < labels[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(axis=1)
    return rank < k


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Share of rows whose best class is the label; the first of equal scores wins, like argmax."""
    return float(top_k(scores, labels, 1).mean())


def mean_per_class(scores: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy within each class that occurs in `labels`, averaged over those classes."""
    right = top_k(scores, labels, 1)
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


def recalled(scores: np.ndarray, match: np.ndarray, k: int) -> np.ndarray:
    """Whether any match is among the k best of each row: scores (A, C), match (A, C) bool -> (A,) bool.

    Ties lose: a match counts as ranked behind every non-match of the same score, so a constant encoder has nothing.
    A row without any match is never recalled.
    """
    best = np.where(match, scores, -np.inf).max(axis=1, keepdims=True)
    better = ((scores >= best) & ~match).sum(axis=1)
    return match.any(axis=1) & (better < k)


def recall_at_k(scores: np.ndarray, match: np.ndarray, k: int) -> float:
    """Share of rows with a match among their k best; see `recalled`."""
    return float(recalled(scores, match, k).mean())


def preference(positive: np.ndarray, negative: np.ndarray) -> float:
    """Share of items whose positive scores strictly higher than their negative; ties lose."""
    return float((positive > negative).mean())


def wilson_interval(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's interval of a share, 95 % by default: (low, high). No trials: (0, 1)."""
    if trials == 0:
        return 0.0, 1.0
    share = successes / trials
    centre = share + z**2 / (2 * trials)
    spread = z * math.sqrt(share * (1 - share) / trials + z**2 / (4 * trials**2))
    scale = 1 + z**2 / trials
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)
