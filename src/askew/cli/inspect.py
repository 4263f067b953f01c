"""The command `inspect`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import DataSets, app
from askew.errors import UserError

CHOICES = {
    "--weights": ("both", "student", "teacher"),
    "--by": ("noise", "distance", "loss", "text_rank"),
    "--precision": ("fp32", "bf16"),
}


@app.command()
def inspect(
    model: Annotated[str, typer.Argument(help="A run directory, local-dir:FOLDER, or NAME or NAME/TAG of open_clip.")],
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
    batch_size: Annotated[int, typer.Option(min=1, help="Images or texts that are encoded at once.")] = 256,
    precision: Annotated[str, typer.Option(help="fp32 or bf16.")] = "fp32",
    cache: Annotated[
        Path | None, typer.Option(help="Folder of embeddings (default: in the user's cache folder).")
    ] = None,
    sets: DataSets = None,
) -> None:
    """Rank the pairs of a data set by misalignment, and see which image operations break which captions."""
    from askew.distributed import is_main
    from askew.report.console import Console
    from askew.runs.inspect import InspectRequest
    from askew.runs.inspect import inspect as inspect_data

    for option, value in (("--weights", weights), ("--by", by), ("--precision", precision)):
        if value not in CHOICES[option]:
            raise UserError(f"{option} {value!r} is not known; use {' or '.join(CHOICES[option])}")
    asked = InspectRequest(
        model, data, out, weights, by, keep, pool, neighbours, operation_pairs, batch_size, precision, cache,
        tuple(sets or ()),
    )  # fmt: skip
    inspect_data(asked, Console(quiet=not is_main()))
