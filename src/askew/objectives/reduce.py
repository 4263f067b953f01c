"""The only reduction in the project, and its evaluation in chunks of rows.

Letters: A anchors (rows), C candidates (columns).
"""

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.utils.checkpoint import checkpoint


def mean_per_anchor(values: Float[Tensor, "A C"], where: Bool[Tensor, "A C"]) -> Float32[Tensor, ""]:
    """Mean over each row's selected columns, then over all rows. A row without any counts 0 in the second mean.

    The second mean always divides by the number of rows, so the result is linear in rows: the mean over equal chunks
    of rows, or over equal ranks, equals the value of the whole.

        for i in rows:  row[i] = sum(values[i, j] for j if where[i, j]) / max(1, number of selected j)
        return sum(row) / A

    Any finite values, at least one row. Values that are not selected do not reach the result and get a zero gradient,
    but they must be finite in the caller's own backward pass. Raises AssertionError if the shapes differ or there are
    no rows.

    By hand: values [[1, 3], [5, 7]] where [[yes, yes], [no, no]] give ((1 + 3) / 2 + 0) / 2 = 1.
    """
    assert values.shape == where.shape, f"values {tuple(values.shape)} and where {tuple(where.shape)} differ"
    assert values.shape[0] > 0, "no rows"
    selected = torch.where(where, values.float(), 0.0)
    return (selected.sum(dim=1) / where.sum(dim=1).clamp(min=1)).mean()


def by_rows(
    objective: Callable[[dict[str, Tensor]], dict[str, Tensor]], rows: dict[str, Tensor], chunk_size: int
) -> dict[str, Float32[Tensor, ""]]:
    """The scalars of an objective that is linear in rows, `chunk_size` rows at a time: same values, same gradients.

    Only the scalars of a chunk are kept. The backward pass computes the rest again. Memory therefore grows with
    chunk_size x C instead of A x C, and the objective takes about a third more time.

        for part in chunks of rows:  values += objective(part) * len(part) / A
        return values

    `objective` takes some rows of every tensor and returns scalars by name. Each scalar is a mean over those rows
    (mean_per_anchor) or does not depend on them. The objective holds the columns itself and their gradient flows as
    usual. It must return the same values when called again. The last chunk may be shorter. Raises AssertionError if
    chunk_size is not positive or the tensors differ in length.

    By hand: the mean of rows [1, 2, 6] in chunks of 2 is 1.5 * 2/3 + 6 * 1/3 = 3.
    """
    lengths = {len(value) for value in rows.values()}
    assert len(lengths) == 1, f"rows must have one length, not {sorted(lengths)}"
    assert chunk_size > 0, f"a chunk has at least one row, not {chunk_size}"
    (num,) = lengths
    total: dict[str, Tensor] = {}
    for start in range(0, num, chunk_size):
        part = {name: value[start : start + chunk_size] for name, value in rows.items()}
        values = checkpoint(objective, part, use_reentrant=False, preserve_rng_state=False)
        share = min(chunk_size, num - start) / num
        total = {name: value.float() * share + total.get(name, 0.0) for name, value in values.items()}
    return total
