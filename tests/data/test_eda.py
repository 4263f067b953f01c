"""EDA: one small edit per caption, with synonyms that come with the package."""

from collections import Counter

import numpy as np
import pytest

from askew.data.eda import WordEdits, replace_one, swap_two, synonyms

CAPTION = "two small dogs run to the bicycle beside a dogs kennel"


def rng(seed=0):
    return np.random.default_rng(seed)


def kind(caption, edited):
    """Which edit was made, judged by the words."""
    before, after = caption.split(), edited.split()
    if before == after:
        return "none"
    if Counter(before) == Counter(after):
        return "swap"
    return "drop" if not Counter(after) - Counter(before) else "synonym"


@pytest.mark.parametrize(
    ("word", "some"),
    [
        ("bicycle", {"bike", "cycle", "wheel"}),
        ("Bicycle", {"bike"}),
        ("dogs", {"domestic dog", "hound"}),  # of dog
        ("watches", {"ticker"}),  # of watch
        ("t-shirt", {"jersey", "tee shirt"}),
        ("running", {"track"}),  # in the table itself
    ],
)
def test_synonyms_are_wordnets(word, some):
    found = synonyms(word)
    assert some <= set(found)
    assert list(found) == sorted(found)
    assert word.lower() not in found
    assert all(set(phrase) <= set("abcdefghijklmnopqrstuvwxyz ") and phrase.strip() for phrase in found)


@pytest.mark.parametrize("word", ["a", "in", "he", "was", "zzyzx", "", "été", "a,b"])
def test_function_words_and_unknown_words_have_no_synonyms(word):
    assert synonyms(word) == ()


def test_the_edits_are_equally_likely():
    generator = rng()
    made = Counter(kind(CAPTION, WordEdits(deletion=0.5)(CAPTION, generator)) for _ in range(900))
    assert {name: made[name] for name in ("swap", "drop", "synonym")} == pytest.approx(
        {"swap": 300, "drop": 300, "synonym": 300}, abs=75
    )


def test_a_synonym_replaces_its_word_everywhere():
    generator, words = rng(), CAPTION.split()
    for _ in range(50):
        after = replace_one(words, generator)
        changed = {old: new for old, new in zip(words, after, strict=True) if old != new}
        ((old, new),) = changed.items()
        assert new in synonyms(old)
        assert old not in after
    assert {tuple(replace_one(["dogs"], generator)) for _ in range(200)} == {(found,) for found in synonyms("dogs")}


def test_two_words_are_swapped_and_nothing_else():
    generator, words = rng(), list("abcdef")
    seen = set()
    for _ in range(300):
        after = swap_two(words, generator)
        moved = [position for position in range(6) if words[position] != after[position]]
        assert len(moved) == 2
        assert [after[i] for i in moved] == [words[i] for i in reversed(moved)]
        seen.add(tuple(moved))
    assert len(seen) == 15  # every pair


def test_words_are_dropped_with_the_given_probability():
    generator, words = rng(), [str(n) for n in range(1000)]
    left = len(WordEdits(0.3)._drop(words, generator))
    assert left == pytest.approx(700, abs=50)
    assert WordEdits(0.0)._drop(words, generator) == words


@pytest.mark.parametrize("caption", ["kite", "zzyzx", "", "   ", "the of a"])
def test_short_captions_stay_captions(caption):
    generator = rng()
    for deletion in (0.1, 1.0):
        for _ in range(30):
            edited = WordEdits(deletion)(caption, generator)
            assert bool(edited.strip()) == bool(caption.strip())
            assert len(edited.split()) >= min(1, len(caption.split()))


def test_the_same_draw_gives_the_same_edit():
    assert [WordEdits()(CAPTION, rng(7)) for _ in range(3)] == [WordEdits()(CAPTION, rng(7))] * 3
    assert len({WordEdits()(CAPTION, rng(seed)) for seed in range(40)}) > 20
