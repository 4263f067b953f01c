"""The command `export`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import WEIGHTS, Model, app, check_choice


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="open_clip or transformers.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write: new or empty.")],
    weights: Annotated[str, typer.Option(help="Of a run: student, teacher, or best (the best student).")] = "student",
    samples: Annotated[int, typer.Option(min=1, max=100_000, help="Samples that the parity check compares.")] = 100,
    data: Annotated[
        str, typer.Option(metavar="SOURCE", help="Where they come from (default: the run's own data).")
    ] = "",
) -> None:
    """Write a model as a directory for another library, with a model card, and check that it gives the same numbers."""
    from askew.export.command import ExportRequest
    from askew.export.command import export as export_model
    from askew.export.formats import FORMATS
    from askew.report.console import Console

    check_choice("--weights", weights, WEIGHTS)
    check_choice("--to", to, tuple(FORMATS))
    export_model(ExportRequest(model, to, out, weights, samples, data), Console())
