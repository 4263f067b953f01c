"""Which process reports and writes."""

import json
import os
import signal
import subprocess
import time
from fnmatch import fnmatch

import pytest
import torch

import forked
from askew import distributed
from askew import ranks as ranks_as_processes
from askew.errors import UserError
from askew.training.checkpoint import latest
from helpers import write_pairs
from micro_runs import micro_settings
from several_ranks import free_port


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
import io, os, signal, sys, time
from typing import Literal
from PIL import Image
from askew.data.sources.base import SHUFFLE_BLOCK, SHUFFLE_WINDOW, Sample
from askew.errors import UserError
from askew.methods.clip import CLIP

CASE, RANK, RESTARTS = os.environ["CASE"], os.environ["RANK"], os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")


class Broken(CLIP):
    class Config(CLIP.Config):
        name: Literal["squares:Broken"] = "squares:Broken"

        def build(self, towers, identity):
            return Broken(self, towers)

    def objective(self, local, gathered, progress):
        if CASE == "a bug":
            return {}["lost"]
        if CASE == "killed once" and RANK == "1" and progress > 0.6 and RESTARTS == "0":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().objective(local, gathered, progress)


class Squares:
    describe, notes, block, window = "squares", (), SHUFFLE_BLOCK, SHUFFLE_WINDOW

    def __init__(self):
        self.reads = 0

    def __len__(self):
        return 64

    def __getitem__(self, index):
        self.reads += 1
        if self.reads > 64 + 16 and RANK == "1" and CASE in ("blocked", "a bad source"):  # 64: on rank 0
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

    def begin(case, *options):
        monkeypatch.setenv("CASE", case)
        method = "squares:Broken" if case in ("a bug", "killed once") else "clip"
        command = [
            forked.python(),
            "-m",
            "torch.distributed.run",
            *("--nproc-per-node", "2", *options),
            "-m",
            "askew",
            "train",
            "tiny",
        ]
        command += ["--data", "squares:source", "--out", "run", *micro_settings()]
        command += ["--set", "train.device=cpu", "--set", f"method.name={method}"]
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


def test_of_ranks_with_one_bug_one_shows_its_traceback(ranks):
    _, printed = ranks("a bug").communicate(timeout=100)
    assert printed.count('return {}["lost"]') == 1, printed
    assert printed.count("KeyError: 'lost'\n") == 1
    assert "KeyError: 'lost' (the traceback is above)" in printed  # in torchrun's report


def test_ranks_that_torchrun_starts_again_continue_their_run(ranks, tmp_path):
    """A rank is killed after step 5 of 8, whose checkpoints are whole; nobody says --resume."""
    process = ranks("killed once", "--max-restarts", "1")
    _, printed = process.communicate(timeout=300)
    assert process.returncode == 0, printed
    assert "restart  1: run continues from its last checkpoint" in printed
    assert "(from step 5)" in printed
    lines = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert (tmp_path / "run" / "model").is_dir()


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
    assert not ranks_as_processes.hand_to_launcher("error: x")


# Ranks that srun starts


SRUN = {"SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "5", "SLURM_NTASKS": "8", "SLURM_LOCALID": "1"}
TORCHRUN = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({**SRUN, "SLURM_NODELIST": "gpu[03-07,11],login1"}, ("5", "8", "1", "gpu03", "24711")),
        ({**SRUN, "SLURM_STEP_NODELIST": "b2", "SLURM_NODELIST": "a1,b2"}, ("5", "8", "1", "b2", "24711")),
        ({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "77"}, ("5", "8", "1", "10.0.0.1", "77")),
        ({**SRUN, "RANK": "2", "WORLD_SIZE": "4"}, ("2", "4", None, None, None)),  # torchrun, started by srun
        ({**SRUN, "SLURM_NTASKS": "1"}, (None,) * 5),
        ({key: SRUN[key] for key in SRUN if key != "SLURM_STEP_ID"}, (None,) * 5),  # the script of sbatch
    ],
)
def test_srun_is_recognised(monkeypatch, variables, found):
    for name in (*TORCHRUN, "SLURM_STEP_NODELIST", "SLURM_NODELIST", "SLURM_JOB_NODELIST"):
        monkeypatch.setenv(name, "")  # so that what is set here is undone
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ranks_as_processes.recognise_srun()
    assert tuple(os.environ.get(name) for name in TORCHRUN) == found


def test_ranks_of_srun_that_differ_do_not_start(tmp_path):
    """Two tasks with the variables of SLURM, whose commands name other seeds: one line, and nothing is left behind."""
    write_pairs(tmp_path, 16)
    shared = {**os.environ, **SRUN, "SLURM_NTASKS": "2", "SLURM_NODELIST": "localhost", "OMP_NUM_THREADS": "1"}
    command = [forked.python(), "-m", "askew", "train", "tiny", "--data", "pairs.csv", "--out", "run"]
    command += [*micro_settings(), "--set", "train.device=cpu"]
    port = str(free_port())
    started = [
        subprocess.Popen(
            [*command, "--set", f"train.seed={rank}"],
            cwd=tmp_path,
            env={**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank), "MASTER_PORT": port},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    printed = "".join(process.communicate(timeout=100)[1] for process in started)
    assert [process.returncode for process in started] == [2, 2]
    assert printed.splitlines() == [
        "error: rank 1 differs from rank 0 in train.seed: 1, and 0 on rank 0; start all ranks with the same command, "
        "the same data and the same installation"
    ]
    assert not (tmp_path / "run").exists()
