"""What a task leaves: named numbers, the protocol they were measured by, and the outcome of every item.

Outcomes go to `outcomes/TASK.npz`, keyed by a hash of the item, so that two models are compared item by item and never
on different items.
"""

import hashlib
import os
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from askew.errors import UserError


@dataclass(frozen=True)
class Outcomes:
    """What became of each item.

    Attributes:
        items: (n,) hash of each item's content, hexadecimal.
        names: (n,) what a person calls the item.
        right: measures by name, each (n,) bool.
        groups: (n,) class of each item where the measure is a mean over classes, by measure; else absent.
        clusters: (n,) items with the same number stand or fall together (captions of one image); None: each alone.
    """

    items: np.ndarray
    names: np.ndarray
    right: dict[str, np.ndarray]
    groups: dict[str, np.ndarray] = field(default_factory=dict)
    clusters: np.ndarray | None = None


@dataclass(frozen=True)
class Result:
    """One task's numbers. Shares are in [0, 1]; `n` counts the queries."""

    task: str
    values: dict[str, float]
    protocol: dict[str, Any]
    outcomes: Outcomes | None = None


def item_hash(*parts: bytes | str) -> str:
    """32 hexadecimal digits of a sha256 over parts, whose lengths count."""
    made = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        made.update(len(data).to_bytes(8, "big"))
        made.update(data)
    return made.hexdigest()[:32]


def set_hash(items: Iterable[str]) -> str:
    """sha256 of a set's item hashes in order: equal where images, names and order are."""
    return hashlib.sha256("\n".join(items).encode()).hexdigest()


def save(outcomes: Outcomes, file: Path) -> None:
    """Write atomically: a reader sees the old file or the new one."""
    columns = {"items": outcomes.items, "names": outcomes.names}
    columns |= {f"right/{name}": values for name, values in outcomes.right.items()}
    columns |= {f"groups/{name}": values for name, values in outcomes.groups.items()}
    if outcomes.clusters is not None:
        columns["clusters"] = outcomes.clusters
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as stream:
        np.savez_compressed(stream, **columns)  # type: ignore[arg-type]
    os.replace(temporary, file)


def load(file: Path) -> Outcomes:
    """Read what `save` wrote.

    Raises:
        UserError: not such a file.
    """
    try:
        with np.load(file) as columns:
            parts = {name: columns[name] for name in columns.files}
        return Outcomes(
            parts["items"],
            parts["names"],
            {name.removeprefix("right/"): v for name, v in parts.items() if name.startswith("right/")},
            {name.removeprefix("groups/"): v for name, v in parts.items() if name.startswith("groups/")},
            parts.get("clusters"),
        )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{file}: not outcomes that askew wrote ({error}); evaluate that model again") from error
