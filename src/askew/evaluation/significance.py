"""Are two models different on these items? A paired bootstrap: items are drawn again, both models answer the same ones.

Items of one cluster (captions of one image) are drawn together. The number of draws of each kind of cluster follows a
multinomial law, so that a replicate costs the number of kinds, not of items.
"""

from dataclasses import dataclass

import numpy as np

from askew.errors import UserError, printable
from askew.evaluation.results import Outcomes

REPLICATES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """One measure of one task on two models, shares in [0, 1]; `low` to `high` is the interval of b - a."""

    task: str
    measure: str
    a: float
    b: float
    low: float
    high: float
    n: int
    only_a: int  # items that a alone has right
    only_b: int

    @property
    def clear(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    groups: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> tuple[float, float]:
    """95 % percentile interval of the mean of b - a.

    Args:
        a, b: outcomes of the same items (n,).
        groups: (n,) classes; the mean is then over classes of the mean within each that a replicate holds.
        clusters: (n,) items that are drawn together; None draws each alone.
    """
    gain = b.astype(float) - a.astype(float)
    classes = np.zeros(len(gain), dtype=int) if groups is None else np.unique(groups, return_inverse=True)[1]
    units = np.arange(len(gain)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    if clusters is not None and groups is not None:
        raise ValueError("clusters across classes are not supported")
    sums, sizes = np.bincount(units, weights=gain), np.bincount(units)
    unit_class = np.zeros(len(sums), dtype=int)
    unit_class[units] = classes
    kinds, counts = np.unique(np.stack([unit_class, sums, sizes], axis=1), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    values = np.empty(replicates)
    block = max(1, 4_000_000 // len(kinds))
    for start in range(0, replicates, block):
        drawn = generator.multinomial(len(sums), counts / len(sums), size=min(block, replicates - start)).astype(float)
        values[start : start + block] = _mean_over_classes(drawn, kinds)
    return tuple(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def _mean_over_classes(drawn: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """(R,) statistics of draws (R, kinds); a kind is (class, sum of gains, items)."""
    starts = np.flatnonzero(np.r_[True, np.diff(kinds[:, 0]) > 0])  # kinds are sorted by class
    gains = np.add.reduceat(drawn * kinds[:, 1], starts, axis=1)
    items = np.add.reduceat(drawn * kinds[:, 2], starts, axis=1)
    there = items > 0
    return np.divide(gains, items, out=np.zeros_like(gains), where=there).sum(axis=1) / there.sum(axis=1)


def differences(task: str, a: Outcomes, b: Outcomes, names: tuple[str, str], seed: int = 0) -> list[Difference]:
    """Every measure that both have.

    Raises:
        UserError: the models answered different items.
    """
    rows_a, rows_b = _same_items(task, a, b, names)
    clusters = None if a.clusters is None else a.clusters[rows_a]
    found = []
    for measure in (m for m in a.right if m in b.right):
        one, other = a.right[measure][rows_a], b.right[measure][rows_b]
        groups = a.groups[measure][rows_a] if measure in a.groups else None
        low, high = bootstrap(one, other, groups, clusters, seed)
        mean_a, mean_b = (_mean(right, groups) for right in (one, other))
        only_a, only_b = int((one & ~other).sum()), int((other & ~one).sum())
        found.append(Difference(task, measure, mean_a, mean_b, low, high, len(one), only_a, only_b))
    return found


def _mean(right: np.ndarray, groups: np.ndarray | None) -> float:
    if groups is None:
        return float(right.mean())
    _, classes = np.unique(groups, return_inverse=True)
    return float((np.bincount(classes, weights=right) / np.bincount(classes)).mean())


def _same_items(task: str, a: Outcomes, b: Outcomes, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both in one order of items."""
    rows_a, rows_b = np.argsort(a.items, kind="stable"), np.argsort(b.items, kind="stable")
    if len(rows_a) == len(rows_b) and (a.items[rows_a] == b.items[rows_b]).all():
        return rows_a, rows_b
    only_a, only_b = np.setdiff1d(a.items, b.items), np.setdiff1d(b.items, a.items)
    shown = []
    for outcomes, only, name in ((a, only_a, names[0]), (b, only_b, names[1])):
        if len(only):
            example = outcomes.names[np.flatnonzero(outcomes.items == only[0])[0]]
            shown.append(
                f"{len(only):,} of {len(outcomes.items):,} only in {name} ({printable(str(example), 80)}, ...)"
            )
    shown = shown or [f"{len(rows_a):,} in {names[0]}, {len(rows_b):,} in {names[1]}"]
    raise UserError(
        f"{task}: the two were not tested on the same items: {'; '.join(shown)}; "
        "evaluate both on one copy of the data, and with one version of it"
    )
