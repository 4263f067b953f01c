"""Several runs of a study at a time, each a process of its own on its own share of the cores.

A child is `askew study ... --only FOLDER`: a command of its own has the exit codes and the handling of signals that the
command line has, and its number of threads is settled before PyTorch is imported. Its standard input is a pipe that
nothing is written to. It closes when this process ends in any way, and the child then saves and stops.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import yaml

from askew.data.files import write_text
from askew.errors import Interrupted, Stopped, UserError, printable
from askew.report.console import Console
from askew.runs.facts import read_facts
from askew.runs.studies.one import StudyRuns
from askew.runs.studies.plan import PlannedRun, read_study

POLL = 0.2  # seconds between two looks at the children
NEWS = 60.0  # seconds between two lines about running jobs
LONGEST_SAVE = 60.0  # seconds that a child may take to stop once its parent is gone
THREADS = "OMP_NUM_THREADS"


def log_of(folder: Path, run: PlannedRun) -> Path:
    """The log of a run, in the folder of all runs."""
    return folder / "logs" / f"{run.folder}.log"


def last_line(log: Path) -> str:
    """The last line of a log that is not empty."""
    with suppress(OSError):
        lines = [line for line in log.read_text("utf-8", "backslashreplace").splitlines() if line.strip()]
        return printable(lines[-1].strip(), 600) if lines else "its log is empty"
    return "it has no log"


def shares(cores: Sequence[int], jobs: int) -> list[list[int]]:
    """The cores of each of the jobs: equal parts, or one for each where there are fewer than jobs."""
    if jobs > len(cores):
        return [[cores[number % len(cores)]] for number in range(jobs)]
    ends = [len(cores) * number // jobs for number in range(jobs + 1)]
    return [list(cores[first:last]) for first, last in pairwise(ends)]


def usable_cores() -> list[int]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


@dataclass
class Job:
    """A run in progress: its process, and the cores that it has."""

    run: PlannedRun
    share: list[int]
    process: subprocess.Popen
    started: float = field(default_factory=time.monotonic)


class Jobs:
    """Runs of a study, `number` at a time."""

    def __init__(self, runs: StudyRuns, number: int, console: Console):
        self.runs, self.console = runs, console
        cores = usable_cores()
        if number > len(cores):
            console.warn(f"--jobs {number}: there are {len(cores)} cores, and some runs will share one")
        self._free = shares(cores, number)
        self._running: list[Job] = []
        self._file = runs.folder / "logs" / "study.yaml"

    def carry_out(self, pending: Sequence[PlannedRun], finished: Callable[[PlannedRun], None]) -> list[PlannedRun]:
        """Carry out all runs. Returns those that failed.

        Args:
            finished: called with every run that is.

        Raises:
            UserError: a run stopped for one; the others have saved and stopped.
            Interrupted: a signal came; all have saved and stopped.
        """
        self._file.parent.mkdir(parents=True, exist_ok=True)
        fields = self.runs.study.model_dump(mode="json", by_alias=True, exclude_defaults=True)
        write_text(self._file, yaml.safe_dump(fields, sort_keys=False, allow_unicode=True))  # as it is now, for all
        waiting, failed, news = list(pending), list[PlannedRun](), time.monotonic()
        try:
            while waiting or self._running:
                while waiting and self._free:
                    self._start(waiting.pop(0), len(pending) - len(waiting), len(pending))
                time.sleep(POLL)
                for job in [job for job in self._running if job.process.poll() is not None]:
                    if self._ended(job):
                        finished(job.run)
                    else:
                        failed.append(job.run)
                if time.monotonic() - news > NEWS:
                    news = time.monotonic()
                    self._report()
        except Stopped as stopped:
            self._stop(stopped.signal_number)
            raise Interrupted(
                stopped.signal_number, "the runs of the study have saved and stopped; the same command resumes them"
            ) from stopped
        except BaseException:
            self._stop(signal.SIGTERM)
            raise
        return failed

    def _start(self, run: PlannedRun, number: int, total: int) -> None:
        share, log = self._free.pop(0), log_of(self.runs.folder, run)
        threads = _threads(share)
        with log.open("ab") as stream, _bound_to(share):
            process = subprocess.Popen(
                self._command(run),
                stdin=subprocess.PIPE,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, THREADS: str(threads)},
                start_new_session=True,  # Ctrl-C reaches it through this process alone, and once
            )
        self._running.append(Job(run, share, process))
        cores = ", ".join(map(str, share))
        self.console.say(f"started  {number} of {total}: {run.row}, seed {run.seed}, cores {cores}; log {log}")

    def _command(self, run: PlannedRun) -> list[str]:
        """What carries out one run; see `run_child`."""
        options = ["--out", str(self.runs.folder), "--keep", self.runs.keep, "--only", run.folder]
        return [sys.executable, "-m", "askew", "study", str(self._file), *options]

    def _ended(self, job: Job) -> bool:
        """Whether a job that has ended is finished. Raises UserError for one that stopped for that."""
        self._running.remove(job)
        self._free.append(job.share)
        assert job.process.stdin is not None, "a pipe"
        job.process.stdin.close()
        code, log = job.process.returncode, log_of(self.runs.folder, job.run)
        if code == 2:
            raise UserError(f"{job.run.folder}: {last_line(log).removeprefix('error: ')}")
        if code != 0:
            self.console.warn(f"{job.run.folder} failed (exit code {code}): {last_line(log)}")
            return False
        self.console.say(f"finished {job.run.folder} after {(time.monotonic() - job.started) / 60:.1f} minutes")
        return True

    def _report(self) -> None:
        """The last logged step of every running job."""
        for job in self._running:
            directory = self.runs.directory(job.run)
            lines, facts = directory.metrics.read_trained(), read_facts(directory)
            if lines:
                total = f" of {facts.total_steps:,}" if facts is not None else ""
                self.console.say(
                    f"running  {job.run.folder}: step {lines[-1]['step']:,}{total}, loss {lines[-1]['loss']:.3f}"
                )

    def _stop(self, number: int) -> None:
        """Let every child save and stop. A second signal ends them at once."""
        for job in self._running:
            with suppress(ProcessLookupError):
                job.process.send_signal(number)
        try:
            for job in self._running:
                job.process.wait()
        except BaseException:
            for job in self._running:
                job.process.kill()
            raise


def _threads(share: Sequence[int]) -> int:
    """One thread per core, or fewer where the user has asked for fewer."""
    asked = os.environ.get(THREADS, "")
    return min(len(share), int(asked)) if asked.isdigit() and int(asked) > 0 else len(share)


@contextmanager
def _bound_to(cores: Sequence[int]) -> Iterator[None]:
    """Inside, a process that this thread starts is bound to these cores, and so is all that it starts."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def run_child(file: Path, out: Path, folder: str, keep: str, console: Console) -> None:
    """Carry out one run, and save and stop when standard input ends: the study is gone.

    Raises:
        UserError: the study has no such run; and as `StudyRuns.carry_out`.
    """
    study = read_study(file)
    run = next((run for run in study.runs() if run.folder == folder), None)
    if run is None:
        raise UserError(f"study {file}: --only {printable(folder)} is no folder of its runs")
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    StudyRuns(study, out, keep).carry_out(run, console)


def _end_with_the_study() -> None:
    with suppress(OSError):
        while os.read(0, 1024):
            pass
    os.kill(os.getpid(), signal.SIGTERM)  # to the process, so that a wait of its main thread ends
    time.sleep(LONGEST_SAVE)
    os._exit(128 + signal.SIGTERM)
