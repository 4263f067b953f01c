"""What `askew eval` and `askew compare` do: models, sets and tasks brought together, results and outcomes written."""

import difflib
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from askew import __version__, distributed
from askew.console import Console
from askew.data.sources import open_source
from askew.devices import choose_device
from askew.errors import UserError, printable, writing
from askew.evaluation import tiny
from askew.evaluation.features import Extractor
from askew.evaluation.model import load_encoders
from askew.evaluation.overlap import overlap
from askew.evaluation.own import open_own
from askew.evaluation.results import Result, load, save
from askew.evaluation.sets import Captioned
from askew.evaluation.significance import Difference, differences
from askew.evaluation.suite import TASKS, Opened, Options, image_sets, run_set
from askew.tables import comparison, tables

RECIPE, RESULTS, RESULTS_BEFORE = "recipe.yaml", "results.jsonl", "results.before.jsonl"
OUTCOMES = "outcomes"


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line.

    Attributes:
        model: a run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.
        suite: "tiny", a suite of the catalogue, or names of its sets with commas.
        data_root: where the catalogue's sets lie.
        data: your own folder or source instead of a suite; `prompts` and `against` belong to it.
        out: where results are appended; None: the run's own, or nowhere.
        cache: folder of features.
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
    options: Options = field(default_factory=Options)


def default_cache() -> Path:
    """`askew/features` in the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "askew" / "features"


def assess(asked: Request, console: Console) -> None:
    """Evaluate as asked, print the tables, keep results and outcomes.

    Raises:
        UserError: at once for what was typed wrong; after the rest has run for sets that could not be evaluated.
    """
    unknown = [task for task in asked.options.tasks if task not in TASKS]
    if unknown:
        raise UserError(f"--tasks {printable(','.join(unknown))} is not known; tasks: {', '.join(TASKS)}")
    if not asked.data and "tiny" in asked.suite.split(","):
        options = {
            "--precision bf16": asked.precision != "fp32",
            "--prompts": asked.prompts,
            "--against": asked.against,
            "--data-root": asked.data_root,
            "other names in --suite": asked.suite != "tiny",
        }
        void = [option for option, given in options.items() if given]
        if void:
            raise UserError(f"the suite tiny stands alone: it takes no {', no '.join(void)}; name others with --suite")
        if not distributed.is_main():  # small enough for one
            return
        evaluate_tiny(asked.model, asked.weights, console, asked.out, asked.batch_size)
        return
    openers = _own(asked) if asked.data else _catalogued(asked)
    device = choose_device("auto")
    distributed.start(device)
    try:
        _run(asked, openers, device, console)
    finally:
        distributed.stop()


def _run(asked: Request, openers: dict[str, Callable[[], Opened]], device: torch.device, console: Console) -> None:
    started = time.monotonic()
    encoders = load_encoders(asked.model, device, asked.weights, asked.batch_size, asked.precision)
    progress = _Progress(console)
    extractor = Extractor(encoders, asked.cache, tick=progress.tick)
    if distributed.world_size() > 1:
        _share_out(openers, extractor, asked.options)
        if distributed.rank() > 0:
            return
    target = asked.out or (Path(asked.model) / RESULTS if (Path(asked.model) / RECIPE).is_file() else None)
    results: list[Result] = []
    failed: list[str] = []
    for name, opener in openers.items():
        progress.name = name
        try:
            opened = opener()
            for result in run_set(name, opened, encoders, extractor, asked.options, console.say):
                results.append(result)
                _write([result], encoders.protocol | {"suite": asked.suite if not asked.data else "own"}, target)
            if asked.against:
                results.append(_overlap(name, opened, asked.against, console))
                _write(results[-1:], encoders.protocol | {"suite": "own"}, target)
        except UserError as error:
            failed.append(name)
            console.warn(f"not evaluated: {error}")
        finally:
            console.close()
    if results:
        console.tables(tables(results, printable(asked.model, 40)))
        console.say(f"seconds  {time.monotonic() - started:.0f}, features of {extractor.reused:,} images reused")
        if target is not None:
            console.say(f"results  {target}, outcomes in {outcomes_folder(target, asked.weights)}")
    if failed:
        raise UserError(
            f"{len(failed)} of {len(openers)} sets could not be evaluated whole: {', '.join(failed)}; "
            "each has its line above, the rest is done"
        )


def _own(asked: Request) -> dict[str, Callable[[], Opened]]:
    opened = open_own(asked.data, asked.prompts)  # a wrong layout is told before a model is loaded
    if asked.against:
        open_source(asked.against)
    return {opened.name: lambda: opened}


def _catalogued(asked: Request) -> dict[str, Callable[[], Opened]]:
    from askew.evaluation import catalog  # its readers are not needed by the suite `tiny`

    for option, value in (("--prompts", asked.prompts), ("--against", asked.against)):
        if value:
            raise UserError(f"{option} belongs to --data; the sets of a suite have their own prompts")
    names: list[str] = []
    for part in asked.suite.split(","):
        names += catalog.SUITES.get(part, (part,))
    known = [*catalog.names(), *catalog.SUITES, "tiny"]
    for name in names:
        if name not in catalog.names():
            near = difflib.get_close_matches(name, known, n=1)
            raise UserError(
                f"--suite {printable(name)!r} is not known; "
                + (f"did you mean {near[0]!r}? " if near else "")
                + f"suites: tiny, {', '.join(catalog.SUITES)}; sets: {', '.join(catalog.names())}"
            )
    root = asked.data_root
    if root is None:
        raise UserError(f"--suite {printable(asked.suite)} needs --data-root DIR, the folder that the data sets lie in")
    return {name: partial(catalog.open_set, name, root) for name in dict.fromkeys(names)}


def _share_out(openers: dict[str, Callable[[], Opened]], extractor: Extractor, options: Options) -> None:
    """Every rank embeds its shards of every set into the cache; what fails here is told by rank 0, which meets it."""
    if extractor.cache is None:
        raise UserError("several ranks meet in the feature cache: name one with --cache DIR")
    for opener in openers.values():
        try:
            for images in image_sets(opener(), options.tasks):
                extractor.share(images)
        except UserError:
            continue
    distributed.barrier()


def _overlap(name: str, opened: Opened, against: str, console: Console) -> Result:
    images = opened.images if isinstance(opened, Captioned) else opened.test.images  # type: ignore[union-attr]
    source = open_source(against)
    result = overlap(name, images, source, printable(against, 400))
    if result.protocol["pairs"]:
        test, other, kind = result.protocol["pairs"][0]
        console.warn(
            f"{name}: {result.values['exact']:,} test images stand in {printable(against)} byte for byte and "
            f"{result.values['near']:,} nearly so; the first is {test} ({kind}: {other})"
        )
    return result


def evaluate_tiny(
    name: str, weights: str, console: Console, out: Path | None = None, batch_size: int = 256
) -> dict[str, dict[str, float]]:
    """Run the suite `tiny`, print its table, keep results and outcomes (of a run in its directory, or in `out`)."""
    started = time.monotonic()
    encoders = load_encoders(name, choose_device("auto"), weights, batch_size)
    results = tiny.results(encoders)
    folder = Path(name)
    target = out or (folder / RESULTS if (folder / RECIPE).is_file() else None)
    _write(results, encoders.protocol | tiny.data_protocol(), target)
    before = folder / RESULTS_BEFORE
    earlier = {}
    if weights == "student" and before.is_file():
        earlier = {line["task"]: line["values"] for line in map(json.loads, before.read_text().splitlines())}
    values = {result.task: result.values for result in results}
    console.results(values, weights, time.monotonic() - started, target, earlier)
    return values


def _write(results: list[Result], protocol: dict[str, Any], target: Path | None) -> None:
    """One line a result, and the outcomes of its items."""
    if target is None:
        return
    folder = outcomes_folder(target, protocol["weights"])
    with writing("the results", target):
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("a", encoding="utf-8") as file:
            for result in results:
                facts = {**protocol, **result.protocol, "askew": __version__, "numpy": np.__version__}
                line = {"task": result.task, "values": result.values, "protocol": facts}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
        for result in results:
            if result.outcomes is not None:
                save(result.outcomes, folder / f"{result.task}.npz")


def outcomes_folder(target: Path, weights: str = "student") -> Path:
    """Where outcomes lie beside a results file: `outcomes` for results.jsonl, else with the file's name before it."""
    name = OUTCOMES if target.name == RESULTS else f"{target.stem}-{OUTCOMES}"
    return target.parent / (name if weights == "student" else f"{name}-{weights}")


def compare(a: str, b: str, console: Console) -> list[Difference]:
    """Differences of two models on the tasks that both have outcomes of.

    Args:
        a, b: run directories, results files, or folders of outcomes.

    Raises:
        UserError: no outcomes, no task in common; after the table, tasks whose items differ.
    """
    folders = _outcomes_of(a), _outcomes_of(b)
    files = [{p.relative_to(folder).as_posix()[:-4]: p for p in folder.rglob("*.npz")} for folder in folders]
    common = [task for task in sorted(files[0]) if task in files[1]]
    if not common:
        have = "; ".join(f"{n}: {', '.join(sorted(f)) or 'none'}" for n, f in zip((a, b), files, strict=True))
        raise UserError(f"no task has been run on both ({printable(have, 400)})")
    found: list[Difference] = []
    refused: list[str] = []
    for task in common:
        try:
            found += differences(task, load(files[0][task]), load(files[1][task]), (printable(a), printable(b)))
        except UserError as error:
            refused.append(str(error))
    for name, other, mine in ((a, files[1], files[0]), (b, files[0], files[1])):
        alone = sorted(set(mine) - set(other))
        if alone:
            console.say(f"only on {printable(name)}: {', '.join(alone)}")
    if found:
        console.tables([comparison(found, printable(a, 400), printable(b, 400))])
    if refused:
        raise UserError(
            refused[0] + (f" (and {len(refused) - 1} more tasks of {len(common)})" if len(refused) > 1 else "")
        )
    return found


def _outcomes_of(name: str) -> Path:
    path = Path(name).expanduser()
    folder = path
    if (path / RECIPE).is_file():
        folder = path / OUTCOMES
    elif path.is_file():
        folder = outcomes_folder(path)
    if not folder.is_dir() or not any(folder.rglob("*.npz")):
        raise UserError(
            f"{printable(name, 400)}: no outcomes of a model there; name a run that was evaluated (askew eval RUN), a "
            "results file that `askew eval --out FILE` wrote, or a folder of outcomes"
        )
    return folder


@dataclass
class _Progress:
    console: Console
    name: str = ""
    _started: float = field(default=0.0, init=False)
    _first: int = field(default=0, init=False)

    def tick(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._started or done < self._first:
            self._started, self._first = now, done
        seconds = now - self._started
        rate = (done - self._first) / seconds if seconds > 0 else 0.0
        self.console.pass_over(self.name, done, total, rate)
        if done >= total:
            self._started = 0.0
