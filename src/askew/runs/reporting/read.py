"""A run as a report reads it: all that is there, whether the run is finished or not, and nothing that can fail it."""

import math
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from askew.config import Recipe
from askew.errors import UserError
from askew.evaluation.results import Outcomes, Result, ResultsFile, load
from askew.evaluation.significance import intervals, mean_of
from askew.runs.directory import RunDirectory
from askew.runs.facts import RunFacts, read_facts
from askew.training.schedule import Schedule

LARGEST = 1e300
EQUAL = 1e-6  # outcomes whose mean differs by more from the result are those of another evaluation


@dataclass(frozen=True)
class Scored:
    """A result, and the 95 % interval of each measure that has one."""

    result: Result
    intervals: dict[str, tuple[float, float]]


@dataclass(frozen=True)
class ReadRun:
    """A run.

    Attributes:
        label: A, B, ... where there are several runs, else "".
        recipe: None where it cannot be read; `problem` says why.
        facts: None where the run has none.
        lines: of the metrics, in the order of steps, numbers only.
        alarms: that were raised, each with its step.
        left_out: what of the metrics could not be read, with counts.
        results: by weights ("student", "teacher", ...), the newest of each task.
        before: of the weights that training started from.
    """

    directory: RunDirectory
    label: str
    recipe: Recipe | None
    problem: str
    facts: RunFacts | None
    lines: list[dict[str, float]]
    alarms: list[str]
    left_out: Counter[str]
    results: dict[str, list[Scored]]
    before: dict[str, Result] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The last part of its path, behind its label."""
        name = self.directory.path.resolve().name
        return f"{self.label}  {name}" if self.label else name

    @property
    def done(self) -> int:
        """The last logged step."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def total(self) -> int | None:
        """Steps of the whole run, as planned; None where that is not known."""
        if self.recipe is None:
            return self.facts.total_steps if self.facts is not None else None
        epoch_steps = self.steps_per_epoch
        return None if epoch_steps is None else Schedule.of(self.recipe.train, epoch_steps).total

    @property
    def steps_per_epoch(self) -> int | None:
        """As the run recorded it, or as its last line has it."""
        if self.facts is not None:
            return self.facts.steps_per_epoch
        last = self.lines[-1] if self.lines else {}
        return round(last["step"] / last["epoch"]) or None if last.get("epoch", 0) > 0 else None

    @property
    def is_complete(self) -> bool:
        """Whether it has written the last thing that it writes."""
        return self.recipe is not None and self.directory.is_complete(self.recipe)

    @property
    def last_written(self) -> str:
        """When the last line of the metrics was written."""
        when = datetime.fromtimestamp(self.directory.metrics.written, UTC)
        return f"{when:%Y-%m-%d %H:%M} UTC"


def read_run(directory: RunDirectory, label: str = "") -> ReadRun:
    """Everything that a report shows of a run. What cannot be read is left out and counted."""
    recipe, problem = None, ""
    try:
        recipe = directory.read_recipe()
    except UserError as error:
        problem = str(error)
    lines, alarms, left_out = _numbers(directory)
    return ReadRun(
        directory,
        label,
        recipe,
        problem,
        read_facts(directory),
        lines,
        alarms,
        left_out,
        newest_results(directory.results, left_out),
        {
            one.result.task: one.result
            for found in newest_results(directory.results_before, left_out).values()
            for one in found
        },
    )


def _numbers(directory: RunDirectory) -> tuple[list[dict[str, float]], list[str], Counter[str]]:
    """Lines in the order of steps, one for each: of a value that was logged twice, the last. Finite numbers only.

    And the alarms in them.
    """
    left_out = Counter[str]()
    found, damaged = directory.metrics.read_with_damage()
    if damaged:
        left_out["damaged lines of metrics.jsonl"] = damaged
    by_step: dict[int, dict[str, float]] = {}
    alarms: dict[str, str] = {}
    for line in found:
        raised = line.pop("alarms", {})
        if isinstance(raised, dict):
            alarms |= {str(name): f"step {line.get('step')}: {text}" for name, text in raised.items()}
        kept = {key: value for key, value in line.items() if _is_number(value)}
        if others := len(line) - len(kept):
            left_out["values in metrics.jsonl that are not finite numbers"] += others
        if "step" in kept:  # an evaluation that a signal had ended has a line of its own
            by_step[line["step"]] = by_step.get(line["step"], {}) | kept
    return [by_step[step] for step in sorted(by_step)], list(alarms.values()), left_out


def _is_number(value: Any) -> bool:
    """Whether it can be drawn. NaN compares as false. Called for every value, so the quickest test counts."""
    return type(value) in (int, float) and -LARGEST < value < LARGEST


def newest_results(file: ResultsFile, left_out: Counter[str]) -> dict[str, list[Scored]]:
    """The newest result of every task, by weights, in the order in which tasks were first run."""
    newest: dict[str, dict[str, Result]] = {}
    for line in file.read():
        result = _result(line)
        if result is None:
            left_out[f"lines of {file.path.name} that are no results"] += 1
            continue
        newest.setdefault(str(result.protocol.get("weights", "student")), {})[result.task] = result
    return {
        weights: [Scored(one, _intervals(file, weights, one)) for one in tasks.values()]
        for weights, tasks in newest.items()
    }


def _result(line: Any) -> Result | None:
    if not isinstance(line, dict) or not isinstance(line.get("task"), str):
        return None
    values, protocol = line.get("values"), line.get("protocol", {})
    if not isinstance(values, dict) or not isinstance(protocol, dict):
        return None
    if not all(map(_is_number, values.values())) or values.get("n", 0) <= 0:
        return None
    return Result(line["task"], values, protocol)


def _intervals(file: ResultsFile, weights: str, result: Result) -> dict[str, tuple[float, float]]:
    """Of the measures whose outcomes are there, and give the same number."""
    outcomes = _outcomes(file, weights, result.task)
    if outcomes is None:
        return {}
    same = {
        measure: right
        for measure, right in outcomes.right.items()
        if len(right) and abs(mean_of(outcomes, measure) - result.values.get(measure, math.inf)) < EQUAL
    }
    return intervals(Outcomes(outcomes.items, outcomes.names, same, outcomes.classes, outcomes.clusters))


def _outcomes(file: ResultsFile, weights: str, task: str) -> Outcomes | None:
    if ".." in task.split("/") or task.startswith("/"):
        return None
    try:
        return load(file.outcomes(weights) / f"{task}.npz")
    except UserError:  # never written, removed, or damaged
        return None
