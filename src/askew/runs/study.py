"""A study: several recipes and seeds, run one after another into one folder, and one table of all of them.

Stopped at any moment, it continues when the same command is given again: finished runs are kept, an unfinished one is
resumed.
"""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from askew import recipes
from askew.config import Part, Recipe
from askew.data.files import write_text
from askew.errors import UserError, printable
from askew.recipes.settings import override
from askew.report.console import Console
from askew.report.markdown import markdown
from askew.report.table import Table
from askew.runs.directory import RUNS, RunDirectory
from askew.runs.resume import changes, resume
from askew.runs.train import start

COST = (  # of the last logged step
    ("samples seen", "samples", 0),
    ("training, s", "seconds", 0),
    ("peak memory of the main process, MB", "peak_memory_mb", 0),
)
MEASURES = {
    "top1": "top-1",
    "top5": "top-5",
    "mean_per_class": "mean per class",
    "image_to_text/r@1": "image to text, R@1",
    "image_to_text/r@5": "image to text, R@5",
    "image_to_text/r@10": "image to text, R@10",
    "text_to_image/r@1": "text to image, R@1",
    "text_to_image/r@5": "text to image, R@5",
    "text_to_image/r@10": "text to image, R@10",
}


class Row(Part):
    """One row of a study: a recipe (name, YAML file or module:function) with settings of its own."""

    recipe: str
    settings: list[str] = Field(default_factory=list, alias="set")


class Study(Part):
    """Rows by label. `set` changes every recipe before the row's own settings do. Every row runs once per seed."""

    name: str
    settings: list[str] = Field(default_factory=list, alias="set")
    seeds: list[int] = Field(default=[0], min_length=1)
    rows: dict[str, Row] = Field(min_length=1)


def read_study(path: Path) -> Study:
    """A study from its YAML file.

    Raises:
        UserError: the file cannot be read, or is not a study.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Study.model_validate(fields)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"study {path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"study {path}: not valid YAML ({printable(' '.join(str(error).split()))})") from error
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(map(str, problem["loc"])) or "the file"
        raise UserError(
            f"study {path}: {where}: {problem['msg'][0].lower() + problem['msg'][1:]}; a study is a mapping of name, "
            "set, seeds, and rows (label: {recipe: NAME, set: [KEY=VALUE]})"
        ) from error


def run_study(path: Path, out: Path | None, console: Console) -> str:
    """Run what is not finished, write `table.md`, and return the table.

    Raises:
        UserError: a study, recipe or setting is wrong; all are read before the first run starts.
    """
    study = read_study(path)
    folder = out or RUNS / f"study-{study.name}"
    planned = {label: [_recipe(study, row, seed) for seed in study.seeds] for label, row in study.rows.items()}
    runs = {label: [RunDirectory(folder / _folder_name(label, seed)) for seed in study.seeds] for label in planned}
    total, number = sum(map(len, planned.values())), 0
    for label, wanted in planned.items():
        for recipe, directory in zip(wanted, runs[label], strict=True):
            number += 1
            console.say(f"study    {number} of {total}: {label}, seed {recipe.train.seed}, {directory.path}")
            _run_one(recipe, directory, console)
    table = markdown(tabulate(runs))
    write_text(folder / "table.md", table + "\n")
    return table


def _recipe(study: Study, row: Row, seed: int) -> Recipe:
    return override(recipes.find(row.recipe), [*study.settings, *row.settings, f"train.seed={seed}"])


def _folder_name(label: str, seed: int) -> str:
    return "".join(c if c.isalnum() else "-" for c in label).strip("-").lower() + f"-seed{seed}"


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


def tabulate(runs: dict[str, list[RunDirectory]]) -> Table:
    """One row per measure of the runs' results, one column per label: mean (lowest to highest)."""
    scores = {directory: _student(directory) for directories in runs.values() for directory in directories}
    rows = []
    for task, values in next(iter(scores.values())).items():
        for measure in (m for m in MEASURES if m in values):
            cells = [_cell([100 * scores[d][task][measure] for d in directories], 1) for directories in runs.values()]
            rows.append([f"{task}, {MEASURES[measure]}", *cells])
    ends = {directory: directory.read_metrics()[-1] for directory in scores}
    for label, key, digits in COST:
        cells = [_cell([ends[d][key] for d in directories], digits) for directories in runs.values()]
        rows.append([label, *cells])
    return Table("", ["", *runs], rows, left=[""])


def _student(directory: RunDirectory) -> dict[str, dict[str, float]]:
    """The student's newest result of every task; none where a run ends without an evaluation."""
    lines = directory.results.read()
    return {line["task"]: line["values"] for line in lines if line["protocol"]["weights"] == "student"}


def _cell(values: list[float], digits: int) -> str:
    """The mean, and the range where there are several."""
    mean = f"{sum(values) / len(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
