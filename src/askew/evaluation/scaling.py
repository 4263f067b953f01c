"""Learning curves: what a score at several sizes of the data lets one expect at a larger one, and how little that is.

Three curves are fitted, because each is a belief about what comes after the last point:

    line        score = a + b log2(n / n0)                     every doubling adds the same
    saturating  score = 1 - e - c (n / n0)^-k                  the error falls as a power law to a floor e in [0, 1]
    s-shaped    score = 1 / (1 + exp(-a - b log2(n / n0)))     the odds grow as a power law: slow, fast, slow

n0 is the smallest size. Noise is drawn around the points many times, and every curve is fitted again: the items' part
with its covariance over sizes, because all sizes answer the same items, and the seeds' part with a variance that is
pooled over sizes, and a chi-square for how badly few seeds know it. A curve that misses the points by more than noise
explains is ruled out and predicts nothing. What is left is reported together: the data cannot choose among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan, log2, nan

import numpy as np

from askew.evaluation.growth import FITTERS, LINE, S_SHAPED, SATURATING, values
from askew.evaluation.seeds import Estimate, SeedScores, interval, item_covariance, subtract
from askew.evaluation.significance import LEVEL

REPLICATES = 1000
LEAST = 3  # sizes: two points lie on any curve
RULED_OUT = 1 - LEVEL
WIDE = 0.3  # of a share: an interval as wide as this leaves everything open


@dataclass(frozen=True)
class CurvePoint:
    """The scores of the row that was trained on `size` pairs."""

    size: float
    scores: SeedScores


@dataclass(frozen=True)
class Fit:
    """One curve through the points of a learning curve.

    Attributes:
        name: LINE, SATURATING or S_SHAPED.
        parameters: (P,) a, b; or e, c, k; or a, b.
        replicas: (R, P) the same of each replicate.
        first: n0.
        p: how often noise alone would miss the points by as much; nan where nothing is known of the noise.
    """

    name: str
    parameters: np.ndarray
    replicas: np.ndarray
    first: float
    p: float

    @property
    def possible(self) -> bool:
        """Whether the points do not contradict it. Without knowledge of the noise nothing is ruled out."""
        return not self.p < RULED_OUT

    def at(self, sizes: np.ndarray) -> np.ndarray:
        """The curve (Q,) at the sizes (Q,), a share."""
        return values(self.name, self.parameters[None], np.log2(sizes / self.first))[0]

    def band(self, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The 95 % interval at the sizes (Q,): low (Q,), high (Q,); nan where nothing is known of the noise."""
        if not len(self.replicas):
            return np.full(len(sizes), nan), np.full(len(sizes), nan)
        drawn = values(self.name, self.replicas, np.log2(sizes / self.first))
        low, high = np.quantile(drawn, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
        return low, high


@dataclass(frozen=True)
class LearningCurve:
    """All fits of one learning curve.

    Attributes:
        points: by size.
        estimates: the interval of each point.
        fits: every curve that so many points can be fitted with.
        gain: of a doubling of the data, from the line.
    """

    points: tuple[CurvePoint, ...]
    estimates: tuple[Estimate, ...]
    fits: tuple[Fit, ...]
    gain: Estimate | None

    @property
    def levels_anywhere(self) -> bool:
        """Whether only an S is left: it may level off at any height, and nothing below its bend says at which."""
        return [fit.name for fit in self.fits if fit.possible] == [S_SHAPED]

    def expected(self, size: float) -> tuple[float, float]:
        """The 95 % intervals at that size of all fits that are possible, taken together; nan if nothing is known.

        Where only an S is left, the low end is that of the last point.
        """
        last = self.points[-1].size
        sizes = np.array([size, min(size, last)] if self.levels_anywhere else [size])
        bands = [fit.band(sizes) for fit in self.fits if fit.possible]
        if not bands or any(np.isnan(low).any() for low, _ in bands):
            return nan, nan
        return min(float(low.min()) for low, _ in bands), max(float(high[0]) for _, high in bands)


def learning_curve(points: Sequence[CurvePoint], seed: int = 0, replicates: int = REPLICATES) -> LearningCurve:
    """Fit every curve to a measure in [0, 1] at several sizes.

    Raises:
        ValueError: fewer than three different sizes, or a size twice.
    """
    points = sorted(points, key=lambda point: point.size)
    sizes = np.array([point.size for point in points])
    if len(points) < LEAST or len(np.unique(sizes)) < len(sizes):
        raise ValueError(f"a learning curve needs {LEAST} or more different sizes, not {sizes.tolist()}")
    x = np.log2(sizes / sizes[0])
    y = np.array([point.scores.values.mean() for point in points])
    noise = _noise(points, replicates, np.random.default_rng(seed))
    names = (LINE, S_SHAPED) if len(points) == LEAST else (LINE, SATURATING, S_SHAPED)
    fits = tuple(_fitted(name, x, y, noise, float(sizes[0])) for name in names)
    slope = _slope(points, x)
    return LearningCurve(tuple(points), tuple(interval(point.scores) for point in points), fits, slope)


def gain_trend(a: Sequence[CurvePoint], b: Sequence[CurvePoint]) -> Estimate | None:
    """How b - a changes with every doubling of the data: the slope of a line through the differences at each size.

    None where the two do not have three sizes and one seed in common.
    """
    of_a = {point.size: point.scores for point in a}
    points = [
        CurvePoint(point.size, gain)
        for point in sorted(b, key=lambda point: point.size)
        if point.size in of_a and (gain := subtract(of_a[point.size], point.scores)) is not None
    ]
    if len(points) < LEAST:
        return None
    return _slope(points, np.array([log2(point.size / points[0].size) for point in points]))


def in_words(curve: LearningCurve, size: float, unit: str = "pairs") -> str:
    """What a reader may expect of a curve at `size`, and what not."""
    last, low_high = curve.points[-1].size, curve.expected(size)
    possible = [fit for fit in curve.fits if fit.possible]
    ruled_out = [fit.name for fit in curve.fits if not fit.possible]
    told = [
        f"{fit.name} {_share(float(fit.at(np.array([size]))[0]))} ({_range(*_ends(fit, size))})" for fit in possible
    ]
    text = f"At {size:,.0f} {unit}: {'; '.join(told)}. " if told else ""
    if not possible:
        return f"No curve fits these {len(curve.points)} points: nothing can be said of {size:,.0f} {unit}."
    if ruled_out:
        text += f"The points rule out: {', '.join(ruled_out)}. "
    if all(isnan(fit.p) for fit in possible):
        return text + "Nothing is known of the noise, so there is no interval."
    if len(possible) > 1:
        text += f"The data cannot tell these {len(possible)} curves apart: together {_range(*low_high)}. "
    if curve.levels_anywhere:
        text += f"An S can level off at any height, and these points do not say where: {_range(*low_high)}. "
    if low_high[1] - low_high[0] > WIDE:
        text += "That leaves nearly everything open. "
    return text + (
        f"All of it assumes that what holds up to {last:,.0f} {unit} holds at {size / last:,.0f} times as many; "
        "the intervals know of noise, not of that."
    )


def _ends(fit: Fit, size: float) -> tuple[float, float]:
    low, high = fit.band(np.array([size]))
    return float(low[0]), float(high[0])


def _share(value: float) -> str:
    return "past 100 %" if value >= 1 else f"{100 * value:.1f} %"


def _range(low: float, high: float) -> str:
    return "no interval" if isnan(low) else f"{100 * low:.1f} to {100 * high:.1f} %"


# Noise


def _noise(points: Sequence[CurvePoint], replicates: int, rng: np.random.Generator) -> np.ndarray:
    """Draws (R, K) of how far the mean at each size is from the truth; none where nothing is known of it."""
    of_items = _item_noise(points, replicates, rng)
    freedom = sum(len(point.scores.values) - 1 for point in points)
    if freedom == 0:
        return np.empty((0, len(points))) if of_items is None else of_items
    squares = sum(((point.scores.values - point.scores.values.mean()) ** 2).sum() for point in points)
    spread = np.sqrt(squares / rng.chisquare(freedom, (replicates, 1)))  # of one run, as few runs know it
    counts = np.array([len(point.scores.values) for point in points])
    of_seeds = rng.normal(size=(replicates, len(points))) * spread / np.sqrt(counts)
    noise = of_seeds if of_items is None else of_seeds + of_items
    return noise if noise.any() else np.empty((0, len(points)))


def _item_noise(points: Sequence[CurvePoint], replicates: int, rng: np.random.Generator) -> np.ndarray | None:
    """The items' part of the noise; None without items, or where they are not the same at every size."""
    first = points[0].scores
    items = [point.scores.items for point in points]
    if any(one is None for one in items) or len({one.shape[1] for one in items if one is not None}) > 1:
        return None
    means = np.stack([one.mean(axis=0) for one in items if one is not None])
    covariance = item_covariance(means, first.classes, first.clusters)
    if not np.isfinite(covariance).all():
        return None
    powers, vectors = np.linalg.eigh(covariance)
    return rng.normal(size=(replicates, len(points))) * np.sqrt(np.maximum(powers, 0)) @ vectors.T


def _slope(points: Sequence[CurvePoint], x: np.ndarray) -> Estimate | None:
    """The slope of the line over x (K,), as a measure of its own: seed by seed and item by item."""
    shared = [seed for seed in points[0].scores.seeds if all(seed in point.scores.seeds for point in points)]
    if not shared:
        return None
    weights = (x - x.mean()) / ((x - x.mean()) ** 2).sum()
    slopes, items = np.zeros(len(shared)), list[np.ndarray]()
    for weight, point in zip(weights, points, strict=True):
        rows = [point.scores.seeds.index(seed) for seed in shared]
        slopes = slopes + weight * point.scores.values[rows]
        items += [] if point.scores.items is None else [weight * point.scores.items[rows]]
    same = len(items) == len(points) and len({one.shape for one in items}) == 1
    whole, first = np.sum(items, axis=0) if same else None, points[0].scores
    return interval(SeedScores(tuple(shared), slopes, whole, first.classes, first.clusters))


# Curves


def _fitted(name: str, x: np.ndarray, y: np.ndarray, noise: np.ndarray, first: float) -> Fit:
    """Fit one curve, fit it again to the points with noise, and see how often noise alone misses by as much."""
    fit = FITTERS[name]
    parameters = fit(x, y[None])
    replicas = fit(x, y + noise) if len(noise) else np.empty((0, parameters.shape[1]))
    p = nan
    if len(noise):
        found = values(name, parameters, x)
        simulated = found + noise
        missed = ((simulated - values(name, fit(x, simulated), x)) ** 2).sum(axis=1)
        p = float((missed >= ((y - found[0]) ** 2).sum() * (1 - 1e-9)).mean())
    return Fit(name, parameters[0], replicas, first, p)
