"""Contrast with the whole data set: FastCLIP's objective (Wei et al., arXiv 2407.01445), all of it in logarithms.

Letters: A anchors (rows), C candidates (columns), s a logit, g_i the mean of exp(s[i, n] - s[i, i]) over the negatives
n of anchor i, u_i its running mean over the visits to sample i.
"""

import math

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor


def gamma_at(progress: float, share: float, low: float) -> float:
    """gamma, the share of a new batch in u: a cosine from 1 at the start to `low`, over a share of the run.

    By hand: low = 0.2 and share = 18/37 give 0.6 at progress 9/37, and 0.2 from 18/37 on.
    """
    return low + (1 - low) * (1 + math.cos(math.pi * min(1.0, progress / share))) / 2


def log_mean_negatives(logits: Float[Tensor, "A C"], match: Bool[Tensor, "A C"]) -> Float32[Tensor, "A"]:
    """The logarithm of the mean of exp(s) over each row's negatives; -inf with zero gradient if it has none.

        row[i] = log(mean(exp(s[i, n]) for n where not match[i, n]))

    Logits of any finite size; the inputs need not have unit length. Nats, of either sign. Raises AssertionError if the
    shapes differ.

    By hand: logits [[5, 0, log 3]] with the first column as a match give log((1 + 3) / 2) = 0.6931.
    """
    # Broadcasting would turn a wrong mask into a wrong loss without an error.
    assert logits.shape == match.shape, "logits and match must have one shape"
    contrasted = ~match.all(dim=1)
    # A row in which everything is -inf has a NaN gradient that no later mask removes. Such a row keeps its logits here
    kept = torch.where(match & contrasted[:, None], -torch.inf, logits.float())
    mean = kept.logsumexp(dim=1) - (~match).sum(dim=1).clamp(min=1).log()
    return torch.where(contrasted, mean, -torch.inf)


@torch.no_grad()
def log_running_mean(
    log_mean: Float[Tensor, "A"], own: Float[Tensor, "A"], log_u: Float[Tensor, "A"], gamma: float
) -> Float32[Tensor, "A"]:
    """log u after this batch: u becomes (1 - gamma) u + gamma g.

        for i in rows:
            g = mean(exp(s[i, n] - own[i]) for n where not match[i, n])
            u[i] = g if never seen else (1 - gamma) * u[i] + gamma * g

    The code takes a u below 1e-35 for one that was never seen. Here it is -inf, so that a small u is a u, and nothing
    overflows: at a scale of 100, s[i, n] - own[i] can be 200, and exp(89) is no float32.

    Args:
        log_mean: of `log_mean_negatives`. A row without negatives keeps what it has.
        own: s[i, i], the logit of each row's own pair, of any finite size.
        log_u: before this batch, -inf for a sample that was never seen.
        gamma: share of this batch, above 0 and at most 1.

    Nats, without gradient.

    By hand: own 0, one negative at -1, log u = 0 and gamma = 0.5 give log((1 + exp(-1)) / 2) = log 0.6839.
    """
    before, present = log_u.float(), log_mean.float() - own.float()
    if gamma == 1:
        return torch.where(present == -torch.inf, before, present)
    mixed = torch.logaddexp(before + math.log1p(-gamma), present + math.log(gamma))
    mixed = torch.where(before == -torch.inf, present, mixed)
    return torch.where(present == -torch.inf, before, mixed)


def global_contrast(
    logits: Float[Tensor, "A C"],
    log_mean: Float[Tensor, "A"],
    own: Float[Tensor, "A"],
    match: Bool[Tensor, "A C"],
    log_u: Float[Tensor, "A"],
    eps: float,
) -> tuple[Float32[Tensor, ""], Float32[Tensor, ""]]:
    """One direction of RGCL-g: log(eps + u), with the gradient of g over (eps + u) in place of its own; and log u.

    Only g is of this batch, u is of all visits. Each match is a positive of its own, as in InfoNCE: the running mean of
    exp(s[i, n]) is that of u_i, and exp(s[i, p]) is the present one. For a row's own pair this is FastCLIP's estimator,
    and with one match per row there is no other.

        for i in rows:
            for p where match[i, p]:
                g = mean(exp(s[i, n] - s[i, p]) for n where not match[i, n])
                u = exp(log_u[i] + own[i] - s[i, p])
                value[i, p], gradient[i, p] = log(eps + u), gradient of g / (eps + u)
            row[i] = mean(value[i, p] for p where match[i, p])
        return mean(row), and the same mean of log u without gradient

    With M negatives in a row, log(1 + M g) = log M + log(1 / M + g): with gamma = 1, so that u = g, and eps = 1 / M,
    the gradient is that of `info_nce`.

    Args:
        logits: of any finite size; the inputs need not have unit length.
        log_mean: of `log_mean_negatives`, with its gradient.
        own: s[i, i], the logit of each row's own pair.
        match: positives; all other columns are negatives.
        log_u: of `log_running_mean`, with this batch in it.
        eps: 0 or more.

    Nats, of either sign. Mean over a row's matches, then over all rows. A row without matches or without negatives
    counts 0 and has zero gradient. Raises AssertionError if the shapes differ or there are no rows.

    By hand: logits [[0, -1]], own [0], the first column as a match, u = 0.6839 and eps = 0 give log 0.6839 = -0.3799
    twice; the gradient of the second logit is exp(-1) / 0.6839 = 0.5379.
    """
    # Broadcasting would turn a wrong mask into a wrong loss without an error.
    assert logits.shape == match.shape, "logits and match must have one shape"
    assert log_mean.shape == own.shape == log_u.shape == logits.shape[:1], "one number per row"
    assert len(logits) > 0, "no rows"
    # Most rows have one match: what follows is done for the matches alone
    row, column = (match & (log_mean > -torch.inf)[:, None]).nonzero(as_tuple=True)
    positive = logits[row, column].float()
    log_g = log_mean.float()[row] - positive
    plain = (log_u.float() + own.float()).detach()[row] - positive.detach()
    value = of_pairs(log_g, plain, torch.full_like(plain, math.log(eps) if eps > 0 else -torch.inf))
    weight = 1 / (match.sum(dim=1)[row] * len(logits))
    return (weight * value).sum(), (weight * plain).sum()


def of_pairs(
    log_g: Float[Tensor, "*P"], log_u: Float[Tensor, "*P"], log_eps: Float[Tensor, "*#P"]
) -> Float32[Tensor, "*P"]:
    """The value log(eps + u) of pairs, with the gradient of g over (eps + u) in place of its own.

    `log_g` has a gradient, the others have none. Nats, of either sign.

    By hand: log g = 0, log u = log 3 and eps = 1 give log 4, and the gradient of log g is 1/4.
    """
    value = torch.logaddexp(log_u, log_eps)
    ratio = (log_g.detach() - value).exp()
    return value + ratio * (log_g - log_g.detach())
