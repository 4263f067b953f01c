"""From the numbers of evaluation/examples/ to what report/examples.py shows."""

from collections.abc import Sequence

import numpy as np
from PIL import Image
from torch import Tensor

from askew.evaluation.examples.effects import effects, in_words, rank_correlation
from askew.evaluation.examples.gallery import Misaligned, spread
from askew.evaluation.examples.others import attracted, innate
from askew.evaluation.examples.plane import plane
from askew.evaluation.examples.pool import Pool
from askew.evaluation.examples.retrieval import Ranking, confusions, ranking
from askew.report import examples as parts
from askew.report.page import thumbnail

SHOWN_NAMES, SHOWN_SAMPLES, SHOWN_OTHERS, MAPPED = 12, 12, 8, 200
SIDE = 96  # pixels of thumbnails


class Shelf:
    """The pictures and texts of a pool that are shown, each once, in the order in which they were first asked for."""

    def __init__(self, found: Pool):
        self.pool = found
        self._pictures: dict[int, int] = {}
        self._texts: dict[int, int] = {}

    def picture(self, row: int) -> int:
        """Where a picture of the pool is among those that are shown."""
        return self._pictures.setdefault(int(row), len(self._pictures))

    def text(self, column: int) -> int:
        """Where a text of the pool is among those that are shown."""
        return self._texts.setdefault(int(column), len(self._texts))

    @property
    def pictures(self) -> tuple[str, ...]:
        """As data: URIs."""
        return tuple(thumbnail(self.pool.pictures[row], SIDE) for row in self._pictures)

    @property
    def texts(self) -> tuple[str, ...]:
        """As they are."""
        return tuple(self.pool.texts[column] for column in self._texts)


def retrieval(shelf: Shelf) -> parts.RetrievalExamples | None:
    """Both directions; None where there is nothing to choose from in either."""
    scores, match = shelf.pool.scores, shelf.pool.match
    to_image = _direction(ranking(scores.T, match.T), scores.T, match.T, shelf.text, shelf.picture)
    to_text = _direction(ranking(scores, match), scores, match, shelf.picture, shelf.text)
    return parts.RetrievalExamples(to_image, to_text) if to_image or to_text else None


def _direction(
    found: Ranking, scores: np.ndarray, match: np.ndarray, query, candidate
) -> parts.RetrievalDirection | None:
    """One direction; `query` and `candidate` put rows and columns on the shelf."""
    if found.candidates < 2:
        return None

    def hit(row: int, column: int) -> parts.Hit:
        return parts.Hit(candidate(column), round(float(scores[row, column]), 4), bool(match[row, column]))

    kinds: tuple[tuple[parts.Kind, Sequence], ...] = (
        ("best", found.best), ("typical", found.typical), ("worst", found.worst),
    )  # fmt: skip
    shown = tuple(
        parts.ShownQuery(
            kind,
            query(one.query),
            one.rank + 1,
            tuple(hit(one.query, column) for column in one.top),
            hit(one.query, one.match),
        )
        for kind, queries in kinds
        for one in queries
    )
    return parts.RetrievalDirection(found.queries, found.candidates, found.recall, found.median + 1, shown)


def names(shelf: Shelf) -> parts.WrongNames | None:
    """The names that are confused most; None where there is but one."""
    match = shelf.pool.match
    found = confusions(shelf.pool.scores, match)
    if not found:
        return None
    rows = tuple(
        parts.WrongName(
            shelf.picture(one.example),
            shelf.text(one.right),
            shelf.text(one.wrong),
            shelf.picture(int(match[:, one.wrong].argmax())),
            one.confused,
            one.images,
            round(one.margin, 4),
        )
        for one in found[:SHOWN_NAMES]
    )
    return parts.WrongNames(rows, sum(one.confused for one in found), int((~match.all(axis=1)).sum()))


def joint_map(shelf: Shelf, num: int = MAPPED) -> parts.JointMap:
    """The first `num` images, each with its first text."""
    found = shelf.pool
    rows = range(min(num, len(found.pictures)))
    columns = [found.own_text(row) for row in rows]
    placed = plane(found.image[: len(rows)], found.text[columns])
    pairs = tuple(
        parts.MappedPair(
            shelf.picture(row),
            shelf.text(column),
            _point(placed.image[row]),
            _point(placed.text[row]),
            round(float(found.image[row] @ found.text[column]), 4),
        )
        for row, column in zip(rows, columns, strict=True)
    )
    return parts.JointMap(pairs, placed.explained, placed.gap)


def _point(place: np.ndarray) -> parts.Point:
    return round(float(place[0]), 4), round(float(place[1]), 4)


def gallery(found: Misaligned, num: int = SHOWN_SAMPLES) -> parts.Gallery:
    """Samples from harmless to ruinous, with the ratios of all."""
    every = np.sort(found.student.reshape(-1))

    def view(row: int, column: int) -> parts.GalleryView:
        student = float(found.student[row, column])
        return parts.GalleryView(
            thumbnail(picture(found.views[row, column]), SIDE),
            in_words(found.parameters[row, column].tolist(), found.operations),
            round(student, 4),
            None if found.teacher is None else round(float(found.teacher[row, column]), 4),
            round(float(np.searchsorted(every, student, side="left") / len(every)), 4),
        )

    samples = tuple(
        parts.GallerySample(
            found.captions[row],
            thumbnail(picture(found.originals[row]), SIDE),
            round(float(found.distance[row]), 4),
            tuple(view(row, column) for column in np.argsort(found.student[row], kind="stable")),
        )
        for row in spread(found.student, num)
    )
    effect = effects(found.parameters, found.operations, found.student)
    return parts.Gallery(
        samples,
        _rounded(found.student),
        None if found.teacher is None else _rounded(found.teacher),
        None if found.teacher is None else rank_correlation(found.student.reshape(-1), found.teacher.reshape(-1)),
        tuple(parts.OperationEffect(e.name, e.share, e.correlation, e.low, e.high) for e in effect),
        _attracted(found),
        _innate(found),
    )


def _attracted(found: Misaligned) -> tuple[parts.AttractedView, ...]:
    return tuple(
        parts.AttractedView(
            found.captions[one.sample],
            found.captions[one.other],
            thumbnail(picture(found.originals[one.sample]), SIDE),
            thumbnail(picture(found.views[one.sample, one.view]), SIDE),
            in_words(found.parameters[one.sample, one.view].tolist(), found.operations),
            round(one.student, 4),
            None if one.teacher is None else round(one.teacher, 4),
        )
        for one in attracted(found, SHOWN_OTHERS)
    )


def _innate(found: Misaligned) -> tuple[parts.InnatePair, ...]:
    return tuple(
        parts.InnatePair(
            found.captions[one.sample],
            found.captions[one.other],
            thumbnail(picture(found.originals[one.sample]), SIDE),
            round(one.student, 4),
            None if one.teacher is None else round(one.teacher, 4),
        )
        for one in innate(found, SHOWN_OTHERS)
    )


def _rounded(ratios: np.ndarray) -> tuple[float, ...]:
    return tuple(round(value, 4) for value in ratios.reshape(-1).tolist())


def picture(pixels: Tensor) -> Image.Image:
    """uint8 (3, S, S) as an image."""
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
