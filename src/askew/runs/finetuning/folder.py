"""The folder of a fine-tuning: the one place that knows what a file inside it is called.

asked.json               what was asked for; the same command goes on from where it was stopped
SET/zero-shot/           results of the model before fine-tuning, on the test images
SET/lr-1e-05/            a run for each learning rate, evaluated on the validation images after every epoch
SET/curves.svg           mean recall on the validation images, over epochs
train.parquet, validation.parquet   lists of images, where validation is a share of the training images
results.jsonl, outcomes/ results on the test images, with the learning rate that was chosen
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askew.data.files import write_text
from askew.errors import UserError, printable
from askew.evaluation.results import ResultsFile
from askew.runs.directory import RUNS, RunDirectory
from askew.runs.numbered import next_numbered

ASKED = "asked.json"
NAME = "finetune-retrieval"


@dataclass(frozen=True)
class FineTuningFolder:
    """The folder of one fine-tuning; see the head of this module for what it holds."""

    path: Path

    @classmethod
    def claim(cls, out: Path | None, asked: dict[str, Any]) -> "FineTuningFolder":
        """A new folder, or that of an earlier command which asked for the same.

        Raises:
            UserError: it holds something else, or it cannot be made.
        """
        try:
            folder = cls(next_numbered(NAME, RUNS) if out is None else out)
            folder.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"the folder cannot be made: {error}; choose a writable one with --out DIR") from error
        file = folder.path / ASKED
        if file.is_file():
            folder._refuse_others(json.loads(file.read_text(encoding="utf-8")), asked)
        elif any(folder.path.iterdir()):
            raise UserError(f"--out {printable(str(out))} is not empty; choose a new folder")
        else:
            write_text(file, json.dumps(asked, indent=1))
        return folder

    def _refuse_others(self, before: dict[str, Any], asked: dict[str, Any]) -> None:
        changed = [f"{key} ({before.get(key)} -> {value})" for key, value in asked.items() if before.get(key) != value]
        if changed:
            raise UserError(
                f"--out {printable(str(self.path))} holds a fine-tuning with other settings: "
                f"{printable(', '.join(changed), 600)}; repeat its command, or choose a new folder"
            )

    def remove_if_unused(self) -> None:
        """Remove the folder of a request that was refused, so that the command can be repeated."""
        if [file.name for file in self.path.iterdir()] == [ASKED]:
            (self.path / ASKED).unlink()
            self.path.rmdir()

    def of(self, name: str) -> Path:
        """The part of one data set."""
        return self.path / name

    def run(self, name: str, rate: float) -> RunDirectory:
        """The run of one learning rate."""
        return RunDirectory(self.of(name) / f"lr-{rate:g}")

    def zero_shot(self, name: str) -> ResultsFile:
        """Results before fine-tuning."""
        return ResultsFile(self.of(name) / "zero-shot" / "results.jsonl")

    def curves(self, name: str) -> Path:
        """The figure of the validation."""
        return self.of(name) / "curves.svg"

    @property
    def results(self) -> ResultsFile:
        """Results after fine-tuning."""
        return ResultsFile(self.path / "results.jsonl")
