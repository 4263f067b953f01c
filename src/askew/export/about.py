"""What is known of a model besides its weights: the recipe, data and results of the run that it comes from."""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from askew.data.files import home_path, sha256_of
from askew.data.sources import EMBEDDED, Source
from askew.data.sources.probe import probed
from askew.data.sources.recognise import parts_of
from askew.runs.directory import RunDirectory
from askew.runs.facts import read_facts

ABSOLUTE = re.compile(r"(?<![\w.:/])(?:~|/|[A-Za-z]:\\)[^\s'\"*+,{}]*[/\\](?=[^\s'\"*+,/\\])")  # the folders of a path


@dataclass(frozen=True)
class About:
    """What the model card tells of a run. Everything is empty for a model without one.

    Attributes:
        name: of the run or model, without the folders that it lies in.
        recipe: the YAML, without the folders of absolute paths.
        method: its name.
        data: what the run found, by name and number; hashes: of the same, each with what it is of.
        embedded: whether data that come with askew are among them.
        results: lines of results.jsonl of the exported weights, the newest of each task.
    """

    name: str
    recipe: str = ""
    method: str = ""
    data: tuple[str, ...] = ()
    hashes: tuple[tuple[str, str], ...] = ()
    embedded: bool = False
    results: list[dict[str, Any]] = field(default_factory=list)


def about_run(directory: RunDirectory, weights: str, weights_sha256: str, source: Source | None) -> About:
    """What a run's directory says.

    Args:
        weights, weights_sha256: those that are exported; results of others are left out.
        source: the run's data, if they are open.
    """
    recipe = directory.read_recipe()
    parts = [text for text, _ in parts_of(recipe.data.source)]
    facts = read_facts(directory)
    data = tuple(without_folders(text) for text in parts)
    if facts is not None:
        data += (facts.data, f"{facts.samples:,} samples")
    newest = {
        line["task"]: line
        for line in directory.results.read()
        if isinstance(line.get("protocol"), dict)
        and line["protocol"].get("weights") == weights
        and line["protocol"].get("weights_sha256", weights_sha256) == weights_sha256
    }
    return About(
        name=home_path(directory.path).resolve().name,
        recipe=without_folders(directory.recipe_file.read_text(encoding="utf-8")),
        method=recipe.method.name,
        data=data,
        hashes=tuple(_hashes(parts, source)),
        embedded=EMBEDDED in parts,
        results=list(newest.values()),
    )


def without_folders(text: str) -> str:
    """The text with every absolute path cut down to its last part."""
    return ABSOLUTE.sub("", text)


def _hashes(parts: list[str], source: Source | None) -> list[tuple[str, str]]:
    """Of each file that was named, and of samples of the whole."""
    files = [path for path in map(home_path, parts) if path.is_file()]
    found = [(f"sha256 of {path.name}", sha256_of(path)) for path in files]
    if source is not None:
        samples = [one for one in probed(source) if one is not None]
        if samples:
            made = hashlib.sha256("\n".join([str(len(source)), *samples]).encode()).hexdigest()
            found.append((f"sha256 over {len(samples):,} of {len(source):,} samples, evenly spaced", made))
    return found


def about_model(name: str) -> About:
    """What is known of a model without a run: its name."""
    path = home_path(name.removeprefix("local-dir:"))
    return About(path.resolve().name if path.is_dir() else name)


def hashes_of(folder: Path) -> dict[str, str]:
    """The sha256 of every file below a folder, by its path inside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files}
