"""EDA, Easy Data Augmentation of captions (Wei and Zou, EMNLP 2019), as DeCLIP uses it: one small edit per caption.

The synonyms are WordNet's, in assets/synonyms (written by scripts/build_synonyms.py). Each line is a set of synonyms:
its lemmas, separated by commas.
"""

import lzma
import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np

Random = np.random.Generator

# Endings to replace in a word that is not in the table: plurals of nouns, forms of verbs and adjectives (WordNet)
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
    """The lines of the table, and for each single word the lines that it is in. Read once per process."""
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
    """Words and phrases that share a set with a word, sorted, without the word itself. Empty for an unknown word.

    They consist of lower-case letters and spaces. An inflected word that is not in the table has the synonyms of the
    first of its base forms that is.
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
    """One of three edits, equally likely: replace a word by a synonym, swap two words, or drop words.

    Attributes:
        deletion: probability of each word to be dropped, if that is the edit; EDA.
    """

    deletion: float = 0.1

    def __call__(self, caption: str, rng: Random) -> str:
        """The edited caption. A caption of one word may stay as it is, and no caption becomes empty."""
        words = caption.split()
        if not words:
            return caption
        edit = (replace_one, swap_two, self._drop)[int(rng.integers(3))]
        return " ".join(edit(words, rng))

    def _drop(self, words: list[str], rng: Random) -> list[str]:
        """Drop each word with probability `deletion`, but always keep at least one."""
        kept = [word for word, drawn in zip(words, rng.random(len(words)), strict=True) if drawn >= self.deletion]
        return kept or [words[int(rng.integers(len(words)))]]


def replace_one(words: list[str], rng: Random) -> list[str]:
    """Replace one word that has synonyms by one of them, everywhere in the caption."""
    distinct = sorted({word for word in words if synonyms(word)})
    if not distinct:
        return words
    old = distinct[int(rng.integers(len(distinct)))]
    new = synonyms(old)[int(rng.integers(len(synonyms(old))))]
    return [new if word == old else word for word in words]


def swap_two(words: list[str], rng: Random) -> list[str]:
    """Swap two words."""
    if len(words) < 2:
        return words
    i, j = rng.permutation(len(words))[:2]
    swapped = list(words)
    swapped[i], swapped[j] = words[j], words[i]
    return swapped
