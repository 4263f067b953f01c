"""A study: several recipes and seeds into one folder, a record of them, and tables of all.

Stopped at any moment, it continues when the same command is given again: finished runs are kept, an unfinished one is
resumed.
"""

import traceback
from collections.abc import Sequence
from pathlib import Path

from askew.data.sources import EMBEDDED
from askew.data.sources.recognise import is_function, parts_of
from askew.errors import Interrupted, RunFailed, UserError, printable
from askew.report.console import Console
from askew.runs.directory import RUNS
from askew.runs.resume import is_there
from askew.runs.studies.evaluating import check_evaluations
from askew.runs.studies.jobs import Jobs, last_line, log_of
from askew.runs.studies.one import StudyRuns
from askew.runs.studies.page import publish
from askew.runs.studies.plan import PlannedRun, read_study
from askew.runs.studies.record import Record
from askew.runs.studies.recording import Recorder


def run_study(
    path: Path,
    out: Path | None,
    console: Console,
    jobs: int = 1,
    record: Path | None = None,
    keep: str = "models",
    rows: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> None:
    """Run what is not finished, record it, and publish the tables.

    Args:
        path: of the study's YAML file.
        out: the folder of the runs; None: `runs/study-NAME`.
        jobs: how many runs at a time.
        record: the folder of the record; None: `record` in the folder of the runs.
        keep: what stays of finished runs: all, models or results.
        rows: the rows to run; none are all of them. The tables show every row that is recorded.
        seeds: the seeds to run; none are all of them.

    Raises:
        UserError: a study, recipe, setting or evaluation is wrong; all are read before the first run starts.
        RunFailed: some runs failed; the others are finished.
        Interrupted: stopped by a signal, after saving.
    """
    study = read_study(path)
    folder = out or RUNS / f"study-{study.name}"
    runs, recorder = StudyRuns(study, folder, keep), Recorder(study, record or folder / "record")
    chosen = study.chosen(rows, seeds)
    pending = _pending(chosen, runs, recorder, console, elsewhere=record is not None)
    recorder.write()
    if jobs > 1:
        failed = Jobs(runs, jobs, console).carry_out(pending, lambda run: recorder.add(run, runs.directory(run)))
    else:
        failed = _one_by_one(runs, recorder, pending, console)
    tabulate(recorder.folder, console)
    if failed:
        lines = [f"{run.folder} ({last_line(log_of(folder, run))})" for run in failed]
        raise RunFailed(
            f"{len(failed)} of {len(chosen)} runs failed: {'; '.join(lines)}; their logs are in "
            f"{log_of(folder, failed[0]).parent}; the others are finished, and the same command tries these again"
        )


def tabulate(folder: Path, console: Console) -> None:
    """Publish the tables of a record again. No run starts.

    Raises:
        UserError: there is no record in the folder, or it is damaged.
    """
    record = Record.read(folder)
    if record.runs:
        for path in publish(record, console):
            console.say(f"written  {path}")
    else:
        console.warn(f"{printable(str(record.folder), 400)}: no run of the study is recorded, so there are no tables")


def _pending(
    chosen: list[PlannedRun], runs: StudyRuns, recorder: Recorder, console: Console, elsewhere: bool
) -> list[PlannedRun]:
    """Those of the chosen runs that there is something to do for. Those that are finished are recorded.

    Args:
        elsewhere: whether the record is apart from the runs. A run that it has, and whose folder is gone, was made on
            another machine, and is finished.

    Raises:
        UserError: see `run_study`.
    """
    study = runs.study
    recipes = {run: study.recipe(run) for run in chosen}
    check_evaluations(study)
    done = {run: runs.is_done(run, recipe) for run, recipe in recipes.items()}
    made = {run for run in recipes if elsewhere and recorder.has(run) and not runs.directory(run).exists}
    pending = [run for run in recipes if not done[run] and run not in made]
    for run in pending:
        _refuse_missing_data(run, recipes[run].data.source)
    for run in recipes:
        if done[run]:
            runs.carry_out(run, console)  # nothing but to remove what --keep no longer keeps
            recorder.add(run, runs.directory(run))
    if len(pending) < len(recipes):
        console.say(f"study    {len(recipes) - len(pending)} of {len(recipes)} runs are finished already")
    # The first seed of all rows, then the second: a study that stops early compares all rows
    return sorted(pending, key=lambda run: study.seeds_of(run.row).index(run.seed))


def _refuse_missing_data(run: PlannedRun, source: str | list[str]) -> None:
    """Raises UserError where the training data of a run are not there."""
    for text, _ in parts_of(source) if source else ():
        if text != EMBEDDED and not is_function(text) and not is_there(text):
            raise UserError(
                f"study: rows: {printable(run.row)}: data.source: {printable(text, 400)} is not there; paths are "
                "relative to the folder that the command runs in"
            )


def _one_by_one(runs: StudyRuns, recorder: Recorder, pending: list[PlannedRun], console: Console) -> list[PlannedRun]:
    """Carry the runs out in this process. Returns those that failed; their logs say why."""
    failed = []
    for number, run in enumerate(pending, 1):
        directory, log = runs.directory(run), log_of(runs.folder, run)
        console.say(f"study    {number} of {len(pending)}: {run.row}, seed {run.seed}, {directory.path}")
        try:
            runs.carry_out(run, console)
        except (UserError, Interrupted):
            raise
        except RunFailed as error:
            _log(log, f"error: {error}")
        except Exception:  # a bug costs one run, and not the hours after it
            _log(log, traceback.format_exc())
        else:
            recorder.add(run, directory)
            continue
        failed.append(run)
        console.warn(f"{run.folder} failed: {last_line(log)}")
    return failed


def _log(file: Path, text: str) -> None:
    """Add to a log."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as stream:
        stream.write(text.rstrip("\n") + "\n")
