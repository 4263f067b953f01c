"""A run's directory: the one place that knows what a file inside a run is called.

recipe.yaml              the recipe, complete: it repeats the run
run.json                 what the run found at its start: data, device, versions, chance levels
launchers.txt            which torchrun may start its ranks again (--max-restarts)
metrics.jsonl            one line per logged step; metrics.discarded.jsonl: lines of steps that were taken again
checkpoints/step-N       what the run resumes from
model/, teacher/         open_clip directories
results.jsonl, outcomes/ one line per evaluation result, and which items were right
results.before.jsonl     results of the weights that training started from
best/, best.json         the best model by `evaluation.best`, and its step and value
report.html, report/     the report, and its figures as SVG
inspect/                 what `askew inspect` writes; see inspection.py
fault/step-N             a step that failed, for `askew replay`; see training/faults.py
tensorboard/, wandb/, trackio/   what the trackers of `train.track` keep here
exported/step-N          models of a checkpoint, made for fine-tuning from a run that is not finished
examples.json            what a report shows of the model with single images and texts
earlier/step-N           models and results of step N, at which a plan ended that was extended
study.json               what a study knows of the run: the evaluations that are done, its operations per sample
weights.removed          in place of the weights that `askew study --keep results` removed
"""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from askew.config import Recipe, TrackerName
from askew.data.files import replacing_directory, write_text
from askew.data.sources import EMBEDDED
from askew.errors import UserError
from askew.evaluation.results import RESULTS, ResultsFile
from askew.recipes.settings import from_yaml, to_yaml
from askew.runs.metrics_file import MetricsFile
from askew.runs.numbered import next_numbered, numbered
from askew.training import checkpoint

RUNS = Path("runs")  # where runs without --out go
RECIPE, METRICS, DISCARDED = "recipe.yaml", "metrics.jsonl", "metrics.discarded.jsonl"
FACTS, LAUNCHERS = "run.json", "launchers.txt"
REMOVED, BEST = "weights.removed", "best.json"
INSPECTION = "inspect"
WEIGHTS = {"student": "model", "teacher": "teacher"}
MODELS = {**WEIGHTS, "best": "best"}  # and the best student


@dataclass(frozen=True)
class RunDirectory:
    """The directory of one run; see the head of this module for what it holds."""

    path: Path

    # Making and finding

    @classmethod
    def create(cls, name: str, out: Path | None) -> "RunDirectory":
        """A new, empty directory: `out`, or the next `runs/NAME-NNN`.

        Raises:
            UserError: `out` holds something already, or the directory cannot be made.
        """
        try:
            return cls(next_numbered(name, RUNS)) if out is None else cls(_claimed(out))
        except OSError as error:
            raise UserError(
                f"the run directory cannot be made: {error}; choose a writable one with --out DIR"
            ) from error

    @classmethod
    def open(cls, path: Path) -> "RunDirectory":
        """The directory of a run that was started before.

        Raises:
            UserError: there is no run in it.
        """
        directory = cls(path)
        if not directory.exists:
            raise UserError(f"{path} is not a run directory (no {RECIPE})")
        return directory

    @classmethod
    def newest(cls, name: str) -> "RunDirectory":
        """The newest `runs/NAME-NNN`.

        Raises:
            UserError: there is none.
        """
        found = numbered(name, RUNS)
        if not found:
            raise UserError(f"there is no run of {name} under {RUNS}/; name one with --out DIR")
        return cls.open(found[-1])

    @property
    def exists(self) -> bool:
        """Whether a run was started here."""
        return (self.path / RECIPE).is_file()

    # The recipe

    @property
    def recipe_file(self) -> Path:
        """The recorded recipe, which `askew train` accepts."""
        return self.path / RECIPE

    def write_recipe(self, recipe: Recipe) -> None:
        """Record the recipe, in place of an earlier one."""
        write_text(self.path / RECIPE, to_yaml(recipe))

    def read_recipe(self) -> Recipe:
        """The recorded recipe."""
        return from_yaml(self.path / RECIPE)

    # What the run found at its start

    @property
    def facts(self) -> Path:
        """A JSON object; see runs/facts.py. Runs of earlier versions have none."""
        return self.path / FACTS

    def note_launchers(self, launchers: Sequence[str]) -> None:
        """Note who may start its ranks again, if anyone: see `ranks.launcher`."""
        if launchers:
            write_text(self.path / LAUNCHERS, "".join(f"{one}\n" for one in sorted(set(launchers))))

    def is_of(self, launcher: str) -> bool:
        """Whether a run was started here by this launcher."""
        file = self.path / LAUNCHERS
        return self.exists and file.is_file() and launcher in file.read_text(encoding="utf-8").splitlines()

    # Metrics

    def append_metrics(self, line: dict[str, Any]) -> None:
        """Add one logged step."""
        self.metrics.append(line)

    @property
    def metrics(self) -> MetricsFile:
        """Every logged step."""
        return MetricsFile(self.path / METRICS, self.path / DISCARDED)

    # Checkpoints, models, faults

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoints"

    def latest_checkpoint(self, warn: Callable[[str], None]) -> checkpoint.Checkpoint | None:
        """The newest checkpoint that is whole; damaged ones are named through `warn`."""
        return checkpoint.latest(self.checkpoints, warn)

    def model(self, weights: str = "student") -> Path:
        """The open_clip directory of the student, of the teacher, or of the best student (`evaluation.best`)."""
        return self.path / MODELS[weights]

    def exported(self, step: int) -> Path:
        """Where models are written that are made of a checkpoint."""
        return self.path / "exported" / f"step-{step:09d}"

    @property
    def evaluated_model(self) -> Path:
        """Where the present weights are kept while training evaluates them; made anew each time."""
        return self.path / "evaluated.tmp"

    def keep_best(self, model: Path, facts: dict[str, Any]) -> None:
        """Put a model in the place of the best one.

        Args:
            facts: `measure`, `value` and `step`.
        """
        with replacing_directory(self.model("best")) as temporary:
            shutil.copytree(model, temporary, dirs_exist_ok=True)
        write_text(self.path / BEST, json.dumps(facts))

    def read_best(self) -> dict[str, Any] | None:
        """What `keep_best` noted of the best model; None if there is none."""
        try:
            facts = json.loads((self.path / BEST).read_text("utf-8")) if self.model("best").is_dir() else None
        except (OSError, ValueError):
            return None
        return facts if isinstance(facts, dict) and {"measure", "value", "step"} <= facts.keys() else None

    @property
    def starting_model(self) -> Path:
        """Where the weights that training starts from are kept while they are evaluated."""
        return self.path / "start.tmp"

    def set_aside(self, step: int) -> None:
        """Move models and results of a run that ended at `step` and is extended, so that nothing takes them for new."""
        place = self.path / "earlier" / f"step-{step:09d}"
        for found in (*map(self.model, MODELS), self.results.path, *map(self.results.outcomes, MODELS)):
            if found.exists():
                place.mkdir(parents=True, exist_ok=True)
                shutil.move(found, place / found.name)

    def tracked(self, name: str) -> Path:
        """Where the files of a tracker are (`train.track`)."""
        return self.path / name

    @property
    def inspection(self) -> Path:
        """Where `askew inspect` writes unless it is given a folder."""
        return self.path / INSPECTION

    @property
    def wandb_id(self) -> Path:
        """The file that keeps the run's id at Weights & Biases."""
        return self.tracked("wandb") / "id.txt"

    @property
    def faults(self) -> Path:
        """The folder of steps that failed; see training/faults.py."""
        return self.path / "fault"

    # Results

    @property
    def results(self) -> ResultsFile:
        """Evaluation results, with the outcomes of their items beside them."""
        return ResultsFile(self.path / RESULTS)

    @property
    def results_before(self) -> ResultsFile:
        """Results of the weights that training started from."""
        return ResultsFile(self.path / "results.before.jsonl")

    # What a study does with it

    @property
    def study_notes(self) -> Path:
        """A JSON object; see runs/studies/notes.py."""
        return self.path / "study.json"

    @property
    def weights_removed(self) -> bool:
        """Whether the run was finished and its weights were removed on purpose."""
        return (self.path / REMOVED).is_file()

    def remove_checkpoints(self) -> None:
        """Remove what only a resumed or extended run would need."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def remove_weights(self) -> None:
        """Remove checkpoints and models of a finished run, for which it still counts."""
        write_text(self.path / REMOVED, "removed by askew study --keep results\n")
        for folder in (self.checkpoints, *map(self.model, MODELS), self.path / "exported"):
            shutil.rmtree(folder, ignore_errors=True)

    # The report

    @property
    def report(self) -> Path:
        """The page that shows the run."""
        return self.path / "report.html"

    @property
    def examples(self) -> Path:
        """What a report shows of the model with single images and texts."""
        return self.path / "examples.json"

    # Its end

    def is_complete(self, recipe: Recipe) -> bool:
        """Whether the run has written the last thing that it writes."""
        if self.weights_removed:
            return True
        if not ends_with_the_suite(recipe):
            return self.model().exists()
        protocols = [line.get("protocol") for line in self.results.read()]
        named = [str(protocol.get("weights", "")) for protocol in protocols if isinstance(protocol, dict)]
        only_of_checkpoints = bool(named) and all(" at step " in weights for weights in named)
        return self.results.path.exists() and not only_of_checkpoints

    def remove_if_unstarted(self) -> None:
        """Remove the directory of a run that failed before its first step, so that the command can be repeated."""
        trackers = [folder for folder in map(self.tracked, get_args(TrackerName)) if folder.exists()]
        names = {entry.name for entry in self.path.iterdir()}
        if names - {FACTS, LAUNCHERS} == {RECIPE, *(folder.name for folder in trackers)}:
            for folder in trackers:
                shutil.rmtree(folder)
            for file in (RECIPE, FACTS, LAUNCHERS):
                (self.path / file).unlink(missing_ok=True)
            self.path.rmdir()


def ends_with_the_suite(recipe: Recipe) -> bool:
    """Whether training ends with an evaluation: not on other data than the suite's, unless it was asked for before."""
    suite = recipe.evaluation
    return suite.suite != "none" and (suite.before or recipe.data.source == EMBEDDED)


def _claimed(out: Path) -> Path:
    if out.exists() and (not out.is_dir() or any(p.suffix != ".tmp" for p in out.iterdir())):
        if (out / RECIPE).exists():
            raise UserError(f"--out {out} holds another run; choose a new folder, or resume it: --resume --out {out}")
        raise UserError(f"--out {out} is {'not empty' if out.is_dir() else 'a file'}; choose a new folder")
    out.mkdir(parents=True, exist_ok=True)
    return out
