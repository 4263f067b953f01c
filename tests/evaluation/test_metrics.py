"""Each metric on a matrix typed by hand, and against scikit-learn if it has the same one."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from askew.evaluation.metrics import (
    NEVER,
    accuracy,
    both_accuracies,
    matching_columns,
    mean_per_class,
    preferred,
    ranks,
    recall_at_k,
    recalled,
    top_k,
    wilson_interval,
)

SCORES = np.array([[0.9, 0.1, 0.5], [0.2, 0.3, 0.8], [0.4, 0.4, 0.1], [0.0, 0.7, 0.7]])
LABELS = np.array([0, 1, 1, 1])


def test_the_first_of_equal_scores_wins():
    assert top_k(SCORES, LABELS, 1).tolist() == [True, False, False, True]  # row 2 ties behind, row 3 ties in front
    assert top_k(SCORES, LABELS, 2).tolist() == [True, True, True, True]
    assert accuracy(top_k(SCORES, LABELS, 1)) == 0.5
    assert accuracy(top_k(SCORES, LABELS, 1)) == (SCORES.argmax(axis=1) == LABELS).mean()
    assert top_k(SCORES, LABELS, 9).all()


def test_a_constant_encoder_is_right_only_about_the_first_class():
    constant = np.ones((3, 3))
    assert accuracy(top_k(constant, np.array([0, 1, 2]), 1)) == pytest.approx(1 / 3)


def test_classes_have_equal_weights_and_absent_ones_do_not_count():
    assert mean_per_class(top_k(SCORES, LABELS, 1), LABELS) == pytest.approx((1 + 1 / 3) / 2)
    assert mean_per_class(top_k(SCORES[:1], LABELS[:1], 1), LABELS[:1]) == 1.0
    assert mean_per_class(np.array([True, False, True]), np.array([7, 7, 3])) == 0.75


def test_both_accuracies_by_hand():
    right, labels = np.array([True, False, True, True, False]), np.array([0, 0, 2, 2, 2])
    assert both_accuracies(right, labels, "top1") == pytest.approx({"top1": 0.6, "mean_per_class": (1 / 2 + 2 / 3) / 2})
    assert list(both_accuracies(right, labels, "mean_per_class")) == ["mean_per_class", "top1"]
    assert list(both_accuracies(right, labels, "top1")) == ["top1", "mean_per_class"]


def test_accuracies_are_scikit_learns():
    rng = np.random.default_rng(0)
    scores, labels = rng.random((200, 7)), rng.integers(0, 7, 200)
    for k in (1, 3, 5):
        assert accuracy(top_k(scores, labels, k)) == pytest.approx(top_k_accuracy_score(labels, scores, k=k))
    per_class = mean_per_class(top_k(scores, labels, 1), labels)
    assert per_class == pytest.approx(balanced_accuracy_score(labels, scores.argmax(axis=1)))


RETRIEVAL = np.array([[0.9, 0.8, 0.1, 0.0], [0.5, 0.5, 0.5, 0.5], [0.1, 0.2, 0.3, 0.4], [0.4, 0.3, 0.2, 0.1]])
MATCH = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=bool)
RANKS = ranks(RETRIEVAL, matching_columns(MATCH))


def test_a_rank_counts_the_other_candidates_before_the_best_match_and_ties_lose():
    assert [columns.tolist() for columns in matching_columns(MATCH)] == [[1], [0], [0, 3], []]
    assert RANKS.tolist() == [1, 3, 0, NEVER]


def test_recall_counts_any_match_and_ties_lose():
    assert recalled(RANKS, 1).tolist() == [False, False, True, False]
    assert recalled(RANKS, 2).tolist() == [True, False, True, False]
    assert recalled(RANKS, 4).tolist() == [True, True, True, False]
    assert recalled(RANKS, 9).tolist() == [True, True, True, False]  # a query without a match never finds one
    assert recall_at_k(RANKS, 2) == 0.5


def test_equal_matches_do_not_lose_against_each_other():
    scores, match = np.array([[0.5, 0.5, 0.1]]), np.array([[True, True, False]])
    assert recall_at_k(ranks(scores, matching_columns(match)), 1) == 1.0


def test_a_constant_encoder_retrieves_nothing():
    assert recall_at_k(ranks(np.ones((5, 5)), matching_columns(np.eye(5, dtype=bool))), 1) == 0.0


def test_a_column_may_stand_for_several_candidates():
    """Columns of 3, 1 and 2 candidates give the ranks of the six candidates written out."""
    scores, copies = np.array([[0.5, 0.9, 0.5], [0.2, 0.3, 0.8]]), np.array([3, 1, 2])
    matches = [np.array([0, 0, 2]), np.array([1])]  # three matches of the first query score 0.5
    assert ranks(scores, matches, copies).tolist() == [1 + (5 - 3), 2]
    written_out = np.repeat(scores, copies, axis=1)
    match = np.array([[1, 1, 0, 0, 1, 0], [0, 0, 0, 1, 0, 0]], dtype=bool)
    assert ranks(written_out, matching_columns(match)).tolist() == ranks(scores, matches, copies).tolist()


def test_ties_lose_in_preference():
    right = preferred(np.array([0.5, 0.5, 0.4, 0.9]), np.array([0.4, 0.5, 0.5, 0.1]))
    assert right.tolist() == [True, False, False, True]
    assert accuracy(right) == 0.5


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
