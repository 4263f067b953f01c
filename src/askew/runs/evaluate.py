"""What `askew eval` does: a model and data sets brought together, results written and printed."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from askew import distributed
from askew.data.files import home_path
from askew.data.images import PixelLimit
from askew.devices import choose_device
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned, EvaluationSet
from askew.evaluation.datasets.whole import require_whole
from askew.evaluation.features import Extractor
from askew.evaluation.model import Encoders, load_encoders
from askew.evaluation.results import Result, ResultsFile
from askew.evaluation.suite import KNOWN_TASKS, EvaluationOptions, image_sets, run_set, suits, unsuited
from askew.evaluation.tasks import tiny
from askew.report.console import Console
from askew.runs.custom_data import open_asked, overlap_of, preview
from askew.runs.directory import RunDirectory
from askew.runs.export import export_checkpoint, weights_at
from askew.runs.naming import CustomName
from askew.runs.progress import PassProgress
from askew.runs.tables import paper_tables, tiny_table

Openers = dict[str, Callable[[], EvaluationSet]]  # data sets by name, opened when their turn comes


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.
        suite: "tiny", a suite of the catalogue, or names of its data sets with commas.
        data_root: the folder that holds the catalogue's data sets.
        data: custom data instead of a suite; `prompts`, `class_names`, `against` and `sets` go with it.
        sets: KEY=VALUE settings of how `data` is read (`data.split=test`).
        out: where results are appended; None: the run's own file, or none.
        cache: folder of features.
        max_megapixels: an image with more cannot be used.
    """

    model: str
    suite: str = "tiny"
    weights: str = "student"
    out: Path | None = None
    batch_size: int = 256
    precision: str = "fp32"
    data_root: Path | None = None
    data: str = ""
    prompts: str = ""
    against: str = ""
    cache: Path | None = None
    class_names: str = ""
    sets: tuple[str, ...] = ()
    options: EvaluationOptions = field(default_factory=EvaluationOptions)
    max_megapixels: float = PixelLimit().megapixels


def default_cache() -> Path | None:
    """`askew/features` in the user's cache folder; None for a user without a home."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(base) if base else Path.home() / ".cache") / "askew" / "features"
    except RuntimeError:
        return None


def evaluate(asked: Request, console: Console) -> None:
    """Evaluate as asked, print the tables, keep results and outcomes.

    Raises:
        UserError: at once for a wrong request; at the end for data sets that could not be evaluated.
    """
    unknown = [task for task in asked.options.tasks if task not in KNOWN_TASKS]
    if unknown:
        raise UserError(f"--tasks {printable(','.join(unknown))} is not known; tasks: {', '.join(KNOWN_TASKS)}")
    PixelLimit(asked.max_megapixels, "--max-megapixels {}").apply()
    if not asked.data and "tiny" in asked.suite.split(","):
        _refuse_options_of_others(asked)
        if distributed.is_main():  # small enough for one process
            evaluate_tiny(asked.model, asked.weights, console, asked.out, asked.batch_size)
        return
    openers = _custom(asked) if asked.data else _catalogued(asked)
    device = choose_device("auto")
    distributed.start(device)
    try:
        _run(asked, openers, device, console)
    finally:
        distributed.stop()


def evaluate_opened(asked: Request, opened: Captioned, console: Console) -> None:
    """Evaluate one data set that is open already, in this process alone. UserError: it could not be evaluated."""
    with TemporaryDirectory() as cache:
        _run(replace(asked, cache=Path(cache)), {opened.name: lambda: opened}, choose_device("auto"), console, True)


def evaluate_tiny(
    name: str, weights: str, console: Console, out: Path | None = None, batch_size: int = 256
) -> dict[str, dict[str, float]]:
    """Run the suite `tiny` and print its table; keep the results in `out`, or in the run's directory."""
    started = time.monotonic()
    encoders = load_model(name, choose_device("auto"), weights, batch_size, warn=console.warn)
    weights = encoders.protocol["weights"]
    results = tiny.results(encoders)
    directory, target = _run_named(name), _target(name, out)
    if target is not None:
        target.append(results, encoders.protocol | tiny.data_protocol())
    before = {}
    if weights == "student" and directory.exists:
        before = {line["task"]: line["values"] for line in directory.results_before.read()}
    values = {result.task: result.values for result in results}
    console.table(tiny_table(values, weights, time.monotonic() - started, before))
    if target is not None:
        console.say(f"results  {target.path}")
    return values


def load_model(
    name: str,
    device: torch.device,
    weights: str = "student",
    batch_size: int = 256,
    precision: str = "fp32",
    warn: Callable[[str], None] = lambda text: None,
) -> Encoders:
    """The encoders of a run directory, or of what open_clip knows by that name.

    Of a run that is not finished, those of its newest whole checkpoint: `weights` in the protocol then names the step.

    Raises:
        UserError: there is no such model, or the run has no such weights.
    """
    directory = _run_named(name)
    with TemporaryDirectory() as temporary:
        loaded, called = name, weights
        if directory.exists and not name.startswith("local-dir:"):
            model = directory.model(weights)
            if not directory.model().is_dir() and weights != "best":
                folder, found = export_checkpoint(directory, lambda step: Path(temporary), warn)
                model, called = folder / model.name, weights_at(weights, found)
                warn(f"{printable(name)} has no model/ yet: these are the weights of its last checkpoint, {called}")
            if not model.is_dir():
                why = (
                    "it keeps one where evaluation.best names a measure" if weights == "best" else "its method has none"
                )
                raise UserError(f"{printable(name)}: the run has no {model.name}/ folder; {why}")
            loaded = f"local-dir:{model}"
        elif weights != "student":
            raise UserError(f"--weights {weights}: only a run directory has them; {printable(name)} is none")
        encoders = load_encoders(loaded, device, batch_size, precision, called)
    encoders.protocol["model"] = printable(name, 400)
    return encoders


def _run_named(name: str) -> RunDirectory:
    """The run directory of that name, which exists or not; `~` is the home directory."""
    return RunDirectory(home_path(name))


def _target(name: str, out: Path | None) -> ResultsFile | None:
    """Where results go: the named file, or that of the run; None where there is neither."""
    if out is not None:
        return ResultsFile(out)
    directory = _run_named(name)
    return directory.results if directory.exists else None


def _refuse_options_of_others(asked: Request) -> None:
    """The suite `tiny` is fixed, and options that it would ignore are errors."""
    options = {
        "--precision bf16": asked.precision != "fp32",
        "--prompts": asked.prompts,
        "--class-names": asked.class_names,
        "--set": asked.sets,
        "--against": asked.against,
        "--data-root": asked.data_root,
        "other names in --suite": asked.suite != "tiny",
    }
    ignored = [option for option, given in options.items() if given]
    if ignored:
        raise UserError(
            f"the suite tiny takes no {', no '.join(ignored)}; it runs alone, and other data sets need a second command"
        )


def _run(asked: Request, openers: Openers, device: torch.device, console: Console, alone: bool = False) -> None:
    """Every data set in turn. One that fails costs a line, and the others still run.

    Args:
        alone: other ranks, if there are any, take no part.
    """
    started = time.monotonic()
    encoders = load_model(asked.model, device, asked.weights, asked.batch_size, asked.precision, console.warn)
    progress = PassProgress(console)
    extractor = Extractor(encoders, asked.cache, tick=progress.tick, warn=console.warn)
    if extractor.cache is None:
        console.say("features are not kept: there is no cache folder; name one with --cache DIR")
    if distributed.world_size() > 1 and not alone:
        _share_out(openers, extractor, asked.options)
        if not distributed.is_main():
            return
    target = _target(asked.model, asked.out)
    protocol = encoders.protocol | {"suite": "custom" if asked.data else asked.suite}
    results: list[Result] = []
    failed, left_out = list[str](), list[str]()
    custom = CustomName(asked.data, target, console) if asked.data else None

    def keep(result: Result) -> None:
        result = result if custom is None else custom(name, result)
        results.append(result)
        if target is not None:
            target.append([result], protocol)

    for name, opener in openers.items():
        progress.name = name
        try:
            opened = opener()
            if not suits(opened, asked.options.tasks):
                left_out.append(unsuited(name, opened, asked.options.tasks))
                continue
            for line in preview(opened) if asked.data else []:
                console.say(line)
            for result in run_set(
                name, opened, encoders, extractor, asked.options, console.say, console.warn, progress.fits
            ):
                keep(result)
            if asked.against:
                keep(overlap_of(name, opened, asked.against, console))
        except UserError as error:
            failed.append(name)
            console.warn(f"not evaluated: {error}")
        finally:
            console.close()
    if results:
        for table in paper_tables(results, printable(asked.model, 40)):
            console.table(table)
        console.say(f"seconds  {time.monotonic() - started:.0f}, features of {extractor.reused:,} images reused")
        if target is not None:
            console.say(f"results  {target.path}, outcomes in {target.outcomes(protocol['weights'])}")
    _check_done(list(openers), failed, left_out)


def _check_done(asked: list[str], failed: list[str], left_out: list[str]) -> None:
    """Raises UserError for sets that failed, or if none of the tasks suits any set."""
    if left_out and len(left_out) == len(asked):
        raise UserError("; ".join(left_out))
    if failed:
        raise UserError(
            f"{len(failed)} of {len(asked)} sets could not be evaluated completely: {', '.join(failed)}; "
            + ("its line is above" if len(asked) == 1 else "each has its line above")
            + (", and the others were evaluated" if len(failed) < len(asked) else "")
        )


def _custom(asked: Request) -> Openers:
    opened = open_asked(asked.data, asked.sets, asked.prompts, asked.class_names, asked.against)
    return {opened.name: lambda: opened}


def _catalogued(asked: Request) -> Openers:
    from askew.evaluation.datasets import catalog  # the suite `tiny` does not need its readers

    for option, value in (
        ("--prompts", asked.prompts), ("--class-names", asked.class_names), ("--against", asked.against),
        ("--set", asked.sets),
    ):  # fmt: skip
        if value:
            raise UserError(f"{option} belongs to --data; the sets of a suite have prompts of their own")
    entries = catalog.find_entries(asked.suite)
    need = [entry.name for entry in entries if entry.packaged is None]
    if asked.data_root is None and need:
        raise UserError(
            f"--suite {printable(asked.suite)} needs --data-root DIR, the folder that holds the data sets"
            + ("" if len(need) == len(entries) else f" (for {', '.join(need)})")
        )
    return {entry.name: partial(entry.open, asked.data_root) for entry in entries}


def _share_out(openers: Openers, extractor: Extractor, options: EvaluationOptions) -> None:
    """Every rank embeds its shards of every set. What fails here fails again on rank 0, which reports it."""
    if extractor.cache is None:
        raise UserError("several ranks share features through the cache: name one with --cache DIR")
    for opener in openers.values():
        try:
            for images in image_sets(opener(), options):
                require_whole("", images)
                extractor.share(images)
        except UserError:
            continue
    distributed.barrier()
