"""Where the projection of an open_clip image tower begins, which is where probes take features. No private method.

The projection is taken off the tower and applied separately, as nn/towers.py does for training. All of open_clip's
image towers are supported. Any other tower is left as it is, and only the linear probe, which needs features, refuses
it.
"""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from open_clip.transformer import TextTransformer, VisionTransformer
from torch import Tensor, nn

Project = Callable[[Tensor], Tensor]


def take_off_projection(visual: Any) -> tuple[str, Project] | None:
    """Take the projection off an image tower, in place. The tower then yields pooled features (B, F).

    Returns:
        A name of the layer that features now come from, and the projection (B, F) -> (B, D). None if the kind of the
        tower is not known; it is then unchanged.
    """
    if isinstance(visual, VisionTransformer):
        if visual.proj is None:
            return "the image tower's last, which has no projection", _same
        weight, visual.proj = visual.proj, None
        return "before the projection (visual.proj)", lambda pooled: pooled @ weight
    if isinstance(visual, ModifiedResNet):
        return "before the projection (visual.attnpool.c_proj)", _identity_in_place(visual.attnpool, "c_proj")
    if not isinstance(visual, TimmModel):
        return None
    head, trunk = visual.head, visual.trunk
    for name in ("proj", "mlp"):
        if hasattr(head, name):
            return f"before the projection (visual.head.{name})", _identity_in_place(head, name)
    pool = getattr(head, "pool", None)
    if isinstance(pool, nn.Module) and isinstance(getattr(pool, "proj", None), nn.Linear):
        return "before the projection (visual.head.pool.proj)", _identity_in_place(pool, "proj")
    if not trunk.num_classes:
        return "the image tower's last, which has no projection", _same
    linear = [name for name, module in trunk.named_modules() if isinstance(module, nn.Linear)]
    if trunk.get_submodule(linear[-1]).out_features != trunk.num_classes:
        return None
    parent, _, leaf = linear[-1].rpartition(".")
    layer = f"before the projection (visual.trunk.{linear[-1]})"
    return layer, _identity_in_place(trunk.get_submodule(parent), leaf)


def _same(pooled: Tensor) -> Tensor:
    return pooled


def _identity_in_place(parent: nn.Module, name: str) -> Project:
    """Take off the child `name` and put one that changes nothing in its place; attention pools read its weight."""
    child = parent.get_submodule(name)
    if not isinstance(child, nn.Linear) or name != "c_proj":
        setattr(parent, name, nn.Identity())
        return child
    same = nn.Linear(child.in_features, child.in_features, device=child.weight.device, dtype=child.weight.dtype)
    with torch.no_grad():
        same.weight.copy_(torch.eye(child.in_features))
        same.bias.zero_()
    setattr(parent, name, same)
    return child


def may_trim(text: Any) -> bool:
    """Whether tokens after a text's end change nothing, as in a causal native tower that pools at the end token."""
    return (
        isinstance(text, TextTransformer)
        and text.attn_mask is not None
        and text.cls_emb is None
        and not text.use_pad_mask
        and text.pool_type in ("argmax", "eos")
    )


def encode_trimmed(text: TextTransformer, tokens: Tensor) -> Float[Tensor, "B D"]:
    """Unit-length embeddings of token ids (B, L), computed only as far as the longest text of the batch needs.

    The end token is the highest id or `eos_id`. A causal tower never attends to what comes after it.
    """
    ends = tokens.argmax(dim=1) if text.pool_type == "argmax" else (tokens == text.eos_id).int().argmax(dim=1)
    longest = int(ends.max()) + 1
    mask = text.get_buffer("attn_mask")[:longest, :longest]
    made = torch.func.functional_call(text, {"attn_mask": mask}, (tokens[:, :longest],))
    return F.normalize((made[0] if isinstance(made, tuple) else made).float(), dim=-1)
