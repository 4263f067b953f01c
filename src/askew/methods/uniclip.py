"""UniCLIP: Unified Framework for Contrastive Language-Image Pre-training (Lee et al., NeurIPS 2022).

No public code was found; what is reconstructed and why is in docs/deviations.md.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import (
    Batch,
    Method,
    MethodConfig,
    Temperatures,
    Terms,
    same_group,
    text_and_masked,
    unified,
)
from askew.nn.heads import AugmentationHead, TokenHead
from askew.nn.similarity import DomainSimilarity, by_domain
from askew.nn.towers import TwoTower, unit
from askew.objectives.contrastive import mp_nce
from askew.objectives.masked_language import masked_language

# Weights w_D of image-image, image-text and text-text pairs. Per sample 4, 4 and 1 positives, self included: with the
# inverse counts each kind of pair weighs the same in the whole, and all nine still sum to nine.
PAIR_WEIGHTS = {"equal": (1.0, 1.0, 1.0), "inverse_counts": (0.75, 0.75, 3.0)}


class UniCLIP(Method):
    """MP-NCE over images, augmented images and texts in one space, whose image head knows the augmentation."""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["uniclip"] = "uniclip"
        temperatures: Temperatures = (0.1, 0.07, 0.07)  # tau at the start: II, IT, TT; docs/deviations.md
        pair_weights: Literal["equal", "inverse_counts"] = "equal"  # w_D; not found, docs/deviations.md
        augmentation_encoding: bool = True  # off in row (a) of MCD's Table 5
        mlm_weight: float = Field(default=0.0, ge=0)  # masked language modelling, as in MCD; 0 turns the term off

        def build(self, towers: TwoTower) -> "UniCLIP":
            """UniCLIP on these towers."""
            return UniCLIP(self, towers)

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
        if config.augmentation_encoding:
            self.views += ("image_params", "aug_params")
            self.head = AugmentationHead(towers.config["embed_dim"])
        if config.mlm_weight > 0:
            self.views += ("masked_text", "mlm_labels")
            self.token_head = TokenHead(towers.text.width, towers.text.vocab_size)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, aug, text (B, D), unit length; the masked-language sum and count of each sample (B,)."""
        encoded = self.towers.image(torch.cat([batch["image"], batch["aug"]]))
        images = encoded.embed  # (2B, D)
        if self.config.augmentation_encoding:
            # The tower never learns of the augmentation; the head, told of it, need not make the tower blind to it
            parameters = torch.cat([batch["image_params"], batch["aug_params"]])  # (2B, P)
            images = unit(self.head(self.towers.image.projection(encoded.pooled), parameters))
        size = len(batch["image"])
        embedded = {"image": images[:size], "aug": images[size:]}
        if self.config.mlm_weight == 0:
            return embedded | {"text": self.towers.text(batch["text"]).embed}
        return embedded | text_and_masked(self.towers.text, self.token_head, batch)

    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """MP-NCE of all 3N embeddings, an anchor its own positive, pairs weighted by their domains."""
        anchors, anchor_domain, _ = unified(mine)
        members, member_domain, _ = unified(everyone)
        logits = self.similarity(anchors, members, anchor_domain, member_domain)  # (3B, 3N)
        positive = same_group(mine, everyone).tile(3, 3)
        weights = logits.new_tensor(PAIR_WEIGHTS[self.config.pair_weights])
        loss = contrast = mp_nce(logits, positive, ~positive, by_domain(weights, anchor_domain, member_domain))
        terms = {"contrast": contrast}
        if self.config.mlm_weight > 0:
            terms["mlm"] = masked_language(everyone["mlm_sum"], everyone["mlm_count"])
            loss = contrast + self.config.mlm_weight * terms["mlm"]
        return loss, terms

    def chance(self, num_samples: int) -> dict[str, float]:
        """Every anchor against 3N - 3 negatives; a masked token among the whole vocabulary."""
        levels = {"contrast": math.log(3 * num_samples - 2)}
        return levels | ({"mlm": math.log(self.towers.text.vocab_size)} if self.config.mlm_weight > 0 else {})

    @property
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale."""
        return self.similarity.image_text_scale
