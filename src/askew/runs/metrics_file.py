"""The metrics of a run: one JSON object per logged step, appended while it trains."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from askew.data.files import write_text


@dataclass(frozen=True)
class MetricsFile:
    """The file, and the one that lines of steps go to which are taken again."""

    path: Path
    discarded: Path

    def append(self, line: dict[str, Any]) -> None:
        """Add one logged step."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """Every logged step, oldest first; a last line that a crash cut off is left out."""
        return self.read_with_damage()[0]

    def read_trained(self) -> list[dict[str, Any]]:
        """The lines of steps that were trained; an evaluation before a step has a line of its own."""
        return [line for line in self.read() if "loss" in line]

    def read_with_damage(self) -> tuple[list[dict[str, Any]], int]:
        """Every logged step, and the number of lines that are damaged."""
        lines = [line for _, line in self._lines()]
        whole = [line for line in lines if line is not None]
        return whole, len(lines) - len(whole)

    @property
    def written(self) -> float:
        """When the last line was written, in seconds since 1970; 0 where there is none."""
        return self.path.stat().st_mtime if self.path.exists() else 0.0

    def discard_after(self, step: int) -> None:
        """Move the lines of later steps, and damaged ones, to the other file: these steps are taken again."""
        lines = self._lines()
        kept = [text for text, line in lines if line is not None and line["step"] <= step]
        dropped = [text for text, line in lines if line is None or line["step"] > step]
        if dropped:
            with self.discarded.open("a", encoding="utf-8") as file:
                file.writelines(f"{text}\n" for text in dropped)
        whole = "".join(f"{text}\n" for text in kept)
        if lines and whole != self.path.read_text("utf-8", "backslashreplace"):  # the last may lack its end
            write_text(self.path, whole)

    def _lines(self) -> list[tuple[str, dict[str, Any] | None]]:
        """Each line as text, and what it says; None where it was cut off."""
        texts = self.path.read_text("utf-8", "backslashreplace").splitlines() if self.path.exists() else []
        return [(text, _line(text)) for text in texts]


def _line(text: str) -> dict[str, Any] | None:
    try:
        line = json.loads(text)
    except json.JSONDecodeError:
        return None
    return line if isinstance(line, dict) and isinstance(line.get("step"), int) else None
