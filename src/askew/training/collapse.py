"""Signs of collapse: what the loop logs of how the embeddings of a step lie, beside the loss.

A loss can fall while the embeddings shrink to few directions, or while images and texts stay apart. These numbers show
it. They are computed on logged steps only, without gradient, and draw nothing at random, so training is the same with
and without them, bit for bit.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from askew.objectives.geometry import alignment, effective_rank, modality_gap, uniformity

MOST_ROWS = 1024  # samples that are looked at: what bounds the cost, at any batch size
READ = ("image", "text", "match_id")
MOVED = ("mps",)  # devices without float64


def sample_of(gathered: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A copy of the first rows of what a step gathered, the same on every rank. The rest need not stay in memory."""
    return {key: gathered[key][:MOST_ROWS].detach().clone() for key in READ}


@torch.no_grad()
def signs_of(sample: Mapping[str, Tensor]) -> dict[str, float]:
    """The signs by the names under which they are logged, in float32. What is not defined is left out.

    Args:
        sample: `image` and `text` (N, D) of unit length, and `match_id` (N,): see `sample_of`.
    """
    image, text, match_id = (sample[key].cpu() if sample[key].device.type in MOVED else sample[key] for key in READ)
    signs = {
        "image_rank": effective_rank(image),
        "text_rank": effective_rank(text),
        "modality_gap": modality_gap(image, text),
        "image_uniformity": uniformity(image),
        "text_uniformity": uniformity(text),
        "alignment": alignment(image, text, match_id[:, None] == match_id[None, :]),
    }
    return {name: value.item() for name, value in signs.items() if value.isfinite()}
