"""SigLIP: Sigmoid Loss for Language Image Pre-Training (Zhai et al., ICCV 2023), the example of docs/adding.md."""

import math
from typing import Literal

from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, MethodConfig, Terms, same_group
from askew.nn.similarity import BiasedTemperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import pairwise_sigmoid


class SigLIP(Method):
    """Every image-text pair judged alone: does it match?"""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["siglip"] = "siglip"
        temperature: float = Field(default=0.1, gt=0)  # tau at the start; t' = log 10, Sec. 3.2
        bias: float = -10.0  # b at the start; Sec. 3.2

        def build(self, towers: TwoTower) -> "SigLIP":
            """SigLIP on these towers."""
            return SigLIP(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "text")
        self.towers = towers
        self.temperature = BiasedTemperature(config.temperature, config.bias)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image (B, D), text (B, D), unit length."""
        return {
            "image": self.towers.image(batch["image"]).embed,
            "text": self.towers.text(batch["text"]).embed,
        }

    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Every image of mine with every text: one matrix has each pair once, so there is no second direction."""
        loss = pairwise_sigmoid(self.temperature(mine["image"], everyone["text"]), same_group(mine, everyone))
        return loss, {"contrast": loss}

    def chance(self, num_samples: int) -> dict[str, float]:
        """The best guess that knows only how rare a match is: one in N, for each of the N pairs of an image."""
        rest = num_samples - 1
        return {"contrast": math.log(num_samples) + (rest * math.log(num_samples / rest) if rest else 0.0)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.image_text_scale

    @property
    def logit_bias(self) -> Tensor:
        """(1,): what a released model adds to its logits."""
        return self.temperature.bias
