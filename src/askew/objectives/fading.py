"""How the contrast of augmented views fades while distillation grows: readings of the total's first terms.

`alpha`, the weight of distillation, is in [0, 1]; `anchor_is_aug` and `member_is_aug` tell augmented images from
originals and texts. Letters: A anchors (rows), C candidates (columns).
"""

from collections.abc import Callable

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
    """Positives with an augmented member weigh 1 - alpha, the others 1; all negatives stay: Eq. (13), augmented_terms.

    Inputs, range and reduction of `mp_nce`. By hand: at alpha 0 it is `mp_nce`; logits 0, three members of which the
    first two are positives and the second augmented, an original anchor, alpha 1/2: (log 2 + log(2) / 2) / 2 = 0.5199.
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

    Augmented images leave the denominators too. Inputs, range and reduction of `mp_nce`; at least one original anchor.
    By hand: logits 0, three members of which the first is positive and the second augmented, an original anchor, alpha
    1/2: (log 3 + log 2) / 2 = 0.8959.
    """
    whole = unfaded(logits, positive, anchor_is_aug, member_is_aug, alpha)
    kept = (~anchor_is_aug[:, None] & ~member_is_aug[None, :]).nonzero(as_tuple=True)
    shape = (int((~anchor_is_aug).sum()), int((~member_is_aug).sum()))
    originals, own = logits[kept].view(shape), positive[kept].view(shape)
    return (1.0 - alpha) * whole + alpha * mp_nce(originals, own, ~own, torch.ones_like(originals))


def whole_contrast(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """(1 - alpha) x the contrast, of originals too: Eq. (13), whole_contrast.

    Inputs, range and reduction of `mp_nce`. By hand: logits 0, one positive, one negative and alpha 1/4 give
    3/4 log 2 = 0.5199.
    """
    return (1.0 - alpha) * unfaded(logits, positive, anchor_is_aug, member_is_aug, alpha)


def unfaded(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    anchor_is_aug: Bool[Tensor, " A"],
    member_is_aug: Bool[Tensor, " C"],
    alpha: float,
) -> Float32[Tensor, ""]:
    """The contrast, whatever alpha: Eq. (13), unfaded.

    Inputs, range and reduction of `mp_nce`. By hand: logits 0, one positive and one negative give log 2.
    """
    return mp_nce(logits, positive, ~positive, torch.ones_like(logits))


Fading = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
FADING: dict[str, Fading] = {f.__name__: f for f in (augmented_terms, two_sets, whole_contrast, unfaded)}


def at_chance(fading: Fading, num_samples: int, alpha: float) -> float:
    """The contrast of N samples of different groups, every embedding like every other."""
    is_aug = torch.tensor([False, False, True])  # an image, a text and an augmented image of one sample against all 3N
    positive = (torch.arange(3 * num_samples) % num_samples == 0).expand(3, -1)
    logits = torch.zeros(positive.shape)
    return fading(logits, positive, is_aug, is_aug.repeat_interleave(num_samples), alpha).item()
