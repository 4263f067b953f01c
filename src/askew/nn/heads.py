"""Heads that exist in training only."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from askew.objectives.masked_language import NOT_MASKED

BUCKET = 64  # the number of masked tokens is rounded up to a multiple of this


class TokenHead(nn.Linear):
    """Token features to vocabulary logits, for masked language modelling (Eq. (11); DeCLIP's linear head).

    Args:
        width: the text tower's width F.
        vocab_size: V, the mask token included.
    """

    def __init__(self, width: int, vocab_size: int):
        super().__init__(width, vocab_size)
        nn.init.normal_(self.weight, std=0.02)
        nn.init.zeros_(self.bias)

    def masked(
        self, tokens: Float[Tensor, "B L F"], labels: Int[Tensor, "B L"]
    ) -> tuple[Float[Tensor, "M V"], Int[Tensor, " M"], Int[Tensor, " M"]]:
        """Logits at the masked positions alone, their labels, and the sample that each is from.

        M is rounded up to a multiple of BUCKET with rows labelled NOT_MASKED, which reach neither loss nor gradient:
        sizes that repeat let memory be used again, where sizes of every kind made a CPU run grow by a gigabyte.
        """
        sample, position = (labels != NOT_MASKED).nonzero(as_tuple=True)
        spare = -len(sample) % BUCKET
        kept = F.pad(labels[sample, position], (0, spare), value=NOT_MASKED)
        sample, position = F.pad(sample, (0, spare)), F.pad(position, (0, spare))
        return self(tokens[sample, position]), kept, sample

    def forward(self, features: Float[Tensor, "M F"]) -> Float[Tensor, "M V"]:
        """Logits over the vocabulary for M masked positions."""
        return super().forward(features)
