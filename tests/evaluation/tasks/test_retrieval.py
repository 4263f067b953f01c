"""Recall in both directions against the whole matrix; ties, copies and unreadable images; memory."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from standins import Colours, Constant, Pictures, features_of

from askew.evaluation.datasets.base import Captioned
from askew.evaluation.metrics import matching_columns, ranks, recall_at_k
from askew.evaluation.tasks import retrieval as module
from askew.evaluation.tasks.retrieval import ranks_in_blocks, retrieval

rng = np.random.default_rng(0)


def unit(*shape):
    made = rng.normal(size=shape)
    return (made / np.linalg.norm(made, axis=-1, keepdims=True)).astype(np.float32)


def problem(num=37, dim=5):
    """One to four captions per image, unsorted, some with the same words on several images."""
    image_of = rng.permutation(np.repeat(np.arange(num), rng.integers(1, 5, size=num)))
    captions = tuple(f"caption {i if i % 7 else i % 3}" for i in range(len(image_of)))
    texts = dict(zip(captions, unit(len(captions), dim), strict=True))
    return Captioned("set", Pictures([b""] * num), captions, image_of), Colours(texts), unit(num, dim)


def run(data, encoders, embedding, readable=None, prompt="{}"):
    one, other = retrieval(encoders, data, features_of(embedding, readable), prompt)
    assert (one.task, other.task) == ("set/image_to_text", "set/text_to_image")
    return one, other


@pytest.mark.parametrize("cells", [1, 100, 4_000_000])
def test_recall_in_blocks_is_that_of_the_whole_matrix(monkeypatch, cells):
    monkeypatch.setattr(module, "CELLS", cells)
    data, encoders, embedding = problem()
    to_text, to_image = run(data, encoders, embedding)
    scores = embedding @ encoders.text(data.captions).T
    match = data.image_of[None, :] == np.arange(len(embedding))[:, None]
    for k in (1, 5, 10):
        assert to_text.values[f"r@{k}"] == recall_at_k(ranks(scores, matching_columns(match)), k)
        assert to_image.values[f"r@{k}"] == recall_at_k(ranks(scores.T, matching_columns(match.T)), k)
    assert (to_text.values["n"], to_text.values["candidates"]) == (37, len(data.captions))
    assert (to_image.values["n"], to_image.values["candidates"]) == (len(data.captions), 37)
    assert len(to_image.outcomes.clusters) == len(data.captions)


def test_equal_captions_of_two_images_tie_and_are_counted():
    """Both images are nearest to the caption that both have: at rank 1 neither finds its own, at rank 5 both do."""
    vectors = {"same": np.eye(3)[0], "other": np.eye(3)[1], "third": np.eye(3)[2]}
    data = Captioned("set", Pictures([b""] * 2), ("same", "other", "same", "third"), np.array([0, 0, 1, 1]))
    to_text, _ = run(data, Colours(vectors), np.eye(3, dtype=np.float32)[[0, 0]])
    assert to_text.values["r@1"] == 0.0
    assert to_text.values["r@5"] == 1.0
    assert to_text.protocol["captions_on_several_images"] == 2
    twice = Captioned("set", Pictures([b""] * 2), ("same", "same", "other", "third"), np.array([0, 0, 1, 1]))
    to_text, _ = run(twice, Colours(vectors), np.eye(3, dtype=np.float32)[[0, 1]])
    assert to_text.values["r@1"] == 1.0  # copies on one image do not lose against each other
    assert to_text.protocol["captions_on_several_images"] == 0


@pytest.mark.parametrize("num", [11, 64, 129])
def test_a_constant_encoder_retrieves_nothing(num):
    """Even if a matrix product rounds its last columns differently from the others."""
    data = Captioned("set", Pictures([b""] * num), tuple(f"c{i}" for i in range(num * 2)), np.arange(num * 2) // 2)
    embedding = np.tile(Constant.vector / np.linalg.norm(Constant.vector), (num, 1))
    for result in run(data, Constant(), embedding):
        assert [result.values[f"r@{k}"] for k in (1, 5, 10)] == [0.0, 0.0, 0.0]


def test_an_unreadable_image_finds_nothing_and_is_not_a_candidate():
    data, encoders, embedding = problem(num=12)
    readable = np.arange(12) != 4
    to_text, to_image = run(data, encoders, np.where(readable[:, None], embedding, 0), readable)
    kept = readable[data.image_of]
    smaller = Captioned(
        "set",
        Pictures([b""] * 11),
        tuple(c for c, k in zip(data.captions, kept, strict=True) if k),
        (np.cumsum(readable) - 1)[data.image_of[kept]],
    )
    one, other = run(smaller, encoders, embedding[readable])
    for k in (1, 5, 10):
        assert to_text.values[f"r@{k}"] * 12 == pytest.approx(one.values[f"r@{k}"] * 11)
        assert to_image.values[f"r@{k}"] * len(kept) == pytest.approx(other.values[f"r@{k}"] * kept.sum())
        assert not to_image.outcomes.right[f"r@{k}"][~kept].any()


def test_an_image_without_caption_is_never_found_and_counted():
    data = Captioned("set", Pictures([b""] * 3), ("a", "b"), np.array([0, 2]))
    vectors = {"a": np.eye(3)[0], "b": np.eye(3)[2]}
    to_text, to_image = run(data, Colours(vectors), np.eye(3, dtype=np.float32))
    assert to_text.values["r@10"] == pytest.approx(2 / 3)
    assert to_image.values["r@1"] == 1.0
    assert to_text.protocol["images_without_caption"] == 1


def test_other_candidates_make_other_items():
    """Five captions per image and all captions are different questions: their outcomes must not be paired."""
    data, encoders, embedding = problem(num=9)
    fewer = Captioned("set", data.images, data.captions[:-1], data.image_of[:-1])
    items = [set(run(d, encoders, embedding)[0].outcomes.items) for d in (data, fewer)]
    assert len(items[0]) == 9
    assert not items[0] & items[1]


def test_captions_go_into_the_prompt():
    data = Captioned("set", Pictures([b""]), ("a dog",), np.array([0]))
    result = run(data, Colours({"photo: a dog": np.eye(3)[0]}), np.eye(3, dtype=np.float32)[:1], prompt="photo: {}")[0]
    assert "prompt 'photo: {}'" in result.protocol["captions"]


def test_memory_beyond_the_embeddings_stays_under_100_mb():
    """25,000 captions against 5,000 images: the whole matrix of scores would take 500 MB."""
    image, text = unit(5_000, 8), unit(25_000, 8)
    image_of = np.arange(25_000) // 5
    everything = np.arange(25_000)
    tracemalloc.start()
    own = [everything[5 * i : 5 * i + 5] for i in range(5_000)]
    ranks_in_blocks(image, np.arange(5_000), text, everything, own)
    # A tenth of the captions are queries: a block is no larger with all of them
    queries = everything[::10]
    ranks_in_blocks(text, queries, image, np.arange(5_000), [image_of[i : i + 1] for i in queries])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 100e6


def test_copies_of_an_image_are_counted_and_warned_of():
    """Images 0 and 2 are one picture: their captions tie on both and find neither at rank 1, as for equal captions."""
    vectors = {"a": np.eye(3)[0], "b": np.eye(3)[1], "c": np.eye(3)[0]}
    data = Captioned("set", Pictures([b""] * 3), ("a", "b", "c"), np.arange(3))
    made = replace(features_of(np.eye(3, dtype=np.float32)[[0, 1, 0]]), pictures=("x", "y", "x"))
    said: list[str] = []
    _, to_image = retrieval(Colours(vectors), data, made, warn=said.append)
    assert to_image.values["r@1"] == pytest.approx(1 / 3)
    assert to_image.protocol["images_with_equal_bytes"] == 2
    assert said == [
        "set: 2 of 3 images are copies of another one, byte for byte; copies tie and lose against each other, so put "
        "the captions of a picture on one image"
    ]
    unreadable = replace(made, pictures=("", "y", ""))
    assert retrieval(Colours(vectors), data, unreadable)[0].protocol["images_with_equal_bytes"] == 0
