"""Towers that keep their weights, wholly or except for their last blocks (LiT: Zhai et al., CVPR 2022)."""

import re

from open_clip.timm_model import TimmModel
from torch import nn

from askew.nn.towers import ImageTower, TextTower

# Of native towers, BERT and its kin, and T5
TRANSFORMER_BLOCK = re.compile(r"trunk\.(?:transformer\.resblocks|encoder\.layer|block)\.(\d+)\.")
AFTER = (  # what follows the blocks
    "trunk.ln_post.", "trunk.ln_final.", "trunk.attn_pool", "trunk.pooler.", "trunk.final_layer_norm.", "projection.",
)  # fmt: skip
BLOCK = re.compile(r"(^|\.)blocks\.\d+\.")  # in the parameter names of timm's models


def lock(tower: ImageTower | TextTower, unlocked_blocks: int) -> None:
    """Freeze a tower, except for its last blocks and all that follows them: the final norm and the projection.

    With k unlocked blocks, a native tower trains what open_clip's `lock_image_tower(unlocked_groups=k + 1)` does, where
    the projection is a group of its own. 0 freezes everything. Blocks of a timm tower are those of its layer groups.

    Raises:
        ValueError: the tower has fewer blocks, or no blocks that are known.
    """
    tower.requires_grad_(False)
    if unlocked_blocks == 0:
        return
    layers = layers_of(tower)
    blocks = sorted({layer for layer, is_block in layers.values() if is_block})
    side = "image" if isinstance(tower, ImageTower) else "text"
    if unlocked_blocks > len(blocks):
        kind = type(getattr(tower.trunk, "trunk", tower.trunk)).__name__
        found = f"has {len(blocks)}" if blocks else "has none that are known"
        raise ValueError(f"unlock_{side}_blocks={unlocked_blocks} asks for more blocks than {kind}, which {found}")
    first = blocks[-unlocked_blocks]
    for name, parameter in tower.named_parameters():
        parameter.requires_grad_(layers[name][0] >= first)


def layers_of(tower: ImageTower | TextTower) -> dict[str, tuple[int, bool]]:
    """For each parameter of a tower, its layer, counted from the input, and whether that layer is a block."""
    if isinstance(tower.trunk, TimmModel):
        layers = _timm_layers(tower.trunk.trunk)
        return {
            name: layers.get(name.removeprefix("trunk.trunk."), (10**6, False)) for name, _ in tower.named_parameters()
        }
    layers = {}
    for name, _ in tower.named_parameters():
        found = TRANSFORMER_BLOCK.match(name)
        layers[name] = (int(found[1]), True) if found else (10**6 if name.startswith(AFTER) else -1, False)
    return layers


def _timm_layers(model: nn.Module) -> dict[str, tuple[int, bool]]:
    """The layer groups of a timm model. A group is a block if any of its parameters belongs to one."""
    from timm.models import group_parameters

    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise ValueError(f"{type(model).__name__} does not name its blocks; unlock none of them")
    groups: dict[int, list[str]] = group_parameters(model, matcher())  # type: ignore[assignment]
    blocks = {group: any(BLOCK.search(name) for name in names) for group, names in groups.items()}
    return {name: (group, blocks[group]) for group, names in groups.items() for name in names}
