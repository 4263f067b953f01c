"""SigLIP: Sigmoid Loss for Language Image Pre-Training (Zhai et al., ICCV 2023), the example in docs/adding.md."""

import math
from collections.abc import Sequence
from typing import Literal

from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.words import WordsConfig, embed_words, with_words, words_at_chance
from askew.nn.similarity import BiasedTemperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import pairwise_sigmoid


class SigLIP(Method):
    """Every image-text pair judged on its own: does it match?"""

    class Config(WordsConfig):
        """Each field with its unit and origin."""

        name: Literal["siglip"] = "siglip"
        temperature: float = Field(default=0.1, gt=0)  # initial tau; t' = log 10, Sec. 3.2
        bias: float = -10.0  # initial b; Sec. 3.2

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "SigLIP":
            """SigLIP on these towers."""
            return SigLIP(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "text")
        self.towers = towers
        self.temperature = BiasedTemperature(config.temperature, config.bias)
        self.words = config.word_prediction(towers)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image (B, D) and text (B, D), both of unit length."""
        image, text = self.towers.image(batch["image"]), self.towers.text(batch["text"])
        words = embed_words(self.words, image, batch["text"])
        return {"image": image.embedding, "text": text.embedding, **words}

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Every local image with every text. One matrix holds each pair once, so there is no second direction."""
        loss = pairwise_sigmoid(self.temperature(local["image"], gathered["text"]), matches(local, gathered))
        return with_words(self.words, loss, {"contrast": loss}, local, gathered)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """The best constant guess: one pair in N matches, for each of an image's N pairs."""
        rest = num_samples - 1
        contrast = math.log(num_samples) + (rest * math.log(num_samples / rest) if rest else 0.0)
        return {"contrast": contrast, **words_at_chance(self.words)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale

    @property
    def logit_bias(self) -> Tensor:
        """(1,): what an exported model adds to its logits."""
        return self.temperature.bias
