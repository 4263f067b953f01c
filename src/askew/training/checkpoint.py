"""Save and resume. State is safetensors plus a manifest with the sha256 of every file; nothing is ever unpickled.

A checkpoint is a folder that appears as a whole: a crash leaves all of it or nothing.
"""

import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn, optim

from askew import distributed
from askew.config import TrainSettings
from askew.data.files import replacing_directory, sha256_of
from askew.errors import UserError
from askew.training import sharding

MANIFEST = "manifest.json"
METHOD, OPTIMIZER = "method.safetensors", "optimizer.safetensors"
OF_MANIFEST = "manifest_sha256"
OF_EARLIER_VERSIONS = {"step", "facts", "sha256"}  # what their manifests have: nothing vouches for them
State = dict[str, dict[str, Tensor]]  # the tensors of each file, by name


class Policy:
    """When to save: every `checkpoint_steps` steps, and when the last checkpoint is `checkpoint_minutes` old."""

    def __init__(self, config: TrainSettings):
        self._steps, self._seconds = config.checkpoint_steps, 60 * config.checkpoint_minutes
        self._saved_at = time.monotonic()

    @property
    def is_late(self) -> bool:
        """Whether the last checkpoint is too old. Ranks may disagree: their clocks do."""
        return time.monotonic() - self._saved_at > self._seconds

    def is_due(self, step: int) -> bool:
        """Whether the step is one of those that are saved."""
        return self._steps > 0 and step % self._steps == 0

    def saved(self) -> None:
        """A checkpoint was written."""
        self._saved_at = time.monotonic()


@dataclass(frozen=True)
class Checkpoint:
    """A whole, verified checkpoint on disk."""

    path: Path
    step: int
    facts: dict[str, Any]

    def load(self, method: nn.Module, optimizer: optim.Optimizer) -> None:
        """Put the state back where it came from. The method and optimiser are built from the same recipe.

        Raises:
            UserError: names or shapes do not fit.
        """
        self.load_method(method)
        saved = load_file(self.path / OPTIMIZER)
        parameters, slots = dict(method.named_parameters()), dict[str, dict[str, Tensor]]()
        for key, value in saved.items():
            name, slot = key.rsplit("/", 1)
            slots.setdefault(name, {})[slot] = sharding.scattered(value, parameters.get(name))
        names = parameter_names(method)
        packed = optimizer.state_dict()
        order = [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
        packed["state"] = {index: slots[name] for index, name in enumerate(order) if name in slots}
        optimizer.load_state_dict(packed)

    def load_method(self, method: nn.Module) -> None:
        """The method's state alone.

        Raises:
            UserError: names or shapes do not fit.
        """
        saved, present = load_file(self.path / METHOD), method.state_dict()
        state = {name: sharding.scattered(value, present.get(name)) for name, value in saved.items()}
        try:
            method.load_state_dict(state, strict=True)
        except RuntimeError as error:
            raise UserError(f"{self.path} does not fit the recipe: {' '.join(str(error).split())[:300]}") from error


def parameter_names(method: nn.Module) -> dict[int, str]:
    """Name of each parameter by its identity."""
    return {id(parameter): name for name, parameter in method.named_parameters()}


def save(
    folder: Path, step: int, method: nn.Module, optimizer: optim.Optimizer, facts: dict[str, Any], keep: int
) -> None:
    """Write `folder/step-N`, then remove all but the newest `keep` checkpoints.

    Every rank enters: see `state_of`. Rank 0 writes, and no rank leaves before it has.
    """
    state = state_of(method, optimizer)
    distributed.on_main(lambda: write(folder, step, on_cpu(state), facts, keep))


def state_of(method: nn.Module, optimizer: optim.Optimizer) -> State:
    """Everything that a checkpoint holds, by file and name: on any device, and maybe the live tensors themselves.

    Every rank enters: a state that is spread over ranks is collected. What rank 0 gets is written. The optimiser's
    tensors are named PARAMETER/SLOT.
    """
    state, slots = sharding.state_of(method, optimizer)
    return {METHOD: state, OPTIMIZER: slots}


def on_cpu(state: State) -> State:
    """The same tensors as they are written. Those that are on the CPU already may be the same memory."""
    return {
        file: {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
        for file, tensors in state.items()
    }


def write(folder: Path, step: int, state: State, facts: dict[str, Any], keep: int) -> None:
    """What `save` does on rank 0 with tensors on the CPU. Nothing of it needs the main thread."""
    final = folder / f"step-{step:09d}"
    for leftover in folder.glob("step-*.tmp"):  # of a crash or a full disk
        if not leftover.name.startswith(final.name):  # those of this step are for replacing_directory to judge
            shutil.rmtree(leftover, ignore_errors=True)
    with replacing_directory(final) as temporary:
        for name, tensors in state.items():
            save_file(tensors, temporary / name)
        manifest = {"step": step, "facts": facts, "sha256": {name: sha256_of(temporary / name) for name in state}}
        manifest[OF_MANIFEST] = _sha256_of_manifest(manifest)
        (temporary / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    present = checkpoints(folder)
    position = present.index(final)
    # Later ones were damaged, and passed over when the run was resumed
    for old in [*present[: max(0, position + 1 - keep)], *present[position + 1 :]]:
        shutil.rmtree(old)


def _sha256_of_manifest(manifest: dict[str, Any]) -> str:
    """Of what it says, in one way of writing it."""
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()


def checkpoints(folder: Path) -> list[Path]:
    """Committed checkpoints, oldest first. `latest` finds out which of them are whole."""
    return sorted(p for p in folder.glob("step-*") if p.is_dir() and not p.name.endswith(".tmp"))


def latest(folder: Path, warn: Callable[[str], None]) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None. Damaged ones are named through `warn` and passed over."""
    for path in reversed(checkpoints(folder)):
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
            is_old = manifest.keys() == OF_EARLIER_VERSIONS
            if not is_old and manifest.pop(OF_MANIFEST, "") != _sha256_of_manifest(manifest):
                raise ValueError(f"{MANIFEST} does not have the recorded sha256")
            for name, expected in manifest["sha256"].items():
                if sha256_of(path / name) != expected:
                    raise ValueError(f"{name} does not have the recorded sha256")
            return Checkpoint(path, manifest["step"], manifest["facts"])
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
            warn(f"checkpoint {path} is damaged ({error}); using the one before it")
    return None
