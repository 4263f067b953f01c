"""The one reduction of the project, and the same a block of rows at a time.

Letters: A anchors (rows), C candidates (columns).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.utils.checkpoint import checkpoint


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


def by_rows(
    objective: Callable[[dict[str, Tensor]], dict[str, Tensor]], rows: dict[str, Tensor], block: int
) -> dict[str, Float32[Tensor, ""]]:
    """Scalars of an objective that is linear in rows, `block` rows at a time: same values, same gradients.

    Nothing of a block but its scalars is kept: the backward pass computes it again. So memory grows with block x C, not
    with A x C, for about a third more time in the objective.

        for part in blocks of rows:  values += objective(part) * len(part) / A
        return values

    `objective` takes the rows of every tensor and gives named scalars, each a mean over its rows (mean_per_anchor) or
    the same whatever the rows; the columns it holds by itself, gradient and all. It must give the same twice. The
    last block may be shorter. Raises AssertionError if a block is empty or the tensors differ in length.

    By hand: the mean of rows [1, 2, 6] in blocks of 2 is 1.5 * 2/3 + 6 * 1/3 = 3.
    """
    lengths = {len(value) for value in rows.values()}
    assert len(lengths) == 1, f"rows must have one length, not {sorted(lengths)}"
    assert block > 0, f"a block has at least one row, not {block}"
    (num,) = lengths
    total: dict[str, Tensor] = {}
    for start in range(0, num, block):
        part = {name: value[start : start + block] for name, value in rows.items()}
        values = checkpoint(objective, part, use_reentrant=False, preserve_rng_state=False)
        share = min(block, num - start) / num
        total = {name: value.float() * share + total.get(name, 0.0) for name, value in values.items()}
    return total
