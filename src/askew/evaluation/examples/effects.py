"""What was done to an augmented view, in words and in numbers, and how it goes with the ratio of distances."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from askew.data.operations import PARAMETERS, Bound
from askew.errors import printable

WIDTH, HEIGHT = PARAMETERS.index("crop_w"), PARAMETERS.index("crop_h")
CROP = "crop"
GEOMETRY = {name for name in PARAMETERS if name.startswith("crop_")}


def in_words(parameters: Sequence[float], operations: Sequence[Bound]) -> tuple[str, ...]:
    """What was done to one view, from its P recorded numbers; () if nothing was. Too small a change is left out."""
    area = round(100 * parameters[WIDTH] * parameters[HEIGHT])
    said = [f"crop {area} % of the area"] if area < 100 else []
    for number, bound in zip(parameters, operations, strict=True):
        name = bound.operation.name
        if name in GEOMETRY or number == bound.operation.untouched:
            continue
        amount = _amount(number, bound)
        if name in ("brightness", "contrast", "saturation"):
            said += [f"{name} {100 * amount:+.0f} %"] if abs(amount) >= 0.005 else []
        elif name == "hue":
            said += [f"hue {360 * amount:+.0f}\N{DEGREE SIGN}"] if abs(amount) >= 0.005 else []
        elif name == "blur":
            said += [f"blur {amount:.1f} px"] if amount >= 0.05 else []
        elif name in ("flip", "grayscale"):
            said.append({"flip": "flipped", "grayscale": "grayscale"}[name])
        else:
            said.append(f"{printable(name, 40)} {number:.3g}")
    return tuple(said)


def _amount(number: float, bound: Bound) -> float:
    """A recorded number in units: a share or turns of colour, pixels of blur."""
    if bound.operation.name == "blur":
        return 2 * number
    return number * bound.strength if bound.operation.probability == "jitter_probability" else number


def strengths(parameters: np.ndarray, operations: Sequence[Bound]) -> dict[str, np.ndarray]:
    """How strongly each operation changed each view, by the operation's name: (V, P) -> (V,), 0 where it did not.

    Of a crop, the share of the area that is lost; of a colour change, its absolute size. Operations that changed no
    view are left out.
    """
    found = {CROP: 1 - parameters[:, WIDTH].astype(float) * parameters[:, HEIGHT]}
    for column, bound in enumerate(operations):
        operation = bound.operation
        if operation.name not in GEOMETRY:
            found[operation.name] = np.abs(parameters[:, column].astype(float) - operation.untouched)
    return {name: values for name, values in found.items() if values.any()}


@dataclass(frozen=True)
class Effect:
    """How an operation goes with the ratio of distances.

    Attributes:
        name: of the operation.
        share: of the views, changed by it.
        correlation: Spearman's rank correlation of its strength and the ratio, -1 to 1; None where one is constant.
        low, high: the 95 % interval of the correlation over samples.
    """

    name: str
    share: float
    correlation: float | None
    low: float | None = None
    high: float | None = None


def effects(
    parameters: np.ndarray, operations: Sequence[Bound], ratios: np.ndarray, seed: int = 0, replicates: int = 200
) -> list[Effect]:
    """The effect of every operation; the one that goes with the largest ratios first.

    The interval is a bootstrap over samples, whose views stay together. Strengths and ratios are ranked once, over all
    views.

    Args:
        parameters: (n, k, P) recorded numbers of k views of n samples.
        ratios: (n, k).
    """
    samples, views = ratios.shape
    strength = strengths(parameters.reshape(samples * views, -1), operations)
    ranked = average_ranks(ratios.reshape(-1)).reshape(ratios.shape)
    draws = np.random.default_rng(seed).integers(samples, size=(replicates, samples))
    made = []
    for name, values in strength.items():
        ranks_of = average_ranks(values).reshape(ratios.shape)
        drawn = [value for draw in draws if (value := _correlation(ranks_of[draw], ranked[draw])) is not None]
        low, high = np.quantile(drawn, (0.025, 0.975)).tolist() if samples > 1 and drawn else (None, None)
        made.append(Effect(name, float((values > 0).mean()), _correlation(ranks_of, ranked), low, high))
    return sorted(made, key=lambda effect: -(effect.correlation or 0.0))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of (n,) and (n,), -1 to 1; ties share a rank. None where one of them is constant."""
    return _correlation(average_ranks(a), average_ranks(b))


def average_ranks(values: np.ndarray) -> np.ndarray:
    """(n,) ranks from 0; equal values share the mean of their ranks. By hand: 5, 7, 5 gives 0.5, 2, 0.5."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts + 1) / 2)[inverse]


def _correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    a, b = a - a.mean(), b - b.mean()
    size = np.sqrt((a * a).sum() * (b * b).sum())
    return float((a * b).sum() / size) if size > 0 else None
