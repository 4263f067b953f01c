"""Contrast of matching pairs with all others. Letters: A anchors (rows), C candidates (columns), s a logit."""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from askew.objectives.reduce import mean_per_anchor


def info_nce(logits: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]) -> Float32[Tensor, ""]:
    """InfoNCE of each row against its columns: Eq. (2), and with the augmented images as candidates Eq. (4).

    Each match is contrasted with the row's non-matches only. The other matches stay out of its denominator. With one
    match per row this is the usual cross-entropy. It is one direction: the other is the same with the roles swapped.

        for i in rows:
            others = sum(exp(s[i, n]) for n where not match[i, n])
            row[i] = mean(-log(exp(s[i, p]) / (exp(s[i, p]) + others)) for p where match[i, p])
        return mean(row)

    Logits are scaled similarities of any finite size; the inputs need not have unit length. Nats, 0 or more. Mean over
    a row's matches, then over all rows. A row without matches or without non-matches counts 0 and has zero gradient.
    Raises AssertionError if the shapes differ.

    By hand: logits [[log 3, 0], [0, 0]] with the diagonal as matches give (log(4/3) + log 2) / 2 = 0.4904.
    """
    return _one_positive_at_a_time(logits, positive=match, negative=~match, weight=None)


def mp_nce(
    logits: Float[Tensor, "A C"],
    positive: Bool[Tensor, "A C"],
    negative: Bool[Tensor, "A C"],
    weight: Float[Tensor, "A C"],
) -> Float32[Tensor, ""]:
    """UniCLIP's multi-positive NCE, each positive on its own against all negatives of its anchor: Eq. (5).

    The mean divides by the number of positives, never by the sum of their weights, so a term whose weight goes to 0
    really fades. A column that is neither positive nor negative is ignored. An anchor may be its own positive.

        for i in rows:
            others = sum(exp(s[i, n]) for n where negative[i, n])
            row[i] = mean(-weight[i, p] * log(exp(s[i, p]) / (exp(s[i, p]) + others)) for p where positive[i, p])
        return mean(row)

    Logits are scaled similarities of any finite size; the inputs need not have unit length. Weights are 0 or more and
    count only at the positives. Nats, 0 or more. Mean over an anchor's positives, then over all anchors. An anchor
    without positives or without negatives counts 0 and has zero gradient. Raises AssertionError if the shapes differ.

    By hand: logits [[log 2, 0, 0]], the first two columns positive with weights 1 and 1/2 and the third negative, give
    (log(3/2) + log(2) / 2) / 2 = 0.3760.
    """
    return _one_positive_at_a_time(logits, positive, negative, weight)


def pairwise_sigmoid(logits: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]) -> Float32[Tensor, ""]:
    """SigLIP's loss (Zhai et al., ICCV 2023): every pair is judged on its own, with no softmax over the others.

        for i in rows:
            row[i] = sum(-log sigmoid(s[i, j] if match[i, j] else -s[i, j]) for j in columns)
        return mean(row)

    Logits are scaled similarities plus a bias, of any finite size; the inputs need not have unit length. Nats, 0 or
    more. Sum over a row's columns, which unlike a softmax grows with their number, then mean over rows. At least one
    row. Raises AssertionError if the shapes differ.

    By hand: logits [[log 3, 0]] with the first column as a match give -log(3/4) - log(1/2) = 0.9808.
    """
    assert logits.shape == match.shape, "logits and match must have one shape"
    assert logits.shape[0] > 0, "no rows"
    logits = logits.float()
    return -logsigmoid(torch.where(match, logits, -logits)).sum(dim=1).mean()


def _one_positive_at_a_time(logits: Tensor, positive: Tensor, negative: Tensor, weight: Tensor | None) -> Tensor:
    # Broadcasting would turn a wrong mask into a wrong loss without an error.
    assert logits.shape == positive.shape == negative.shape, "logits and masks must have one shape"
    assert weight is None or weight.shape == logits.shape, "logits and weights must have one shape"
    # Only differences matter. Without this shift a small logarithm would be lost next to logits in the thousands.
    logits = logits.float() - logits.detach().float().amax(dim=1, keepdim=True)
    contrasted = negative.any(dim=1, keepdim=True)  # (A, 1)
    # A row in which everything is -inf has a NaN gradient that no later mask removes. Such a row keeps its logits here
    # and is dropped below.
    others = torch.where(negative | ~contrasted, logits, -torch.inf).logsumexp(dim=1, keepdim=True)  # (A, 1)
    # -log(e^p / (e^p + S)) = softplus(log S - p)
    terms = softplus(others - logits)
    if weight is not None:
        terms = weight.float() * terms
    return mean_per_anchor(torch.where(contrasted, terms, 0.0), positive)
