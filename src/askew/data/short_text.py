"""Shortened captions: CLIPF's word-frequency masking (Liang and Larson, WACV 2026), and the plain ways beside it.

A caption that has more tokens than the budget loses words at random, frequent words first. It is made in the sample
stage, so that every visit of a sample draws other words.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from torch import Tensor

from askew.data.tokens import tokenizer_of
from askew.data.words import WordCounts, ids_of, words_of

Random = np.random.Generator
Strategy = Literal["frequency", "random", "block", "truncation"]
Fit = Literal["words", "released"]


def drop_scores(table: WordCounts, threshold: float) -> dict[str, float]:
    """P_w of every word in a table, from 0 (kept first) to 1 (dropped first); CLIPF's code.

        P_w = max(0, 1 - round(sqrt(threshold / f_w), 6))    f_w: share of the word in the table's total

    By hand: threshold 1e-6 gives 0.9 for a word with the share 1e-4, and 0 for shares of 1e-6 or less.
    """
    total = table.total
    return {word: max(0.0, 1 - round(math.sqrt(threshold * total / n), 6)) for word, n in table.counts.items()}


@dataclass(frozen=True)
class ShortText:
    """Cuts a caption to a budget of tokens. A caption within it stays as it is.

    Attributes:
        budget: K, tokens without start and end; 1 or more, and no more than fit into the context.
        strategy: what is kept. `frequency`: words by chance, rare ones first. `random`: tokens by chance, in their
            order. `block`: neighbouring tokens, from a random place. `truncation`: the first tokens.
        fit: what `frequency` keeps of words that the tokenizer splits. `words`: whole words, as many as fit, best
            first. `released`: CLIPF's code; the best min(K, number of words) words, cut after as many tokens.
        share_full: probability that a caption over the budget stays whole.
        scores: P_w by word, for `frequency`; see `drop_scores`.
        unseen: P_w of a word that has none: 1 drops it first, 0 keeps it first.
        folder: of a Hugging Face tokenizer, with which `strategy` cannot be `frequency`; "" is open_clip's.
    """

    budget: int
    strategy: Strategy = "frequency"
    fit: Fit = "words"
    share_full: float = 0.0
    scores: Mapping[str, float] = field(default_factory=dict)
    unseen: float = 1.0
    folder: str = ""

    def __call__(self, caption: str, whole: Tensor, rng: Random) -> Tensor:
        """The token ids (L,) int64 of the shortened caption: start, words, end, then padding.

        Args:
            whole: (L,) those of the caption itself, returned where nothing is dropped.
        """
        one = tokenizer_of(self.folder)
        ids = one.ids(caption)
        if len(ids) <= self.budget or rng.random() < self.share_full:
            return whole
        kept = self._words(words_of(caption), rng) if self.strategy == "frequency" else self._tokens(ids, rng)
        return one.framed(kept, len(whole))

    def _words(self, words: Sequence[str], rng: Random) -> list[int]:
        """By frequency: words in the order of u - P_w, with u uniform in [0, 1) for each of them.

        for word in words, the highest u - P_w first:  keep it if its tokens still fit
        return the tokens of the kept words, in the order of the caption
        """
        drawn = rng.random(len(words))
        rank = [self.scores.get(word, self.unseen) - u for word, u in zip(words, drawn, strict=True)]
        order = sorted(range(len(words)), key=rank.__getitem__)
        if self.fit == "released":
            num = min(self.budget, len(words))
            return [number for i in sorted(order[:num]) for number in ids_of(words[i])][:num]
        kept, left = [], self.budget
        for i in order:
            if len(ids_of(words[i])) <= left:
                kept.append(i)
                left -= len(ids_of(words[i]))
        kept = kept or order[:1]  # a caption never becomes empty: where no word fits, the best one is cut
        return [number for i in sorted(kept) for number in ids_of(words[i])][: self.budget]

    def _tokens(self, ids: list[int], rng: Random) -> list[int]:
        """By the other strategies: the place of a token in its caption decides, and not its word."""
        if self.strategy == "random":
            return [ids[i] for i in sorted(rng.permutation(len(ids))[: self.budget])]
        start = int(rng.integers(0, len(ids) - self.budget + 1)) if self.strategy == "block" else 0
        return ids[start : start + self.budget]
