"""What differs between devices: which there are, precision, memory."""

import ctypes
import os
import platform
import sys
from pathlib import Path

import torch

from askew import distributed
from askew.errors import UserError


def choose_device(name: str, setting: str = "train.device") -> torch.device:
    """The device of a recipe. `auto` takes CUDA, then MPS, then the CPU.

    Args:
        setting: what names it, for messages.

    Raises:
        UserError: this machine does not have the named device.
    """
    have = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = next(device for device, there in have.items() if there)
    if not have.get(name):
        there = ", ".join(device for device, there in have.items() if there)
        raise UserError(f"{setting}={name} is not available on this machine; it has {there}")
    if name == "cuda":
        # srun may show each task no GPU but its own
        number = distributed.local_rank() if torch.cuda.device_count() > 1 else 0
        torch.cuda.set_device(number)
        return torch.device("cuda", number)
    return torch.device(name)


def choose_precision(name: str, device: torch.device) -> str:
    """The precision of a recipe. `auto` takes bf16 where the device multiplies it faster than float32.

    A CPU without AVX512-BF16 or AMX emulates bfloat16 and is several times slower than in float32 (dev/LOG.md).
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


def processor_name() -> str:
    """What the CPU calls itself; "" where that is not known."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def keep_few_kernels() -> None:
    """Let oneDNN keep 256 kernels, with the memory that each holds, in place of 1,024. Call it before its first use.

    Texts of other lengths make other kernels in every step, so that a run grows by gigabytes until the last of these
    places is taken. A step of askew's own recipes uses fewer than 256. A variable that is set already is left alone.
    """
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "256")


def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next step, instead of returning it and zeroing new pages.

    Gradients of the vocabulary are tens of megabytes each, and their pages cost a third of a small model's step on a
    CPU. With another C library this does nothing.
    """
    trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of malloc.h
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(mmap_threshold, 2**30)
        mallopt(trim_threshold, 2**31 - 1)


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory in MB: the device's on CUDA, this process's elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    if sys.platform == "win32":
        return _windows_peak_bytes() / 2**20
    import resource  # Windows has no such module

    unit = 1 if sys.platform == "darwin" else 1024  # ru_maxrss is in bytes there, in kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20


def _windows_peak_bytes() -> int:
    """PeakWorkingSetSize of this process, from PROCESS_MEMORY_COUNTERS."""
    counters = (ctypes.c_size_t * 9)()  # two 32-bit numbers, which fill the first place, and eight sizes
    library = ctypes.windll.kernel32  # type: ignore[attr-defined]
    library.K32GetProcessMemoryInfo(library.GetCurrentProcess(), ctypes.byref(counters), ctypes.sizeof(counters))
    return counters[1]
