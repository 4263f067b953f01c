"""Class names and prompt templates: data, not code. Sources and licences stand in assets/prompts/NOTICE."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources


@dataclass(frozen=True)
class Prompts:
    """What a set's classes are called.

    Attributes:
        keys: what the set itself calls each class (folder, label, number or WordNet id), in the order of the labels.
        classes: the names that prompts are made of, in the same order.
        templates: prompts with one `{}`.
    """

    keys: tuple[str, ...]
    classes: tuple[tuple[str, ...], ...]
    templates: tuple[str, ...]


@cache
def _stored() -> dict[str, dict[str, list]]:
    return json.loads((resources.files("askew") / "assets" / "prompts" / "prompts.json").read_text(encoding="utf-8"))


def prompts(name: str) -> Prompts:
    """Names and templates of a data set; "imagenet" has SLIP's 7 templates, "imagenet-80" the 80 of OpenAI."""
    entry = _stored()[name]
    rows = entry["classes"] if "classes" in entry else _stored()[name.partition("-")[0]]["classes"]
    return Prompts(tuple(row[0] for row in rows), tuple(tuple(row[1:]) for row in rows), tuple(entry["templates"]))
