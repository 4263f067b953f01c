"""What a model does with a run's data, as plain data that pages and figures draw; runs/examples.py fills it.

Pictures are data: URIs. Numbers of pictures and texts are places in `Examples.pictures` and `Examples.texts`.
"""

from dataclasses import dataclass, field
from typing import Literal

from askew.report.example_figures import examples_figures

__all__ = [
    "AttractedView",
    "Examples",
    "Gallery",
    "GallerySample",
    "GalleryView",
    "Hit",
    "InnatePair",
    "JointMap",
    "MappedPair",
    "OperationEffect",
    "RetrievalDirection",
    "RetrievalExamples",
    "ShownQuery",
    "WrongName",
    "WrongNames",
    "examples_figures",
]

Kind = Literal["best", "typical", "worst"]
Point = tuple[float, float]


@dataclass(frozen=True)
class Hit:
    """A candidate for a query: its place among pictures or texts, its cosine, and whether it belongs to the query."""

    index: int
    cosine: float
    right: bool


@dataclass(frozen=True)
class ShownQuery:
    """A query with its first candidates.

    Attributes:
        query: its place among texts or pictures.
        rank: of its best match, from 1.
        hits: the first candidates, from best to worst.
        match: the best match, which may be among them.
    """

    kind: Kind
    query: int
    rank: int
    hits: tuple[Hit, ...]
    match: Hit


@dataclass(frozen=True)
class RetrievalDirection:
    """Queries of one direction.

    Attributes:
        queries, candidates: how many there are in all.
        recall: share of the queries with a match among the first k, by k.
        median_rank: of the best matches, from 1.
        shown: the best, typical and worst queries, in this order.
    """

    queries: int
    candidates: int
    recall: dict[int, float]
    median_rank: float
    shown: tuple[ShownQuery, ...]


@dataclass(frozen=True)
class RetrievalExamples:
    """Both directions; None where there is but one candidate."""

    text_to_image: RetrievalDirection | None
    image_to_text: RetrievalDirection | None


@dataclass(frozen=True)
class WrongName:
    """A right name, and a wrong one that the model puts near.

    Attributes:
        picture: of an image of the right name.
        right, wrong: the names, places among texts.
        wrong_picture: an image of the wrong name; None if none is among the pictures.
        confused, images: for how many of the right name's images the wrong one is at least as near.
        margin: cosine of the wrong name minus that of the right one, for `picture`.
    """

    picture: int
    right: int
    wrong: int
    wrong_picture: int | None
    confused: int
    images: int
    margin: float


@dataclass(frozen=True)
class WrongNames:
    """The names that are confused most; `confused` of `images` images have a wrong name at least as near."""

    names: tuple[WrongName, ...]
    confused: int
    images: int


@dataclass(frozen=True)
class MappedPair:
    """An image and a text that belongs to it, in the plane."""

    picture: int
    text: int
    image_at: Point
    text_at: Point
    cosine: float


@dataclass(frozen=True)
class JointMap:
    """Images and texts in the plane of their first two principal components.

    Attributes:
        explained: share of the variance along each axis.
        gap: distance between the mean image and the mean text, 0 to 2.
    """

    pairs: tuple[MappedPair, ...]
    explained: Point
    gap: float


@dataclass(frozen=True)
class GalleryView:
    """An augmented view.

    Attributes:
        picture: a data: URI.
        changes: what was done to it, in words; () for nothing.
        student, teacher: d(t, v') / d(t, v), the distance of caption and view over that of caption and original.
        above: share of all views with a smaller student's ratio.
    """

    picture: str
    changes: tuple[str, ...]
    student: float
    teacher: float | None
    above: float


@dataclass(frozen=True)
class GallerySample:
    """A caption, the original view (a data: URI), the student's distance of the two, and augmented views."""

    caption: str
    original: str
    distance: float
    views: tuple[GalleryView, ...]


@dataclass(frozen=True)
class AttractedView:
    """An augmented view that came nearer to the caption of another sample than to its own.

    Attributes:
        original, picture: data: URIs of the original view and of the augmented one.
        changes: what was done to it, in words.
        student, teacher: the distance of the other caption and view over that of the other caption and original.
    """

    caption: str
    other: str
    original: str
    picture: str
    changes: tuple[str, ...]
    student: float
    teacher: float | None


@dataclass(frozen=True)
class InnatePair:
    """A pair that does not fit from the start.

    Attributes:
        other: the caption of another sample that is nearest to the image.
        original: a data: URI.
        student, teacher: the distance to its caption over the mean distance to the captions of others.
    """

    caption: str
    other: str
    original: str
    student: float
    teacher: float | None


@dataclass(frozen=True)
class OperationEffect:
    """How strongly an image operation goes with the student's ratio: see evaluation/examples/effects.py."""

    name: str
    share: float
    correlation: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Gallery:
    """Augmented views from harmless to ruinous.

    Attributes:
        samples: from harmless to ruinous.
        student, teacher: the ratios of all views that were drawn; None without a teacher.
        agreement: rank correlation of the two; None without a teacher.
        operations: the one that goes with the largest ratios first.
        attracted, innate: the other two kinds of misalignment, the worst first.
    """

    samples: tuple[GallerySample, ...]
    student: tuple[float, ...]
    teacher: tuple[float, ...] | None
    agreement: float | None
    operations: tuple[OperationEffect, ...]
    attracted: tuple[AttractedView, ...] = ()
    innate: tuple[InnatePair, ...] = ()


@dataclass(frozen=True)
class Examples:
    """Everything. A part that is None has its reason in `missing`.

    Attributes:
        weights: whose they are: "student", or "student at step 40 of 300".
        data: of which data retrieval, names and map are, in words.
        trained_on: whether the model was trained on these images.
        notes: what a reader should know, for example how many samples could not be read.
        missing: why a part is missing, by its name.
    """

    weights: str
    data: str
    trained_on: bool
    notes: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    retrieval: RetrievalExamples | None = None
    names: WrongNames | None = None
    map: JointMap | None = None
    gallery: Gallery | None = None
    missing: dict[str, str] = field(default_factory=dict)
