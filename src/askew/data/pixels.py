"""What image operations do to pixels: whole batches, in place, on any device.

Images are float32 (B, 3, H, W) in [0, 1]. Each function takes one number per sample, so that a sample's result does not
depend on its neighbours. The numbers may be on the CPU while the images are on another device; then nothing waits for
that device. `operations.py` lists the operations that call them.
"""

import torch
from torch import Tensor

LUMA = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale


def brightness_(image: Tensor, factor: Tensor) -> Tensor:
    """factor x image, clamped to 1; factor (B,) >= 0: 0 is black, 1 changes nothing."""
    return image.mul_(_spread(beside(image, factor))).clamp_(max=1)


def contrast_(image: Tensor, factor: Tensor) -> Tensor:
    """Away from each image's mean luminance, clamped to [0, 1]; factor (B,): 0 is flat gray, 1 changes nothing."""
    mean, factor = (image.mean(dim=(2, 3)) * beside(image, torch.tensor(LUMA))).sum(dim=1), beside(image, factor)
    return image.mul_(_spread(factor)).add_(_spread((1 - factor) * mean)).clamp_(0, 1)


def saturation_(image: Tensor, factor: Tensor) -> Tensor:
    """Away from each pixel's luminance, clamped to [0, 1]; factor (B,): 0 is grayscale, 1 changes nothing."""
    return image.lerp_(luminance(image), _spread(1 - beside(image, factor))).clamp_(0, 1)


def luminance(image: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    red, green, blue = image.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def hue_(image: Tensor, shift: Tensor) -> Tensor:
    """Rotate the hue by `shift` (B,) turns in [-0.5, 0.5]; each pixel keeps its maximum and minimum (HSV, torchvision).

    Thirds of a turn permute the channels. The remainder, t in [-1, 1] sixths of a turn, has a closed form without an
    angle. The previous channel (for t >= 0; the next one for t < 0) determines on which flank of its trapezoid a
    channel is, so

        red' = clamp(red - green + (2 t - 1) blue + (1 - t) (max + min), min, max)    for t >= 0

    and likewise for the other channels; for t < 0, green and blue are swapped and t changes sign. Why: with hue h in
    sixths and chroma 1, red is 1 - max(0, min(|h| - 1, 1)), and red - green is 1 - h on [0, 2] and h - 4 on [3, 5]. On
    both flanks that a forward rotation can reach, the argument of the clamp is the line; elsewhere it is out of range.
    """
    thirds = torch.round(3 * shift)
    t = 6 * shift - 2 * thirds
    if thirds.any():
        source = beside(image, (torch.arange(3, device=shift.device) - thirds.long()[:, None]) % 3)  # (B, 3)
        image.copy_(image.gather(1, source[:, :, None, None].expand_as(image)))
    t = beside(image, t)
    high, low = image.amax(dim=1), image.amin(dim=1)  # (B, H, W)
    common = image.sum(dim=1).addcmul_(high + low, (1 - t.abs())[:, None, None])
    after, before = ((2 * (side * t).clamp(min=0) - 2)[:, None, None] for side in (-1, 1))
    turned = torch.empty_like(image)
    for channel in range(3):
        torch.addcmul(common, image[:, (channel + 1) % 3], after, out=turned[:, channel])
        turned[:, channel].addcmul_(image[:, (channel + 2) % 3], before)
    return torch.clamp(turned, low[:, None], high[:, None], out=image)


def blur_(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with standard deviation `sigma` (B,) > 0, in pixels.

    Columns first, then rows. The kernel is cut off at 3 sigma. Weights that fall outside the image are shared out among
    the pixels inside it.
    """
    radius = torch.ceil(3 * sigma)
    reach = int(radius.max())
    sigma, radius = beside(image, sigma), beside(image, radius)
    for dim in (2, 3):
        size = image.shape[dim]
        offset = torch.arange(min(reach, size - 1) + 1, device=image.device)
        weights = torch.exp(-0.5 * (offset / sigma[:, None]) ** 2) * (offset <= radius[:, None])  # (B, reach + 1)
        blurred = image * _spread(weights[:, 0])
        for step in range(1, weights.shape[1]):
            kept, weight = size - step, _spread(weights[:, step])
            blurred.narrow(dim, step, kept).addcmul_(image.narrow(dim, 0, kept), weight)
            blurred.narrow(dim, 0, kept).addcmul_(image.narrow(dim, step, kept), weight)
        place = torch.arange(size, device=image.device)
        inside = (place[:, None] >= offset).float() + (place.flip(0)[:, None] >= offset)  # (size, reach + 1)
        inside[:, 0] = 1
        share = (weights @ inside.T).reciprocal_()  # (B, size)
        torch.mul(blurred, share[:, None, :, None] if dim == 2 else share[:, None, None, :], out=image)
    return image


def beside(image: Tensor, numbers: Tensor) -> Tensor:
    """The numbers on the device of the images."""
    return numbers.to(image.device, non_blocking=True)


def _spread(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]
