"""MCD: Misalign, Contrast then Distill (Kim et al., ICCV 2023)."""

from collections.abc import Sequence
from typing import Literal, cast

from pydantic import Field, PositiveFloat
from torch import Tensor

from askew.methods.base import Batch, Terms, matches
from askew.methods.chosen import ChosenPatches, Patches, Scores
from askew.methods.encode import encode_captions, masked_language_at_chance, with_masked_language
from askew.methods.normaliser import IS_AUG, OneSpaceConfig, OneSpaceMethod
from askew.methods.words import embed_words, with_words, words_at_chance
from askew.nn.momentum import Momentum, alpha_at, momentum_at
from askew.nn.similarity import SIMILARITY
from askew.nn.towers import ImageTower, TextTower, TwoTower
from askew.objectives.distillation import NEGATIVE, NOISY, Reading, log_ratios, positive_pairs, text_log_ratios
from askew.objectives.fading import FADING, contrast_at_chance, two_sets, weights_of_pairs
from askew.objectives.log_ratio import RHO
from askew.objectives.soft_alignment import soft_alignments

Term = Literal["positive", "negative", "noisy", "soft_alignment", "text_positive", "text_negative"]
OF_SHORT_TEXT = ("text_positive", "text_negative")


class MCD(OneSpaceMethod):
    """Contrast of images, augmented images and texts in one space; distillation of a momentum teacher's distances."""

    class Config(OneSpaceConfig):
        """Each field with its unit and origin."""

        name: Literal["mcd"] = "mcd"
        mlm_weight: float = Field(default=0.2, ge=0)  # beta of Eq. (13); DeCLIP's weight; 0 turns the term off
        # Initial tau of image-image, image-text and text-text pairs; docs/deviations.md
        temperatures: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (0.1, 0.07, 0.07)
        momentum: float = Field(default=0.996, ge=0, le=1)  # m at step 0, Sec. 4.4; docs/deviations.md
        momentum_end: float = Field(default=1.0, ge=0, le=1)  # m at the end of a cosine; constant if as momentum
        # The terms of Eq. (10). Ablations omit some, or use soft_alignment, which the paper argues against. Those of
        # texts are Eqs. (7) and (8) with shortened captions in the place of augmented images; ours
        terms: tuple[Term, ...] = Field(default=("positive", "negative", "noisy"), min_length=1)
        # Readings of what the paper leaves open: docs/deviations.md
        similarity: Literal["domain", "shared"] = "domain"  # Eq. (5): tau and offset per pair of domains, or one tau
        rho: Literal["squared", "absolute", "huber"] = "squared"  # Eq. (6)
        negative: Literal["same_pair", "aug_own_against_other", "own_against_aug_other"] = "same_pair"  # Eq. (8)
        noisy: Literal["own_against_other", "own_against_own", "teacher_ranks"] = "own_against_other"  # Eq. (9)
        contrast_text: Literal["whole", "short"] = "whole"  # captions of the contrast; distillation has whole ones
        text_gradient: Literal["through", "stopped"] = "through"  # of distillation, through the student's distances
        fading: Literal["augmented_terms", "two_sets", "whole_contrast", "unfaded"] = "augmented_terms"  # Eq. (13)
        alpha_start: float = Field(default=0.0, ge=0, le=1)  # alpha at step 0, cosine to 1; 1 is constant
        # Patches of the augmented image that the student sees, and what chooses them; ours, after A-CLIP
        aug_patches: Patches = "all"
        patch_scores: Scores = "teacher"

        def build(self, towers: TwoTower, identity: Sequence[float]) -> "MCD":
            """MCD on these towers."""
            return MCD(self, towers)

    def __init__(self, config: Config, towers: TwoTower):
        super().__init__()
        self.config = config
        self.distills_texts = not set(OF_SHORT_TEXT).isdisjoint(config.terms)
        self.texts = ("text", "text_short") if self.distills_texts or config.contrast_text == "short" else ("text",)
        self.patches = ChosenPatches(towers.image, config.aug_patches, config.patch_scores)
        self.views = ("image", "aug", *self.texts, *self.patches.views, *config.masked_views, *config.row_views)
        self.towers = towers
        self.similarity = SIMILARITY[config.similarity](config.temperatures)
        self.teacher = Momentum(towers.image)
        self.token_head = config.token_head(towers.text)
        self.words = config.word_prediction(towers)
        self.fading, self.rho = FADING[config.fading], RHO[config.rho]
        self.normaliser = config.global_normaliser()
        if self.normaliser is not None and self.fading is two_sets:
            raise ValueError(
                "method.normaliser=global: method.fading=two_sets has two denominators; choose another fading"
            )
        self.readings: dict[str, Reading] = {
            "positive": positive_pairs,  # Eq. (7)
            "negative": NEGATIVE[config.negative],  # Eq. (8)
            "noisy": NOISY[config.noisy],  # Eq. (9)
        }
        self.readings |= {f"text_{name}": self.readings[name] for name in ("positive", "negative")}

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The teacher's embeddings of the same two views, (B, D) each, unit length."""
        return {**self.patches.targets(self.teacher, batch), **super().targets(batch)}

    def embed(self, batch: Batch) -> dict[str, Tensor]:
        """image, aug, text (B, D), unit length, and text_short or text_whole; what the other terms need (B, ...)."""
        # Misalign: the same image with and without an augmentation that its text does not describe
        image, aug = self.patches.encode(self.towers.image, batch)
        captions = encode_captions(self.towers.text, self.token_head, batch, self.texts)
        if self.config.contrast_text == "short":
            captions["text"], captions["text_whole"] = captions.pop("text_short"), captions["text"]
        words = embed_words(self.words, image, batch["text"])
        return {"image": image.embedding, "aug": aug.embedding, **captions, **words}

    def objective(self, local: dict[str, Tensor], gathered: dict[str, Tensor], progress: float) -> tuple[Tensor, Terms]:
        """Eq. (13), total: contrast with fading, + alpha x distillation, Eq. (10), + beta x masked language."""
        config, match = self.config, matches(local, gathered)
        alpha = alpha_at(progress, config.alpha_start)

        # Contrast in one space of 3N embeddings; pairs with an augmented member fade
        space = self.one_space(local, gathered)  # logits (3B, 3N); an anchor is its own positive
        contrast = self.fading(space.logits, space.positive, space.anchor_is_aug, space.member_is_aug, alpha)  # Eq. (5)
        all_data: Terms = {}
        if self.normaliser is not None:
            weights = weights_of_pairs(self.fading, IS_AUG, alpha)
            contrast, all_data = self.with_all_data(contrast, local, gathered, weights, progress)

        # Distill: the student's ratios of distances follow the teacher's, to whole captions
        if config.contrast_text == "short":
            local, gathered = (s | {"text": s["text_whole"], "text_short": s["text"]} for s in (local, gathered))
        if config.text_gradient == "stopped":
            local, gathered = (s | {key: s[key].detach() for key in self.texts} for s in (local, gathered))
        ratios = log_ratios(local, gathered, match)  # Eq. (6)
        of_texts = text_log_ratios(ratios, local, gathered) if self.distills_texts else ratios
        distilled: Terms = {}
        for term in config.terms:
            if term == "soft_alignment":
                distilled[term] = soft_alignments(local, gathered, self.logit_scale.exp())
            else:  # Eqs. (7)-(9)
                distilled[term] = self.readings[term](of_texts if term in OF_SHORT_TEXT else ratios, self.rho)

        loss = contrast + alpha * sum(distilled.values())  # Eq. (10)
        terms = {"contrast": contrast, **all_data, **distilled, "alpha": loss.new_tensor(alpha)}
        terms["momentum"] = loss.new_tensor(momentum_at(progress, config.momentum, config.momentum_end))
        loss, terms = with_masked_language(loss, terms, gathered, config.mlm_weight)  # Eqs. (11), (13)
        return with_words(self.words, loss, terms, local, gathered)

    def after_step(self, gathered: dict[str, Tensor], progress: float) -> None:
        """Eq. (12): the teacher follows the student's image tower, including its projection."""
        super().after_step(gathered, progress)
        self.teacher.update(self.towers.image, momentum_at(progress, self.config.momentum, self.config.momentum_end))

    def loss_at_chance(self, num_samples: int) -> dict[str, float]:
        """At step 0: every anchor against 3N - 3 negatives. A masked token among the whole vocabulary."""
        contrast = contrast_at_chance(self.fading, num_samples, self.config.alpha_start)
        mlm = masked_language_at_chance(self.towers.text, self.config.mlm_weight)
        return {"contrast": contrast, **mlm, **words_at_chance(self.words)}

    @property
    def logit_scale(self) -> Tensor:
        """(1,): the logarithm of the image-text scale."""
        return self.similarity.logit_scale

    def export_towers(self) -> dict[str, tuple[ImageTower, TextTower]]:
        """The student, which the paper evaluates, and the teacher, which has the student's text tower."""
        image, text = self.towers.image, self.towers.text
        return {"model": (image, text), "teacher": (cast(ImageTower, self.teacher.module), text)}
