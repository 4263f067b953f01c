"""The equations: pure functions of tensors, float32 scalars out.

They know no positions, ranks, devices, configs or weights of terms.
Which equation is where, and which test holds it: docs/equations.md.
"""

from askew.objectives.contrastive import info_nce, mp_nce, pairwise_sigmoid
from askew.objectives.fading import augmented_terms, two_sets, unfaded, whole_contrast
from askew.objectives.log_ratio import (
    absolute,
    aug_own_against_other,
    huber,
    log_distance,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    paired_log_distance,
    positive_pairs,
    squared,
    teacher_ranks,
)
from askew.objectives.masked_language import cross_entropy_per_sample, masked_language
from askew.objectives.reduce import by_rows, mean_per_anchor
from askew.objectives.self_supervised import negative_cosine, nt_xent
from askew.objectives.soft_alignment import soft_alignment

__all__ = [
    "absolute",
    "aug_own_against_other",
    "augmented_terms",
    "by_rows",
    "cross_entropy_per_sample",
    "huber",
    "info_nce",
    "log_distance",
    "masked_language",
    "mean_per_anchor",
    "mp_nce",
    "negative_cosine",
    "negative_pairs",
    "nt_xent",
    "own_against_aug_other",
    "own_against_other",
    "own_against_own",
    "paired_log_distance",
    "pairwise_sigmoid",
    "positive_pairs",
    "soft_alignment",
    "squared",
    "teacher_ranks",
    "two_sets",
    "unfaded",
    "whole_contrast",
]
