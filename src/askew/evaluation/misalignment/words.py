"""The words whose captions suffer most from an image operation.

For each word, the mean misalignment of the captions that have it, minus that of the captions without it. Welch's
t-test, which lets both have their own variance, gives the interval. Among the hundreds of words, some differ by chance.
So p-values are adjusted by Holm's method over all words of all operations, and a word counts only below 0.05 after it.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import stdtr, stdtrit

MINIMUM = 10  # captions with a word, and without it; with fewer it is left out
WORD = re.compile(r"[^\W\d_]+(?:'[^\W\d_]+)?")
LEVEL = 0.05


@dataclass(frozen=True)
class WordEffect:
    """What an operation does to the captions with a word.

    Attributes:
        difference: mean misalignment with the word minus without it, in nats; `low` to `high` is its 95 % interval.
        mean: mean misalignment of the captions with the word.
        count: how many these are.
        p: of a difference this large without any effect; `adjusted` by Holm's method over all words and operations.
    """

    operation: str
    word: str
    difference: float
    low: float
    high: float
    mean: float
    count: int
    p: float
    adjusted: float = 1.0

    @property
    def clear(self) -> bool:
        """Whether the difference is beyond chance, with the number of words taken into account."""
        return self.adjusted < LEVEL


def words_in(caption: str) -> set[str]:
    """The words of a caption in lower case, without numbers and punctuation."""
    return set(WORD.findall(caption.lower()))


def word_effects(captions: Sequence[str], misalignment: Mapping[str, np.ndarray]) -> list[WordEffect]:
    """Every word in at least MINIMUM captions under every operation, the largest difference first.

    Args:
        captions: B of them.
        misalignment: (B,) for each operation, in nats.
    """
    found = [words_in(caption) for caption in captions]
    vocabulary = sorted(set().union(*found))
    has = {word: np.array([word in words for words in found]) for word in vocabulary}
    common = {w: with_it for w, with_it in has.items() if MINIMUM <= with_it.sum() <= len(captions) - MINIMUM}
    effects = [
        _effect(operation, word, values[with_it].astype(float), values[~with_it].astype(float))
        for operation, values in misalignment.items()
        for word, with_it in common.items()
    ]
    adjusted = holm(np.array([effect.p for effect in effects]))
    made = [replace(effect, adjusted=float(p)) for effect, p in zip(effects, adjusted, strict=True)]
    return sorted(made, key=lambda effect: (-effect.difference, effect.operation, effect.word))


def holm(p: np.ndarray) -> np.ndarray:
    """p-values (n,) adjusted by Holm's method. By hand: 0.01, 0.04, 0.03 give 0.03, 0.06, 0.06."""
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty(len(p))
    adjusted[order] = steps.clip(max=1)
    return adjusted


def _effect(operation: str, word: str, having: np.ndarray, lacking: np.ndarray) -> WordEffect:
    difference, mean = float(having.mean() - lacking.mean()), float(having.mean())
    parts = [values.var(ddof=1) / len(values) for values in (having, lacking)]
    variance = sum(parts)
    if variance == 0:  # all alike, as by an operation that changes nothing
        p = 1.0 if difference == 0 else 0.0
        return WordEffect(operation, word, difference, difference, difference, mean, len(having), p)
    shares = [part**2 / (len(values) - 1) for part, values in zip(parts, (having, lacking), strict=True)]
    freedom = variance**2 / sum(shares)
    error = variance**0.5
    half = float(stdtrit(freedom, 1 - LEVEL / 2)) * error
    p = float(2 * stdtr(freedom, -abs(difference) / error))
    return WordEffect(operation, word, difference, difference - half, difference + half, mean, len(having), p)
