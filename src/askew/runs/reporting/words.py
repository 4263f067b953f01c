"""What a report says of runs in words: where they stand, what was trained on what, and what is missing."""

import shlex
from collections.abc import Sequence

from askew.errors import printable
from askew.recipes.settings import leaves, to_yaml
from askew.report.console import clock
from askew.report.table import Table
from askew.runs.reporting.curves import COLLAPSE
from askew.runs.reporting.read import ReadRun
from askew.runs.reporting.scores import STUDENT

OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon, and AdamW for what it is not for", "cautious_adamw": "cautious AdamW"}


def headline(runs: Sequence[ReadRun]) -> str:
    """The title of the page."""
    if len(runs) > 1:
        return f"{len(runs)} runs side by side"
    return runs[0].directory.path.resolve().name


def subject(run: ReadRun) -> str:
    """What was trained on what, in a sentence."""
    if run.recipe is None:
        return ""
    source = run.recipe.data.source
    data = run.facts.data if run.facts else source if isinstance(source, str) else ", ".join(source)
    return f"{run.recipe.method.name}, trained on {data}."


def state(run: ReadRun) -> str:
    """Where a run stands, in a sentence or two."""
    of_total = f" of {run.total:,}" if run.total is not None else ""
    where = shlex.quote(str(run.directory.path))
    if run.is_complete:
        steps = f"{run.done:,}{of_total} steps" if run.lines else "its steps were not logged"
        return f"Finished: {steps}, {_time(run)}{_evaluated(run)}"
    if not run.lines:
        return f"No step was logged: the run has not begun, or was stopped early. askew train --resume --out {where}"
    if run.total is not None and run.done >= run.total:
        return (
            f"All {run.total:,} steps were taken ({_time(run)}), but the end is missing: its model or its evaluation "
            f"was removed, or it was stopped there. askew train --resume --out {where} makes them"
        )
    return (
        f"Not finished: the last logged step is {run.done:,}{of_total} ({_time(run)}), written {run.last_written}. "
        f"The run is still going, or was stopped; then askew train --resume --out {where} continues it"
    )


def _time(run: ReadRun) -> str:
    seconds = run.lines[-1].get("seconds") if run.lines else None
    return "duration not known" if seconds is None else f"{clock(seconds)} of training"


def _evaluated(run: ReadRun) -> str:
    return "." if run.results.get(STUDENT) else ". It was not evaluated."


def training_stats(run: ReadRun) -> list[tuple[str, str, str]]:
    """Numbers of a single run to see first, besides its results."""
    if not run.lines:
        return []
    last = run.lines[-1]
    found = []
    if "loss" in last:
        first = next(line["loss"] for line in run.lines if "loss" in line)
        found.append(("loss at the end", f"{last['loss']:.4g}", f"from {first:.4g}"))
    if last.get("seconds", 0) > 0 and "samples" in last:
        speed = last["samples"] / last["seconds"]
        found.append(("trained in", clock(last["seconds"]), f"{speed:,.0f} samples/s, {last['samples']:,.0f} in all"))
    return found


def facts(run: ReadRun) -> list[tuple[str, str]]:
    """What was trained on what: names and texts."""
    pairs = [("run", str(run.directory.path)), ("state", state(run))]
    pairs += [("alarm", printable(text, 1000)) for text in run.alarms]
    recipe, found = run.recipe, run.facts
    if recipe is not None:
        source = recipe.data.source
        pairs.append(("method", recipe.method.name))
        pairs.append(("data", found.data if found else source if isinstance(source, str) else ", ".join(source)))
    if found is not None:
        pairs += [("", note) for note in found.notes]
        pairs += [
            ("towers", found.towers),
            ("trained parameters", f"{found.trained_parameters:,}"),
            ("device", f"{found.device}, {found.cores} cores" + (f", {found.ranks} ranks" if found.ranks > 1 else "")),
        ]
    elif recipe is not None:
        pairs.append(("towers", recipe.towers.model or "given in full in the recipe"))
    if recipe is not None:
        train = recipe.train
        steps = f"{run.total:,} steps" if run.total is not None else f"{train.epochs:g} epochs"
        epochs = f", {run.total / run.steps_per_epoch:.1f} epochs" if run.total and run.steps_per_epoch else ""
        pairs += [
            ("plan", f"{steps} of {recipe.loader.batch_size:,} pairs{epochs}"),
            (
                "optimiser",
                f"{OPTIMIZERS[train.optimizer]}, learning rate {train.learning_rate:g}, "
                f"weight decay {train.weight_decay:g}",
            ),
            ("precision", train.precision),
            ("seed", str(train.seed)),
        ]
    if found is not None:
        pairs.append(("versions", ", ".join(f"{name} {version}" for name, version in found.versions.items())))
        pairs.append(("started", found.started))
    if run.lines and "skipped" in run.lines[-1]:
        pairs.append(("samples replaced", f"{run.lines[-1]['skipped']:,.0f}"))
    return pairs


def command(run: ReadRun) -> str:
    """The command that runs it again."""
    return f"askew train {shlex.quote(str(run.directory.recipe_file))} --out NEW-RUN"


def recipe_lines(run: ReadRun) -> list[str]:
    """The recipe, as YAML."""
    return to_yaml(run.recipe).splitlines() if run.recipe is not None else []


def differing_settings(runs: Sequence[ReadRun]) -> Table | None:
    """Settings in which the recipes differ; None where none does."""
    all_leaves = [leaves(run.recipe.model_dump(mode="json")) if run.recipe is not None else {} for run in runs]
    keys = dict.fromkeys(key for found in all_leaves for key in found)
    rows = []
    for key in keys:
        values = [printable(str(found[key])) if key in found else "" for found in all_leaves]
        if len(set(values)) > 1:
            rows.append([key, *values])
    columns = ["setting", *(run.label for run in runs)]
    return Table("Settings that differ", columns, rows, left=columns) if rows else None


def overview(runs: Sequence[ReadRun]) -> Table:
    """One row per run."""
    rows = []
    for run in runs:
        last = run.lines[-1] if run.lines else {}
        rows.append(
            [
                run.label,
                str(run.directory.path),
                run.recipe.method.name if run.recipe is not None else "not known",
                "finished" if run.is_complete else "not finished",
                f"{run.done:,}",
                f"{last['samples']:,.0f}" if "samples" in last else "",
                clock(last["seconds"]) if "seconds" in last else "",
                f"{last['loss']:.4g}" if "loss" in last else "",
            ]
        )
    columns = ["", "run", "method", "state", "steps", "samples", "time", "loss at the end"]
    return Table("", columns, rows, left=columns[:4])


def missing(run: ReadRun) -> list[str]:
    """What a report of this run cannot show, and how to get it."""
    where = shlex.quote(str(run.directory.path))
    found = []
    if run.problem:
        found.append(f"The recipe cannot be read, so settings and plan are missing: {run.problem}.")
    if run.facts is None:
        found.append(
            "Device, versions, number of parameters and the levels of chance: askew recorded none of them when this "
            "run started. A new run does."
        )
    if not run.lines:
        found.append("Curves: no step was logged.")
    elif not any(key in line for key in COLLAPSE for line in (run.lines[0], run.lines[-1])):
        found.append("Signs of collapse: this run did not log them. A new run does.")
    if not any(key.startswith("held_out/") for line in run.lines for key in line):
        found.append("The loss on pairs that are not trained on: name some with --set evaluation.held_out=SOURCE.")
    if not run.results:
        found.append(f"Results: the run was not evaluated. askew eval {where} does it; then repeat this report.")
    elif not any(one.intervals for scored in run.results.values() for one in scored):
        found.append(f"Intervals: the outcomes of single items are not there. askew eval {where} makes them.")
    if not run.directory.model().is_dir():
        found.append("The model: its folder is not there (never written, or removed).")
    found += [f"{count:,} {what} left out." for what, count in run.left_out.items()]
    return found
