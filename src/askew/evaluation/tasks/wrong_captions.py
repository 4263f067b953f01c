"""Does a model see which captions are wrong? A tenth of them are exchanged among images, and looked for.

Two quantities of `askew inspect` look for them: the distance of caption and image, and the noisy-pair quantity of
evaluation/misalignment/pairs.py with its default neighbours. Each is judged by the area under its ROC curve: the chance
that a wrong caption has a larger value than a right one. Guessing gives 0.5. The exchange is the same for every model,
because its seed is fixed.
"""

from typing import Any

import numpy as np

from askew.errors import UserError
from askew.evaluation.chunks import Chunk
from askew.evaluation.datasets.base import Captioned
from askew.evaluation.features import Features
from askew.evaluation.misalignment.draws import draw_pairs, words_of
from askew.evaluation.misalignment.pairs import measure
from askew.evaluation.model import Encoders
from askew.evaluation.results import Result, item_hash, set_hash

SHARE, SEED = 0.1, 2023
POOL, NEIGHBOURS = 4096, 16  # of `askew inspect`
REPLICATES, LEVEL = 200, 0.95
SWAPS = 1000  # rounds until every chosen caption has left its image


def exchanged(owners: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Where each caption comes from, (n,): a permutation that moves `share` of them, all to other images.

    Args:
        owners: (n,) the image that each caption was written for.

    Raises:
        ValueError: the captions that were chosen cannot all move to other images.
    """
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(owners))[: round(share * len(owners))]
    moved = rng.permutation(chosen)
    for _ in range(SWAPS):
        stays = np.flatnonzero(owners[moved] == owners[chosen])
        if not len(stays):
            break
        others = rng.integers(len(chosen), size=len(stays))
        for a, b in zip(stays, others, strict=True):
            moved[[a, b]] = moved[[b, a]]
    if not len(chosen) or (owners[moved] == owners[chosen]).any():
        raise ValueError(f"{len(chosen)} of {len(owners)} captions cannot be exchanged among images")
    origin = np.arange(len(owners))
    origin[chosen] = moved
    return origin


def roc_area(values: np.ndarray, wrong: np.ndarray, weights: np.ndarray) -> float:
    """The chance that a wrong caption has a larger value than a right one; equal values count half.

    Args:
        values: (n,) ranks of the values, from 1, without gaps.
        weights: (n,) how often each caption is drawn.
    """
    bad = np.bincount(values, weights * wrong)
    good = np.bincount(values, weights * ~wrong)
    below = np.cumsum(good) - good
    return float((bad * (below + good / 2)).sum() / (bad.sum() * good.sum()))


def draws_of_images(image_of: np.ndarray) -> list[np.ndarray]:
    """For each replicate of a bootstrap over images, how often each caption (n,) is drawn."""
    rng, images = np.random.default_rng(SEED), image_of.max() + 1
    return [np.bincount(rng.integers(images, size=images), minlength=images)[image_of] for _ in range(REPLICATES)]


def wrong_captions(encoders: Encoders, data: Captioned, features: Features, prompt: str = "{}") -> Result:
    """The area under the ROC curve for finding a tenth of exchanged captions, by distance and by noise.

    `auroc_X_low` to `auroc_X_high` is the 95 % interval of a bootstrap over images. Captions of images that cannot be
    read are neither exchanged nor looked at.

    Raises:
        UserError: the set has too few captions or images to exchange any.
    """
    owners = np.asarray(data.image_of)
    order = np.argsort(owners, kind="stable")
    order = order[features.readable[owners[order]]]
    owners = owners[order]
    try:
        origin = exchanged(owners, SHARE, SEED)
    except ValueError as error:
        raise UserError(f"{data.name}: {error}; wrong_captions needs 15 captions or more, on several images") from error
    wrong = origin != np.arange(len(origin))
    captions = [data.captions[i] for i in order[origin]]
    text = encoders.text([prompt.replace("{}", caption) for caption in captions])
    chunk = _chunk(features, text, owners, captions)
    pool = draw_pairs([chunk], POOL).pool
    found = measure(chunk.text, chunk.image, owners, chunk.match, words_of(captions), pool, 1.0, NEIGHBOURS)
    values: dict[str, float] = {}
    draws, once = draws_of_images(np.unique(owners, return_inverse=True)[1]), np.ones(len(wrong))
    for name in ("distance", "noise"):
        ranks = 1 + np.unique(np.nan_to_num(getattr(found, name), nan=-np.inf), return_inverse=True)[1]
        areas = [roc_area(ranks, wrong, weights) for weights in draws if (weights * wrong).any()]
        low, high = np.quantile(areas, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        values |= {f"auroc_{name}": roc_area(ranks, wrong, once), f"auroc_{name}_low": low, f"auroc_{name}_high": high}
    values |= {"wrong": int(wrong.sum()), "n": len(wrong)}
    protocol: dict[str, Any] = {
        "exchanged": f"{SHARE:.0%} of the captions, seed {SEED}",
        "pool": len(pool),
        "neighbours": NEIGHBOURS,
        "interval": f"{REPLICATES} replicates of a bootstrap over images, seed {SEED}",
        "captions_sha256": set_hash(item_hash(str(i), caption) for i, caption in zip(owners, captions, strict=True)),
    }
    return Result(f"{data.name}/wrong_captions", values, protocol)


def _chunk(features: Features, text: np.ndarray, owners: np.ndarray, captions: list[str]) -> Chunk:
    """All pairs as one chunk of embeddings, so that they are measured as `askew inspect` measures them."""
    number = len(features)
    pictures = np.unique(np.array(features.pictures or features.items), return_inverse=True)[1].astype(np.int64)
    usable = features.readable & (np.bincount(owners, minlength=number) > 0)
    return Chunk(
        first=0,
        image=features.embedding.astype(np.float32),
        text=text.astype(np.float32),
        owner=owners.astype(np.int64),
        ids=np.arange(number),
        match=pictures,
        picture=pictures,
        readable=usable,
        captions=captions,
        names=[""] * number,
        problems=(),
    )
