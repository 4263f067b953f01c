"""Two views of an image compared without its text. Letters: A anchors (rows), C candidates (columns)."""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import normalize

from askew.objectives.contrastive import mp_nce


def nt_xent(
    across: Float[Tensor, "A C"], within: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]
) -> Float32[Tensor, ""]:
    """SimCLR's NT-Xent for one view's anchors: find the same image in the other view, among all images of both views.

    `across` holds the logits of the anchors with the candidates in the other view, `within` those with the same
    candidates in the anchors' own view. A match within a view, such as the anchor itself, is neither positive nor
    negative. With one match per row this is SimCLR's cross-entropy. Its other half is the same with the views swapped.

        for i in rows:
            others = sum(exp(across[i, n]) + exp(within[i, n]) for n where not match[i, n])
            row[i] = mean(-log(exp(across[i, p]) / (exp(across[i, p]) + others)) for p where match[i, p])
        return mean(row)

    Source: Chen et al., ICML 2020, Eq. 1. Logits are cosines divided by a temperature, of any finite size. Nats, 0 or
    more. Mean over a row's matches, then over all rows. A row without matches or without non-matches counts 0 and has
    zero gradient. Raises AssertionError if the shapes differ.

    By hand: across [[log 3, 0]] and within [[log 9, log 2]], with the first column as a match, give
    log((3 + 1 + 2) / 3) = log 2.
    """
    assert across.shape == within.shape == match.shape, "logits of both views and the mask must have one shape"
    positive = torch.cat([match, torch.zeros_like(match)], dim=1)
    logits = torch.cat([across, within], dim=1)
    return mp_nce(logits, positive, torch.cat([~match, ~match], dim=1), torch.ones_like(logits))


def negative_cosine(prediction: Float[Tensor, "A D"], target: Float[Tensor, "A D"]) -> Float32[Tensor, ""]:
    """SimSiam's negative cosine: a predicted view should point in the direction of the other view's projection.

    The target gets no gradient, which is the core of the method (Chen and He, CVPR 2021, Eqs. 1 to 3). This is one
    direction. SimSiam takes the mean with the views swapped.

        return mean(-cos(prediction[i], target[i]) for i in rows)

    Vectors of any length. A zero vector has cosine 0. The result is in [-1, 1]. Mean over rows, at least one. Raises
    AssertionError if the shapes differ or there are no rows.

    By hand: predictions [[3, 4], [2, 0]] and targets [[1, 0], [0, 5]] give -(0.6 + 0) / 2 = -0.3.
    """
    assert prediction.shape == target.shape, "prediction and target must have one shape"
    assert len(prediction) > 0, "no rows"
    return -(normalize(prediction.float(), dim=1) * normalize(target.detach().float(), dim=1)).sum(dim=1).mean()
