"""DeCLIP: supervision exists everywhere, a data-efficient CLIP (Li et al., ICLR 2022), with its code's weights."""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, MethodConfig, Terms, encode_texts, masked_sums, same_group
from askew.nn.heads import Head, TokenHead, narrowed
from askew.nn.queue import NearestNeighbours
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce
from askew.objectives.masked_language import masked_language
from askew.objectives.self_supervised import negative_cosine

PUBLISHED_DIMENSION = 512  # D, for which the heads' sizes are published
IMAGES, TEXTS, NEIGHBOURS = ("image", "image2"), ("text", "text_aug"), ("neighbour", "neighbour_aug")


class DeCLIP(Method):
    """Two views of the image, two of the text, each text's nearest neighbour, and self-supervision within each."""

    class Config(MethodConfig):
        """Every field with unit and origin."""

        name: Literal["declip"] = "declip"
        temperature: float = Field(default=0.07, gt=0)  # tau at the start; DeCLIP: logit scale log(1 / 0.07)
        contrast_weight: float = Field(default=0.4, gt=0)  # of all four pairs of views; DeCLIP's YFCC15M ViT config
        nns_weight: float = Field(default=0.2, gt=0)  # the same config, nn_text
        simsiam_weight: float = Field(default=0.2, gt=0)  # the same config
        mlm_weight: float = Field(default=0.2, ge=0)  # the same config, masking_language; 0 turns the term off
        contrast_text: Literal["masked", "clean"] = "masked"  # the code contrasts the masked caption; clean if no MLM
        queue_size: int = Field(default=65_536, ge=1)  # Q, embeddings; DeCLIP
        projector: tuple[int, int, int] = (1024, 1024, 1024)  # DeCLIP at D = 512; a smaller D takes D / 512 of them
        predictor: int = Field(default=512, ge=1)  # its hidden layer; likewise

        def build(self, towers: TwoTower) -> "DeCLIP":
            """DeCLIP on these towers."""
            return DeCLIP(self, towers)

        @property
        def needs_mask_token(self) -> bool:
            """Masked language modelling replaces tokens by [MASK]."""
            return self.mlm_weight > 0

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.towers = towers
        masked = ("masked_text", "mlm_labels") if config.mlm_weight > 0 else ()
        self.contrasted = "masked_text" if masked and config.contrast_text == "masked" else "text"
        self.views = tuple(dict.fromkeys(("aug", "aug2", self.contrasted, *masked, "text_aug")))
        self.temperature = Temperature(config.temperature)
        dimension = towers.config["embed_dim"]
        *projector, predictor = narrowed((*config.projector, config.predictor), dimension, PUBLISHED_DIMENSION)
        self.projector = Head([dimension, *projector], last_norm=True)
        self.predictor = Head([projector[-1], predictor, projector[-1]])
        self.queue = NearestNeighbours(config.queue_size, dimension)
        if masked:
            self.token_head = TokenHead(towers.text.width, towers.text.vocab_size)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """Both IMAGES and TEXTS (B, D), unit length; the images' embeddings before that; NEIGHBOURS of the texts."""
        size = len(batch["aug"])
        encoded = self.towers.image(torch.cat([batch["aug"], batch["aug2"]]))
        embedded = dict(zip(IMAGES, encoded.embed.chunk(2), strict=True))
        projected = self.towers.image.projection(encoded.pooled).float().chunk(2)  # as `embed`, at its own length
        embedded |= {f"{name}_projected": part for name, part in zip(IMAGES, projected, strict=True)}

        keys = list(dict.fromkeys([self.contrasted, "text_aug", *(k for k in self.views if k == "masked_text")]))
        text = encode_texts(self.towers.text, batch, *keys)  # one gradient of the vocabulary
        embedded |= dict(zip(TEXTS, text.embed.split(size)[:2], strict=True))
        embedded |= {near: self.queue.nearest(embedded[name]) for near, name in zip(NEIGHBOURS, TEXTS, strict=True)}
        if self.config.mlm_weight > 0:
            embedded |= masked_sums(self.token_head, text, batch)
        return embedded

    def objective(self, mine: dict[str, Tensor], everyone: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """0.4 multi-view contrast + 0.2 nearest neighbours + 0.2 SimSiam + 0.2 masked language, the code's sum."""
        match = same_group(mine, everyone)

        # Multi-view supervision, MVS: every image with every text, both directions
        pairs = [(image, text) for image in IMAGES for text in TEXTS]
        pairs += [(text, image) for image, text in pairs]
        contrast = self._mean_info_nce(mine, everyone, pairs, match)

        # Nearest-neighbour supervision, NNS: an image finds what its text is nearest to; this direction only
        nns = self._mean_info_nce(mine, everyone, [(image, near) for image in IMAGES for near in NEIGHBOURS], match)

        # Self-supervision, ISS of the image: SimSiam, over everyone's samples because of BatchNorm's statistics
        projected = [everyone[f"{name}_projected"] for name in IMAGES]
        one, other = (self.projector(view, view)[0] for view in projected)
        towards_other = negative_cosine(self.predictor(one, one)[0], other)
        towards_one = negative_cosine(self.predictor(other, other)[0], one)
        simsiam = (towards_other + towards_one) / 2

        config, terms = self.config, {"contrast": contrast, "nns": nns, "simsiam": simsiam}
        loss = config.contrast_weight * contrast + config.nns_weight * nns + config.simsiam_weight * simsiam
        if config.mlm_weight > 0:
            terms["mlm"] = masked_language(everyone["mlm_sum"], everyone["mlm_count"])  # TSS, of the text
            loss = loss + config.mlm_weight * terms["mlm"]
        return loss, terms

    def _mean_info_nce(
        self, mine: dict[str, Tensor], everyone: dict[str, Tensor], pairs: list[tuple[str, str]], match: Tensor
    ) -> Tensor:
        """Mean over (rows, columns) by name."""
        losses = [info_nce(self.temperature(mine[rows], everyone[columns]), match) for rows, columns in pairs]
        return torch.stack(losses).mean()

    def after_step(self, everyone: dict[str, Tensor], progress: float) -> None:
        """The augmented texts enter the queue, then the others: the order of the official code."""
        super().after_step(everyone, progress)
        self.queue.push(everyone["text_aug"])
        self.queue.push(everyone["text"])

    def chance(self, num_samples: int) -> dict[str, float]:
        """One right answer among N, twice; a prediction at a right angle; a masked token among the vocabulary."""
        levels = {"contrast": math.log(num_samples), "nns": math.log(num_samples), "simsiam": 0.0}
        return levels | ({"mlm": math.log(self.towers.text.vocab_size)} if self.config.mlm_weight > 0 else {})

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.image_text_scale
