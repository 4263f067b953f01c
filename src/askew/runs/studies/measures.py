"""What a record's runs were measured by: one measure at a time, with the scores of every row and seed.

All rows of a measure have the same items in the same order, regardless of the order in which they were evaluated.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from askew.errors import printable
from askew.evaluation.results import Outcomes, Result
from askew.evaluation.seeds import SeedScores, scores_of
from askew.runs.studies.record import Record, RecordedRun
from askew.runs.tables import DIRECTIONS, TITLES, chance_of, measure_title, measures_of

MEAN_RECALL = "mean recall"
KS = ("r@1", "r@5", "r@10")
KINDS = {"zero_shot": "zero-shot", "linear_probe": "probe", "wrong_captions": ""}
AUROC = "auroc"


@dataclass(frozen=True)
class Measure:
    """One measure.

    Attributes:
        group: what it is shown with: the data set.
        title: what it is called there.
        chance: what guessing gives; None where that is not known.
        rows: the scores of each row that has any, in the study's order.
        headline: whether it stands for its task in figures and verdicts.
    """

    group: str
    title: str
    chance: float | None
    rows: Mapping[str, SeedScores]
    headline: bool

    @property
    def name(self) -> str:
        """Group and title."""
        return f"{self.group}, {self.title}"


@dataclass
class _Task:
    """The runs of one task, with outcomes of the same items in the same order, or without any."""

    task: str
    runs: list[RecordedRun] = field(default_factory=list)
    outcomes: dict[str, Outcomes] = field(default_factory=dict)  # by the run's folder


def measures(record: Record) -> tuple[list[Measure], list[str]]:
    """Every measure of the finished runs, mean recall first in its group; and what was left out, one line each.

    Raises:
        UserError: outcomes of the record are damaged.
    """
    notes: list[str] = []
    tasks = [_task(record, name, notes) for name in dict.fromkeys(t for run in record.runs for t in run.results)]
    found: list[Measure] = []
    of_data: dict[str, dict[str, _Task]] = {}
    for task in tasks:
        data, _, kind = task.task.rpartition("/")
        if kind in DIRECTIONS and all(k in run.results[task.task] for k in KS for run in task.runs):
            of_data.setdefault(data, {})[kind] = task
    for task in tasks:
        data, _, kind = task.task.rpartition("/")
        both = of_data.get(data, {}) if kind in DIRECTIONS else {}
        if len(both) == len(DIRECTIONS) and kind == next(iter(both)):
            found.append(_mean_recall(record, data, both))
        own = _measures_of(record, task)
        found += own if len(both) == len(DIRECTIONS) else _with_headline(own)
    return _grouped(found), notes


def _grouped(found: Iterable[Measure]) -> list[Measure]:
    """The same with those of a group next to one another, groups in the order of their first."""
    groups: dict[str, list[Measure]] = {}
    for measure in found:
        groups.setdefault(measure.group, []).append(measure)
    return [measure for group in groups.values() for measure in group]


def _task(record: Record, name: str, notes: list[str]) -> _Task:
    """The runs that have this task. One that was tested on other items than the first is left out, which is noted."""
    task, first = _Task(name), None
    for run in (run for run in record.runs if name in run.results):
        outcomes = record.outcomes(run, name)
        if outcomes is not None:
            outcomes = _sorted(outcomes)
            first = outcomes if first is None else first
            if not np.array_equal(outcomes.items, first.items):
                notes.append(
                    f"{printable(name)}: {printable(run.row)}, seed {run.seed}, was tested on other items than "
                    f"{printable(task.runs[0].row)}, and is left out"
                )
                continue
            task.outcomes[run.folder] = outcomes
        task.runs.append(run)
    return task


def _sorted(outcomes: Outcomes) -> Outcomes:
    """The same in the order of the items' hashes."""
    return outcomes.at(np.argsort(outcomes.items, kind="stable"))


def _measures_of(record: Record, task: _Task) -> list[Measure]:
    """Every share that a task has."""
    first = task.runs[0]
    found = []
    for name in measures_of(first.results[task.task]):
        rows = {}
        for row in record.study.rows:
            runs = [run for run in _by_seed(task.runs, row) if name in run.results[task.task]]
            if runs:
                rows[row] = _scores(task, runs, name)
        group, title = _titles(task.task, name)
        result = Result(task.task, dict(first.results[task.task]), first.protocols.get(task.task, {}))
        found.append(Measure(group, title, chance_of(result, name), rows, headline=False))
    return found


def _with_headline(found: list[Measure]) -> list[Measure]:
    """The measure that a task is known by is its first; of wrong captions it is the last, what inspect ranks by."""
    chosen = -1 if found and AUROC.upper() in found[0].title else 0
    return [replace(one, headline=one is found[chosen]) for one in found]


def _by_seed(runs: Sequence[RecordedRun], row: str) -> list[RecordedRun]:
    return sorted((run for run in runs if run.row == row), key=lambda run: run.seed)


def _scores(task: _Task, runs: Sequence[RecordedRun], measure: str) -> SeedScores:
    """With items where every run has them."""
    seeds = tuple(run.seed for run in runs)
    outcomes = [task.outcomes.get(run.folder) for run in runs]
    known = [one for one in outcomes if one is not None and measure in one.right]
    if len(known) == len(runs):
        return scores_of(seeds, known, measure)
    return SeedScores(seeds, np.array([run.results[task.task][measure] for run in runs]))


def _mean_recall(record: Record, data: str, both: Mapping[str, _Task]) -> Measure:
    """The mean of R@1, R@5 and R@10 from image to text and from text to image."""
    rows = {}
    for row in record.study.rows:
        runs = [_by_seed(task.runs, row) for task in both.values()]
        seeds = sorted({run.seed for run in runs[0]} & {run.seed for run in runs[1]})
        if not seeds:
            continue
        parts = [
            [_scores(task, [run for run in found if run.seed in seeds], k) for k in KS]
            for task, found in zip(both.values(), runs, strict=True)
        ]
        rows[row] = _mean_of_recalls(tuple(seeds), parts)
    levels = []
    for task in both.values():
        first = task.runs[0]
        result = Result(task.task, dict(first.results[task.task]), {})
        levels += [chance_of(result, k) for k in KS]
    known = [level for level in levels if level is not None]
    return Measure(_titles(next(iter(both.values())).task, KS[0])[0], MEAN_RECALL, float(np.mean(known)), rows, True)


def _mean_of_recalls(seeds: tuple[int, ...], parts: Sequence[Sequence[SeedScores]]) -> SeedScores:
    """The mean of several recalls of each direction, with one score per image.

    An image's score is its share of each direction's mean, so that the mean over images is the measure itself: its own
    queries count as they are, and those of its captions by how far they are from the mean of all captions, because how
    many captions an image has differs.
    """
    values = np.mean([one.values for direction in parts for one in direction], axis=0)
    if any(one.items is None or one.clusters is None for direction in parts for one in direction):
        return SeedScores(seeds, values)
    images = np.unique(np.concatenate([direction[0].clusters for direction in parts]))  # type: ignore[arg-type]
    scores = np.zeros((len(seeds), len(images)))
    for direction in parts:
        right = np.mean([one.items for one in direction if one.items is not None], axis=0)
        unit = np.searchsorted(images, direction[0].clusters)  # type: ignore[arg-type]
        mean = right.mean(axis=1, keepdims=True)
        sums = np.stack([np.bincount(unit, weights=row, minlength=len(images)) for row in right - mean])
        scores += (mean + sums * len(images) / right.shape[1]) / len(parts)
    return SeedScores(seeds, values, scores)


def _titles(task: str, measure: str) -> tuple[str, str]:
    """The group and the title of a measure."""
    data, _, kind = task.rpartition("/")
    data = data or task
    group = TITLES.get(data, data)
    if measure.startswith(AUROC):
        return f"{group}, wrong captions", f"AUROC {measure.removeprefix(AUROC).strip('_')}".strip()
    what = measure_title(measure).replace("r@", "R@")
    for direction, short in DIRECTIONS.items():
        what = what.replace(f"{direction}/", f"{short} ")
    kind = DIRECTIONS.get(kind, KINDS.get(kind, kind if "/" in task else ""))
    return group, f"{kind} {what}".strip()
