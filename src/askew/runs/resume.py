"""A run that was stopped, from its last checkpoint to its end: what `askew train --resume` does."""

from pathlib import Path
from typing import Any

from askew import distributed
from askew.config import Recipe
from askew.errors import UserError
from askew.recipes.settings import leaves
from askew.report.console import Console
from askew.runs.directory import RECIPE, RunDirectory
from askew.runs.train import announce, evaluate_before, finish, reporter_of
from askew.training.build import build
from askew.training.loop import Trainer
from askew.training.towers import resolve

RESUMABLE = (  # what may differ from the recorded recipe on --resume
    "loader.num_workers",
    "loader.cache_mb",
    "loader.stall_minutes",
    "train.log_every",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "train.keep_checkpoints",
    "train.device",
)


def resume(recipe: Recipe | None, out: Path | None, console: Console) -> RunDirectory:
    """Train a stopped run to its end; it ends exactly as if it had never been stopped.

    Args:
        recipe: None takes the recorded one. Another may differ from it only in the keys of RESUMABLE.
        out: the run's directory; None takes the newest run of the recipe.

    Raises:
        UserError: no such run, a finished one, or a recipe or data that differ.
        RunFailed, Interrupted: see the command line's exit codes.
    """
    if out is not None:
        directory = RunDirectory.open(out)
    else:
        assert recipe is not None, "a recipe, or the directory of a run"
        directory = RunDirectory.newest(recipe.name)
    recipe = compatible(recipe, directory)
    found = directory.latest_checkpoint(console.warn if distributed.is_main() else lambda text: None)
    built = build(recipe, console.say, pretrained=found is None)
    trainer = Trainer(built, directory, reporter_of(console))
    if found is not None:
        trainer.load(found)
    if trainer.done == trainer.total and directory.is_complete(recipe):
        raise UserError(
            f"{directory.path} is finished ({trainer.total} steps); start a new run, or evaluate it: "
            f"askew eval {directory.path}"
        )

    def prepare() -> None:
        directory.discard_metrics_after(trainer.done)
        announce(trainer, directory, console)
        evaluate_before(trainer, directory, console)

    distributed.on_main(prepare)
    return finish(trainer, directory, console)


def compatible(asked: Recipe | None, directory: RunDirectory) -> Recipe:
    """The recipe to resume with: the recorded one, with what may change taken from the one that was asked for.

    Raises:
        UserError: the two differ in anything else; the message lists the keys.
    """
    recorded = directory.read_recipe()
    if asked is None:
        return recorded
    changed = changes(asked, recorded)
    if changed:
        listed = ", ".join(f"{key} ({old} -> {new})" for key, (old, new) in changed.items())
        raise UserError(
            f"--resume: the recipe differs from {directory.path / RECIPE}: {listed}; "
            f"start a new run for that; a resumed run may change only {', '.join(RESUMABLE)}"
        )
    return _settled_as(recorded, asked)


def changes(asked: Recipe, recorded: Recipe) -> dict[str, tuple[Any, Any]]:
    """Keys in which a recipe differs from a recorded one, with both values; those of RESUMABLE are left out."""
    asked = _settled_as(recorded, asked)
    old, new = leaves(recorded.model_dump(mode="json")), leaves(asked.model_dump(mode="json"))
    differing = [key for key in old | new if old.get(key) != new.get(key) and key not in RESUMABLE]
    return {key: (old.get(key), new.get(key)) for key in differing}


def _settled_as(recorded: Recipe, asked: Recipe) -> Recipe:
    """What is asked for, with explicit towers and with what the recorded run's machine decided at its start."""
    settled: dict[str, Any] = {}
    if asked.train.precision == "auto":
        settled["precision"] = recorded.train.precision
    cap = asked.train.max_steps or recorded.train.max_steps
    if asked.train.minutes == recorded.train.minutes > 0 and cap >= recorded.train.max_steps:
        settled |= {"max_steps": recorded.train.max_steps, "settled": recorded.train.settled}
    train = asked.train.model_copy(update=settled)
    towers = asked.towers if asked.towers == recorded.towers else resolve(asked.towers)  # the weights may be gone
    return asked.model_copy(update={"towers": towers, "name": recorded.name, "train": train})
