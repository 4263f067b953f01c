"""From run directories to the record of their study: what is kept of each run, and what it cost."""

from pathlib import Path
from typing import Any

from askew.errors import UserError, printable
from askew.evaluation.results import load
from askew.recipes.settings import validate
from askew.runs.directory import RunDirectory
from askew.runs.facts import read_facts
from askew.runs.resume import changes
from askew.runs.studies.evaluating import entry_key, missing_evaluations
from askew.runs.studies.notes import read_notes
from askew.runs.studies.plan import PlannedRun, Study
from askew.runs.studies.record import Record, RecordedRun, is_record, without_folders, write_outcomes, write_record

PROTOCOL = (  # what is kept of it
    "weights", "weights_sha256", "resolution", "precision", "suite", "dataset", "split", "found", "images_sha256",
    "captions_sha256", "data_sha256", "templates", "C", "iteration_limit", "validation", "exchanged", "pool",
    "neighbours",
)  # fmt: skip
VERSIONS = ("askew", "torch", "numpy")


def recorded_run(run: PlannedRun, directory: RunDirectory, study: Study) -> RecordedRun:
    """What the record keeps of a finished run."""
    newest: dict[str, dict[str, Any]] = {}
    for line in directory.results.read():
        if line["protocol"].get("weights") == "student":
            newest[line["task"]] = line
    protocols = {
        task: {key: line["protocol"][key] for key in PROTOCOL if key in line["protocol"]}
        for task, line in newest.items()
    }
    versions: dict[str, str] = {}
    facts = read_facts(directory)
    for source in (*(line["protocol"] for line in newest.values()), facts.versions if facts is not None else {}):
        versions |= {name: source[name] for name in VERSIONS if name in source}
    recipe = without_folders(directory.read_recipe().model_dump(mode="json"))
    missing = missing_evaluations(directory, study)
    done = [entry for entry in study.evaluate if entry not in missing]
    return RecordedRun(
        run.row, run.seed, run.folder, recipe, {task: line["values"] for task, line in newest.items()},
        without_folders(protocols), _cost(directory), versions, tuple(without_folders([entry_key(e) for e in done])),
    )  # fmt: skip


def _cost(directory: RunDirectory) -> dict[str, float | str]:
    """What the training cost; see `RecordedRun`. Numbers that are not known are 0."""
    last, facts = directory.metrics.read_trained()[-1], read_facts(directory)
    per_sample = read_notes(directory).flops_per_sample
    return {
        "samples": last["samples"],
        "steps": last["step"],
        "pairs": facts.samples if facts is not None else 0,
        "flops_per_sample": per_sample,
        "flops": per_sample * last["samples"],
        "seconds": last["seconds"],
        "peak_memory_mb": last["peak_memory_mb"],
        "threads": facts.threads if facts is not None else 0,
        "processor": facts.processor if facts is not None else "",
    }


class Recorder:
    """The record of a study that is running. It is whole on disk after every run.

    Args:
        folder: of the record. One that holds the record of this study is continued.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """

    def __init__(self, study: Study, folder: Path):
        self.study, self.folder = study, folder
        self._lines: dict[str, RecordedRun] = {}
        if is_record(folder):
            record = Record.read(folder)
            if record.study.name != study.name:
                raise UserError(
                    f"--record {printable(str(folder), 400)} holds the record of another study, "
                    f"{printable(record.study.name)}; choose a new folder"
                )
            self._lines = {run.folder: run for run in record.runs if self._is_current(run)}
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"--record {printable(str(folder), 400)} holds no record of a study; choose a new folder")

    def has(self, run: PlannedRun) -> bool:
        """Whether the record has everything of a run."""
        wanted = set(without_folders([entry_key(entry) for entry in self.study.evaluate]))
        return run.folder in self._lines and wanted <= set(self._lines[run.folder].evaluated)

    def add(self, run: PlannedRun, directory: RunDirectory) -> None:
        """Record a finished run."""
        made = recorded_run(run, directory, self.study)
        folder = directory.results.outcomes()
        for task in made.results:
            if (folder / f"{task}.npz").exists():
                write_outcomes(self.folder, run.folder, task, load(folder / f"{task}.npz"))
        self._lines[run.folder] = made
        self.write()

    def take_over(self, made: RecordedRun) -> bool:
        """Have a run of another study as one of this study's. Whether it could be: its recipe must be the same."""
        if self._is_current(made):
            self._lines[made.folder] = made
        return self._lines.get(made.folder) is made

    def write(self) -> None:
        """Write what there is, in the order of the study."""
        runs = tuple(self._lines[run.folder] for run in self.study.runs() if run.folder in self._lines)
        write_record(Record(self.study, runs, self.folder))

    def _is_current(self, recorded: RecordedRun) -> bool:
        """Whether a recorded run is one of the study, with the settings that the study has now."""
        run = next((run for run in self.study.runs() if run.folder == recorded.folder), None)
        if run is None or (run.row, run.seed) != (recorded.row, recorded.seed):
            return False
        try:
            differing = changes(self.study.recipe(run), validate(recorded.recipe, str(self.folder)))
        except UserError:  # recorded by another version of askew, or it starts from weights that are gone
            return False
        return all(without_folders(asked) == before for before, asked in differing.values())
