"""`askew.train`, and the run that it returns."""

import os
import signal
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from askew.api.console import ProgramConsole
from askew.api.evaluating import Results, TaskResult, evaluate, task_result
from askew.api.inputs import each_text, setting
from askew.api.model import Model, load
from askew.api.warning import warn
from askew.config import Recipe
from askew.data.files import home_path
from askew.errors import Interrupted, Stopped, UserError, stopping
from askew.ranks import recognise_srun
from askew.recipes.settings import parsed
from askew.runs.directory import RunDirectory
from askew.runs.launch import Settings, launch
from askew.runs.reporting.read import newest_results

DEFAULT = "photos"  # for data of the user's own
PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class Run:
    """A run in its directory, finished or not. `askew.train` returns it, and `askew.Run(path)` opens one.

    What it gives is read from the directory at that moment. A run is a path too: `askew.load(run)`.

    Attributes:
        path: its directory.

    Raises:
        UserError: there is no run in the directory.

    Examples:
        >>> run = askew.Run("runs/my-run")
        >>> run.recipe.train.epochs, [line["step"] for line in run.metrics]
        (1.0, [1, 2, 3])
        >>> run.load().encode_texts(["a dog"]).shape[0]
        1
    """

    path: Path

    def __init__(self, path: PathLike):
        object.__setattr__(self, "path", home_path(path))
        RunDirectory.open(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    @property
    def recipe(self) -> Recipe:
        """Every setting, as recorded: `run.recipe.train.epochs`."""
        return self._directory.read_recipe()

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """What was logged, oldest first: `step`, `epoch`, `loss`, its terms, and more; a table, one row per line."""
        return self._directory.metrics.read()

    @property
    def results(self) -> list[TaskResult]:
        """The newest result of every task, by weights (`protocol["weights"]`), of all evaluations of the run."""
        found = newest_results(self._directory.results, Counter())
        return [task_result(one.result, one.intervals) for scored in found.values() for one in scored]

    def load(self, weights: Literal["student", "teacher", "best"] = "student", **options: Any) -> Model:
        """The model; arguments and errors are those of `askew.load`."""
        return load(self, weights=weights, **options)

    def evaluate(self, suite: str | Sequence[str] = "tiny", data: PathLike | None = None, **options: Any) -> Results:
        """Evaluate the run, and keep the results in it; arguments and errors are those of `askew.evaluate`."""
        return evaluate(self, suite, data, **options)

    @property
    def _directory(self) -> RunDirectory:
        return RunDirectory(self.path)


def train(
    recipe: PathLike | Recipe | None = None,
    data: PathLike | Sequence[PathLike] | None = None,
    out: PathLike | None = None,
    overrides: Mapping[str, Any] | Sequence[str] = (),
    *,
    resume: bool = False,
    extend_to: float | None = None,
    verbose: bool = False,
) -> Run:
    """Train a model, save it, and evaluate it where the recipe says so, as `askew train` does.

    Ctrl-C (and a notebook's interrupt) ends the run after the step in progress, saves it, and raises
    KeyboardInterrupt; SIGTERM saves it too, and then does what it does in your program, by default end it. The same
    call with `resume=True` continues, and the result is the same, bit for bit. Only the main thread gets signals: in
    another thread, a run cannot be stopped in this way.

    Args:
        recipe: a name (`askew recipes` lists them), a YAML file, `module:function`, or an `askew.config.Recipe`. None:
            "photos", or on resuming the recorded recipe.
        data: what to train on; a table, Parquet, tar shards, a folder, `embedded`, or `module:function`. Several are
            mixed. None: the recipe's.
        out: the run's directory, which is new or empty. None: a new `runs/NAME-NNN`.
        overrides: other settings than the recipe's: {"train.epochs": 2}, or ["train.epochs=2"].
        resume: continue the run in `out`, or the newest one of the recipe.
        extend_to: with `resume`: train a finished run on, to so many epochs in all.
        verbose: print what the command prints: messages and progress on standard error, tables on standard output.
            Otherwise nothing is printed. Warnings are Python's in both cases.

    Raises:
        UserError: an unknown recipe or setting, data that are not there or cannot be used, a directory that holds
            something else. Nothing is left behind.
        RunFailed: a run that cannot continue: a loss that is not finite, too many samples that cannot be used. What was
            saved stays, and can be resumed.

    Examples:
        >>> run = askew.train("my_recipe.yaml", data="pairs.csv", out="runs/new", overrides={"train.max_steps": 2})
        >>> run.path.name, run.metrics[-1].get("step")
        ('new', 2)
    """
    recognise_srun()
    asked = recipe if recipe is None or isinstance(recipe, Recipe) else os.fspath(recipe)
    settings = [*settings_of(overrides), *([("data.source", _source(data))] if data is not None else [])]
    place = None if out is None else home_path(out)
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with interrupting(), torch.random.fork_rng(devices):  # every step seeds the generators
        directory = launch(asked, DEFAULT, settings, place, ProgramConsole(verbose), resume, extend_to)
    return Run(directory.path)


@contextmanager
def interrupting() -> Iterator[None]:
    """Inside, signals end a run as they end the command; what the program does with them then takes place.

    Raises:
        KeyboardInterrupt: the run was stopped; the message says how to continue.
    """
    try:
        with stopping():
            yield
        return
    except (Interrupted, Stopped) as error:
        stopped = error
    if stopped.signal_number != signal.SIGINT:
        warn(str(stopped))
        signal.raise_signal(stopped.signal_number)
    raise KeyboardInterrupt(str(stopped)) from None


def settings_of(overrides: Mapping[str, Any] | Sequence[str]) -> Settings:
    """Keys and values of a mapping, or of texts KEY=VALUE.

    Raises:
        UserError: a text without `=`, a key that is no text, a single text in place of several, or a value that is no
            setting.
    """
    if not isinstance(overrides, Mapping):
        return [parsed(text) for text in each_text(overrides, "overrides")]
    return [(key, setting(key, overrides[key])) for key in each_text(overrides, "overrides")]


def _source(data: PathLike | Sequence[PathLike]) -> str | list[str]:
    """One source, or several in a list."""
    given: Any = data
    several = isinstance(given, list | tuple)
    for one in given if several else [given]:
        if not isinstance(one, str | os.PathLike):
            raise UserError(f"data: a value of type {type(one).__name__} is no source; give a path, or a list of paths")
    return [os.fspath(one) for one in given] if several else os.fspath(given)
