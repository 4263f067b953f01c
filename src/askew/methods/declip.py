"""DeCLIP: supervision exists everywhere, a data-efficient CLIP (Li et al., ICLR 2022), with its code's weights."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Method, Terms, matches
from askew.methods.encode import (
    MaskedLanguageConfig,
    encode_texts,
    encode_views,
    masked_language_at_chance,
    masked_sums,
    with_masked_language,
)
from askew.methods.words import with_words, words_at_chance
from askew.nn.heads import Head, narrowed
from askew.nn.queue import NearestNeighbours
from askew.nn.similarity import Temperature
from askew.nn.towers import TwoTower
from askew.objectives.contrastive import info_nce
from askew.objectives.self_supervised import negative_cosine

PUBLISHED_DIMENSION = 512  # D, for which the heads' sizes are published
IMAGES, TEXTS, NEIGHBOURS = ("image", "image2"), ("text", "text_aug"), ("neighbour", "neighbour_aug")


class DeCLIP(Method):
    """Two views of the image, two of the text, each text's nearest neighbour, and self-supervision within each."""

    class Config(MaskedLanguageConfig):
        """Each field with its unit and origin."""

        name: Literal["declip"] = "declip"
        mlm_weight: float = Field(default=0.2, ge=0)  # DeCLIP's YFCC15M ViT config, masking_language; 0 turns it off
        temperature: float = Field(default=0.07, gt=0)  # initial tau; DeCLIP: logit scale log(1 / 0.07)
        contrast_weight: float = Field(default=0.4, gt=0)  # of all four pairs of views; the same config
        nns_weight: float = Field(default=0.2, gt=0)  # the same config, nn_text
        simsiam_weight: float = Field(default=0.2, gt=0)  # the same config
        contrast_text: Literal["masked", "clean"] = "masked"  # the code contrasts the masked caption; clean if no MLM
        queue_size: int = Field(default=65_536, ge=1)  # Q, embeddings; DeCLIP
        projector: tuple[int, int, int] = (1024, 1024, 1024)  # DeCLIP at D = 512; times D / 512 for a smaller D
        predictor: int = Field(default=512, ge=1)  # its hidden layer; likewise

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "DeCLIP":
            """DeCLIP on these towers."""
            return DeCLIP(self, towers)

    is_chunked = False  # its heads see all samples

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.towers = towers
        masked = config.masked_views
        self.contrasted = "masked_text" if masked and config.contrast_text == "masked" else "text"
        self.words = config.word_prediction(towers)
        caption = ("text",) if self.words is not None else ()
        self.views = tuple(dict.fromkeys(("aug", "aug2", self.contrasted, *masked, "text_aug", *caption)))
        self.temperature = Temperature(config.temperature)
        dimension = towers.config["embed_dim"]
        *projector, predictor = narrowed((*config.projector, config.predictor), dimension, PUBLISHED_DIMENSION)
        self.projector = Head([dimension, *projector], last_norm=True)
        self.predictor = Head([projector[-1], predictor, projector[-1]])
        self.queue = NearestNeighbours(config.queue_size, dimension)
        self.token_head = config.token_head(towers.text)

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """IMAGES and TEXTS (B, D), unit length; the images' projections at their own length; the texts' NEIGHBOURS."""
        size = len(batch["aug"])
        images = encode_views(self.towers.image, batch["aug"], batch["aug2"])
        embedded = {name: image.embedding for name, image in zip(IMAGES, images, strict=True)}
        for name, image in zip(IMAGES, images, strict=True):
            embedded[f"{name}_projected"] = self.towers.image.projection(image.pooled).float()

        keys = list(dict.fromkeys([self.contrasted, "text_aug", *(k for k in self.views if k == "masked_text")]))
        text = encode_texts(self.towers.text, batch, *keys)
        embedded |= dict(zip(TEXTS, text.embedding.split(size)[:2], strict=True))
        embedded |= {near: self.queue.nearest(embedded[name]) for near, name in zip(NEIGHBOURS, TEXTS, strict=True)}
        if self.token_head is not None:
            embedded |= masked_sums(self.token_head, text, batch)
        if self.words is not None:
            embedded |= self.words.embed(images[0], batch["text"])
        return embedded

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """0.4 multi-view contrast + 0.2 nearest neighbours + 0.2 SimSiam + 0.2 masked language, the code's sum."""
        config, match = self.config, matches(local, gathered)

        # Multi-view supervision, MVS: every image with every text, in both directions
        pairs = [(image, text) for image in IMAGES for text in TEXTS]
        pairs += [(text, image) for image, text in pairs]
        contrast = self._mean_info_nce(local, gathered, pairs, match)

        # Nearest-neighbour supervision, NNS: an image finds its text's nearest neighbour, in this direction only
        nns = self._mean_info_nce(local, gathered, [(image, near) for image in IMAGES for near in NEIGHBOURS], match)

        # Image self-supervision, ISS: SimSiam, on the gathered samples because of BatchNorm's statistics
        projected = [gathered[f"{name}_projected"] for name in IMAGES]
        one, other = (self.projector(view, view)[0] for view in projected)
        towards_other = negative_cosine(self.predictor(one, one)[0], other)
        towards_one = negative_cosine(self.predictor(other, other)[0], one)
        simsiam = (towards_other + towards_one) / 2

        terms = {"contrast": contrast, "nns": nns, "simsiam": simsiam}
        loss = config.contrast_weight * contrast + config.nns_weight * nns + config.simsiam_weight * simsiam
        loss, terms = with_masked_language(loss, terms, gathered, config.mlm_weight)  # text self-supervision, TSS
        return with_words(self.words, loss, terms, local, gathered)

    def _mean_info_nce(
        self, local: dict[str, Tensor], gathered: dict[str, Tensor], pairs: list[tuple[str, str]], match: Tensor
    ) -> Tensor:
        """The mean over pairs of (rows, columns), given by name."""
        losses = [info_nce(self.temperature(local[rows], gathered[columns]), match) for rows, columns in pairs]
        return torch.stack(losses).mean()

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """Push the augmented texts to the queue, then the others, in the order of the official code."""
        super().after_step(gathered, progress)
        self.queue.push(gathered["text_aug"])
        self.queue.push(gathered["text"])

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """One correct answer among N, twice; an orthogonal prediction; a masked token among the vocabulary."""
        levels = {"contrast": math.log(num_samples), "nns": math.log(num_samples), "simsiam": 0.0}
        levels |= masked_language_at_chance(self.towers.text, self.config.mlm_weight)
        return levels | words_at_chance(self.words)

    @property
    def logit_scale(self) -> Tensor:
        """(1,): log(1 / tau)."""
        return self.temperature.logit_scale
