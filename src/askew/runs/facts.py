"""What a run finds at its start and keeps beside its recipe: data, device, versions, the levels of chance."""

import json
import os
import platform
from datetime import UTC, datetime
from typing import Any

import numpy as np
import open_clip
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from askew import __version__, distributed
from askew.data.files import write_text
from askew.devices import processor_name
from askew.runs.directory import RunDirectory
from askew.training.loop import Trainer


class RunFacts(BaseModel):
    """The facts. A run of an earlier version has none, and a field that a later version adds has a default.

    Attributes:
        data, notes: the source in words, and what was found when it was opened.
        samples: of the source.
        towers: which are trained, from what.
        chance: the value of each term of the loss for a model that has learned nothing.
        total_steps: as planned at the start; `train.minutes` may settle on fewer.
        cores: of the machine; threads: of them, that the training computes with; processor: its name.
        started: in UTC.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    data: str
    notes: tuple[str, ...] = ()
    samples: int
    towers: str
    trained_parameters: int
    device: str
    ranks: int = 1
    cores: int = 0
    threads: int = 0
    processor: str = ""
    precision: str
    steps_per_epoch: int
    total_steps: int
    chance: dict[str, float] = {}
    versions: dict[str, str] = {}
    started: str


def facts_of(trainer: Trainer, towers: str) -> RunFacts:
    """The facts of a run that is about to start."""
    recipe, loader = trainer.recipe, trainer.loader
    device = str(trainer.device)
    if trainer.device.type == "cuda":
        device += f", {torch.cuda.get_device_name(trainer.device)}"
    return RunFacts(
        data=loader.source.describe,
        notes=tuple(loader.source.notes),
        samples=len(loader.source),
        towers=towers,
        trained_parameters=sum(p.numel() for p in trainer.method.parameters() if p.requires_grad),
        device=device,
        ranks=distributed.world_size(),
        cores=os.cpu_count() or 0,
        threads=torch.get_num_threads(),
        processor=processor_name(),
        precision=recipe.train.precision,
        steps_per_epoch=loader.steps_per_epoch,
        total_steps=trainer.total,
        chance=trainer.method.loss_at_chance(loader.batch_size),
        versions={
            "askew": __version__,
            "torch": torch.__version__,
            "open_clip": open_clip.__version__,
            "numpy": np.__version__,
            "Python": platform.python_version(),
        },
        started=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def write_facts(directory: RunDirectory, facts: RunFacts) -> None:
    """Keep them in the run's directory."""
    fields: dict[str, Any] = facts.model_dump(mode="json")
    text = json.dumps(fields, ensure_ascii=True, indent=1)
    write_text(directory.facts, text + "\n")


def read_facts(directory: RunDirectory) -> RunFacts | None:
    """The facts of a run; None where it has none, or where they are damaged."""
    try:
        return RunFacts.model_validate_json(directory.facts.read_bytes())
    except (OSError, ValidationError):
        return None
