"""ALBEF: Align before Fuse (Li et al., NeurIPS 2021), its image-text contrast alone, as its code computes it.

A momentum teacher with both towers gives the candidates and soft targets, and a queue gives more candidates. The fusion
encoder, and the matching and masked language modelling on top of it, are left out: docs/deviations.md.
"""

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.encode import (
    MaskedLanguageConfig,
    encode_captions,
    masked_language_at_chance,
    with_masked_language,
)
from askew.methods.words import embed_words, with_words, words_at_chance
from askew.nn.momentum import Momentum
from askew.nn.queue import PairQueue
from askew.nn.similarity import Temperature
from askew.nn.towers import ImageTower, TextTower, TwoTower
from askew.objectives.soft_alignment import soft_target_nce


class ALBEF(Method):
    """The student's images against the teacher's texts, and vice versa, with targets that are partly the teacher's."""

    class Config(MaskedLanguageConfig):
        """Each field with its unit and origin."""

        name: Literal["albef"] = "albef"
        mlm_weight: float = Field(default=0.0, ge=0)  # as in MCD; off, since ALBEF's own term reads the image too
        temperature: float = Field(default=0.07, gt=0)  # initial tau; ALBEF's code, temp
        momentum: float = Field(default=0.995, ge=0, le=1)  # m, constant; ALBEF's code
        queue_size: int = Field(default=65_536, ge=1)  # Q, pairs; ALBEF's code
        alpha: float = Field(default=0.4, ge=0, le=1)  # the teacher's share of the targets; ALBEF's code
        # Share of the run over which alpha rises from 0 along a line; ALBEF's code: the first of 30 epochs. 0: constant
        alpha_ramp: float = Field(default=1 / 30, ge=0, le=1)

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "ALBEF":
            """ALBEF on these towers."""
            return ALBEF(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "text", *config.masked_views)
        self.towers = towers
        self.temperature = Temperature(config.temperature)
        self.teacher_image, self.teacher_text = Momentum(towers.image), Momentum(towers.text)
        self.queue = PairQueue(config.queue_size, towers.config["embed_dim"])
        self.token_head = config.token_head(towers.text)
        self.words = config.word_prediction(towers)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's embeddings of the same image and text, (B, D) each, unit length; what the queue knows them by.

        That is the match id and, where captions are compared (data.equal_captions), the caption id: (B, 2). The match
        ids that `objective` reads are no use to a queue then, because they hold for one batch.
        """
        caption_id = batch["caption_id" if "caption_id" in batch else "match_id"]
        return {
            "teacher_image": self.teacher_image(batch["image"]).embedding,
            "teacher_text": self.teacher_text(batch["text"]).embedding,
            "ids": torch.stack([batch["match_id"], caption_id], dim=1),
        }

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image and text (B, D), unit length; the masked-language sum and count of each sample (B,)."""
        image = self.towers.image(batch["image"])
        captions = encode_captions(self.towers.text, self.token_head, batch)
        return {"image": image.embedding, **captions, **embed_words(self.words, image, batch["text"])}

    def alpha_at(self, progress: float) -> float:
        """The teacher's share of the targets at progress k / T: from 0 along a line, then constant."""
        ramp = self.config.alpha_ramp
        return self.config.alpha * (min(1.0, progress / ramp) if ramp > 0 else 1.0)

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """The mean of both directions: each local row against the teacher's embeddings of all ranks and of the queue.

        The gradient reaches the student's rows and the temperature, and not the candidates or the targets.
        """
        match, others = matches(local, gathered), self.queue.differs(local["ids"])
        positive = torch.cat([match, torch.zeros_like(others)], dim=1)  # (B, N + Q)
        negative = torch.cat([~match, others], dim=1)  # an older copy of a row's sample is neither
        losses = []
        for rows, columns, past in (("image", "text", self.queue.text), ("text", "image", self.queue.image)):
            candidates = torch.cat([gathered[f"teacher_{columns}"], past])  # (N + Q, D)
            logits = self.temperature(local[rows], candidates)
            by_teacher = self.temperature(local[f"teacher_{rows}"], candidates).detach()
            losses.append(soft_target_nce(logits, by_teacher, positive, negative, self.alpha_at(progress)))
        loss = torch.stack(losses).mean()
        loss, terms = with_masked_language(loss, {"contrast": loss}, gathered, self.config.mlm_weight)
        return with_words(self.words, loss, terms, local, gathered)

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """The teacher follows both of the student's towers. The pairs that it embedded in this step join the queue."""
        super().after_step(gathered, progress)
        self.teacher_image.update(self.towers.image, self.config.momentum)
        self.teacher_text.update(self.towers.text, self.config.momentum)
        self.queue.push(gathered["teacher_image"], gathered["teacher_text"], gathered["ids"])

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct answer among N + Q. A masked token among the whole vocabulary."""
        contrast = math.log(num_samples + self.config.queue_size)
        mlm = masked_language_at_chance(self.towers.text, self.config.mlm_weight)
        return {"contrast": contrast, **mlm, **words_at_chance(self.words)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale

    def export_towers(self) -> dict[str, tuple[ImageTower, TextTower]]:
        """The student, and the teacher with its own text tower."""
        image, text = cast(ImageTower, self.teacher_image.module), cast(TextTower, self.teacher_text.module)
        return {"model": (self.towers.image, self.towers.text), "teacher": (image, text)}
