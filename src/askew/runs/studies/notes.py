"""What a study keeps in a run's directory: the evaluations that are done, and what a sample costs."""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from askew.data.files import write_text
from askew.runs.directory import RunDirectory


class RunNotes(BaseModel):
    """The notes of one run.

    Attributes:
        evaluated: for each entry of the study's `evaluate` that is done, the sha256 of the weights it was done on.
        flops_per_sample: of one training step; 0 = not counted yet.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    evaluated: dict[str, str] = {}
    flops_per_sample: float = 0.0


def read_notes(directory: RunDirectory) -> RunNotes:
    """The notes of a run; empty ones where it has none, or where they are damaged."""
    try:
        return RunNotes.model_validate_json(directory.study_notes.read_bytes())
    except (OSError, ValidationError):
        return RunNotes()


def change_notes(directory: RunDirectory, **changes: Any) -> None:
    """Replace some of the notes."""
    notes = read_notes(directory).model_copy(update=changes)
    write_text(directory.study_notes, json.dumps(notes.model_dump(mode="json"), indent=1) + "\n")
