"""Commands that use a model on data: `search` and `embed`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from askew.cli.app import (
    PRECISIONS,
    WEIGHTS,
    BatchSize,
    Cache,
    DataSets,
    Model,
    Precision,
    app,
    check_choice,
)

if TYPE_CHECKING:
    from askew.runs.stored import StoreRequest

Data = Annotated[str, typer.Option(metavar="SOURCE", help="As --data of `train`: a table, shards, a folder, ...")]
Weights = Annotated[str, typer.Option(help="Of a run: student, teacher, or best (the best student).")]


@app.command()
def search(
    model: Model,
    data: Data,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="What to search for.")] = None,
    image: Annotated[list[Path] | None, typer.Option(help="An image to search for; may be repeated.")] = None,
    kind: Annotated[str, typer.Option("--for", help="What is searched: images or captions.")] = "images",
    top: Annotated[int, typer.Option(min=1, max=1000, help="Results for each query.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write a page with pictures, too.")] = None,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with all embeddings, even if there are more than a million.")
    ] = False,
    unchanged: Annotated[
        bool, typer.Option("--unchanged", help="The data are as they were: compare a few samples, and read no more.")
    ] = False,
    weights: Weights = "student",
    batch_size: BatchSize = 256,
    precision: Precision = "fp32",
    cache: Cache = None,
    sets: DataSets = None,
) -> None:
    """Find the images or captions of a data set that are nearest to a text or an image."""
    from askew.distributed import is_main
    from askew.report.console import Console
    from askew.runs.search import SearchRequest
    from askew.runs.search import search as search_data

    check_choice("--for", kind, ("images", "captions"))
    store = _store(model, data, sets, weights, batch_size, precision, cache, unchanged)
    asked = SearchRequest(store, tuple(texts or ()), tuple(image or ()), kind, top, html, exact)  # type: ignore[arg-type]
    search_data(asked, Console(quiet=not is_main()))


@app.command()
def embed(
    model: Model,
    data: Data,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The file to write: NAME.parquet or NAME.npy.")],
    images: Annotated[
        bool, typer.Option("--images", help="Put the encoded images into the Parquet file, too.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are there.")] = False,
    weights: Weights = "student",
    batch_size: BatchSize = 256,
    precision: Precision = "fp32",
    cache: Cache = None,
    sets: DataSets = None,
) -> None:
    """Write the embeddings of a data set's images and captions to a file."""
    from askew.distributed import is_main
    from askew.report.console import Console
    from askew.runs.embed import EmbedRequest
    from askew.runs.embed import embed as embed_data

    store = _store(model, data, sets, weights, batch_size, precision, cache)
    embed_data(EmbedRequest(store, out, images, overwrite), Console(quiet=not is_main()))


def _store(
    model: str,
    data: str,
    sets: list[str] | None,
    weights: str,
    batch_size: int,
    precision: str,
    cache: Path | None,
    unchanged: bool = False,
) -> "StoreRequest":
    from askew.runs.stored import StoreRequest

    check_choice("--weights", weights, WEIGHTS)
    check_choice("--precision", precision, PRECISIONS)
    return StoreRequest(model, data, tuple(sets or ()), weights, batch_size, precision, cache, unchanged)
