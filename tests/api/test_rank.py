"""`Model.rank`: the best candidates in order, of images or embeddings, without sorting all."""

import numpy as np
import pytest
import torch
from standins import micro_model, png

import askew
from askew.api import ranking
from askew.api.ranking import best_candidates

TEXTS = ["a red square", "two dogs", "", "a kite"]
IMAGES = [png(number) for number in (3, 1, 4, 1, 5, 9)]  # two of them are copies


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return askew.load(micro_model(tmp_path_factory.mktemp("model")), device="cpu")


def units(rows, width, seed=0):
    found = np.random.default_rng(seed).normal(size=(rows, width)).astype(np.float32)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@pytest.mark.parametrize("k", [1, 3, 10, 100])
@pytest.mark.parametrize("block", [1, 100, 2**24])
def test_it_is_the_head_of_a_stable_sort(k, block, monkeypatch):
    """On small whole numbers, whose products are exact and often equal."""
    monkeypatch.setattr(ranking, "BLOCK", block)
    random = np.random.default_rng(k)
    for candidates, queries in ((37, 5), (1, 3), (100, 1)):
        c, q = (random.integers(-2, 3, size=(rows, 4)).astype(np.float32) for rows in (candidates, queries))
        found, scores = best_candidates(q, c, k), q @ c.T
        expected = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        assert np.array_equal(found.indices, expected)
        assert np.array_equal(found.scores, np.take_along_axis(scores, expected, axis=1))


@pytest.mark.parametrize("rows", [34, 258, 1002])
def test_copies_keep_their_order(rows):
    """A matrix product gives copies cosines that differ in the last digit, depending on their place."""
    once = units(rows // 2, 16)
    found = best_candidates(units(13, 16, seed=1), np.concatenate([once, once]), rows)
    assert np.array_equal(found.indices[:, 1::2], found.indices[:, ::2] + rows // 2)
    assert np.array_equal(found.scores[:, 1::2], found.scores[:, ::2])


def test_images_for_texts_and_texts_for_images(model):
    cosines = model.similarity(IMAGES, TEXTS)
    found = model.rank(IMAGES, TEXTS, k=4)
    assert (found.indices.shape, found.scores.shape) == ((4, 4), (4, 4))
    assert (found.indices.dtype, found.scores.dtype) == (np.int64, np.float32)
    assert np.abs(found.scores - np.take_along_axis(cosines.T, found.indices, axis=1)).max() < 1e-6
    assert np.abs(found.scores - np.sort(cosines.T, axis=1)[:, :1:-1]).max() < 1e-6
    every = model.rank(IMAGES, TEXTS, k=None)
    places = [list(row) for row in every.indices]
    assert all(row.index(3) == row.index(1) + 1 for row in places)  # the copies
    assert np.array_equal(every.indices[:, :4], found.indices)
    other = model.rank(IMAGES, TEXTS, k=100, queries="images")
    assert np.abs(other.scores - np.sort(cosines, axis=1)[:, ::-1]).max() < 1e-6


@pytest.mark.parametrize("kind", ["array", "tensor", "bfloat16"])
def test_embeddings_are_taken_and_nothing_is_encoded_again(model, kind, monkeypatch):
    expected = model.rank(IMAGES, TEXTS), model.similarity(IMAGES, TEXTS), model.zero_shot(TEXTS[:2])(IMAGES)
    images, texts = model.encode_images(IMAGES), model.encode_texts(TEXTS)
    if kind != "array":
        images, texts = (
            torch.from_numpy(one).to(getattr(torch, "bfloat16" if kind == "bfloat16" else "float32"))
            for one in (images, texts)
        )
    classify = model.zero_shot(TEXTS[:2])
    monkeypatch.setattr(model, "_encoders", None)
    found = model.rank(images, texts), model.similarity(images, texts)
    if kind == "bfloat16":
        assert np.abs(found[1] - expected[1]).max() < 0.02
        return
    assert np.array_equal(found[0].indices, expected[0].indices)
    assert np.array_equal(found[0].scores, expected[0].scores)
    assert np.array_equal(found[1], expected[1])
    monkeypatch.undo()
    assert np.array_equal(classify(images).probabilities, expected[2].probabilities)


def test_of_nothing_nothing_is_found(model):
    none = np.zeros((0, 16), np.float32)
    for images, texts, shape in (([], TEXTS, (4, 0)), (IMAGES, [], (0, 6)), (none, none, (0, 0))):
        assert model.rank(images, texts).indices.shape == shape


@pytest.mark.parametrize(
    ("images", "texts", "options", "words"),
    [
        (IMAGES, TEXTS, {"k": 0}, "k=0: give a whole number of at least 1"),
        (IMAGES, TEXTS, {"k": "5"}, "k='5': give a whole number of at least 1"),
        (IMAGES, TEXTS, {"queries": "text"}, "queries 'text' is not known; use texts or images"),
        (units(3, 8), TEXTS, {}, "images: embeddings (3, 8) of another model; this one makes (n, 16)"),
        (IMAGES, units(3, 8), {}, "texts: embeddings (3, 8) of another model; this one makes (n, 16)"),
        (2 * units(3, 16), TEXTS, {}, "images[0]: an embedding of length 2; give embeddings of unit length"),
        (np.full((3, 16), np.nan), TEXTS, {}, "images[0]: an embedding of length nan"),
        (np.zeros((8, 8), np.uint8), TEXTS, {}, "images[0]: an array (8) of uint8 is no image"),
        (IMAGES, "two dogs", {}, "texts: a single str; put it into a list"),
    ],
)
def test_what_is_wrong_is_one_line(model, images, texts, options, words):
    with pytest.raises(askew.UserError) as caught:
        model.rank(images, texts, **options)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_what_a_generator_raises_passes_through(model):
    def broken():
        yield IMAGES[0]
        raise ZeroDivisionError("in the middle")

    with pytest.raises(ZeroDivisionError, match="in the middle"):
        model.rank(broken(), TEXTS)
