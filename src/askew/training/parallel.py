"""What is done to a finished step: torch.compile and DistributedDataParallel."""

import warnings

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from askew import distributed
from askew.errors import UserError
from askew.nn.towers import ImageTower, TextTower


def wrap(step: nn.Module, device: torch.device, compiled: bool = False) -> nn.Module:
    """The step as it is trained: unchanged in one process, in DDP over several. No buffer needs broadcasting."""
    if compiled:
        compile_towers(step, device)
    if distributed.world_size() == 1:
        return step
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # broadcast_buffers has a new name in newer versions of torch only
        return DistributedDataParallel(
            step, device_ids=[device.index] if device.type == "cuda" else None, broadcast_buffers=False
        )


def compile_towers(step: nn.Module, device: torch.device) -> None:
    """Compile every tower in place, the teacher's too. The names in the state stay. Texts vary in length.

    Raises:
        UserError: there is no working compiler. A small function is tried first.
    """
    try:
        torch.compile(lambda x: (x + 1).sum())(torch.ones(8, device=device))
    except Exception as error:  # the compiler's errors have no common base
        raise UserError(
            "train.compile=true needs a working C++ compiler (and Triton on CUDA): install one "
            f"(apt install g++), or set train.compile=false ({type(error).__name__})"
        ) from error
    for module in step.modules():
        if isinstance(module, ImageTower):
            module.trunk.compile()
        elif isinstance(module, TextTower):
            module.trunk.compile(dynamic=True)
