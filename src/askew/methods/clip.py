"""CLIP (Radford et al., ICML 2021) as SLIP's code trains it: the yardstick.

Its loss may also be given augmented images, which know nothing of the text: Eq. (4), the naive use of augmentation.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, MethodConfig, Terms, same_group
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce


class CLIP(Method):
    """Symmetric InfoNCE between images and texts."""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["clip"] = "clip"
        temperature: float = Field(default=0.07, gt=0)  # tau at the start; SLIP: logit scale log(1 / 0.07)
        # Which images are contrasted with the texts: originals, Eq. (3); augmented, Eq. (4); or the mean of both losses
        contrasted: tuple[Literal["image", "aug"], ...] = Field(default=("image",), min_length=1)

        def build(self, towers: TwoTower) -> "CLIP":
            """CLIP on these towers."""
            return CLIP(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = (*config.contrasted, "text")
        self.towers = towers
        self.temperature = Temperature(config.temperature)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image and, where it is contrasted, aug (B, D), text (B, D), unit length."""
        views = self.config.contrasted
        images = self.towers.image(torch.cat([batch[view] for view in views])).embed.chunk(len(views))
        return {**dict(zip(views, images, strict=True)), "text": self.towers.text(batch["text"]).embed}

    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Eq. (3): the mean of Eq. (2) over both directions; with augmented images the mean of Eqs. (3) and (4)."""
        match = same_group(mine, everyone)
        losses = []
        for view in self.config.contrasted:
            text_to_image = info_nce(self.temperature(mine["text"], everyone[view]), match)
            image_to_text = info_nce(self.temperature(mine[view], everyone["text"]), match)
            losses.append((text_to_image + image_to_text) / 2)  # Eq. (3)
        loss = torch.stack(losses).mean()
        return loss, {"contrast": loss}

    def chance(self, num_samples: int) -> dict[str, float]:
        """One right answer among N."""
        return {"contrast": math.log(num_samples)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.image_text_scale
