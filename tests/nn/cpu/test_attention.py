"""Which attention kernels are allowed."""

import pytest
import torch

from askew.nn.cpu.attention import SHORT, quick_attention


@pytest.mark.parametrize(
    ("device", "longest", "only_math"),
    [("cpu", SHORT, True), ("cpu", SHORT + 1, False), ("cuda", 4, False)],
)
def test_only_short_sequences_on_a_cpu_avoid_the_fused_kernel(device, longest, only_math):
    allowed = torch.backends.cuda.flash_sdp_enabled()
    with quick_attention(device, longest):
        assert torch.backends.cuda.math_sdp_enabled()
        assert torch.backends.cuda.flash_sdp_enabled() == (allowed and not only_math)
    assert torch.backends.cuda.flash_sdp_enabled() == allowed
