"""The command `askew` itself, and options that several of its commands take. Heavy imports are lazy everywhere."""

from typing import Annotated

import typer

from askew import __version__

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
