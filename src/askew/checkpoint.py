"""Save and resume. State is safetensors plus a manifest with the sha256 of every file; nothing is ever unpickled.

A checkpoint is written to `step-N.tmp`, synced and renamed: the rename is the commit, so a crash leaves the whole
checkpoint or none.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from askew.errors import UserError

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class Checkpoint:
    """A whole, verified checkpoint on disk."""

    path: Path
    step: int
    facts: dict[str, Any]

    def load(self, method: nn.Module, optimizer: optim.Optimizer) -> None:
        """Put the state back where it came from; the method and optimiser are built from the same recipe.

        Raises:
            UserError: names or shapes do not fit.
        """
        try:
            method.load_state_dict(load_file(self.path / "method.safetensors"), strict=True)
        except RuntimeError as error:
            raise UserError(f"{self.path} does not fit the recipe: {' '.join(str(error).split())[:300]}") from error
        saved = load_file(self.path / "optimizer.safetensors")
        slots: dict[str, dict[str, Tensor]] = {}
        for key, value in saved.items():
            name, slot = key.rsplit("/", 1)
            slots.setdefault(name, {})[slot] = value
        names = parameter_names(method)
        packed = optimizer.state_dict()
        order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        packed["state"] = {index: slots[name] for index, name in enumerate(order) if name in slots}
        optimizer.load_state_dict(packed)


def parameter_names(method: nn.Module) -> dict[int, str]:
    """Name of each parameter by its identity."""
    return {id(parameter): name for name, parameter in method.named_parameters()}


def save(
    folder: Path, step: int, method: nn.Module, optimizer: optim.Optimizer, facts: dict[str, Any], keep: int
) -> Path:
    """Write `folder/step-N`, then remove all but the newest `keep` checkpoints. Returns the new one's path."""
    final, temporary = folder / f"step-{step:09d}", folder / f"step-{step:09d}.tmp"
    for left in folder.glob("step-*.tmp"):  # of a crash or a full disk
        shutil.rmtree(left, ignore_errors=True)
    temporary.mkdir(parents=True)
    names = parameter_names(method)
    slots = {
        f"{names[id(parameter)]}/{slot}": value.detach().cpu().contiguous()
        for parameter, state in optimizer.state.items()
        for slot, value in state.items()
    }
    state = {k: v.detach().cpu().contiguous() for k, v in method.state_dict().items()}
    files = {"method.safetensors": state, "optimizer.safetensors": slots}
    for name, tensors in files.items():
        save_file(tensors, temporary / name)
    manifest = {"step": step, "facts": facts, "sha256": {name: digest(temporary / name) for name in files}}
    (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for file in temporary.iterdir():
        sync(file)
    sync(temporary)
    shutil.rmtree(final, ignore_errors=True)
    os.replace(temporary, final)
    sync(folder)
    there = checkpoints(folder)
    place = there.index(final)
    for old in [*there[: max(0, place + 1 - keep)], *there[place + 1 :]]:  # a later one was damaged, and passed over
        shutil.rmtree(old)
    return final


def checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints, oldest first; whole ones or not is for `latest` to say."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir() and not p.name.endswith(".tmp"))


def latest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole; damaged ones are named through `warn` and passed over. None if none is."""
    for path in reversed(checkpoints(folder)):
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            for name, expected in manifest["sha256"].items():
                if digest(path / name) != expected:
                    raise ValueError(f"{name} does not have the recorded sha256")
            return Checkpoint(path, manifest["step"], manifest["facts"])
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            warn(f"checkpoint {path} is damaged ({error}); the one before it is used")
    return None


def digest(path: Path) -> str:
    """sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync(path: Path) -> None:
    """Force a file or folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
