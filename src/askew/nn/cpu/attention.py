"""Attention over short sequences."""

from contextlib import AbstractContextManager, nullcontext

from torch.nn.attention import SDPBackend, sdpa_kernel

SHORT = 128  # tokens; up to here plain matrix products are faster on a CPU than the fused attention kernel


def quick_attention(device: str, longest: int) -> AbstractContextManager:
    """The attention kernel for sequences of at most `longest` tokens.

    Over a few dozen tokens on a CPU, the fused kernel takes 3 to 8 times as long as plain products (dev/LOG.md).
    """
    return sdpa_kernel(SDPBackend.MATH) if device == "cpu" and longest <= SHORT else nullcontext()
