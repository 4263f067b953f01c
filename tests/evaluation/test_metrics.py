"""Each metric on a matrix typed by hand, and against scikit-learn where it has the same one."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from askew.evaluation.metrics import accuracy, mean_per_class, preference, recall_at_k, recalled, top_k, wilson_interval

SCORES = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.8], [0.4, 0.4, 0.1], [0.0, 0.7, 0.7]])
LABELS = np.array([0, 1, 1, 1])


def test_the_first_of_equal_scores_wins():
    assert top_k(SCORES, LABELS, 1).tolist() == [True, False, False, True]  # row 2 ties behind, row 3 ties in front
    assert top_k(SCORES, LABELS, 2).tolist() == [True, True, True, True]
    assert accuracy(SCORES, LABELS) == 0.5
    assert accuracy(SCORES, LABELS) == (SCORES.argmax(axis=1) == LABELS).mean()
    assert top_k(SCORES, LABELS, 9).all()


def test_a_constant_encoder_names_the_first_class_alone():
    constant = np.ones((3, 3))
    assert accuracy(constant, np.array([0, 1, 2])) == pytest.approx(1 / 3)


def test_classes_weigh_alike_and_absent_ones_do_not_count():
    assert mean_per_class(SCORES, LABELS) == pytest.approx((1 + 1 / 3) / 2)
    assert mean_per_class(SCORES[:1], LABELS[:1]) == 1.0


def test_accuracies_are_scikit_learns():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 7)), rng.integers(0, 7, 200)
    for k in (1, 3, 5):
        assert top_k(scores, labels, k).mean() == pytest.approx(top_k_accuracy_score(labels, scores, k=k))
    assert mean_per_class(scores, labels) == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))


RETRIEVAL = np.array([[0.9, 0.8, 0.1, 0.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
MATCH = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)


def test_recall_counts_any_match_and_ties_lose():
    assert recalled(RETRIEVAL, MATCH, 1).tolist() == [False, False, True, False]
    assert recalled(RETRIEVAL, MATCH, 2).tolist() == [True, False, True, False]
    assert recalled(RETRIEVAL, MATCH, 4).tolist() == [True, True, True, False]
    assert recalled(RETRIEVAL, MATCH, 9).tolist() == [True, True, True, False]  # no match is never found
    assert recall_at_k(RETRIEVAL, MATCH, 2) == 0.5


def test_equal_matches_do_not_lose_against_each_other():
    scores, match = np.array([[0.5, 0.5, 0.1]]), np.array([[True, True, False]])
    assert recall_at_k(scores, match, 1) == 1.0


def test_a_constant_encoder_retrieves_nothing():
    assert recall_at_k(np.ones((5, 5)), np.eye(5, dtype=bool), 1) == 0.0


def test_ties_lose_in_preference():
    assert preference(np.array([0.5, 0.5, 0.4, 0.9]), np.array([0.4, 0.5, 0.5, 0.1])) == 0.5


def test_wilsons_interval_is_the_published_one():
    # Newcombe (1998), Statistics in Medicine 17, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29
    for successes, trials, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0, 0) == (0.0, 1.0)
    low, high = wilson_interval(20, 20)
    assert (high, low) == pytest.approx((1.0, 1 - 0.1611), abs=5e-5)
