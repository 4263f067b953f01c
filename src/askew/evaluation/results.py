"""What a task leaves behind: named numbers, the protocol they were measured under, and the outcome of every item.

Numbers and protocol are one line of `results.jsonl`. Outcomes go to `outcomes/TASK.npz`, keyed by a hash of each item,
so that two models are compared item by item and only on the same items.
"""

import hashlib
import json
import os
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from askew import __version__
from askew.data.files import replacing_file
from askew.data.sources.base import path_bytes
from askew.errors import UserError, writing

RESULTS, OUTCOMES = "results.jsonl", "outcomes"


@dataclass(frozen=True)
class Outcomes:
    """Whether the model got each item right.

    Attributes:
        items: (n,) hash of each item's content, hexadecimal.
        names: (n,) a readable name of each item.
        right: (n,) bool for each measure, by the measure's name.
        classes: (n,) class of each item, for each measure that is a mean over classes; other measures are absent.
        clusters: (n,) items with the same number are not independent (captions of one image); None: all are.
    """

    items: np.ndarray
    names: np.ndarray
    right: dict[str, np.ndarray]
    classes: dict[str, np.ndarray] = field(default_factory=dict)
    clusters: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> "Outcomes":
        """The outcomes of some items, or of all in another order."""
        return Outcomes(
            self.items[rows],
            self.names[rows],
            {name: right[rows] for name, right in self.right.items()},
            {name: classes[rows] for name, classes in self.classes.items()},
            None if self.clusters is None else self.clusters[rows],
        )


@dataclass(frozen=True)
class Result:
    """The numbers of one task. Shares are in [0, 1]; `n` is the number of queries."""

    task: str
    values: dict[str, float]
    protocol: dict[str, Any]
    outcomes: Outcomes | None = None


def with_facts(result: Result, protocol: Mapping[str, Any]) -> Result:
    """The result with all that is noted of it: what several results share, its own protocol, and versions."""
    facts = {**protocol, **result.protocol, "askew": __version__, "numpy": np.__version__}
    return replace(result, protocol=facts)


def item_hash(*parts: bytes | str) -> str:
    """The first 32 hexadecimal digits of a sha256 over the parts; where one part ends and the next begins matters."""
    made = hashlib.sha256()
    for part in parts:
        data = path_bytes(part) if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "big"))
        made.update(data)
    return made.hexdigest()[:32]


def set_hash(items: Iterable[str]) -> str:
    """sha256 of a set's item hashes: equal if images, names and order are equal."""
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


@dataclass(frozen=True)
class ResultsFile:
    """A file of results, one JSON object per line, and the outcomes that belong to them."""

    path: Path

    def append(self, results: Iterable[Result], protocol: dict[str, Any]) -> None:
        """Add one line per result, and write the outcomes of its items first.

        Args:
            protocol: what all these results share; a result's own protocol takes precedence. `weights` is required.

        Raises:
            UserError: the disk is full or read-only.
        """
        results = list(results)
        lines = []
        for result in results:
            facts = with_facts(result, protocol).protocol
            line = {"task": result.task, "values": result.values, "protocol": facts}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        folder = self.outcomes(protocol["weights"])
        with writing("the results", self.path):
            for result in results:
                if result.outcomes is not None:
                    save(result.outcomes, folder / f"{result.task}.npz")
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                text = "".join(lines).encode("utf-8", "backslashreplace")  # as JSON escapes half of a surrogate pair
                file.write(text if self._ends_with_a_line(file) else b"\n" + text)

    def read(self) -> list[dict[str, Any]]:
        """Every whole line, oldest first; nothing if there is no file. A line that a crash cut off is skipped."""
        if not self.path.is_file():
            return []
        found = []
        for line in self.path.read_bytes().splitlines():
            try:
                read = json.loads(line)
            except ValueError:  # cut off: neither JSON nor, within a character, UTF-8
                continue
            found += [read] if isinstance(read, dict) else []
        return found

    def outcomes(self, weights: str = "student") -> Path:
        """The folder of outcomes: `outcomes` beside results.jsonl, `NAME-outcomes` beside NAME.jsonl.

        Those of other weights than the student's have a folder of their own: `outcomes-teacher`.
        """
        weights = weights.replace(" ", "-")  # of a checkpoint: `student at step 40 of 300`
        name = OUTCOMES if self.path.name == RESULTS else f"{self.path.stem}-{OUTCOMES}"
        return self.path.parent / (name if weights == "student" else f"{name}-{weights}")

    @staticmethod
    def _ends_with_a_line(file: IO[bytes]) -> bool:
        """Whether the file is empty or its last line is whole."""
        if not file.seek(0, os.SEEK_END):
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def save(outcomes: Outcomes, file: Path) -> None:
    """Write outcomes to a .npz file, atomically: a reader sees the old file or the new one."""
    columns = {"items": outcomes.items, "names": outcomes.names}
    columns |= {f"right/{name}": values for name, values in outcomes.right.items()}
    columns |= {f"classes/{name}": values for name, values in outcomes.classes.items()}
    if outcomes.clusters is not None:
        columns["clusters"] = outcomes.clusters
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing_file(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **columns)  # type: ignore[arg-type]


def load(file: Path) -> Outcomes:
    """Read what `save` wrote.

    Raises:
        UserError: the file is missing, damaged, or something else.
    """
    try:
        with np.load(file) as columns:
            parts = {name: columns[name] for name in columns.files}
        return Outcomes(
            parts["items"],
            parts["names"],
            {name.removeprefix("right/"): v for name, v in parts.items() if name.startswith("right/")},
            {name.removeprefix("classes/"): v for name, v in parts.items() if name.startswith("classes/")},
            parts.get("clusters"),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: not outcomes that askew wrote ({error}); evaluate that model again") from error
