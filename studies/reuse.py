"""Runs of one study as runs of another that has the same recipe in a row, so that nothing is trained twice.

    python studies/reuse.py studies/results/photos-readings MCD \\
        studies/photos-confirm.yaml studies/results/photos-confirm MCD

Seeds that both studies have are taken over, with those evaluations that the other study asks for on the named tasks.
"""

import argparse
import shutil
from dataclasses import replace
from pathlib import Path

from askew.runs.studies.evaluating import entry_key
from askew.runs.studies.plan import read_study
from askew.runs.studies.record import ITEMS, OUTCOMES, Record, without_folders
from askew.runs.studies.recording import Recorder

TASKS = ["dev/image_to_text", "dev/text_to_image"]


def reuse(source: Path, row: str, plan: Path, out: Path, new_row: str, tasks: list[str]) -> list[int]:
    """The seeds that were taken over.

    Raises:
        SystemExit: the recipes differ, an evaluation or task is missing, or a task has other items.
    """
    record, study = Record.read(source), read_study(plan)
    recorder, taken = Recorder(study, out), []
    wanted = tuple(without_folders([entry_key(entry) for entry in study.evaluate]))
    planned = {run.seed: run for run in study.runs() if run.row == new_row}
    for run in record.of(row):
        if run.seed not in planned or recorder.has(planned[run.seed]):
            continue
        missing = [entry for entry in wanted if entry not in run.evaluated] + [t for t in tasks if t not in run.results]
        if missing:
            raise SystemExit(f"{source}: {run.folder} was not evaluated on {missing[0]}")
        folder = planned[run.seed].folder
        results, protocols = (
            {task: part[task] for task in tasks if task in part} for part in (run.results, run.protocols)
        )
        made = replace(run, row=new_row, folder=folder, results=results, protocols=protocols, evaluated=wanted)
        if not recorder.take_over(made):
            raise SystemExit(f"{source}: the recipe of {run.folder} is not that of {new_row!r} in {plan}")
        for task in tasks:
            there, here = out / OUTCOMES / task, source / OUTCOMES / task
            there.mkdir(parents=True, exist_ok=True)
            if not (there / ITEMS).exists():
                shutil.copy(here / ITEMS, there / ITEMS)
            if (there / ITEMS).read_bytes() != (here / ITEMS).read_bytes():
                raise SystemExit(f"{there / ITEMS} and {here / ITEMS} are not the same items")
            shutil.copy(here / f"{run.folder}.npz", there / f"{folder}.npz")
        taken.append(run.seed)
    recorder.write()
    return taken


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="record that has the runs")
    parser.add_argument("row", help="their row")
    parser.add_argument("plan", type=Path, help="the study that wants them")
    parser.add_argument("out", type=Path, help="its record")
    parser.add_argument("new_row", help="its row")
    parser.add_argument("--tasks", nargs="+", default=TASKS)
    given = parser.parse_args()
    print(f"seeds {reuse(given.source, given.row, given.plan, given.out, given.new_row, given.tasks)}")
