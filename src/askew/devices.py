"""What differs from device to device: which there are, memory, the quickest kernels."""

import ctypes
import resource
import sys
from contextlib import AbstractContextManager, nullcontext

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from askew import distributed
from askew.errors import UserError

SHORT = 128  # tokens; up to here plain products are quicker on a CPU than the fused attention kernel


def choose_device(name: str) -> torch.device:
    """The device of a recipe; `auto` takes CUDA, then MPS, then the CPU.

    Raises:
        UserError: the named device is not there.
    """
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in have.items() if there)
    if not have[name]:
        there = ", ".join(device for device, there in have.items() if there)
        raise UserError(f"train.device={name} is not available on this machine; it has {there}")
    if name == "cuda":
        torch.cuda.set_device(distributed.local_rank())
        return torch.device("cuda", distributed.local_rank())
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of a recipe; `auto` takes bf16 where the device multiplies it quicker than float32.

    A CPU without AVX512-BF16 or AMX emulates bfloat16 and takes several times as long as in float32 (dev/LOG.md).
    """
    if name != "auto":
        return name
    if device.type == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    if device.type == "cpu":
        return "bf16" if _cpu_multiplies_bf16() else "fp32"
    return "fp32"


def _cpu_multiplies_bf16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step instead of giving it back and zeroing new pages.

    Gradients of the vocabulary are tens of megabytes each; their pages cost a third of a small model's step on a CPU.
    Nothing happens with another C library.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def give_back_freed_memory() -> None:
    """Once: before workers are forked, which would keep the freed pages of their parent for themselves."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MB: of the device on CUDA, of this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def quick_attention(device: str, longest: int) -> AbstractContextManager:
    """The attention kernel for sequences of at most `longest` tokens.

    On a CPU the fused kernel takes 3 to 8 times as long as plain products over a few dozen tokens (dev/LOG.md).
    """
    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" and longest <= SHORT else nullcontext()
