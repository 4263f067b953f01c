"""Recipes as YAML, and single settings of a recipe changed by name.

A recipe dumps to YAML, and the YAML is accepted wherever a recipe's name is, so every run can be repeated from its own
`recipe.yaml`.
"""

import difflib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from askew.config import METHODS, Recipe, TowerSettings, ViewSettings, method_config_class
from askew.data.files import home_path
from askew.errors import UserError, printable
from askew.methods.base import MethodConfig

LEADING = ("method.name", "towers.model", "towers.pretrained")  # settings that change the meaning of others
OF_MODEL = ("embed_dim", "quick_gelu", "vision_cfg", "text_cfg", "token_std")  # what a named model defines

FREE_KEYS = ("vision_cfg", "text_cfg", "operations")  # mappings whose keys are not ours
RENAMED = {  # keys of earlier versions
    "loader.grey": "views.grayscale",
    "train.clip_gradient": "train.grad_clip_norm",
    "train.block_rows": "train.loss_chunk_size",
    **{f"loader.{key}": f"views.{key}" for key in ViewSettings.model_fields},
}

PLANNING = {"train.epochs", "train.minutes", "train.max_steps", "loader.batch_size", "data.source"}


def to_yaml(recipe: Recipe) -> str:
    """The recipe as YAML."""
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def from_yaml(path: Path) -> Recipe:
    """A recipe from a YAML file.

    Raises:
        UserError: unreadable, not YAML, unknown keys, wrong types.
    """
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not valid YAML ({printable(' '.join(str(error).split()))})") from error
    if not isinstance(fields, dict):
        raise UserError(f"{path}: a recipe is a mapping of name, method, towers, ...")
    return validate(fields, str(path))


def override(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with KEY=VALUE settings; keys are dotted (`train.epochs=2`), values are read as YAML.

    Raises:
        UserError: no `=`, or as `changed`.
    """
    return changed(recipe, [parsed(setting) for setting in settings])


def parsed(setting: str) -> tuple[str, Any]:
    """Key and value of KEY=VALUE.

    Raises:
        UserError: no `=`, or a value that is not YAML.
    """
    key, equals, text = setting.partition("=")
    if not equals:
        raise UserError(f"--set {printable(setting)}: write it as KEY=VALUE, for example train.epochs=2")
    return key.strip(), _value(text, setting)


def changed(recipe: Recipe, settings: Sequence[tuple[str, Any]]) -> Recipe:
    """The recipe with other values of dotted keys.

    Another `method.name` or `towers.model`, or a directory for `towers.pretrained`, brings its own defaults; the other
    settings are applied on top of those.

    Raises:
        UserError: an unknown key (the message names the nearest), a value of the wrong type.
    """
    fields = recipe.model_dump(mode="json")
    for key, value in sorted(settings, key=lambda setting: setting[0] not in LEADING):
        where, leaf = _find(fields, key)
        where[leaf] = value
        if key == "method.name":
            fields = validate({**fields, "method": {"name": where[leaf]}}, "--set").model_dump(mode="json")
        another = key == "towers.model" and where[leaf] != recipe.towers.model
        if another or (key == "towers.pretrained" and _brings_its_shape(home_path(str(where[leaf])))):
            where |= TowerSettings().model_dump(mode="json", include=set(OF_MODEL))
    keys = {key for key, _ in settings}
    if keys & PLANNING and recipe.train.settled != (0, 0):  # what `minutes` settled was for another plan
        fields["train"]["settled"] = [0, 0]
        if "train.max_steps" not in keys:
            fields["train"]["max_steps"] = 0
    if keys & PLANNING and "train.extended" not in keys:  # as was what --extend-to recorded
        fields["train"]["extended"] = []
    return validate(fields, "--set")


def _brings_its_shape(path: Path) -> bool:
    """Whether pretrained weights are a folder, or will be: the model of a run that is not finished."""
    return path.is_dir() or (path.name in ("model", "teacher") and path.parent.is_dir())


def _find(fields: dict[str, Any], key: str) -> tuple[dict[str, Any], str]:
    """The mapping that holds a dotted key, and the key's last part in it."""
    *parents, leaf = key.split(".")
    where = fields
    for depth, parent in enumerate(parents):
        if not isinstance(where.get(parent), dict):
            raise UserError(unknown_key(".".join(parents[: depth + 1]), fields))
        where = where[parent]
    if leaf not in where and not (parents and parents[-1] in FREE_KEYS):
        raise UserError(unknown_key(key, fields))
    return where, leaf


def _value(text: str, setting: str) -> Any:
    """A setting's value, read as YAML. YAML 1.1 takes 1e-3 for a string; here it is a number."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UserError(f"--set {printable(setting)}: the value is not valid YAML") from error
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return "" if value is None else value


def validate(fields: dict[str, Any], where: str) -> Recipe:
    """A Recipe from plain fields.

    Raises:
        UserError: one line that says which key is wrong, and how.
    """
    method = fields.get("method")
    if isinstance(method, dict):
        config = method_config_class(method.get("name"))
        try:
            fields = {**fields, "method": config.model_validate(method)}
        except ValidationError as error:
            raise _explained(error, fields, where, ["method"]) from error
    try:
        return Recipe.model_validate(fields)
    except ValidationError as error:
        raise _explained(error, fields, where, []) from error


def _explained(error: ValidationError, fields: dict[str, Any], where: str, parents: list[str]) -> UserError:
    """The first problem that pydantic found, in one line."""
    problem = error.errors()[0]
    key = ".".join([*parents, *(str(part) for part in problem["loc"])])
    if problem["type"] == "extra_forbidden":
        return UserError(f"{where}: {unknown_key(key, fields)}")
    message = problem["msg"].removeprefix("Value error, ")
    message = message[0].lower() + message[1:]
    return UserError(f"{where}: {key or 'recipe'}: {message}, got {printable(repr(problem['input']))}")


def unknown_key(key: str, fields: dict[str, Any]) -> str:
    """`unknown key ...; did you mean ...?`, or the new name of a key that was renamed."""
    if key in RENAMED:
        return f"{printable(key)} is now called {RENAMED[key]}"
    known = leaves(Recipe(name="", method=_default_method(fields)).model_dump(mode="json"))
    short = {k.rsplit(".", 1)[-1]: k for k in known}
    sections = sorted({k.rsplit(".", 1)[0] for k in known if "." in k})
    near = difflib.get_close_matches(key, [*sections, *known], n=1, cutoff=0.6)
    near = near or [short[k] for k in difflib.get_close_matches(key.rsplit(".", 1)[-1], list(short), n=1, cutoff=0.6)]
    return f"unknown key {printable(key)!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _default_method(fields: dict[str, Any]) -> MethodConfig:
    """The method that a recipe's fields name, with its own defaults; CLIP where they name none."""
    method = fields.get("method")
    name = method.get("name") if isinstance(method, dict) else getattr(method, "name", None)
    try:
        return method_config_class(name)()
    except (UserError, ValidationError):
        return METHODS["clip"]()


def leaves(fields: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted keys and values; a mapping of free keys (vision_cfg, text_cfg, operations) counts as one leaf."""
    found: dict[str, Any] = {}
    for key, value in fields.items():
        if isinstance(value, dict) and key not in FREE_KEYS:
            found |= leaves(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = value
    return found
