"""What several methods share: several views in one forward pass, one space of embeddings, masked language modelling.

One forward pass over several views has fewer and larger matrix products than one pass per view.
"""

import math
from collections.abc import Callable, Sequence

import torch
from pydantic import Field
from torch import Tensor

from askew.methods.base import Batch, Terms
from askew.methods.words import WordsConfig
from askew.nn.heads import TokenHead
from askew.nn.similarity import IMAGE, TEXT
from askew.nn.towers import Encoded, TextTower
from askew.objectives.masked_language import NOT_MASKED, cross_entropy_per_sample, masked_language


def encode_views(tower: Callable[[Tensor], Encoded], *views: Tensor) -> list[Encoded]:
    """Image views of (B, 3, H, W) each, encoded in one forward pass and split again."""
    return parts_of(tower(torch.cat(views)), len(views))


def parts_of(encoded: Encoded, num: int) -> list[Encoded]:
    """Encoded images of so many views, split."""
    patches = [None] * num if encoded.patches is None else encoded.patches.chunk(num)
    parts = zip(encoded.pooled.chunk(num), encoded.embedding.chunk(num), patches, strict=True)
    return [Encoded(pooled, embedding, patches=patch) for pooled, embedding, patch in parts]


def encode_texts(tower: TextTower, batch: Batch, *keys: str) -> Encoded:
    """Texts of (B, L) each, encoded in one forward pass, not split. `tokens` are the labelled ones of masked_text."""
    nothing = torch.zeros_like(batch[keys[0]], dtype=torch.bool)
    wanted = [batch["mlm_labels"] != NOT_MASKED if key == "masked_text" else nothing for key in keys]
    return tower(torch.cat([batch[key] for key in keys]), torch.cat(wanted))


def unified(embedded: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Images, texts and augmented images in one space: (3B, D), their domains (3B,), whether augmented (3B,)."""
    one = torch.ones_like(embedded["match_id"])
    domain, is_aug = torch.cat([IMAGE * one, TEXT * one, IMAGE * one]), torch.cat([0 * one, 0 * one, one]).bool()
    return torch.cat([embedded["image"], embedded["text"], embedded["aug"]]), domain, is_aug


# Masked language modelling: configuration, head, encoding, loss


class MaskedLanguageConfig(WordsConfig):
    """Base of the Config of a method with a masked-language term, `mlm`."""

    mlm_weight: float = Field(ge=0)  # 0 turns the term off

    @property
    def needs_mask_token(self) -> bool:
        """Masked language modelling replaces tokens with [MASK]."""
        return self.mlm_weight > 0

    @property
    def masked_views(self) -> tuple[str, ...]:
        """The batch keys that the term reads."""
        return ("masked_text", "mlm_labels") if self.mlm_weight > 0 else ()

    def token_head(self, tower: TextTower) -> TokenHead | None:
        """The head that predicts masked words. None if the term is off."""
        return TokenHead(tower.width, tower.vocab_size) if self.mlm_weight > 0 else None


def encode_captions(
    tower: TextTower, head: TokenHead | None, batch: Batch, keys: Sequence[str] = ("text",)
) -> dict[str, Tensor]:
    """The captions under these keys, (B, D) each, unit length.

    With a head, also the masked-language sum and count of each sample (B,). All texts go through one forward pass,
    which also means one gradient of the vocabulary instead of several.
    """
    encoded = encode_texts(tower, batch, *keys, *(("masked_text",) if head is not None else ()))
    embedded = dict(zip(keys, encoded.embedding.split(len(batch[keys[0]])), strict=False))
    return embedded if head is None else {**embedded, **masked_sums(head, encoded, batch)}


def masked_sums(head: TokenHead, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
    """The masked-language sum and count of each sample (B,), from texts encoded with "masked_text" among them."""
    assert encoded.tokens is not None, "a text tower returns tokens"
    logits, labels, sample = head.masked(encoded.tokens, batch["mlm_labels"])  # (M, V)
    sums, counts = cross_entropy_per_sample(logits, labels, sample, len(batch["mlm_labels"]))
    return {"mlm_sum": sums, "mlm_count": counts}


def with_masked_language(
    loss: Tensor, terms: Terms, gathered: dict[str, Tensor], weight: float
) -> tuple[Tensor, Terms]:
    """Loss + weight x masked language, Eq. (11), and the terms with `mlm` added. Unchanged if the weight is 0."""
    if weight == 0:
        return loss, terms
    mlm = masked_language(gathered["mlm_sum"], gathered["mlm_count"])
    return loss + weight * mlm, {**terms, "mlm": mlm}


def masked_language_at_chance(tower: TextTower, weight: float) -> dict[str, float]:
    """The level of `mlm` at chance: a masked token among the whole vocabulary. Empty if the weight is 0."""
    return {"mlm": math.log(tower.vocab_size)} if weight > 0 else {}
