"""The equations: pure functions of tensors, float32 scalars out.

They know no positions, ranks, devices, configs or weights of terms.
Which equation is where, and which test holds it: docs/equations.md.
"""

from askew.objectives.contrastive import info_nce, mp_nce
from askew.objectives.log_ratio import (
    log_distance,
    negative_pairs,
    own_against_other,
    own_against_own,
    paired_log_distance,
    positive_pairs,
    squared,
)
from askew.objectives.masked_language import cross_entropy_per_sample, masked_language
from askew.objectives.reduce import mean_per_anchor
from askew.objectives.self_supervised import negative_cosine, nt_xent

__all__ = [
    "cross_entropy_per_sample",
    "info_nce",
    "log_distance",
    "masked_language",
    "mean_per_anchor",
    "mp_nce",
    "negative_cosine",
    "negative_pairs",
    "nt_xent",
    "own_against_other",
    "own_against_own",
    "paired_log_distance",
    "positive_pairs",
    "squared",
]
