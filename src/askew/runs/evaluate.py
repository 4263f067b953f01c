"""What `askew eval` does: a model and data sets brought together, results written and printed."""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from askew import distributed
from askew.data.files import home_path
from askew.data.images import PixelLimit
from askew.devices import choose_device
from askew.errors import UserError, printable
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.datasets.whole import require_whole
from askew.evaluation.features import Extractor
from askew.evaluation.loading import load_encoders
from askew.evaluation.model import Encoders
from askew.evaluation.results import Result, ResultsFile, with_facts
from askew.evaluation.suite import KNOWN_TASKS, EvaluationOptions, image_sets, run_set, suits, unsuited
from askew.evaluation.tasks import tiny
from askew.report.console import Console
from askew.runs.custom_data import overlap_of, preview
from askew.runs.directory import RunDirectory
from askew.runs.export import export_checkpoint, weights_at
from askew.runs.naming import CustomName
from askew.runs.progress import PassProgress
from askew.runs.request import Openers, Request, openers_of, refuse_options_of_others
from askew.runs.tables import paper_tables, tiny_table


class SetsFailed(UserError):
    """Data sets that could not be evaluated.

    Attributes:
        reasons: what is wrong with each, by its name.
        results: of the other data sets.
    """

    def __init__(self, message: str, reasons: Mapping[str, str], results: Sequence[Result]):
        super().__init__(message)
        self.reasons, self.results = dict(reasons), list(results)


def evaluate(asked: Request, console: Console, encoders: Encoders | None = None) -> list[Result]:
    """Evaluate as asked, print the tables, keep results and outcomes.

    Args:
        encoders: a model that is loaded already. Its results are kept only where `asked.out` names a file.

    Returns:
        The results, with all that is noted of them; of several ranks, only rank 0 has all.

    Raises:
        UserError: at once for a wrong request; SetsFailed at the end for data sets that could not be evaluated.
    """
    unknown = [task for task in asked.options.tasks if task not in KNOWN_TASKS]
    if unknown:
        raise UserError(f"--tasks {printable(','.join(unknown))} is not known; tasks: {', '.join(KNOWN_TASKS)}")
    PixelLimit(asked.max_megapixels, "--max-megapixels {}").apply()
    if encoders is not None:
        encoders = copy.copy(encoders)
        encoders.batch_size = asked.batch_size
    if not asked.data and "tiny" in asked.suite.split(","):
        refuse_options_of_others(asked)
        if not distributed.is_main():  # small enough for one process
            return []
        return evaluate_tiny(asked.model, asked.weights, console, asked.out, asked.batch_size, encoders)
    openers = openers_of(asked)
    device = choose_device("auto") if encoders is None else encoders.device
    target = _target(asked.model if encoders is None else "", asked.out)
    started = time.monotonic()
    distributed.start(device)
    try:
        return _run(asked, openers, encoders or _loaded(asked, device, console), target, console, started)
    finally:
        distributed.stop()


def evaluate_opened(asked: Request, opened: Captioned, console: Console) -> None:
    """Evaluate one data set that is open already, in this process alone. UserError: it could not be evaluated."""
    with TemporaryDirectory() as cache:
        asked, started, target = replace(asked, cache=Path(cache)), time.monotonic(), _target(asked.model, asked.out)
        encoders = _loaded(asked, choose_device("auto"), console)
        _run(asked, {opened.name: lambda: opened}, encoders, target, console, started, alone=True)


def _loaded(asked: Request, device: torch.device, console: Console) -> Encoders:
    """The model that is asked for."""
    return load_model(asked.model, device, asked.weights, asked.batch_size, asked.precision, console.warn)


def evaluate_tiny(
    name: str,
    weights: str,
    console: Console,
    out: Path | None = None,
    batch_size: int = 256,
    encoders: Encoders | None = None,
) -> list[Result]:
    """Run the suite `tiny` and print its table; keep the results in `out`, or in the directory of the run `name`."""
    started = time.monotonic()
    target = _target(name if encoders is None else "", out)
    directory = _run_named(name) if encoders is None else None
    if encoders is None:
        encoders = load_model(name, choose_device("auto"), weights, batch_size, warn=console.warn)
    weights = encoders.protocol["weights"]
    protocol = encoders.protocol | tiny.data_protocol()
    results = [with_facts(result, protocol) for result in tiny.results(encoders)]
    if target is not None:
        target.append(results, protocol)
    before = {}
    if weights == "student" and directory is not None and directory.exists:
        before = {line["task"]: line["values"] for line in directory.results_before.read()}
    values = {result.task: result.values for result in results}
    console.table(tiny_table(values, weights, time.monotonic() - started, before))
    if target is not None:
        console.say(f"results  {target.path}")
    return results


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
    """Where results go: the named file, or that of the run `name`; None where there is neither."""
    if out is not None:
        return ResultsFile(out)
    directory = _run_named(name) if name else None
    return directory.results if directory is not None and directory.exists else None


def _run(
    asked: Request,
    openers: Openers,
    encoders: Encoders,
    target: ResultsFile | None,
    console: Console,
    started: float,
    alone: bool = False,
) -> list[Result]:
    """Every data set in turn. One that fails costs a line, and the others still run.

    Args:
        alone: other ranks, if there are any, take no part.
    """
    progress = PassProgress(console)
    extractor = Extractor(encoders, asked.cache, tick=progress.tick, warn=console.warn)
    if extractor.cache is None:
        console.say("features are not kept: there is no cache folder; name one with --cache DIR")
    if distributed.world_size() > 1 and not alone:
        _share_out(openers, extractor, asked.options)
        if not distributed.is_main():
            return []
    protocol = encoders.protocol | {"suite": "custom" if asked.data else asked.suite}
    results, failed, left_out = list[Result](), dict[str, str](), list[str]()
    custom = CustomName(asked.data, target, console) if asked.data else None

    def keep(result: Result) -> None:
        result = with_facts(result if custom is None else custom(name, result), protocol)
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
            failed[name] = str(error)
            console.warn(f"not evaluated: {error}")
        finally:
            console.close()
    if results:
        for table in paper_tables(results, printable(asked.model, 40)):
            console.table(table)
        console.say(f"seconds  {time.monotonic() - started:.0f}, features of {extractor.reused:,} images reused")
        if target is not None:
            console.say(f"results  {target.path}, outcomes in {target.outcomes(protocol['weights'])}")
    _check_done(list(openers), failed, left_out, results)
    return results


def _check_done(asked: list[str], failed: dict[str, str], left_out: list[str], results: list[Result]) -> None:
    """Raises SetsFailed for sets that failed, and UserError if none of the tasks suits any set."""
    if left_out and len(left_out) == len(asked):
        raise UserError("; ".join(left_out))
    if failed:
        raise SetsFailed(
            f"{len(failed)} of {len(asked)} sets could not be evaluated completely: {', '.join(failed)}; "
            + ("its line is above" if len(asked) == 1 else "each has its line above")
            + (", and the others were evaluated" if len(failed) < len(asked) else ""),
            failed,
            results,
        )


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
