"""What is done to a finished Step: DistributedDataParallel."""

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from askew import distributed


def wrap(step: nn.Module, device: torch.device) -> nn.Module:
    """The step as it is trained: itself in one process, DDP over several (no buffer is broadcast: none is trained)."""
    if distributed.world_size() == 1:
        return step
    return DistributedDataParallel(
        step, device_ids=[device.index] if device.type == "cuda" else None, broadcast_buffers=False
    )
