"""Which process reports and writes."""

import signal
import subprocess
import time
from fnmatch import fnmatch

import pytest
import torch

import forked
from askew import distributed
from askew.errors import UserError
from askew.training.checkpoint import latest
from micro_runs import micro_settings


@pytest.mark.parametrize(
    ("variables", "main"),
    [
        ({}, True),
        ({"RANK": "1"}, True),  # left over, or of a scheduler: one process is alone and has to report
        ({"RANK": "1", "WORLD_SIZE": "1"}, True),
        ({"RANK": "0", "WORLD_SIZE": "2"}, True),
        ({"RANK": "1", "WORLD_SIZE": "2"}, False),
    ],
)
def test_one_process_reports(monkeypatch, variables, main):
    for name in ("RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert distributed.is_main() is main


# Two ranks under torchrun: one line, the last, and nobody is left waiting

SOURCE = """
import io, os, sys, time
from PIL import Image
from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample
from askew.errors import UserError

CASE, RANK = os.environ["CASE"], os.environ["RANK"]


class Squares:
    describe, notes, block, window = "squares", (), SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 64

    def __getitem__(self, index):
        self.reads += 1
        if self.reads > 64 + 16 and RANK == "1":  # the first 64 are looked at on rank 0 alone
            if CASE == "blocked":
                time.sleep(100)
            raise KeyError("lost")
        encoded = io.BytesIO()
        Image.new("RGB", (20, 20), (index, 0, 0)).save(encoded, "PNG")
        return Sample(index, index, encoded.getvalue(), (f"square {index}",), (), self.name(index))

    def name(self, index):
        return f"square {index}"


def source(options):
    if CASE in (f"rank {RANK}", "both"):
        raise UserError("the archive is not on this machine; copy it")
    made = Squares()
    made.reads = 0 if RANK == "0" else 64
    return made
"""


@pytest.fixture
def ranks(tmp_path, monkeypatch):
    """Starts two ranks that train on the source above, in one of its cases."""
    (tmp_path / "squares.py").write_text(SOURCE, encoding="utf-8")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("PYTHON_EXEC", forked.python())  # what torchrun starts the ranks with

    def begin(case):
        monkeypatch.setenv("CASE", case)
        command = [
            forked.python(),
            "-m",
            "torch.distributed.run",
            "--nproc-per-node",
            "2",
            "-m",
            "askew",
            "train",
            "tiny",
        ]
        command += ["--data", "squares:source", "--out", "run", *micro_settings()]
        command += ["--set", "train.device=cpu", "--set", "method.name=clip"]
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=tmp_path, stdout=pipe, stderr=pipe, text=True, start_new_session=True)

    return begin


@pytest.mark.parametrize(
    ("case", "line"),
    [
        ("both", "error: the archive is not on this machine; copy it"),
        ("rank 1", "error: the archive is not on this machine; copy it"),
        ("a bad source", "error: sample * could not be read: KeyError: 'lost' (*)*. Resume with --resume --out run"),
    ],
)
def test_an_error_of_ranks_is_one_line_and_the_last(ranks, case, line):
    started = time.monotonic()
    _, printed = ranks(case).communicate(timeout=100)
    lines = printed.rstrip().splitlines()
    assert fnmatch(lines[-2].strip(), line), printed
    assert set(lines[-1]) == {"="}  # the frame of torchrun's report
    assert sum(fnmatch(one.strip(), line) for one in lines) == 1
    assert "<NO_OTHER_FAILURES>" in printed
    assert time.monotonic() - started < 60


def test_a_signal_ends_ranks_of_which_one_waits_for_data(ranks, tmp_path):
    process = ranks("blocked")
    metrics, deadline = tmp_path / "run" / "metrics.jsonl", time.monotonic() + 90
    while not metrics.exists() or len(metrics.read_text(encoding="utf-8").splitlines()) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(1)
    sent = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, printed = process.communicate(timeout=60)
    assert time.monotonic() - sent < 15
    assert printed.count("stopped: saved at step 4; resume with --resume --out run") == 1, printed
    found = latest(tmp_path / "run" / "checkpoints", pytest.fail)
    assert found is not None
    assert found.step == 4


def test_ranks_that_cannot_meet_are_one_line(monkeypatch):
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(UserError, match=r"the 2 ranks could not meet at 127.0.0.1:no MASTER_PORT \(.*torchrun"):
        distributed.start(torch.device("cpu"))


def test_alone_there_is_nobody_to_wait_for():
    assert distributed.together(lambda: 5) == distributed.main_first(lambda: 5) == distributed.from_main(lambda: 5) == 5
    assert distributed.highest(3, 1) == [3, 1]
    with pytest.raises(KeyError):
        distributed.together(lambda: {}["x"])
    assert distributed.may_report(UserError("x"))
    assert not distributed.hand_to_launcher("error: x")
