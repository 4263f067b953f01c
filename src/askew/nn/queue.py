"""Queues of past embeddings, which are the same on every rank as long as every rank pushes the gathered rows.

One gives nearest neighbours, NNCLR's support set (Dwibedi et al., ICCV 2021) in DeCLIP. The other gives ALBEF's further
candidates, as MoCo's queue does.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

NO_ID = -1  # of the random entries of a new queue; the ids of samples are 0 or more


class NearestNeighbours(nn.Module):
    """The last Q embeddings pushed. Until Q have been pushed, the others are random unit vectors.

    The state is two buffers, which checkpoints keep.

    Args:
        size: Q.
        dimension: D.
        seed: of the random vectors.
    """

    bank: Tensor
    position: Tensor

    def __init__(self, size: int, dimension: int, seed: int = 0):
        super().__init__()
        self.register_buffer("bank", _random_units(size, dimension, seed))  # (Q, D)
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))  # of the oldest, which is replaced next

    @torch.no_grad()
    def nearest(self, queries: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """For each query of unit length, the embedding in the queue with the highest cosine, without gradient."""
        with torch.autocast(queries.device.type, enabled=False):  # bfloat16 could not separate near neighbours
            return self.bank[(queries.float() @ self.bank.T).argmax(dim=1)]

    @torch.no_grad()
    def push(self, rows: Float[Tensor, "N D"]) -> None:
        """Replace the oldest embeddings with these rows of unit length. Of more than Q rows, the last Q are kept."""
        _replace_oldest(self.position, (self.bank, rows))


class PairQueue(nn.Module):
    """The last Q image-text pairs pushed. Until Q have been pushed, the others are random unit vectors.

    A sample's own older copies are no negatives, and neither are older samples with its image or caption. So each entry
    keeps the ids by which `differs` finds them. The state is four buffers, which checkpoints keep.

    Args:
        size: Q.
        dimension: D.
        seed: of the random images; that of the random texts is one higher.
    """

    image: Tensor
    text: Tensor
    ids: Tensor
    position: Tensor

    def __init__(self, size: int, dimension: int, seed: int = 0):
        super().__init__()
        self.register_buffer("image", _random_units(size, dimension, seed))  # (Q, D)
        self.register_buffer("text", _random_units(size, dimension, seed + 1))  # (Q, D)
        self.register_buffer("ids", torch.full((size, 2), NO_ID))  # match id, caption id
        self.register_buffer("position", torch.zeros(1, dtype=torch.int64))  # of the oldest, which is replaced next

    def differs(self, ids: Int[Tensor, "B 2"]) -> Bool[Tensor, "B Q"]:
        """Which entries are other samples: neither their match id nor their caption id is that of the row."""
        (match, caption), (past_match, past_caption) = ids.T, self.ids.T
        return (match[:, None] != past_match) & (caption[:, None] != past_caption)

    @torch.no_grad()
    def push(self, image: Float[Tensor, "N D"], text: Float[Tensor, "N D"], ids: Int[Tensor, "N 2"]) -> None:
        """Replace the oldest pairs with these, of unit length. Of more than Q pairs, the last Q are kept."""
        _replace_oldest(self.position, (self.image, image), (self.text, text), (self.ids, ids))


def _random_units(size: int, dimension: int, seed: int) -> Tensor:
    """(size, dimension): random directions."""
    random = torch.randn(size, dimension, generator=torch.Generator().manual_seed(seed), device="cpu")
    return functional.normalize(random, dim=1)


def _replace_oldest(position: Tensor, *changes: tuple[Tensor, Tensor]) -> None:
    """Write the last rows of each (entries, rows) over the oldest entries, and move the position behind them."""
    size, num = len(changes[0][0]), min(len(changes[0][0]), len(changes[0][1]))
    where = (position + torch.arange(num, device=position.device)) % size
    for entries, rows in changes:
        entries[where] = rows[-size:].to(entries.dtype)
    position.add_(num).remainder_(size)
