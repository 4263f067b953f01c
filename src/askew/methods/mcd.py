"""MCD: Misalign, Contrast then Distill (Kim et al., ICCV 2023)."""

import math
from typing import Literal, cast

from pydantic import Field
from torch import Tensor

from askew.methods.base import (
    Batch,
    Method,
    MethodConfig,
    Temperatures,
    Terms,
    both_views,
    same_group,
    text_and_masked,
    unified,
)
from askew.nn.heads import TokenHead
from askew.nn.momentum import Momentum, alpha_at, momentum_at
from askew.nn.similarity import SIMILARITY
from askew.nn.towers import ImageTower, TwoTower
from askew.objectives.fading import FADING, at_chance
from askew.objectives.log_ratio import log_distance, positive_pairs
from askew.objectives.masked_language import masked_language
from askew.objectives.readings import NEGATIVE, NOISY, RHO, Pairs, own_pairs
from askew.objectives.soft_alignment import soft_alignments

Term = Literal["positive", "negative", "noisy", "soft_alignment"]


class MCD(Method):
    """Contrast of images, augmented images and texts in one space; a momentum teacher's distances distilled."""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["mcd"] = "mcd"
        temperatures: Temperatures = (0.1, 0.07, 0.07)  # tau at the start: II, IT, TT; docs/deviations.md
        momentum: float = Field(default=0.996, ge=0, le=1)  # m at step 0, cosine to 1; Sec. 4.4; docs/deviations.md
        mlm_weight: float = Field(default=0.2, ge=0)  # beta of Eq. (13); DeCLIP's weight; 0 turns the term off
        # Of Eq. (10); ablations leave some out, or put soft_alignment, the paper's point of contrast, in their place
        terms: tuple[Term, ...] = Field(default=("positive", "negative", "noisy"), min_length=1)
        # Readings of what the paper leaves open: docs/deviations.md
        similarity: Literal["domain", "shared"] = "domain"  # Eq. (5): temperature and offset by domains, or one tau
        rho: Literal["squared", "absolute", "huber"] = "squared"  # Eq. (6)
        negative: Literal["same_pair", "aug_own_against_other", "own_against_aug_other"] = "same_pair"  # Eq. (8)
        noisy: Literal["own_against_other", "own_against_own", "teacher_ranks"] = "own_against_other"  # Eq. (9)
        text_gradient: Literal["through", "stopped"] = "through"  # of the distillation, by the student's distances
        fading: Literal["augmented_terms", "two_sets", "whole_contrast", "unfaded"] = "augmented_terms"  # Eq. (13)
        alpha_start: float = Field(default=0.0, ge=0, le=1)  # alpha at step 0, cosine to 1; 1 is constant

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
        self.similarity = SIMILARITY[config.similarity](config.temperatures)
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
        """Eq. (13), total: contrast, faded where augmented, + alpha distillation, Eq. (10), + beta masked language."""
        config, alpha = self.config, alpha_at(progress, self.config.alpha_start)
        match = same_group(mine, everyone)

        # Contrast, Eq. (5), in one space of 3N embeddings; pairs with an augmented member fade
        anchors, anchor_domain, anchor_is_aug = unified(mine)
        members, member_domain, member_is_aug = unified(everyone)
        logits = self.similarity(anchors, members, anchor_domain, member_domain)  # (3B, 3N)
        positive = match.tile(3, 3)  # an anchor is its own positive
        contrast = FADING[config.fading](logits, positive, anchor_is_aug, member_is_aug, alpha)

        # Distill, Eqs. (6)-(10): the student's ratios of distances follow the teacher's
        if config.text_gradient == "stopped":
            mine, everyone = ({**them, "text": them["text"].detach()} for them in (mine, everyone))
        text, teacher_text = mine["text"], mine["text"].detach()
        delta = log_distance(text, everyone["image"]) - log_distance(teacher_text, everyone["teacher_image"])
        delta_aug = log_distance(text, everyone["aug"]) - log_distance(teacher_text, everyone["teacher_aug"])
        own, all_own, all_own_aug = own_pairs(mine), own_pairs(everyone), own_pairs(everyone, "aug")
        pairs, rho = Pairs(delta, delta_aug, match, own, all_own, all_own_aug), RHO[config.rho]
        readings = {
            "positive": lambda: positive_pairs(delta, delta_aug, match, rho),  # Eq. (7)
            "negative": lambda: NEGATIVE[config.negative](pairs, rho),  # Eq. (8)
            "noisy": lambda: NOISY[config.noisy](pairs, rho),  # Eq. (9)
            "soft_alignment": lambda: soft_alignments(mine, everyone, self.logit_scale.exp()),
        }
        distilled = {name: readings[name]() for name in config.terms}
        distill = sum(distilled.values())  # Eq. (10)

        loss = contrast + alpha * distill
        terms = {
            "contrast": contrast,
            **distilled,
            "alpha": loss.new_tensor(alpha),
            "momentum": loss.new_tensor(momentum_at(progress, config.momentum)),
        }
        if config.mlm_weight > 0:
            terms["mlm"] = masked_language(everyone["mlm_sum"], everyone["mlm_count"])  # Eq. (11)
            loss = loss + config.mlm_weight * terms["mlm"]
        return loss, terms  # Eq. (13)

    def after_step(self, everyone: dict[str, Tensor], progress: float) -> None:
        """Eq. (12): the teacher follows the student's image tower, its projection included."""
        super().after_step(everyone, progress)
        self.teacher.update(self.towers.image, momentum_at(progress, self.config.momentum))

    def chance(self, num_samples: int) -> dict[str, float]:
        """At step 0: every anchor against 3N - 3 negatives; a masked token among the whole vocabulary."""
        levels = {"contrast": at_chance(FADING[self.config.fading], num_samples, self.config.alpha_start)}
        return levels | ({"mlm": math.log(self.towers.text.vocab_size)} if self.config.mlm_weight > 0 else {})

    @property
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale."""
        return self.similarity.image_text_scale

    def released(self) -> dict[str, ImageTower]:
        """The student, which the paper evaluates, and the teacher."""
        return {"model": self.towers.image, "teacher": cast(ImageTower, self.teacher.module)}
