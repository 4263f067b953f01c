"""The command `inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import (
    PRECISIONS,
    STUDENT_OR_TEACHER,
    BatchSize,
    Cache,
    DataSets,
    Model,
    Precision,
    app,
    check_choice,
)


@app.command()
def inspect(
    model: Model,
    data: Annotated[str, typer.Option(help="Images with captions: a source as for `train`.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of all that is written (default: `inspect` in the run's directory).")
    ] = None,
    keep: Annotated[
        float, typer.Option(min=0, max=1, help="Write the list of the best aligned share of all captions; 0: none.")
    ] = 0.0,
    by: Annotated[str, typer.Option(help="Rank pairs by noise, distance, loss or text_rank.")] = "noise",
    pool: Annotated[int, typer.Option(min=1, help="Other pairs that each pair is compared with.")] = 4096,
    neighbours: Annotated[int, typer.Option(min=1, help="Nearest ones of these that count for the noise.")] = 16,
    operation_pairs: Annotated[
        int, typer.Option(min=0, help="Pairs that all image operations are tried on; 0: none.")
    ] = 512,
    weights: Annotated[str, typer.Option(help="student, teacher, or both where there are both.")] = "both",
    batch_size: BatchSize = 256,
    precision: Precision = "fp32",
    cache: Cache = None,
    sets: DataSets = None,
) -> None:
    """Rank the pairs of a data set by misalignment, and see which image operations break which captions."""
    from askew.distributed import is_main
    from askew.report.console import Console
    from askew.runs.inspect import InspectRequest
    from askew.runs.inspect import inspect as inspect_data

    check_choice("--weights", weights, ("both", *STUDENT_OR_TEACHER))
    check_choice("--by", by, ("noise", "distance", "loss", "text_rank"))
    check_choice("--precision", precision, PRECISIONS)
    asked = InspectRequest(
        model, data, out, weights, by, keep, pool, neighbours, operation_pairs, batch_size, precision, cache,
        tuple(sets or ()),
    )  # fmt: skip
    inspect_data(asked, Console(quiet=not is_main()))
