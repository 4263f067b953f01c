"""The only collectives. One process is the case world_size() = 1, in which nothing is communicated."""

import os
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def start(device: torch.device) -> None:
    """Join the process group that torchrun announces; nothing outside torchrun."""
    if "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop() -> None:
    """Leave the process group, if any."""
    if dist.is_initialized():
        dist.destroy_process_group()


def world_size() -> int:
    """Number of ranks."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """This process's number, 0 in a single process."""
    return dist.get_rank() if dist.is_initialized() else 0


def local_rank() -> int:
    """This process's number on its machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


class _Gather(torch.autograd.Function):
    """(B, ...) to (N, ...); backward sums over ranks what every rank's loss says of this rank's rows."""

    @staticmethod
    def forward(ctx, mine: Tensor) -> Tensor:
        ctx.size = len(mine)
        parts = [torch.empty_like(mine) for _ in range(world_size())]
        dist.all_gather(parts, mine.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # not ours to change in place
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.size : (rank() + 1) * ctx.size]


def is_main() -> bool:
    """Whether this is the process that talks, known before the group is joined."""
    return int(os.environ.get("RANK", "0")) == 0


def gather(mine: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor (B, ...) concatenated over ranks to (N, ...), with gradient. Ranks hold equally many samples.

    Each rank computes its own B x N rows; with DDP's mean over ranks the gradient is that of the mean loss.
    """
    if world_size() == 1:
        return mine
    return {key: _Gather.apply(value) for key, value in mine.items()}  # type: ignore[misc]


def mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of scalars over ranks, without gradient."""
    if world_size() == 1:
        return values
    stacked = torch.stack([v.detach().float().reshape(()) for v in values.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, stacked / world_size(), strict=True))


def everyone(value: Any) -> list[Any]:
    """One small Python object of each rank, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set anywhere, so that all ranks stop at the same step."""
    if world_size() == 1:
        return flag
    tensor = torch.tensor([float(flag)], device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor.item() > 0)


def barrier() -> None:
    """Wait for every rank."""
    if world_size() > 1:
        dist.barrier()
