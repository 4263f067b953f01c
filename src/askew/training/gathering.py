"""Samples of all ranks: every tensor of a step, forward and backward, in one collective each.

What a step gathers is a dozen tensors of different widths and types: embeddings, targets, ids. They travel as the bytes
of one buffer, since small messages cost as much as large ones.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from askew.distributed import rank, waiting, world_size


def gather(local: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor (B, ...) concatenated over ranks to (N, ...), with gradient. Ranks hold equally many samples.

    Each rank computes its own B x N rows; with DDP's mean over ranks the gradient is that of the mean loss.
    """
    if world_size() == 1:
        return local
    gathered: tuple[Tensor, ...] = _Gather.apply(*local.values())  # type: ignore[assignment]
    return dict(zip(local, gathered, strict=True))


class _Gather(torch.autograd.Function):
    """(B, ...) to (N, ...). Backward sums, over ranks, the gradients of every rank's loss in this rank's rows."""

    @staticmethod
    def forward(ctx: Any, *local: Tensor) -> tuple[Tensor, ...]:
        num, size = len(local[0]), world_size()
        sent = torch.cat([_bytes(value) for value in local], dim=1)
        received = sent.new_empty(num * size, sent.shape[1])
        with waiting("gather"):
            dist.all_gather(list(received.split(num)), sent)
        parts = received.split([_bytes(value).shape[1] for value in local], dim=1)
        gathered = tuple(
            part.contiguous().view(value.dtype).view(num * size, *value.shape[1:])
            for part, value in zip(parts, local, strict=True)
        )
        ctx.moved = [value.requires_grad for value in local]
        ctx.mark_non_differentiable(*(one for one, moved in zip(gathered, ctx.moved, strict=True) if not moved))
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        own = [gradient for gradient, moved in zip(gradients, ctx.moved, strict=True) if moved]
        flat = torch.cat([_flat(gradient).float() for gradient in own], dim=1)
        parts = iter(_summed_rows(flat).split([gradient[0].numel() for gradient in own], dim=1))
        return tuple(
            next(parts).reshape(-1, *gradient.shape[1:]).to(gradient.dtype) if moved else None
            for gradient, moved in zip(gradients, ctx.moved, strict=True)
        )


def _bytes(value: Tensor) -> Tensor:
    """(B, ...) as bytes (B, n)."""
    return _flat(value.detach()).view(torch.uint8)


def _flat(value: Tensor) -> Tensor:
    """(B, ...) as (B, F), contiguous."""
    return value.reshape(len(value), -1).contiguous()


def _summed_rows(values: Tensor) -> Tensor:
    """This rank's rows (B, F) of the sum over ranks of (N, F). The sum is made in place."""
    num = len(values) // world_size()
    if values.device.type == "cuda" and dist.get_backend() != "gloo":
        rows = values.new_empty(num, values.shape[1])
        dist.reduce_scatter(rows, list(values.split(num)))
        return rows
    with waiting("gather, backward"):
        dist.all_reduce(values)  # gloo has no other
    return values[rank() * num : (rank() + 1) * num]
