"""Do two models differ on these items? A paired bootstrap: items are resampled, and both models answer the same ones.

Items of one cluster (captions of one image) are drawn together. How often each kind of cluster is drawn follows a
multinomial distribution, so the cost of a replicate is the number of kinds, not the number of items.
"""

from dataclasses import dataclass

import numpy as np

from askew.errors import UserError, printable
from askew.evaluation.metrics import accuracy, mean_per_class, wilson_interval
from askew.evaluation.results import Outcomes

REPLICATES = 10_000
LEVEL = 0.95


@dataclass(frozen=True)
class Difference:
    """One measure of one task on two models. Shares are in [0, 1]; `low` to `high` is the interval of b - a."""

    task: str
    measure: str
    a: float
    b: float
    low: float
    high: float
    n: int
    only_a: int  # items that only a has right
    only_b: int

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0


def bootstrap(
    a: np.ndarray,
    b: np.ndarray,
    classes: np.ndarray | None = None,
    clusters: np.ndarray | None = None,
    seed: int = 0,
    replicates: int = REPLICATES,
) -> tuple[float, float]:
    """The 95 % percentile interval of the mean of b - a.

    Args:
        a, b: outcomes (n,) of the same items.
        classes: (n,) the class of each item. The mean is then taken within each class that a replicate contains, and
            over these classes.
        clusters: (n,) items with the same number are drawn together; None draws each on its own. A cluster lies within
            one class.
    """
    gain = b.astype(float) - a.astype(float)
    of_class = np.zeros(len(gain), dtype=int) if classes is None else np.unique(classes, return_inverse=True)[1]
    units = np.arange(len(gain)) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sums, sizes = np.bincount(units, weights=gain), np.bincount(units)
    unit_class = np.zeros(len(sums), dtype=int)
    unit_class[units] = of_class
    if not np.array_equal(unit_class[units], of_class):
        raise ValueError("clusters across classes are not supported")
    kinds, counts = np.unique(np.stack([unit_class, sums, sizes], axis=1), axis=0, return_counts=True)
    generator = np.random.default_rng(seed)
    values = np.empty(replicates)
    block = max(1, 4_000_000 // len(kinds))
    for start in range(0, replicates, block):
        drawn = generator.multinomial(len(sums), counts / len(sums), size=min(block, replicates - start)).astype(float)
        values[start : start + block] = _mean_over_classes(drawn, kinds)
    return tuple(np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist())


def _mean_over_classes(drawn: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """The statistic (R,) of each row of draws (R, kinds). A kind is (class, sum of gains, items)."""
    starts = np.flatnonzero(np.r_[True, np.diff(kinds[:, 0]) > 0])  # kinds are sorted by class
    gains = np.add.reduceat(drawn * kinds[:, 1], starts, axis=1)
    items = np.add.reduceat(drawn * kinds[:, 2], starts, axis=1)
    drawn_at_all = items > 0
    within = np.divide(gains, items, out=np.zeros_like(gains), where=drawn_at_all)
    return within.sum(axis=1) / drawn_at_all.sum(axis=1)


def intervals(outcomes: Outcomes, seed: int = 0) -> dict[str, tuple[float, float]]:
    """The 95 % interval of each measure of one model: (low, high) by the measure's name.

    Wilson's where every item counts alike and stands for itself; otherwise that of a bootstrap over clusters, or within
    classes. Items that are all right, or all wrong, tell a bootstrap nothing: then Wilson's, of as many trials as there
    are clusters.
    """
    found = {}
    for measure, right in outcomes.right.items():
        classes, clusters = outcomes.classes.get(measure), outcomes.clusters
        units = len(right) if clusters is None else len(np.unique(clusters))
        if right.all() or not right.any():
            found[measure] = wilson_interval(units * int(right.any()), units)
        elif classes is None and clusters is None:
            found[measure] = wilson_interval(int(right.sum()), units)
        else:
            found[measure] = bootstrap(np.zeros_like(right), right, classes, clusters, seed)
    return found


def mean_of(outcomes: Outcomes, measure: str) -> float:
    """The measure itself, a share: a mean over items, or over classes."""
    right, classes = outcomes.right[measure], outcomes.classes.get(measure)
    return accuracy(right) if classes is None else mean_per_class(right, classes)


def differences(task: str, a: Outcomes, b: Outcomes, names: tuple[str, str], seed: int = 0) -> list[Difference]:
    """The difference in every measure that both models have.

    Raises:
        UserError: the models were tested on different items.
    """
    rows_a, rows_b = same_items(task, a, b, names)
    clusters = None if a.clusters is None else a.clusters[rows_a]
    found = []
    for measure in (m for m in a.right if m in b.right):
        one, other = a.right[measure][rows_a], b.right[measure][rows_b]
        classes = a.classes[measure][rows_a] if measure in a.classes else None
        low, high = bootstrap(one, other, classes, clusters, seed)
        mean_a, mean_b = (
            accuracy(right) if classes is None else mean_per_class(right, classes) for right in (one, other)
        )
        only_a, only_b = int((one & ~other).sum()), int((other & ~one).sum())
        found.append(Difference(task, measure, mean_a, mean_b, low, high, len(one), only_a, only_b))
    return found


def same_items(task: str, a: Outcomes, b: Outcomes, names: tuple[str, str]) -> tuple[np.ndarray, np.ndarray]:
    """The rows of both, in the order of their items' hashes.

    Raises:
        UserError: the items are not the same.
    """
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
        "evaluate both on the same copy and version of the data"
    )
