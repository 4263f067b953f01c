"""Our metrics agree with CLIP_benchmark and SugarCrepe's script on the same embeddings, sample by sample.

Their answers are in tests/oracles/evaluation_numbers.json; evaluation_run.py beside it, which is run by hand, makes
them. The rules for equal scores differ, and each difference has a test.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from askew.evaluation.metrics import (
    accuracy,
    matching_columns,
    mean_per_class,
    preferred,
    ranks,
    recall_at_k,
    recalled,
    top_k,
)
from askew.evaluation.tasks.winoground import right_scores
from oracles import evaluation_inputs as inputs

ANSWERS = json.loads(Path(inputs.__file__).with_name("evaluation_numbers.json").read_text(encoding="utf-8"))
DIRECTIONS = ("image", "text")  # what is retrieved, as CLIP_benchmark names its measures


def bits(text):
    return np.array([character == "1" for character in text])


def scores_of(given):
    """Scores of images against classes: the vectors of the templates, averaged and normalised again."""
    weights = given.text.mean(axis=1)
    return given.image @ (weights / np.linalg.norm(weights, axis=1, keepdims=True)).T


def ranking(given, retrieved):
    """Scores and matches, one row per query: texts query images ("image"), or images query texts ("text")."""
    scores = given.text @ given.image.T
    match = given.image_of[:, None] == np.arange(len(given.image))[None, :]
    return (scores, match) if retrieved == "image" else (scores.T, match.T)


def on_the_border(scores, match, k):
    """Rows where a match and another candidate tie, and only their order decides if the match is in the first k."""
    best = np.where(match, scores, -np.inf).max(axis=1, keepdims=True)
    above, level = ((scores > best) & ~match).sum(axis=1), ((scores == best) & ~match).sum(axis=1)
    return (above < k) & (above + level >= k) & (level > 0)


def items(kind):
    """(subset, positive scores, negative scores) of SugarCrepe's seven."""
    for subset, given in inputs.choices(kind).items():
        yield subset, (given.image * given.positive).sum(axis=1), (given.image * given.negative).sum(axis=1)


def test_accuracies_are_clip_benchmarks():
    given, theirs = inputs.classes("free"), ANSWERS["classification"]["free"]
    scores = scores_of(given)
    assert len(np.unique(scores)) == scores.size
    right = top_k(scores, given.label, 1)
    assert accuracy(right) == pytest.approx(theirs["acc1"], abs=1e-12)
    assert accuracy(top_k(scores, given.label, 5)) == pytest.approx(theirs["acc5"], abs=1e-12)
    assert mean_per_class(right, given.label) == pytest.approx(theirs["mean_per_class_recall"], abs=1e-12)
    assert np.array_equal(right, bits(theirs["right"]))
    assert 0.3 < theirs["acc1"] < 0.95
    assert abs(theirs["acc1"] - theirs["mean_per_class_recall"]) > 0.01


@pytest.mark.parametrize("kind", ["tied", "constant"])
def test_with_ties_argmax_and_mean_per_class_are_still_the_same(kind):
    """Both take the first of equals. Only their `acc1` takes the one that `topk` happens to put first."""
    given, theirs = inputs.classes(kind), ANSWERS["classification"][kind]
    scores = scores_of(given)
    ours = top_k(scores, given.label, 1)
    assert np.array_equal(ours, bits(theirs["right"]))
    assert mean_per_class(ours, given.label) == pytest.approx(theirs["mean_per_class_recall"], abs=1e-12)
    tied = (scores == scores.max(axis=1, keepdims=True)).sum(axis=1) > 1
    assert abs(ours.mean() - theirs["acc1"]) * len(ours) <= tied.sum()
    assert ours.mean() != theirs["acc1"]


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("retrieved", DIRECTIONS)
def test_recalls_are_clip_benchmarks(retrieved, k):
    scores, match = ranking(inputs.captions("free"), retrieved)
    theirs = ANSWERS["retrieval"]["free"]
    assert not on_the_border(scores, match, k).any()
    rank = ranks(scores, matching_columns(match))
    assert np.array_equal(recalled(rank, k), bits(theirs[f"{retrieved}_right@{k}"]))
    assert recall_at_k(rank, k) == pytest.approx(theirs[f"{retrieved}_retrieval_recall@{k}"], abs=1e-7)
    assert 0.2 < recall_at_k(rank, 1) < 0.9


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("retrieved", DIRECTIONS)
def test_recalls_differ_only_where_a_tie_decides_and_then_ours_are_lower(retrieved, k):
    scores, match = ranking(inputs.captions("tied"), retrieved)
    ours, theirs = (
        recalled(ranks(scores, matching_columns(match)), k),
        bits(ANSWERS["retrieval"]["tied"][f"{retrieved}_right@{k}"]),
    )
    border = on_the_border(scores, match, k)
    assert np.array_equal(ours[~border], theirs[~border])
    assert not ours[border].any()
    assert border.any()


@pytest.mark.parametrize("retrieved", DIRECTIONS)
def test_a_constant_encoder_recalls_nothing_here_and_something_there(retrieved):
    scores, match = ranking(inputs.captions("constant"), retrieved)
    for k in (1, 5, 10):
        assert recall_at_k(ranks(scores, matching_columns(match)), k) == 0
        assert ANSWERS["retrieval"]["constant"][f"{retrieved}_retrieval_recall@{k}"] > 0


def test_preferences_are_the_official_scripts():
    for kind in ("free", "tied"):
        for subset, positive, negative in items(kind):
            theirs = ANSWERS["sugarcrepe"][kind]["official"][subset]
            assert accuracy(preferred(positive, negative)) == pytest.approx(theirs, abs=1e-12), (kind, subset)
    shares = ANSWERS["sugarcrepe"]["free"]["official"].values()
    assert len(set(shares)) > 3


def test_without_ties_clip_benchmark_says_the_same():
    for subset, positive, negative in items("free"):
        theirs = ANSWERS["sugarcrepe"]["free"]["clip_benchmark"][subset]
        assert accuracy(preferred(positive, negative)) == pytest.approx(theirs["text_acc"], abs=1e-7)
        assert theirs["image_acc"] == 1  # one image per item: nothing to choose from


def test_clip_benchmark_counts_every_tie_as_right():
    ties = 0
    for subset, positive, negative in items("tied"):
        theirs = ANSWERS["sugarcrepe"]["tied"]["clip_benchmark"][subset]["text_acc"]
        assert (positive >= negative).mean() == pytest.approx(theirs, abs=1e-7)
        ties += int((positive == negative).sum())
    assert ties > 20


def test_a_constant_encoder_scores_nothing_here_and_everything_there():
    for subset, positive, negative in items("constant"):
        assert accuracy(preferred(positive, negative)) == 0
        assert ANSWERS["sugarcrepe"]["constant"]["official"][subset] == 0
        assert ANSWERS["sugarcrepe"]["constant"]["clip_benchmark"][subset] == {"image_acc": 1, "text_acc": 1, "acc": 1}


@pytest.mark.parametrize("kind", inputs.KINDS)
def test_winoground_scores_are_clip_benchmarks_except_for_ties(kind):
    """Its argmax takes the first of equals, so that caption 0 and image 0 win ties there."""
    given = inputs.two_by_two(kind)
    theirs = json.loads(Path(inputs.__file__).with_name("winoground_numbers.json").read_text(encoding="utf-8"))[kind]
    similarity = np.einsum("nid,nkd->nik", given.image, given.text)
    ours = right_scores(similarity)
    tied = (similarity[:, :, 0] == similarity[:, :, 1]).any(axis=1)
    tied |= (similarity[:, 0] == similarity[:, 1]).any(axis=1)
    for score, name in (("text", "text_acc"), ("image", "image_acc"), ("group", "acc")):
        right = bits(theirs[f"{name}_right"])
        assert theirs[name] == pytest.approx(right.mean(), abs=1e-6)
        assert np.array_equal(ours[score][~tied], right[~tied])
        assert not (ours[score] & ~right).any()  # nothing is right here only
    assert tied.any() == (kind != "free")
    if kind == "free":
        assert 0.2 < theirs["acc"] < 0.95
