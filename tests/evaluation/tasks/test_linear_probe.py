"""The probe chooses the same C and reaches the same accuracy as a script that calls scikit-learn itself.

The script is run twice: as CLIP's users run it, on float32 features and with scikit-learn's own tolerance; and in
float64 until nothing changes, which is the minimum that our solver finds.
"""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, balanced_accuracy_score
from standins import Pictures, features_of

from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.features import Features
from askew.evaluation.tasks.linear_probe import FITS, Solver, Split, choose, held_out, linear_probe


def script(train, val, test, score, **solver):
    """CLIP's search, written out as in MERU, without our code."""
    solver = {"max_iter": 1000, "random_state": 0} | solver

    def tried(c):
        model = LogisticRegression(C=c, **solver).fit(*train)
        return score(val[1], model.predict(val[0]))

    best_c, best = None, -1
    for c in [1e-6, 1e-4, 1e-2, 1, 1e2, 1e4, 1e6]:
        found = tried(c)
        if found > best:
            best_c, best = c, found
    delta = 10.0
    for _ in range(4):
        low, high = best_c / delta, best_c * delta
        for c in (low, high):
            found = tried(c)
            if found > best:
                best_c, best = c, found
        delta = delta**0.5
    features, labels = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    model = LogisticRegression(C=best_c, **solver).fit(features, labels)
    return best_c, score(test[1], model.predict(test[0]))


def problem(load, keep, standardise, noise=0.0):
    """Training, validation and test features (float32) of a problem that scikit-learn bundles; unequal sizes."""
    found = load()
    rng = np.random.default_rng(0)
    order = rng.permutation(len(found.target))[:keep]
    x, y = found.data[order], found.target[order]
    if standardise:
        x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    x = (x + noise * rng.normal(size=x.shape)).astype(np.float32)
    a, b = int(0.45 * keep), int(0.7 * keep)
    return [(x[:a], y[:a]), (x[a:b], y[a:b]), (x[b:], y[b:])]


PROBLEMS = {
    "iris": (problem(load_iris, 150, True, noise=0.5), "top1"),
    "wine, unscaled": (problem(load_wine, 178, False), "mean_per_class"),
    "digits": (problem(load_digits, 240, True, noise=1.0), "top1"),
}


def labelled(labels, prefix):
    return Labelled(Pictures([b""] * len(labels), prefix), np.asarray(labels))


def probe(train, val, test, metric, name="set", splits=None, solver="lbfgs"):
    fields = {
        "name": name,
        "metric": metric,
        "classes": (("a",),) * (1 + max(train[1])),
        "templates": ("{}",),
        "test": labelled(test[1], "test"),
        "train": labelled(train[1], "train"),
        "validation": None if val is None else labelled(val[1], "val"),
    }
    made = [None if part is None else features_of(part[0]) for part in (train, val, test)]
    return linear_probe(Classification(**(fields | (splits or {}))), *made, solver=Solver(solver))


@pytest.mark.parametrize("solver", ["scikit-learn", "lbfgs"])
@pytest.mark.parametrize("name", PROBLEMS)
def test_choice_and_accuracy_are_the_scripts(name, solver):
    (train, val, test), metric = PROBLEMS[name]
    score = {"top1": accuracy_score, "mean_per_class": balanced_accuracy_score}[metric]
    given, settings = (train, val, test), {}
    if solver == "lbfgs":
        given = [(features.astype(np.float64), labels) for features, labels in given]
        settings = {"solver": "newton-cg", "tol": 1e-6}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        c, accuracy = script(*given, score, **settings)
    result = probe(train, val, test, metric, solver=solver)
    assert result.protocol["C"] == c
    assert result.values[metric] == pytest.approx(accuracy, abs=1e-12)
    assert next(iter(result.values)) == metric
    assert len(result.protocol["C_tried"]) == 7 + 8
    assert result.protocol["trained_on"] == len(train[1]) + len(val[1])
    assert c not in (1e-6, 1e6)  # so the search was needed


def test_the_search_says_how_far_it_is():
    (train, val, _), metric = PROBLEMS["iris"]
    said: list[tuple[int, int, float, int]] = []
    split = Split(*train)
    solver = Solver(tick=lambda *where: said.append(where))
    best = choose(split, Split(*val), metric, solver).best
    solver.on(split, FITS - 1)(best)
    assert [done for done, _, _, iteration in said if iteration == 0] == list(range(16))
    assert {fits for _, fits, _, _ in said} == {16}
    assert [c for done, _, c, iteration in said if iteration == 1][:7] == [1e-6, 1e-4, 1e-2, 1.0, 1e2, 1e4, 1e6]


def test_of_equal_scores_the_stronger_regularisation_is_kept():
    """Two classes far apart: every C is right on the validation data, so the first of the grid is kept."""
    x = np.concatenate([np.full((9, 2), -3.0), np.full((9, 2), 3.0)]).astype(np.float32)
    split = Split(x, np.repeat([0, 1], 9))
    assert choose(split, split, "top1").best == 1e-6


def test_without_a_validation_split_a_part_of_train_is_held_out_and_used_in_the_last_fit():
    (train, val, test), _ = PROBLEMS["digits"]
    pool = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]])
    result = probe(pool, None, test, "top1")
    size = len(pool[1])
    assert result.protocol["trained_on"] == size
    assert result.protocol["validation"].startswith("20% of train, the last in the order of the keys' sha256")
    first, last = held_out([f"train/{i}.png" for i in range(size)], 0.2)
    assert len(last) == round(0.2 * size)
    assert sorted([*first, *last]) == list(range(size))
    expected = choose(Split(pool[0][first], pool[1][first]), Split(pool[0][last], pool[1][last]), "top1")
    assert result.protocol["C"] == expected.best
    assert "10% of train" in probe(pool, None, test, "top1", name="food101").protocol["validation"]


def test_the_held_out_part_has_every_class_although_the_disk_goes_by_class():
    keys = [f"class {label}/{i}.jpg" for label in range(8) for i in range(50)]
    _, last = held_out(keys, 0.2)
    assert set(last // 50) == set(range(8))
    shuffled = np.random.default_rng(0).permutation(len(keys))
    _, again = held_out([keys[i] for i in shuffled], 0.2)
    assert {keys[i] for i in last} == {keys[shuffled[i]] for i in again}  # in any order on disk


def test_unreadable_training_images_are_left_out_and_counted():
    (train, val, test), metric = PROBLEMS["iris"]
    readable = np.arange(len(train[1])) % 9 != 0
    labels = {"train": labelled(train[1], "train"), "validation": labelled(val[1], "val")}
    data = Classification("set", metric, (("a",),) * 3, ("{}",), labelled(test[1], "test"), **labels)
    found = linear_probe(data, features_of(train[0], readable), features_of(val[0]), features_of(test[0]))
    clean = probe((train[0][readable], train[1][readable]), val, test, metric)
    assert found.values == clean.values
    assert found.protocol["unreadable_training_images"] == int((~readable).sum())


def test_what_a_probe_needs_is_reported():
    (train, val, test), metric = PROBLEMS["iris"]
    with pytest.raises(UserError, match="no training split"):
        probe(train, val, test, metric, splits={"train": None})
    one_class = train[0], np.zeros_like(train[1])
    with pytest.raises(UserError, match="two classes"):
        probe(one_class, val, test, metric)
    bare = Features(None, train[0], ("x",) * len(train[0]), np.ones(len(train[0]), dtype=bool), (), "")
    data = Classification("set", metric, (("a",),) * 3, ("{}",), labelled(test[1], "t"), labelled(train[1], "u"))
    with pytest.raises(UserError, match="no features before its projection"):
        linear_probe(data, bare, None, features_of(test[0]))


def test_few_validation_images_warn():
    """Of 100 validation images each is one point, and the standard error of their accuracy up to 5: the limit."""
    (train, val, test), metric = problem(load_digits, 600, True), "top1"
    for size, classes, few in ((99, 10, True), (100, 10, False), (100, 101, True), (120, 101, False)):
        said: list[str] = []
        labels = {"train": labelled(train[1], "train"), "validation": labelled(val[1][:size], "val")}
        data = Classification("set", metric, (("a",),) * classes, ("{}",), labelled(test[1], "test"), **labels)
        made = linear_probe(
            data, features_of(train[0]), features_of(val[0][:size]), features_of(test[0]), warn=said.append,
            solver=Solver("scikit-learn"),
        )  # fmt: skip
        assert made.protocol["warnings"] == said
        assert bool(said) == few
    small = probe((train[0][:50], train[1][:50]), None, test, metric).protocol["warnings"]
    assert small == [
        "set: the probe's C is chosen on 10 validation images, each of which is 10.0 points of accuracy, so chance "
        "makes the choice; give 100 or more (in a folder val, or by more training images)"
    ]


def test_test_images_that_the_probe_is_trained_on_warn():
    train, val, test = problem(load_digits, 600, True)
    made = [
        replace(features_of(part[0]), pictures=tuple(f"{name}{i}" for i in range(len(part[0]))))
        for name, part in (("train", train), ("val", val), ("test", test))
    ]
    made[2] = replace(made[2], pictures=("train3", "val5", *made[2].pictures[2:]))
    labels = {"train": labelled(train[1], "train"), "validation": labelled(val[1], "val")}
    data = Classification("set", "top1", (("a",),) * 10, ("{}",), labelled(test[1], "test"), **labels)
    found = linear_probe(data, *made).protocol
    assert found["test_images_in_training"] == 2
    assert (
        f"2 of {len(test[1])} test images are also the probe's training images, byte for byte" in found["warnings"][0]
    )
