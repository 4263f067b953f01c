"""Few-shot probes against a script that calls scikit-learn, and the draws of their images."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from standins import Pictures, features_of

from askew.errors import UserError
from askew.evaluation.datasets.base import Classification, Labelled
from askew.evaluation.seeds import item_covariance
from askew.evaluation.significance import bootstrap, intervals, mean_of
from askew.evaluation.tasks import few_shot as module
from askew.evaluation.tasks.few_shot import DRAWS, SHOTS, ShotPool, few_shot, shots
from askew.evaluation.tasks.linear_probe import FITS, Solver, choose


def digits(validation=True, sizes=(600, 200, 400)):
    """Digits as a data set with features; keys name the split and the row."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    x, y = x[order].astype(np.float32) / 16, y[order]
    parts, start = {}, 0
    for name, size in zip(("train", "validation", "test"), sizes, strict=True):
        rows = slice(start, start + size)
        parts[name] = (Labelled(Pictures([b"x"] * size, name), y[rows]), features_of(x[rows]))
        start += size
    if not validation:
        parts["validation"] = (None, None)
    data = Classification("digits", "top1", tuple((str(n),) for n in range(10)), ("{}",), parts["test"][0],
                          parts["train"][0], parts["validation"][0])  # fmt: skip
    return data, {name: features for name, (_, features) in parts.items()}


def ran(data, features, **options):
    return few_shot(data, features["train"], features["validation"], features["test"], **options)


@pytest.fixture(scope="module")
def result():
    return ran(*digits())


@pytest.fixture
def fewer(monkeypatch):
    """Two numbers of shots, in a fraction of the time."""
    monkeypatch.setattr(module, "SHOTS", (4, 16))


def test_more_shots_are_better_and_every_number_is_there(result):
    found = [result.values[f"{k}_shot/top1"] for k in SHOTS]
    assert found == sorted(found)
    assert 0.4 < found[0] < 0.7
    assert found[-1] > 0.9
    assert result.task == "digits/few_shot"
    assert result.values["n"] == 400


def test_one_number_of_shots_by_a_script_of_scikit_learn(result):
    data, features = digits()
    pool, others = (ShotPool.of(getattr(data, part), features[part]) for part in ("train", "validation"))
    for k in (2, 16):
        right = []
        for draw in range(DRAWS):
            learn, check = shots(pool, others, k, draw)
            best = choose(learn, check, "top1").best
            assert best == result.protocol["C"][str(k)][draw]
            # L-BFGS stops too early at a small C: its tolerance is on the gradient, which is small there
            model = LogisticRegression(C=best, solver="newton-cholesky", tol=1e-10, max_iter=1000)
            model.fit(learn.features.astype(float), learn.labels)
            right.append(model.predict(features["test"].pooled.astype(float)) == data.test.labels)
        assert np.mean(right) == pytest.approx(result.values[f"{k}_shot/top1"], abs=0.005)


def test_draws_differ_and_depend_on_keys_alone():
    data, features = digits()
    pool = ShotPool.of(data.train, features["train"])
    other = ShotPool.of(data.validation, features["validation"])
    for k in SHOTS:
        learn, check = shots(pool, other, k, 0)
        assert np.bincount(learn.labels).tolist() == [k] * 10
        assert np.bincount(check.labels).tolist() == [min(k, 4)] * 10
    one, two = (shots(pool, other, 4, draw)[0] for draw in (0, 1))
    assert not np.array_equal(one.features, two.features)
    turned = np.random.default_rng(1).permutation(len(pool.labels))
    moved = ShotPool(pool.features[turned], pool.labels[turned], tuple(pool.keys[i] for i in turned))
    again = shots(moved, other, 4, 0)[0]
    assert np.array_equal(again.features, one.features)
    few = {tuple(row) for row in shots(pool, other, 2, 0)[0].features}
    assert few <= {tuple(row) for row in one.features}  # more shots hold the fewer


def test_without_a_validation_split_it_comes_from_the_rest_of_the_training_images(fewer):
    data, features = digits(validation=False)
    pool = ShotPool.of(data.train, features["train"])
    for k in SHOTS:
        learn, check = shots(pool, None, k, 0)
        assert not {tuple(row) for row in learn.features} & {tuple(row) for row in check.features}
        assert len(check.labels) == 10 * min(k, 4)
    found = ran(data, features)
    assert found.values["16_shot/top1"] > 0.85
    assert found.protocol["validation"].endswith("train, after the shots")


def test_a_class_with_fewer_images_gives_all_it_has(fewer):
    data, features = digits()
    kept = np.flatnonzero((data.train.labels != 3) | (np.cumsum(data.train.labels == 3) <= 5))
    train = Labelled(Pictures([b"x"] * len(kept), "train"), data.train.labels[kept])
    features["train"] = features_of(features["train"].pooled[kept])
    found = ran(replace(data, train=train), features)
    assert found.protocol["fewest_images_of_a_class"] == 5
    assert f"{SHOTS[-1]}_shot/top1" in found.values


def test_unreadable_images_are_no_shots_and_wrong_answers(result, fewer):
    data, features = digits()
    readable = np.ones(400, dtype=bool)
    readable[:40] = False
    features["test"] = replace(features["test"], readable=readable)
    found = ran(data, features)
    right = result.outcomes.right["4_shot/top1"].reshape(DRAWS, 400)
    assert found.values["4_shot/top1"] == pytest.approx(right[:, 40:].sum() / DRAWS / 400)
    gone = np.ones(600, dtype=bool)
    gone[::2] = False
    pool = ShotPool.of(data.train, replace(features["train"], readable=gone))
    assert len(pool.labels) == 300
    assert all(int(key.split("/")[1].removesuffix(".png")) % 2 for key in pool.keys)


def test_the_outcomes_give_the_values_and_count_each_image_once(result):
    for measure in result.outcomes.right:
        assert mean_of(result.outcomes, measure) == pytest.approx(result.values[measure])
    assert len(np.unique(result.outcomes.items)) == DRAWS * 400
    ends = intervals(result.outcomes)
    for measure in ("16_shot/top1", "16_shot/mean_per_class"):
        low, high = ends[measure]
        assert low < result.values[measure] < high
        assert high - low > 0.03  # of 400 images; 1,200 independent answers would give 0.6 of it
        share = result.values[measure]
        assert high - low == pytest.approx(2 * 1.96 * np.sqrt(share * (1 - share) / 400), rel=0.35)


def test_clusters_within_classes():
    """Copies of every item, drawn together, leave the interval as it was."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 5, 300)
    a, b = rng.random(300) < 0.5, rng.random(300) < 0.6
    thrice = [np.tile(values, 3) for values in (a, b, classes, np.arange(300))]
    assert bootstrap(*thrice[:2], thrice[2], thrice[3]) == pytest.approx(bootstrap(a, b, classes), abs=1e-12)
    scores = np.stack([a, b]).astype(float)
    found = item_covariance(np.tile(scores, (1, 3)), thrice[2], thrice[3])
    assert found == pytest.approx(item_covariance(scores, classes, None))
    with pytest.raises(ValueError, match="clusters across classes"):
        bootstrap(a, b, classes, np.arange(300) // 2)
    with pytest.raises(ValueError, match="clusters across classes"):
        item_covariance(scores, classes, np.arange(300) // 2)


def test_progress_is_that_of_all_probes(fewer):
    seen = []
    data, features = digits(sizes=(100, 40, 50))
    ran(data, features, solver=Solver(tick=lambda done, fits, c, step: seen.append((done, fits))))
    totals = {fits for _, fits in seen[:-1]}
    assert totals == {1 * DRAWS * FITS}  # no class has 16 images
    done = [number for number, _ in seen[:-1]]
    assert done == sorted(done)


def test_what_cannot_be_probed():
    data, features = digits()
    with pytest.raises(UserError, match="digits: the set has no training split, which a probe needs"):
        ran(replace(data, train=None, validation=None), features)
    single = Labelled(Pictures([b"x"] * 2, "train"), np.array([0, 0]))
    features["train"] = features_of(features["train"].pooled[:2])
    with pytest.raises(UserError, match="a few-shot probe needs two classes with a training image"):
        ran(replace(data, train=single), features)
