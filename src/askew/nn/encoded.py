"""What a tower returns, and how features become an embedding."""

from typing import NamedTuple

import torch.nn.functional as F
from jaxtyping import Float, Float32
from torch import Tensor, nn


class Encoded(NamedTuple):
    """A tower's output. `embedding` has unit length.

    Attributes:
        tokens: the requested token features, for texts only.
        patches: the features of the patches, for native ViTs that pool at the class token.
    """

    pooled: Float[Tensor, "B F"]
    embedding: Float[Tensor, "B D"]
    tokens: Float[Tensor, "R F"] | None = None
    patches: Float[Tensor, "B P F"] | None = None

    @property
    def patch_mean(self) -> Float[Tensor, "B F"]:
        """The mean over patches, without the class token. The pooled features of a tower that gives no patches."""
        return self.pooled if self.patches is None else self.patches.mean(dim=1)


def unit(vectors: Float[Tensor, "B D"]) -> Float32[Tensor, "B D"]:
    """Rows scaled to unit length, in float32 even under autocast: in bfloat16 the length is off by up to 0.4 %."""
    return F.normalize(vectors.float(), dim=-1)


class Projection(nn.Module):
    """features @ weight: the map to the joint space without a bias, exactly as in open_clip's native towers."""

    def __init__(self, weight: nn.Parameter):
        super().__init__()
        self.weight = weight  # (F, D)

    def forward(self, pooled: Float[Tensor, "B F"]) -> Float[Tensor, "B D"]:
        """The embedding before normalisation."""
        return pooled @ self.weight
