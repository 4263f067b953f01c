"""Zero-shot retrieval, image to text and text to image, in blocks: memory does not grow with the set.

A query is answered at rank r when r candidates that do not belong to it score as high as its best or higher: ties lose,
so an encoder that tells nothing apart finds nothing. All captions of the set are used. Captions of equal words tie; on
different images they lose against each other at rank 1, and how many there are is stated with the result.
"""

import hashlib
from typing import Any

import numpy as np

from askew.evaluation.features import Features
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash, set_hash
from askew.evaluation.sets import Captioned

CELLS = 4_000_000  # scores held at a time: 16 MB, and a few bytes beside each
KS = (1, 5, 10)
NEVER = np.iinfo(np.int64).max  # the rank of what is not found at all


def ranks(
    query: np.ndarray, queries: np.ndarray, candidate: np.ndarray, candidates: np.ndarray, own: list[np.ndarray]
) -> np.ndarray:
    """For each query, how many candidates that are not its own score at least as high as its best own one.

    Args:
        query: (m, D) vectors.
        queries: (q,), the row of `query` of each query.
        candidate: (d, D) vectors.
        candidates: (c,), the row of `candidate` of each candidate.
        own: for each query, the indices (in c) of the candidates that belong to it; with none its rank is NEVER.

    Returns:
        (q,) ranks from 0. Equal vectors are scored once, so that they tie to the last bit wherever they stand.
    """
    first, same = _different(candidate)
    distinct, kind = (candidate if len(first) == len(candidate) else candidate[first]), same[candidates]
    copies = np.bincount(kind, minlength=len(first))
    found = np.full(len(queries), NEVER)
    block = max(1, CELLS // len(distinct))
    for start in range(0, len(queries), block):
        scores = query[queries[start : start + block]] @ distinct.T
        for place, row in enumerate(scores, start):
            if len(own[place]):
                mine = row[kind[own[place]]]
                best = mine.max()
                found[place] = copies[row >= best].sum() - np.count_nonzero(mine >= best)
    return found


def _different(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First index of each different row, and for each row which of them it is; no copy of the rows is made."""
    seen: dict[bytes, int] = {}
    first, which = [], np.empty(len(vectors), dtype=int)
    for index, row in enumerate(vectors):
        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        if key not in seen:
            seen[key] = len(first)
            first.append(index)
        which[index] = seen[key]
    return np.array(first), which


def retrieval(encoders: Encoders, data: Captioned, features: Features, prompt: str = "{}") -> list[Result]:
    """R@1, 5, 10 from image to text, over images, and from text to image, over all captions.

    A query whose image cannot be read is not answered, and such an image is no candidate.
    """
    image_of = np.asarray(data.image_of)
    different = {caption: row for row, caption in enumerate(dict.fromkeys(data.captions))}
    text = encoders.text([prompt.replace("{}", caption) for caption in different])
    words = np.array([different[caption] for caption in data.captions])
    kept = np.flatnonzero(features.readable)
    image = features.embed if len(kept) == len(features) else features.embed[kept]
    place = np.full(len(features), -1)
    place[kept] = np.arange(len(kept))

    order = np.argsort(image_of, kind="stable")
    captions_of = np.split(order, np.searchsorted(image_of[order], np.arange(1, len(features))))
    texts = np.full(len(features), NEVER)
    pool = np.flatnonzero(features.readable[image_of])
    in_pool = np.full(len(data.captions), -1)
    in_pool[pool] = np.arange(len(pool))
    everything = np.arange(len(kept))
    texts[kept] = ranks(image, everything, text, words[pool], [in_pool[captions_of[i]] for i in kept])
    images = np.full(len(data.captions), NEVER)
    images[pool] = ranks(text, words[pool], image, everything, [place[image_of[i : i + 1]] for i in pool])

    per_image = np.bincount(image_of, minlength=len(features))
    protocol: dict[str, Any] = {
        "ties": "ties lose",
        "captions": f"all {len(words):,}, {per_image.min()} to {per_image.max()} an image, prompt {prompt!r}",
        "captions_on_several_images": _on_several_images(words, image_of),
        "images_without_caption": int((per_image == 0).sum()),
    }
    keys = [str(key) for key in data.images.keys]
    pairs = list(zip(image_of.tolist(), data.captions, strict=True))
    pool_hash = set_hash([features.content, *(item_hash(features.items[i], caption) for i, caption in pairs)])
    asked = {
        "image_to_text": ([item_hash(pool_hash, item) for item in features.items], keys, texts, np.arange(len(keys))),
        "text_to_image": (
            [item_hash(pool_hash, features.items[i], caption) for i, caption in pairs],
            [f"{keys[i]}: {caption[:80]}" for i, caption in pairs],
            images,
            image_of,
        ),
    }
    results = []
    for direction, (items, names, found, clusters) in asked.items():
        values: dict[str, float] = {f"r@{k}": float((found < k).mean()) for k in KS}
        values |= {"n": len(found), "candidates": len(words) if direction == "image_to_text" else len(keys)}
        right = {f"r@{k}": found < k for k in KS}
        outcomes = Outcomes(np.array(items), np.array(names), right, clusters=clusters)
        results.append(Result(f"{data.name}/{direction}", values, protocol, outcomes))
    return results


def _on_several_images(words: np.ndarray, image_of: np.ndarray) -> int:
    """Captions whose words another image's caption has too."""
    images = np.bincount(np.unique(np.stack([words, image_of]), axis=1)[0])
    return int((images[words] > 1).sum())
