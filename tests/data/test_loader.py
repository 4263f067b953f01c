"""Order, seeds and batches are functions of (seed, epoch, position): nothing else gets in."""

from collections import Counter

import numpy as np
import pytest
import torch

from askew.data import images as images_module
from askew.data.loader import BLOCK, WINDOW, Broken, Loader, epoch_order
from askew.data.sources import open_source
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.errors import RunFailed, UserError
from helpers import write_pairs

EVERYTHING = ("image", "aug", "text", "masked_text", "mlm_labels")


def views(wanted=EVERYTHING):
    strong = {"flip": 0.5, "jitter_probability": 0.8, "jitter": (0.4, 0.4, 0.4, 0.1), "grey": 0.2, "blur": 0.5}
    images = (ImageView("image", 16, (0.5, 1.0)), ImageView("aug", 16, (0.08, 1.0), **strong))
    return Views(wanted, images, Tokens(16), MaskedTokens(), Normalise((0.5,) * 3, (0.5,) * 3), 0.5)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_source(str(write_pairs(tmp_path_factory.mktemp("pairs"), 26)))


def make(source, **settings):
    return Loader(source, views(), **{"batch_size": 8, "seed": 3, **settings})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one.keys() - {"broken"}:
        assert torch.equal(one[key], other[key]), key
    assert one["broken"] == other["broken"]


# Order


@pytest.mark.parametrize("num", [1, 5, BLOCK, BLOCK + 1, WINDOW + 3 * BLOCK + 7])
def test_an_epochs_order_is_a_permutation_and_depends_on_seed_and_epoch_alone(num):
    order = epoch_order(num, seed=1, epoch=2)
    assert np.array_equal(np.sort(order), np.arange(num))
    assert np.array_equal(order, epoch_order(num, seed=1, epoch=2))
    if num > 5:
        assert not np.array_equal(order, epoch_order(num, seed=1, epoch=3))
        assert not np.array_equal(order, epoch_order(num, seed=2, epoch=2))


def test_a_large_source_is_read_nearly_in_sequence_and_a_small_one_is_shuffled_whole():
    order = epoch_order(4 * WINDOW, seed=0, epoch=0)
    for start in range(0, len(order), WINDOW):
        blocks = np.unique(order[start : start + WINDOW] // BLOCK)
        assert len(blocks) == WINDOW // BLOCK  # a window holds whole blocks of neighbours
    first = order[:WINDOW] // BLOCK
    assert len(np.unique(first[: BLOCK // 4])) > 0.9 * WINDOW // BLOCK  # and is mixed inside
    small = epoch_order(3 * BLOCK, seed=0, epoch=0)
    assert np.corrcoef(small, np.arange(len(small)))[0, 1] < 0.05


# Batches


def test_batches_are_the_same_for_any_number_of_workers_and_any_start(source):
    whole = list(make(source).batches(0, 7))
    assert len(whole) == 7
    for workers in (1, 2):
        for one, other in zip(make(source, num_workers=workers).batches(0, 7), whole, strict=True):
            assert_equal(one, other)
    for first in (1, 3, 5):
        for one, other in zip(make(source, num_workers=1).batches(first, 7), whole[first:], strict=True):
            assert_equal(one, other)


def test_two_ranks_together_hold_what_one_holds(source):
    for step in (0, 2, 4):
        whole = make(source).batch(step)
        halves = [make(source, rank=rank, world_size=2).batch(step) for rank in (0, 1)]
        for key in whole.keys() - {"broken"}:
            assert torch.equal(torch.cat([half[key] for half in halves]), whole[key]), key


def test_an_epoch_holds_every_sample_at_most_once_and_drops_its_partial_batch(source):
    loader = make(source)
    assert loader.steps_per_epoch == 3
    for epoch in (0, 1):
        ids = torch.cat([loader.batch(3 * epoch + index)["id"] for index in range(3)])
        assert len(ids.unique()) == 24
    assert set(loader.batch(0)) == {"id", "group", *EVERYTHING, "image_params", "aug_params", "broken"}


def test_a_sample_drawn_again_is_augmented_anew(source):
    loader = make(source)
    drawn = {}
    for step in range(3):
        batch = loader.batch(step)
        drawn |= dict(zip(batch["id"].tolist(), batch["aug_params"], strict=True))
    batch = loader.batch(3)  # the next epoch
    again = [(drawn[i], p) for i, p in zip(batch["id"].tolist(), batch["aug_params"], strict=True) if i in drawn]
    assert len(again) >= 6
    assert not any(torch.equal(one, other) for one, other in again)


def test_another_seed_gives_another_stream(source):
    one, other = make(source).batch(0), make(source, seed=4).batch(0)
    assert not torch.equal(one["id"], other["id"])


def test_an_image_is_decoded_once_however_many_views(source, monkeypatch):
    calls = []
    decode = images_module._rgb
    monkeypatch.setattr(images_module, "_rgb", lambda image: calls.append(1) or decode(image))
    make(source).batch(0)
    assert len(calls) == 8


@pytest.mark.parametrize(("cache_bytes", "kept"), [(0, 0), (20_000, 3), (10**9, 26)])
def test_a_cache_of_decoded_images_changes_nothing_and_keeps_to_its_size(source, monkeypatch, cache_bytes, kept):
    calls = []
    decode = images_module._rgb
    whole = [make(source).batch(step) for step in range(9)]
    cached = make(source, cache_bytes=cache_bytes)
    monkeypatch.setattr(images_module, "_rgb", lambda image: calls.append(1) or decode(image))
    for step, batch in enumerate(whole):
        assert_equal(cached.batch(step), batch)
    assert len(cached._cache) == kept  # of 40 x 40 pixels at four bytes
    assert len(calls) == 9 * 8 if kept == 0 else len(calls) < 9 * 8
    if kept == 26:
        assert len(calls) == 26


# Broken samples


@pytest.fixture
def broken_source(tmp_path):
    table = write_pairs(tmp_path, 26)
    (tmp_path / "0004.png").write_bytes(b"")
    (tmp_path / "0011.png").unlink()
    (tmp_path / "0017.png").write_text("not an image", encoding="utf-8")
    return open_source(str(table))


def test_a_broken_sample_is_replaced_alike_for_any_workers_and_ranks_and_named(broken_source):
    whole = list(make(broken_source).batches(0, 6))
    for one, other in zip(make(broken_source, num_workers=2).batches(0, 6), whole, strict=True):
        assert_equal(one, other)
    for step, batch in enumerate(whole):
        assert len(batch["id"]) == 8
        halves = [make(broken_source, rank=rank, world_size=2).batch(step) for rank in (0, 1)]
        assert torch.equal(torch.cat([half["aug"] for half in halves]), batch["aug"])
        assert [list(fault) for half in halves for fault in half["broken"]] == [list(f) for f in batch["broken"]]
    faults = [fault for batch in whole for fault in batch["broken"]]
    assert {cause for cause, _ in faults} == {"empty image", "missing file", "not an image"}
    for cause, message in faults:
        name = {"empty image": "0004.png", "missing file": "0011.png", "not an image": "0017.png"}[cause]
        assert name in message


def test_the_budget_is_ten_or_one_percent():
    Broken(100, Counter({"empty image": 10})).check()
    with pytest.raises(RunFailed, match=r"11 broken samples were met for 100 drawn.*empty image: 9, missing file: 2"):
        Broken(100, Counter({"empty image": 9, "missing file": 2})).check()
    Broken(5_000, Counter({"empty image": 50})).check()
    with pytest.raises(RunFailed, match="51 broken samples were met for 5,000"):
        Broken(5_000, Counter({"empty image": 51})).check()


def test_nothing_usable_fails_at_once(tmp_path):
    table = write_pairs(tmp_path, 10)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(RunFailed, match="empty image"):
        make(open_source(str(table))).batch(0)
    (found,) = make(open_source(str(table)), num_workers=1).batches(0, 1)
    assert "failed" in found  # a worker hands the failure over, without a traceback


# What cannot work is said before anything starts


def test_a_batch_that_does_not_divide_names_the_nearest_sizes(source):
    with pytest.raises(UserError, match="does not divide over 3 ranks; the nearest sizes are 6 and 9"):
        make(source, world_size=3)


def test_a_batch_larger_than_the_data_is_refused(source):
    with pytest.raises(UserError, match=r"loader.batch_size=27 is larger than the data \(26 samples\)"):
        make(source, batch_size=27)
