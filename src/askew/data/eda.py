"""EDA, Easy Data Augmentation of a caption (Wei and Zou, EMNLP 2019), as DeCLIP uses it: one small edit a caption.

The synonyms are WordNet's, in assets/synonyms (scripts/build_synonyms.py): a line is a set, its lemmas with a comma
between them.
"""

import lzma
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

Random = np.random.Generator

# Endings that a word may lose to become one of the table: plurals of nouns, forms of verbs and adjectives (WordNet)
ENDINGS = (
    *(("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("zes", "z"), ("ses", "s"), ("ies", "y"), ("men", "man")),
    *(
        ("s", ""),
        ("ing", "e"),
        ("ing", ""),
        ("ed", "e"),
        ("ed", ""),
        ("est", "e"),
        ("est", ""),
        ("er", "e"),
        ("er", ""),
    ),
)


@cache
def _sets() -> tuple[list[str], dict[str, list[int]]]:
    """The lines of the table, and the lines that each single word is in. Read once a process."""
    packed = (resources.files("askew") / "assets" / "synonyms" / "synonyms.txt.xz").read_bytes()
    lines = lzma.decompress(packed).decode("ascii").splitlines()
    where: defaultdict[str, list[int]] = defaultdict(list)
    for number, line in enumerate(lines):
        for lemma in line.split(","):
            if "_" not in lemma:
                where[lemma].append(number)
    return lines, dict(where)


@cache
def synonyms(word: str) -> tuple[str, ...]:
    """Words and phrases that share a set with a word, without it, sorted; none of a word that the table lacks.

    Letters and spaces only, in lower case. An inflected word that is not in the table itself has the synonyms of the
    first form that is.
    """
    lines, where = _sets()
    word = word.lower()
    stems = (word[: -len(end)] + start for end, start in ENDINGS if word.endswith(end))
    known = next((form for form in (word, *stems) if form in where), None)
    if known is None:
        return ()
    lemmas = {lemma for number in where[known] for lemma in lines[number].split(",")}
    found = {re.sub("[^a-z ]", "", re.sub("[_-]", " ", lemma)) for lemma in lemmas}
    return tuple(sorted(found - {word, known}))


@dataclass(frozen=True)
class WordEdits:
    """One of three edits, each as likely: a word's synonym in its place, two words swapped, or words dropped.

    Attributes:
        deletion: probability that a word is dropped, where that is the edit; EDA.
    """

    deletion: float = 0.1

    def __call__(self, caption: str, rng: Random) -> str:
        """The edited caption; a caption of one word may stay as it is, and none becomes empty."""
        words = caption.split()
        if not words:
            return caption
        edit = (replace_one, swap_two, self._drop)[int(rng.integers(3))]
        return " ".join(edit(words, rng))

    def _drop(self, words: list[str], rng: Random) -> list[str]:
        """Each word dropped with probability `deletion`; one of them stays in any case."""
        kept = [word for word, drawn in zip(words, rng.random(len(words)), strict=True) if drawn >= self.deletion]
        return kept or [words[int(rng.integers(len(words)))]]


def replace_one(words: list[str], rng: Random) -> list[str]:
    """One word that has synonyms, wherever it stands in the caption, becomes one of them."""
    distinct = sorted({word for word in words if synonyms(word)})
    if not distinct:
        return words
    old = distinct[int(rng.integers(len(distinct)))]
    new = synonyms(old)[int(rng.integers(len(synonyms(old))))]
    return [new if word == old else word for word in words]


def swap_two(words: list[str], rng: Random) -> list[str]:
    """Two words change places."""
    if len(words) < 2:
        return words
    i, j = rng.permutation(len(words))[:2]
    swapped = list(words)
    swapped[i], swapped[j] = words[j], words[i]
    return swapped
