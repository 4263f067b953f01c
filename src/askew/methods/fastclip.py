"""FastCLIP v3 (Wei et al., arXiv 2407.01445): contrast with the whole data set, by running means over the visits."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.words import WordsConfig, embed_words, with_words, words_at_chance
from askew.nn.row_state import RowState
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce
from askew.objectives.global_contrast import gamma_at, global_contrast, log_mean_negatives, log_running_mean

SIDES = (("image", "text"), ("text", "image"))  # anchors and candidates
SLOWER_BELOW, SLOWER = 0.03, 1 / 3  # tau at and below which its own learning rate is this share of it; the code
CHUNK = 1024  # samples whose pairs are in memory at once after a step


class FastCLIP(Method):
    """InfoNCE whose denominators are of the whole data set: the objective RGCL-g, halved."""

    class Config(WordsConfig):
        """Each field with its unit and origin. The defaults are those of the code's command for CC3M."""

        name: Literal["fastclip"] = "fastclip"
        temperature: float = Field(default=0.07, gt=0)  # initial tau
        temperature_rate: float = Field(default=0.0, ge=0)  # learning rate of tau, constant; 0 follows the schedule
        # Of tau: as in the code, which counts the part through the similarities twice, or exact; docs/deviations.md
        temperature_gradient: Literal["released", "exact"] = "released"
        rho: float = 6.5  # the weight of tau in the loss; a higher one gives a lower tau
        eps: float = Field(default=1e-14, ge=0)  # added to u: InfoNCE's "1 +" over the negatives; 0 = 1 / (n - 1)
        gamma: Literal["step", "epoch"] = "step"  # when the share of a new batch in u falls; the code: every epoch
        gamma_min: float = Field(default=0.2, gt=0, le=1)  # at the end of the fall, a cosine from 1
        gamma_decay: float = Field(default=0.5, gt=0, le=1)  # share of the run that the fall takes

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "FastCLIP":
            """FastCLIP on these towers."""
            return FastCLIP(self, towers)

    steps: Tensor

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.views = ("image", "text", "row")
        self.towers = towers
        self.temperature = Temperature(config.temperature)
        self.words = config.word_prediction(towers)
        self.log_u = RowState(len(SIDES))  # logarithms of the running means of each sample's image and text
        self.register_buffer("steps", torch.zeros(1, dtype=torch.int64))

    def allocate(self, num_rows: int) -> None:
        """Two numbers for each sample."""
        self.log_u.allocate(num_rows)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """row (B,), and the scale (B,) that this step begins with, which `after_step` needs."""
        return {"row": batch["row"], "scale": self.logit_scale.detach().exp().repeat(len(batch["row"]))}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image (B, D) and text (B, D), both of unit length."""
        image, text = self.towers.image(batch["image"]), self.towers.text(batch["text"])
        words = embed_words(self.words, image, batch["text"])
        return {"image": image.embedding, "text": text.embedding, **words}

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """tau (mean of both directions + rho). `contrast` is the InfoNCE of the batch, which is logged only.

        In eval mode the samples are not those of the training data, and so have not been seen.
        """
        config, match = self.config, matches(local, gathered)
        gamma = self._gamma(progress, len(gathered["row"]))
        never = local["image"].new_full((len(match), len(SIDES)), -torch.inf)
        before = self.log_u.read(local["row"]) if self.training else never
        scale = self.logit_scale.exp()
        fixed, tau = scale.detach(), 1 / scale
        twice = 2 * scale - fixed if config.temperature_gradient == "released" else scale
        own = own_logits(local, fixed)
        sides = []
        for side, logits in enumerate(both_logits(local, gathered, twice)):
            log_mean = log_mean_negatives(logits, match)
            log_u = log_running_mean(log_mean, own, before[:, side], gamma)
            values = global_contrast(logits, log_mean, own, match, log_u, self._eps)
            sides.append((*values, info_nce(logits.detach(), match)))
        loss, log, contrast = (torch.stack(values).mean() for values in zip(*sides, strict=True))
        # The factor tau has a gradient of its own: log(eps + u), or, in the code, log u
        factor = log if config.temperature_gradient == "released" else loss.detach()
        total = (loss / fixed + (tau - tau.detach()) * factor + config.rho * tau).squeeze(0)
        terms = {"contrast": contrast, "global": loss, "gamma": loss.new_tensor(gamma)}
        return with_words(self.words, total, terms, local, gathered)

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """The running means, with the embeddings and the temperature that the gradient was computed with."""
        super().after_step(gathered, progress)
        done, rows = self.steps.item(), gathered["row"]
        gamma = self._gamma(progress * done / (done + 1), len(rows))
        scale, after = gathered["scale"][:1], []
        for start in range(0, len(rows), CHUNK):
            local = {key: value[start : start + CHUNK] for key, value in gathered.items()}
            match, before, own = matches(local, gathered), self.log_u.read(local["row"]), own_logits(local, scale)
            means = [log_mean_negatives(logits, match) for logits in both_logits(local, gathered, scale)]
            sides = [log_running_mean(mean, own, before[:, side], gamma) for side, mean in enumerate(means)]
            after.append(torch.stack(sides, dim=1))
        self.log_u.write(rows, torch.cat(after))
        self.steps += 1

    def _gamma(self, progress: float, num_samples: int) -> float:
        """The share of the present batch of N samples in u."""
        done = self.steps.item() if self.config.gamma == "epoch" else 0
        if done:  # the progress at the beginning of the epoch
            progress *= 1 - done % max(1, len(self.log_u.values) // num_samples) / done
        return gamma_at(progress, self.config.gamma_decay, self.config.gamma_min)

    @property
    def _eps(self) -> float:
        """0 stands for the InfoNCE of a batch as large as the data, of n samples."""
        return self.config.eps or 1 / max(1, len(self.log_u.values) - 1)

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct answer among N, in the InfoNCE of the batch."""
        return {"contrast": math.log(num_samples), **words_at_chance(self.words)}

    def learning_rates(self) -> dict[str, float]:
        """The temperature's own, if it has one: a third of it once tau is at most 0.03."""
        rate = self.config.temperature_rate
        is_low = rate > 0 and self.logit_scale.item() >= -math.log(SLOWER_BELOW)
        return {"temperature.log_scale": rate * SLOWER if is_low else rate} if rate > 0 else {}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale


def both_logits(local: dict[str, Tensor], gathered: dict[str, Tensor], scale: Tensor) -> list[Tensor]:
    """Logits (B, N) of local images and all texts, and of local texts and all images."""
    return [scale * (local[anchor] @ gathered[candidate].T) for anchor, candidate in SIDES]


def own_logits(local: dict[str, Tensor], scale: Tensor) -> Tensor:
    """(B,): the logit of each sample's own pair, without gradient."""
    return scale * (local["image"] * local["text"]).sum(dim=1).detach()
