"""Convolutions that run faster on a CPU."""

import copy

import pytest
import torch
from torch import nn

from askew.nn.cpu.convolutions import quick_convolutions, use_fast_convolutions

CONVOLUTIONS = [
    nn.Conv2d(6, 6, 7, padding=3, groups=6),
    nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False),
    nn.Conv2d(6, 6, 3, padding=1, stride=2, groups=6),  # keeps all taps, because the map changes its size
    nn.Conv2d(6, 12, 3, padding=1, groups=6),  # two outputs per channel
    nn.Conv2d(6, 10, 1),
    nn.Conv2d(6, 10, 1, bias=False),
    nn.Conv2d(6, 10, 2, stride=2),  # on a map of odd size, a row and a column are dropped
]


def results_of(module, size, layout, scale=1.0):
    """Output, gradient of the input, gradients of the parameters."""
    image = scale * torch.randn(3, 6, *size, generator=torch.Generator().manual_seed(7)).to(memory_format=layout)
    image.requires_grad_()
    made = module(image)
    (made.square() * torch.linspace(0.5, 1.5, made.numel()).view(made.shape)).sum().backward()
    return made, image.grad, *(p.grad for p in module.parameters())


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (9, 9), (4, 7), (17, 17)], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fast_convolutions_are_torchs(size, layout):
    plain_ones = copy.deepcopy(CONVOLUTIONS)
    trunk = copy.deepcopy(nn.ModuleList(CONVOLUTIONS)).train()
    use_fast_convolutions(trunk)
    assert {type(m).__name__ for m in trunk} == {"DepthwiseConv2d", "PointwiseConv2d", "PatchConv2d"}
    for plain, fast in zip(plain_ones, trunk, strict=True):
        pairs = zip(results_of(plain, size, layout), results_of(fast, size, layout), strict=True)
        for expected, found in pairs:
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_a_map_of_one_pixel():
    plain = [copy.deepcopy(CONVOLUTIONS[index]) for index in (0, 1, 2, 4)]
    trunk = copy.deepcopy(nn.ModuleList(plain)).train()
    use_fast_convolutions(trunk)
    for one, other in zip(plain, trunk, strict=True):
        for expected, found in zip(*(results_of(m, (1, 1), torch.channels_last) for m in (one, other)), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_in_eval_mode_results_are_open_clips_to_the_last_bit():
    trunk = copy.deepcopy(nn.ModuleList(CONVOLUTIONS)).eval()
    use_fast_convolutions(trunk)
    image = torch.randn(3, 6, 5, 5, generator=torch.Generator().manual_seed(1))
    for plain, fast in zip(CONVOLUTIONS, trunk, strict=True):
        exact = fast(image)
        assert torch.equal(exact, plain(image))
        with quick_convolutions():
            torch.testing.assert_close(fast(image), exact, rtol=1e-5, atol=1e-5)
        assert torch.equal(fast(image), exact)


def test_a_teacher_in_training_is_fast(monkeypatch):
    called = []
    module = nn.ModuleList([nn.Conv2d(6, 10, 1)]).eval()
    use_fast_convolutions(module)
    monkeypatch.setattr(nn.Conv2d, "forward", lambda self, input: called.append(1) or input)
    with quick_convolutions():
        module[0](torch.zeros(1, 6, 2, 2))
    assert called == []
    module[0](torch.zeros(1, 6, 2, 2))
    assert called == [1]


def test_a_frozen_weight_or_input_gets_no_gradient():
    module = nn.ModuleList([nn.Conv2d(6, 6, 3, padding=1, groups=6)]).train()
    use_fast_convolutions(module)
    module.requires_grad_(False)
    image = torch.randn(2, 6, 3, 3, requires_grad=True)
    module[0](image).sum().backward()
    assert image.grad is not None
    assert module[0].weight.grad is None


def test_other_convolutions_are_left_alone():
    trunk = nn.ModuleList(
        [
            nn.Conv2d(3, 8, 4, stride=4),  # on pixels
            nn.Conv2d(8, 8, 1, stride=2),
            nn.Conv2d(8, 8, 3, groups=2),
            nn.Conv2d(8, 8, 2, stride=2, padding=1),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, padding_mode="circular"),
            nn.Conv2d(8, 8, 3, padding=2, groups=8, dilation=2),
        ]
    )
    use_fast_convolutions(trunk)
    assert {type(module) for module in trunk} == {nn.Conv2d}
