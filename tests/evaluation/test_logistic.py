"""The probe's solver against the formula in NumPy, and against scikit-learn run to the end."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.linear_model import LogisticRegression

from askew.evaluation import logistic
from askew.evaluation.logistic import Logistic


def objective(fit, c, features, labels):
    """Mean cross-entropy plus the squared weights over 2 C n, in float64."""
    logits = features.astype(np.float64) @ fit.weights + fit.bias
    if len(fit.classes) == 2:
        logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
    logits -= logits.max(axis=1, keepdims=True)
    chosen = logits[np.arange(len(labels)), np.searchsorted(fit.classes, labels)]
    entropy = np.log(np.exp(logits).sum(axis=1)) - chosen
    return entropy.mean() + (fit.weights**2).sum() / (2 * c * len(labels))


def bundled(load, count=150):
    found = load()
    order = np.random.default_rng(0).permutation(len(found.target))[:count]
    return found.data[order].astype(np.float32), found.target[order]


@pytest.mark.parametrize("c", [1e-4, 1e-2, 1.0, 100.0])
@pytest.mark.parametrize("load", [load_digits, load_wine, load_breast_cancer])
def test_the_minimum_is_that_of_scikit_learn_run_to_the_end(load, c):
    """Three problems, none of them standardised: ten classes, three, and two."""
    features, labels = bundled(load)
    fit = Logistic(features, labels).fit(c)
    exact = LogisticRegression(C=c, solver="newton-cg", tol=1e-7, max_iter=500).fit(features.astype(np.float64), labels)
    lowest = objective(
        logistic.FittedClassifier(exact.coef_.T, exact.intercept_, exact.classes_, 0.0, 0), c, features, labels
    )
    found = objective(fit, c, features, labels)
    assert fit.objective == pytest.approx(found, rel=1e-5, abs=1e-7)
    assert found <= lowest * (1 + 1e-4) + 2e-5
    assert np.mean(fit.predict(features) != exact.predict(features)) < 0.01


def test_float32_features_end_scikit_learn_early():
    """Why there is a solver of our own: on features as encoders give them, scikit-learn ends far above the minimum."""
    features, labels = bundled(load_wine)
    theirs = LogisticRegression(C=1.0, max_iter=1000).fit(features, labels)
    made = logistic.FittedClassifier(theirs.coef_.T, theirs.intercept_, theirs.classes_, 0.0, 0)
    assert objective(made, 1.0, features, labels) > 1.2 * Logistic(features, labels).fit(1.0).objective


def test_the_gradient_is_that_of_the_objective():
    rng = np.random.default_rng(1)
    features, labels = rng.normal(size=(40, 5)).astype(np.float32), rng.integers(0, 4, 40)
    problem = Logistic(features, labels)
    at = logistic.torch.from_numpy(rng.normal(size=(6, 4)))
    penalty = logistic.torch.tensor([[0.3]] * 5 + [[0.0]], dtype=logistic.torch.float64)
    gradient = problem._evaluate(at, penalty).gradient
    for place in [(0, 0), (3, 2), (5, 1)]:
        ends = []
        for sign in (1, -1):
            moved = at.clone()
            moved[place] += sign * 1e-2
            ends.append(problem._evaluate(moved, penalty).value)
        assert gradient[place].item() == pytest.approx((ends[0] - ends[1]) / 2e-2, abs=1e-4)


def test_blocks_of_rows_do_not_matter(monkeypatch):
    features, labels = bundled(load_digits)
    whole = Logistic(features, labels).fit(0.1)
    monkeypatch.setattr(logistic, "BLOCK", 70)  # 7 rows
    parts = Logistic(features, labels).fit(0.1)
    assert parts.objective == pytest.approx(whole.objective, rel=1e-6)
    np.testing.assert_allclose(parts.weights, whole.weights, atol=2e-3)


def test_every_row_twice_and_another_unit_change_nothing():
    """Twice the rows at half of C, and features of a thousandth at a million times C, are the same problem."""
    features, labels = bundled(load_digits)
    once = Logistic(features, labels).fit(0.1)
    twice = Logistic(np.concatenate([features] * 2), np.concatenate([labels] * 2)).fit(0.05)
    assert twice.objective == pytest.approx(once.objective, rel=1e-5)
    small = Logistic(features / 1000, labels).fit(0.1e6)
    assert small.objective == pytest.approx(once.objective, rel=1e-5)
    np.testing.assert_array_equal(small.predict(features / 1000), once.predict(features))


def test_the_strongest_penalty_leaves_the_frequencies_of_the_classes():
    labels = np.repeat([7, 3, 5], [50, 30, 20])
    fit = Logistic(np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32), labels).fit(1e-9)
    shares = np.exp(fit.bias) / np.exp(fit.bias).sum()
    np.testing.assert_allclose(shares, [0.3, 0.2, 0.5], atol=1e-3)
    assert fit.classes.tolist() == [3, 5, 7]


@pytest.mark.parametrize("classes", [2, 5])
def test_classes_that_are_far_apart_end_without_overflow(classes):
    labels = np.repeat(np.arange(classes), 20)
    features = (1e3 * np.eye(classes, dtype=np.float32))[labels]
    for c in (1e-6, 1.0, 1e6):
        fit = Logistic(features, labels).fit(c)
        assert np.isfinite(fit.weights).all()
        assert np.isfinite(fit.objective)
        assert (fit.predict(features) == labels).all()


def test_fewer_rows_than_features_and_a_constant_feature():
    rng = np.random.default_rng(0)
    features = np.concatenate([rng.normal(size=(12, 40)), np.ones((12, 1))], axis=1).astype(np.float32)
    labels = np.arange(12) % 3
    fit = Logistic(features, labels).fit(1.0)
    exact = LogisticRegression(C=1.0, tol=1e-8, max_iter=9999).fit(features.astype(np.float64), labels)
    np.testing.assert_allclose(fit.weights, exact.coef_.T, atol=2e-3)


def test_the_limit_of_iterations_and_what_is_told():
    features, labels = bundled(load_digits)
    told: list[int] = []
    assert Logistic(features, labels).fit(1.0, limit=5, tick=told.append).iterations == 5
    assert told == [1, 2, 3, 4, 5]
