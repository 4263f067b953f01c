"""A step whose loss or gradient is not finite, kept so that it can be taken again: see replay.py.

Each rank keeps its batch, as the loader gave it, and what the step gave. Rank 0 adds the state of the method and of the
optimiser before the step. So one step takes as much as a checkpoint and one batch; older ones are removed.
"""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from askew import distributed
from askew.data.files import replacing_directory
from askew.methods.base import Batch, Terms
from askew.training import checkpoint
from askew.training.step import seed_of_step

if TYPE_CHECKING:
    from askew.training.loop import Trainer

FACTS, BATCH = "fault.json", "batch.safetensors"


def kept_step(trainer: "Trainer", batch: Batch, loss: Tensor, terms: Terms, norm: Tensor) -> str:
    """Keep this rank's part of the step that failed, before the optimiser has moved anything.

    Returns:
        Where it is, and how to take it again; or why it could not be kept: the run has failed already.
    """
    if trainer.storage is None:
        return ""
    step, rank = trainer.done, distributed.rank()
    folder = trainer.storage.faults / f"step-{step:09d}" / f"rank-{rank}"
    facts = {**facts_of(trainer), "loss": repr(loss.item()), "gradient_norm": repr(norm.item())}
    facts["terms"] = {name: repr(value.item()) for name, value in terms.items()}  # JSON has no NaN
    files = {BATCH: {key: value.detach().cpu().contiguous() for key, value in batch.items()}}
    # A norm that is not finite is that of all ranks, so that all are here; a loss may be that of this rank alone
    if distributed.world_size() > 1 and norm.isfinite():
        where = f"; the batch of rank {rank} is kept in {folder}, without the state and the other ranks' batches"
        return _written(folder, facts, files) or where
    state = checkpoint.state_of(trainer.method, trainer.optimizer)
    if rank == 0:
        files |= checkpoint.on_cpu(state)
    # torchrun ends all ranks soon after one has ended, so none goes on before all have written
    if failure := distributed.together(lambda: _written(folder, facts, files)):
        return failure
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    return f"; the step is kept ({size:.0f} MB), take it again: askew replay {folder.parent}"


def _written(folder: Path, facts: dict[str, Any], files: dict[str, dict[str, Tensor]]) -> str:
    """Write a rank's part of a step, and remove older steps. Returns why it could not be written, or ""."""
    try:
        if distributed.is_main():
            for older in folder.parent.parent.glob("step-*"):
                if older != folder.parent:
                    shutil.rmtree(older, ignore_errors=True)
        with replacing_directory(folder) as temporary:
            for name, tensors in files.items():
                save_file(tensors, temporary / name)
            (temporary / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    except (OSError, SafetensorError) as error:
        return f"; the step could not be kept ({error})"
    return ""


def facts_of(trainer: "Trainer") -> dict[str, Any]:
    """What a step depends on besides its batch and the state, and what decides whether its numbers are the same."""
    recipe, rank = trainer.recipe, distributed.rank()
    return {
        "step": trainer.done,
        "rank": rank,
        "ranks": distributed.world_size(),
        "seed": seed_of_step(recipe.train.seed, trainer.done, rank),
        "progress": trainer.schedule.progress(trainer.done),
        "num_samples": len(trainer.loader.source),
        "recipe": recipe.model_dump(mode="json"),
        **numerics_of(trainer.device),
    }


def numerics_of(device: torch.device) -> dict[str, Any]:
    """What decides, beside a recipe, how numbers are rounded."""
    return {"device": device.type, "threads": torch.get_num_threads(), "torch": torch.__version__}


def folder_of(path: Path, faults: Path) -> Path | None:
    """The folder of the newest step that was kept, in a run, in its folder `faults`, or the step's own folder."""
    steps = [path, *sorted([*path.glob("step-*"), *faults.glob("step-*")], key=lambda step: step.name, reverse=True)]
    return next((step for step in steps if (step / "rank-0" / FACTS).is_file()), None)
