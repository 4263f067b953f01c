"""An image and the captions of others: views that come near a wrong caption, and pairs that never fitted.

The second and the third kind of misalignment in Sec. 4.1 and Figure 3; the first is in gallery.py. "Others" are samples
with another caption and another image.
"""

from dataclasses import dataclass

import numpy as np

from askew.evaluation.examples.gallery import Misaligned, Sight
from askew.objectives.log_ratio import log_distance


@dataclass(frozen=True)
class Attracted:
    """An augmented view that is nearer to another sample's caption than to its own (the ratio in Eq. 8).

    Attributes:
        sample, view: which.
        other: the sample with that caption.
        student, teacher: d(t_j, v'_i) / d(t_j, v_i), below 1 where the view came nearer; None without a teacher.
    """

    sample: int
    view: int
    other: int
    student: float
    teacher: float | None


@dataclass(frozen=True)
class Innate:
    """A pair as it is in the data, compared to the captions of others (the ratio in Eq. 9, own against other).

    Attributes:
        sample: which.
        other: the sample whose caption is nearest to the image.
        student, teacher: d(t_i, v_i) over the geometric mean of d(t_j, v_i); at 1 a caption fits no better than that of
            any other sample. None without a teacher.
    """

    sample: int
    other: int
    student: float
    teacher: float | None


def attracted(found: Misaligned, num: int) -> list[Attracted]:
    """Up to `num` views that augmentation moved nearest to a wrong caption, one per sample; the worst first.

    Only views count whose original was nearer to its own caption than to that one, and that are not any more.
    """
    others = _others(found)
    after, before = _to_views(found.by_student), _to_originals(found.by_student)
    own_after, own_before = _own(after), _own(before)
    # (texts j, samples i, views k)
    counts = others[:, :, None] & (after < own_after[None]) & (before > own_before[None])[:, :, None]
    change = np.where(counts, after - before[:, :, None], 0.0)
    teacher = None
    if found.by_teacher is not None:
        teacher = _to_views(found.by_teacher) - _to_originals(found.by_teacher)[:, :, None]
    made = []
    for sample in np.argsort(change.min(axis=(0, 2)), kind="stable")[:num].tolist():
        other, view = np.unravel_index(change[:, sample].argmin(), change[:, sample].shape)
        if change[other, sample, view] < 0:
            of_teacher = None if teacher is None else float(np.exp(teacher[other, sample, view]))
            made.append(
                Attracted(sample, int(view), int(other), float(np.exp(change[other, sample, view])), of_teacher)
            )
    return made


def innate(found: Misaligned, num: int) -> list[Innate]:
    """Up to `num` pairs whose caption fits least, compared to those of others; the worst first.

    A sample of which there is no other is left out.
    """
    others = _others(found)
    usable = np.flatnonzero(others.any(axis=0))
    before = _to_originals(found.by_student)
    student = _against_others(before, others)
    teacher = None
    if found.by_teacher is not None:
        teacher = _against_others(_to_originals(found.by_teacher), others)
    nearest = np.where(others, before, np.inf).argmin(axis=0)
    return [
        Innate(
            sample, int(nearest[sample]), float(student[sample]), None if teacher is None else float(teacher[sample])
        )
        for sample in usable[np.argsort(-student[usable], kind="stable")][:num].tolist()
    ]


def _others(found: Misaligned) -> np.ndarray:
    """(n texts, n samples) bool: whether a text is of another image, and is not the sample's own caption."""
    captions = np.array(found.captions, dtype=object)
    return (found.match[:, None] != found.match) & (captions[:, None] != captions)


def _to_originals(sight: Sight) -> np.ndarray:
    """(n texts, n samples) log distances."""
    return log_distance(sight.text, sight.original).numpy()


def _to_views(sight: Sight) -> np.ndarray:
    """(n texts, n samples, k views) log distances."""
    return log_distance(sight.text, sight.views.flatten(0, 1)).unflatten(1, sight.views.shape[:2]).numpy()


def _own(distances: np.ndarray) -> np.ndarray:
    """(n, ...) of each sample to its own text."""
    samples = np.arange(len(distances))
    return distances[samples, samples]


def _against_others(distances: np.ndarray, others: np.ndarray) -> np.ndarray:
    """(n,) distance to the own text over the geometric mean of those to others; nan where there are none."""
    counts = others.sum(axis=0)
    mean = np.divide(
        np.where(others, distances, 0.0).sum(axis=0), counts, where=counts > 0, out=np.full(len(counts), np.nan)
    )
    return np.exp(_own(distances) - mean)
