"""SLIP: Self-supervision meets Language-Image Pre-training (Mu et al., ECCV 2022): CLIP and SimCLR on one tower."""

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.encode import encode_views
from askew.methods.words import WordsConfig, embed_words, with_words, words_at_chance
from askew.nn.heads import Head, narrowed
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce
from askew.objectives.self_supervised import nt_xent

PUBLISHED_WIDTH = 768  # F of ViT-B, for which the head's sizes are published


class SLIP(Method):
    """Image and text are contrasted, and so are two augmented views of the image."""

    class Config(WordsConfig):
        """Each field with its unit and origin."""

        name: Literal["slip"] = "slip"
        temperature: float = Field(default=0.07, gt=0)  # initial tau; SLIP: logit scale log(1 / 0.07)
        simclr_temperature: float = Field(default=0.1, gt=0)  # fixed; SLIP, --ssl-temp
        simclr_weight: float = Field(default=1.0, gt=0)  # SLIP, --ssl-scale
        head: tuple[int, int, int] = (4096, 4096, 256)  # SLIP at F = 768; times F / 768 for a narrower tower

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "SLIP":
            """SLIP on these towers."""
            return SLIP(self, towers)

    is_chunked = False  # its heads see all samples

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "aug", "aug2", "text")
        self.towers = towers
        self.temperature = Temperature(config.temperature)
        self.words = config.word_prediction(towers)
        width = towers.image.width
        self.head = Head([width, *narrowed(config.head, width, PUBLISHED_WIDTH)])

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, text (B, D), unit length. aug, aug2 (B, F): the backbone's features before CLIP's projection."""
        image, aug, aug2 = encode_views(self.towers.image, batch["image"], batch["aug"], batch["aug2"])
        text = self.towers.text(batch["text"])
        return {
            "image": image.embedding,
            "text": text.embedding,
            "aug": aug.pooled.float(),
            "aug2": aug2.pooled.float(),
            **embed_words(self.words, image, batch["text"]),
        }

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """The CLIP loss + 1.0 x SimCLR's on the augmented views (Sec. 3; Algorithm 1)."""
        match = matches(local, gathered)

        # CLIP: the original view and its text, in both directions
        text_to_image = info_nce(self.temperature(local["text"], gathered["image"]), match)
        image_to_text = info_nce(self.temperature(local["image"], gathered["text"]), match)
        contrast = (text_to_image + image_to_text) / 2

        # SimCLR: two augmented views through the head, each to be found from the other
        aug, all_aug = self._project(local["aug"], gathered["aug"])
        aug2, all_aug2 = self._project(local["aug2"], gathered["aug2"])
        tau = self.config.simclr_temperature
        from_aug = nt_xent(aug @ all_aug2.T / tau, aug @ all_aug.T / tau, match)
        from_aug2 = nt_xent(aug2 @ all_aug.T / tau, aug2 @ all_aug2.T / tau, match)
        simclr = (from_aug + from_aug2) / 2

        loss = contrast + self.config.simclr_weight * simclr
        terms = {"contrast": contrast, "simclr": simclr}
        return with_words(self.words, loss, terms, local, gathered)

    def _project(self, local: Tensor, gathered: Tensor) -> tuple[Tensor, Tensor]:
        """Unit vectors of one view, local and gathered. Each view has its own BatchNorm statistics, as in SLIP."""
        projected, all_projected = self.head(local, gathered)
        return F.normalize(projected, dim=-1), F.normalize(all_projected, dim=-1)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct text among N, and one correct view among 2N - 1."""
        levels = {"contrast": math.log(num_samples), "simclr": math.log(2 * num_samples - 1)}
        return levels | words_at_chance(self.words)

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale
