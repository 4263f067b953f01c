"""No fault costs more than the steps since the last checkpoint: a short form of `make drill`."""

import random
import shutil

import pytest

import drill

FIRST = 6  # of the seeds; from it on, the first kills come at the start, after a step and while saving


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("drill")


@pytest.fixture(scope="module")
def results(folder):
    plan = drill.planned(10, list(drill.SHARES), FIRST)
    return drill.drilled(folder, plan, lambda text: None)


def test_every_trial_ends_bit_equal(results):
    assert {one["kind"] for one in results} == drill.SHARES.keys()
    assert [one for one in results if one["outcome"] != drill.EXACT] == []


def test_some_kills_come_while_saving(results):
    moments = {one["how"].split(",")[0] for one in results if one["kind"] == "kill"}
    assert moments == {"start", "step", "save"}


def test_the_table_counts_by_kind():
    results = [{"kind": "flip", "outcome": outcome} for outcome in (drill.EXACT, "wrong", drill.EXACT)]
    rows = [line.split(" | ") for line in drill.table(results).splitlines()]
    assert rows[2] == ["| flip", "3", "2", "0", "0", "1", "0 |"]
    assert rows[2][1:] == rows[3][1:]


def test_a_drill_continues_where_it_stopped(tmp_path, monkeypatch):
    made = []
    monkeypatch.setattr(drill, "Drill", lambda folder: drill)
    monkeypatch.setattr(
        drill,
        "trial",
        lambda kind, seed: made.append(seed) or {"kind": kind, "seed": seed, "outcome": "lost", "how": ""},
        raising=False,
    )
    assert len(drill.drilled(tmp_path, [("kill", 0), ("kill", 1)], lambda text: None)) == 2
    assert len(drill.drilled(tmp_path, [("kill", 1), ("kill", 2)], lambda text: None)) == 2
    assert made == [0, 1, 2]


def test_what_differs_is_found(folder, results):
    """A drill that compares nothing would find nothing."""
    whole, other = folder / "whole-1", folder / "other"
    shutil.copytree(whole, other)
    assert drill.differences(other, whole) == []
    lines = (other / "metrics.jsonl").read_text(encoding="utf-8")
    (other / "metrics.jsonl").write_text(lines.replace('"step": 7', '"step": 8'), encoding="utf-8")
    weights = other / "teacher" / "open_clip_model.safetensors"
    weights.write_bytes(drill.flipped(random.Random(0), weights.read_bytes()))
    assert drill.differences(other, whole) == ["metrics", "teacher"]


def test_what_is_damaged_is_damaged():
    generator, content = random.Random(0), bytes(range(200))
    assert drill.flipped(generator, content) != content
    assert len(drill.truncated(generator, content)) < len(content)
    assert drill.says_the_same("manifest.json", b'{"a": 1}', b'{ "a": 1}')
    assert not drill.says_the_same("manifest.json", b'{"a": 1}', b'{"a": 3}')
    assert not drill.says_the_same("method.safetensors", b"1", b"1 ")


def test_a_checkpoint_that_is_gone_is_missed(folder, results, tmp_path):
    """A run that starts over ends like the others, so its end alone would not show it."""
    run = tmp_path / "run"
    shutil.copytree(folder / "whole-1", run)
    assert drill.too_old(run) == ""
    shutil.rmtree(run / "checkpoints" / f"step-{drill.STEPS:09d}")
    shutil.rmtree(run / "checkpoints" / f"step-{drill.STEPS - drill.EVERY:09d}")
    assert drill.too_old(run) == ", 10 steps were logged, and the newest checkpoint is of step 0"
