"""A causal text transformer that skips useless work: it drops pads, and its last block computes only wanted tokens.

The parameters are those of open_clip's TextTransformer, and the results equal its own up to rounding. Captions are
short: more than half of a batch's tokens are pads. The output of the last block is used only at the end token and at
masked words. In a tower with one block, that saves most of the work (dev/LOG.md).
"""

from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from open_clip.transformer import ResidualAttentionBlock, TextTransformer
from torch import Tensor, nn

from askew.nn.heads import BUCKET


class Slots(NamedTuple):
    """Some tokens of each text, in order, either packed as rows (R,) or side by side in slots (B, S)."""

    filled: Bool[Tensor, "B S"]  # whether the slot holds a token
    position: Int[Tensor, "B S"]  # of the slot's token in its text; 0 in an empty slot
    flat: Int[Tensor, " R"]  # the slot of each packed row, counted over all texts

    @classmethod
    def of(cls, wanted: Bool[Tensor, "B L"]) -> "Slots":
        """One slot for every wanted token. S is the largest number of wanted tokens in a text."""
        number = wanted.sum(dim=1)
        filled = torch.arange(max(1, int(number.max())), device=wanted.device) < number[:, None]
        position = torch.zeros_like(filled, dtype=torch.long)
        position[filled] = wanted.nonzero()[:, 1]
        return cls(filled, position, filled.flatten().nonzero().squeeze(1))

    def side_by_side(self, rows: Float[Tensor, "P F"]) -> Float[Tensor, "B S F"]:
        """The packed rows in their slots, and zeros in empty slots. Spare rows behind the packed ones are left out."""
        places = rows.new_zeros(self.filled.numel(), rows.shape[1])
        return places.index_copy(0, self.flat, rows[: len(self.flat)]).view(*self.filled.shape, -1)

    def packed(self, slots: Float[Tensor, "B S F"]) -> Float[Tensor, "P F"]:
        """The filled slots as rows, and spare rows of zeros."""
        return with_spare_rows(slots.flatten(0, 1).index_select(0, self.flat))


def with_spare_rows(rows: Tensor) -> Tensor:
    """R rows, or indices of rows, and zeros behind them up to a multiple of BUCKET."""
    return F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, -len(rows) % BUCKET))


def can_pack(text: TextTransformer) -> bool:
    """Whether `token_features` supports a text transformer: causal, made of open_clip's plain blocks, not compiled."""
    blocks = text.transformer.resblocks
    plain = all(type(b) is ResidualAttentionBlock and b.attn.in_proj_bias is not None for b in blocks)
    compiled = text._compiled_call_impl is not None
    return plain and text.attn_mask is not None and not text.transformer.grad_checkpointing and not compiled


def token_features(
    trunk: TextTransformer, text: Int[Tensor, "B L"], length: Int[Tensor, " B"], wanted: Bool[Tensor, "B L"]
) -> Float[Tensor, "R F"]:
    """The features of the R wanted tokens after the last norm, text by text.

    Args:
        length: number of tokens in each text, including the end token. Later tokens are pads.
        wanted: the tokens to return, none of them a pad.
    """
    real = torch.arange(text.shape[1], device=text.device) < length[:, None]
    keys = Slots.of(real)
    # Not by an index, whose gradient sums in no fixed order
    places = F.embedding(keys.position[keys.filled], trunk.positional_embedding)
    x = with_spare_rows(trunk.token_embedding(text[real]) + places)  # (P, F)
    blocks = cast(list[ResidualAttentionBlock], list(trunk.transformer.resblocks))
    for block in blocks[:-1]:
        x = _block(block, x, keys, torch.arange(len(x), device=x.device), keys)
    querying = wanted[real].nonzero().squeeze(1)
    last = _block(blocks[-1], x, keys, with_spare_rows(querying), Slots.of(wanted))
    return trunk.ln_final(last[: len(querying)])


def _block(
    block: ResidualAttentionBlock,
    x: Float[Tensor, "P F"],
    keys: Slots,
    querying: Int[Tensor, " Q"],
    queries: Slots,
) -> Float[Tensor, "Q F"]:
    """A block's output for the querying rows, each of which sees the tokens of its text up to itself.

    Spare rows stay behind the others. Nothing reads them, so they have no gradient.
    """
    attention, width = cast(nn.MultiheadAttention, block.attn), x.shape[1]
    of_query, of_pair = attention.in_proj_weight.split((width, 2 * width))
    query_bias, pair_bias = attention.in_proj_bias.split((width, 2 * width))
    normed = block.ln_1(x)
    query = queries.side_by_side(F.linear(normed.index_select(0, querying), of_query, query_bias))
    key, value = keys.side_by_side(F.linear(normed, of_pair, pair_bias)).chunk(2, dim=-1)
    heads = [part.unflatten(2, (attention.num_heads, -1)).transpose(1, 2) for part in (query, key, value)]
    seen = (keys.position[:, None] <= queries.position[:, :, None]) & keys.filled[:, None]  # (B, S, L)
    mixed = F.scaled_dot_product_attention(*heads, attn_mask=seen[:, None]).transpose(1, 2).flatten(2)
    x = x.index_select(0, querying) + block.ls_1(attention.out_proj(queries.packed(mixed)))
    return x + block.ls_2(block.mlp(block.ln_2(x)))
