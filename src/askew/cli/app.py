"""The command `askew` itself, and options that several of its commands take. Heavy imports are lazy everywhere."""

from pathlib import Path
from typing import Annotated

import typer

from askew import __version__
from askew.errors import UserError

app = typer.Typer(
    help="Language-image pretraining that learns from misalignment.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Sets = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change one setting; may be repeated.")
]
DataSets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="For --data: how it is read, such as data.split=test."),
]
Model = Annotated[str, typer.Argument(help="A run, a folder of open_clip or transformers, or NAME/TAG of open_clip.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images or texts that are encoded at once.")]
Precision = Annotated[str, typer.Option(help="fp32 or bf16.")]
Cache = Annotated[Path | None, typer.Option(help="Folder of cached embeddings (default: in the user's cache folder).")]
PRECISIONS = ("fp32", "bf16")
STUDENT_OR_TEACHER = ("student", "teacher")
WEIGHTS = (*STUDENT_OR_TEACHER, "best")


def check_choice(option: str, value: str, known: tuple[str, ...]) -> None:
    """Raise UserError for a value that the option does not know."""
    if value not in known:
        raise UserError(f"{option} {value!r} is not known; use {' or '.join(known)}")


def _version(wanted: bool) -> None:
    if wanted:
        from askew.report.console import Console

        Console().print(f"askew {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass
