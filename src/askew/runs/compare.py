"""What `askew compare` does: two models on the same items, with paired intervals."""

import os
from pathlib import Path

from askew.errors import UserError, printable
from askew.evaluation.results import ResultsFile, load
from askew.evaluation.significance import Difference, differences
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.tables import comparison_table


def compare(a: str, b: str, console: Console) -> list[Difference]:
    """Differences of two models on the tasks that both were evaluated on.

    Args:
        a, b: run directories, results files, or folders of outcomes.

    Raises:
        UserError: no outcomes, or no task in common; after the table, tasks whose items differ.
    """
    files_a, files_b = (_outcome_files(name) for name in (a, b))
    common = [task for task in sorted(files_a) if task in files_b]
    if not common:
        have = "; ".join(f"{n}: {', '.join(sorted(f)) or 'none'}" for n, f in ((a, files_a), (b, files_b)))
        raise UserError(f"no task has been run on both ({printable(have, 400)})")
    found: list[Difference] = []
    refused: list[str] = []
    for task in common:
        try:
            found += differences(task, load(files_a[task]), load(files_b[task]), (printable(a), printable(b)))
        except UserError as error:
            refused.append(str(error))
    for name, files, others in ((a, files_a, files_b), (b, files_b, files_a)):
        alone = sorted(set(files) - set(others))
        if alone:
            console.say(f"only on {printable(name)}: {', '.join(alone)}")
    if found:
        console.table(comparison_table(found, printable(a, 400), printable(b, 400)))
    if refused:
        more = f" (and {len(refused) - 1} more tasks of {len(common)})" if len(refused) > 1 else ""
        raise UserError(refused[0] + more)
    return found


def _outcome_files(name: str) -> dict[str, Path]:
    """The files of outcomes by task."""
    path = Path(os.path.expanduser(name))
    directory, folder = RunDirectory(path), path
    if directory.exists:
        folder = directory.results.outcomes()
    elif path.is_file():
        folder = ResultsFile(path).outcomes()
    files = {p.relative_to(folder).as_posix()[: -len(".npz")]: p for p in folder.rglob("*.npz")}
    if not files:
        raise UserError(
            f"{printable(name, 400)}: contains no outcomes of a model; name an evaluated run (askew eval RUN), a "
            "results file that `askew eval --out FILE` wrote, or a folder of outcomes"
        )
    return files
