"""Image operations of the batch stage: whole batches, on any device, driven by recorded parameters.

Images are float32 (B, 3, H, W) in [0, 1] and are changed in place. Each operation takes one parameter per sample, so a
view is a function of its parameters alone and looks the same wherever it is computed. The order is fixed (brightness,
contrast, saturation, hue, blur, grey), where torchvision draws the order of the first four; recorded in
docs/deviations.md. Grey before or after blur is the same: both are linear.
"""

from collections.abc import Callable

import torch
from torch import Tensor

# Columns of the augmentation parameters, (B, P = 11)
PARAMETERS = (
    "crop_x",
    "crop_y",
    "crop_w",
    "crop_h",
    "brightness",
    "contrast",
    "saturation",
    "hue",
    "blur",
    "flip",
    "grey",
)
NUM_PARAMETERS = len(PARAMETERS)
CHUNK = 2**20  # values a CPU works on at a time: what its caches hold; results do not depend on it
LUMA = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale


def brightness_(image: Tensor, factor: Tensor) -> Tensor:
    """factor x image, clamped to 1; factor (B,) >= 0: 0 black, 1 unchanged."""
    return image.mul_(_spread(factor)).clamp_(max=1)


def contrast_(image: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean luminance of each image, clamped to [0, 1]; factor (B,): 0 flat grey, 1 unchanged."""
    mean = (image.mean(dim=(2, 3)) * image.new_tensor(LUMA)).sum(dim=1)
    return image.mul_(_spread(factor)).add_(_spread((1 - factor) * mean)).clamp_(0, 1)


def saturation_(image: Tensor, factor: Tensor) -> Tensor:
    """Away from each pixel's luminance, clamped to [0, 1]; factor (B,): 0 grey, 1 unchanged."""
    return image.lerp_(luminance(image), _spread(1 - factor)).clamp_(0, 1)


def luminance(image: Tensor) -> Tensor:
    """(B, 1, H, W)."""
    red, green, blue = image.split(1, dim=1)
    return (red * LUMA[0]).add_(green, alpha=LUMA[1]).add_(blue, alpha=LUMA[2])


def hue_(image: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (B,) in turns, [-0.5, 0.5]; the greatest and least channel stay (HSV, as torchvision).

    Thirds of a turn permute the channels. What is left, t in [-1, 1] sixths, has a closed form without an angle: the
    channel before (for t >= 0; after, for t < 0) tells on which flank of its trapezoid a channel is, so

        red' = clamp(red - green + (2 t - 1) blue + (1 - t) (max + min), min, max)    for t >= 0

    and so on round the circle; for t < 0 green and blue change places and t its sign. With hue h in sixths and chroma
    1, red is 1 - max(0, min(|h| - 1, 1)) and red - green is 1 - h on [0, 2], h - 4 on [3, 5]: on both flanks that
    turning forward can reach the argument of the clamp is the line, elsewhere it is outside.
    """
    thirds = torch.round(3 * shift)
    t = 6 * shift - 2 * thirds
    if thirds.any():
        source = (torch.arange(3, device=image.device) - thirds.long()[:, None]) % 3  # (B, 3)
        image.copy_(image.gather(1, source[:, :, None, None].expand_as(image)))
    high, low = image.amax(dim=1), image.amin(dim=1)  # (B, H, W)
    common = image.sum(dim=1).addcmul_(high + low, (1 - t.abs())[:, None, None])
    after, before = ((2 * (side * t).clamp(min=0) - 2)[:, None, None] for side in (-1, 1))
    turned = torch.empty_like(image)
    for channel in range(3):
        torch.addcmul(common, image[:, (channel + 1) % 3], after, out=turned[:, channel])
        turned[:, channel].addcmul_(image[:, (channel + 2) % 3], before)
    return torch.clamp(turned, low[:, None], high[:, None], out=image)


def blur_(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with standard deviation `sigma` (B,) in pixels, > 0.

    Columns, then rows; weights reach to 3 sigma, and those that fall outside the image are dealt to the pixels inside.
    """
    radius = torch.ceil(3 * sigma)
    reach = int(radius.max())
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


def finish(
    image: Tensor,
    parameters: Tensor,
    jitter: tuple[float, float, float, float],
    normalise: Callable[[Tensor], Tensor],
) -> Tensor:
    """uint8 (B, 3, H, W) and recorded parameters (B, P) to float32, normalised (in place), channels last.

    Each operation works on the samples that want it. `jitter` are the greatest deviations (brightness, contrast,
    saturation, hue): a recorded 1 means that deviation.
    """
    column: dict[str, Tensor] = dict(zip(PARAMETERS, parameters.unbind(dim=1), strict=True))
    chunk = max(1, CHUNK // image[0].numel())
    if image.device.type != "cpu" or chunk >= len(image):
        values = normalise(_operate(image.float().div_(255), column, jitter))
        return values.contiguous(memory_format=torch.channels_last)
    made = torch.empty(image.shape, memory_format=torch.channels_last)
    # Neighbours want the same operations and like blurs, so that a part of a chunk is a slice and needs no copy
    jittered = parameters[:, 4:8].ne(0).any(dim=1)
    order = torch.argsort(torch.where(jittered, 4 - column["blur"], column["blur"]), stable=True)
    for rows in order.split(chunk):
        values = image.index_select(0, rows).float().div_(255)
        values = normalise(_operate(values, {name: value[rows] for name, value in column.items()}, jitter))
        for row, value in zip(rows.tolist(), values, strict=True):
            made[row] = value
    return made


def _operate(image: Tensor, column: dict[str, Tensor], jitter: tuple[float, float, float, float]) -> Tensor:
    """All operations in their order, in place."""
    for name, operation, strength, neutral in (
        ("brightness", brightness_, jitter[0], 1.0),
        ("contrast", contrast_, jitter[1], 1.0),
        ("saturation", saturation_, jitter[2], 1.0),
        ("hue", hue_, jitter[3], 0.0),
        ("blur", blur_, 2.0, 0.0),
        ("grey", saturation_, -1.0, 1.0),
    ):
        _where(image, operation, strength * column[name], neutral)
    return image


def _where(image: Tensor, operation: Callable[[Tensor, Tensor], Tensor], deviation: Tensor, neutral: float) -> None:
    """The operation, in place, where its deviation (B,) from the neutral parameter is not 0."""
    wanted = deviation.nonzero(as_tuple=True)[0]
    if len(wanted) == 0:
        return
    first, last = int(wanted[0]), int(wanted[-1])
    if last - first + 1 == len(wanted):
        operation(image[first : last + 1], deviation[first : last + 1] + neutral)
    else:
        image[wanted] = operation(image[wanted], deviation[wanted] + neutral)


def _spread(factor: Tensor) -> Tensor:
    return factor[:, None, None, None]
