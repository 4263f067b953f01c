"""One run of a study: trained or resumed, evaluated, its operations counted, and what it no longer needs removed."""

from dataclasses import dataclass
from pathlib import Path

from askew.config import Recipe
from askew.errors import UserError
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.resume import changes, resume
from askew.runs.studies.evaluating import evaluate_run, missing_evaluations, weights_gone
from askew.runs.studies.notes import change_notes, read_notes
from askew.runs.studies.plan import PlannedRun, Study
from askew.runs.train import start
from askew.training.flops import flops_per_sample

KEEP = ("all", "models", "results")


@dataclass(frozen=True)
class StudyRuns:
    """A study and where its runs are.

    Attributes:
        folder: of all runs.
        keep: one of KEEP: what stays of a finished run.
    """

    study: Study
    folder: Path
    keep: str = "models"

    def directory(self, run: PlannedRun) -> RunDirectory:
        """Where a run is."""
        return RunDirectory(self.folder / run.folder)

    def is_done(self, run: PlannedRun, recipe: Recipe) -> bool:
        """Whether a run is trained, evaluated and counted.

        Raises:
            UserError: it was run with other settings, or its weights are gone and it lacks an evaluation.
        """
        directory = self.directory(run)
        if not directory.exists or not directory.is_complete(recipe):
            return False
        changed = changes(recipe, directory.read_recipe())
        if changed:
            raise UserError(
                f"{directory.path} was run with other settings than the study has now ({', '.join(changed)}); "
                "choose a new folder with --out DIR"
            )
        missing = missing_evaluations(directory, self.study)
        if missing and directory.weights_removed:
            raise UserError(weights_gone(directory, missing))
        return not missing and read_notes(directory).flops_per_sample > 0

    def carry_out(self, run: PlannedRun, console: Console) -> None:
        """Do what a run lacks.

        Raises:
            UserError, RunFailed, Interrupted: as `askew train` and `askew eval`.
        """
        recipe, directory = self.study.recipe(run), self.directory(run)
        if not self.is_done(run, recipe):
            if not directory.exists:
                directory.path.parent.mkdir(parents=True, exist_ok=True)
                start(recipe, directory.path, console)
            elif not directory.is_complete(recipe):
                resume(recipe, directory.path, console)
            evaluate_run(directory, self.study, console)
            self._count(run)
        if self.keep == "models":
            directory.remove_checkpoints()
        elif self.keep == "results" and not directory.weights_removed:
            directory.remove_weights()

    def _count(self, run: PlannedRun) -> None:
        """Note the operations per sample: another run's of the row, or counted on the data of the row's first seed."""
        if read_notes(self.directory(run)).flops_per_sample:
            return
        row = [other for other in self.study.runs() if other.row == run.row]
        known = [read_notes(self.directory(other)).flops_per_sample for other in row]
        recipe = self.directory(run).read_recipe()
        first = recipe.model_copy(update={"train": recipe.train.model_copy(update={"seed": row[0].seed})})
        found = next((number for number in known if number), 0.0) or flops_per_sample(first)
        change_notes(self.directory(run), flops_per_sample=found)
