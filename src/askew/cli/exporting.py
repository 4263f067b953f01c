"""The commands that give a model to others: `export` and `push`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew.cli.app import WEIGHTS, Model, app, check_choice

if TYPE_CHECKING:
    from askew.export.command import ExportRequest

Weights = Annotated[str, typer.Option(help="Of a run: student, teacher, or best (the best student).")]
Samples = Annotated[int, typer.Option(min=1, max=100_000, help="Samples that the parity check compares.")]
Data = Annotated[str, typer.Option(metavar="SOURCE", help="Where they come from (default: the run's own data).")]
Int8 = Annotated[
    bool, typer.Option("--int8", help="With --to onnx: quantised graphs beside those in float32, and their loss.")
]


@app.command()
def export(
    model: Model,
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="open_clip, transformers or onnx.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write: new or empty.")],
    weights: Weights = "student",
    samples: Samples = 100,
    data: Data = "",
    int8: Int8 = False,
) -> None:
    """Write a model as a directory for another library, with a model card, and check that it gives the same numbers."""
    from askew.export.command import export as export_model
    from askew.report.console import Console

    export_model(_asked(model, to, out, weights, samples, data, int8), Console())


@app.command()
def push(
    model: Model,
    name: Annotated[str, typer.Argument(metavar="OWNER/NAME", help="The repository on the Hugging Face Hub.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="As --to of `export`.")] = "open_clip",
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace all files of a repository that is not empty.")
    ] = False,
    weights: Weights = "student",
    samples: Samples = 100,
    data: Data = "",
    int8: Int8 = False,
) -> None:
    """Export a model and upload it to the Hugging Face Hub, in one commit. You must be logged in: `hf auth login`."""
    from askew.export.push import PushRequest
    from askew.export.push import push as push_model
    from askew.report.console import Console

    exported = _asked(model, to, Path(), weights, samples, data, int8)
    push_model(PushRequest(exported, name, private, overwrite), Console())


def _asked(model: str, to: str, out: Path, weights: str, samples: int, data: str, int8: bool) -> "ExportRequest":
    """What both commands export. Raises UserError for an unknown format or kind of weights."""
    from askew.export.command import ExportRequest
    from askew.export.formats import FORMATS

    check_choice("--weights", weights, WEIGHTS)
    check_choice("--to", to, tuple(FORMATS))
    return ExportRequest(model, to, out, weights, samples, data, int8)
