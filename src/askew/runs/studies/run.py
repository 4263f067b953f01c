"""A study: several recipes and seeds, run one after another into one folder, and one table of all of them.

Stopped at any moment, it continues when the same command is given again: finished runs are kept, an unfinished one is
resumed.
"""

from pathlib import Path

from askew.config import Recipe
from askew.data.files import write_text
from askew.errors import UserError
from askew.report.console import Console
from askew.report.markdown import markdown
from askew.runs.directory import RUNS, RunDirectory
from askew.runs.resume import changes, resume
from askew.runs.studies.plan import read_study
from askew.runs.studies.tables import tabulate
from askew.runs.train import start


def run_study(path: Path, out: Path | None, console: Console) -> str:
    """Run what is not finished, write `table.md`, and return the table.

    Raises:
        UserError: a study, recipe or setting is wrong; all are read before the first run starts.
    """
    study = read_study(path)
    folder = out or RUNS / f"study-{study.name}"
    planned = [(run, study.recipe(run), RunDirectory(folder / run.folder)) for run in study.runs()]
    runs: dict[str, list[RunDirectory]] = {label: [] for label in study.rows}
    for number, (run, recipe, directory) in enumerate(planned, 1):
        console.say(f"study    {number} of {len(planned)}: {run.row}, seed {run.seed}, {directory.path}")
        _run_one(recipe, directory, console)
        runs[run.row].append(directory)
    table = markdown(tabulate(runs))
    write_text(folder / "table.md", table + "\n")
    return table


def _run_one(recipe: Recipe, directory: RunDirectory, console: Console) -> None:
    """Run, resume, or leave a run that is finished with the same recipe."""
    if not directory.exists:
        directory.path.parent.mkdir(parents=True, exist_ok=True)
        start(recipe, directory.path, console)
    elif directory.is_complete(recipe):
        changed = changes(recipe, directory.read_recipe())
        if changed:
            raise UserError(
                f"{directory.path} was run with other settings than the study has now ({', '.join(changed)}); "
                "choose a new folder with --out DIR"
            )
    else:
        resume(recipe, directory.path, console)
