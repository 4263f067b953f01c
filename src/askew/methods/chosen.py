"""The augmented image on a part of its patches: what the teacher attends to, or random ones (docs/deviations.md)."""

from typing import Literal

import torch
from torch import Tensor, nn

from askew.methods.base import Batch
from askew.methods.encode import encode_views, parts_of
from askew.nn.chosen_patches import best_patches, why_not
from askew.nn.momentum import Momentum
from askew.nn.towers import Encoded, ImageTower

Patches = Literal["all", "half", "quarter"]
Scores = Literal["teacher", "random"]
SHARE = {"all": 1.0, "half": 0.5, "quarter": 0.25}


class ChosenPatches:
    """Which patches of the augmented image a student sees. The teacher always sees the whole image.

    Args:
        tower: of the student.
        patches: how many of them.
        scores: what chooses them: the attention of the teacher's class token, or `patch_scores` of the batch.

    Raises:
        ValueError: the tower has no patches that can be chosen.
    """

    def __init__(self, tower: ImageTower, patches: Patches, scores: Scores):
        self.share, self.by_teacher = SHARE[patches], scores == "teacher"
        self.grid = patch_grid(tower.trunk, "method.aug_patches", patches) if self.share < 1 else (0, 0)
        self.views = ("patch_scores",) if self.share < 1 and not self.by_teacher else ()

    def targets(self, teacher: Momentum, batch: Batch) -> dict[str, Tensor]:
        """The teacher's embeddings of both views, (B, D) each, and `keep` (B, K), which patches the student sees."""
        if self.share < 1 and self.by_teacher:
            # Both views in one pass: frozen weights are cast to bfloat16 in every pass
            encoded, scores = teacher.with_scores(torch.cat([batch["image"], batch["aug"]]))
            (image, aug), scores = parts_of(encoded, 2), scores.chunk(2)[1]
        else:
            image, aug = encode_views(teacher, batch["image"], batch["aug"])
            scores = batch["patch_scores"] if self.share < 1 else None
        keep = {} if scores is None else {"keep": best_patches(scores, self.grid, self.share)}
        return {"teacher_image": image.embedding, "teacher_aug": aug.embedding, **keep}

    def encode(self, tower: ImageTower, batch: Batch) -> tuple[Encoded, Encoded]:
        """The image, and the augmented image on the patches to keep."""
        if self.share == 1:
            image, aug = encode_views(tower, batch["image"], batch["aug"])
            return image, aug
        return tower(batch["image"]), tower(batch["aug"], batch["keep"])


def patch_grid(trunk: nn.Module, setting: str, patches: Patches) -> tuple[int, int]:
    """Rows and columns of the patches of a trunk, which can be chosen.

    Raises:
        ValueError: they cannot: the setting that asks for it, the reason, and the remedy.
    """
    reason = why_not(trunk)
    if reason:
        raise ValueError(f"{setting}={patches}: {reason}; choose other towers, or set {setting}=all")
    return trunk.grid_size  # type: ignore[union-attr]
