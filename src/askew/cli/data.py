"""Commands that look at data before training: `data check` and `data words`."""

from pathlib import Path
from typing import Annotated

import typer

from askew.cli.app import Sets, app

data_app = typer.Typer(no_args_is_help=True, help="Look at data before training.")
app.add_typer(data_app, name="data")


@data_app.command(name="check")
def data_check(
    source: Annotated[str, typer.Argument(help="As --data of `train`: a table, shards, Parquet, a folder, ...")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    ranks: Annotated[int, typer.Option(min=1, help="Processes that will read it on this machine.")] = 1,
    limit: Annotated[int, typer.Option(min=1, help="Samples to look at, spread evenly.")] = 10_000,
    sets: Sets = None,
) -> None:
    """Show what is in a source, what cannot be used, and how fast this machine can feed a run from it."""
    from askew.report.console import Console
    from askew.runs.check import check_data

    check_data(source, sets or [], ranks, limit, as_json, Console())


@data_app.command(name="words")
def data_words(
    source: Annotated[str, typer.Argument(help="As --data of `train`: a table, shards, Parquet, a folder, ...")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The table to write, as JSON.")],
    min_count: Annotated[int, typer.Option(min=1, help="Leave out words that occur less often.")] = 5,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
    sets: Sets = None,
) -> None:
    """Count the words of all captions, for training on shortened captions (views.word_counts)."""
    from askew.report.console import Console
    from askew.runs.words import WordsRequest, write_word_counts

    write_word_counts(WordsRequest(source, out, tuple(sets or ()), min_count, overwrite), Console())
