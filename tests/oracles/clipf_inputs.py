"""Captions, counts and random numbers for CLIPF's text masking, for make_clipf.py and tests/data/test_short_text.py."""

import numpy as np

CAPTIONS = (
    "A photo of a dog.",  # fits into most budgets
    "The quick brown fox, and 12 lazy dogs, run over the old stone bridge in the rain!",
    "it's a  woman's 3rd antidisestablishmentarianism t-shirt &amp; she'll wear it (twice)...",
    "zyxgrth qwrtpl bvcxzn mnbtrw plkjhg",  # five words, many tokens
    "a a a a a a a a a the the the the the",
    "ISOLATED vector icon set #42 -- free download www.example.com/icons_set",
)
COUNTS = {  # of words in some other captions: a few words that are above are missing, and two are below 5
    "a": 40_000, "the": 21_000, "of": 9_000, "and": 8_000, ",": 30_000, ".": 25_000, "in": 7_000, "it": 900,
    "'s": 800, "photo": 700, "dog": 120, "dogs": 60, "old": 300, "run": 40, "over": 90, "stone": 25, "bridge": 30,
    "rain": 12, "quick": 8, "brown": 33, "fox": 5, "lazy": 4, "woman": 200, "shirt": 20, "twice": 1, "set": 100,
    "icon": 70, "vector": 80, "isolated": 60, "free": 50, "1": 30, "2": 28, "3": 20, "4": 10, "#": 7,
}  # fmt: skip
MIN_COUNT = 5
THRESHOLDS = (1e-6, 1e-4, 1e-3)
LENGTHS = (3, 5, 8, 16, 32)  # contexts, with start and end


def uniform(name: str, num: int) -> list[float]:
    """Numbers in [0, 1), the same for one name, exact in float32."""
    rng = np.random.default_rng(list(name.encode()))
    return [float(value) for value in rng.random(num, dtype=np.float32)]
