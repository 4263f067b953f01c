"""Where the outcomes of a model are, by what a person names."""

from pathlib import Path

from askew.data.files import home_path
from askew.errors import UserError, printable
from askew.evaluation.results import ResultsFile
from askew.runs.directory import RunDirectory


def outcome_files(name: str) -> dict[str, Path]:
    """The files of outcomes by task.

    Args:
        name: a run directory, a results file, or a folder of outcomes.

    Raises:
        UserError: there are none.
    """
    path = home_path(name)
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
