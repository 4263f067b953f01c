"""The evaluations of a study's runs: what is asked of each, what it has already, and the rest done by `askew eval`."""

import json
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from askew.config import EvaluateEntry
from askew.data.files import home_path, sha256_of
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, EvaluationSet
from askew.evaluation.loading import DIRECTORY_WEIGHTS
from askew.evaluation.suite import TASKS, EvaluationOptions
from askew.evaluation.tasks.wrong_captions import SEED, SHARE, exchanged
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.entries import TINY, opened_entry
from askew.runs.evaluate import evaluate
from askew.runs.request import Request
from askew.runs.studies.notes import change_notes, read_notes
from askew.runs.studies.plan import Study

WRONG = "wrong_captions"


def entry_key(entry: EvaluateEntry) -> str:
    """The entry in one line, which equal entries share."""
    return json.dumps(entry.model_dump(mode="json", by_alias=True, exclude_defaults=True), sort_keys=True)


def request_of(entry: EvaluateEntry, directory: RunDirectory, cache: Path | None = None) -> Request:
    """What `askew eval` is asked for a run."""
    tasks = (WRONG,) if entry.kind == WRONG else tuple(entry.tasks or TASKS)
    return Request(
        model=str(directory.path),
        suite=entry.suite or TINY,
        data=entry.data or entry.wrong_captions,
        data_root=home_path(entry.data_root) if entry.data_root else None,
        sets=tuple(entry.settings),
        options=EvaluationOptions(tasks=tasks),
        cache=cache,
    )


def check_evaluations(study: Study) -> None:
    """Open everything that runs will be evaluated on.

    Raises:
        UserError: an unknown suite or task, data that are not there or cannot be read, or no wrong captions in them.
    """
    for number, entry in enumerate(study.evaluate):
        try:
            opened = opened_entry(entry)
            if entry.kind == WRONG:
                _check_exchange(entry, opened[0].dataset)
        except UserError as error:
            raise UserError(f"study: evaluate.{number}: {error}") from error


def _check_exchange(entry: EvaluateEntry, opened: EvaluationSet | None) -> None:
    assert isinstance(opened, Captioned), "an entry of wrong captions opens captions"
    try:
        exchanged(opened.image_of, SHARE, SEED)
    except ValueError as error:
        raise UserError(
            f"wrong_captions: {printable(entry.wrong_captions)}: {error}; name a source with 15 captions or more, on "
            "several images"
        ) from error


def missing_evaluations(directory: RunDirectory, study: Study) -> list[EvaluateEntry]:
    """The entries that a finished run has no results of, for the weights that it has now."""
    evaluated, weights = read_notes(directory).evaluated, weights_sha256(directory)
    lines = [line for line in directory.results.read() if _is_of(line, weights)]

    def done(entry: EvaluateEntry) -> bool:
        noted = evaluated.get(entry_key(entry))
        return (noted is not None and weights in ("", noted)) or _has_results(entry, lines)

    return [entry for entry in study.evaluate if not done(entry)]


def weights_sha256(directory: RunDirectory) -> str:
    """The sha256 of the student's file of weights, as in the protocol of its results; "" where it was removed."""
    file = directory.model() / DIRECTORY_WEIGHTS
    return sha256_of(file) if file.is_file() else ""


def _is_of(line: dict[str, Any], weights: str) -> bool:
    """Whether a result is of the student with these weights; "" takes any."""
    protocol = line.get("protocol", {})
    return protocol.get("weights") == "student" and weights in ("", protocol.get("weights_sha256"))


def _has_results(entry: EvaluateEntry, lines: list[dict[str, Any]]) -> bool:
    """Whether earlier results, such as those of `askew eval`, are those that an entry asks for."""
    if entry.settings:  # which results do not tell
        return False
    if entry.kind == "suite":
        from askew.evaluation.datasets import catalog

        if entry.suite == TINY:
            return any(line["protocol"].get("suite") == TINY for line in lines)
        names = [found.name for found in catalog.find_entries(entry.suite)]
        return all(_has_tasks(entry.tasks, [r for r in lines if r["protocol"].get("dataset") == n]) for n in names)
    place = os.path.abspath(home_path(entry.data or entry.wrong_captions))
    of_data = [line for line in lines if line["protocol"].get("data") == place]
    return _has_tasks([WRONG] if entry.kind == WRONG else entry.tasks, of_data)


def _has_tasks(tasks: list[str], lines: list[dict[str, Any]]) -> bool:
    """Whether there is a result of every task; where none is named, of any that runs without being asked for."""
    ends = {line["task"].rpartition("/")[2] for line in lines}
    ends |= {"retrieval"} if "image_to_text" in ends else set()
    return set(tasks) <= ends if tasks else bool(ends - {WRONG, "overlap"})


def evaluate_run(directory: RunDirectory, study: Study, console: Console) -> None:
    """Do what a finished run lacks, and note it. Results go to the run's own file.

    Raises:
        UserError: an evaluation could not be done.
    """
    missing = missing_evaluations(directory, study)
    if not missing:
        return
    if directory.weights_removed:
        raise UserError(weights_gone(directory, missing))
    with TemporaryDirectory() as cache:  # of this run alone: every run has other weights
        for entry in missing:
            console.say(f"evaluate {directory.path}: {entry_key(entry)}")
            evaluate(request_of(entry, directory, Path(cache)), console)
            done = read_notes(directory).evaluated | {entry_key(entry): weights_sha256(directory)}
            change_notes(directory, evaluated=done)


def weights_gone(directory: RunDirectory, missing: list[EvaluateEntry]) -> str:
    """The line that says that a run cannot be evaluated any more."""
    return (
        f"{directory.path} was to be evaluated on {entry_key(missing[0])}, and its weights were removed (--keep "
        "results); take the entry out of evaluate, or choose a new folder with --out DIR"
    )
