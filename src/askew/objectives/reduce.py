"""The one reduction of the project. Letters: A anchors (rows), C candidates (columns)."""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor


def mean_per_anchor(values: Float[Tensor, "A C"], where: Bool[Tensor, "A C"]) -> Float32[Tensor, ""]:
    """Mean over a row's selected columns, then over all rows; a row with none counts 0 and stays in the denominator.

    Because the denominator of the second mean is the number of rows and nothing else, the result is linear in rows: the
    mean over equal blocks of rows, or over equal ranks, is the value of the whole.

        for i in rows:  row[i] = sum(values[i, j] for j where where[i, j]) / max(1, number of such j)
        return sum(row) / A

    Any finite values. At least one row. Unselected values do not reach the result and get a zero gradient, but they
    must be finite in the caller's own backward pass. Raises AssertionError if the shapes differ or there is no row.

    By hand: values [[1, 3], [5, 7]] where [[yes, yes], [no, no]] give ((1 + 3) / 2 + 0) / 2 = 1.
    """
    assert values.shape == where.shape, f"values {tuple(values.shape)} and where {tuple(where.shape)} differ"
    assert values.shape[0] > 0, "no rows"
    selected = torch.where(where, values.float(), 0.0)
    return (selected.sum(dim=1) / where.sum(dim=1).clamp(min=1)).mean()
