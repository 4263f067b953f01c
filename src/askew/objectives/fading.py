"""How the contrast of augmented views fades while distillation grows: readings of the first terms of the total.

`alpha` is the weight of distillation, in [0, 1]. `anchor_is_aug` and `member_is_aug` mark the augmented images among
the originals and texts. Letters: A anchors (rows), C candidates (columns).
"""

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from askew.objectives.contrastive import mp_nce


def augmented_terms(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """Positive pairs with an augmented member weigh 1 - alpha, all others 1: Eq. (13), augmented_terms.

    All negatives stay. Inputs, range and reduction are those of `mp_nce`.

    By hand: at alpha 0 it equals `mp_nce`. Logits 0, an original anchor, three members of which the first two are
    positive and the second augmented, and alpha 1/2 give (log 2 + log(2) / 2) / 2 = 0.5199.
    """
    faded = anchor_is_aug[:, None] | member_is_aug[None, :]
    return mp_nce(logits, positive, ~positive, torch.where(faded, 1.0 - alpha, 1.0))


def two_sets(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """(1 - alpha) x contrast of all 3N embeddings + alpha x that of the 2N without augmentation: Eq. (13), two_sets.

    The augmented images leave the denominators as well. Inputs, range and reduction are those of `mp_nce`. At least one
    anchor must be an original.

    By hand: logits 0, an original anchor, three members of which the first is positive and the second augmented, and
    alpha 1/2 give (log 3 + log 2) / 2 = 0.8959.
    """
    whole = unfaded(logits, positive, anchor_is_aug, member_is_aug, alpha)
    kept = (~anchor_is_aug[:, None] & ~member_is_aug[None, :]).nonzero(as_tuple=True)
    shape = (int((~anchor_is_aug).sum()), int((~member_is_aug).sum()))
    originals, match = logits[kept].view(shape), positive[kept].view(shape)
    return (1.0 - alpha) * whole + alpha * mp_nce(originals, match, ~match, torch.ones_like(originals))


def whole_contrast(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """(1 - alpha) x the whole contrast, that of the originals included: Eq. (13), whole_contrast.

    Inputs, range and reduction are those of `mp_nce`.

    By hand: logits 0, one positive, one negative and alpha 1/4 give 3/4 log 2 = 0.5199.
    """
    return (1.0 - alpha) * unfaded(logits, positive, anchor_is_aug, member_is_aug, alpha)


def unfaded(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """The contrast, regardless of alpha: Eq. (13), unfaded.

    Inputs, range and reduction are those of `mp_nce`. By hand: logits 0, one positive and one negative give log 2.
    """
    return mp_nce(logits, positive, ~positive, torch.ones_like(logits))


Fading = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
FADING: dict[str, Fading] = {
    "augmented_terms": augmented_terms,
    "two_sets": two_sets,
    "whole_contrast": whole_contrast,
    "unfaded": unfaded,
}


def weights_of_pairs(fading: Fading, is_aug: Sequence[bool], alpha: float) -> list[list[float]]:
    """The weight of each positive pair, by whether its anchor (rows) and its member (columns) are augmented.

    Raises KeyError for two_sets, which does more than weigh pairs.

    By hand: augmented_terms at alpha 1/4, of an original and an augmented image, is [[1, 3/4], [3/4, 3/4]].
    """
    weights: dict[Fading, float] = {augmented_terms: 1.0, whole_contrast: 1.0 - alpha, unfaded: 1.0}
    original = weights[fading]
    with_aug = 1.0 - alpha if fading is augmented_terms else original
    return [[with_aug if anchor or member else original for member in is_aug] for anchor in is_aug]


def contrast_at_chance(fading: Fading, num_samples: int, alpha: float) -> float:
    """The contrast of N samples with different match ids when all embeddings are alike."""
    is_aug = torch.tensor([False, False, True])  # one sample's image, text and augmented image, against all 3N
    positive = (torch.arange(3 * num_samples) % num_samples == 0).expand(3, -1)
    logits = torch.zeros(positive.shape)
    return fading(logits, positive, is_aug, is_aug.repeat_interleave(num_samples), alpha).item()
