"""Word order: is an image closer to its caption than to the same words in another order? (`--tasks word_order`)

A model that takes a caption for a bag of words does no better than guessing. The task is made from any captions, after
the order tasks of ARO (Yuksekgonul et al., ICLR 2023). Two of ARO's four orders need a tagger of nouns and adjectives;
here they are all words and neighbours, which need none, so the numbers are not those of ARO. Its language model tells
some orders from captions without any image, which is as true here: the result measures sensitivity, not understanding.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from askew.data.sources.base import path_bytes
from askew.errors import UserError
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.features import Features
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash

NAME = "word_order"
SEED = 0
FEWEST = 4  # words of a caption that has other orders in every way below
TRIES = 20  # until an order differs from the caption


def _words(words: list[str], rng: np.random.Generator) -> list[str]:
    return [words[place] for place in rng.permutation(len(words))]


def _neighbours(words: list[str], rng: np.random.Generator) -> list[str]:
    first = int(rng.integers(2))
    return words[:first] + [word for at in range(first, len(words), 2) for word in reversed(words[at : at + 2])]


def _trigrams(words: list[str], rng: np.random.Generator) -> list[str]:
    parts = [words[at : at + 3] for at in range(0, len(words), 3)]
    return [word for place in rng.permutation(len(parts)) for word in parts[place]]


def _within_trigrams(words: list[str], rng: np.random.Generator) -> list[str]:
    parts = [words[at : at + 3] for at in range(0, len(words), 3)]
    return [part[place] for part in parts for place in rng.permutation(len(part))]


ORDERS: dict[str, Callable[[list[str], np.random.Generator], list[str]]] = {
    "words": _words,  # all words at random
    "neighbours": _neighbours,  # each word with the next one
    "trigrams": _trigrams,  # groups of three words at random
    "within_trigrams": _within_trigrams,  # the words of each group at random
}


def other_orders(caption: str, key: str) -> list[str] | None:
    """The caption in each of the ORDERS; None where one of them cannot differ from it.

    Args:
        key: with the caption it decides what is drawn.
    """
    words = caption.split()
    if len(set(words)) < FEWEST:
        return None
    digest = hashlib.sha256(path_bytes(f"{SEED}/{key}/{caption}")).digest()
    rng = np.random.default_rng(int.from_bytes(digest[:8], "big"))
    found = []
    for order in ORDERS.values():
        made = next((new for _ in range(TRIES) if (new := order(words, rng)) != words), None)
        if made is None:
            return None
        found.append(" ".join(made))
    return found


def word_order(encoders: Encoders, data: Captioned, features: Features, prompt: str = "{}") -> Result:
    """The share of captions that are closer to their image than the same words in another order. Ties lose.

    `all` counts a caption that is closer than every other order of it (chance: 1 in 5), the others one order each
    (chance: 1 in 2). Captions of fewer than four different words are left out and counted.

    Raises:
        UserError: no caption is left.
    """
    kept: list[int] = []
    texts: list[str] = []
    for number, (caption, image) in enumerate(zip(data.captions, np.asarray(data.image_of).tolist(), strict=True)):
        orders = other_orders(caption, str(data.images.keys[image]))
        if orders is not None:
            kept.append(number)
            texts += [" ".join(caption.split()), *orders]
    if not kept:
        raise UserError(f"{data.name}: no caption has {FEWEST} different words, which {NAME} needs")
    each = len(ORDERS) + 1
    image_of = np.asarray(data.image_of)[kept]
    embedding = encoders.text([prompt.replace("{}", text) for text in texts]).reshape(len(kept), each, -1)
    scores = np.einsum("nkd,nd->nk", embedding, features.embedding[image_of])
    closer = (scores[:, :1] > scores[:, 1:]) & features.readable[image_of][:, None]
    right = {"all": closer.all(axis=1)} | {name: closer[:, place] for place, name in enumerate(ORDERS)}
    values: dict[str, float] = {name: float(found.mean()) for name, found in right.items()} | {"n": len(kept)}
    captions = [data.captions[number] for number in kept]
    items = [item_hash(features.items[image], caption) for image, caption in zip(image_of, captions, strict=True)]
    names = [f"{data.images.keys[image]}: {text[:80]}" for image, text in zip(image_of, captions, strict=True)]
    protocol: dict[str, Any] = {
        "ties": "ties lose",
        "orders": list(ORDERS),
        "seed": SEED,
        "captions_left_out": len(data.captions) - len(kept),
        "prompt": prompt,
    }
    outcomes = Outcomes(np.array(items), np.array(names), right, clusters=image_of)
    return Result(f"{data.name}/{NAME}", values, protocol, outcomes)
