"""FSDP2: the towers of a step in parts, one on each rank, and what must know of parts: gradients and saved state.

Sharded are the trunks of all towers, the teacher's like the student's, by block. Everything else is read where no
forward pass would bring it together, and is replicated: projections, heads, temperatures, queues, state of
samples. Each rank holds, updates and averages its part of a trunk, so gradients, optimiser and teacher are sharded too.
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn, optim
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import distribute_tensor

from askew import distributed
from askew.nn.blocks import blocks_of
from askew.nn.shards import is_shard, part, replicated, whole
from askew.nn.towers import ImageTower, TextTower

State = dict[str, Tensor]


class ShardedTowers:
    """The towers of a method, sharded over all ranks. Make it before the optimiser: parameters are replaced."""

    def __init__(self, method: nn.Module, device: torch.device):
        # A tower returns views of its last layer. No operation in place follows, which would lose FSDP2's hooks
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        self._towers: list[FSDPModule] = []
        # Parts are whole again only while a block runs: a copy that is kept would miss what the optimiser does
        settings: dict[str, Any] = {
            "mesh": init_device_mesh(device.type, (distributed.world_size(),)),
            "reshard_after_forward": True,
        }
        for tower in method.modules():
            if isinstance(tower, ImageTower | TextTower):
                for block in blocks_of(tower):
                    fully_shard(block, **settings)
                fully_shard(tower, **settings, ignored_params=set(tower.projection.parameters()))
                if isinstance(tower, ImageTower):
                    register_fsdp_forward_method(tower, "with_scores")
                self._towers.append(cast(FSDPModule, tower))

    def reduce(self, wanted: bool) -> None:
        """Whether the next backward pass sends gradients, or adds them up on each rank."""
        for tower in self._towers:
            tower.set_requires_gradient_sync(wanted)


# Gradients, some of which are parts


def gradient_norm(parameters: Iterable[nn.Parameter]) -> Tensor:
    """The norm of all gradients together, the same on every rank."""
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    parts = [part(gradient) for gradient in gradients if is_shard(gradient)]
    norm = torch.nn.utils.get_total_norm([gradient for gradient in gradients if not is_shard(gradient)])
    if not parts:
        return norm
    squares = torch.nn.utils.get_total_norm(parts).double().square()
    with distributed.waiting("gradient norm"):
        dist.all_reduce(squares)
    return (squares + norm.double().square()).sqrt().to(parts[0].dtype)


def clip_gradients(parameters: Iterable[nn.Parameter], largest: float, norm: Tensor) -> None:
    """Scale all gradients so that their norm, which is `norm`, is at most `largest`."""
    parameters = list(parameters)
    torch.nn.utils.clip_grads_with_norm_(replicated(parameters), largest, norm)
    parts = [part(parameter.grad) for parameter in parameters if is_shard(parameter) and parameter.grad is not None]
    if parts:
        torch._foreach_mul_(parts, torch.clamp(largest / (norm + 1e-6), max=1.0))


# State, which is saved whole


def state_of(method: nn.Module, optimizer: optim.Optimizer) -> tuple[State, State]:
    """The state of a method by its names, and that of its optimiser as PARAMETER/SLOT, on rank 0.

    Every rank enters. Parts are gathered one tensor at a time, and kept on the CPU. All else is the live tensors. Other
    ranks get nothing.
    """
    states = optimizer.state
    slots = {
        f"{name}/{slot}": value
        for name, parameter in method.named_parameters()
        for slot, value in states.get(parameter, {}).items()
    }
    return _collected(method.state_dict()), _collected(slots)


def _collected(tensors: Mapping[str, Tensor]) -> State:
    collected: State = {}
    for name, tensor in tensors.items():
        full = whole(tensor.detach()).cpu() if is_shard(tensor) else tensor
        if distributed.is_main():
            collected[name] = full
    return collected


def scattered(full: Tensor, like: Tensor | None) -> Tensor:
    """What a rank keeps of a whole tensor in the place of `like`: a part, if that is one. Nothing is sent.

    A tensor of another shape is returned as it is.
    """
    if like is None or not is_shard(like) or full.shape != like.shape:
        return full
    shard = cast(Any, like)
    return distribute_tensor(full.to(shard.device), shard.device_mesh, shard.placements, src_data_rank=None)
