"""Curves that may describe how a score grows with the data, and how each is fitted, for many replicates at once.

x is log2(n / n0), the doublings since the smallest size; y is a share. See scaling.py for the formulas.
"""

from collections.abc import Callable
from math import inf

import numpy as np

LINE, SATURATING, S_SHAPED = "line", "saturating", "s-shaped"
EXPONENTS = np.geomspace(0.005, 5.0, 400)  # k of the power law; neighbours differ by 1.7 %; replicates take every fifth
EDGE = 1e-4  # of shares whose odds are taken


def values(name: str, parameters: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Curves (R, Q) with parameters (R, P) at x (Q,), cut to [0, 1]."""
    first, second = parameters[:, :1], parameters[:, 1:2]
    if name == LINE:
        return np.clip(first + second * x, 0, 1)
    if name == S_SHAPED:
        return 1 / (1 + np.exp(-np.clip(first + second * x, -700, 700)))
    return np.clip(1 - first - second * 2.0 ** (-parameters[:, 2:] * x), 0, 1)


def _line(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares of y (R, K) over x (K,): (R, 2)."""
    slope = y @ (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    return np.stack([y.mean(axis=1) - slope * x.mean(), slope], axis=1)


def _s_shaped(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The line of the log-odds, weighted so that it is least squares of the scores as far as they are near: (R, 2)."""
    share = np.clip(y, EDGE, 1 - EDGE)
    odds, weight = np.log(share / (1 - share)), (share * (1 - share)) ** 2
    total = weight.sum(axis=1, keepdims=True)
    middle, height = ((weight * v).sum(axis=1, keepdims=True) / total for v in (np.broadcast_to(x, y.shape), odds))
    slope = (weight * (x - middle) * (odds - height)).sum(axis=1) / (weight * (x - middle) ** 2).sum(axis=1)
    return np.stack([height[:, 0] - slope * middle[:, 0], slope], axis=1)


def _saturating(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Least squares over e in [0, 1], c >= 0 and k of a grid: (R, 3). For each k, e and c are a bounded line."""
    error = 1 - y
    best, found = np.full(len(y), inf), np.zeros((len(y), 3))
    for k in EXPONENTS if len(y) == 1 else EXPONENTS[::5]:
        falling = 2.0 ** (-k * x)
        through = np.maximum(error @ falling / (falling @ falling), 0.0)  # e = 0
        flat = np.clip(error.mean(axis=1), 0, 1)  # c = 0
        free = _line(falling, error)
        inside = (free[:, 0] >= 0) & (free[:, 0] <= 1) & (free[:, 1] >= 0)
        for floor, scale, allowed in (
            (np.zeros(len(y)), through, np.ones(len(y), dtype=bool)),
            (flat, np.zeros(len(y)), np.ones(len(y), dtype=bool)),
            (free[:, 0], free[:, 1], inside),
        ):
            missed = ((error - floor[:, None] - scale[:, None] * falling) ** 2).sum(axis=1)
            better = allowed & (missed < best)
            best = np.where(better, missed, best)
            found[better] = np.stack([floor, scale, np.full(len(y), k)], axis=1)[better]
    return found


FITTERS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    LINE: _line,
    SATURATING: _saturating,
    S_SHAPED: _s_shaped,
}
