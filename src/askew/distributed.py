"""All collectives are here. In one process, world_size() is 1 and nothing is communicated."""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")


def start(device: torch.device) -> None:
    """Join the process group that torchrun announces. Without torchrun, do nothing."""
    if _is_launched() and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def _is_launched() -> bool:
    """Whether torchrun started this process as one of several."""
    return "RANK" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


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
    """(B, ...) to (N, ...). Backward sums, over ranks, the gradients of every rank's loss in this rank's rows."""

    @staticmethod
    def forward(ctx, local: Tensor) -> Tensor:
        ctx.size = len(local)
        parts = [torch.empty_like(local) for _ in range(world_size())]
        dist.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.clone(memory_format=torch.contiguous_format)  # autograd owns it: copy, then reduce in place
        dist.all_reduce(gradient)
        return gradient[rank() * ctx.size : (rank() + 1) * ctx.size]


def is_main() -> bool:
    """Whether this is rank 0, the process that reports and writes. Known before the group is joined."""
    return rank() == 0 if dist.is_initialized() else not _is_launched() or int(os.environ["RANK"]) == 0


def gather(local: dict[str, Tensor]) -> dict[str, Tensor]:
    """Every tensor (B, ...) concatenated over ranks to (N, ...), with gradient. Ranks hold equally many samples.

    Each rank computes its own B x N rows; with DDP's mean over ranks the gradient is that of the mean loss.
    """
    if world_size() == 1:
        return local
    return {key: _Gather.apply(value) for key, value in local.items()}  # type: ignore[misc]


def mean(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """Means of scalars over ranks, without gradient."""
    if world_size() == 1:
        return values
    stacked = torch.stack([v.detach().float().reshape(()) for v in values.values()])
    dist.all_reduce(stacked)
    return dict(zip(values, stacked / world_size(), strict=True))


def all_gather_object(value: Any) -> list[Any]:
    """One small Python object from each rank, in order of rank."""
    if world_size() == 1:
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def from_main(make: Callable[[], T]) -> T:
    """What rank 0 makes, on every rank."""
    return all_gather_object(make() if is_main() else None)[0]


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
