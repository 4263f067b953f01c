"""UniCLIP: Unified Framework for Contrastive Language-Image Pre-training (Lee et al., NeurIPS 2022).

No public code was found. docs/deviations.md says what is reconstructed and why.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor

from askew.methods.base import Batch, Terms
from askew.methods.encode import encode_captions, encode_views, masked_language_at_chance, with_masked_language
from askew.methods.normaliser import DOMAINS, OneSpaceConfig, OneSpaceMethod
from askew.methods.words import embed_words, with_words, words_at_chance
from askew.nn.heads import AugmentationHead
from askew.nn.similarity import DomainSimilarity, by_domain
from askew.nn.towers import TwoTower, unit
from askew.objectives.contrastive import mp_nce

# Weights w_D of image-image, image-text and text-text pairs. A sample has 4, 4 and 1 positives, itself included. With
# the inverse counts, each kind of pair has the same total weight, and all nine still sum to nine.
PAIR_WEIGHTS = {"equal": (1.0, 1.0, 1.0), "inverse_counts": (0.75, 0.75, 3.0)}


class UniCLIP(OneSpaceMethod):
    """MP-NCE over images, augmented images and texts in one space. The image head knows the augmentation."""

    class Config(OneSpaceConfig):
        """Each field with its unit and origin."""

        name: Literal["uniclip"] = "uniclip"
        mlm_weight: float = Field(default=0.0, ge=0)  # masked language modelling, as in MCD; 0 turns the term off
        # Initial tau of image-image, image-text and text-text pairs; docs/deviations.md
        temperatures: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.1, 0.07, 0.07)
        pair_weights: Literal["equal", "inverse_counts"] = "equal"  # w_D; not found, docs/deviations.md
        augmentation_encoding: bool = True  # off in row (a) of MCD's Table 5

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "UniCLIP":
            """UniCLIP on these towers."""
            return UniCLIP(self, towers, identity)

    def __init__(self, config: Config, towers: TwoTower, identity: Sequence[float]):
        super().__init__()
        self.config = config
        self.views = ("image", "aug", "text")
        self.towers = towers
        self.similarity = DomainSimilarity(config.temperatures)
        if config.augmentation_encoding:
            self.views += ("image_params", "aug_params")
            self.head = AugmentationHead(towers.config["embed_dim"], identity)
        self.views += (*config.masked_views, *config.row_views)
        self.normaliser = config.global_normaliser()
        self.token_head = config.token_head(towers.text)
        self.words = config.word_prediction(towers)
        self.pair_weights = PAIR_WEIGHTS[config.pair_weights]

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, aug, text (B, D), unit length; the masked-language sum and count of each sample (B,)."""
        image, aug = encode_views(self.towers.image, batch["image"], batch["aug"])
        embedded = {"image": image.embedding, "aug": aug.embedding}
        if self.config.augmentation_encoding:
            # Only the head knows the augmentation, so the tower need not become blind to it
            projected = self.towers.image.projection(torch.cat([image.pooled, aug.pooled]))  # (2B, D)
            parameters = torch.cat([batch["image_params"], batch["aug_params"]])  # (2B, P)
            images = unit(self.head(projected, parameters)).chunk(2)
            embedded = dict(zip(("image", "aug"), images, strict=True))
        embedded |= encode_captions(self.towers.text, self.token_head, batch)
        return embedded | embed_words(self.words, image, batch["text"])

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """MP-NCE of all 3N embeddings. An anchor is its own positive, and pairs are weighted by their domains."""
        space = self.one_space(local, gathered)  # logits (3B, 3N)
        weights = by_domain(space.logits.new_tensor(self.pair_weights), space.anchor_domain, space.member_domain)
        contrast = mp_nce(space.logits, space.positive, ~space.positive, weights)
        of_roles = [[self.pair_weights[anchor + member] for member in DOMAINS] for anchor in DOMAINS]
        contrast, all_data = self.with_all_data(contrast, local, gathered, of_roles, progress)
        terms = {"contrast": contrast, **all_data}
        loss, terms = with_masked_language(contrast, terms, gathered, self.config.mlm_weight)
        return with_words(self.words, loss, terms, local, gathered)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """Every anchor against 3N - 3 negatives. A masked token among the whole vocabulary."""
        mlm = masked_language_at_chance(self.towers.text, self.config.mlm_weight)
        return {"contrast": math.log(3 * num_samples - 2), **mlm, **words_at_chance(self.words)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale."""
        return self.similarity.logit_scale
