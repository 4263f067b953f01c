"""Image operations of the batch stage: whole batches, on any device, driven by recorded parameters.

Images are float32 (B, 3, H, W) in [0, 1]. Each operation takes one parameter per sample, so a view is a function of
its parameters alone and looks the same wherever it is computed. The order is fixed (brightness, contrast, saturation,
hue, grey, blur), where torchvision draws the order of the first four; recorded in docs/deviations.md.
"""

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
LUMA = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale


def grey(image: Tensor) -> Tensor:
    """Luminance (B, 1, H, W)."""
    return (image * image.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)


def blend(image: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """factor x image + (1 - factor) x other, clamped to [0, 1]; factor (B,)."""
    return torch.lerp(other.expand_as(image), image, factor[:, None, None, None]).clamp_(0, 1)


def brightness(image: Tensor, factor: Tensor) -> Tensor:
    """factor x image: 0 black, 1 unchanged."""
    return (image * factor[:, None, None, None]).clamp_(0, 1)


def contrast(image: Tensor, factor: Tensor) -> Tensor:
    """Away from the mean luminance of each image: 0 flat grey, 1 unchanged."""
    return blend(image, grey(image).mean(dim=(2, 3), keepdim=True), factor)


def saturation(image: Tensor, factor: Tensor) -> Tensor:
    """Away from each pixel's luminance: 0 grey, 1 unchanged."""
    return blend(image, grey(image), factor)


def hue(image: Tensor, shift: Tensor) -> Tensor:
    """Turn the hue by `shift` (B,) in turns, [-0.5, 0.5]; value and saturation stay (HSV, as torchvision does)."""
    value, _ = image.max(dim=1)  # (B, H, W)
    chroma = value - image.min(dim=1).values
    red, green, blue = image.unbind(dim=1)
    scale = 1.0 / torch.where(chroma > 0, chroma, 1.0)
    angle = torch.where(
        value == red,
        (green - blue) * scale,
        torch.where(value == green, (blue - red) * scale + 2.0, (red - green) * scale + 4.0),
    )  # sixths of a turn, [-1, 5]
    angle = angle + 6.0 * shift[:, None, None]
    channels = []
    for offset in (5.0, 3.0, 1.0):  # red, green, blue of the closed form f(n) = v - c max(0, min(k, 4 - k, 1))
        k = torch.remainder(angle + offset, 6.0)
        channels.append(value - chroma * torch.minimum(k, 4.0 - k).clamp_(0, 1))
    return torch.stack(channels, dim=1)


def blur(image: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian blur with standard deviation `sigma` (B,) in pixels, > 0.

    Two matrix products with banded matrices: exact, and one kernel size for all sigmas. Weights that fall outside the
    image are dealt to the pixels inside.
    """
    return _gaussian(image.shape[2], sigma)[:, None] @ image @ _gaussian(image.shape[3], sigma)[:, None].mT


def _gaussian(size: int, sigma: Tensor) -> Tensor:
    position = torch.arange(size, device=sigma.device, dtype=sigma.dtype)
    distance = position[:, None] - position[None, :]
    weights = torch.exp(-0.5 * (distance / sigma[:, None, None]) ** 2)
    return weights / weights.sum(dim=-1, keepdim=True)


def apply(image: Tensor, parameters: Tensor, jitter: tuple[float, float, float, float]) -> Tensor:
    """Colour and blur of recorded parameters (B, P), each operation only on the samples that want it.

    `jitter` are the greatest deviations (brightness, contrast, saturation, hue): a recorded 1 means that deviation.
    """
    column: dict[str, Tensor] = dict(zip(PARAMETERS, parameters.unbind(dim=1), strict=True))
    for name, operation, strength in (
        ("brightness", brightness, jitter[0]),
        ("contrast", contrast, jitter[1]),
        ("saturation", saturation, jitter[2]),
    ):
        image = _where(column[name] != 0, image, operation, 1.0 + strength * column[name])
    image = _where(column["hue"] != 0, image, hue, jitter[3] * column["hue"])
    image = _where(column["grey"] != 0, image, saturation, torch.zeros_like(column["grey"]))
    return _where(column["blur"] != 0, image, blur, 2.0 * column["blur"])


def _where(wanted: Tensor, image: Tensor, operation, factor: Tensor) -> Tensor:
    index = wanted.nonzero(as_tuple=True)[0]
    if len(index) == 0:
        return image
    return image.index_copy(0, index, operation(image[index], factor[index]))
