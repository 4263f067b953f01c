"""The record of a study: all that its tables are made of, without weights or data, and small enough to be committed.

study.yaml               the study as it was read
runs.jsonl               one line per finished run, in the order of rows and seeds
outcomes/TASK/items.npz  once per task: hashes of its items, cut to 8 bytes, their clusters and classes; no names
outcomes/TASK/RUN.npz    for each measure of one run, which items were right, as packed bits

A run that was evaluated on other items than the first of the task has items of its own in RUN.npz.
"""

import json
import re
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from askew.data.files import replacing_file, write_text
from askew.data.sources.recognise import PLUS
from askew.errors import UserError, printable, writing
from askew.evaluation.results import Outcomes
from askew.runs.studies.plan import Study, read_study

STUDY, RUN_LINES, OUTCOMES, ITEMS = "study.yaml", "runs.jsonl", "outcomes", "items.npz"
HEX = 16  # digits of an item's hash: 8 bytes
FOLDERS = re.compile(r"""(^|[=\[,"']\s*)(?:~[^/\\]*|[A-Za-z]:)?[/\\](?:[^/\\,"'\]]+[/\\])+""")  # of an absolute path


@dataclass(frozen=True)
class RecordedRun:
    """One finished run.

    Attributes:
        folder: the name of the run's folder, which its outcomes are kept under.
        recipe: as JSON, with absolute paths cut to their last part.
        results: the values of each task.
        protocols: what is kept of the protocol of each task.
        cost: samples, steps, pairs (size of the training data), flops_per_sample, flops, seconds, peak_memory_mb,
            threads (0 if unknown), processor.
        evaluated: the entries of the study's `evaluate` that are done, as `entry_key` writes them.
    """

    row: str
    seed: int
    folder: str
    recipe: dict[str, Any]
    results: dict[str, dict[str, float]]
    protocols: dict[str, dict[str, Any]]
    cost: dict[str, float | str]
    versions: dict[str, str]
    evaluated: tuple[str, ...] = field(default=())

    def to_line(self) -> str:
        """One line of runs.jsonl."""
        fields = asdict(self)
        results, protocols = fields.pop("results"), fields.pop("protocols")
        fields["results"] = [
            {"task": task, "values": values, "protocol": protocols.get(task, {})} for task, values in results.items()
        ]
        return json.dumps(fields, ensure_ascii=True)

    @classmethod
    def from_line(cls, line: str) -> "RecordedRun":
        """Read what `to_line` wrote. Raises KeyError, TypeError or ValueError for anything else."""
        fields = json.loads(line)
        results = fields.pop("results")
        return cls(
            **{**fields, "evaluated": tuple(fields.get("evaluated", ()))},
            results={result["task"]: result["values"] for result in results},
            protocols={result["task"]: result["protocol"] for result in results},
        )


@dataclass(frozen=True)
class Record:
    """A study, and its finished runs in the order of rows and seeds."""

    study: Study
    runs: tuple[RecordedRun, ...]
    folder: Path

    @classmethod
    def read(cls, folder: Path) -> "Record":
        """The record in a folder.

        Raises:
            UserError: there is none, or it is damaged.
        """
        if not is_record(folder):
            raise UserError(f"{printable(str(folder), 400)}: no record of a study (no {STUDY})")
        study, path = read_study(folder / STUDY), folder / RUN_LINES
        try:
            lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
            runs = tuple(RecordedRun.from_line(line) for line in lines)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"{printable(str(path), 400)}: not the runs of a record ({printable(str(error))}); restore the file, "
                "or run the study again, which writes it anew"
            ) from error
        return cls(study, runs, folder)

    def of(self, row: str) -> list[RecordedRun]:
        """The finished runs of a row, by seed."""
        return sorted((run for run in self.runs if run.row == row), key=lambda run: run.seed)

    def outcomes(self, run: RecordedRun, task: str) -> Outcomes | None:
        """Which items a run got right; None for a task without outcomes. Items are hashes, and names are empty.

        Raises:
            UserError: a file is damaged.
        """
        file = self.folder / OUTCOMES / task / f"{run.folder}.npz"
        if not file.exists():
            return None
        found = _read(file)
        about = found if "items" in found else _read(file.with_name(ITEMS))
        try:
            items = np.array([f"{number:0{HEX}x}" for number in about["items"].tolist()], dtype=f"U{HEX}")
            right = {
                name.removeprefix("right/"): np.unpackbits(bits, count=len(items)).astype(bool)
                for name, bits in found.items()
                if name.startswith("right/")
            }
            classes = {n.removeprefix("classes/"): v for n, v in about.items() if n.startswith("classes/")}
        except (KeyError, ValueError, TypeError) as error:
            raise _damaged(file, error) from error
        return Outcomes(items, np.full(len(items), ""), right, classes, about.get("clusters"))


def is_record(folder: Path) -> bool:
    """Whether a folder holds the record of a study."""
    return (folder / STUDY).is_file()


def _read(file: Path) -> dict[str, np.ndarray]:
    try:
        with np.load(file) as columns:
            return {name: columns[name] for name in columns.files}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> UserError:
    return UserError(
        f"{printable(str(file), 400)}: not the outcomes of a record ({printable(str(error))}); restore the file, or "
        "run the study again, which writes it anew"
    )


def write_record(record: Record) -> None:
    """study.yaml and runs.jsonl, each atomically.

    Raises:
        UserError: the folder cannot be written to.
    """
    fields = record.study.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    text = yaml.safe_dump(without_folders(fields), sort_keys=False, allow_unicode=True)
    with writing("the record", record.folder):
        record.folder.mkdir(parents=True, exist_ok=True)
        write_text(record.folder / STUDY, text)
        write_text(record.folder / RUN_LINES, "".join(run.to_line() + "\n" for run in record.runs))


def write_outcomes(folder: Path, run: str, task: str, outcomes: Outcomes) -> None:
    """The outcomes of one run on one task.

    Args:
        folder: the record's.
        run: the name of the run's folder.

    Raises:
        UserError: the folder cannot be written to, or a file in it is damaged.
    """
    about = _about(outcomes)
    bits = {f"right/{name}": np.packbits(right) for name, right in outcomes.right.items()}
    place = folder / OUTCOMES / task
    with writing("the record", place):
        place.mkdir(parents=True, exist_ok=True)
        if not (place / ITEMS).exists():
            _write(place / ITEMS, about)
    kept = _read(place / ITEMS)
    same = kept.keys() == about.keys() and all(np.array_equal(kept[name], about[name]) for name in about)
    with writing("the record", place):
        _write(place / f"{run}.npz", bits if same else {**bits, **about})


def _about(outcomes: Outcomes) -> dict[str, np.ndarray]:
    """The items of a task, without their names."""
    columns = {"items": np.array([int(str(item)[:HEX], 16) for item in outcomes.items], dtype=np.uint64)}
    columns |= {f"classes/{name}": _small(values) for name, values in outcomes.classes.items()}
    if outcomes.clusters is not None:
        columns["clusters"] = _small(outcomes.clusters)
    return columns


def _small(numbers: np.ndarray) -> np.ndarray:
    """Whole numbers in 32 bits."""
    assert len(numbers) == 0 or abs(numbers).max() < 2**31, "numbers of classes and clusters"
    return numbers.astype(np.int32)


def _write(file: Path, columns: dict[str, np.ndarray]) -> None:
    with replacing_file(file) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, **columns)  # type: ignore[arg-type]


def without_folders(value: Any) -> Any:
    """The same structure, in which every text has its absolute paths cut to their last part."""
    if isinstance(value, dict):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    return PLUS.join(FOLDERS.sub(r"\1", part) for part in value.split(PLUS)) if isinstance(value, str) else value
