"""The misalignment of each pair of a data set, against a pool of other pairs.

The noisy-pair quantity is the log-ratio of Eq. (9), own_against_other, of one model: how much farther a caption is from
its image than both are from their nearest neighbours in the pool. Let d_ij be the distance of text i and image j, I(i)
the k images of the pool that are nearest to text i, and T(i) the k texts of the pool that are nearest to image i:

    noise_i = ( mean over j in I(i) of log(d_ii / d_ij)  +  mean over j in T(i) of log(d_ii / d_ji) ) / 2

It is positive where the pair is farther apart than its neighbours. The nearest of thousands are very near, so right
pairs can be above 0 too: it is the order of pairs that tells.

Letters: M captions, N images, P pairs of the pool, D joint embedding.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

ROUNDING = 1e-6  # of a cosine in float32; cosines that are closer than this are ties
FLOOR = 1e-3  # distances below are not told apart, as in training (objectives/log_ratio.py)
BLOCK = 2**21  # numbers of a matrix of captions and pool that is in memory at once; results do not depend on it


@dataclass(frozen=True)
class Pool:
    """The pairs that every pair is compared with: images, and one caption of each.

    Attributes:
        image, text: (P, D) float32 of unit length.
        match: (P,) int64; equal = the same image.
        words: (P,) int64; equal = the same caption.
    """

    image: np.ndarray
    text: np.ndarray
    match: np.ndarray
    words: np.ndarray

    def __len__(self) -> int:
        return len(self.match)


@dataclass(frozen=True)
class PairMeasures:
    """The numbers of each of M pairs.

    Attributes:
        distance: (M,) of caption and image, 0 to 2.
        cosine: (M,), -1 to 1.
        pool: (M,) number of pairs that it was compared with.
        text_rank: (M,) place of the caption among the pool's, seen from its image: 1 is the nearest; ties count
            against it.
        image_rank: (M,) place of the image among the pool's, seen from its caption.
        noise: (M,) the noisy-pair quantity in nats; NaN where there is nothing to compare with.
        loss: (M,) InfoNCE in nats, the mean of both directions; 0 where there is nothing to compare with.
        nearest: (M,) place in the pool of the caption that is nearest to the image; -1 where none is nearer than its
            own.
        nearest_distance: (M,) the distance of that caption from the image; NaN where there is none.
    """

    distance: np.ndarray
    cosine: np.ndarray
    pool: np.ndarray
    text_rank: np.ndarray
    image_rank: np.ndarray
    noise: np.ndarray
    loss: np.ndarray
    nearest: np.ndarray
    nearest_distance: np.ndarray


def measure(
    text: np.ndarray,
    image: np.ndarray,
    owner: np.ndarray,
    match: np.ndarray,
    words: np.ndarray,
    pool: Pool,
    scale: float,
    neighbours: int = 16,
) -> PairMeasures:
    """The numbers of every caption with its image.

    Entries of the pool of the same image or with the same caption are left out: they are no other pairs.

        for caption i with image v: others = [j in pool where match[j] != match of v and words[j] != words[i]]

    Args:
        text: (M, D) of unit length.
        image: (N, D) of unit length.
        owner: (M,) row of `image` that a caption belongs to.
        match: (N,) int64 of the images; equal = the same image.
        words: (M,) int64 of the captions; equal = the same caption.
        scale: what cosines are multiplied by in the loss: 1 / temperature.
        neighbours: k, 1 or more; the whole pool where it is smaller.
    """
    assert neighbours >= 1, f"neighbours must be 1 or more, not {neighbours}"
    pool_image, pool_text = torch.from_numpy(pool.image), torch.from_numpy(pool.text)
    pool_match, pool_words = torch.from_numpy(pool.match), torch.from_numpy(pool.words)
    parts: dict[str, list[Tensor]] = {name: [] for name in PairMeasures.__dataclass_fields__}
    step = max(1, BLOCK // len(pool))
    for start in range(0, max(len(text), 1), step):
        rows = slice(start, start + step)
        owners, place = np.unique(owner[rows], return_inverse=True)
        of_image, of_caption = torch.from_numpy(image[owners]), torch.from_numpy(place)
        captions, match_ids = torch.from_numpy(text[rows]), torch.from_numpy(match[owners])
        others = match_ids[:, None].ne(pool_match)[of_caption]  # (m, P)
        others &= torch.from_numpy(words[rows])[:, None].ne(pool_words)
        own = (captions * of_image[of_caption]).sum(dim=1)
        to_images = captions @ pool_image.T  # (m, P)
        to_texts = (of_image @ pool_text.T)[of_caption]  # (m, P)
        for name, values in _measured(own, to_images, to_texts, others, scale, neighbours).items():
            parts[name].append(values)
        parts["distance"].append((2 - 2 * own).clamp(min=0).sqrt())
        parts["cosine"].append(own)
    return PairMeasures(**{name: torch.cat(values).numpy() for name, values in parts.items()})


def log_distances(cosine: Tensor) -> Tensor:
    """log ||t - v|| of unit vectors with these cosines, in nats. By hand: 0 gives log(2) / 2 = 0.3466."""
    return 0.5 * (2 - 2 * cosine).clamp(min=FLOOR**2).log()


def _measured(
    own: Tensor, to_images: Tensor, to_texts: Tensor, others: Tensor, scale: float, neighbours: int
) -> dict[str, Tensor]:
    """What comes from cosines: of the own pairs (m,), of captions with the pool's images, of images with its texts."""
    ranks, neighbour_logs, losses, nearest = [], [], [], own.new_zeros(0)
    for cosines in (to_images, to_texts):
        cosines = cosines.masked_fill(~others, -torch.inf)
        ranks.append(1 + (cosines >= own[:, None] - ROUNDING).sum(dim=1))
        found = cosines.topk(min(neighbours, cosines.shape[1]), dim=1).values  # (m, k), the nearest first
        there = found.isfinite()
        logs = log_distances(found.where(there, 0.0)) * there
        neighbour_logs.append(logs.sum(dim=1) / there.sum(dim=1))  # 0 / 0 is NaN: there is nothing to compare with
        logits = scale * torch.cat([own[:, None], cosines], dim=1)
        losses.append(logits.logsumexp(dim=1) - scale * own)
        nearest = cosines
    best = nearest.max(dim=1)
    nearer = best.values > own + ROUNDING
    distance = (2 - 2 * best.values).clamp(min=0).sqrt()
    return {
        "pool": others.sum(dim=1),
        "image_rank": ranks[0],
        "text_rank": ranks[1],
        "noise": log_distances(own) - (neighbour_logs[0] + neighbour_logs[1]) / 2,
        "loss": ((losses[0] + losses[1]) / 2).clamp(min=0),
        "nearest": best.indices.where(nearer, -1),
        "nearest_distance": distance.where(nearer, torch.nan),
    }
