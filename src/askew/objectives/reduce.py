"""The only reduction in the project, and its evaluation in chunks of rows.

Letters: A anchors (rows), C candidates (columns).
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor
from torch.autograd.function import once_differentiable

Tensors = dict[str, Tensor]
LOSS = ""  # the loss among an objective's scalars


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
    objective: Callable[[Tensors, Tensors], tuple[Tensor, Tensors]],
    rows: Tensors,
    columns: Tensors,
    parameters: Iterable[Tensor],
    chunk_size: int,
) -> tuple[Float32[Tensor, ""], Tensors]:
    """A loss that is linear in rows, `chunk_size` rows at a time: the same value and gradient in less memory.

    The gradient of a chunk is computed right after its value, and added up. Nothing of a chunk is kept, and nothing is
    computed twice. So memory grows with chunk_size x C instead of A x C.

        for part in chunks of rows:
            loss += objective(part, columns) * len(part) / A
            gradients += (gradient of objective(part, columns)) * len(part) / A
        return loss, which hands `gradients` to its backward pass

    `objective` takes some rows of every tensor in `rows`, and all `columns`. It returns the loss and other scalars. Of
    these the means are returned, without gradient. Each scalar is a mean over those rows (mean_per_anchor) or does not
    depend on them. `parameters` are what else may need a gradient, such as a temperature; not all of them must be used.
    The last chunk may be shorter. Raises AssertionError if chunk_size is not positive or the rows differ in length.

    By hand: the mean of rows [1, 2, 6] in chunks of 2 is 1.5 * 2/3 + 6 * 1/3 = 3.
    """
    lengths = {len(value) for value in rows.values()}
    assert len(lengths) == 1, f"rows must have one length, not {sorted(lengths)}"
    assert chunk_size > 0, f"a chunk has at least one row, not {chunk_size}"
    (num,) = lengths
    inputs = _Inputs(rows, columns, parameters)
    totals: Tensors = {}
    for start in range(0, num, chunk_size):
        stop = min(start + chunk_size, num)
        part = inputs.chunk(start, stop)
        loss, others = objective(part, inputs.columns)
        share = (stop - start) / num
        inputs.add_gradients(loss, part, start, stop, share)
        for name, value in {**others, LOSS: loss}.items():
            totals[name] = value.detach().float() * share + totals.get(name, 0.0)
    return _WithGradients.apply(totals.pop(LOSS), inputs.gradients, *inputs.trained), totals  # type: ignore[return-value]


class _Inputs:
    """What an objective reads, cut off from what made it, and the gradients that were added up so far."""

    def __init__(self, rows: Tensors, columns: Tensors, parameters: Iterable[Tensor]):
        def trained(tensors: Iterable[Tensor]) -> list[Tensor]:
            return [tensor for tensor in tensors if tensor.requires_grad and torch.is_grad_enabled()]

        self.rows = rows
        self.columns = {name: _leaf(value) for name, value in columns.items()}
        self.parameters = trained(parameters)
        self.trained = [*trained(rows.values()), *trained(columns.values()), *self.parameters]
        self.gradients: list[Tensor | None] = [None] * len(self.trained)

    def chunk(self, start: int, stop: int) -> Tensors:
        """Some rows of every tensor."""
        return {name: _leaf(value, slice(start, stop)) for name, value in self.rows.items()}

    def add_gradients(self, loss: Tensor, part: Tensors, start: int, stop: int, share: float) -> None:
        """Add the share of a chunk."""
        if not loss.requires_grad:
            return
        own = [value for value in part.values() if value.requires_grad]
        others = [value for value in self.columns.values() if value.requires_grad]
        found = torch.autograd.grad(loss, [*own, *others, *self.parameters], allow_unused=True)
        for place, gradient in enumerate(found):
            if gradient is None:
                continue
            total = self.gradients[place]
            if total is None:
                total = self.gradients[place] = torch.zeros_like(self.trained[place])
            (total[start:stop] if place < len(own) else total).add_(gradient, alpha=share)


class _WithGradients(torch.autograd.Function):
    """A value whose gradients are known already."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor | None], *trained: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        (scale,) = upstream
        return None, None, *(None if gradient is None else scale * gradient for gradient in ctx.gradients)


def _leaf(tensor: Tensor, index: slice = slice(None)) -> Tensor:
    """The tensor, or some rows of it, without its history. It needs a gradient if the tensor does."""
    return tensor.detach()[index].requires_grad_(tensor.requires_grad and torch.is_grad_enabled())
