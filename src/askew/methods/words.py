"""SuperCLIP's term for any method: the words of a caption, predicted from its image (arXiv 2512.14480).

A method with the term derives its Config from WordsConfig and keeps `config.word_prediction(towers)` as `words`.
"""

import math
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from askew.methods.base import MethodConfig, Terms
from askew.nn.heads import WordHead
from askew.nn.text_towers import between_ends
from askew.nn.towers import Encoded, TwoTower
from askew.objectives.word_prediction import NO_WORD, distinct_words, document_counts, word_prediction

Targets = Literal["words", "released"]


class WordsConfig(MethodConfig):
    """Base of the Config of a method that can have the term `words`."""

    words_weight: float = Field(default=0.0, ge=0)  # of SuperCLIP's term, which has 1 there; 0 turns it off
    # The ids that are predicted: those of words, or all, pads (open_clip's id 0, the token "!") too, as released
    words_targets: Targets = "words"

    def word_prediction(self, towers: TwoTower) -> "WordPrediction | None":
        """The head and the counts of the term. None if it is off."""
        if self.words_weight == 0:
            return None
        text = towers.text
        return WordPrediction(
            towers.image.width, text.plain_vocab_size, self.words_weight, self.words_targets, text.is_word,
            text.num_positions, text.pad,
        )  # fmt: skip


class WordPrediction(nn.Module):
    """The head, how many captions have each word, and the term. The head and the counts are not exported.

    Args:
        width: F, the width of the image features.
        vocab_size: V.
        weight: of the term.
        targets: which ids of a caption are predicted.
        is_word: which tokens (B, L) are words.
        length: of all texts. Those that were cut on the way to a device get their padding back, since ranks send
            texts of one length, and pads may be predicted.
        pad: the id of padding.
    """

    def __init__(
        self,
        width: int,
        vocab_size: int,
        weight: float,
        targets: Targets,
        is_word: Callable[[Tensor], Tensor] = between_ends,
        length: int = 0,
        pad: int = 0,
    ):
        super().__init__()
        self.is_word, self.length, self.pad = is_word, length, pad
        self.vocab_size, self.weight, self.targets = vocab_size, weight, targets
        self.head = WordHead(width, vocab_size)
        self.register_buffer("counts", torch.zeros(vocab_size, dtype=torch.int64))  # captions with each word
        self.register_buffer("seen", torch.zeros(1, dtype=torch.int64))  # captions

    def embed(self, image: Encoded, text: Tensor) -> dict[str, Tensor]:
        """What the term needs of each sample: its words (B, L), their logits (B, L), the logsumexp of all (B,).

        L is that of the whole context.

        Args:
            image: the encoded images. The head reads the mean of their patches.
            text: token ids of their captions, (B, L).
        """
        text = F.pad(text, (0, max(0, self.length - text.shape[1])), value=self.pad)
        words = distinct_words(self._predicted(text))
        log_total, logits = self.head(image.patch_mean, words)
        return {"words": words, "words_logits": logits, "words_log_total": log_total}

    def _predicted(self, text: Tensor) -> Tensor:
        if self.targets == "released":
            return text
        return text.masked_fill(~self.is_word(text), NO_WORD)

    def add_to(
        self, loss: Tensor, terms: Terms, local: dict[str, Tensor], gathered: dict[str, Tensor]
    ) -> tuple[Tensor, Terms]:
        """Loss + weight x the term, and the terms with `words` added."""
        counts, seen = self._with(gathered)
        term = word_prediction(local["words_log_total"], local["words_logits"], local["words"], counts, seen)
        return loss + self.weight * term, {**terms, "words": term}

    def _with(self, gathered: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The counts with those of this step: the released code counts a batch before it weights its words."""
        now = document_counts(gathered["words"], self.vocab_size)
        return self.get_buffer("counts") + now, self.get_buffer("seen") + len(gathered["words"])

    @torch.no_grad()
    def count_(self, gathered: dict[str, Tensor]) -> None:
        """Keep the counts of this step. `Method.after_step` calls it."""
        self.counts, self.seen = self._with(gathered)

    def at_chance(self) -> dict[str, float]:
        """The level of the term at chance: one word among V."""
        return {"words": math.log(self.vocab_size)}


def embed_words(words: WordPrediction | None, image: Encoded, text: Tensor) -> dict[str, Tensor]:
    """What `WordPrediction.embed` gives. Nothing if the term is off."""
    return {} if words is None else words.embed(image, text)


def with_words(
    words: WordPrediction | None, loss: Tensor, terms: Terms, local: dict[str, Tensor], gathered: dict[str, Tensor]
) -> tuple[Tensor, Terms]:
    """What `WordPrediction.add_to` gives. The loss and its terms unchanged if the term is off."""
    return (loss, terms) if words is None else words.add_to(loss, terms, local, gathered)


def words_at_chance(words: WordPrediction | None) -> dict[str, float]:
    """What `WordPrediction.at_chance` gives. Nothing if the term is off."""
    return {} if words is None else words.at_chance()
