"""What a search found, as the page and the tables show it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class SearchHit:
    """One image or caption of the data.

    Attributes:
        similarity: its cosine with the query.
        sample: the index of its sample in the source.
        name: of the sample.
        captions: of an image, all of them; else the caption that was found.
    """

    similarity: float
    sample: int
    name: str
    captions: tuple[str, ...]


@dataclass(frozen=True)
class QueryHits:
    """A query, as it was typed, and what is nearest to it, the nearest first."""

    query: str
    hits: tuple[SearchHit, ...]
