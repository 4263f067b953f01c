"""What several seeds say about a row of a study, and about the difference between two rows.

Every run of a study has a seed, and all runs answer the same items. So the measure of run s is a mean over items i of

    y(s, i) = m + item(i) + seed(s) + rest(s, i)

with the same items for all seeds (crossed effects). Two rows are compared run by run: the runs of one seed see the data
in the same order and start alike, so y is then the difference of both. The variance of the mean has two parts:

    of the items: what another set of items would change; the mean covariance, over items, of the runs of two seeds
    of the seeds: the sample variance of the runs over their number, which holds the rest too

The interval is mean +- t * sqrt(sum of both), where t is the mean of both parts' own t, weighted by their variances
(Cochran and Cox). The degrees of freedom of Welch and Satterthwaite would make it too narrow: with three seeds that
differ more than the items do, it would hold the truth 92 times in 100. Three seeds say little about how much seeds
differ, so t is as large as 4.3 where their part dominates. The interval is never narrower than that of the items alone,
which is all there is with one seed: then nothing is known of other seeds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite, nan, sqrt

import numpy as np
from scipy.special import stdtrit

from askew.evaluation.metrics import wilson_interval
from askew.evaluation.results import Outcomes
from askew.evaluation.significance import LEVEL

SMALLEST = 1e-12  # of a p-value


@dataclass(frozen=True)
class SeedScores:
    """One measure of one row: as many runs as it has seeds.

    Attributes:
        seeds: (S,) the seed of each run, all different.
        values: (S,) the measure of each run.
        items: (S, n) the score of each item in each run; None for a measure that is no mean over items.
        classes: (n,) the class of each item, if the measure is a mean over classes.
        clusters: (n,) items with the same number are not independent; None: all are.
    """

    seeds: tuple[int, ...]
    values: np.ndarray
    items: np.ndarray | None = None
    classes: np.ndarray | None = None
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and what is known of it. What is not known is nan.

    Attributes:
        mean: over seeds.
        low, high: the 95 % interval.
        deviation: the sample standard deviation over seeds; nan for one seed.
        num_seeds: how many.
        item_error, seed_error: the standard error of each part; 0 of items where the measure has none.
        p: 1 - the level of the interval that ends at 0.
    """

    mean: float
    low: float
    high: float
    deviation: float
    num_seeds: int
    item_error: float
    seed_error: float
    p: float

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero; never with one seed, whose interval knows nothing of other seeds."""
        return self.num_seeds > 1 and (self.low > 0 or self.high < 0)


@dataclass(frozen=True)
class _Part:
    """One part of a variance, and its degrees of freedom."""

    variance: float
    freedom: float


def scores_of(seeds: Sequence[int], outcomes: Sequence[Outcomes], measure: str) -> SeedScores:
    """The scores of a measure from the outcomes of each seed's run, all on the same items in the same order."""
    first = outcomes[0]
    assert all(np.array_equal(one.items, first.items) for one in outcomes), "runs of a study answer the same items"
    items = np.stack([one.right[measure] for one in outcomes]).astype(float)
    classes = first.classes.get(measure)
    return SeedScores(tuple(seeds), means(items, classes), items, classes, first.clusters)


def means(items: np.ndarray, classes: np.ndarray | None = None) -> np.ndarray:
    """The mean of each row (K, n), over items or over classes: (K,)."""
    if classes is None:
        return items.mean(axis=1)
    labels = np.unique(classes, return_inverse=True)[1]
    counts = np.bincount(labels)
    return np.stack([np.bincount(labels, weights=row) / counts for row in items]).mean(axis=1)


def interval(scores: SeedScores) -> Estimate:
    """The mean of a row and its interval. Its ends are not cut to [0, 1]; see `share_interval`."""
    num = len(scores.values)
    parts = [_Part(float(scores.values.var(ddof=1)) / num, num - 1)] if num > 1 else []
    if scores.items is None:
        return _estimate(scores.values, 0.0, parts, None)
    covariance = item_covariance(scores.items, scores.classes, scores.clusters)
    own, freedom = float(covariance.trace()) / num, _item_freedom(scores)
    shared = (float(covariance.sum()) / num - own) / (num - 1) if num > 1 else own
    items = _Part(0.0 if shared < 0 else shared, freedom)
    return _estimate(scores.values, sqrt(items.variance), [items, *parts], _Part(float(covariance.mean()), freedom))


def share_interval(scores: SeedScores) -> Estimate:
    """The interval of a measure in [0, 1].

    Items that are all right in every run, or all wrong, tell nothing about their spread: then it is Wilson's, of as
    many trials as there are clusters.
    """
    found = interval(scores)
    low, high = max(found.low, 0.0), min(found.high, 1.0)
    if scores.items is not None and np.ptp(scores.items) == 0:
        units = scores.items.shape[1] if scores.clusters is None else len(np.unique(scores.clusters))
        low, high = wilson_interval(units * round(found.mean), units)
    elif not isfinite(found.low):
        low = high = nan
    return Estimate(**{**vars(found), "low": low, "high": high})


def difference(a: SeedScores, b: SeedScores) -> Estimate | None:
    """b - a over the seeds that both have; None where they share none."""
    paired = subtract(a, b)
    return None if paired is None else interval(paired)


def subtract(a: SeedScores, b: SeedScores) -> SeedScores | None:
    """The scores of b minus those of a, run by run and item by item; None where no seed is in both."""
    return combine([(-1, a), (1, b)])


def combine(weighted: Sequence[tuple[float, SeedScores]]) -> SeedScores | None:
    """The weighted sum of rows, run by run and item by item, over the seeds that all have; None where there is none.

    With weights that add up to 0 it is a difference, such as the gain of one method less the gain of another.

    Args:
        weighted: (weight, scores) of one row or more, all of the same items.
    """
    first = weighted[0][1]
    shared = [seed for seed in first.seeds if all(seed in scores.seeds for _, scores in weighted)]
    if not shared:
        return None
    runs = [(weight, scores, [scores.seeds.index(seed) for seed in shared]) for weight, scores in weighted]
    values = np.sum([weight * scores.values[rows] for weight, scores, rows in runs], axis=0)
    items = [weight * scores.items[rows] for weight, scores, rows in runs if scores.items is not None]
    whole = np.sum(items, axis=0) if len(items) == len(runs) else None
    return SeedScores(tuple(shared), values, whole, first.classes, first.clusters)


def item_covariance(scores: np.ndarray, classes: np.ndarray | None, clusters: np.ndarray | None) -> np.ndarray:
    """The covariance (K, K) of K means over the same items, as another draw of items (or clusters) would change them.

    It is what a bootstrap over the items converges to, without its noise. Clusters of unequal sizes are allowed for. Of
    a mean over classes it is that within classes; a class of one item is given the mean variance of the others.

    Args:
        scores: (K, n).
        classes, clusters: (n,), as in `SeedScores`.

    Returns:
        nan where one item, or one in each class, says nothing.
    """
    if classes is not None and clusters is not None:
        scores, classes = _of_clusters(scores, classes, np.unique(clusters, return_inverse=True)[1])
    if classes is not None:
        return _within_classes(scores, np.unique(classes, return_inverse=True)[1])
    number = scores.shape[1]
    units = np.arange(number) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    sizes = np.bincount(units)
    if len(sizes) < 2:
        return np.full((len(scores), len(scores)), nan)
    sums = np.stack([np.bincount(units, weights=row) for row in scores])
    influence = (sums - scores.mean(axis=1, keepdims=True) * sizes) / number
    return len(sizes) / (len(sizes) - 1) * influence @ influence.T


def _of_clusters(scores: np.ndarray, classes: np.ndarray, units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mean score and the class of each cluster, where clusters have equal sizes and lie within classes."""
    sizes, of_unit = np.bincount(units), np.empty(units.max() + 1, dtype=classes.dtype)
    of_unit[units] = classes
    if len(np.unique(sizes)) > 1 or not np.array_equal(of_unit[units], classes):
        raise ValueError("clusters within classes must have one size, and clusters across classes are not supported")
    return np.stack([np.bincount(units, weights=row) / sizes for row in scores]), of_unit


def _within_classes(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """`item_covariance` of a mean over classes."""
    counts = np.bincount(labels)
    free = (counts - 1).sum()
    if free == 0:
        return np.full((len(scores), len(scores)), nan)
    class_means = np.stack([np.bincount(labels, weights=row) / counts for row in scores])
    rest = scores - class_means[:, labels]
    weights = np.divide(1.0, counts * (counts - 1), out=np.zeros(len(counts)), where=counts > 1)[labels]
    alone = (counts == 1).sum() * (rest @ rest.T) / free
    return ((rest * weights) @ rest.T + alone) / len(counts) ** 2


def _item_freedom(scores: SeedScores) -> float:
    """Degrees of freedom of the items' part: independent units less the means taken of them."""
    assert scores.items is not None
    units = scores.items.shape[1] if scores.clusters is None else len(np.unique(scores.clusters))
    return units - (1 if scores.classes is None else len(np.unique(scores.classes)))


def _estimate(values: np.ndarray, item_error: float, parts: Sequence[_Part], least: _Part | None) -> Estimate:
    """The interval of all parts, and no narrower one than `least` gives alone: runs may agree by chance."""
    mean, num = float(values.mean()), len(values)
    total = sum(part.variance for part in parts)

    def half(p: float) -> float:
        """Half of the interval of level 1 - p."""
        weighted = sum(part.variance * float(stdtrit(part.freedom, 1 - p / 2)) for part in parts)
        alone = float(stdtrit(least.freedom, 1 - p / 2)) * sqrt(least.variance) if least else 0.0
        return max(weighted / sqrt(total) if total else 0.0, alone)

    width = half(1 - LEVEL) if parts and isfinite(total) else nan
    if width == 0 and mean != 0:  # the same gain everywhere says nothing of how gains differ
        width = nan
    p = nan if not isfinite(width) else 1.0 if mean == 0 else _root(lambda p: half(p) - abs(mean))
    deviation = float(values.std(ddof=1)) if num > 1 else nan
    seed_error = deviation / sqrt(num)
    return Estimate(mean, mean - width, mean + width, deviation, num, item_error, seed_error, p)


def _root(decreasing: Callable[[float], float]) -> float:
    """Where a function of p in (0, 1] becomes zero or less; no less than SMALLEST."""
    low, high = SMALLEST, 1.0
    if decreasing(low) <= 0:
        return low
    for _ in range(40):
        middle = sqrt(low * high)
        low, high = (middle, high) if decreasing(middle) > 0 else (low, middle)
    return high


def holm(p: Sequence[float], level: float = 1 - LEVEL) -> list[bool]:
    """Which of several comparisons stay clear when all are looked at, by Holm's step-down; nan never does."""
    order = sorted((value, place) for place, value in enumerate(p) if isfinite(value))
    kept = [False] * len(p)
    for number, (value, place) in enumerate(order):
        if value > level / (len(order) - number):
            break
        kept[place] = True
    return kept
