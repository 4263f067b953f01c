"""CLIP (Radford et al., ICML 2021) as SLIP's code trains it: the baseline.

Its loss can also use augmented images, whose changes the text does not describe: Eq. (4), the naive use of
augmentation.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.encode import encode_views
from askew.methods.words import WordsConfig, embed_words, with_words, words_at_chance
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce


class CLIP(Method):
    """Symmetric InfoNCE between images and texts."""

    class Config(WordsConfig):
        """Each field with its unit and origin."""

        name: Literal["clip"] = "clip"
        temperature: float = Field(default=0.07, gt=0)  # initial tau; SLIP: logit scale log(1 / 0.07)
        # Images that are contrasted with the texts: originals, Eq. (3); augmented, Eq. (4); or the mean of both losses
        contrasted: tuple[Literal["image", "aug"], ...] = Field(default=("image",), min_length=1)

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "CLIP":
            """CLIP on these towers."""
            return CLIP(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = (*config.contrasted, "text")
        self.towers = towers
        self.temperature = Temperature(config.temperature)
        self.words = config.word_prediction(towers)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """The contrasted ones of image and aug (B, D), and text (B, D), all of unit length."""
        views = self.config.contrasted
        images = encode_views(self.towers.image, *(batch[view] for view in views))
        embedded = {view: image.embedding for view, image in zip(views, images, strict=True)}
        embedded["text"] = self.towers.text(batch["text"]).embedding
        return embedded | embed_words(self.words, images[0], batch["text"])

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Eq. (3): the mean of Eq. (2) over both directions. With augmented images, the mean of Eqs. (3) and (4)."""
        match = matches(local, gathered)
        losses = []
        for view in self.config.contrasted:
            text_to_image = info_nce(self.temperature(local["text"], gathered[view]), match)  # Eq. (2)
            image_to_text = info_nce(self.temperature(local[view], gathered["text"]), match)
            losses.append((text_to_image + image_to_text) / 2)  # Eq. (3)
        loss = torch.stack(losses).mean()
        return with_words(self.words, loss, {"contrast": loss}, local, gathered)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct answer among N."""
        return {"contrast": math.log(num_samples), **words_at_chance(self.words)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale
