"""Ranks that do not do the same would hang, or train on something that nobody asked for. So they compare it first."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from askew import distributed
from askew.config import Recipe
from askew.errors import UserError, printable

# Of the recipe, what says where things are, and what changes speed alone: machines may differ in these
OWN = ("data.source", "data.image_root", "loader.num_workers", "loader.cache_mb")


def what_runs(recipe: Recipe) -> dict[str, str]:
    """The settings of a recipe, and the code that carries them out, each in a short text by its name."""
    found = {"PyTorch's version": torch.__version__, "askew's code (its hash)": code_hash()}
    for part, fields in recipe.model_dump(mode="json").items():
        named = (
            {f"{part}.{key}": value for key, value in fields.items()} if isinstance(fields, dict) else {part: fields}
        )
        found |= {key: repr(value) for key, value in named.items() if key not in OWN}
    return found


def code_hash() -> str:
    """A hash of askew's source files."""
    root = Path(__file__).parents[1]
    content = hashlib.sha256()
    for file in sorted(root.rglob("*.py")):
        content.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return content.hexdigest()[:12]


def refuse_disagreement(facts: Callable[[], dict[str, Any]]) -> None:
    """Compare facts by their names over all ranks. Every rank enters.

    Raises:
        UserError: on every rank, if one of them differs from rank 0; the line says which, and in what.
    """
    everywhere = distributed.all_gather_object(facts()) if distributed.world_size() > 1 else []
    for rank, own in enumerate(everywhere):
        for name in [name for name in {**everywhere[0], **own} if everywhere[0].get(name) != own.get(name)]:
            here, there = (printable(str(one.get(name, "nothing")), 80) for one in (own, everywhere[0]))
            raise UserError(
                f"rank {rank} differs from rank 0 in {name}: {here}, and {there} on rank 0; "
                "start all ranks with the same command, the same data and the same installation"
            )
