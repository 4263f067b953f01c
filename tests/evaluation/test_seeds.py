"""Intervals across seeds: worked by hand, equal to a bootstrap where only items matter, and with the right coverage."""

from math import isnan, nan, sqrt

import numpy as np
import pytest

from askew.evaluation.metrics import wilson_interval
from askew.evaluation.results import Outcomes
from askew.evaluation.seeds import (
    SeedScores,
    combine,
    difference,
    holm,
    interval,
    item_covariance,
    means,
    scores_of,
    share_interval,
)
from askew.evaluation.significance import bootstrap

NINES = wilson_interval(2, 2)


def scored(items, seeds=None, classes=None, clusters=None):
    """Scores of items (S, n) under the seeds 0, 1, ..."""
    items = np.array(items, dtype=float)
    return SeedScores(tuple(seeds or range(len(items))), means(items, classes), items, classes, clusters)


def test_both_parts_by_hand():
    """Three seeds and four items: b - a is (2, 0, 1, 1), twice that, and 0. So the runs have 1, 2 and 0: mean 1.

    Seeds: variance 1, over three seeds 1/3. Items: the covariance of the means of the first two runs is
    (1 * 2 + 1 * 2) / (4 * 3), those with the third are 0: mean 1/9. t is 3.1824 for three degrees of freedom, 4.3027
    for two.
    """
    found = difference(scored(np.zeros((3, 4))), scored([[2, 0, 1, 1], [4, 0, 2, 2], [0, 0, 0, 0]]))
    assert found is not None
    assert (found.mean, found.num_seeds, found.deviation) == (1, 3, 1)
    assert (found.item_error, found.seed_error) == pytest.approx((1 / 3, sqrt(1 / 3)))
    half = (3.1824 / 9 + 4.3027 / 3) / sqrt(4 / 9)
    assert (found.low, found.high) == pytest.approx((1 - half, 1 + half), abs=1e-4)
    assert not found.clear
    assert 0.05 < found.p < 1


def test_runs_are_paired_by_seed_and_only_those_that_both_have():
    a = scored([[0, 1], [1, 1]], seeds=[5, 2])
    b = scored([[1, 1], [0, 0], [0, 1]], seeds=[2, 7, 5])
    found = difference(a, b)
    assert found is not None
    assert (found.mean, found.num_seeds, found.low, found.high, found.p) == (0, 2, 0, 0, 1)
    assert difference(a, scored([[0, 0]], seeds=[9])) is None


def test_a_weighted_sum_over_the_seeds_that_all_rows_have():
    rng = np.random.default_rng(0)
    rows = [SeedScores(seeds, rng.random(3), rng.random((3, 4))) for seeds in ((0, 1, 2), (2, 0, 5), (1, 2, 0))]
    found = combine([(1, rows[0]), (-2, rows[1]), (1, rows[2])])
    assert found is not None
    assert found.seeds == (0, 2)
    assert found.values[0] == pytest.approx(rows[0].values[0] - 2 * rows[1].values[1] + rows[2].values[2])
    assert found.items is not None
    assert found.items[1] == pytest.approx(rows[0].items[2] - 2 * rows[1].items[0] + rows[2].items[1])
    bare = SeedScores((0,), np.zeros(1))
    assert combine([(1, rows[0]), (-1, bare)]).items is None
    assert combine([(1, rows[0]), (-1, SeedScores((9,), np.zeros(1)))]) is None


def test_a_paired_t_where_there_are_no_items():
    """1, 2 and 3 points: mean 2, standard error 1 / sqrt(3), and t of two degrees of freedom 4.3027."""
    a, b = (SeedScores((0, 1, 2), np.array(v)) for v in ([0.5, 0.5, 0.6], [0.51, 0.52, 0.63]))
    found = difference(a, b)
    assert found is not None
    assert found.mean == pytest.approx(0.02)
    assert (found.high - found.low) / 2 == pytest.approx(0.043027 / sqrt(3), abs=1e-6)
    assert found.p == pytest.approx(0.0742, abs=1e-4)
    one = interval(SeedScores((0,), np.array([0.7])))
    assert one.mean == 0.7
    assert isnan(one.low)
    assert isnan(one.p)


def test_one_seed_has_the_interval_of_its_items_and_is_never_clear():
    rng = np.random.default_rng(0)
    a, b = rng.random(500) < 0.2, rng.random(500) < 0.8
    found = difference(scored([a]), scored([b]))
    assert found is not None
    assert (found.low, found.high) == pytest.approx(bootstrap(a, b), abs=0.005)
    assert found.low > 0.4
    assert isnan(found.seed_error)
    assert not found.clear


def test_the_items_part_is_that_of_a_bootstrap():
    """With classes of unequal sizes, and with clusters of unequal sizes."""
    rng = np.random.default_rng(1)
    gain = rng.integers(-3, 4, 400) / 3
    classes = rng.choice(8, 400, p=[0.3, 0.2, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    clusters = rng.integers(0, 90, 400)
    gain[clusters < 30] += 1
    zeros = np.zeros(400)
    for groups in ((None, None), (classes, None), (None, clusters)):
        low, high = bootstrap(zeros, gain, *groups, seed=2)
        error = sqrt(item_covariance(gain[None], *groups)[0, 0])
        assert (high - low) / (2 * 1.96) == pytest.approx(error, rel=0.04)
    with pytest.raises(ValueError, match="clusters across classes"):
        item_covariance(gain[None], classes, clusters)


def test_the_covariance_of_two_means_gives_the_variance_of_their_difference():
    rng = np.random.default_rng(3)
    two = rng.random((2, 60))
    clusters, classes = rng.integers(0, 20, 60), rng.integers(0, 5, 60)
    for groups in ((None, None), (None, clusters), (classes, None)):
        whole = item_covariance(two, *groups)
        apart = item_covariance(two[1:] - two[:1], *groups)[0, 0]
        assert whole[0, 0] + whole[1, 1] - 2 * whole[0, 1] == pytest.approx(apart)


def test_a_class_of_one_item_is_given_the_mean_variance_of_the_others():
    """Classes {0, 1} and {1}: the first has variance 0.5, so 0.25 for its mean; the second 0.5. (0.25 + 0.5) / 4."""
    assert item_covariance(np.array([[0.0, 1.0, 1.0]]), np.array([4, 4, 9]), None)[0, 0] == pytest.approx(0.1875)
    assert isnan(item_covariance(np.array([[0.0, 1.0]]), np.array([0, 1]), None)[0, 0])
    assert isnan(item_covariance(np.array([[0.0, 1.0]]), None, np.array([3, 3]))[0, 0])


def test_the_interval_of_a_share_stays_a_share():
    low, high = share_interval(scored([[1, 1], [1, 1]])).low, share_interval(scored([[1, 1], [1, 1]])).high
    assert (low, high) == NINES
    rare = np.zeros((3, 40))
    rare[:, 0] = [1, 0, 1]
    assert interval(scored(rare)).low < 0
    assert share_interval(scored(rare)).low == 0
    assert isnan(share_interval(SeedScores((0,), np.array([0.5]))).high)


def test_runs_that_agree_by_chance_are_no_proof():
    """Every seed gains on some items and loses as much on others: the spread of these is left.

    The means of the items are 1, -1, 1/3 and -1/3, so the variance of their mean is (20/9) / (4 * 3). t of three
    degrees of freedom is 3.1824.
    """
    found = interval(scored([[1, -1, 1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]))
    assert (found.mean, found.deviation) == (0, 0)
    assert found.high == pytest.approx(3.1824 * sqrt(20 / 9 / 12), abs=1e-4)
    assert found.p == 1


def test_the_same_gain_everywhere_proves_nothing():
    found = difference(scored([[0, 0, 0]] * 3), scored([[1, 1, 1]] * 3))
    assert found is not None
    assert isnan(found.low)
    assert not found.clear


def test_scores_come_from_outcomes_with_their_classes_and_clusters():
    """Class 0 is right on 1 of 2 items, class 1 on 1 of 1: 0.75 over classes, 2/3 over items."""
    items, right = np.array(["a", "b", "c"]), np.array([True, False, True])
    labels = np.array([0, 0, 1])
    one = Outcomes(items, items, {"top1": right, "mean_per_class": right}, {"mean_per_class": labels})
    assert scores_of([0, 4], [one, one], "mean_per_class").values.tolist() == [0.75, 0.75]
    assert scores_of([0, 4], [one, one], "top1").values == pytest.approx([2 / 3, 2 / 3])
    with pytest.raises(AssertionError, match="same items"):
        scores_of([0, 1], [one, Outcomes(items[::-1], items, {"top1": right})], "top1")


@pytest.mark.parametrize(
    ("of_items", "of_seeds", "of_rest", "num_seeds"),
    [(1.0, 0.0, 0.5, 3), (0.2, 0.2, 0.2, 3), (0.1, 0.1, 0.0, 3), (0.0, 0.0, 1.0, 3), (0.5, 0.05, 1.0, 5)],
)
def test_nineteen_of_twenty_intervals_hold_the_truth(of_items, of_seeds, of_rest, num_seeds):
    """Items, seeds and the rest with known spreads; the interval is never narrow, and never far too wide."""
    rng, num, trials = np.random.default_rng(7), 50, 600
    inside = 0
    for _ in range(trials):
        items, seeds = of_items * rng.normal(size=num), of_seeds * rng.normal(size=(num_seeds, 1))
        found = interval(scored(0.3 + items + seeds + of_rest * rng.normal(size=(num_seeds, num))))
        inside += found.low <= 0.3 <= found.high
    assert 0.93 <= inside / trials <= 0.995


@pytest.mark.parametrize("shared", [0.3, 0.9])
def test_intervals_hold_the_truth_where_captions_of_an_image_are_alike(shared):
    """Four captions of 40 images in three seeds; drawn one by one, items that are much alike would seem too certain."""
    rng, clusters, trials = np.random.default_rng(8), np.repeat(np.arange(40), 4), 400
    inside = apart = 0
    for _ in range(trials):
        items = np.sqrt(shared) * rng.normal(size=40)[clusters] + np.sqrt(1 - shared) * rng.normal(size=160)
        scores = 0.3 + items + 0.05 * rng.normal(size=(3, 1)) + 0.3 * rng.normal(size=(3, 160))
        found, alone = interval(scored(scores, clusters=clusters)), interval(scored(scores))
        inside += found.low <= 0.3 <= found.high
        apart += alone.low <= 0.3 <= alone.high
    assert 0.925 <= inside / trials <= 0.995
    assert apart / trials < inside / trials - 0.02


def test_p_says_which_interval_ends_at_zero():
    """Far from zero it is small, and at the interval's end it is 0.05."""
    rng = np.random.default_rng(5)
    items = rng.normal(size=(3, 40))
    around = interval(scored(items - items.mean()))
    assert around.p == pytest.approx(1)
    assert interval(scored(items - items.mean() + around.high)).p == pytest.approx(0.05)
    assert interval(scored(items + 100)).p < 0.01


def test_captions_of_one_image_count_once():
    """Five copies of every item in clusters say no more than one: but for the seeds, the interval stays as it was."""
    rng = np.random.default_rng(4)
    once = rng.random(80) + 0.1 * rng.random((3, 80))
    copies = scored(np.repeat(once, 5, axis=1), clusters=np.repeat(np.arange(80), 5))
    alone = interval(scored(once))
    assert vars(interval(copies)) == pytest.approx(vars(alone))
    assert interval(scored(np.repeat(once, 5, axis=1))).item_error < 0.5 * alone.item_error


def test_holm_by_hand():
    """0.01 against 0.05 / 3; 0.02 against 0.05 / 2; 0.2 against 0.05. One that fails ends it."""
    assert holm([0.2, 0.01, nan, 0.02]) == [False, True, False, True]
    assert holm([0.03, 0.04, 0.001]) == [False, False, True]
    assert holm([]) == []
