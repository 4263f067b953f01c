"""Runs at a time: shares of the cores, children that fail or are stopped, and numbers that do not depend on it."""

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml

from askew.errors import Interrupted, UserError, stopping
from askew.report.console import Console
from askew.runs.studies import jobs, run
from askew.runs.studies.jobs import Jobs, shares
from askew.runs.studies.one import StudyRuns
from askew.runs.studies.plan import Study
from micro_runs import metrics_of, micro_settings, table_of_25

QUIET = Console(quiet=True)
WAITS = (
    "import signal, sys, time\n" + "signal.signal({signal}, lambda *a: sys.exit('saved'))\nprint('here', flush=True)\n"
)
WAITS += "time.sleep(60)"


class Children(Jobs):
    """Jobs whose children are given as Python code, one per seed."""

    def __init__(self, folder: Path, *codes: str):
        seeds = list(range(len(codes)))
        study = Study.model_validate({"name": "s", "seeds": seeds, "rows": {"A": {"recipe": "tiny"}}})
        super().__init__(StudyRuns(study, folder), 2, QUIET)
        self.codes, self.done = codes, []

    def _command(self, run):
        return [sys.executable, "-c", self.codes[run.seed]]

    def go(self):
        return self.carry_out(list(self.runs.study.runs()), lambda run: self.done.append(run.seed))

    def log(self, seed):
        return (self.runs.folder / "logs" / f"a-seed{seed}.log").read_text()


def test_cores_are_shared_out():
    assert shares([0, 1, 4, 5, 6], 2) == [[0, 1], [4, 5, 6]]
    assert shares([3, 7], 2) == [[3], [7]]
    assert shares([3, 7], 3) == [[3], [7], [3]]


def test_children_have_threads_and_cores_of_their_own_and_a_failure_stops_nobody(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    tell = "import os; print(os.environ['OMP_NUM_THREADS'], sorted(os.sched_getaffinity(0)))"
    before = os.sched_getaffinity(0)
    children = Children(tmp_path, tell, "import sys; sys.exit('error: it went wrong')", tell)
    failed = children.go()
    assert [run.seed for run in failed] == [1]
    assert sorted(children.done) == [0, 2]
    assert os.sched_getaffinity(0) == before
    first, second = shares(sorted(before), 2)
    assert children.log(0) == f"{len(first)} {first}\n"
    assert children.log(1) == "error: it went wrong\n"
    assert children.log(2) in (f"{len(first)} {first}\n", f"{len(second)} {second}\n")


def test_a_user_error_ends_the_others(tmp_path):
    wrong = "import sys, time; time.sleep(0.5); print('error: no such column; name one', file=sys.stderr); sys.exit(2)"
    children = Children(tmp_path, WAITS.format(signal=int(signal.SIGTERM)), wrong, "print('never')")
    with pytest.raises(UserError, match=r"^a-seed1: no such column; name one$"):
        children.go()
    assert children.log(0) == "here\nsaved\n"
    assert not (tmp_path / "logs" / "a-seed2.log").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_reaches_the_children(tmp_path, number):
    children = Children(tmp_path, *[WAITS.format(signal=int(number))] * 2)

    def once_all_are_there():
        logs = [tmp_path / "logs" / f"a-seed{seed}.log" for seed in (0, 1)]
        while not all(log.exists() and log.read_text() for log in logs):
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    threading.Timer(0.6, once_all_are_there).start()
    with stopping(), pytest.raises(Interrupted, match="the same command resumes them") as stopped:
        children.go()
    assert stopped.value.signal_number == number
    assert [children.log(seed) for seed in (0, 1)] == ["here\nsaved\n"] * 2


def test_a_child_ends_with_the_study(monkeypatch):
    """Its standard input is at an end: it stops itself, and for good if saving takes too long."""
    done = []
    monkeypatch.setattr(jobs.os, "read", lambda descriptor, size: b"")
    monkeypatch.setattr(jobs.os, "kill", lambda process, number: done.append((process == os.getpid(), number)))
    monkeypatch.setattr(jobs.time, "sleep", done.append)
    monkeypatch.setattr(jobs.os, "_exit", done.append)
    jobs._end_with_the_study()
    assert done == [(True, signal.SIGTERM), jobs.LONGEST_SAVE, 143]


def test_a_run_is_the_same_alone_and_among_others(tmp_path, monkeypatch):
    """With as many threads, bit for bit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(run, "publish", lambda record, console: [])
    settings = [setting for setting in micro_settings() if setting != "--set"]
    fields = {
        "name": "one",
        "set": [*settings, f"data.source={table_of_25(tmp_path / 'pairs')}", "train.max_steps=3"],
        "rows": {"MCD": {"recipe": "tiny"}},
    }
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(fields), encoding="utf-8")
    for number in (1, 2):
        run.run_study(file, tmp_path / str(number), QUIET, jobs=number)
    alone, among = (metrics_of(tmp_path / str(number) / "mcd-seed0") for number in (1, 2))
    assert [line["loss"] for line in alone] == [line["loss"] for line in among]
    assert [line["gradient_norm"] for line in alone] == [line["gradient_norm"] for line in among]
    lines = [(tmp_path / str(number) / "record" / "runs.jsonl").read_text() for number in (1, 2)]
    assert len(lines[0].splitlines()) == len(lines[1].splitlines()) == 1
