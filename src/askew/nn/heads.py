"""Heads that exist in training only."""

from jaxtyping import Float
from torch import Tensor, nn


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

    def forward(self, features: Float[Tensor, "M F"]) -> Float[Tensor, "M V"]:
        """Logits over the vocabulary for M masked positions."""
        return super().forward(features)
