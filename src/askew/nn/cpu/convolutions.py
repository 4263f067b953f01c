"""Convolutions that run faster on a CPU. Parameters and names are those of nn.Conv2d, results equal up to rounding.

On small feature maps, oneDNN's convolutions take many times as long as their arithmetic needs, above all their
gradients and those on 1 x 1 maps (dev/LOG.md). Outside training, where results must equal open_clip's to the last bit,
nothing changes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

_quick = False


@contextmanager
def quick_convolutions() -> Iterator[None]:
    """A context in which eval mode also prefers speed over open_clip's last bit, for a momentum teacher in training."""
    global _quick
    before, _quick = _quick, True
    try:
        yield
    finally:
        _quick = before


def in_cpu_training(module: nn.Module, input: Tensor) -> bool:
    """Whether speed is preferred: on a CPU, in training or under autocast. Otherwise results are open_clip's own."""
    return input.device.type == "cpu" and (module.training or _quick or torch.is_autocast_enabled("cpu"))


def use_fast_convolutions(trunk: nn.Module) -> None:
    """Change the class of each convolution in a trunk to one of the classes below, if one computes the same.

    Parameters and their names stay.
    """
    for module in trunk.modules():
        if type(module) is not nn.Conv2d or module.padding_mode != "zeros" or module.dilation != (1, 1):
            continue
        if module.groups == module.in_channels > 1:
            module.__class__ = DepthwiseConv2d
        elif module.groups == 1 and module.kernel_size == module.stride and module.padding == (0, 0):
            if module.kernel_size == (1, 1):
                module.__class__ = PointwiseConv2d
            elif module.in_channels > 3:  # on pixels, oneDNN is faster
                module.__class__ = PatchConv2d


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution in float32 even under autocast, without taps that see only padding.

    In bfloat16 its gradient takes 1.5 to 3 times as long as in float32, and there is little arithmetic to save. A 7 x 7
    kernel on a 1 x 1 map multiplies 48 zeros, which makes oneDNN 60 times as slow (benchmarks/towers.py).
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The convolution."""
        if not in_cpu_training(self, input):
            return super().forward(input)
        with torch.autocast("cpu", enabled=False):
            input = input.to(self.weight.dtype)
            if not self._keeps_size():
                return F.conv2d(input, self.weight, self.bias, self.stride, self.padding, 1, self.groups)
            weight, middle = self.weight, self.weight.shape[-1] // 2
            reach = max(input.shape[-2:]) - 1  # no tap further from the middle than this reaches a pixel
            if reach < middle:
                weight = weight[..., middle - reach : middle + reach + 1, middle - reach : middle + reach + 1]
            if self.bias is None or input.shape[-2] != input.shape[-1] or input.shape[-1] > 16:
                return F.conv2d(input, weight, self.bias, 1, min(reach, middle), 1, self.groups)
            return _Depthwise.apply(input, weight, self.bias)  # type: ignore[no-any-return]

    def _keeps_size(self) -> bool:
        """Whether the kernel is odd and square, and padded so that the map keeps its size."""
        size = self.kernel_size[0]
        plain = self.stride == (1, 1) and self.out_channels == self.in_channels
        return plain and self.kernel_size == (size, size) and size % 2 == 1 and self.padding == (size // 2, size // 2)


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution that keeps the size of a small square map, with a fast gradient.

    The input's gradient is the same convolution with the kernel flipped. The weight's gradient comes from the products
    of every input pixel with every pixel of the output gradient: tap (y, x) sums the products at offset (y, x).
    That is more arithmetic, but all of it is one matrix product.
    """

    @staticmethod
    def forward(ctx, input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(input, weight)
        return F.conv2d(input, weight, bias, padding=weight.shape[-1] // 2, groups=len(weight))

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        input, weight = ctx.saved_tensors
        (num, channels, side, _), taps = input.shape, weight.shape[-1]
        wants_input, wants_weight, wants_bias = ctx.needs_input_grad
        of_input = of_weight = of_bias = None
        if wants_input:
            of_input = F.conv2d(gradient, weight.flip(2, 3), None, padding=taps // 2, groups=channels)
        if wants_weight:
            # Without this copy, the product would copy each channel: four times as slow on the smallest maps
            pixels = input.permute(1, 2, 3, 0).reshape(channels, side * side, num).contiguous()
            ends = gradient.permute(1, 0, 2, 3).reshape(channels, num, side * side).contiguous()
            products = pixels @ ends  # (C, from, to)
            of_weight = products.new_zeros(channels, taps * taps + 1)
            of_weight.index_add_(1, _tap_of_pair(side, taps), products.flatten(1))
            of_weight = of_weight[:, :-1].reshape(weight.shape)
        if wants_bias:
            of_bias = gradient.sum(dim=(0, 2, 3))
        return of_input, of_weight, of_bias


@lru_cache(maxsize=64)
def _tap_of_pair(side: int, taps: int) -> Tensor:
    """For each (pixel, pixel) pair of a square map, flattened: the tap that joins them, or taps^2 if none does."""
    pixel = torch.arange(side * side)
    down = pixel[:, None] // side - pixel[None, :] // side + taps // 2
    right = pixel[:, None] % side - pixel[None, :] % side + taps // 2
    joined = (down >= 0) & (down < taps) & (right >= 0) & (right < taps)
    return torch.where(joined, down * taps + right, taps * taps).flatten()


class PointwiseConv2d(nn.Conv2d):
    """A 1 x 1 convolution as a matrix product. oneDNN's convolution is many times slower on small maps.

    If images are stored channels last, as the views store them, nothing is copied.
    """

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H W"]:
        """The convolution."""
        if not in_cpu_training(self, input):
            return super().forward(input)
        return F.linear(input.permute(0, 2, 3, 1), self.weight.flatten(1), self.bias).permute(0, 3, 1, 2)


class PatchConv2d(nn.Conv2d):
    """A convolution with patches that do not overlap, as one matrix product over patches."""

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C2 H2 W2"]:
        """The convolution."""
        if not in_cpu_training(self, input):
            return super().forward(input)
        (high, wide), (num, channels) = self.kernel_size, input.shape[:2]
        rows, columns = input.shape[2] // high, input.shape[3] // wide  # incomplete patches are dropped
        kept = input[:, :, : rows * high, : columns * wide].permute(0, 2, 3, 1)
        patches = kept.reshape(num, rows, high, columns, wide, channels).transpose(2, 3).flatten(3)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)
        return F.linear(patches, weight, self.bias).permute(0, 3, 1, 2)
