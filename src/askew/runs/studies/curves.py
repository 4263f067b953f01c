"""Learning curves of a study: the rows of each line of `curves:` over the size of their data and over operations."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isnan
from statistics import mean

import numpy as np

from askew.errors import printable
from askew.evaluation.scaling import CurvePoint, Fit, LearningCurve, gain_trend, in_words, learning_curve
from askew.evaluation.seeds import share_interval
from askew.report.study_figures import GrowthLine
from askew.runs.studies.measures import Measure
from askew.runs.studies.record import Record
from askew.runs.studies.tables import ends, label, points

MILLION = 1_000_000
STEPS = 40  # points of a drawn curve
PAIRS, OPERATIONS = "pairs", "flops"  # what is on the axis, as a run's cost calls it


@dataclass(frozen=True)
class CurveLine:
    """One line of a measure's learning curve, over one axis.

    Attributes:
        points: by size; at least one.
        curve: with its fits; None where there are too few sizes.
    """

    label: str
    points: tuple[CurvePoint, ...]
    curve: LearningCurve | None


def curve_lines(record: Record, measure: Measure, axis: str) -> list[CurveLine]:
    """The lines of a measure, those that have a finished run."""
    made = []
    for name, rows in record.study.curves.items():
        found = sorted(
            (
                CurvePoint(size, measure.rows[row])
                for row in rows
                if row in measure.rows and (size := _size(record, row, axis)) is not None
            ),
            key=lambda point: point.size,
        )
        if not found:
            continue
        try:
            curve = learning_curve(found)
        except ValueError:  # too few sizes: the points are drawn alone, and `words` says so
            curve = None
        made.append(CurveLine(name, tuple(found), curve))
    return made


def _size(record: Record, row: str, axis: str) -> float | None:
    values = [value for run in record.of(row) if isinstance(value := run.cost.get(axis), int | float) and value > 0]
    return mean(values) if values else None


# As figures


def drawn(lines: Sequence[CurveLine]) -> list[GrowthLine]:
    """The points of each line, and the curve through them that fits best, over the sizes that were measured."""
    made = []
    for number, line in enumerate(lines):
        fit = best(line.curve) if line.curve else None
        sizes = np.geomspace(line.points[0].size, line.points[-1].size, STEPS)
        fits, band = ([_curve(fit, sizes)], _band(fit, sizes)) if fit else ([], [])
        made.append(GrowthLine(label(line.label), number, _runs(line), _means(line), fits, band))
    return made


def extrapolated(lines: Sequence[CurveLine], size: float) -> list[GrowthLine]:
    """The points of each line, every curve that they allow, and the band of all of these, up to `size`."""
    made = []
    for number, line in enumerate(lines):
        fits, band = [], []
        if line.curve:
            sizes = np.geomspace(line.points[0].size, max(size, line.points[-1].size), STEPS)
            fits = [_curve(fit, sizes) for fit in line.curve.fits if fit.possible]
            ranges = [(at, *line.curve.expected(at)) for at in sizes.tolist()]
            band = [(at, 100 * low, 100 * high) for at, low, high in ranges if not isnan(low)]
        made.append(GrowthLine(label(line.label), number, _runs(line), _means(line), fits, band))
    return made


def best(curve: LearningCurve) -> Fit | None:
    """The curve that noise would miss by as much most often; the first of equals, None where all are ruled out."""
    possible = [fit for fit in curve.fits if fit.possible]
    return max(possible, key=lambda fit: -inf if isnan(fit.p) else fit.p, default=None)


def _runs(line: CurveLine) -> list[tuple[float, float]]:
    return [(point.size, 100 * float(value)) for point in line.points for value in point.scores.values]


def _means(line: CurveLine) -> list[tuple[float, float, float, float]]:
    found = [(point.size, share_interval(point.scores)) for point in line.points]
    return [(size, 100 * one.low, 100 * one.mean, 100 * one.high) for size, one in found]


def _curve(fit: Fit, sizes: np.ndarray) -> list[tuple[float, float]]:
    return list(zip(sizes.tolist(), (100 * fit.at(sizes)).tolist(), strict=True))


def _band(fit: Fit, sizes: np.ndarray) -> list[tuple[float, float, float]]:
    low, high = (100 * end for end in fit.band(sizes))
    return [] if np.isnan(low).any() else list(zip(sizes.tolist(), low.tolist(), high.tolist(), strict=True))


# In words


def words(lines: Sequence[CurveLine]) -> list[str]:
    """What the lines over pairs let one expect at a million, and whether the gain of one over the first grows."""
    told = []
    for line in lines:
        name = printable(line.label, 60)
        if line.curve is None:
            told.append(f"{name}: {len(line.points)} sizes are too few for a curve.")
            continue
        told.append(f"{name}: {in_words(line.curve, MILLION)}")
    for line in lines[1:]:
        told += _trend(lines[0], line)
    return told


def _trend(first: CurveLine, line: CurveLine) -> list[str]:
    found = gain_trend(first.points, line.points)
    names = f"{printable(line.label, 60)}'s lead over {printable(first.label, 60)}"
    if found is None:
        return []
    change = f"{names} changes by {points(found.mean, '+')} points with every doubling of the data"
    change = f"{change} {ends(found, '+')}".strip()
    if found.num_seeds == 1:
        return [f"{change}. That is of one seed: other seeds may say otherwise."]
    verdict = (
        ("it grows" if found.mean > 0 else "it shrinks") if found.clear else "it neither grows nor shrinks clearly"
    )
    return [f"{change}: {verdict}, between {first.points[0].size:,.0f} and {first.points[-1].size:,.0f} pairs."]
