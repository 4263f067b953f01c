"""How embeddings lie on the unit sphere: measures of a model's health, which nothing is trained on.

They are kept with the equations because they are of the same kind: tensors in, scalar out, nothing known of ranks or
steps. Letters: N images (rows), M texts, D components of an embedding.

A value that is not defined is NaN (no pairs, input that is not finite). None of these functions raises for it.
"""

import math

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from askew.objectives.reduce import mean_per_anchor


def effective_rank(rows: Float[Tensor, "N D"]) -> Float32[Tensor, ""]:
    """How many directions the rows use: exp of the entropy of normalised singular values (Roy & Vetterli, 2007).

        s = singular values of rows;  p = s / sum(s)
        return exp(-sum(p log p))

    Between 1 (all rows are equal) and min(N, D), so it can be compared only at an equal number of rows. NaN where all
    rows are zero.

    The rows are not centred. Where all embeddings become nearly equal, what is left around their mean is noise, and
    noise has many directions: the rank of centred rows stays high in a run that has collapsed (docs/training.md).

    The eigenvalues of the smaller Gram matrix are used, in float64. They are squares, and in float32 everything below
    0.0003 of the largest singular value would be noise, in hundreds of directions.

    By hand: the four rows (±1, 0), (0, ±1) have two equal singular values, so 2. The rows (±1, 0) have one, so 1.
    """
    values = rows.detach().double()
    if not values.isfinite().all():
        return rows.new_tensor(math.nan, dtype=torch.float32)
    gram = values @ values.T if len(values) <= values.shape[1] else values.T @ values
    singular = torch.linalg.eigvalsh(gram).clamp(min=0).sqrt()
    shares = singular / singular.sum()
    return torch.special.entr(shares).sum().exp().float()


def modality_gap(image: Float[Tensor, "N D"], text: Float[Tensor, "M D"]) -> Float32[Tensor, ""]:
    """Distance between the mean image and the mean text (Liang et al., 2022), of unit-length embeddings: in [0, 2].

    By hand: images (1, 0), (0, 1) and texts (-1, 0), (0, -1) have the means (½, ½) and (-½, -½): √2.
    """
    return (image.detach().float().mean(dim=0) - text.detach().float().mean(dim=0)).norm()


def uniformity(rows: Float[Tensor, "N D"], t: float = 2.0) -> Float32[Tensor, ""]:
    """How evenly unit-length rows fill the sphere: log of the mean of exp(-t d²) over pairs (Wang & Isola, 2020).

        return log(mean of exp(-t |rows[i] - rows[j]|²) for i < j)

    Between -4t and 0 for one pair; 0 where all rows are equal, near -2t for many rows that are spread evenly. NaN for
    fewer than two rows, which have no pair.

    By hand: (1, 0) and (0, 1) are √2 apart, so log(exp(-2t)) = -2t; a third row (1, 0) makes two such pairs of three
    and one pair at distance 0: log((1 + 2 exp(-2t)) / 3).
    """
    num = len(rows)
    if num < 2:
        return rows.new_tensor(math.nan, dtype=torch.float32)
    distances = _squared_distances(rows, rows)
    kernel = torch.exp(-t * distances).fill_diagonal_(0.0)
    return (kernel.sum() / (num * (num - 1))).log()


def alignment(
    image: Float[Tensor, "N D"], text: Float[Tensor, "M D"], matches: Bool[Tensor, "N M"]
) -> Float32[Tensor, ""]:
    """Mean squared distance of matching unit-length pairs (Wang & Isola, 2020, with exponent 2): in [0, 4], 0 is best.

        for i in images:  row[i] = mean(|image[i] - text[j]|² for j if matches[i, j])
        return mean(row)

    `matches[i, j]` says that image i and text j belong together. Where a match id repeats, each image counts once,
    as in the losses (`mean_per_anchor`). Images without a text are left out; NaN if that leaves none.

    By hand: image (1, 0) with text (0, 1) and image (0, 1) with text (0, 1) are 2 and 0 apart squared: 1.
    """
    paired = matches.any(dim=1)
    if not paired.any():
        return image.new_tensor(math.nan, dtype=torch.float32)
    return mean_per_anchor(_squared_distances(image[paired], text), matches[paired])


def _squared_distances(rows: Float[Tensor, "A D"], columns: Float[Tensor, "C D"]) -> Float[Tensor, "A C"]:
    """Of unit-length vectors: 2 - 2 cos, never below 0."""
    return (2.0 - 2.0 * (rows.detach().float() @ columns.detach().float().T)).clamp(min=0)
