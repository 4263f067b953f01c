"""The readings of the distillation terms that the paper leaves open, by their names (docs/deviations.md)."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor

from askew.objectives.log_ratio import (
    Penalty,
    absolute,
    aug_own_against_other,
    huber,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    paired_log_distance,
    squared,
    teacher_ranks,
)


class Own(NamedTuple):
    """Of texts with their own images."""

    delta: Tensor  # (N,), log distance, student minus teacher
    teacher: Tensor  # (N,), log distance of the teacher


def own_pairs(embedded: dict[str, Tensor], view: str = "image") -> Own:
    """Each text with its own `view`: unit-length embeddings by name, the teacher's too, (N, D) each."""
    student = paired_log_distance(embedded["text"], embedded[view])
    teacher = paired_log_distance(embedded["text"].detach(), embedded[f"teacher_{view}"])
    return Own(student - teacher, teacher)


class Pairs(NamedTuple):
    """What the readings draw on. Rows are the texts of A anchors, columns the images of C candidates."""

    delta: Tensor  # (A, C), log distance, student minus teacher
    delta_aug: Tensor  # (A, C), the same to augmented images
    match: Tensor  # (A, C) bool
    own: Own  # of the rows
    all_own: Own  # of the columns
    all_own_aug: Own  # of the columns' augmented images


RHO: dict[str, Penalty] = {"squared": squared, "absolute": absolute, "huber": huber}

NEGATIVE: dict[str, Callable[[Pairs, Penalty], Tensor]] = {
    "same_pair": lambda p, rho: negative_pairs(p.delta, p.delta_aug, p.match, rho),
    "aug_own_against_other": lambda p, rho: aug_own_against_other(p.delta_aug, p.all_own_aug.delta, p.match, rho),
    "own_against_aug_other": lambda p, rho: own_against_aug_other(p.delta_aug, p.own.delta, p.match, rho),
}

NOISY: dict[str, Callable[[Pairs, Penalty], Tensor]] = {
    "own_against_other": lambda p, rho: own_against_other(p.delta, p.own.delta, p.all_own.delta, p.match, rho),
    "own_against_own": lambda p, rho: own_against_own(p.own.delta, p.all_own.delta, p.match, rho),
    "teacher_ranks": lambda p, rho: teacher_ranks(
        p.own.delta, p.all_own.delta, p.own.teacher, p.all_own.teacher, p.match, rho
    ),
}
