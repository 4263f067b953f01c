"""`askew.evaluate`, and the results that it returns."""

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypedDict, Unpack

from askew.api.console import ProgramConsole
from askew.api.inputs import each_text, setting
from askew.api.model import BATCH, PRECISIONS, WEIGHTS, Model, check_choice, check_positive
from askew.data.files import home_path
from askew.data.images import PixelLimit
from askew.errors import UserError
from askew.evaluation.results import Result
from askew.evaluation.significance import intervals
from askew.evaluation.suite import TASKS, EvaluationOptions
from askew.report.console import as_text
from askew.report.table import Table
from askew.runs import evaluate as command
from askew.runs.request import Request, default_cache
from askew.runs.tables import chance_of, measures_of

PathLike = str | os.PathLike[str]


@dataclass(frozen=True)
class TaskResult:
    """What was measured in one task.

    Attributes:
        task: its name, such as "pets/zero_shot".
        values: each measure and its value. Shares are in [0, 1]; `n` (queries), `classes` and the like are counts.
        intervals: of measures that have one, the ends (low, high) of the 95 % interval.
        chance: of measures where it is known, what guessing gives.
        protocol: what it was measured on, and how: weights and their hash, data, split, prompts, versions.

    Examples:
        >>> result = askew.evaluate(model, data="pairs.csv")["pairs/text_to_image"]
        >>> low, high = result.intervals["r@1"]
        >>> 0 <= low <= result.values["r@1"] <= high <= 1
        True
        >>> result.chance["r@1"], result.values["n"], result.protocol["split"]
        (0.04, 25, 'test')
    """

    task: str
    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    chance: dict[str, float]
    protocol: dict[str, Any]


@dataclass(frozen=True)
class Results(Mapping[str, TaskResult]):
    """The results of an evaluation, by the name of the task, in the order in which they were measured.

    `str` gives the tables that `askew eval` prints.

    Attributes:
        tasks: the same, as a tuple.

    Examples:
        >>> results = askew.evaluate(model, data="pairs.csv")
        >>> list(results)
        ['pairs/image_to_text', 'pairs/text_to_image']
        >>> print(results)  # doctest: +ELLIPSIS
        All results, %...
    """

    tasks: tuple[TaskResult, ...]
    _tables: tuple[Table, ...] = field(default=(), repr=False, compare=False)

    def __getitem__(self, task: str) -> TaskResult:
        try:
            return next(found for found in self.tasks if found.task == task)
        except StopIteration:
            raise KeyError(task) from None

    def __iter__(self) -> Iterator[str]:
        return (found.task for found in self.tasks)

    def __len__(self) -> int:
        return len(self.tasks)

    def __str__(self) -> str:
        return as_text(self._tables)


class EvaluationError(UserError):
    """Data sets that could not be evaluated.

    Attributes:
        results: of the other data sets, which were evaluated.

    Examples:
        >>> try:
        ...     askew.evaluate(model, suite="pets", data_root=".")
        ... except askew.EvaluationError as error:
        ...     print(len(error.results), str(error)[:47])
        0 not evaluated: pets: oxford-iiit-pet is missing
    """

    def __init__(self, message: str, results: Results):
        super().__init__(message)
        self.results = results

    def __reduce__(self) -> tuple[type["EvaluationError"], tuple[str, Results]]:
        """For pickle, which would call the class with the message alone."""
        return type(self), (str(self), self.results)


class EvaluationArguments(TypedDict, total=False):
    """Further arguments of `evaluate`, which are those of the command."""

    data_root: PathLike
    prompts: str
    class_names: PathLike
    against: PathLike
    overrides: Mapping[str, Any] | Sequence[str]
    caption_prompt: str
    probe: Literal["lbfgs", "scikit-learn"]
    max_megapixels: float
    allow_unreadable: bool
    allow_missing: bool
    cache: PathLike


def evaluate(
    model: PathLike | Model,
    suite: str | Sequence[str] = "tiny",
    data: PathLike | None = None,
    *,
    tasks: str | Sequence[str] = TASKS,
    weights: Literal["student", "teacher", "best"] | None = None,
    precision: Literal["fp32", "bf16"] | None = None,
    batch_size: int = BATCH,
    out: PathLike | None = None,
    verbose: bool = False,
    **options: Unpack[EvaluationArguments],
) -> Results:
    """Evaluate a model, as `askew eval` does, with the same numbers.

    Args:
        model: what `askew.load` takes or gives. Of a run that is named, results are also appended to its
            `results.jsonl`, as by the command; of a loaded model they are kept only where `out` says so.
        suite: "tiny", "paper", or names of data sets; `module:ENTRY` for one of your own.
        data: custom data in place of a suite: a folder of class folders, or a source of images and captions.
        tasks: some of zero_shot, linear_probe, retrieval, sugarcrepe, winoground, linear_probe_sgd, few_shot,
            word_order and wrong_captions. Each data set takes those that suit it.
        weights: None: the student's. A loaded model has its own.
        precision: None: fp32. A loaded model has its own.
        batch_size: images or texts that are encoded at once.
        out: a file that results are appended to.
        verbose: print what the command prints: messages on standard error, tables on standard output. Otherwise
            nothing is printed. Warnings are Python's in both cases.
        options: as the command has them: `data_root`, the folder that holds the data sets of the suite; for `data`
            `prompts` (a template, or a file of them), `class_names` (a file), `against` (a training source; images that
            are also there are counted) and `overrides` (how it is read, such as {"data.split": "test"});
            `caption_prompt`, `probe`, `max_megapixels`, `allow_unreadable`, `allow_missing`, and `cache`, a folder of
            features that are kept (otherwise in the user's cache folder).

    Raises:
        UserError: a wrong argument, an unknown task or data set, or a model or data that cannot be loaded.
        EvaluationError: data sets that failed; it holds the results of the others.

    Examples:
        >>> results = askew.evaluate("runs/my-run", data="pairs.csv", tasks=["retrieval"])
        >>> results["pairs/image_to_text"].values.keys() >= {"r@1", "r@5", "r@10"}
        True
    """
    check_positive("batch_size", batch_size)
    asked = _request(_names(suite, "suite"), data, _names(tasks, "tasks"), **options)
    name, kind, numbers = _described(model, weights, precision)
    asked = replace(asked, model=name, weights=kind, precision=numbers, batch_size=batch_size, out=_path(out))
    console = ProgramConsole(verbose)
    try:
        results = command.evaluate(asked, console, model._encoders if isinstance(model, Model) else None)
    except command.SetsFailed as error:
        lines = (f"{name}: {line.removeprefix(f'{name}: ')}" for name, line in error.reasons.items())
        raise EvaluationError(f"not evaluated: {'; '.join(lines)}", _results(error.results, console)) from error
    return _results(results, console)


def _request(
    suite: tuple[str, ...],
    data: PathLike | None,
    tasks: tuple[str, ...],
    *,
    data_root: PathLike | None = None,
    prompts: str = "",
    class_names: PathLike = "",
    against: PathLike = "",
    overrides: Mapping[str, Any] | Sequence[str] = (),
    caption_prompt: str = "{}",
    probe: str = "lbfgs",
    max_megapixels: float = PixelLimit().megapixels,
    allow_unreadable: bool = False,
    allow_missing: bool = False,
    cache: PathLike | None = None,
) -> Request:
    """What the command would be asked, of a model that is still to be named."""
    return Request(
        "",
        ",".join(suite),
        data="" if data is None else os.fspath(data),
        data_root=_path(data_root),
        prompts=prompts,
        class_names=os.fspath(class_names),
        against=os.fspath(against),
        sets=_as_texts(overrides),
        options=EvaluationOptions(tasks, allow_unreadable, caption_prompt, probe, allow_missing),
        max_megapixels=max_megapixels,
        cache=_path(cache) or default_cache(),
    )


def task_result(result: Result, found: dict[str, tuple[float, float]]) -> TaskResult:
    """A result, with the intervals of its measures that have them, as the user sees it."""
    values = result.values
    ends = {m: (values[f"{m}_low"], values[f"{m}_high"]) for m in values if f"{m}_low" in values}
    levels = {measure: chance_of(result, measure) for measure in measures_of(values)}
    chance = {measure: level for measure, level in levels.items() if level is not None}
    return TaskResult(result.task, dict(values), {**found, **ends}, chance, dict(result.protocol))


def _results(results: Sequence[Result], console: ProgramConsole) -> Results:
    made = [task_result(one, {} if one.outcomes is None else intervals(one.outcomes)) for one in results]
    return Results(tuple(made), tuple(console.tables))


def _as_texts(overrides: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """KEY=VALUE, as on the command line."""
    if not isinstance(overrides, Mapping):
        return tuple(each_text(overrides, "overrides"))
    keys = each_text(overrides, "overrides")
    return tuple(f"{key}={json.dumps(setting(key, overrides[key]), ensure_ascii=False)}" for key in keys)


def _names(given: str | Sequence[str], what: str) -> tuple[str, ...]:
    """Names in a list, or in a text with commas."""
    names = tuple(given.split(",") if isinstance(given, str) else each_text(given, what))
    if not names:
        raise UserError(f"{what}: there are none; name one, or leave the argument out")
    return names


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else home_path(given)


def _described(model: PathLike | Model, weights: str | None, precision: str | None) -> tuple[str, str, str]:
    """The model's name, weights and precision."""
    if not isinstance(model, Model):
        check_choice("weights", weights or "student", WEIGHTS)
        check_choice("precision", precision or "fp32", PRECISIONS)
        return os.fspath(model), weights or "student", precision or "fp32"
    for what, value in (("weights", weights), ("precision", precision)):
        if value is not None:
            raise UserError(f"{what}={value!r}: the model is loaded already; give it to askew.load")
    return model.protocol["model"], model.protocol["weights"], model.protocol["precision"]
