"""Zero-shot retrieval, image to text and text to image. Scores are made block by block, so that memory stays bounded.

Recall is that of metrics.py: ties lose. All captions of the set are candidates. Captions with the same words tie; on
different images they lose against each other at rank 1, and the result says how many there are. The same goes for
copies of an image that are separate images of the set.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import numpy as np

from askew.evaluation.datasets.base import Captioned
from askew.evaluation.features import Features
from askew.evaluation.metrics import NEVER, ranks, recall_at_k, recalled
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash, set_hash

CELLS = 4_000_000  # scores held at a time: 16 MB, and a few bytes beside each
KS = (1, 5, 10)


def ranks_in_blocks(
    query: np.ndarray, queries: np.ndarray, candidate: np.ndarray, candidates: np.ndarray, matches: list[np.ndarray]
) -> np.ndarray:
    """`metrics.ranks` of queries against candidates, of which no more than a block of scores is held at a time.

    Equal candidate vectors are scored once, so that they tie to the last bit wherever they are in the matrix.

    Args:
        query: (m, D) vectors.
        queries: (q,), the row of `query` that each query has.
        candidate: (d, D) vectors.
        candidates: (c,), the row of `candidate` that each candidate has.
        matches: for each query, the indices (in c) of the candidates that match it.

    Returns:
        (q,) ranks, starting at 0; NEVER for a query without matches.
    """
    first, same = _distinct(candidate)
    distinct, column = (candidate if len(first) == len(candidate) else candidate[first]), same[candidates]
    copies = np.bincount(column, minlength=len(first))
    size = max(1, CELLS // len(distinct))
    found = np.full(len(queries), NEVER)
    for start in range(0, len(queries), size):
        block = slice(start, start + size)
        scores = query[queries[block]] @ distinct.T
        found[block] = ranks(scores, [column[indices] for indices in matches[block]], copies)
    return found


def _distinct(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first index of each distinct row, and for each row which of these it equals. The rows are not copied."""
    seen: dict[bytes, int] = {}
    first, which = [], np.empty(len(vectors), dtype=int)
    for index, row in enumerate(vectors):
        key = hashlib.blake2b(row.tobytes(), digest_size=16).digest()
        if key not in seen:
            seen[key] = len(first)
            first.append(index)
        which[index] = seen[key]
    return np.array(first), which


def retrieval(
    encoders: Encoders,
    data: Captioned,
    features: Features,
    prompt: str = "{}",
    warn: Callable[[str], None] = lambda text: None,
) -> list[Result]:
    """R@1, R@5 and R@10 from image to text, over images, and from text to image, over all captions.

    An image that cannot be read is not a candidate, and its queries find nothing.

    Args:
        warn: called with a line if images of the set are copies of one another.
    """
    image_of = np.asarray(data.image_of)
    distinct = {caption: row for row, caption in enumerate(dict.fromkeys(data.captions))}
    text = encoders.text([prompt.replace("{}", caption) for caption in distinct])
    words = np.array([distinct[caption] for caption in data.captions])
    image_ranks, caption_ranks = _ranks(features, text, words, image_of)

    if features.copies:
        warn(
            f"{data.name}: {features.copies:,} of {len(features):,} images are copies of another one, byte for byte; "
            "copies tie and lose against each other, so put the captions of a picture on one image"
        )
    per_image = np.bincount(image_of, minlength=len(features))
    protocol: dict[str, Any] = {
        "ties": "ties lose",
        "captions": f"all {len(words):,}, {per_image.min()} to {per_image.max()} per image, prompt {prompt!r}",
        "captions_on_several_images": _on_several_images(words, image_of),
        "images_with_equal_bytes": features.copies,
        "captions_sha256": set_hash(
            item_hash(str(i), caption) for i, caption in zip(image_of, data.captions, strict=True)
        ),
        "images_without_caption": int((per_image == 0).sum()),
    }
    keys = [str(key) for key in data.images.keys]
    pairs = list(zip(image_of.tolist(), data.captions, strict=True))
    # The candidates are part of the question, so they are part of the item's hash
    pool = set_hash([features.content, *(item_hash(features.items[i], caption) for i, caption in pairs)])
    image_items = [item_hash(pool, item) for item in features.items]
    caption_items = [item_hash(pool, features.items[i], caption) for i, caption in pairs]
    caption_names = [f"{keys[i]}: {caption[:80]}" for i, caption in pairs]

    results = []
    for direction, rank, candidates, items, names, clusters in (
        ("image_to_text", image_ranks, len(words), image_items, keys, np.arange(len(keys))),
        ("text_to_image", caption_ranks, len(keys), caption_items, caption_names, image_of),
    ):
        values: dict[str, float] = {f"r@{k}": recall_at_k(rank, k) for k in KS}
        values |= {"n": len(rank), "candidates": candidates}
        right = {f"r@{k}": recalled(rank, k) for k in KS}
        outcomes = Outcomes(np.array(items), np.array(names), right, clusters=clusters)
        results.append(Result(f"{data.name}/{direction}", values, protocol, outcomes))
    return results


def _ranks(
    features: Features, text: np.ndarray, words: np.ndarray, image_of: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of all images against captions, and of all captions against images; NEVER without a readable image.

    Args:
        text: (d, D) embeddings of distinct captions.
        words: (c,) the row of `text` that each caption has.
        image_of: (c,) the image that each caption belongs to.
    """
    kept = np.flatnonzero(features.readable)  # images
    image = features.embedding if len(kept) == len(features) else features.embedding[kept]
    row_of = np.full(len(features), -1)
    row_of[kept] = np.arange(len(kept))
    pool = np.flatnonzero(features.readable[image_of])  # captions of readable images
    in_pool = np.full(len(words), -1)
    in_pool[pool] = np.arange(len(pool))
    order = np.argsort(image_of, kind="stable")
    captions_of = np.split(order, np.searchsorted(image_of[order], np.arange(1, len(features))))

    every_image = np.arange(len(kept))
    image_ranks, caption_ranks = np.full(len(features), NEVER), np.full(len(words), NEVER)
    image_ranks[kept] = ranks_in_blocks(image, every_image, text, words[pool], [in_pool[captions_of[i]] for i in kept])
    image_matches = [row_of[image_of[i : i + 1]] for i in pool]
    caption_ranks[pool] = ranks_in_blocks(text, words[pool], image, every_image, image_matches)
    return image_ranks, caption_ranks


def _on_several_images(words: np.ndarray, image_of: np.ndarray) -> int:
    """How many captions have the same words as a caption of another image."""
    images = np.bincount(np.unique(np.stack([words, image_of]), axis=1)[0])
    return int((images[words] > 1).sum())
