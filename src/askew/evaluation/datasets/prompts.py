"""Class names and prompt templates, stored as data. Their sources and licences are in assets/prompts/NOTICE."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

from askew.errors import UserError, printable


@dataclass(frozen=True)
class Prompts:
    """What the classes of a data set are called.

    Attributes:
        keys: what the set itself calls each class (folder, label, number or WordNet id), in the order of the labels.
        classes: the names that go into prompts, in the same order.
        templates: prompts, each with one `{}`.
    """

    keys: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]


@cache
def _stored() -> dict[str, dict[str, list]]:
    return json.loads((resources.files("askew") / "assets" / "prompts" / "prompts.json").read_text(encoding="utf-8"))


def prompts(name: str) -> Prompts:
    """Stored names and templates of a data set. "imagenet" has SLIP's 7 templates, "imagenet-80" OpenAI's 80.

    Raises:
        UserError: none are stored under this name, as for a data set from outside askew.
    """
    if name not in _stored():
        raise UserError(
            f"{printable(name)}: askew stores no class names or prompts for this set; its reader must provide them "
            "(class_keys of DatasetFolder.split, classes and templates of Classification)"
        )
    entry = _stored()[name]
    rows = entry["classes"] if "classes" in entry else _stored()[name.partition("-")[0]]["classes"]
    return Prompts(tuple(row[0] for row in rows), tuple(tuple(row[1:]) for row in rows), tuple(entry["templates"]))
