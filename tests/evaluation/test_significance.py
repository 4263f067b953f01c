"""Intervals have the coverage that they claim, and only the same items are compared."""

import numpy as np
import pytest

from askew.errors import UserError
from askew.evaluation.metrics import wilson_interval
from askew.evaluation.results import Outcomes, item_hash, load, save
from askew.evaluation.significance import bootstrap, differences, intervals, mean_of


def outcomes(right, items=None, classes=None, clusters=None):
    right = np.array(right, dtype=bool)
    items = [item_hash(str(i)) for i in range(len(right))] if items is None else items
    names = np.array([f"item {i}" for i in range(len(right))])
    by_measure = {} if classes is None else {"top1": np.array(classes)}
    return Outcomes(np.array(items), names, {"top1": right}, by_measure, clusters)


def coverage(draw, truth, trials=400):
    """Share of trials whose interval contains the true difference."""
    inside = 0
    for trial in range(trials):
        a, b, classes, clusters = draw(np.random.default_rng(trial))
        low, high = bootstrap(a, b, classes, clusters, seed=trial, replicates=1000)
        inside += low <= truth <= high
    return inside / trials


def test_the_interval_of_paired_items_covers():
    """Both are right on 30 % of the items, only b on 25 %, only a on 15 %: the difference is 10 points."""

    def draw(rng):
        kind = rng.choice(4, size=200, p=[0.3, 0.25, 0.15, 0.3])
        return (kind == 0) | (kind == 2), (kind == 0) | (kind == 1), None, None

    assert coverage(draw, 0.10) == pytest.approx(0.95, abs=0.03)


def test_the_interval_of_a_mean_over_classes_covers():
    sizes, gains = np.array([120, 40, 15]), np.array([0.3, 0.0, -0.15])
    labels = np.repeat(np.arange(3), sizes)

    def draw(rng):
        a = rng.random(len(labels)) < 0.5
        b = rng.random(len(labels)) < 0.5 + gains[labels]
        return a, b, labels, None

    assert coverage(draw, gains.mean()) == pytest.approx(0.95, abs=0.035)


def test_captions_of_one_image_are_drawn_together():
    """Five captions that are right or wrong together: drawn one by one, they would give intervals half as wide."""
    clusters = np.arange(500) // 5

    def draw(rng):
        a, b = (np.repeat(rng.random(100) < p, 5) for p in (0.4, 0.5))
        return a, b, None, clusters

    assert coverage(draw, 0.1) == pytest.approx(0.95, abs=0.03)
    one_by_one = coverage(lambda rng: (*draw(rng)[:2], None, None), 0.1)
    assert one_by_one < 0.75


@pytest.mark.parametrize("shared", [0.2, 0.8])
def test_captions_that_are_partly_alike_are_covered(shared):
    """Five to seven captions of 100 images: how hard one is depends on the image by a share, and on the caption."""
    clusters = np.repeat(np.arange(100), np.resize([5, 6, 7], 100))

    def draw(rng):
        hard = np.sqrt(shared) * rng.normal(size=100)[clusters]
        right = [hard + np.sqrt(1 - shared) * rng.normal(size=len(clusters)) < limit for limit in (0.0, 0.5244)]
        return *right, None, clusters

    assert coverage(draw, 0.2, trials=200) == pytest.approx(0.95, abs=0.04)  # 50 % and 70 % of captions are right


def test_the_interval_is_that_of_a_loop_that_resamples_items():
    rng = np.random.default_rng(3)
    a, b, classes = rng.random(60) < 0.4, rng.random(60) < 0.6, rng.integers(0, 3, 60)
    gain = b.astype(float) - a
    drawn = [rng.integers(0, 60, 60) for _ in range(4000)]
    plain = [gain[i].mean() for i in drawn]
    by_class = [np.mean([gain[i][classes[i] == c].mean() for c in np.unique(classes[i])]) for i in drawn]
    assert bootstrap(a, b) == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.02)
    assert bootstrap(a, b, classes) == pytest.approx(np.quantile(by_class, [0.025, 0.975]), abs=0.02)
    assert bootstrap(a, b) == bootstrap(a, b)
    assert bootstrap(a, a) == (0.0, 0.0)


def test_a_difference_by_hand_in_any_order_of_items():
    a, b = outcomes([1, 1, 0, 0, 0]), outcomes([1, 0, 1, 1, 0])
    order = [3, 1, 4, 0, 2]
    moved = Outcomes(b.items[order], b.names[order], {"top1": b.right["top1"][order], "top5": b.right["top1"]})
    (found,) = differences("task", a, moved, ("A", "B"))  # only one has top5
    assert (found.a, found.b, found.only_a, found.only_b, found.n) == (0.4, 0.6, 1, 2, 5)
    assert found.low < 0.2 < found.high
    assert not found.clear
    (certain,) = differences("task", outcomes([0] * 40), outcomes([1] * 40), ("A", "B"))
    assert (certain.low, certain.high, certain.clear) == (1.0, 1.0, True)


def test_means_over_classes_are_compared_as_means_over_classes():
    classes = [0, 0, 0, 1]
    a, b = outcomes([1, 1, 1, 0], None, classes), outcomes([0, 0, 0, 1], None, classes)
    (found,) = differences("t", a, b, ("A", "B"))
    assert (found.a, found.b) == (0.5, 0.5)


def test_different_items_are_refused_and_named():
    a = outcomes([1, 0, 1])
    other = outcomes([1, 0, 1], [*a.items[:2], item_hash("else")])
    with pytest.raises(UserError, match=r"task: .*1 of 3 only in A \(item 2, ...\); 1 of 3 only in B \(item 2"):
        differences("task", a, other, ("A", "B"))
    with pytest.raises(UserError, match=r"1 of 3 only in A"):
        differences("task", a, outcomes([1, 0], a.items[:2]), ("A", "B"))
    twice = outcomes([1, 0, 1, 1], [*a.items, a.items[0]])
    with pytest.raises(UserError, match=r"3 in A, 4 in B"):
        differences("task", a, twice, ("A", "B"))


def test_outcomes_survive_the_disk_and_nothing_is_unpickled(tmp_path):
    made = outcomes([1, 0, 1], classes=[0, 1, 1], clusters=np.array([0, 0, 1]))
    save(made, tmp_path / "set" / "task.npz")
    back = load(tmp_path / "set" / "task.npz")
    for field in ("items", "names", "clusters"):
        assert (getattr(made, field) == getattr(back, field)).all()
    assert (back.right["top1"] == made.right["top1"]).all()
    assert (back.classes["top1"] == made.classes["top1"]).all()
    np.savez(tmp_path / "pickled.npz", items=np.array([object()], dtype=object))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "set" / "task.npz").read_bytes()[:50])
    for name in ("pickled.npz", "cut.npz", "none.npz"):
        with pytest.raises(UserError, match="not outcomes that askew wrote"):
            load(tmp_path / name)


def test_one_models_interval_is_wilsons_where_items_are_independent():
    """12 of 40: 0.3 with z² = 3.8415 gives (0.3 + 0.0480 ± 0.1499) / 1.0960."""
    low, high = intervals(outcomes([1] * 12 + [0] * 28))["top1"]
    assert (low, high) == (pytest.approx(0.1807, abs=1e-3), pytest.approx(0.4543, abs=1e-3))


def test_one_models_interval_covers_with_clusters_and_with_classes():
    """Captions of one image are right together. The rare class counts as much as the frequent one."""
    sizes, shares = np.array([150, 20]), np.array([0.2, 0.6])
    labels = np.repeat([0, 1], sizes)
    inside = {"clusters": 0, "classes": 0}
    trials = 150
    for trial in range(trials):
        rng = np.random.default_rng(trial)
        together = outcomes(np.repeat(rng.random(80) < 0.3, 5), clusters=np.arange(400) // 5)
        low, high = intervals(together, seed=trial)["top1"]
        inside["clusters"] += low <= 0.3 <= high
        balanced = outcomes(rng.random(170) < shares[labels], classes=labels)
        low, high = intervals(balanced, seed=trial)["top1"]
        inside["classes"] += low <= 0.4 <= high
    assert inside["clusters"] / trials == pytest.approx(0.95, abs=0.05)
    assert inside["classes"] / trials == pytest.approx(0.95, abs=0.05)


@pytest.mark.parametrize("right", [0, 1])
def test_items_that_are_all_alike_still_have_an_interval(right):
    """Ten clusters of five, all right or all wrong: a bootstrap would be sure."""
    found = intervals(outcomes([right] * 50, clusters=np.arange(50) // 5))["top1"]
    assert found == wilson_interval(10 * right, 10)
    assert found[1] - found[0] > 0.2


def test_a_mean_over_classes_is_the_measure_where_there_are_classes():
    one = outcomes([1, 1, 0, 0], classes=[0, 1, 1, 1])
    assert mean_of(one, "top1") == pytest.approx((1 + 1 / 3) / 2)
    assert mean_of(outcomes([1, 1, 0, 0]), "top1") == 0.5
