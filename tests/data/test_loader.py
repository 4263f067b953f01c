"""Order, seeds and batches are functions of (seed, epoch, position) and of nothing else."""

import errno
import io
import multiprocessing
import os
import re
import signal
import subprocess
import time
from collections import Counter

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from askew.data import images as images_module
from askew.data import parcel, watch
from askew.data.check import check
from askew.data.loader import BadSamples, Loader
from askew.data.order import Order
from askew.data.sources import open_source
from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW
from askew.data.views import ImageView, MaskedTokens, Normalise, Tokens, Views
from askew.errors import RunFailed, UserError
from helpers import write_pairs

EVERYTHING = ("image", "aug", "text", "masked_text", "mlm_labels")


def views(wanted=EVERYTHING):
    strong = {"flip": 0.5, "jitter_probability": 0.8, "jitter": (0.4, 0.4, 0.4, 0.1), "grayscale": 0.2, "blur": 0.5}
    images = (ImageView("image", 16, (0.5, 1.0)), ImageView("aug", 16, (0.08, 1.0), **strong))
    return Views(wanted, images, Tokens(16), MaskedTokens(), Normalise((0.5,) * 3, (0.5,) * 3), 0.5)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return open_source(str(write_pairs(tmp_path_factory.mktemp("pairs"), 26)))


def epoch_order(num, seed, epoch, **sizes):
    order = Order(num, seed, epoch, **sizes)
    return np.array([order[position] for position in range(num)])


def make(source, **settings):
    return Loader(source, views(), **{"batch_size": 8, "seed": 3, **settings})


def assert_equal(one, other):
    assert one.keys() == other.keys()
    for key in one.keys() - {"bad_samples"}:
        assert torch.equal(one[key], other[key]), key
    assert one["bad_samples"] == other["bad_samples"]


# Order


@pytest.mark.parametrize("num", [1, 5, SHUFFLE_BLOCK, SHUFFLE_BLOCK + 1, SHUFFLE_WINDOW + 3 * SHUFFLE_BLOCK + 7])
def test_an_epochs_order_is_a_permutation_and_depends_only_on_seed_and_epoch(num):
    order = epoch_order(num, seed=1, epoch=2)
    assert np.array_equal(np.sort(order), np.arange(num))
    assert np.array_equal(order, epoch_order(num, seed=1, epoch=2))
    if num > 5:
        assert not np.array_equal(order, epoch_order(num, seed=1, epoch=3))
        assert not np.array_equal(order, epoch_order(num, seed=2, epoch=2))


def test_a_large_source_is_read_nearly_in_sequence_and_a_small_one_is_shuffled_whole():
    order = epoch_order(2 * SHUFFLE_WINDOW, seed=0, epoch=0)
    for start in range(0, len(order), SHUFFLE_WINDOW):
        blocks = np.unique(order[start : start + SHUFFLE_WINDOW] // SHUFFLE_BLOCK)
        assert len(blocks) == SHUFFLE_WINDOW // SHUFFLE_BLOCK  # a window holds whole blocks of neighbours
    first = order[:SHUFFLE_WINDOW] // SHUFFLE_BLOCK
    assert len(np.unique(first[: SHUFFLE_BLOCK // 4])) > 0.9 * SHUFFLE_WINDOW // SHUFFLE_BLOCK  # and mixes them
    small = epoch_order(3 * SHUFFLE_BLOCK, seed=0, epoch=0)
    assert np.corrcoef(small, np.arange(len(small)))[0, 1] < 0.05


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.integers(1, 9), st.integers(1, 40), st.integers(0, 3))
def test_any_part_of_an_order_can_be_computed_alone(num, block, window, epoch):
    whole = epoch_order(num, 5, epoch, block=block, window=window)
    assert np.array_equal(np.sort(whole), np.arange(num))
    for position in {0, num // 3, num // 2, num - 1}:
        alone = Order(num, 5, epoch, block, window)
        assert alone[position] == whole[position]
        assert alone.made == 1


def test_sources_of_one_window_keep_the_order_that_they_always_had():
    assert epoch_order(9, 0, 0).tolist() == [4, 5, 2, 6, 3, 8, 7, 0, 1]
    order = epoch_order(3_000, 1, 2)
    assert order[:5].tolist() == [2253, 1123, 1143, 977, 1466]


def test_the_ten_millionth_sample_costs_what_the_first_does():
    late = Order(20_000_000, 0, 0)
    assert late[10_000_000] // SHUFFLE_BLOCK in late._starts // SHUFFLE_BLOCK
    assert late.made == 1
    assert late._windows[10_000_000 // SHUFFLE_WINDOW].nbytes == 8 * SHUFFLE_WINDOW
    assert late._starts.nbytes + late._ends.nbytes < 400_000  # of twenty million samples


# Batches


def test_batches_are_the_same_for_any_number_of_workers_and_any_start(source):
    whole = list(make(source).batches(0, 7))
    assert len(whole) == 7
    for workers in (1, 3):
        for one, other in zip(make(source, num_workers=workers).batches(0, 7), whole, strict=True):
            assert_equal(one, other)
    for first in (1, 3, 5):
        for one, other in zip(make(source, num_workers=1).batches(first, 7), whole[first:], strict=True):
            assert_equal(one, other)


@pytest.mark.parametrize("ranks", [2, 4])
def test_ranks_together_have_the_batch_of_one_process(source, ranks):
    for step in (0, 2, 4):
        whole = make(source).batch(step)
        parts = [make(source, rank=rank, world_size=ranks).batch(step) for rank in range(ranks)]
        for key in whole.keys() - {"bad_samples"}:
            assert torch.equal(torch.cat([part[key] for part in parts]), whole[key]), key


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 30), st.integers(1, 2), st.integers(2, 6), st.integers(0, 2**31), st.sampled_from([1, 2]))
def test_a_stream_resumed_at_any_step_equals_the_uninterrupted_one(source, first, steps, batch_size, seed, ranks):
    def loader(rank):
        only_words = views(("text", "masked_text", "mlm_labels"))
        return Loader(source, only_words, 2 * batch_size, seed, rank=rank, world_size=ranks)

    whole = loader(0)
    for step in range(first):  # what an uninterrupted run goes through
        if step % 7 == 0:
            whole.batch(step)
    for one, other in zip(loader(0).batches(first, first + steps), whole.batches(first, first + steps), strict=True):
        assert_equal(one, other)
    last = first + steps - 1
    together = [loader(rank).batch(last)["id"] for rank in range(ranks)]
    alone = Loader(source, views(("text",)), 2 * batch_size, seed).batch(last)["id"]
    assert torch.equal(torch.cat(together), alone)


def test_an_epoch_holds_every_sample_at_most_once_and_drops_its_partial_batch(source):
    loader = make(source)
    assert loader.steps_per_epoch == 3
    for epoch in (0, 1):
        ids = torch.cat([loader.batch(3 * epoch + index)["id"] for index in range(3)])
        assert len(ids.unique()) == 24
    assert set(loader.batch(0)) == {"id", "match_id", *EVERYTHING, "image_params", "aug_params", "bad_samples"}


def test_a_sample_drawn_again_is_augmented_differently(source):
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


def test_an_image_is_decoded_once_for_any_number_of_views(source, monkeypatch):
    calls = []
    decode = images_module.decoded
    monkeypatch.setattr(images_module, "decoded", lambda image: calls.append(1) or decode(image))
    make(source).batch(0)
    assert len(calls) == 8


@pytest.mark.parametrize(("cache_bytes", "kept"), [(0, 0), (20_000, 3), (10**9, 26)])
def test_a_cache_of_decoded_images_changes_nothing_and_keeps_to_its_size(source, monkeypatch, cache_bytes, kept):
    calls = []
    decode = images_module.decoded
    whole = [make(source).batch(step) for step in range(9)]
    cached = make(source, cache_bytes=cache_bytes)
    monkeypatch.setattr(images_module, "decoded", lambda image: calls.append(1) or decode(image))
    for step, batch in enumerate(whole):
        assert_equal(cached.batch(step), batch)
    assert len(cached._cache) == kept  # of 40 x 40 pixels of four bytes
    assert len(calls) == 9 * 8 if kept == 0 else len(calls) < 9 * 8
    if kept == 26:
        assert len(calls) == 26


def test_rows_with_the_same_number_have_different_images_in_the_cache(tmp_path):
    """Two files, each with rows numbered from 0."""
    colours = {"a": ((255, 0, 0), (0, 255, 0)), "b": ((0, 0, 255), (9, 9, 9))}
    for name, two in colours.items():
        images = [io.BytesIO(), io.BytesIO()]
        for file, colour in zip(images, two, strict=True):
            Image.new("RGB", (40, 40), colour).save(file, "PNG")
        rows = {"id": [0, 1], "image": [file.getvalue() for file in images], "caption": [str(c) for c in two]}
        pq.write_table(pa.table(rows), tmp_path / f"{name}.parquet")
    source = open_source(str(tmp_path / "{a,b}.parquet"))
    plain, cached = (make(source, cache_bytes=cache, batch_size=4) for cache in (0, 10**6))
    for step in range(3):
        assert_equal(cached.batch(step), plain.batch(step))
    assert len(cached._cache) == 4


# Bad samples


@pytest.fixture
def bad_source(tmp_path):
    table = write_pairs(tmp_path, 26)
    (tmp_path / "0004.png").write_bytes(b"")
    (tmp_path / "0011.png").unlink()
    (tmp_path / "0017.png").write_text("not an image", encoding="utf-8")
    return open_source(str(table))


def test_a_bad_sample_is_named_and_replaced_the_same_with_any_workers_and_ranks(bad_source):
    whole = list(make(bad_source).batches(0, 6))
    for one, other in zip(make(bad_source, num_workers=2).batches(0, 6), whole, strict=True):
        assert_equal(one, other)
    for step, batch in enumerate(whole):
        assert len(batch["id"]) == 8
        halves = [make(bad_source, rank=rank, world_size=2).batch(step) for rank in (0, 1)]
        assert torch.equal(torch.cat([half["aug"] for half in halves]), batch["aug"])
        assert [list(fault) for half in halves for fault in half["bad_samples"]] == [
            list(f) for f in batch["bad_samples"]
        ]
    faults = [fault for batch in whole for fault in batch["bad_samples"]]
    assert {cause for cause, _ in faults} == {"empty image", "missing file", "not an image"}
    for cause, message in faults:
        name = {"empty image": "0004.png", "missing file": "0011.png", "not an image": "0017.png"}[cause]
        assert name in message


def test_a_row_is_the_index_of_the_sample_that_was_used(bad_source):
    """Of a substitute its own; and a batch with rows is otherwise the batch without them."""
    plain = Loader(bad_source, views(), 8, 3)
    replaced = 0
    for step in range(6):
        batch = Loader(bad_source, views((*EVERYTHING, "row")), 8, 3).batch(step)
        row = batch.pop("row")
        assert row.dtype == torch.int64
        assert [bad_source[index].id for index in row.tolist()] == batch["id"].tolist()
        assert_equal(batch, plain.batch(step))
        replaced += len(batch["bad_samples"])
    assert replaced > 0


def test_the_budget_is_ten_or_one_percent():
    BadSamples(100, Counter({"empty image": 10})).check()
    with pytest.raises(RunFailed, match=r"11 bad samples while drawing 100.*empty image: 9, missing file: 2"):
        BadSamples(100, Counter({"empty image": 9, "missing file": 2})).check()
    BadSamples(5_000, Counter({"empty image": 50})).check()
    with pytest.raises(RunFailed, match="51 bad samples while drawing 5,000"):
        BadSamples(5_000, Counter({"empty image": 51})).check()


def test_nothing_usable_fails_at_once(tmp_path):
    table = write_pairs(tmp_path, 10)
    for file in tmp_path.glob("*.png"):
        file.write_bytes(b"")
    with pytest.raises(RunFailed, match="empty image"):
        make(open_source(str(table))).batch(0)
    (found,) = make(open_source(str(table)), num_workers=1).batches(0, 1)
    assert "failed" in found  # a worker passes the failure on without a traceback


# Workers


class Stuck:
    """A source whose sample 5 takes `seconds` to read, as from a disk that does not respond."""

    describe, notes, block, window = "stuck", (), SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(self, source, seconds):
        self.source, self.seconds = source, seconds

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        if index == 5:
            time.sleep(self.seconds)
        return self.source[index]

    def name(self, index):
        return self.source.name(index)


def test_a_wait_names_what_is_read_and_continues(source):
    told = []
    loader = make(Stuck(source, 2.5), num_workers=1, warn=told.append, warn_after=1.0)
    assert len(list(loader.batches(0, 3))) == 3
    assert told
    assert re.fullmatch(r"no batch for 1 s: worker 0 has been reading sample 5 \(0005.png\) for [01] s", told[0])


def test_an_endless_wait_is_a_failure(source):
    loader = make(Stuck(source, 60), num_workers=1, warn_after=0.5, fail_after=1.0)
    with pytest.raises(
        RunFailed, match=r"no batch for 1 s: worker 0 has been reading sample 5 .*The storage does not respond"
    ):
        list(loader.batches(0, 3))


class Deadly(Stuck):
    """Kills the process that reads sample 5, as the kernel does if memory runs out."""

    def __getitem__(self, index):
        if index == 5:
            time.sleep(0.5)  # meanwhile, the batches made before are taken
            os.kill(os.getpid(), signal.SIGKILL)
        return self.source[index]


def test_a_worker_that_dies_is_a_failure(source):
    with pytest.raises(RunFailed, match="a loader worker died"):
        list(make(Deadly(source, 0), num_workers=1).batches(0, 3))


def hold_a_worker(table, pipe):
    """A run in mid-epoch prints the id of its worker, which a fork server started, as in Python 3.14."""
    multiprocessing.set_start_method("forkserver", force=True)
    batches = make(open_source(str(table)), num_workers=1).batches(0, 100)
    next(batches)
    pipe.send([child.pid for child in multiprocessing.active_children()])
    time.sleep(60)


def test_no_worker_outlives_a_run_that_was_killed(tmp_path):
    table = write_pairs(tmp_path / "pairs", 26)
    context = multiprocessing.get_context("forkserver")
    here, there = context.Pipe()
    run = context.Process(target=hold_a_worker, args=(table, there))
    run.start()
    assert here.poll(240)  # the worker imports everything anew
    (worker,) = here.recv()
    run.kill()
    run.join()
    deadline = time.monotonic() + 20
    while subprocess.run(["ps", "-o", "stat=", "-p", str(worker)], capture_output=True, text=True).stdout.strip("Z+\n"):
        assert time.monotonic() < deadline, "the worker stays"
        time.sleep(0.1)


@pytest.mark.parametrize("read", [False, True])
def test_a_blocked_worker_ends_with_the_loop(source, read):
    batches = make(Stuck(source, 60), num_workers=2).batches(0, 3)
    workers = multiprocessing.active_children()
    assert len(workers) == 2
    time.sleep(1)
    started = time.monotonic()
    if read:
        next(batches)
    batches.close()
    for worker in workers:
        worker.join(20)
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert time.monotonic() - started < 15


class Odd(Stuck):
    """Raises an error of its own at sample 5."""

    def __init__(self, source, error):
        self.source, self.error = source, error

    def __getitem__(self, index):
        if index == 5:
            raise self.error
        return self.source[index]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            KeyError("lost"),
            r"sample 5 \(0005.png\) could not be read: KeyError: 'lost' \(.*test_loader.py:\d+\); a source",
        ),
        (ValueError("two\nlines\x1b"), r"could not be read: ValueError: two\\nlines\\x1b \("),
        (MemoryError(), r"sample 5 \(0005.png\) could not be read: MemoryError: "),
        (UserError("the archive is gone; fetch it"), r"^the archive is gone; fetch it$"),
        (OSError(24, "Too many open files"), r"sample 5 \(0005.png\): Too many open files: .*ulimit -n"),
    ],
)
def test_a_source_that_fails_is_one_line_that_names_the_sample(source, workers, error, message):
    found = [batch for batch in make(Odd(source, error), num_workers=workers).batches(0, 3) if "failed" in batch]
    assert len(found) == 1
    assert re.search(message, found[0]["failed"])
    assert "\n" not in found[0]["failed"]
    assert "Traceback" not in found[0]["failed"]


# What workers hand over


def test_batches_arrive_wherever_temporary_files_go(source, monkeypatch, tmp_path):
    """A socket's path has at most 107 characters, and TMPDIR may be longer, or not be there."""
    whole = list(make(source).batches(0, 3))
    long = tmp_path / ("x" * 100)
    long.mkdir()
    for folder in (long, tmp_path / "gone"):
        monkeypatch.setenv("TMPDIR", str(folder))
        monkeypatch.setattr("tempfile.tempdir", str(folder))
        for one, other in zip(make(source, num_workers=1, fail_after=5).batches(0, 3), whole, strict=True):
            assert_equal(one, other)


class WithoutPyTorchsWay(Stuck):
    """In the worker, PyTorch's own way to share a tensor is gone: it needs room in /dev/shm, a container's is 64 MB."""

    def __getitem__(self, index):
        torch.UntypedStorage._share_fd_cpu_ = None
        return self.source[index]


def test_no_room_in_dev_shm_is_needed_for_a_batch(source):
    whole = list(make(source).batches(0, 3))
    made = make(WithoutPyTorchsWay(source, 0), num_workers=1, fail_after=5).batches(0, 3)
    for one, other in zip(made, whole, strict=True):
        assert_equal(one, other)


def test_batches_that_are_kept_stay_as_they_were(source):
    """Each has memory of its own."""
    whole = list(make(source).batches(0, 12))
    for one, other in zip(list(make(source, num_workers=2).batches(0, 12)), whole, strict=True):
        assert_equal(one, other)


def test_without_shared_memory_batches_go_through_the_pipe(source, monkeypatch):
    whole = list(make(source).batches(0, 5))
    monkeypatch.setattr(parcel, "can_share", lambda: False)
    for one, other in zip(make(source, num_workers=2).batches(0, 5), whole, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "larger --shm-size, or lower loader.num_workers"),
        (errno.ENOMEM, "lower loader.num_workers or loader.batch_size"),
        (errno.EMFILE, "ulimit -n"),
        (errno.EFBIG, "ulimit -f"),
        (errno.EIO, "set loader.num_workers=0"),
    ],
)
def test_a_batch_that_cannot_be_handed_over_is_an_error_at_once(source, monkeypatch, number, remedy):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    (found,) = make(source, num_workers=1).batches(0, 1)
    assert found["failed"].startswith(f"a loader worker could not hand over a batch of 1 MB ({os.strerror(number)}): ")
    assert remedy in found["failed"]


def test_a_descriptor_that_the_loop_has_no_room_for_is_an_error_at_once(source, monkeypatch):
    monkeypatch.setattr("socket.recv_fds", lambda *arguments: (b"", [], 0, None))
    with pytest.raises(RunFailed, match=r"could not hand over a batch \(Too many open files\): .*ulimit -n"):
        list(make(source, num_workers=1).batches(0, 3))


def test_the_memory_of_another_batch_is_not_taken_for_it(source, monkeypatch):
    monkeypatch.setattr(parcel, "_stamp", lambda step: (step + (os.getpid() == here)).to_bytes(8, "little"))
    here = os.getpid()
    with pytest.raises(RunFailed, match="the memory of another batch arrived"):
        list(make(source, num_workers=1).batches(0, 3))


def test_a_batch_that_is_lost_on_its_way_is_a_failure(source, monkeypatch):
    """As from a thread of multiprocessing that dies while the worker lives on."""
    monkeypatch.setattr(watch, "LOST", 1.0)
    monkeypatch.setattr(watch, "TICK", 0.3)
    monkeypatch.setattr(parcel.Parcel, "__getstate__", lambda self: 1 / 0, raising=False)
    with pytest.raises(RunFailed, match=r"no batch for \d s, and yet no worker is reading: a batch was lost"):
        list(make(source, num_workers=1).batches(0, 3))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError(errno.EMFILE, "Too many open files"), r"Too many open files\): raise the limit of open files"),
        (RuntimeError("unable to allocate: No space left on device (28)"), "RuntimeError: unable to .*--shm-size"),
        (OSError(errno.EAGAIN, "Resource temporarily unavailable"), r"unavailable\): set loader.num_workers=0"),
        (TypeError("cannot pickle '_thread.lock' object"), "TypeError: cannot pickle .*set loader.num_workers=0"),
    ],
)
def test_workers_that_cannot_be_started_are_one_line(source, monkeypatch, error, message):
    def refuse(self):
        raise error

    monkeypatch.setattr("torch.multiprocessing.Process.start", refuse)
    with pytest.raises(UserError, match=r"^loader.num_workers=2: the workers could not be started \(.*" + message):
        make(source, num_workers=2).batches(0, 3)
    assert "failed" not in next(make(source, num_workers=0).batches(0, 1))


def test_a_bus_error_names_shared_memory(source):
    class Bus(Deadly):
        def __getitem__(self, index):
            if index == 5:
                time.sleep(0.5)
                os.kill(os.getpid(), signal.SIGBUS)
            return self.source[index]

    with pytest.raises(RunFailed, match=r"a loader worker died \(.*\), .*--shm-size"):
        list(make(Bus(source, 0), num_workers=1).batches(0, 3))


def test_a_pinned_batch_is_a_copy(source, monkeypatch):
    """What PyTorch's thread calls where there is a GPU."""
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self: self.clone())
    mail = parcel.Mail(1)
    loader = make(source)
    samples, bad = loader.samples(2)
    parcels = [mail.pack(0, 2, samples, {"bad_samples": bad}) for _ in range(2)]
    for one in parcels:
        assert_equal(one.pin_memory(), loader.batch(2))
    assert "could not hand over a batch" in parcels[0].pin_memory()["failed"]  # it has been taken already
    mail.close()


# What cannot work is refused before anything starts


def test_a_batch_that_ranks_cannot_share_names_the_nearest_sizes(source):
    with pytest.raises(UserError, match="cannot be divided among 3 ranks; the nearest sizes are 6 and 9"):
        make(source, world_size=3)


def test_a_batch_larger_than_the_data_is_refused(source):
    with pytest.raises(UserError, match=r"loader.batch_size=27 is larger than the data \(26 samples\)"):
        make(source, batch_size=27)


# `askew data check` meets the same


def test_the_check_of_a_source_says_that_a_batch_cannot_be_handed_over(source, monkeypatch):
    def refuse(*arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", refuse)
    found = check(source, views(), limit=8, seconds=0.01)
    assert found["feeding"] == {}
    assert found["feeding_failed"].startswith("a loader worker could not hand over a batch of 1 MB (No space left on")
    assert f"a run would fail: {found['feeding_failed']}" in found["verdict"]


def test_the_check_of_a_source_that_fails_is_the_line_of_the_run(source):
    broken = Odd(source, KeyError("lost"))
    broken.describe = "odd"
    (line,) = (batch["failed"] for batch in make(broken).batches(0, 3) if "failed" in batch)
    with pytest.raises(RunFailed, match=re.escape(line)):
        check(broken, views(), seconds=0.01)
