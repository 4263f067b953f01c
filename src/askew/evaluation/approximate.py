"""Search over more than a million embeddings: a graph of neighbours (usearch), kept beside the chunks it was made of.

The graph holds float16 copies. What it finds is compared again with the stored float32 embeddings, so similarities and
their order are exact; a true neighbour may be missing.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from askew.data.files import replacing_file
from askew.errors import UserError, writing
from askew.evaluation.nearest import Block, Kind, Nearest, blocks, candidates, nearest
from askew.evaluation.streaming import Embeddings

LIMIT = 1_000_000  # samples up to which every product is computed
MORE = 4  # times as many neighbours as asked are compared again
EXPANSION = 128  # candidates that a search keeps at least: more find more of the true neighbours


def index_class(num_samples: int) -> Any:
    """usearch's class of graphs.

    Raises:
        UserError: usearch is not installed.
    """
    try:
        from usearch.index import Index  # type: ignore[import-not-found]  # an optional extra
    except ImportError as error:
        raise UserError(
            f"{num_samples:,} samples are more than {LIMIT:,}, and usearch, which searches so many, is not installed: "
            "pip install 'askew[search]'; or compare with all of them: --exact"
        ) from error
    return Index


def approximately_nearest(
    embeddings: Embeddings, kind: Kind, queries: np.ndarray, top: int, say: Callable[[str], None]
) -> Nearest:
    """As `nearest`, by the graph of a store, which is made if it is not there.

    Raises:
        UserError: usearch is not installed, or the graph cannot be written.
    """
    graph = opened(embeddings, kind, queries.shape[1], say)
    graph.expansion_search = max(EXPANSION, MORE * top)
    rows = []
    for query in queries:
        places = graph.search(query, MORE * top).keys.astype(np.int64)
        rows.append(nearest(_again(embeddings, kind, np.sort(places)), query[None], top))
    k = min(row.places.shape[1] for row in rows)
    return Nearest(
        np.concatenate([row.similarity[:, :k] for row in rows]), np.concatenate([row.places[:, :k] for row in rows])
    )


def opened(embeddings: Embeddings, kind: Kind, width: int, say: Callable[[str], None]) -> Any:
    """The graph of the images or captions of a store, mapped into memory. Of copies, it has the first."""
    made_by = index_class(len(embeddings))
    file = embeddings.beside(f"{kind}.usearch")
    if not file.exists():
        say(f"making a search index of {len(embeddings):,} samples, once for these data and this model")
        first = _firsts(embeddings, kind)
        index, done = made_by(ndim=width, metric="cos", dtype="f16"), 0
        for block in blocks(embeddings.chunks(), kind):
            rows = np.flatnonzero(first[done : done + len(block.places)])
            done += len(block.places)
            if len(rows):
                index.add(block.places[rows].astype(np.uint64), block.vectors[rows])
        _save(index, file)
    found = made_by.restore(file, view=True)
    assert found is not None, "written by this function"
    return found


def _firsts(embeddings: Embeddings, kind: Kind) -> np.ndarray:
    """For each candidate, in order, whether none before it is the same: (n,) bool.

    In a graph, the neighbours of a query would otherwise be forty copies of one image.
    """
    same = np.concatenate([block.same for block in blocks(embeddings.chunks(), kind)])
    first = np.zeros(len(same), dtype=bool)
    first[np.unique(same, return_index=True)[1]] = True
    return first


def _save(index: Any, file: Path) -> None:
    with writing("the search index", file, ", or name another folder with --cache DIR"):
        file.parent.mkdir(parents=True, exist_ok=True)
        with replacing_file(file) as temporary:
            index.save(temporary)


def _again(embeddings: Embeddings, kind: Kind, places: np.ndarray) -> list[Block]:
    """The candidates at these places, with their stored embeddings."""
    found = []
    numbers = places >> 32
    for number in np.unique(numbers).tolist():
        block = candidates(number, embeddings.chunk(number), kind)
        rows = np.flatnonzero(np.isin(block.places, places[numbers == number]))
        found.append(Block(block.vectors[rows], block.places[rows], block.same[rows]))
    return found
