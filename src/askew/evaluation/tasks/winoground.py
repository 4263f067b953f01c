"""Winoground's scores: which of two captions goes with which of two images? (`--tasks winoground`)

After Thrush et al., "Winoground: Probing Vision and Language Models for Visio-Linguistic Compositionality" (CVPR 2022),
Eqs. (1) to (3). Where both captions have the same words, a model that gives them the same embedding scores nothing: it
cannot prefer one of them, and ties lose. Embeddings that differ by rounding alone are no ties.
"""

from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from askew.errors import UserError
from askew.evaluation.datasets.base import TwoByTwo
from askew.evaluation.features import Features
from askew.evaluation.model import Encoders
from askew.evaluation.results import Outcomes, Result, item_hash

NAME = "winoground"
SCORES = ("text", "image", "group")
CHANCE = {"text": 1 / 4, "image": 1 / 4, "group": 1 / 6}  # of scores that are four independent draws


def right_scores(similarity: np.ndarray) -> dict[str, np.ndarray]:
    """Which items count as right, for each of the SCORES. Ties lose.

    Args:
        similarity: (n, 2, 2) of image i and caption k of each item; caption k belongs to image k.

    Returns:
        (n,) bool each. `text`: each image prefers its own caption. `image`: each caption prefers its own image.
        `group`: both.
    """
    own = np.diagonal(similarity, axis1=1, axis2=2)
    other_caption = np.stack([similarity[:, 0, 1], similarity[:, 1, 0]], axis=1)
    text = np.all(own > other_caption, axis=1)
    image = np.all(own > other_caption[:, ::-1], axis=1)
    return {"text": text, "image": image, "group": text & image}


def clusters_of(image_of: np.ndarray, images: int) -> np.ndarray:
    """(n,) a number for each item; items that share an image, directly or over others, have the same one."""
    links = coo_array((np.ones(len(image_of)), (image_of[:, 0], image_of[:, 1])), shape=(images, images))
    return connected_components(links, directed=False)[1][image_of[:, 0]]


def winoground(encoders: Encoders, data: TwoByTwo, features: Features, prompt: str = "{}") -> list[Result]:
    """Text, image and group score of all items (`SET/winoground`) and of each kind (`SET/winoground/KIND`).

    An item with an image that cannot be read is wrong.

    Raises:
        UserError: there is no item.
    """
    if not data.captions:
        raise UserError(f"{data.name}: none of its items has both images")
    texts = list(dict.fromkeys(caption for pair in data.captions for caption in pair))
    place = {text: number for number, text in enumerate(texts)}
    embedding = encoders.text([prompt.replace("{}", text) for text in texts])
    caption_of = np.array([[place[caption] for caption in pair] for pair in data.captions])
    image_of = np.asarray(data.image_of)
    similarity = np.einsum("nid,nkd->nik", features.embedding[image_of], embedding[caption_of])
    readable = features.readable[image_of].all(axis=1)
    items = np.array(
        [
            item_hash(features.items[first], features.items[second], *pair)
            for (first, second), pair in zip(image_of.tolist(), data.captions, strict=True)
        ]
    )
    names = np.array([" | ".join(text[:60] for text in pair) for pair in data.captions])
    right = {score: found & readable for score, found in right_scores(similarity).items()}
    outcomes = Outcomes(items, names, right, clusters=clusters_of(image_of, len(data.images)))
    protocol: dict[str, Any] = {"ties": "ties lose", "prompt": prompt}
    results = [_result(f"{data.name}/{NAME}", outcomes, protocol)]
    kinds = np.array(data.kinds)
    for kind in dict.fromkeys(data.kinds):
        results.append(_result(f"{data.name}/{NAME}/{kind}", outcomes.at(np.flatnonzero(kinds == kind)), protocol))
    return results


def _result(task: str, outcomes: Outcomes, protocol: dict[str, Any]) -> Result:
    values = {score: float(found.mean()) for score, found in outcomes.right.items()}
    return Result(task, values | {"n": len(outcomes.items)}, protocol, outcomes)
