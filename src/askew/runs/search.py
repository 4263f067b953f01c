"""What `askew search` does: the images or captions of a source that are nearest to texts and images."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from askew import distributed
from askew.data.images import decode
from askew.data.sources.base import read_file
from askew.errors import UserError, printable, writing
from askew.evaluation.approximate import LIMIT, approximately_nearest, index_class
from askew.evaluation.model import Encoders
from askew.evaluation.nearest import Kind, Nearest, blocks, located, nearest
from askew.evaluation.streaming import Embeddings
from askew.report.console import Console
from askew.report.search import QueryHits, SearchHit
from askew.report.table import Table
from askew.runs.stored import Store, StoreRequest

if TYPE_CHECKING:
    from PIL import Image

PICTURES = 1000  # on a page: with more it would be larger than 10 MB
SIDE = 160  # pixels of a picture


@dataclass(frozen=True)
class SearchRequest:
    """What was asked for on the command line.

    Attributes:
        texts, images: the queries; images are files.
        kind: what is searched.
        top: how many results each query has.
        html: where a page is written; None: nowhere.
        exact: products with all embeddings, also above a million.
    """

    store: StoreRequest
    texts: tuple[str, ...] = ()
    images: tuple[Path, ...] = ()
    kind: Kind = "images"
    top: int = 10
    html: Path | None = None
    exact: bool = False


def search(asked: SearchRequest, console: Console) -> None:
    """Search, print a table per query, and write the page.

    Raises:
        UserError: no query, an empty one, an image that cannot be read, or usearch is needed and missing; see also
            `Store` and `Embeddings.make`.
    """
    pictures = _checked(asked)
    with Store(asked.store, console) as store:
        if len(store.embeddings) > LIMIT and not asked.exact:
            index_class(len(store.embeddings))  # what is missing shows before the data are embedded
        queries = _encoded(asked, pictures, store.encoders, console)
        store.make()
        if not distributed.is_main():
            return
        found = _found(asked, queries, store.embeddings, console)
        results = _results(asked, found, store.embeddings)
        if found.places.shape[1] < asked.top:
            what = f"{found.places.shape[1]:,} different {asked.kind}"
            console.say(f"--top {asked.top}: the data have only {what} that can be used, and all are shown")
        for result in results:
            console.table(_table(result, asked.kind))
        if asked.html is not None:
            _write_page(asked, asked.html, results, pictures, store.embeddings, console)


def _checked(asked: SearchRequest) -> list["Image.Image"]:
    """The decoded images of the queries, before anything is loaded: what is wrong shows at once."""
    if not asked.texts and not asked.images:
        raise UserError('nothing to search for: give a text ("a red bicycle") or --image FILE')
    if any(not text.strip() for text in asked.texts):
        raise UserError('an empty text finds nothing: write what to search for ("a red bicycle")')
    if asked.html is not None and not asked.html.parent.is_dir():
        folder = printable(str(asked.html.parent), 400)
        raise UserError(f"--html {printable(str(asked.html), 400)}: there is no folder {folder}; make it")
    pictures = []
    for path in asked.images:
        try:
            pictures.append(decode(read_file(path)))
        except OSError as error:
            reason = printable(error.strerror or str(error), 300)
            raise UserError(f"--image {printable(str(path), 400)}: {reason}; give an image that can be read") from error
    return pictures


def _encoded(asked: SearchRequest, pictures: list["Image.Image"], encoders: Encoders, console: Console) -> np.ndarray:
    """The embeddings of all queries (Q, D): texts, then images."""
    texts = [text.encode("utf-8", "replace").decode() for text in asked.texts]
    for text in texts:
        if encoders.cut([text]):
            console.warn(f"{printable(text, 60)!r} is longer than the model's context, and its end is not encoded")
    parts = [encoders.text(texts)] if texts else []
    parts += [encoders.image(pictures)] if pictures else []
    return np.concatenate(parts)


def _found(asked: SearchRequest, queries: np.ndarray, embeddings: Embeddings, console: Console) -> Nearest:
    if asked.exact or len(embeddings) <= LIMIT:
        return nearest(blocks(embeddings.chunks(), asked.kind), queries, asked.top)
    return approximately_nearest(embeddings, asked.kind, queries, asked.top, console.say)


def _results(asked: SearchRequest, found: Nearest, embeddings: Embeddings) -> list[QueryHits]:
    """The names and captions of what was found."""
    queries = [*asked.texts, *(str(path) for path in asked.images)]
    hits: list[list[SearchHit | None]] = [[None] * found.places.shape[1] for _ in queries]
    order = np.argsort(found.places, axis=None)  # each chunk is loaded once
    number, chunk = -1, None
    for at in order:
        query, rank = divmod(int(at), found.places.shape[1])
        inside, row = located(found.places[query, rank])
        if chunk is None or inside != number:
            number, chunk = inside, embeddings.chunk(inside)
        sample = row if asked.kind == "images" else int(chunk.owner[row]) - chunk.first
        rows = np.flatnonzero(chunk.owner == chunk.first + sample) if asked.kind == "images" else [row]
        hits[query][rank] = SearchHit(
            similarity=float(found.similarity[query, rank]),
            sample=chunk.first + sample,
            name=chunk.names[sample],
            captions=tuple(chunk.captions[row] for row in rows),
        )
    return [QueryHits(query, tuple(filter(None, row))) for query, row in zip(queries, hits, strict=True)]


def _table(result: QueryHits, kind: Kind) -> Table:
    rows = [
        [str(rank), f"{hit.similarity:.3f}", printable(hit.name, 60), printable(" | ".join(hit.captions), 100)]
        for rank, hit in enumerate(result.hits, 1)
    ]
    columns = ("rank", "similarity", "name", "captions" if kind == "images" else "caption")
    return Table(f"{kind} nearest to {printable(result.query, 100)}", columns, rows, left=columns[2:])


def _write_page(
    asked: SearchRequest,
    html: Path,
    results: list[QueryHits],
    pictures: list["Image.Image"],
    embeddings: Embeddings,
    console: Console,
) -> None:
    """The page with pictures."""
    from askew.report.page import thumbnail, write_page

    shown = sorted({hit.sample for result in results for hit in result.hits})
    wanted = set(list(dict.fromkeys(_by_rank(results)))[:PICTURES])
    if len(shown) > PICTURES:
        console.warn(f"the page shows {PICTURES:,} pictures of {len(shown):,}: the best of each query")
    thumbnails = {}
    for sample in sorted(wanted):
        try:
            thumbnails[sample] = thumbnail(decode(embeddings.source[sample].image), SIDE)
        except OSError as error:
            console.warn(f"{embeddings.source.name(sample)} has no picture on the page: {error.strerror or error}")
    asked_images = {str(path): thumbnail(image, SIDE) for path, image in zip(asked.images, pictures, strict=True)}
    with writing("the page", html):
        write_page(
            html,
            "search.html",
            results=results,
            kind=asked.kind,
            model=asked.store.model,
            data=asked.store.data,
            num_samples=embeddings.readable,
            thumbnails=thumbnails,
            asked_images=asked_images,
        )
    console.say(f"page     {html}")


def _by_rank(results: list[QueryHits]) -> Iterator[int]:
    """The samples of all queries: every first result, every second, and so on."""
    longest = max(len(result.hits) for result in results)
    return (result.hits[rank].sample for rank in range(longest) for result in results if rank < len(result.hits))
