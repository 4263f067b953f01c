"""From embeddings to logits: a learned temperature, or one temperature and offset per pair of domains.

Learned scalars have shape (1,) or (3,), never (), because `fully_shard` rejects 0-D parameters.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

IMAGE, TEXT = 0, 1  # domains; a pair's domain is the sum of its members': 0 image-image, 1 image-text, 2 text-text
MAX_LOG_SCALE = math.log(100.0)  # SLIP clamps the logit scale to [0, 4.6052] after every step


def by_domain(
    values: Float[Tensor, "3"], row_domain: Int[Tensor, "A"], column_domain: Int[Tensor, "C"]
) -> Float[Tensor, "A C"]:
    """values[row_domain + column_domain] for every pair, as two matrix products.

    Their gradient is far cheaper than a lookup's. `values` are those of image-image, image-text and text-text pairs.
    """
    table = torch.stack([values[:2], values[1:]])  # (2, 2), symmetric
    row, column = (functional.one_hot(domain, 2).to(values.dtype) for domain in (row_domain, column_domain))
    return row @ table @ column.T


class Temperature(nn.Module):
    """Eq. (1) and the learnable temperature of Eq. (2): cosine similarities times exp(log_scale).

    Args:
        temperature: initial tau, > 0. The logit scale is 1 / tau (SLIP: 0.07).
    """

    def __init__(self, temperature: float = 0.07):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([-math.log(temperature)]))

    def forward(self, rows: Float[Tensor, "A D"], columns: Float[Tensor, "C D"]) -> Float[Tensor, "A C"]:
        """Logits of unit-length rows and columns, in float32."""
        return self.log_scale.exp() * (rows.float() @ columns.float().T)

    @property
    def logit_scale(self) -> Float[Tensor, "1"]:
        """The logarithm of the scale, which an exported model carries as `logit_scale`."""
        return self.log_scale

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep the scale in [1, 100] (SLIP). Called after every optimiser step."""
        self.log_scale.clamp_(0.0, MAX_LOG_SCALE)


class BiasedTemperature(Temperature):
    """SigLIP's logits: cosine similarities times exp(log_scale), plus a learned bias.

    Args:
        temperature: initial tau, > 0 (SigLIP: 0.1, t' = log 10).
        bias: initial bias (SigLIP: -10, so that the many negatives do not swamp the first steps).
    """

    def __init__(self, temperature: float = 0.1, bias: float = -10.0):
        super().__init__(temperature)
        self.bias = nn.Parameter(torch.tensor([bias]))

    def forward(self, rows: Float[Tensor, "A D"], columns: Float[Tensor, "C D"]) -> Float[Tensor, "A C"]:
        """Logits of unit-length rows and columns, in float32."""
        return super().forward(rows, columns) + self.bias


class DomainSimilarity(nn.Module):
    """UniCLIP's domain-dependent similarity: (cosine - offset_d) / tau_d, where d is the pair of domains.

    Image-image similarities are far higher than image-text ones, and one shared temperature would mix their scales.

    Args:
        temperatures: initial tau of image-image, image-text and text-text pairs, each > 0.
    """

    def __init__(self, temperatures: tuple[float, float, float] = (0.1, 0.07, 0.07)):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor([-math.log(t) for t in temperatures]))
        self.offset = nn.Parameter(torch.zeros(3))

    def forward(
        self,
        rows: Float[Tensor, "A D"],
        columns: Float[Tensor, "C D"],
        row_domain: Int[Tensor, "A"],
        column_domain: Int[Tensor, "C"],
    ) -> Float[Tensor, "A C"]:
        """Logits of unit-length rows and columns, in float32. Domains are IMAGE or TEXT."""
        scale = by_domain(self.log_scale.exp(), row_domain, column_domain)  # (A, C)
        offset = by_domain(self.offset, row_domain, column_domain)
        return scale * (rows.float() @ columns.float().T - offset)

    @property
    def logit_scale(self) -> Float[Tensor, "1"]:
        """The logarithm of the image-text scale, which an exported model carries as `logit_scale`."""
        return self.log_scale[IMAGE + TEXT : IMAGE + TEXT + 1]

    @torch.no_grad()
    def clamp_(self) -> None:
        """Keep every scale in [1, 100]. Called after every optimiser step."""
        self.log_scale.clamp_(0.0, MAX_LOG_SCALE)


class SharedSimilarity(Temperature):
    """One temperature for all pairs of domains, without an offset. It is called like DomainSimilarity.

    Args:
        temperatures: of image-image, image-text and text-text pairs. The image-text one is the initial tau.
    """

    def __init__(self, temperatures: tuple[float, float, float] = (0.07, 0.07, 0.07)):
        super().__init__(temperatures[1])

    def forward(
        self,
        rows: Float[Tensor, "A D"],
        columns: Float[Tensor, "C D"],
        row_domain: Int[Tensor, "A"],
        column_domain: Int[Tensor, "C"],
    ) -> Float[Tensor, "A C"]:
        """Logits of unit-length rows and columns, in float32, regardless of the domains."""
        return super().forward(rows, columns)


SIMILARITY = {"domain": DomainSimilarity, "shared": SharedSimilarity}
