"""A queue of past embeddings, and the nearest of them: NNCLR's support set (Dwibedi et al., ICCV 2021) in DeCLIP."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class NearestNeighbours(nn.Module):
    """The newest Q embeddings that were pushed; until Q were, the rest are random unit vectors.

    The state is two buffers, kept in checkpoints, and the same on every rank where every rank pushes everyone's rows.

    Args:
        size: Q.
        dimension: D.
        seed: of the random vectors.
    """

    bank: Tensor
    position: Tensor

    def __init__(self, size: int, dimension: int, seed: int = 0):
        super().__init__()
        random = torch.randn(size, dimension, generator=torch.Generator().manual_seed(seed), device="cpu")
        self.register_buffer("bank", functional.normalize(random, dim=1))  # (Q, D)
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))  # of the oldest, the next to be replaced

    @torch.no_grad()
    def nearest(self, queries: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """The member of the queue with the highest cosine to each query of unit length, without gradient."""
        with torch.autocast(queries.device.type, enabled=False):  # in bfloat16 near ones could not be told apart
            return self.bank[(queries.float() @ self.bank.T).argmax(dim=1)]

    @torch.no_grad()
    def push(self, rows: Float[Tensor, "N D"]) -> None:
        """Rows of unit length take the place of the oldest; of more than Q rows the last Q stay."""
        size = len(self.bank)
        rows = rows[-size:]
        where = (self.position + torch.arange(len(rows), device=self.bank.device)) % size
        self.bank[where] = rows.float()
        self.position.add_(len(rows)).remainder_(size)
