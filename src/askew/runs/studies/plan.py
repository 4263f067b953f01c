"""A study as it is written: rows with recipes and settings, and seeds."""

from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from askew import recipes
from askew.config import Part, Recipe
from askew.errors import UserError, printable
from askew.recipes.settings import override


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


def recipe_of(study: Study, row: Row, seed: int) -> Recipe:
    """The recipe of one run."""
    return override(recipes.find(row.recipe), [*study.settings, *row.settings, f"train.seed={seed}"])


def folder_name(label: str, seed: int) -> str:
    """What the folder of one run is called: `mcd-seed0`."""
    return "".join(c if c.isalnum() else "-" for c in label).strip("-").lower() + f"-seed{seed}"
