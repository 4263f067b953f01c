"""What is done to a finished step: torch.compile, micro-batches, DistributedDataParallel or FSDP2, recomputation."""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from askew import distributed
from askew.errors import UserError
from askew.methods.base import Batch
from askew.nn.blocks import recompute_blocks
from askew.nn.cpu.attention import quick_attention
from askew.nn.shards import replicated
from askew.nn.towers import ImageTower, TextTower
from askew.training.feature_cache import FeatureCache
from askew.training.sharding import ShardedTowers
from askew.training.step import Step, Taken

Backward = Callable[[Batch, float], Taken]
Mode = Literal["ddp", "fsdp2"]  # `train.parallel`


def backward_of(
    step: Step,
    device: torch.device,
    compiled: bool = False,
    micro_batch_size: int = 0,
    mode: Mode = "ddp",
    recompute: bool = False,
) -> Backward:
    """How a step is trained on this rank's part of a batch: a function that leaves gradients in the parameters.

    They are the mean over ranks, and are added to what the parameters hold. Make the optimiser afterwards.

    Args:
        micro_batch_size: samples that are encoded at once; 0: all.
        mode: what ranks hold: ddp, everything; fsdp2, parts of the towers (sharding.py). One process holds everything.
        recompute: keep only the inputs of the student's blocks, and compute the rest again in the backward pass.
    """
    if recompute:
        for tower in (step.method.towers.image, step.method.towers.text):
            recompute_blocks(tower, partial(quick_attention, device.type, step.method.towers.longest))
    if compiled:
        compile_towers(step, device)
    if mode == "fsdp2" and distributed.world_size() > 1:
        sharded = ShardedTowers(step.method, device)
        if micro_batch_size:
            return FeatureCache(step, micro_batch_size, sharded.reduce).backward
        return partial(_backward_in_parts, step)
    if micro_batch_size:
        return FeatureCache(step, micro_batch_size).backward
    return partial(_backward, _wrapped(step, device))


def _backward(step: nn.Module, batch: Batch, progress: float) -> Taken:
    loss, terms, gathered = step(batch, progress)
    with distributed.waiting("gradients"):
        loss.backward()
    return loss.detach(), terms, gathered


def _backward_in_parts(step: Step, batch: Batch, progress: float) -> Taken:
    """The towers average their own gradients; what every rank holds whole is averaged here."""
    taken = _backward(step, batch, progress)
    distributed.average_gradients(replicated(step.method.parameters()))
    return taken


def _wrapped(step: nn.Module, device: torch.device) -> nn.Module:
    """The step itself in one process, in DDP over several. No buffer needs broadcasting."""
    if distributed.world_size() == 1:
        return step
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # broadcast_buffers has a new name in newer versions of torch only
        return DistributedDataParallel(
            step,
            device_ids=[device.index] if device.type == "cuda" else None,
            broadcast_buffers=False,
            gradient_as_bucket_view=True,  # gradients are not held twice
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
            module.compile_trunk()
