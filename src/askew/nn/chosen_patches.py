"""A native ViT on chosen patches, and the attention that chooses them (A-CLIP, Yang et al., ICCV 2023).

Letters: B images, P patches, K chosen patches, F width, M recorded parameters. Patches are numbered row by row.
"""

from typing import cast

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn

BOX, FLIP = slice(0, 4), 9  # columns of a view's recorded parameters: x, y, w, h of the crop; 1 if mirrored


def why_not(trunk: nn.Module) -> str:
    """Why the tokens of an image trunk cannot be chosen by the attention of its class token. "" if they can."""
    if not isinstance(trunk, VisionTransformer):
        return "the image tower is not a native ViT of open_clip"
    if trunk.pool_type != "tok" or trunk.attn_pool is not None:
        return "the image tower does not pool at its class token (vision_cfg.pool_type=tok, attentional_pool=false)"
    if not isinstance(trunk.patch_dropout, nn.Identity):
        return "the image tower drops patches at random itself (set towers.vision_cfg.patch_dropout=0)"
    if not all(type(block) is ResidualAttentionBlock for block in trunk.transformer.resblocks):
        return "the blocks of the image tower have an attention of their own kind"
    return ""


def on_chosen_patches(
    trunk: nn.Module, image: Float[Tensor, "B 3 H W"], keep: Int[Tensor, "B K"]
) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B K F"]]:
    """The pooled features and those of the K patches, from the class token and these patches alone.

    Every patch keeps the position that it has in the whole image. Patches that are not chosen cost nothing beyond the
    patch convolution, and no pixel of theirs gets a gradient. `trunk` is one for which `why_not` is empty.
    """
    assert isinstance(trunk, VisionTransformer), "why_not names the reason"
    tokens = trunk._embeds(image)
    index = F.pad(keep + 1, (1, 0))[:, :, None].expand(-1, -1, tokens.shape[2])  # the class token is token 0
    return trunk._pool(trunk.transformer(tokens.gather(1, index)))


@torch.no_grad()
def with_class_attention(
    trunk: nn.Module, image: Float[Tensor, "B 3 H W"]
) -> tuple[Float[Tensor, "B F"], Float[Tensor, "B P F"], Float[Tensor, "B P"]]:
    """The pooled features, those of the patches, and how much the class token attends to each patch.

    The last is the mean over all layers and heads of the class token's attention, as in A-CLIP. It is computed from
    what each layer attends to and its own weights, for the row of the class token only. That is done while the layer
    runs: one that is sharded over ranks has its weights only then.
    """
    assert isinstance(trunk, VisionTransformer), "why_not names the reason"
    tokens = trunk._embeds(image)
    scores = tokens.new_zeros(tokens.shape[0], tokens.shape[1] - 1, dtype=torch.float32)

    def add_scores(attention: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        scores.add_(class_row(cast(nn.MultiheadAttention, attention), inputs[0])[:, 1:])

    blocks = cast(list[ResidualAttentionBlock], list(trunk.transformer.resblocks))
    for block in blocks:
        with block.attn.register_forward_pre_hook(add_scores):
            tokens = block(tokens)
    pooled, patches = trunk._pool(tokens)
    return pooled, patches, scores / len(blocks)


def class_row(attention: nn.MultiheadAttention, tokens: Float[Tensor, "B L F"]) -> Float[Tensor, "B L"]:
    """The first token's attention to all L tokens, mean over heads. Each row sums to 1.

    The query is taken through the weights of the keys, so that no key is computed: q . (W k) = (W^T q) . k. The bias of
    the keys adds the same number to all logits and falls out.
    """
    heads, width = attention.num_heads, attention.embed_dim
    (query_weight, key_weight, _), bias = attention.in_proj_weight.chunk(3), attention.in_proj_bias
    query = F.linear(tokens[:, 0], query_weight, None if bias is None else bias[:width])
    query = query.view(-1, heads, width // heads)  # (B, heads, F / heads)
    through_keys = torch.einsum("bhd,hdf->bhf", query, key_weight.view(heads, width // heads, width).to(query.dtype))
    logits = torch.einsum("bhf,blf->bhl", through_keys, tokens.to(query.dtype))
    return (logits.float() * (width // heads) ** -0.5).softmax(dim=-1).mean(dim=1)


def scores_in_view(
    scores: Float[Tensor, "B P"], grid: tuple[int, int], seen: Float[Tensor, "B M"], view: Float[Tensor, "B M"]
) -> Float[Tensor, "B P"]:
    """The scores that one view's patches have in another view of the same image, in which they were measured (A-CLIP).

    The centre of each patch is found in the whole image and then in the other view, whose scores are interpolated
    between the centres of its patches, along both axes. Beyond its border the nearest score counts.

        one row of 2 patches with scores 1 and 3, measured in the whole image; a view of its right half has its patches
        at 5/8 and 7/8 of the width, and their scores are 2.5 and 3

    Args:
        scores: of the patches in the view where they were measured.
        grid: rows and columns of the patches, the same in both views.
        seen: recorded parameters of that view.
        view: recorded parameters of the view whose patches are scored.
    """
    places = []
    for axis, num in enumerate(reversed(grid)):  # along x the columns, along y the rows
        place = ((torch.arange(num, device=scores.device) + 0.5) / num).expand(len(scores), -1)
        (start, extent), (seen_start, seen_extent) = (p[:, BOX][:, axis::2].split(1, dim=1) for p in (view, seen))
        if axis == 0:
            place = torch.where(view[:, FLIP, None] > 0.5, 1 - place, place)
        place = (start + extent * place - seen_start) / seen_extent
        if axis == 0:
            place = torch.where(seen[:, FLIP, None] > 0.5, 1 - place, place)
        places.append(2 * place - 1)
    x, y = places
    where = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), dim=-1)  # (B, rows, columns, 2)
    measured = scores.view(-1, 1, *grid)
    return F.grid_sample(measured, where.float(), padding_mode="border", align_corners=False).flatten(1)


def best_patches(
    scores: Float[Tensor, "B P"], grid: tuple[int, int], share: float, more: int = 0
) -> Int[Tensor, "B K"]:
    """The numbers, ascending, of the patches to keep: at most that share of them, and at least one block.

    `more` blocks are kept beyond that share: one in A-CLIP's code.

    Patches are kept in blocks of 2 x 2 by the mean of their scores, as in A-CLIP; one by one where a side of the grid
    is odd. Of equal scores, the block with the lower number is kept, so that runs repeat.

        4 x 4 patches and share 0.5: the 2 best of 4 blocks, which are 8 of 16 patches
    """
    rows, columns = grid
    side = 2 if rows % 2 == columns % 2 == 0 else 1
    of_blocks = F.avg_pool2d(scores.view(-1, 1, rows, columns), side).flatten(1)
    num_kept = max(1, int(share * of_blocks.shape[1]) + more)
    best = of_blocks.argsort(dim=1, descending=True, stable=True)[:, :num_kept]
    chosen = torch.zeros_like(of_blocks, dtype=torch.bool).scatter_(1, best, value=True)
    chosen = chosen.view(-1, rows // side, columns // side)
    chosen = chosen.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2).flatten(1)  # (B, P)
    return chosen.nonzero()[:, 1].view(len(scores), -1)
