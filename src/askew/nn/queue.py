"""A queue of past embeddings and its nearest neighbours: NNCLR's support set (Dwibedi et al., ICCV 2021) in DeCLIP."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class NearestNeighbours(nn.Module):
    """The last Q embeddings pushed. Until Q have been pushed, the others are random unit vectors.

    The state is two buffers, which checkpoints keep. It is the same on every rank as long as every rank pushes the
    gathered rows.

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
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))  # of the oldest, which is replaced next

    @torch.no_grad()
    def nearest(self, queries: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """For each query of unit length, the embedding in the queue with the highest cosine, without gradient."""
        with torch.autocast(queries.device.type, enabled=False):  # bfloat16 could not separate near neighbours
            return self.bank[(queries.float() @ self.bank.T).argmax(dim=1)]

    @torch.no_grad()
    def push(self, rows: Float[Tensor, "N D"]) -> None:
        """Replace the oldest embeddings with these rows of unit length. Of more than Q rows, the last Q are kept."""
        size = len(self.bank)
        rows = rows[-size:]
        where = (self.position + torch.arange(len(rows), device=self.bank.device)) % size
        self.bank[where] = rows.float()
        self.position.add_(len(rows)).remainder_(size)
