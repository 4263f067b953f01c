"""Trackers on the loop's hooks: rank 0 alone, and a run never fails by them.

A tracker that fails, at any call and for any reason, is reported by one warning and left out from there on.
"""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import TracebackType
from typing import Any

from askew import distributed
from askew.errors import UserError, printable
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.trackers import TRACKERS, TrackedRun, Tracker
from askew.training.loop import Trainer


def refuse_missing_packages(names: Sequence[str]) -> None:
    """Say at once, before anything is built, that the package of a tracker is not installed. Every rank enters.

    Raises:
        UserError: one is not.
    """

    def look() -> None:
        for name in names:
            if find_spec(name) is None:
                raise UserError(
                    f"train.track: {name} is not installed; pip install 'askew[{name}]', or leave it out of train.track"
                )

    distributed.on_main(look)


class Tracking:
    """A hook that hands every logged line to the trackers. `with` closes them: the run has failed where it raises.

    Args:
        names: of the trackers, as in `train.track`.
    """

    def __init__(self, names: Sequence[str], directory: RunDirectory, console: Console):
        self._names, self._directory, self._console = names, directory, console
        self._open: dict[str, Tracker] = {}
        self._step = 0

    def open(self, trainer: Trainer) -> None:
        """Open the trackers, where training is about to start or to continue. Rank 0 enters."""
        record = TrackedRun(self._directory, trainer.recipe, trainer.done)
        self._step = trainer.done
        for name in self._names:
            self._safely(name, "could not start", lambda name=name: self._start(name, record))

    def _start(self, name: str, record: TrackedRun) -> None:
        self._open[name] = TRACKERS[name](record)
        self._console.say(f"track    {name}: {self._open[name].how_to_look}")

    def __call__(self, trainer: Trainer, line: dict[str, Any] | None) -> None:
        """The numbers of a logged line, under their names."""
        if line is None:
            return
        self._step = line["step"]
        numbers = {name: value for name, value in line.items() if name != "step" and isinstance(value, int | float)}
        for name, tracker in list(self._open.items()):
            self._safely(name, "failed", lambda tracker=tracker: tracker.log(self._step, numbers))

    def close(self, failed: bool) -> None:
        """Let the trackers write what is left, with the results that the run has. A second call does nothing."""
        for name, tracker in list(self._open.items()):
            self._safely(name, "failed", lambda tracker=tracker: tracker.finish(self._step, self._summary(), failed))
        self._open.clear()

    def __enter__(self) -> "Tracking":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close(failed=error is not None)

    def _safely(self, name: str, how: str, work: Callable[[], None]) -> None:
        """Do it. If it fails, report that and drop the tracker."""
        try:
            work()
        except Exception as error:  # the package is not ours: anything may happen in it
            self._open.pop(name, None)
            reason = printable(" ".join(f"{type(error).__name__}: {error}".split()), 300)
            self._console.warn(
                f"train.track: {name} {how} ({reason}); it is left out from here on, and training goes on"
            )

    def _summary(self) -> dict[str, float]:
        """The newest results of every task: `results/TASK/MEASURE` of the student, others under their weights' name."""
        found = {}
        for line in self._directory.results.read():
            weights = line["protocol"]["weights"]
            place = "results" if weights == "student" else f"results of the {weights}"
            found |= {f"{place}/{line['task']}/{measure}": value for measure, value in line["values"].items()}
        return found
