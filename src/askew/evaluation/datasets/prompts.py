"""Class names and prompt templates, stored as data. Their sources and licences are in assets/prompts/NOTICE."""

import json
import os
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path

from askew.errors import UserError, printable

DEFAULT_PROMPTS = ("a photo of a {}",)
HOW = "write {} once, where the name goes, as in 'a photo of a {}'"
QUOTES = "\"'`\u201c\u2018"


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


def stored_prompts() -> tuple[str, ...]:
    """The names that `prompts` knows."""
    return tuple(_stored())


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


def read_prompts(text: str) -> tuple[str, ...]:
    """Templates, given as one template or as a file with one per line. Each contains `{}` exactly once.

    In a file, empty lines and lines that begin with `#` are skipped, except for a template that begins with `#{}`.

    Raises:
        UserError: a template without exactly one `{}` or with other braces, or a file that cannot be read.
    """
    if not text:
        return DEFAULT_PROMPTS
    path, where = Path(text), f"--prompts {printable(text, 400)}"
    try:
        path = Path(os.path.expanduser(path))
        is_file = path.is_file()
    except (OSError, ValueError, RuntimeError):  # no file can have this name
        is_file = False
    if not is_file:
        if not any(sign in text for sign in ("{", "}", "%s")):
            raise UserError(f"{where}: neither a template nor a file of templates; {HOW}")
        return (check_template(text, "--prompts"),)
    try:
        lines = [line.strip() for line in path.read_bytes().decode("utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UserError(f"{where}: not a readable text file ({reason}); it has one template per line: {HOW}") from error
    templates = [
        check_template(line, f"{where}, line {number}", in_file=True)
        for number, line in enumerate(lines, 1)
        if line and not (line.startswith("#") and not line.startswith("#{}"))
    ]
    if not templates:
        raise UserError(f"{where}: the file has no template; {HOW}")
    return tuple(dict.fromkeys(templates))


def check_template(text: str, where: str, in_file: bool = False) -> str:
    """The template itself, if `{}` is in it exactly once and there are no other braces.

    Args:
        where: where it comes from, for messages.
        in_file: whether it is a line of a file, in which quotes around it would be a part of the prompt.

    Raises:
        UserError: anything else, such as `{c}`, `{0}`, `{{}}`, `%s`, or no place for the name.
    """
    bare = text.rstrip(",")
    if in_file and len(bare) > 1 and bare[0] in QUOTES and (bare[-1] == bare[0] or bare[-1] in "\u201d\u2019"):
        raise UserError(f"{where}: {printable(text, 80)} has quotes around it; write the template without them")
    rest = text.replace("{}", "")
    if text.count("{}") == 1 and not any(brace in rest for brace in "{}"):
        return text
    raise UserError(f"{where}: {printable(text, 80)!r} is not a template; {HOW}")
