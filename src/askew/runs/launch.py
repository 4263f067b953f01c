"""A new run, or one that is resumed, from what a user typed: what `askew train` does."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from askew import ranks, recipes
from askew.config import Recipe
from askew.errors import UserError
from askew.recipes.settings import changed
from askew.report.console import Console
from askew.runs.directory import RUNS, RunDirectory
from askew.runs.numbered import numbered
from askew.runs.resume import resume as resume_run
from askew.runs.train import start

Settings = Sequence[tuple[str, Any]]


def launch(
    recipe: str | Recipe | None,
    default: str,
    settings: Settings,
    out: Path | None,
    console: Console,
    resume: bool = False,
    extend_to: float | None = None,
) -> RunDirectory:
    """Train a run to its end.

    Args:
        recipe: itself, its name, its file, or `module:function`. None: that of the run that is resumed in `out`, or
            else `default`.
        settings: dotted keys and their values, in place of the recipe's.
        out: its directory; None: a new one, or on resuming the newest of the recipe.
        extend_to: train a finished run on, to so many epochs in all.

    Raises:
        UserError, RunFailed, Interrupted: see the command line's exit codes.
    """
    if extend_to is not None and not resume:
        raise UserError("--extend-to trains a finished run on; name it: --resume --out RUN --extend-to EPOCHS")
    if resume and recipe is None and out is not None:
        recorded = RunDirectory.open(out).read_recipe()
        return resume_run(changed(recorded, settings) if settings else None, out, console, extend_to)
    found = recipe if isinstance(recipe, Recipe) else recipes.find(recipe or default)
    asked = changed(found, settings)
    if not resume and ranks.num_restarts() and (begun := _begun(asked, out)) is not None:
        if begun.is_complete(begun.read_recipe()):
            return begun
        console.say(f"restart  {ranks.num_restarts()}: {begun.path} continues from its last checkpoint")
        return resume_run(asked, begun.path, console, extend_to)
    return resume_run(asked, out, console, extend_to) if resume else start(asked, out, console)


def _begun(recipe: Recipe, out: Path | None) -> RunDirectory | None:
    """The run that these ranks began before their launcher started them again; None if they did not come so far."""
    found = map(RunDirectory, [out] if out is not None else reversed(numbered(recipe.name, RUNS)))
    return next((directory for directory in found if directory.is_of(ranks.launcher())), None)
