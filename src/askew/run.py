"""A whole run: directory, training, model, evaluation. What the command line calls."""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

from askew import checkpoint, distributed
from askew.assess import RECIPE, RESULTS, RESULTS_BEFORE, evaluate_tiny
from askew.build import build_views, resolve
from askew.config import RESUMABLE, Recipe, from_yaml, leaves, override, to_yaml
from askew.console import Console
from askew.data.check import check
from askew.data.sources import EMBEDDED, open_source
from askew.errors import RunFailed, UserError, writing
from askew.export import save_models
from askew.methods.mcd import MCD
from askew.train import DISCARDED, METRICS, Reporter, Trainer


def new_folder(recipe: Recipe, parent: Path) -> Path:
    """`parent/NAME-NNN`, the first number never used; made here so that two runs at once cannot share it."""
    parent.mkdir(parents=True, exist_ok=True)
    number = 1 + max((int(p.name.rsplit("-", 1)[1]) for p in runs_of(recipe.name, parent)), default=0)
    while True:
        folder = parent / f"{recipe.name}-{number:03d}"
        try:
            folder.mkdir()
            return folder
        except FileExistsError:
            number += 1


def runs_of(name: str, parent: Path) -> list[Path]:
    """Run directories of a recipe's name under `parent`, oldest first."""
    found = [p for p in parent.glob(f"{name}-*") if p.is_dir() and p.name[len(name) + 1 :].isdigit()]
    return sorted(found, key=lambda p: int(p.name.rsplit("-", 1)[1]))


def train(recipe: Recipe | None, out: Path | None, resume: bool, console: Console) -> Path:
    """Train, save the model, evaluate; returns the run directory.

    Args:
        recipe: None with `resume`: the run's own recipe.
        out: None: a new `runs/NAME-NNN`; with `resume`, the newest of them.

    Raises:
        UserError, RunFailed, Interrupted: see the command line's exit codes.
    """
    if resume:
        folder = out or newest(recipe)
        recipe = _same_recipe(recipe, folder)
    else:
        assert recipe is not None, "a new run needs a recipe"
        recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
        folder = out
    warn = console.warn if distributed.is_main() else lambda text: None
    found = checkpoint.latest(folder / "checkpoints", warn) if resume and folder is not None else None
    reporter = Reporter(console.say, console.progress)
    trainer = Trainer(recipe, None, reporter, pretrained=found is None)  # fails early, before a folder is made
    main = distributed.rank() == 0
    if not resume:
        trainer.fit_into_minutes()
        started = trainer.recipe
        folder = _shared(lambda: _claim(started, folder))
    assert folder is not None
    trainer.folder, recipe = folder, trainer.recipe
    if main and not resume:
        with writing("the recipe", folder):
            replace(folder / RECIPE, to_yaml(recipe))
    if resume:
        if found is not None:
            trainer.resume(found)
        if main:
            _discard_after(folder, trainer.done)
        if trainer.done == trainer.total and is_finished(recipe, folder):
            raise UserError(
                f"{folder} is finished ({trainer.total} steps); start a new run, or evaluate it: askew eval {folder}"
            )
    if main:
        console.run_starts(recipe, trainer, folder)
        _say_cut(trainer, console)
    suite = recipe.evaluation
    if main and suite.before and suite.suite != "none" and trainer.done == 0:
        _evaluate_start(trainer, folder, console)
    distributed.barrier()
    try:
        trainer.run()
    except RunFailed:
        if main and trainer.done == 0:
            _take_back(folder)
        raise
    if main:
        with writing("the model", folder):
            save_models(trainer.method, recipe.towers, folder)
        if _tested_on_its_data(recipe):
            evaluate(str(folder), suite.suite, "student", console, batch_size=suite.batch_size)
        elif suite.suite != "none":
            console.say(
                "results  none: the suite `tiny` ends a training on askew's own drawings alone; "
                f"askew eval {folder} runs it all the same"
            )
        console.run_ends(folder)
    distributed.barrier()
    return folder


def is_finished(recipe: Recipe, folder: Path) -> bool:
    """Whether a run has written the last thing that it writes."""
    return (folder / (RESULTS if _tested_on_its_data(recipe) else "model")).exists()


def _tested_on_its_data(recipe: Recipe) -> bool:
    """Whether training ends with the suite: a model trained on other data is not tested, unless it was before."""
    suite = recipe.evaluation
    return suite.suite != "none" and (suite.before or recipe.data.source == EMBEDDED)


def _evaluate_start(trainer: Trainer, folder: Path, console: Console) -> None:
    """The suite on the weights that training starts from, as open_clip loads them."""
    start, suite = folder / "start.tmp", trainer.recipe.evaluation
    start.mkdir(exist_ok=True)
    with writing("the starting model", start):
        save_models(trainer.method, trainer.recipe.towers, start)
    model, target = f"local-dir:{start / 'model'}", folder / RESULTS_BEFORE
    target.unlink(missing_ok=True)  # of a run that was stopped before its first checkpoint
    console.say("before   the weights that training starts from:")
    evaluate(model, suite.suite, "student", console, target, suite.batch_size)
    shutil.rmtree(start)


def newest(recipe: Recipe | None) -> Path:
    """The newest run directory of a recipe under `runs`."""
    runs = runs_of(recipe.name, Path("runs")) if recipe else []
    if not runs:
        raise UserError("--resume: no run to go on with under runs/; name one with --out DIR")
    return runs[-1]


def evaluate(
    name: str, suite: str, weights: str, console: Console, out: Path | None = None, batch_size: int = 256
) -> dict[str, dict[str, float]]:
    """Run the suite of a recipe on a model; see `askew.assess` for every other."""
    if suite != "tiny":
        raise UserError(f"--suite {suite!r} is not known; suites: tiny")
    return evaluate_tiny(name, weights, console, out, batch_size)


def recipe_file(folder: Path) -> Path:
    """The recorded recipe of a run directory."""
    if not (folder / RECIPE).is_file():
        raise UserError(f"--resume: {folder} is not a run directory (no {RECIPE})")
    return folder / RECIPE


def check_data(source: str, sets: list[str], ranks: int, limit: int, as_json: bool, console: Console) -> dict[str, Any]:
    """Look at a source as a run would and print what was found; `sets` change the views (MCD's at 224 px) and more."""
    recipe = override(Recipe(name="check", method=MCD.Config()), sets)
    recipe = recipe.model_copy(update={"towers": resolve(recipe.towers)})
    views = build_views(recipe, ("image", "aug", "text", "masked_text", "mlm_labels"))
    found = check(open_source(source, recipe.data.options), views, ranks, limit, progress=console.say)
    console.checked(found, as_json)
    return found


def _say_cut(trainer: Trainer, console: Console, seen: int = 200) -> None:
    """Tell if captions are too long for the text tower, going by the first ones."""
    source, tokens = trainer.loader.source, trainer.loader.views.tokens
    captions: list[str] = []
    for index in range(min(seen, len(source))):
        with suppress(OSError):  # a missing image is the loader's to tell
            captions += source[index].captions
    cut = sum(tokens.cuts(caption) for caption in captions)
    if cut:
        console.warn(
            f"{cut} of the first {len(captions)} captions are longer than the text tower's context of "
            f"{tokens.context_length} tokens and lose their ends; towers.text_cfg.context_length makes it longer"
        )


def _claim(recipe: Recipe, out: Path | None) -> Path:
    try:
        if out is None:
            return new_folder(recipe, Path("runs"))
        if out.exists() and (not out.is_dir() or any(p.suffix != ".tmp" for p in out.iterdir())):
            if (out / RECIPE).exists():
                raise UserError(f"--out {out} holds another run; choose a new folder, or go on by --resume --out {out}")
            raise UserError(f"--out {out} is {'not empty' if out.is_dir() else 'a file'}; choose a new folder")
        out.mkdir(parents=True, exist_ok=True)
        return out
    except OSError as error:
        raise UserError(f"the run directory cannot be made: {error}; choose a writable one with --out DIR") from error


def _take_back(folder: Path) -> None:
    """Remove the folder of a run that failed before its first step and holds nothing: the command can be repeated."""
    if [entry.name for entry in folder.iterdir()] == [RECIPE]:
        (folder / RECIPE).unlink()
        folder.rmdir()


def _shared(make: Any) -> Any:
    """What rank 0 makes, on every rank."""
    return distributed.everyone(make() if distributed.rank() == 0 else None)[0]


def _same_recipe(asked: Recipe | None, folder: Path) -> Recipe:
    """The recipe to go on with: the recorded one, with what may change taken from the one asked for."""
    recorded = from_yaml(recipe_file(folder))
    if asked is None:
        return recorded
    changed = changes(asked, recorded)
    if changed:
        listed = ", ".join(f"{key} ({old} -> {new})" for key, (old, new) in changed.items())
        raise UserError(
            f"--resume: the recipe differs from {folder / RECIPE}: {listed}; only {', '.join(RESUMABLE)} may"
        )
    return _settle(asked, recorded)


def _settle(asked: Recipe, recorded: Recipe) -> Recipe:
    """What is asked for, with what the start of the recorded run settled by its machine, and explicit towers."""
    settled = {}
    if asked.train.precision == "auto":
        settled["precision"] = recorded.train.precision
    if asked.train.minutes == recorded.train.minutes > 0 and asked.train.max_steps == 0:
        settled["max_steps"] = recorded.train.max_steps
    train = asked.train.model_copy(update=settled)
    towers = asked.towers if asked.towers == recorded.towers else resolve(asked.towers)  # weights may be gone by now
    return asked.model_copy(update={"towers": towers, "name": recorded.name, "train": train})


def changes(asked: Recipe, recorded: Recipe) -> dict[str, tuple[Any, Any]]:
    """Keys of a recipe that differ from a recorded one's, with both values; what may differ on --resume is left out."""
    asked = _settle(asked, recorded)
    old, new = leaves(recorded.model_dump(mode="json")), leaves(asked.model_dump(mode="json"))
    differing = [key for key in old | new if old.get(key) != new.get(key) and key not in RESUMABLE]
    return {key: (old.get(key), new.get(key)) for key in differing}


def _discard_after(folder: Path, step: int) -> None:
    """Move lines of the metrics past the checkpoint aside: the steps are taken again."""
    metrics = folder / METRICS
    if not metrics.exists():
        return
    kept, dropped = [], []
    text = metrics.read_text(encoding="utf-8")
    for line in text.splitlines():
        try:
            (kept if json.loads(line)["step"] <= step else dropped).append(line + "\n")
        except (json.JSONDecodeError, KeyError, TypeError):
            dropped.append(line + "\n")  # cut off by a crash
    if dropped:
        with (folder / DISCARDED).open("a", encoding="utf-8") as file:
            file.writelines(dropped)
    if "".join(kept) != text:
        replace(metrics, "".join(kept))


def replace(path: Path, text: str) -> None:
    """Write a file so that a crash leaves the old one or the new one, never half."""
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="utf-8")
    checkpoint.sync(temporary)
    os.replace(temporary, path)
