"""A run that was stopped, from its last checkpoint to its end: what `askew train --resume` does."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from askew import distributed
from askew.config import DataSettings, Recipe, TrainSettings
from askew.data.files import home_path
from askew.data.sources import EMBEDDED
from askew.data.sources.base import HOW_FETCHED
from askew.data.sources.recognise import FUNCTION, exists, expand_braces, is_remote, parts_of
from askew.errors import UserError, printable
from askew.recipes.settings import leaves
from askew.report.console import Console
from askew.runs.directory import RECIPE, RunDirectory
from askew.runs.during import During
from askew.runs.export import pretrained_run
from askew.runs.tracking import Tracking, refuse_missing_packages
from askew.runs.train import (
    announce,
    evaluate_before,
    finish,
    launchers_of_group,
    record_facts,
    reporter_of,
    starting_weights,
)
from askew.training.agreement import refuse_disagreement
from askew.training.build import build
from askew.training.checkpoint import Checkpoint
from askew.training.loop import Trainer
from askew.training.schedule import Schedule
from askew.training.towers import resolve

RESUMABLE = (  # what may differ from the recorded recipe on --resume
    "loader.num_workers",
    "loader.cache_mb",
    "loader.stall_minutes",
    "loader.micro_batch_size",
    *(f"data.{name}" for name in HOW_FETCHED),
    "train.loss_chunk_size",
    "train.parallel",
    "train.activation_checkpointing",
    "train.log_every",
    "train.track",
    "train.checkpoint_steps",
    "train.checkpoint_minutes",
    "train.keep_checkpoints",
    "train.checkpoint_async",
    "train.device",
    "views.word_counts",  # where the table lies; its sha256 must be the same
    "evaluation.report",
    "evaluation.held_out",
    "evaluation.held_out_split",
    "evaluation.held_out_every",
    "evaluation.held_out_batches",
    "evaluation.held_out_retrieval",
    "evaluation.during",
    "evaluation.during_every",
    "evaluation.best",
)
TABLE_OF_WORDS = ("word_counts", "word_counts_sha256")  # of `views`; a recipe that names none means the recorded one
MOVABLE = ("data.source", "data.image_root")  # may differ where the data in the new place are the same


def resume(recipe: Recipe | None, out: Path | None, console: Console, extend_to: float | None = None) -> RunDirectory:
    """Train a stopped run to its end; it ends exactly as if it had never been stopped.

    Args:
        extend_to: train a finished run on, to so many epochs in all.
        recipe: None takes the recorded one. Another may differ from it only in the keys of RESUMABLE, and in those of
            MOVABLE if the data are the same.
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
    refuse_missing_data(recipe.data.source, directory)
    refuse_missing_packages(recipe.train.track)
    found = directory.latest_checkpoint(console.warn if distributed.is_main() else lambda text: None)
    _refuse_without_checkpoints(directory, recipe, found)
    moved = recipe.data != directory.read_recipe().data
    if moved and found is None:
        raise UserError(
            f"{directory.path} has no checkpoint that knows its data, so nothing shows that those of --data are the "
            "same; start a new run"
        )
    built = build(recipe, console.say, pretrained=found is None)
    step = found.step if found is not None else 0
    refuse_disagreement(lambda: {"the step of the newest checkpoint": step})
    if extend_to is not None:
        built = replace(built, recipe=extended(built.recipe, built.loader.steps_per_epoch, step, extend_to))
    tracking = Tracking(recipe.train.track, directory, console)
    trainer = Trainer(built, directory, reporter_of(console), (tracking,), During.of(recipe, directory, console))
    if found is not None:
        trainer.load(found)
    _refuse_finished(trainer, directory, recipe)

    starting, launchers = starting_weights(trainer), launchers_of_group()

    def prepare() -> None:
        directory.note_launchers(launchers)
        stages = trainer.recipe.train.extended
        if moved or extend_to is not None:
            rewrite_recipe(directory, recipe.data, trainer.recipe.train if extend_to is not None else None)
        if stages and trainer.done <= stages[-1]:
            directory.set_aside(stages[-1])
        if moved:  # and the same, or loading would have refused them
            console.say(f"data     in a new place, and the same: {RECIPE} now names it")
        directory.metrics.discard_after(trainer.done)
        if extend_to is not None or not directory.facts.exists():
            record_facts(trainer, directory)
        announce(trainer, directory, console)
        evaluate_before(trainer, starting, directory, console)
        tracking.open(trainer)

    distributed.on_main(prepare)
    return finish(trainer, directory, console, tracking)


def _refuse_finished(trainer: Trainer, directory: RunDirectory, recipe: Recipe) -> None:
    """Raises UserError for a run that has nothing left to do."""
    if trainer.done == trainer.total and directory.is_complete(recipe):
        raise UserError(
            f"{directory.path} is finished ({trainer.total} steps); start a new run, or evaluate it: "
            f"askew eval {directory.path}; or train it on by --extend-to EPOCHS"
        )


def _refuse_without_checkpoints(directory: RunDirectory, recipe: Recipe, found: Checkpoint | None) -> None:
    """Raises UserError for a finished run whose checkpoints are gone: it would be trained again from the start."""
    if found is None and directory.is_complete(recipe):
        raise UserError(
            f"{directory.path} is finished, and its checkpoints were removed (askew study --keep), so it cannot be "
            "trained on; start a new run"
        )


def rewrite_recipe(directory: RunDirectory, data: DataSettings, extension: TrainSettings | None) -> None:
    """Record where the data are now, and what an extension changes in the plan."""
    recorded = directory.read_recipe()
    train = recorded.train
    if extension is not None:
        train = train.model_copy(update={"epochs": extension.epochs, "extended": extension.extended})
    directory.write_recipe(recorded.model_copy(update={"data": data, "train": train}))


def extended(recipe: Recipe, steps_per_epoch: int, done: int, epochs: float) -> Recipe:
    """The recipe of a finished run, planned on to so many epochs; unchanged if that is its plan and steps are left.

    Raises:
        UserError: steps of the present plan are left, there would be no more steps, or the plan is not one of epochs.
    """
    train, option = recipe.train, f"--extend-to {epochs:g}"
    for limit, value in (("max_steps", train.max_steps), ("minutes", train.minutes)):
        if value:
            raise UserError(
                f"{option} counts epochs, and train.{limit}={value:g} limits this run; start a new run from its "
                "weights instead: --set towers.pretrained=RUN"
            )
    total = Schedule.of(train, steps_per_epoch).total
    if done < total and train.extended and epochs == train.epochs:
        return recipe
    if done < total:
        raise UserError(f"{option}: the run has taken {done} of its {total} steps; resume it to its end first")
    if not math.isfinite(epochs) or round(epochs * steps_per_epoch) <= total:
        raise UserError(
            f"{option} is no more than the {train.epochs:g} epochs ({total} steps) that the run has done; name more"
        )
    update = {"epochs": epochs, "extended": (*train.extended, total)}
    return recipe.model_copy(update={"train": train.model_copy(update=update)})


def compatible(asked: Recipe | None, directory: RunDirectory) -> Recipe:
    """The recipe to resume with: the recorded one, with what may change taken from the one that was asked for.

    Raises:
        UserError: the two differ in anything else; the message lists the keys.
    """
    recorded = directory.read_recipe()
    if asked is None:
        return recorded
    movable = MOVABLE if asked.data.source else ()  # a named recipe may say nothing about data
    changed = {key: values for key, values in changes(asked, recorded).items() if key not in movable}
    if changed:
        listed = ", ".join(f"{key} ({old} -> {new})" for key, (old, new) in changed.items())
        raise UserError(
            f"--resume: the recipe differs from {directory.path / RECIPE}: {listed}; "
            f"start a new run for that; a resumed run may change only {', '.join(RESUMABLE)}, and where the same data "
            "lie (--data)"
        )
    return _settled_as(recorded, asked)


def refuse_missing_data(source: str | list[str], directory: RunDirectory) -> None:
    """Say how to resume where the recorded data are not found: they moved, or the command runs in another folder.

    Raises:
        UserError: files of the source do not exist.
    """
    for text, _ in parts_of(source) if source else ():
        if text != EMBEDDED and not FUNCTION.fullmatch(text) and not is_there(text):
            here = "" if home_path(text).is_absolute() else ", seen from the folder that this command runs in"
            raise UserError(
                f"data: {printable(text, 400)} is not there{here}; if the data have moved, name their new place: "
                f"askew train --resume --out {directory.path} --data SOURCE"
            )


def is_there(text: str) -> bool:
    """Whether anything exists that a path with braces and wildcards names. Stores are asked when it is opened."""
    if is_remote(text):
        return True
    paths = [home_path(text), *(home_path(part) for part in expand_braces(text))]
    return any(exists(path) or (exists(path.parent) and any(path.parent.glob(path.name or "*"))) for path in paths)


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
    if recorded.train.extended and not asked.train.extended:
        settled |= {"epochs": recorded.train.epochs, "extended": recorded.train.extended}
    train = asked.train.model_copy(update=settled)
    table = {key: getattr(asked.views, key) or getattr(recorded.views, key) for key in TABLE_OF_WORDS}
    views = asked.views.model_copy(update=table)
    towers = asked.towers
    if towers != recorded.towers:  # otherwise, the weights may be gone
        towers = resolve(pretrained_run(towers, asked.train.device, lambda text: None))
    return asked.model_copy(update={"towers": towers, "name": recorded.name, "train": train, "views": views})
