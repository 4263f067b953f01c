"""A study as it is written: rows with recipes and settings, seeds, and what every run is evaluated on."""

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BeforeValidator, Field, ValidationError, model_validator

from askew import recipes
from askew.config import EvaluateEntry, Part, Recipe, as_list
from askew.errors import UserError, printable
from askew.recipes.settings import override

LAYOUT = (
    "a study is a mapping of name, set, seeds, baseline, differences, evaluate, curves, and rows "
    "(label: {recipe: NAME, set: [KEY=VALUE], seeds: [0]})"
)

SMALL = 1e-9  # what rounding may leave of a sum of weights


class Row(Part):
    """One row of a study: a recipe (name, YAML file or module:function) with settings of its own.

    Attributes:
        seeds: in place of the study's; none are those of the study.
    """

    recipe: str
    settings: list[str] = Field(default_factory=list, alias="set")
    seeds: list[int] = Field(default_factory=list)


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study: a row with a seed, and the name of its folder (`mcd-seed0`)."""

    row: str
    seed: int
    folder: str


class Study(Part):
    """Rows by label. `set` changes every recipe before the row's own settings do. Every row runs once per seed.

    Attributes:
        baseline: rows that the others are compared with.
        differences: weighted sums of rows, by label: {row: weight}, the weights adding up to 0.
        evaluate: what every finished run is evaluated on.
        curves: rows that make one line of a learning curve, by the line's label.
    """

    name: str
    settings: list[str] = Field(default_factory=list, alias="set")
    seeds: list[int] = Field(default=[0], min_length=1)
    baseline: Annotated[list[str], BeforeValidator(as_list)] = Field(default_factory=list)
    differences: dict[str, dict[str, float]] = Field(default_factory=dict)
    evaluate: list[EvaluateEntry] = Field(default_factory=list)
    curves: dict[str, list[str]] = Field(default_factory=dict)
    rows: dict[str, Row] = Field(min_length=1)

    @model_validator(mode="after")
    def _names_its_rows(self) -> "Study":
        for row in self.baseline:
            _refuse_unknown("baseline", row, self.rows)
        for label, rows in self.curves.items():
            for row in rows:
                _refuse_unknown(f"curves: {printable(label)}", row, self.rows)
        for label, weights in self.differences.items():
            for row in weights:
                _refuse_unknown(f"differences: {printable(label)}", row, self.rows)
            if abs(sum(weights.values())) > SMALL or not any(weights.values()):
                raise ValueError(
                    f"differences: {printable(label)}: the weights add up to {sum(weights.values()):g}; give weights "
                    "that add up to 0, such as 1 and -1"
                )
        taken: dict[str, PlannedRun] = {}
        for run in self.runs():
            other = taken.setdefault(run.folder, run)
            if other is not run and other.row == run.row:
                raise ValueError(f"rows: {printable(run.row)} has the seed {run.seed} twice")
            if other is not run:
                raise ValueError(
                    f"rows: {printable(other.row)!r} and {printable(run.row)!r} would share the folder {run.folder}; "
                    "rename one"
                )
        return self

    def seeds_of(self, row: str) -> list[int]:
        """The seeds of a row: its own, or those of the study."""
        return self.rows[row].seeds or self.seeds

    def runs(self) -> Iterator[PlannedRun]:
        """Every run, in the order of rows and seeds."""
        for label in self.rows:
            for seed in self.seeds_of(label):
                yield PlannedRun(label, seed, folder_name(label, seed))

    def chosen(self, rows: Sequence[str], seeds: Sequence[int]) -> list[PlannedRun]:
        """The runs of some rows and seeds, in the order of `runs`; an empty list of rows or of seeds chooses all.

        Raises:
            UserError: no such row, or the rows have no such seed.
        """
        for row in rows:
            try:
                _refuse_unknown("--row", row, self.rows)
            except ValueError as error:
                raise UserError(str(error)) from error
        of_rows = [run for run in self.runs() if not rows or run.row in rows]
        there = sorted({run.seed for run in of_rows})
        for seed in seeds:
            if seed not in there:
                raise UserError(f"--seed {seed}: the rows do not have it; they have {', '.join(map(str, there))}")
        return [run for run in of_rows if not seeds or run.seed in seeds]

    def recipe(self, run: PlannedRun) -> Recipe:
        """The recipe of one run.

        Raises:
            UserError: no such recipe or setting.
        """
        row = self.rows[run.row]
        return override(recipes.find(row.recipe), [*self.settings, *row.settings, f"train.seed={run.seed}"])


def _refuse_unknown(where: str, name: str, rows: Iterable[str]) -> None:
    """Raises ValueError for the name of a row that there is not."""
    rows = list(rows)
    if name not in rows:
        near = difflib.get_close_matches(name, rows, n=1)
        hint = f"did you mean {near[0]!r}" if near else f"rows: {', '.join(map(printable, rows))}"
        raise ValueError(f"{where}: {printable(name)!r} is no row; {hint}")


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
        where = "".join(f"{part}: " for part in (".".join(map(str, problem["loc"])),) if part)
        message = problem["msg"].removeprefix("Value error, ")
        raise UserError(f"study {path}: {where}{message[0].lower() + message[1:]}; {LAYOUT}") from error


def folder_name(label: str, seed: int) -> str:
    """What the folder of one run is called: `mcd-seed0`."""
    return "".join(c if c.isalnum() else "-" for c in label).strip("-").lower() + f"-seed{seed}"
