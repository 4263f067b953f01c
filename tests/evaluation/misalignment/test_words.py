"""Words whose captions suffer: Welch's test and Holm's method against scipy and numbers worked out by hand."""

import numpy as np
import pytest
from scipy import stats

from askew.evaluation.misalignment.words import holm, word_effects, words_in


def captions(rng, number=60):
    return [
        ("A Red ball" if row % 3 == 0 else "a ball") + (" left" if rng.random() < 0.5 else "") for row in range(number)
    ]


def test_words_are_lower_case_letters():
    assert words_in("A man's 3 RED-hot dogs, _x_ 犬") == {"a", "man's", "red", "hot", "dogs", "x", "犬"}


def test_the_word_that_was_hurt_is_first_and_clear():
    rng = np.random.default_rng(0)
    texts = captions(rng)
    red = np.array(["Red" in text for text in texts])
    values = {"grayscale": rng.normal(0, 0.1, 60) + red, "flip": rng.normal(0, 0.1, 60)}
    found = word_effects(texts, values)
    assert (found[0].operation, found[0].word, found[0].count) == ("grayscale", "red", 20)
    assert [effect.word for effect in found if effect.clear] == ["red"]
    assert found[0].difference == pytest.approx(values["grayscale"][red].mean() - values["grayscale"][~red].mean())
    assert {effect.word for effect in found} == {"red", "left"}  # every caption has `a` and `ball`


def test_welch_is_scipys():
    rng = np.random.default_rng(1)
    texts, values = captions(rng), rng.normal(0, 1, 60)
    red = np.array(["Red" in text for text in texts])
    found = next(effect for effect in word_effects(texts, {"flip": values}) if effect.word == "red")
    test = stats.ttest_ind(values[red], values[~red], equal_var=False)
    interval = test.confidence_interval(0.95)
    assert found.p == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_holm_by_hand():
    np.testing.assert_allclose(holm(np.array([0.01, 0.04, 0.03])), [0.03, 0.06, 0.06])
    assert holm(np.array([0.9, 0.8])).max() == 1
    assert len(holm(np.empty(0))) == 0


def test_nothing_happens_to_any_word():
    effects = word_effects(captions(np.random.default_rng(2)), {"flip": np.zeros(60)})
    assert effects
    assert {(effect.difference, effect.p, effect.clear) for effect in effects} == {(0, 1, False)}


def test_too_few_captions_have_no_words():
    assert word_effects(["a red ball"] * 9, {"flip": np.arange(9.0)}) == []
