"""Captions against the same words in another order."""

from collections import Counter

import numpy as np
import pytest
from standins import Pictures, features_of, pictures

from askew.errors import UserError
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.significance import mean_of
from askew.evaluation.tasks.word_order import ORDERS, other_orders, word_order
from askew.runs.tables import chance_of

CAPTIONS = (
    "a small brown dog runs over wet grass", "two men in red hats sit on a bench",
    "a girl with a kite on the beach", "dog", "the the the the", "a very old house near the green river",
)  # fmt: skip
IMAGE_OF = np.array([0, 0, 1, 1, 2, 2])


class Reader:
    """A text encoder whose scores are given: the embedding is (score, rest) of a unit vector."""

    def __init__(self, score):
        self.score, self.seen = score, []

    def text(self, texts):
        self.seen = list(texts)
        scores = np.array([self.score(text) for text in texts])
        return np.stack([scores, np.sqrt(1 - scores**2)], axis=1).astype(np.float32)


def data(captions=CAPTIONS, image_of=IMAGE_OF):
    return Captioned("dev", pictures(3), captions, image_of)


def features(readable=None):
    return features_of(np.tile(np.array([1.0, 0.0], dtype=np.float32), (3, 1)), readable)


def test_every_order_has_the_same_words_and_is_another_one():
    for caption in (CAPTIONS[0], CAPTIONS[1], CAPTIONS[5]):
        for orders in (other_orders(caption, "a"), other_orders(caption, "b")):
            assert len(orders) == len(ORDERS)
            for made in orders:
                assert made != caption
                assert Counter(made.split()) == Counter(caption.split())
    assert other_orders(CAPTIONS[0], "a") == other_orders(CAPTIONS[0], "a")
    assert other_orders(CAPTIONS[0], "a") != other_orders(CAPTIONS[0], "b")


def test_what_each_order_moves():
    words = [f"w{n}" for n in range(9)]
    for seed in range(30):
        made = dict(zip(ORDERS, (order.split() for order in other_orders(" ".join(words), str(seed))), strict=True))
        moved = [abs(made["neighbours"].index(word) - n) for n, word in enumerate(words)]
        assert max(moved) == 1
        groups = [words[n : n + 3] for n in (0, 3, 6)]
        assert sorted(made["trigrams"][n : n + 3] for n in (0, 3, 6)) == groups
        assert [sorted(made["within_trigrams"][n : n + 3]) for n in (0, 3, 6)] == groups


def test_a_reader_of_order_has_all_and_one_of_words_alone_has_none():
    captions = set(CAPTIONS)
    knows = word_order(Reader(lambda text: 0.9 if text in captions else 0.5), data(), features())
    assert knows.task == "dev/word_order"
    assert all(knows.values[name] == 1 for name in ("all", *ORDERS))
    bag = word_order(Reader(lambda text: len(set(text.split())) / 20), data(), features())
    assert all(bag.values[name] == 0 for name in ("all", *ORDERS))  # ties lose


def test_captions_of_few_words_are_left_out_and_counted():
    found = word_order(Reader(lambda text: 0.5), data(), features())
    assert found.values["n"] == 4
    assert found.protocol["captions_left_out"] == 2
    assert found.outcomes.clusters.tolist() == [0, 0, 1, 2]
    with pytest.raises(UserError, match="dev: no caption has 4 different words"):
        word_order(Reader(lambda text: 0.5), data(("dog", "cat"), np.array([0, 1])), features())


def test_by_hand_one_order_fools_it():
    """The shuffled trigrams score higher than the caption, everything else lower."""
    fooled = {other_orders(caption, Pictures([b""] * 3).keys[image])[2]
              for caption, image in zip(CAPTIONS, IMAGE_OF.tolist(), strict=True)
              if other_orders(caption, "x") is not None}  # fmt: skip
    encoders = Reader(lambda text: 0.8 if text in CAPTIONS else 0.9 if text in fooled else 0.1)
    found = word_order(encoders, data(), features())
    assert found.values["trigrams"] == 0
    assert found.values["all"] == 0
    assert found.values["neighbours"] == 1
    for measure in found.outcomes.right:
        assert mean_of(found.outcomes, measure) == found.values[measure]


def test_an_unreadable_image_is_wrong_and_the_prompt_is_used():
    encoders = Reader(lambda text: 0.9 if text.removeprefix("a photo of ") in CAPTIONS else 0.5)
    found = word_order(encoders, data(), features(np.array([True, False, True])), "a photo of {}")
    assert found.values["all"] == 3 / 4
    assert all(text.startswith("a photo of ") for text in encoders.seen)


def test_chance():
    found = word_order(Reader(lambda text: 0.5), data(), features())
    assert [chance_of(found, measure) for measure in ("all", "words", "trigrams")] == [0.2, 0.5, 0.5]
