"""The folder of an inspection: the one place that knows what its files are called.

inspect.html             the page, with its figures beside it as noise.svg and operations.svg
pairs.parquet, pairs.csv every pair that can be used, in the order of the source
operations.csv           what each image operation does at each strength
words.csv                the words whose captions suffer
kept.parquet             the captions that --keep keeps
inspect.json             what was inspected and how, and the counts
parts/                   numbers of parts of the data: a killed inspection finds them again
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askew.data.files import home_path, write_text
from askew.errors import UserError, printable, writing
from askew.runs.directory import INSPECTION, RunDirectory

SUMMARY = "inspect.json"


@dataclass(frozen=True)
class InspectionFolder:
    """See the head of this module."""

    path: Path

    @classmethod
    def of(cls, out: Path | None, model: str) -> "InspectionFolder":
        """The folder that was named; else `inspect` in the directory of a run, or in the working directory."""
        run = RunDirectory(home_path(model))
        return cls(out if out is not None else run.inspection if run.exists else Path(INSPECTION))

    @property
    def page(self) -> Path:
        """The page."""
        return self.path / "inspect.html"

    @property
    def pairs(self) -> Path:
        """Every pair, as Parquet."""
        return self.path / "pairs.parquet"

    @property
    def pairs_csv(self) -> Path:
        """Every pair, for spreadsheets."""
        return self.path / "pairs.csv"

    @property
    def operations(self) -> Path:
        """The effects of operations."""
        return self.path / "operations.csv"

    @property
    def words(self) -> Path:
        """The effects on words."""
        return self.path / "words.csv"

    @property
    def kept(self) -> Path:
        """The captions that are kept."""
        return self.path / "kept.parquet"

    @property
    def parts(self) -> Path:
        """The folder of parts."""
        return self.path / "parts"

    def claim(self, settings: dict[str, Any]) -> None:
        """Make the folder, and record what is inspected and how. The same inspection may be continued or repeated.

        Raises:
            UserError: the folder holds another inspection, or something else, or cannot be made.
        """
        shown = printable(str(self.path), 400)
        before = self._recorded()
        if before is not None:
            other = [name for name in settings if before.get(name) != settings[name]]
            if other:
                name = other[0]
                raise UserError(
                    f"--out {shown} holds another inspection ({name}: {printable(str(before.get(name)), 200)}, not "
                    f"{printable(str(settings[name]), 200)}); choose a new folder with --out DIR"
                )
            return
        if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            what = "not empty" if self.path.is_dir() else "a file"
            raise UserError(f"--out {shown} is {what}; choose a new folder with --out DIR")
        with writing("the inspection", self.path, ", or choose another folder with --out DIR"):
            self.path.mkdir(parents=True, exist_ok=True)
            self._write({"settings": settings})

    def finish(self, settings: dict[str, Any], found: dict[str, Any]) -> None:
        """Record the counts of a finished inspection."""
        with writing("the inspection", self.path):
            self._write({"settings": settings, **found})

    def _write(self, content: dict[str, Any]) -> None:
        write_text(self.path / SUMMARY, json.dumps(content, indent=2, ensure_ascii=True) + "\n")

    def _recorded(self) -> dict[str, Any] | None:
        """The settings of the inspection that is here; None if there is none."""
        try:
            settings = json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))["settings"]
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return settings if isinstance(settings, dict) else None
