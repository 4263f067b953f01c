"""Text, image and group scores: by hand, against a loop over Winoground's equations, and at the extremes."""

import numpy as np
import pytest
from standins import Colours, Constant, Pictures, features_of

from askew.errors import UserError
from askew.evaluation.datasets.base import TwoByTwo
from askew.evaluation.datasets.catalog import open_set
from askew.evaluation.tasks.winoground import CHANCE, clusters_of, right_scores, winoground
from askew.runs.tables import chance_of


def one(similarity):
    return {score: bool(found[0]) for score, found in right_scores(np.array([similarity])).items()}


@pytest.mark.parametrize(
    ("similarity", "text", "image"),
    [
        ([[2, 1], [1, 2]], True, True),
        ([[2, 1], [3, 4]], True, False),  # each image prefers its caption; caption 0 prefers image 1
        ([[2, 3], [1, 4]], False, True),  # each caption prefers its image; image 0 prefers caption 1
        ([[1, 2], [2, 1]], False, False),
        ([[1, 1], [0, 2]], False, True),  # a tie loses
        ([[1, 0], [1, 2]], True, False),
        ([[1, 1], [1, 1]], False, False),
    ],
)
def test_scores_by_hand(similarity, text, image):
    assert one(similarity) == {"text": text, "image": image, "group": text and image}


def test_scores_are_the_loop_of_the_papers_equations_and_chance_is_chance():
    similarity = np.random.default_rng(0).normal(size=(60_000, 2, 2))
    found = right_scores(similarity)
    for number in range(2000):
        ((a, b), (c, d)) = similarity[number]  # image 0 with caption 0 and 1, image 1 with caption 0 and 1
        text, image = a > b and d > c, a > c and d > b
        assert (found["text"][number], found["image"][number]) == (text, image)
        assert found["group"][number] == (text and image)
    for score, level in CHANCE.items():
        assert found[score].mean() == pytest.approx(level, abs=0.006)


def test_scores_do_not_depend_on_which_side_comes_first():
    similarity = np.random.default_rng(1).integers(0, 4, size=(500, 2, 2))
    for score, found in right_scores(similarity[:, ::-1, ::-1]).items():
        assert (found == right_scores(similarity)[score]).all()


def test_items_that_share_an_image_over_others_are_one_cluster():
    found = clusters_of(np.array([[0, 1], [2, 3], [3, 0], [4, 5], [6, 7], [7, 6]]), 8)
    assert found[0] == found[1] == found[2]
    assert found[4] == found[5]
    assert len(set(found.tolist())) == 3


VECTORS = {"near": np.array([1.0, 0.0]), "far": np.array([0.0, 1.0]), "mid": np.array([0.6, 0.8])}
IMAGES = np.array([[1.0, 0.0], [0.0, 1.0], [0.8, 0.6]], dtype=np.float32)


def data(captions, image_of, kinds):
    return TwoByTwo("set", Pictures([b""] * 3), np.array(image_of), tuple(captions), tuple(kinds))


def test_the_whole_and_every_kind_are_results_with_outcomes():
    made = data([("near", "far"), ("far", "near"), ("near", "mid")], [[0, 1], [0, 1], [0, 2]], ["a", "b", "a"])
    found = {result.task: result for result in winoground(Colours(VECTORS), made, features_of(IMAGES))}
    assert list(found) == ["set/winoground", "set/winoground/a", "set/winoground/b"]
    # item 2: image 0 prefers near (1.0 to 0.6), image 2 prefers mid (0.96 to 0.8); near: 1.0 to 0.8; mid: 0.6 to 0.96
    assert found["set/winoground"].outcomes.right["group"].tolist() == [True, False, True]
    assert found["set/winoground/a"].values == {"text": 1.0, "image": 1.0, "group": 1.0, "n": 2}
    assert found["set/winoground/b"].values == {"text": 0.0, "image": 0.0, "group": 0.0, "n": 1}
    assert len(set(found["set/winoground"].outcomes.items)) == 3
    assert [chance_of(found["set/winoground/a"], score) for score in CHANCE] == [1 / 4, 1 / 4, 1 / 6]


def test_an_unreadable_image_loses_and_so_does_a_constant_encoder():
    made = data([("near", "far"), ("near", "mid")], [[0, 1], [0, 2]], ["a", "a"])
    readable = features_of(IMAGES, np.array([True, False, True]))
    found = winoground(Colours(VECTORS), made, readable)[0].outcomes
    assert found.right["group"].tolist() == [False, True]
    constant = winoground(Constant(), made, features_of(np.tile(Constant().text(["any"]), (3, 1))))
    assert {value for result in constant for name, value in result.values.items() if name != "n"} == {0.0}


def test_a_set_without_items_is_refused():
    with pytest.raises(UserError, match="set: none of its items has both images"):
        winoground(Colours(VECTORS), data([], np.zeros((0, 2), dtype=int), []), features_of(IMAGES))


def test_a_bag_of_words_scores_nothing_where_the_tones_are_swapped():
    """Its embedding of a text is the sum of its letters: the two captions are equal, and every comparison a tie."""
    opened = open_set("emoji-pairs", None)

    class Bag:
        def text(self, texts):
            return np.array([[sum(map(ord, text)) / 1e4, len(text) / 1e2] for text in texts])

    images = np.random.default_rng(0).normal(size=(len(opened.images), 2)).astype(np.float32)
    found = {result.task: result.values for result in winoground(Bag(), opened, features_of(images))}
    swapped = found["emoji-pairs/winoground/skin_tones_swapped"]
    assert (swapped["text"], swapped["image"], swapped["group"], swapped["n"]) == (0.0, 0.0, 0.0, 190)
    assert found["emoji-pairs/winoground/colour"]["text"] > 0
