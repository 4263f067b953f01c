"""A whole run: directory, training, model, evaluation. What the command line calls."""

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from askew import __version__, checkpoint, distributed
from askew.build import build_views, resolve
from askew.config import RESUMABLE, Recipe, Towers, from_yaml, leaves, override, to_yaml
from askew.console import Console
from askew.data.check import check
from askew.data.sources import EMBEDDED, open_source
from askew.devices import choose_device
from askew.errors import UserError, writing
from askew.evaluation.model import load_encoders
from askew.evaluation.tiny import data_protocol, tiny
from askew.export import save_models
from askew.methods.mcd import MCD
from askew.train import DISCARDED, METRICS, Reporter, Trainer

RECIPE, RESULTS, RESULTS_BEFORE = "recipe.yaml", "results.jsonl", "results.before.jsonl"


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
        folder = _shared(lambda: _claim(recipe, folder))
    assert folder is not None
    trainer.folder = folder
    if main and not resume:
        with writing("the recipe", folder):
            replace(folder / RECIPE, to_yaml(recipe))
    if resume:
        if found is not None:
            trainer.resume(found)
        if main:
            _discard_after(folder, trainer.done)
        last = folder / (RESULTS if _tested_on_its_data(recipe) else "model")
        if trainer.done == trainer.total and last.exists():
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
    trainer.run()
    if main:
        with writing("the model", folder):
            save_models(trainer.method, recipe.towers, folder)
        if _tested_on_its_data(recipe):
            evaluate(str(folder), suite.suite, "student", console, batch_size=suite.batch_size)
        elif suite.suite != "none":
            console.say(
                "results  none: the suite `tiny` tests on askew's own drawings, which this model was not trained for; "
                f"askew eval {folder} runs it all the same"
            )
        console.run_ends(folder)
    distributed.barrier()
    return folder


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
        with writing("the results", target):
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("a", encoding="utf-8") as file:
                for task, values in results.items():
                    file.write(json.dumps({"task": task, "values": values, "protocol": protocol}) + "\n")
    before = folder / RESULTS_BEFORE
    earlier = {}
    if weights == "student" and before.is_file():
        earlier = {line["task"]: line["values"] for line in map(json.loads, before.read_text().splitlines())}
    console.results(results, weights, time.monotonic() - started, target, earlier)
    return results


def recipe_file(folder: Path) -> Path:
    """The recorded recipe of a run directory."""
    if not (folder / RECIPE).is_file():
        raise UserError(f"--resume: {folder} is not a run directory (no {RECIPE})")
    return folder / RECIPE


def check_data(source: str, sets: list[str], ranks: int, limit: int, as_json: bool, console: Console) -> dict[str, Any]:
    """Look at a source as a run would and print what was found; `sets` change the views (MCD's at 224 px) and more."""
    towers = Towers(vision_cfg={"image_size": 224}, text_cfg={"context_length": 77})
    recipe = override(Recipe(name="check", method=MCD.Config(), towers=towers), sets)
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
