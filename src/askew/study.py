"""A study: several recipes and seeds, run one after another into one folder, and a table of them all.

Stopped at any moment, the same command goes on where it was: finished runs are kept, an unfinished one is resumed.
"""

import json
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from askew import recipes, run
from askew.config import Part, Recipe, from_yaml, override
from askew.console import Console
from askew.errors import UserError, printable

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
    """One line of a study: a recipe (name, YAML file or module:function) with settings of its own."""

    recipe: str
    settings: list[str] = Field(default_factory=list, alias="set")


class Study(Part):
    """Rows by label; `set` changes every recipe before the row's own settings do; every row runs once a seed."""

    name: str
    settings: list[str] = Field(default_factory=list, alias="set")
    seeds: list[int] = Field(default=[0], min_length=1)
    rows: dict[str, Row] = Field(min_length=1)


def read_study(path: Path) -> Study:
    """A study from its YAML file.

    Raises:
        UserError: unreadable, or not of this form.
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
        UserError: a study, recipe or setting that is wrong; all are read before the first run starts.
    """
    study = read_study(path)
    folder = out or Path("runs") / f"study-{study.name}"
    planned = {
        label: [_recipe(study, row, seed) for seed in study.seeds] for label, row in study.rows.items()
    }  # every mistake shows before hours are spent
    runs = {label: [folder / _folder_name(label, seed) for seed in study.seeds] for label in planned}
    total = sum(map(len, planned.values()))
    number = 0
    for label, wanted in planned.items():
        for recipe, place in zip(wanted, runs[label], strict=True):
            number += 1
            console.say(f"study    {number} of {total}: {label}, seed {recipe.train.seed}, {place}")
            _run_one(recipe, place, console)
    table = tabulate(runs)
    run.replace(folder / "table.md", table + "\n")
    return table


def _recipe(study: Study, row: Row, seed: int) -> Recipe:
    return override(recipes.find(row.recipe), [*study.settings, *row.settings, f"train.seed={seed}"])


def _folder_name(label: str, seed: int) -> str:
    return "".join(c if c.isalnum() else "-" for c in label).strip("-").lower() + f"-seed{seed}"


def _run_one(recipe: Recipe, place: Path, console: Console) -> None:
    """Run, resume, or leave a run that is finished with the same recipe."""
    if not (place / run.RECIPE).is_file():
        place.parent.mkdir(parents=True, exist_ok=True)
        run.train(recipe, place, False, console)
    elif run.is_finished(recipe, place):
        changed = run.changes(recipe, from_yaml(place / run.RECIPE))
        if changed:
            raise UserError(
                f"{place} was run with other settings than the study has now ({', '.join(changed)}); "
                "choose a new folder with --out DIR"
            )
    else:
        run.train(recipe, place, True, console)


def tabulate(runs: dict[str, list[Path]]) -> str:
    """Markdown: a line for each measure of the runs' results, a column for each label: mean (lowest to highest)."""
    scores = {folder: _student(folder) for folders in runs.values() for folder in folders}
    tasks = next(iter(scores.values()))
    lines = ["| | " + " | ".join(runs) + " |", "|---" + "|---:" * len(runs) + "|"]
    for task, values in tasks.items():
        for measure in (m for m in MEASURES if m in values):
            cells = [_cell([100 * scores[f][task][measure] for f in folders], 1) for folders in runs.values()]
            lines.append(f"| {task}, {MEASURES[measure]} | " + " | ".join(cells) + " |")
    ends = {folder: _lines(folder / "metrics.jsonl")[-1] for folder in scores}
    for label, key, digits in COST:
        cells = [_cell([ends[folder][key] for folder in folders], digits) for folders in runs.values()]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _lines(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def _student(folder: Path) -> dict[str, dict[str, float]]:
    """The student's newest result of every task; none where a run ends without a test."""
    if not (folder / run.RESULTS).is_file():
        return {}
    found = [line for line in _lines(folder / run.RESULTS) if line["protocol"]["weights"] == "student"]
    return {line["task"]: line["values"] for line in found}


def _cell(values: list[float], digits: int) -> str:
    """Mean, and the range where there are several."""
    mean = f"{sum(values) / len(values):,.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):,.{digits}f} to {max(values):,.{digits}f})"
