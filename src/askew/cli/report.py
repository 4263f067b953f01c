"""The command `report`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import app


@app.command()
def report(
    runs: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run directories, finished or not.")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE.html", help="Default: report.html in the run, or here if there are several."),
    ] = None,
) -> None:
    """Write one page that shows a run, or several side by side, and every figure as SVG."""
    from askew.report.console import Console
    from askew.runs.report import report as report_runs

    report_runs(runs, out, Console())
