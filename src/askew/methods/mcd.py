"""MCD: Misalign, Contrast then Distill (Kim et al., ICCV 2023)."""

import math
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import (
    Batch,
    Method,
    MethodConfig,
    Terms,
    both_views,
    same_group,
    text_and_masked,
    unified,
)
from askew.nn.heads import TokenHead
from askew.nn.momentum import Momentum, alpha_at, momentum_at
from askew.nn.similarity import DomainSimilarity
from askew.nn.towers import ImageTower, TwoTower
from askew.objectives.contrastive import mp_nce
from askew.objectives.log_ratio import (
    log_distance,
    negative_pairs,
    own_against_other,
    own_against_own,
    paired_log_distance,
    positive_pairs,
)
from askew.objectives.masked_language import masked_language


class MCD(Method):
    """Contrast of images, augmented images and texts in one space; a momentum teacher's distances distilled."""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["mcd"] = "mcd"
        temperatures: tuple[float, float, float] = (0.1, 0.07, 0.07)  # tau at the start: II, IT, TT; docs/deviations.md
        momentum: float = Field(default=0.996, ge=0, le=1)  # m at step 0, cosine to 1; Sec. 4.4; docs/deviations.md
        noisy: Literal["own_against_other", "own_against_own"] = "own_against_other"  # reading of Eq. (9)
        mlm_weight: float = Field(default=0.2, ge=0)  # beta of Eq. (13); DeCLIP's weight; 0 turns the term off

        def build(self, towers: TwoTower) -> "MCD":
            """MCD on these towers."""
            return MCD(self, towers)

        @property
        def needs_mask_token(self) -> bool:
            """Masked language modelling replaces tokens by [MASK]."""
            return self.mlm_weight > 0

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "aug", "text")
        self.towers = towers
        self.similarity = DomainSimilarity(config.temperatures)
        self.teacher = Momentum(towers.image)
        if config.mlm_weight > 0:
            self.views += ("masked_text", "mlm_labels")
            self.token_head = TokenHead(towers.text.width, towers.text.vocab_size)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's view of the same two tensors: (B, D) each, unit length."""
        image, aug = both_views(self.teacher, batch["image"], batch["aug"])
        return {"teacher_image": image, "teacher_aug": aug}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, aug, text (B, D), unit length; the masked-language sum and count of each sample (B,)."""
        # Misalign: the same image with and without an augmentation that its text knows nothing of
        image, aug = both_views(self.towers.image, batch["image"], batch["aug"])
        embedded = {"image": image, "aug": aug}
        if self.config.mlm_weight == 0:
            return embedded | {"text": self.towers.text(batch["text"]).embed}
        return embedded | text_and_masked(self.towers.text, self.token_head, batch)

    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Eq. (13): contrast, its augmented terms faded, + alpha distillation, Eq. (10), + beta masked language."""
        alpha = alpha_at(progress)
        match = same_group(mine, everyone)

        # Contrast, Eq. (5), in one space of 3N embeddings; pairs with an augmented member fade
        anchors, anchor_domain, anchor_is_aug = unified(mine)
        members, member_domain, member_is_aug = unified(everyone)
        logits = self.similarity(anchors, members, anchor_domain, member_domain)  # (3B, 3N)
        positive = match.tile(3, 3)  # an anchor is its own positive
        faded = anchor_is_aug[:, None] | member_is_aug[None, :]
        contrast = mp_nce(logits, positive, ~positive, torch.where(faded, 1.0 - alpha, 1.0))

        # Distill, Eqs. (6)-(10): the student's ratios of distances follow the teacher's
        text, teacher_text = mine["text"], mine["text"].detach()
        delta = log_distance(text, everyone["image"]) - log_distance(teacher_text, everyone["teacher_image"])
        delta_aug = log_distance(text, everyone["aug"]) - log_distance(teacher_text, everyone["teacher_aug"])
        positive_term = positive_pairs(delta, delta_aug, match)  # Eq. (7)
        negative_term = negative_pairs(delta, delta_aug, match)  # Eq. (8)
        own, all_own = self._own(mine), self._own(everyone)
        if self.config.noisy == "own_against_other":
            noisy_term = own_against_other(delta, own, all_own, match)  # Eq. (9)
        else:
            noisy_term = own_against_own(own, all_own, match)  # Eq. (9)
        distill = positive_term + negative_term + noisy_term  # Eq. (10)

        loss = contrast + alpha * distill
        terms = {
            "contrast": contrast,
            "positive": positive_term,
            "negative": negative_term,
            "noisy": noisy_term,
            "alpha": loss.new_tensor(alpha),
            "momentum": loss.new_tensor(momentum_at(progress, self.config.momentum)),
        }
        if self.config.mlm_weight > 0:
            terms["mlm"] = masked_language(everyone["mlm_sum"], everyone["mlm_count"])  # Eq. (11)
            loss = loss + self.config.mlm_weight * terms["mlm"]
        return loss, terms  # Eq. (13)

    def after_step(self, everyone: dict[str, Tensor], progress: float) -> None:
        """Eq. (12): the teacher follows the student's image tower, its projection included."""
        super().after_step(everyone, progress)
        self.teacher.update(self.towers.image, momentum_at(progress, self.config.momentum))

    def chance(self, num_samples: int) -> dict[str, float]:
        """Every anchor against 3N - 3 negatives; a masked token among the whole vocabulary."""
        levels = {"contrast": math.log(3 * num_samples - 2)}
        return levels | ({"mlm": math.log(self.towers.text.vocab_size)} if self.config.mlm_weight > 0 else {})

    @property
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale."""
        return self.similarity.image_text_scale

    def released(self) -> dict[str, ImageTower]:
        """The student, which the paper evaluates, and the teacher."""
        return {"model": self.towers.image, "teacher": cast(ImageTower, self.teacher.module)}

    @staticmethod
    def _own(embedded: dict[str, Tensor]) -> Tensor:
        """(N,): delta of each text with its own image, student minus teacher."""
        student = paired_log_distance(embedded["text"], embedded["image"])
        return student - paired_log_distance(embedded["text"].detach(), embedded["teacher_image"])
