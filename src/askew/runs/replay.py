"""What `askew replay` does: take a step again that has ended a run, and say where its numbers are not finite."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch

from askew.config import Recipe
from askew.devices import choose_device, choose_precision
from askew.errors import RunFailed, UserError, printable
from askew.recipes.settings import changed, parsed
from askew.report.console import Console
from askew.report.table import Table
from askew.runs.directory import RunDirectory
from askew.training.faults import folder_of, numerics_of
from askew.training.replay import Fault, Found, Values, replayed

EFFECTIVE = ("train.precision", "train.loss_chunk_size", "loader.micro_batch_size")  # and all of the method


def replay(path: Path, settings: Sequence[str], device: str, console: Console) -> Found:
    """Take the step in `path` again and print what came of it.

    Args:
        path: a run, its folder of faults, or the folder of one step.
        settings: KEY=VALUE in place of the recipe's.

    Raises:
        UserError: no step was kept there, its files are damaged, or a setting has no effect on it.
        RunFailed: the step was not reproduced, and no setting was changed.
    """
    folder = folder_of(path, RunDirectory(path).faults)
    if folder is None:
        raise UserError(
            f"{printable(str(path), 400)} holds no step that failed; name a run that ended with a loss or gradient "
            "that is not finite"
        )
    fault = Fault.read(folder)
    chosen = choose_device(device, "--device")
    recipe = _with(fault.recipe, settings, chosen)
    facts, train = fault.facts[0], recipe.train
    ranks = f"{facts['ranks']} ranks" if facts["ranks"] > 1 else "1 process"
    console.say(f"fault    {folder}: step {facts['step']} of {recipe.name}, {ranks}, {facts['device']}")
    console.say(f"replay   {recipe.method.name}, {train.precision}, {chosen.type}, torch {torch.__version__}")
    found = replayed(fault, recipe, chosen)
    console.table(_table(fault.recorded, found.values))
    for text in places(found):
        console.print(text)
    is_reproduced, text = verdict(fault, found, settings, chosen)
    if not is_reproduced and not settings:
        raise RunFailed(text)
    console.print(f"verdict  {text}")
    return found


def _with(recipe: Recipe, settings: Sequence[str], device: torch.device) -> Recipe:
    """The recipe with other settings.

    Raises:
        UserError: one that has no effect on a step that begins with a kept batch and state.
    """
    pairs = [parsed(setting) for setting in settings]
    for key, _ in pairs:
        if key not in EFFECTIVE and not key.startswith("method."):
            raise UserError(
                f"--set {printable(key)}: the kept step does not depend on it, or cannot be taken without it; "
                f"use {', '.join(EFFECTIVE)}, or a setting of the method"
            )
    recipe = changed(recipe, pairs)
    train = recipe.train.model_copy(update={"precision": choose_precision(recipe.train.precision, device)})
    return recipe.model_copy(update={"train": train})


def _table(recorded: Values, values: Values) -> Table:
    names = [*recorded, *(name for name in values if name not in recorded)]
    rows = [[name, *(f"{one[name]:.9g}" if name in one else "" for one in (recorded, values))] for name in names]
    return Table("", ["", "in the run", "now"], rows, left=[""])


def places(found: Found) -> list[str]:
    """Where numbers are not finite, one line per kind of place."""
    weight, module, gradient = found.weight, found.module, found.gradient
    return [
        f"weights  {f'{weight} is not finite before the step' if weight else 'all are finite before the step'}",
        f"module   {f'the first output that is not finite: {module}' if module else 'every output is finite'}",
        f"gradient {f'the first that is not finite: {gradient}' if gradient else 'every gradient is finite'}",
    ]


def verdict(fault: Fault, found: Found, settings: Sequence[str], device: torch.device) -> tuple[bool, str]:
    """Whether the step is not finite again, and what that says."""
    recorded, values = fault.recorded, found.values
    wrong = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    if settings:
        return bool(wrong), f"with {', '.join(settings)}, {f'not finite: {wrong}' if wrong else 'all is finite'}"
    if not wrong:
        return False, f"{fault.path}: not reproduced: all is finite now{_why(fault, device)}"
    if recorded.keys() == values.keys() and all(_same(recorded[name], values[name]) for name in values):
        return True, "reproduced: every number is that of the run, bit for bit"
    return True, f"reproduced: not finite again: {wrong}; other numbers differ{_why(fault, device)}"


def _same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


def _why(fault: Fault, device: torch.device) -> str:
    """What is not as it was in the run."""
    facts, here = fault.facts[0], numerics_of(device)
    named = [f"{name} {facts.get(name)} -> {value}" for name, value in here.items() if facts.get(name) != value]
    named += ["several ranks -> one process"] if len(fault.facts) > 1 else []
    named += ["compiled -> not compiled"] if fault.recipe.train.compile else []
    return f" ({', '.join(named)})" if named else ""
