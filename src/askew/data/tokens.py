"""Token ids of captions, by open_clip's tokenizer or by one of Hugging Face, and their masking.

A tokenizer is named by its folder, "" for open_clip's, and made once per process: workers of the loader that are not
forked make their own.
"""

from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from askew.data.hugging_face import HuggingFaceTokenizer
from askew.data.words import START_TOKEN, ids_of, tokenizer, words_of
from askew.nn.towers import END_TOKEN, MASK_TOKEN
from askew.objectives.masked_language import NOT_MASKED

FIRST_SPECIAL = START_TOKEN  # open_clip's ids from here on are special: never masked, never drawn as a random token
Random = np.random.Generator


class CaptionTokenizer(Protocol):
    """What the views need of a tokenizer.

    Attributes:
        pad: the id of padding.
        ordinary: (n,) the ids that are not special, in rising order.
    """

    pad: int
    ordinary: np.ndarray

    def __call__(self, caption: str, length: int) -> Tensor:
        """(L,) int64: what begins a text, its tokens, its end, padding. A text that is too long keeps its end."""
        ...

    def ids(self, caption: str) -> list[int]:
        """The ids of a caption, all of them, without what begins and ends a text."""
        ...

    def framed(self, ids: list[int], length: int) -> Tensor:
        """(L,) int64: these ids with what begins and ends a text, and padding."""
        ...

    def is_word(self, ids: np.ndarray) -> np.ndarray:
        """Which ids (L,) of a text are not special."""
        ...


class NativeTokenizer:
    """open_clip's own tokenizer."""

    pad = 0
    ordinary = np.arange(FIRST_SPECIAL)

    def __call__(self, caption: str, length: int) -> Tensor:
        """(L,) int64: start, words, end, then zeros."""
        return tokenizer()(caption, context_length=length)[0]

    def ids(self, caption: str) -> list[int]:
        """The ids of the words."""
        return [number for word in words_of(caption) for number in ids_of(word)]

    def framed(self, ids: list[int], length: int) -> Tensor:
        """(L,) int64: start, the ids, end, then zeros."""
        text = torch.zeros(length, dtype=torch.int64)
        text[: len(ids) + 2] = torch.tensor([START_TOKEN, *ids, END_TOKEN])
        return text

    def is_word(self, ids: np.ndarray) -> np.ndarray:
        """Which ids lie between start and end. That of padding, 0, is a word too: "!"."""
        word = np.zeros(len(ids), dtype=bool)
        word[1 : int((ids == END_TOKEN).argmax())] = True
        return word


@cache
def tokenizer_of(folder: str) -> CaptionTokenizer:
    """The tokenizer in a folder, or open_clip's for "": the one of this process.

    Raises:
        UserError: as HuggingFaceTokenizer.
    """
    return HuggingFaceTokenizer(folder) if folder else NativeTokenizer()


@dataclass(frozen=True)
class Tokens:
    """Token ids of a caption. A caption that is too long keeps its end token.

    Attributes:
        context_length: L.
        folder: of a Hugging Face tokenizer; "" is open_clip's.
    """

    context_length: int
    key: str = "text"
    folder: str = ""

    @cached_property
    def _tokenize(self):
        length, folder = self.context_length, self.folder  # and not `self`: a cycle would keep the captions until
        return lru_cache(maxsize=8_192)(lambda caption: tokenizer_of(folder)(caption, length))  # a full collection

    def sample(self, caption: str) -> Tensor:
        """(L,) int64: start, words, end, then padding."""
        return self._tokenize(caption)

    def cuts(self, caption: str) -> bool:
        """Whether a caption has more tokens than fit into the context, so that its last words are lost."""
        one = tokenizer_of(self.folder)
        return bool(one(caption, self.context_length + 1)[-1] != one.pad)

    def __getstate__(self) -> dict:
        # without the captions seen so far
        return {"context_length": self.context_length, "key": self.key, "folder": self.folder}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)


@dataclass(frozen=True)
class MaskedTokens:
    """BERT's masking of a tokenised caption (Sec. 4.4).

    Of the words, 15 % are masked: 80 % of these become [MASK], 10 % a random token, and 10 % stay as they are. Special
    tokens (start, end, padding) are never masked, and never drawn as random tokens.

    Attributes:
        folder: of a Hugging Face tokenizer; "" is open_clip's.
        mask: the id of [MASK].
    """

    probability: float = 0.15
    folder: str = ""
    mask: int = MASK_TOKEN

    def sample(self, text: Tensor, rng: Random) -> dict[str, Tensor]:
        """`masked_text` (L,), and `mlm_labels` (L,): the original id where masked, -100 elsewhere."""
        ids, one = text.numpy(), tokenizer_of(self.folder)
        chosen = one.is_word(ids) & (rng.random(len(ids)) < self.probability)
        fate, place = rng.random(len(ids)), rng.integers(0, len(one.ordinary), size=len(ids))
        masked = np.where(chosen & (fate < 0.8), self.mask, np.where(chosen & (fate >= 0.9), one.ordinary[place], ids))
        labels = np.where(chosen, ids, NOT_MASKED)
        return {"masked_text": torch.from_numpy(masked), "mlm_labels": torch.from_numpy(labels)}
