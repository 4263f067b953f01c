"""Learning curves: known ones are found again, and what the points cannot say stays open."""

from math import isnan, log2

import numpy as np
import pytest

from askew.evaluation.growth import LINE, S_SHAPED, SATURATING
from askew.evaluation.scaling import (
    CurvePoint,
    Fit,
    LearningCurve,
    gain_trend,
    in_words,
    learning_curve,
)
from askew.evaluation.seeds import SeedScores

SIZES = (1000, 2000, 4000, 8000)
MILLION = 1_000_000
CURVES = {
    LINE: lambda n: 0.02 + 0.025 * np.log2(n / 1000),
    SATURATING: lambda n: 1 - 0.3 - 0.5 * (n / 1000) ** -0.5,
    S_SHAPED: lambda n: 1 / (1 + np.exp(3.5 - 0.6 * np.log2(n / 1000))),
}


def exact(curve, sizes=SIZES, seeds=1):
    """Scores without noise and without items."""
    return [CurvePoint(n, SeedScores(tuple(range(seeds)), np.full(seeds, curve(n)))) for n in sizes]


def noisy(curve, number=1000, seed=0):
    """Three seeds, each of which has an item right with the curve's probability."""
    rng = np.random.default_rng(seed)
    drawn = [(rng.random((3, number)) < curve(n)).astype(float) for n in SIZES]
    return [CurvePoint(n, SeedScores((0, 1, 2), one.mean(axis=1), one)) for n, one in zip(SIZES, drawn, strict=True)]


def fit_of(curve: LearningCurve, name: str) -> Fit:
    return next(fit for fit in curve.fits if fit.name == name)


@pytest.mark.parametrize(
    ("name", "parameters"), [(LINE, (0.02, 0.025)), (SATURATING, (0.3, 0.5, 0.5)), (S_SHAPED, (-3.5, 0.6))]
)
def test_a_curve_without_noise_is_found_again(name, parameters):
    found = learning_curve(exact(CURVES[name]))
    fit = fit_of(found, name)
    assert fit.parameters == pytest.approx(parameters, rel=0.02)
    assert fit.at(np.array([3000.0, MILLION])) == pytest.approx([CURVES[name](3000), CURVES[name](MILLION)], rel=0.02)
    assert isnan(fit.p)
    assert fit.possible
    assert all(map(isnan, found.expected(MILLION)))
    assert "Nothing is known of the noise" in in_words(found, MILLION)


@pytest.mark.parametrize("name", CURVES)
def test_what_four_noisy_points_say_of_a_million_holds_the_truth(name):
    held = 0
    for seed in range(6):
        curve = learning_curve(noisy(CURVES[name], seed=seed), replicates=200)
        low, high = curve.expected(MILLION)
        held += low <= CURVES[name](MILLION) <= high
    assert held >= 5


def test_points_that_rise_by_little_leave_a_million_open():
    """From 2 to 9.5 %: between a line, a floor and an S, anything is possible, and the words say so."""
    curve = learning_curve(noisy(CURVES[LINE]), replicates=300)
    low, high = curve.expected(MILLION)
    assert high - low > 0.4
    words = in_words(curve, MILLION)
    assert "The data cannot tell these 3 curves apart" in words
    assert "nearly everything open" in words
    assert "125 times as many" in words


def test_a_curve_that_the_points_contradict_predicts_nothing():
    curve = learning_curve(noisy(CURVES[S_SHAPED], number=4000), replicates=300)
    assert [fit.name for fit in curve.fits if fit.possible] == [S_SHAPED]
    assert "The points rule out: line, saturating." in in_words(curve, MILLION)
    low, high = curve.expected(MILLION)
    assert low < CURVES[S_SHAPED](8000)  # the last point: an S may level off at once
    assert high > 0.9
    assert "An S can level off at any height" in in_words(curve, MILLION)
    jumps = dict(zip(SIZES, (0.1, 0.6, 0.2, 0.7), strict=True))
    none = learning_curve(noisy(jumps.__getitem__), replicates=300)
    assert all(map(isnan, none.expected(MILLION)))
    assert in_words(none, MILLION).startswith("No curve fits these 4 points")


def test_a_flat_curve_stays_flat():
    found = learning_curve(exact(lambda n: 0.05))
    for fit in found.fits:
        assert fit.at(np.array([MILLION])) == pytest.approx([0.05])
    assert found.gain is not None
    assert found.gain.mean == pytest.approx(0)
    curve = learning_curve(noisy(lambda n: 0.05), replicates=300)
    assert curve.gain is not None
    assert curve.gain.low < 0 < curve.gain.high
    low, high = curve.expected(MILLION)
    assert low < 0.05 < high


def test_the_sizes_that_it_takes():
    with pytest.raises(ValueError, match="needs 3 or more different sizes"):
        learning_curve(exact(CURVES[LINE], SIZES[:2]))
    with pytest.raises(ValueError, match="different sizes"):
        learning_curve(exact(CURVES[LINE], (1000, 1000, 2000)))
    three = learning_curve(exact(CURVES[LINE], (4000, 1000, 2000)))
    assert [fit.name for fit in three.fits] == [LINE, S_SHAPED]  # three parameters pass through three points
    assert three.points[0].size == 1000


def test_seeds_without_items_and_items_without_seeds_give_noise():
    rng = np.random.default_rng(0)
    of_seeds = [CurvePoint(n, SeedScores((0, 1, 2), 0.3 + 0.05 * log2(n) + 0.01 * rng.normal(size=3))) for n in SIZES]
    of_items = [
        CurvePoint(p.size, SeedScores((0,), p.scores.values[:1], p.scores.items[:1])) for p in noisy(CURVES[LINE])
    ]
    for points in (of_seeds, of_items):
        low, high = fit_of(learning_curve(points, replicates=100), LINE).band(np.array([16000.0]))
        assert 0.005 < high[0] - low[0] < 0.2


def test_the_same_items_at_all_sizes_move_all_points_together():
    """Runs that differ only in which items are hard: the level is uncertain, the slope is not."""
    hard = np.random.default_rng(1).random(200)
    points = [CurvePoint(n, SeedScores((0,), np.array([hard.mean() + 0.01 * log2(n)]), hard[None] + 0.01 * log2(n)))
              for n in SIZES]  # fmt: skip
    curve = learning_curve(
        [CurvePoint(p.size, SeedScores((0,), p.scores.values - 0.2, p.scores.items)) for p in points]
    )
    line = fit_of(curve, LINE)
    assert line.replicas[:, 0].std() == pytest.approx(hard.std() / np.sqrt(200), rel=0.1)
    assert line.replicas[:, 1].std() < 1e-6


def test_whether_a_gain_grows_with_the_data():
    """b gains 1, 2, 3 and 4 points over a: one point per doubling, in every seed."""
    a = exact(CURVES[LINE], seeds=3)
    gains = dict(zip(SIZES, (0.01, 0.02, 0.03, 0.04), strict=True))
    jitter = np.array([0.001, -0.001, 0.0])
    b = [CurvePoint(p.size, SeedScores(p.scores.seeds, p.scores.values + gains[p.size] * (1 + jitter))) for p in a]
    found = gain_trend(a, b)
    assert found is not None
    assert found.mean == pytest.approx(0.01)
    assert found.clear
    assert gain_trend(a[:2], b) is None
    other = [CurvePoint(p.size, SeedScores((7,), p.scores.values[:1])) for p in a]
    assert gain_trend(a, other) is None
