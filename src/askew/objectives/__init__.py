"""The equations: pure functions that take tensors and return a float32 scalar.

They know nothing of positions, ranks, devices, configs or the weights of terms.
docs/equations.md lists where each equation is and which test checks it.
"""

from askew.objectives.contrastive import info_nce, mp_nce, pairwise_sigmoid
from askew.objectives.distillation import (
    LogRatios,
    aug_own_against_other,
    log_ratios,
    negative_pairs,
    own_against_aug_other,
    own_against_other,
    own_against_own,
    positive_pairs,
    teacher_ranks,
)
from askew.objectives.fading import augmented_terms, two_sets, unfaded, whole_contrast
from askew.objectives.geometry import alignment, effective_rank, modality_gap, uniformity
from askew.objectives.global_contrast import gamma_at, global_contrast, log_mean_negatives, log_running_mean
from askew.objectives.log_ratio import absolute, huber, log_distance, paired_log_distance, squared
from askew.objectives.masked_language import cross_entropy_per_sample, masked_language
from askew.objectives.reduce import by_rows, mean_per_anchor
from askew.objectives.self_supervised import negative_cosine, nt_xent
from askew.objectives.soft_alignment import soft_alignment, soft_alignments

__all__ = [
    "LogRatios",
    "absolute",
    "alignment",
    "aug_own_against_other",
    "augmented_terms",
    "by_rows",
    "cross_entropy_per_sample",
    "effective_rank",
    "gamma_at",
    "global_contrast",
    "huber",
    "info_nce",
    "log_distance",
    "log_mean_negatives",
    "log_ratios",
    "log_running_mean",
    "masked_language",
    "mean_per_anchor",
    "modality_gap",
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
    "soft_alignments",
    "squared",
    "teacher_ranks",
    "two_sets",
    "unfaded",
    "uniformity",
    "whole_contrast",
]
