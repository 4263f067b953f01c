"""What a model does with its run's data: computed once, and kept in the run's directory for reports."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from pydantic import TypeAdapter, ValidationError

from askew.config import Recipe
from askew.data.files import sha256_of, write_text
from askew.data.sources import EMBEDDED, open_source
from askew.devices import choose_device
from askew.errors import RunFailed, UserError, printable
from askew.evaluation.examples.gallery import misaligned
from askew.evaluation.examples.pool import ExamplePool, drawn_rows, pool, read, unseen_styles
from askew.evaluation.loading import load_encoders
from askew.evaluation.model import Encoders
from askew.report.console import Console
from askew.report.examples import Examples
from askew.runs import example_parts
from askew.runs.directory import RECIPE, WEIGHTS, RunDirectory
from askew.runs.export import export_checkpoint, weights_at
from askew.training.build import build_views
from askew.training.held_out import open_held_out

VERSION = 2  # of what is kept; another one is computed again
IMAGES, SAMPLES = 400, 200  # that are looked at
LARGE, FEWER = 30_000_000, 4  # on a CPU, a model whose image tower has more parameters looks at a quarter of them
BATCH = 64
OF_THE_POOL = ("retrieval", "names", "map")


def examples_of(directory: RunDirectory, console: Console) -> Examples | None:
    """The examples of a run: those that were kept, if its model is still the same, or new ones.

    A part that cannot be had is None, with a reason. What could not be read is not kept: it may be there the next time.
    None for a run without a model or a checkpoint.
    """
    key = _key(directory, console.warn)
    if key is None:
        return None
    kept = _kept(directory, key)
    if kept is not None:
        return kept
    made, whole = _make(directory, console)
    if whole:
        try:
            write_text(directory.examples, TypeAdapter(_Kept).dump_json(_Kept(key, made)).decode())
        except OSError as error:
            where = printable(str(directory.examples), 400)
            console.warn(f"the examples could not be kept in {where} ({error.strerror or error})")
    return made


@dataclass(frozen=True)
class _Kept:
    """The content of the file."""

    key: str
    examples: Examples


def _kept(directory: RunDirectory, key: str) -> Examples | None:
    """What was kept of this model; None if there is nothing, or it cannot be read."""
    try:
        found = TypeAdapter(_Kept).validate_json(directory.examples.read_bytes())
    except (OSError, ValidationError):
        return None
    return found.examples if found.key == key else None


def _key(directory: RunDirectory, warn: Callable[[str], None]) -> str | None:
    """A hash of what decides the examples: the weights of student and teacher, and the recipe."""
    folders = [directory.model(name) for name in WEIGHTS]
    files = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    if not files:
        found = directory.latest_checkpoint(warn)
        files = [] if found is None else sorted(found.path.glob("*.safetensors"))
    if not files:
        return None
    hashes = [sha256_of(path) for path in (directory.path / RECIPE, *files)]
    return hashlib.sha256("\n".join([str(VERSION), *hashes]).encode()).hexdigest()


def _make(directory: RunDirectory, console: Console) -> tuple[Examples, bool]:
    """The examples, and whether everything could be read."""
    device = choose_device("auto")
    try:
        recipe = directory.read_recipe()
        views = build_views(recipe, ("image", "aug"))  # first: it sets the limit of pixels
        student, teacher = _models(directory, device, console.warn)
    except (UserError, RunFailed) as error:
        return Examples("", "", False, missing=dict.fromkeys((*OF_THE_POOL, "gallery"), str(error))), False
    console.say("report   looking at what the model does with single images and texts")
    fewer = FEWER if device.type == "cpu" and _size(student) > LARGE else 1
    made = Examples(student.protocol["weights"], "", False)
    try:
        made, pool_whole = _with_pool(made, recipe, student, IMAGES // fewer), True
    except (UserError, RunFailed, OSError) as error:
        made, pool_whole = _without(made, OF_THE_POOL, _reason(error)), False
    try:
        source = open_source(recipe.data.source, recipe.data.options)
        samples = read(source, drawn_rows(source, SAMPLES // fewer))
        found = misaligned(samples, views, student, teacher)
        if found is None:
            raise UserError(f"none of {len(samples):,} samples can be used; the first: {samples[0]}")
        notes = _problems("the gallery", found.problems, len(samples))
        made = replace(made, gallery=example_parts.gallery(found), notes=made.notes + notes)
    except (UserError, RunFailed, OSError) as error:
        return _without(made, ("gallery",), _reason(error)), False
    return made, pool_whole


def _models(
    directory: RunDirectory, device: torch.device, warn: Callable[[str], None]
) -> tuple[Encoders, Encoders | None]:
    """Student, and teacher where there is one; of a run that is not finished, those of its newest whole checkpoint."""
    folder, called = directory.path, "student"
    with TemporaryDirectory() as temporary:
        if not directory.model().is_dir():
            folder, found = export_checkpoint(directory, lambda step: Path(temporary), warn)
            called = weights_at("student", found)
        loaded = [
            load_encoders(f"local-dir:{folder / name}", device, BATCH, weights=called)
            for name in WEIGHTS.values()
            if (folder / name).is_dir()
        ]
    return loaded[0], loaded[1] if len(loaded) > 1 else None


def _size(encoders: Encoders) -> int:
    """Parameters of the image tower."""
    return sum(parameter.numel() for parameter in encoders.model.visual.parameters())


def _with_pool(made: Examples, recipe: Recipe, student: Encoders, num: int) -> Examples:
    """Retrieval, names and map of the data that the run was not trained on, or of its own where there are none.

    Raises:
        UserError: the data cannot be opened, or no sample can be used.
    """
    trained_on = False
    if recipe.data.source == EMBEDDED:
        data = "drawings that come with askew, in a style that the model was not trained on"
        samples = [*unseen_styles(num)]
    else:
        trained_on = not recipe.evaluation.held_out
        source = open_source(recipe.data.source, recipe.data.options) if trained_on else open_held_out(recipe)
        data = ("images that the model was trained on: " if trained_on else "held-out data: ") + source.describe
        samples = read(source, drawn_rows(source, num))
    found = pool(samples, student)
    if found is None:
        raise UserError(f"none of {len(samples):,} samples can be used; the first: {samples[0]}")
    _check(found)
    shelf = example_parts.Shelf(found)
    drawn = replace(
        made,
        data=printable(data, 400),
        trained_on=trained_on,
        notes=_problems("retrieval, names and map", found.problems, len(samples)),
        retrieval=example_parts.retrieval(shelf),
        names=example_parts.names(shelf),
        map=example_parts.joint_map(shelf),
    )
    missing = {}
    if drawn.retrieval is None:
        missing["retrieval"] = "there is one image and one text: nothing to choose from"
    if drawn.names is None:
        missing["names"] = "every text belongs to every image: none is wrong"
    return replace(drawn, pictures=shelf.pictures, texts=shelf.texts, missing=missing)


def _check(found: ExamplePool) -> None:
    if not (np.isfinite(found.image).all() and np.isfinite(found.text).all()):
        raise UserError("the model's embeddings are not finite; its weights are damaged")


def _without(made: Examples, names: tuple[str, ...], reason: str) -> Examples:
    return replace(made, missing={**made.missing, **dict.fromkeys(names, reason)})


def _reason(error: Exception) -> str:
    return printable(f"the data cannot be read: {error}", 600)


def _problems(what: str, problems: tuple[str, ...], num: int) -> tuple[str, ...]:
    if not problems:
        return ()
    return (f"{len(problems):,} of {num:,} samples for {what} could not be used; the first: {problems[0]}",)
