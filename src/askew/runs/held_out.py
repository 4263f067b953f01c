"""Retrieval on the pairs that a run does not train on, at its end."""

from askew.config import Recipe
from askew.evaluation.datasets.custom import captioned
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import evaluate_opened
from askew.runs.request import Request


def evaluate_held_out(directory: RunDirectory, recipe: Recipe, console: Console) -> None:
    """What `askew eval RUN --data SOURCE` measures on the pairs of `evaluation.held_out`, printed and kept in the run.

    Raises:
        UserError: a pair cannot be read.
    """
    settings, data = recipe.evaluation, recipe.data
    name = settings.held_out if isinstance(settings.held_out, str) else " + ".join(settings.held_out)
    options = data.model_copy(update={"split": settings.held_out_split or data.split}).options
    asked = Request(str(directory.path), data=name, batch_size=settings.batch_size)
    evaluate_opened(asked, captioned(name, options), console)
