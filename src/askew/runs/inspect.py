"""What `askew inspect` does: the misalignment of every pair of a data set, and what operations do to captions."""

import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from askew import distributed
from askew.config import DataSettings
from askew.data.files import home_path
from askew.data.images import PixelLimit
from askew.data.operations import Operation, custom_operations
from askew.data.sources import SelectionSource, Source, open_source
from askew.data.sources.recognise import absolute_source
from askew.data.sources.selection import Origin, contents_of_source
from askew.devices import choose_device
from askew.errors import UserError
from askew.evaluation.misalignment.draws import DrawnPairs, draw_pairs
from askew.evaluation.misalignment.operations import conditions
from askew.evaluation.misalignment.parts import OperationParts, PairParts
from askew.evaluation.model import Encoders
from askew.evaluation.streaming import Embeddings
from askew.report.console import Console
from askew.runs.directory import RunDirectory
from askew.runs.evaluate import load_model
from askew.runs.inspect_report import Inspected, report_inspection
from askew.runs.inspection import InspectionFolder
from askew.runs.progress import PassProgress
from askew.runs.request import default_cache
from askew.runs.stored import data_settings


@dataclass(frozen=True)
class InspectRequest:
    """What was asked for on the command line.

    Attributes:
        model: as for `askew eval`. data: as for `askew train`.
        out: the folder; None: `inspect` in the run's directory, or in the working directory.
        weights: student, teacher, or both, which is the student alone where there is no teacher.
        by: the column that pairs are ranked by, and kept by.
        keep: the share of the captions that kept.parquet lists; 0 writes none.
        pool: how many pairs each pair is compared with.
        neighbours: how many of them count for the noise.
        operation_pairs: how many pairs all image operations are tried on; 0 tries none.
        cache: folder of embeddings.
        sets: KEY=VALUE settings of how `data` is read.
    """

    model: str
    data: str
    out: Path | None = None
    weights: str = "both"
    by: str = "noise"
    keep: float = 0.0
    pool: int = 4096
    neighbours: int = 16
    operation_pairs: int = 512
    batch_size: int = 256
    precision: str = "fp32"
    cache: Path | None = None
    sets: tuple[str, ...] = ()


def inspect(asked: InspectRequest, console: Console) -> None:
    """Inspect a data set as asked, write all files, print the tables.

    Raises:
        UserError: a wrong request, or nothing in the data that can be used.
    """
    settings = data_settings(asked.sets)
    PixelLimit(settings.max_megapixels, "--set data.max_megapixels={}").apply()
    source = open_source(asked.data, settings.options)
    for note in source.notes:
        console.say(note)
    device = choose_device("auto")
    distributed.start(device)
    try:
        _run(asked, source, settings, device, console)
    finally:
        console.close()
        distributed.stop()


def _run(asked: InspectRequest, source: Source, settings: DataSettings, device: torch.device, console: Console) -> None:
    started = time.monotonic()
    encoders = _encoders(asked, device, console)
    folder = InspectionFolder.of(asked.out, asked.model)
    custom = _custom_operations(asked.model, console)
    recorded = _settings(asked, settings, encoders, custom)
    distributed.on_main(lambda: folder.claim(recorded))
    stores = _embedded(asked, source, encoders, folder, console)
    size = max(asked.pool, asked.operation_pairs)
    drawn = {weights: draw_pairs(store.chunks(), size) for weights, store in stores.items()}
    pools = {weights: pairs.first(asked.pool) for weights, pairs in drawn.items()}
    scales = {weights: float(one.model.logit_scale.detach().exp()) for weights, one in encoders.items()}
    pairs = PairParts(stores, pools, scales, asked.neighbours, folder.parts)
    operations = _operations(asked, source, encoders, drawn, custom, folder)
    distributed.together(lambda: pairs.make(PassProgress(console, "pairs").tick))
    if operations is not None:
        wanted = operations
        distributed.together(lambda: wanted.make(PassProgress(console, "operations").tick))
    if not distributed.is_main():
        return
    done = Inspected(asked.model, source, folder, pairs, operations, _origin(asked, source, settings, stores), recorded)
    report_inspection(done, asked.by, asked.keep, console)
    console.say(f"seconds  {time.monotonic() - started:.0f}")


def _encoders(asked: InspectRequest, device: torch.device, console: Console) -> dict[str, Encoders]:
    """The models by name, the student first."""

    def load(weights: str, warn: Callable[[str], None] = lambda text: None) -> Encoders:
        return load_model(asked.model, device, weights, asked.batch_size, asked.precision, warn)

    first = "student" if asked.weights == "both" else asked.weights
    found = {first: load(first, console.warn)}
    if asked.weights == "both" and RunDirectory(home_path(asked.model)).exists:
        try:
            found["teacher"] = load("teacher")
        except UserError:  # the student is there, so that only this can be the reason
            console.say("the run has no teacher: only the student is shown")
    return found


def _custom_operations(model: str, console: Console) -> tuple[Operation, ...]:
    """Those of the run's recipe, which are measured after the operations of the table."""
    directory = RunDirectory(home_path(model))
    settings = directory.read_recipe().views.operations if directory.exists else {}
    try:
        return custom_operations(settings)
    except UserError as error:
        console.warn(f"custom operations are not measured: {error}")
        return ()


def _settings(
    asked: InspectRequest, settings: DataSettings, encoders: dict[str, Encoders], custom: tuple[Operation, ...]
) -> dict[str, Any]:
    """All that decides the numbers, as plain JSON."""
    return {
        "data": absolute_source(asked.data),
        "options": asdict(settings.options),
        "weights": {weights: one.protocol["weights"] for weights, one in encoders.items()},
        "weights_sha256": {weights: one.protocol["weights_sha256"] for weights, one in encoders.items()},
        "precision": asked.precision,
        "pool": asked.pool,
        "neighbours": asked.neighbours,
        "operation_pairs": asked.operation_pairs,
        "custom_operations": [operation.origin for operation in custom],
    }


def _embedded(
    asked: InspectRequest, source: Source, encoders: dict[str, Encoders], folder: InspectionFolder, console: Console
) -> dict[str, Embeddings]:
    """The embeddings of the source under every model, all of them made."""
    cache = asked.cache or default_cache() or folder.parts
    stores = {}
    for weights, one in encoders.items():
        progress = PassProgress(console, f"embedding, {weights}" if len(encoders) > 1 else "embedding")
        stores[weights] = Embeddings(source, one, cache, progress.tick, console.warn)
        stores[weights].make()
        console.close()
    return stores


def _operations(
    asked: InspectRequest,
    source: Source,
    encoders: dict[str, Encoders],
    drawn: dict[str, DrawnPairs],
    custom: tuple[Operation, ...],
    folder: InspectionFolder,
) -> OperationParts | None:
    if not asked.operation_pairs:
        return None
    size = next(iter(encoders.values())).model.visual.image_size
    listed = conditions(custom, min(size) if isinstance(size, (tuple, list)) else size)
    chosen = {weights: pairs.first(asked.operation_pairs) for weights, pairs in drawn.items()}
    return OperationParts(source, encoders, chosen, listed, folder.parts)


def _origin(asked: InspectRequest, source: Source, settings: DataSettings, stores: dict[str, Embeddings]) -> Origin:
    """What the rows of pairs.parquet are indices into: of a selection, the source that it selects from."""
    if isinstance(source, SelectionSource):
        moved = settings.selected_from
        return Origin(
            absolute_source(moved) if moved else source.origin.source, source.origin.options, source.origin.contents
        )
    num_captions = sum(len(chunk.captions) for chunk in next(iter(stores.values())).chunks())
    options = settings.options
    if options.image_root:
        options = replace(options, image_root=os.path.abspath(home_path(options.image_root)))
    return Origin(absolute_source(asked.data), options, contents_of_source(source, num_captions))
