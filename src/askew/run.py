"""A whole run: directory, training, model, evaluation. What the command line calls."""

import json
import os
import time
from pathlib import Path
from typing import Any

from askew import __version__, checkpoint, distributed
from askew.build import resolve
from askew.config import RESUMABLE, Recipe, from_yaml, leaves, to_yaml
from askew.console import Console
from askew.data.sources import EMBEDDED
from askew.errors import UserError
from askew.evaluation.model import load_encoders
from askew.evaluation.tiny import data_protocol, tiny
from askew.export import save_models
from askew.train import DISCARDED, METRICS, Reporter, Trainer, choose_device

RECIPE, RESULTS = "recipe.yaml", "results.jsonl"


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
    trainer = Trainer(recipe, None, Reporter(console.say, console.progress))  # fails early, before a folder is made
    main = distributed.rank() == 0
    if not resume:
        folder = _shared(lambda: _claim(recipe, folder))
    assert folder is not None
    trainer.folder = folder
    if main and not resume:
        (folder / RECIPE).write_text(to_yaml(recipe), encoding="utf-8")
    if resume:
        found = checkpoint.latest(folder / "checkpoints", console.warn if main else lambda text: None)
        if found is not None:
            trainer.resume(found)
        if main:
            _discard_after(folder, trainer.done)
        if trainer.done == trainer.total and (folder / RESULTS).exists():
            raise UserError(
                f"{folder} is finished ({trainer.total} steps); start a new run, or evaluate it: askew eval {folder}"
            )
    if main:
        console.run_starts(recipe, trainer, folder)
    trainer.run()
    if main:
        save_models(trainer.method, recipe.towers, folder)
        if recipe.evaluation.suite == "tiny" and recipe.data.source != EMBEDDED:
            console.say(
                "results  none: the suite `tiny` tests on askew's own drawings, which this model was not trained for; "
                f"askew eval {folder} runs it all the same"
            )
        elif recipe.evaluation.suite != "none":
            evaluate(str(folder), recipe.evaluation.suite, "student", console, batch_size=recipe.evaluation.batch_size)
        console.run_ends(folder)
    distributed.barrier()
    return folder


def newest(recipe: Recipe | None) -> Path:
    """The newest run directory of a recipe under `runs`."""
    runs = runs_of(recipe.name, Path("runs")) if recipe else []
    if not runs:
        raise UserError("--resume: no run to go on with under runs/; name one with --out DIR")
    return runs[-1]


def evaluate(
    name: str, suite: str, weights: str, console: Console, out: Path | None = None, batch_size: int = 256
) -> dict[str, dict[str, float]]:
    """Run a suite on a model, print its table, and append one line a task to `results.jsonl` (of a run, or `out`)."""
    if suite != "tiny":
        raise UserError(f"--suite {suite!r} is not known; suites: tiny")
    device = choose_device("auto")
    started = time.monotonic()
    encoders = load_encoders(name, device, weights, batch_size)
    results = tiny(encoders)
    protocol = {**encoders.protocol, **data_protocol(), "askew": __version__}
    folder = Path(name)
    target = out or (folder / RESULTS if (folder / RECIPE).is_file() else None)
    if target is not None:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            for task, values in results.items():
                file.write(json.dumps({"task": task, "values": values, "protocol": protocol}) + "\n")
    console.results(results, weights, time.monotonic() - started, target)
    return results


def recipe_file(folder: Path) -> Path:
    """The recorded recipe of a run directory."""
    if not (folder / RECIPE).is_file():
        raise UserError(f"--resume: {folder} is not a run directory (no {RECIPE})")
    return folder / RECIPE


def _claim(recipe: Recipe, out: Path | None) -> Path:
    try:
        if out is None:
            return new_folder(recipe, Path("runs"))
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            what = "holds another run" if (out / RECIPE).exists() else "is not empty"
            raise UserError(f"--out {out} {what}; choose a new folder, or go on with that run by --resume --out {out}")
        out.mkdir(parents=True, exist_ok=True)
        return out
    except OSError as error:
        raise UserError(f"the run directory cannot be made: {error}; choose a writable one with --out DIR") from error


def _shared(make: Any) -> Any:
    """What rank 0 makes, on every rank."""
    return distributed.everyone(make() if distributed.rank() == 0 else None)[0]


def _same_recipe(asked: Recipe | None, folder: Path) -> Recipe:
    """The recipe to go on with: the recorded one, with what may change taken from the one asked for."""
    recorded = from_yaml(recipe_file(folder))
    if asked is None:
        return recorded
    asked = asked.model_copy(update={"towers": resolve(asked.towers), "name": recorded.name})
    old, new = leaves(recorded.model_dump(mode="json")), leaves(asked.model_dump(mode="json"))
    changed = [key for key in old | new if old.get(key) != new.get(key) and key not in RESUMABLE]
    if changed:
        listed = ", ".join(f"{key} ({old.get(key)} -> {new.get(key)})" for key in changed)
        raise UserError(
            f"--resume: the recipe differs from {folder / RECIPE}: {listed}; only {', '.join(RESUMABLE)} may"
        )
    return asked


def _discard_after(folder: Path, step: int) -> None:
    """Move lines of the metrics past the checkpoint aside: the steps are taken again."""
    metrics = folder / METRICS
    if not metrics.exists():
        return
    kept, dropped = [], []
    for line in metrics.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            (kept if json.loads(line)["step"] <= step else dropped).append(line)
        except (json.JSONDecodeError, KeyError, TypeError):
            dropped.append(line)  # cut off by a crash
    if dropped:
        with (folder / DISCARDED).open("a", encoding="utf-8") as file:
            file.writelines(line if line.endswith("\n") else line + "\n" for line in dropped)
        temporary = metrics.with_suffix(".tmp")
        temporary.write_text("".join(kept), encoding="utf-8")
        os.replace(temporary, metrics)
