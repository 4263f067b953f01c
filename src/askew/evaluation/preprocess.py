"""A model's own preprocessing, with the memory of long images bounded and every number kept.

open_clip resizes the shorter side to the model's size and then crops the centre. A picture of 1 x 20,000 pixels becomes
one of 224 x 4,480,000, and 99.995 % of it is thrown away. Where the whole would be large, `Trimmed` computes only the
rows or columns that the crop keeps, by Pillow's own arithmetic: the result is the same to the last bit.
"""

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from open_clip.transform import ResizeKeepRatio
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

from askew.errors import Unusable

WHOLE = 16_000_000  # pixels of 4 bytes; a picture that becomes larger than this on the way is trimmed
LARGEST = 250_000_000  # the same for a picture that cannot be trimmed: above it is refused
BITS = 22  # of the fraction of Pillow's integer weights for 8-bit pixels


class Trimmed:
    """A preprocessing with the same results, and the same `repr`: features that were cached without it stay valid.

    Attributes:
        inner: open_clip's preprocessing, or any function of an RGB image.
    """

    def __init__(self, inner: Callable[[Image.Image], Tensor]):
        self.inner = inner

    def __repr__(self) -> str:
        return repr(self.inner)

    def __call__(self, image: Image.Image) -> Tensor:
        """The preprocessed image.

        Raises:
            Unusable: the image is so long and thin that a side is left without a pixel, or, if the preprocessing does
                not crop, that resizing it needs more than a gigabyte.
        """
        steps: Any = getattr(self.inner, "transforms", ())
        size = resized_size(steps[0], image) if steps else None
        if size is None:
            return self.inner(image)
        width, height = size
        if min(size) < 1:
            raise _too_long(image, f"this model's preprocessing makes {width}x{height} of them")
        needed = width * max(height, image.height)
        if needed <= WHOLE:
            return self.inner(image)
        crop = steps[1].size if len(steps) > 1 and isinstance(steps[1], CenterCrop) else None
        kept = _kept(size, (crop[1], crop[0])) if crop is not None and image.mode == "RGB" else None
        if kept is None and needed <= LARGEST:
            return self.inner(image)
        if kept is None:
            raise _too_long(image, "this model's preprocessing does not crop them and would need gigabytes")
        shown = resized_part(image, size, kept, _resampling(steps[0]))
        for step in steps[2:]:
            shown = step(shown)
        return shown  # type: ignore[return-value]


def _too_long(image: Image.Image, why: str) -> Unusable:
    return Unusable(f"{image.width}x{image.height} pixels are too long and thin: {why}; crop the image", "too thin")


def resized_size(step: Any, image: Image.Image) -> tuple[int, int] | None:
    """Width and height that a resizing step gives an image; None if it is none that open_clip makes."""
    width, height = image.size
    if isinstance(step, ResizeKeepRatio):
        rows, columns = step.get_params(image, step.size, step.longest)
        return columns, rows
    if not isinstance(step, Resize) or step.max_size is not None:
        return None
    wanted = (step.size,) if isinstance(step.size, int) else tuple(step.size)
    if len(wanted) == 2:
        return wanted[1], wanted[0]
    short, long = min(width, height), max(width, height)
    scaled = int(wanted[0] * long / short)  # torchvision's rule
    return (wanted[0], scaled) if width <= height else (scaled, wanted[0])


def _resampling(step: Any) -> Image.Resampling:
    names = {InterpolationMode.BICUBIC: Image.Resampling.BICUBIC, InterpolationMode.BILINEAR: Image.Resampling.BILINEAR}
    return names[step.interpolation]


def _kept(size: tuple[int, int], crop: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The centre crop (left, top, width, height), as torchvision rounds it; None if it would pad, or cut both sides."""
    if crop[0] > size[0] or crop[1] > size[1] or (crop[0] < size[0] and crop[1] < size[1]):
        return None
    left, top = (round((whole - part) / 2.0) for whole, part in zip(size, crop, strict=True))
    return left, top, *crop


def resized_part(
    image: Image.Image, size: tuple[int, int], kept: tuple[int, int, int, int], resampling: Image.Resampling
) -> Image.Image:
    """What `image.resize(size, resampling).crop(...)` gives, without the rest: the same bytes.

    Pillow resizes in one direction, rounds to 8 bits, and resizes in the other. The direction that is cropped is done
    here, and the other one by Pillow, in Pillow's order.

    Args:
        image: RGB.
        kept: left, top, width and height of the part, which has the whole width or the whole height of `size`.
    """
    left, top, width, height = kept
    tall = width == size[0]
    if tall:
        first, weights = _weights(image.height, size[1], top, height, resampling)
    else:
        first, weights = _weights(image.width, size[0], left, width, resampling)
    last = first + weights.shape[1]
    columns_first = _columns_first(image.size, size)
    image = image.crop((0, first, image.width, last) if tall else (first, 0, last, image.height))
    if columns_first == tall:
        image = _weighted(image, weights, tall)
        return image.resize((width, height), resampling)
    image = image.resize((width, image.height) if tall else (image.width, height), resampling)
    return _weighted(image, weights, tall)


def _columns_first(old: tuple[int, int], new: tuple[int, int]) -> bool:
    """Whether Pillow resizes along the columns before it does along the rows: never, until Pillow 13.

    Its rule since then was found by trying sizes. tests/evaluation/test_preprocess.py holds it against the Pillow that
    is installed.
    """
    fewer_columns, fewer_rows = old[0] - new[0], old[1] - new[1]
    return _chooses_the_order() and fewer_rows > max(0, 2 * fewer_columns)


@cache
def _chooses_the_order() -> bool:
    """Whether this Pillow has a rule for the order, by a picture for which that changes some pixels."""
    image = Image.fromarray((np.arange(42 * 100 * 3) * 7919 % 251).astype(np.uint8).reshape(100, 42, 3))
    bicubic = Image.Resampling.BICUBIC
    rows_first = image.resize((17, 100), bicubic).resize((17, 40), bicubic)
    return image.resize((17, 40), bicubic).tobytes() != rows_first.tobytes()


def _weighted(image: Image.Image, weights: np.ndarray, rows: bool) -> Image.Image:
    """Rows, or else columns, that are weighted sums: weights (n, N) of the N of the image give n.

    Sums of integers below 2^53 are exact in float64.
    """
    lines = np.asarray(image)
    lines = lines if rows else lines.transpose(1, 0, 2)
    sums = weights @ lines.reshape(len(lines), -1).astype(np.float64)
    rounded = (sums.astype(np.int64) + (1 << (BITS - 1))) >> BITS
    made = rounded.clip(0, 255).astype(np.uint8).reshape(len(weights), *lines.shape[1:])
    return Image.fromarray(made if rows else np.ascontiguousarray(made.transpose(1, 0, 2)))


def _weights(
    length: int, resized: int, start: int, number: int, resampling: Image.Resampling
) -> tuple[int, np.ndarray]:
    """The first line needed, and the weights (number, lines) of lines start .. start + number - 1 of the resized image.

    As `precompute_coeffs` and `normalize_coeffs_8bpc` of Pillow's Resample.c compute them, in the same order.
    """
    curve, reach = {
        Image.Resampling.BICUBIC: (_cubic, 2.0),
        Image.Resampling.BILINEAR: (_triangle, 1.0),
    }[resampling]
    scale = float(np.float32(length)) / resized
    spread = max(scale, 1.0)
    support = reach * spread
    lines = []
    for place in range(start, start + number):
        centre = (place + 0.5) * scale
        first = max(int(centre - support + 0.5), 0)
        last = min(int(centre + support + 0.5), length)
        found = [curve((line - centre + 0.5) * (1.0 / spread)) for line in range(first, last)]
        total = 0.0
        for weight in found:
            total += weight
        lines.append((first, [int(math.copysign(0.5, w) + w * (1 << BITS)) for w in (v / total for v in found)]))
    first = min(one for one, _ in lines)
    weights = np.zeros((number, max(one + len(found) for one, found in lines) - first))
    for row, (one, found) in enumerate(lines):
        weights[row, one - first : one - first + len(found)] = found
    return first, weights


def _cubic(x: float) -> float:
    """Keys' cubic with a = -0.5."""
    x = abs(x)
    if x < 1.0:
        return ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * -0.5 if x < 2.0 else 0.0


def _triangle(x: float) -> float:
    return max(1.0 - abs(x), 0.0)
