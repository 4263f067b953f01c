"""Log distances and penalties, the parts of log-ratio distillation.

The logarithm of a ratio of distances is a difference of log distances.

Letters: A anchors (rows, texts), C candidates (columns, images), D joint embedding, rho the penalty of a difference.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Float32
from torch import Tensor

Penalty = Callable[[Tensor], Tensor]


def log_distance(
    text: Float[Tensor, "A D"], image: Float[Tensor, "C D"], floor: float = 1e-3
) -> Float32[Tensor, "A C"]:
    """Log of the Euclidean distance between every text and every image, the quantity in Eq. (6), distance.

    Both inputs must have unit length: distance^2 = 2 - 2 cos holds only there, and no other form is computed.

        for i in texts, j in images:  out[i, j] = log(max(floor, sqrt(2 - 2 * dot(text[i], image[j]))))

    Natural logarithm, from log(floor) to log 2. No reduction. The gradient of a logarithm grows as 1 / distance: it is
    0 below `floor`, and at most about 1 / floor in the embeddings. In float32, rounding moves distance^2 by about 1e-7,
    so a floor far below 1e-3 would let rounding errors in. Raises AssertionError unless floor > 0.

    By hand: orthogonal unit vectors have distance sqrt(2), which gives log(2) / 2 = 0.3466. Equal vectors give
    log(floor).
    """
    assert floor > 0, f"floor must be positive, not {floor}"
    # Autocast would compute this product in bfloat16, where the error of 2 - 2 cos exceeds most differences.
    with torch.autocast(text.device.type, enabled=False):
        cosine = text.float() @ image.float().T  # (A, C)
    squared_distance = (2 - 2 * cosine).clamp(min=floor**2)
    return 0.5 * squared_distance.log()


def paired_log_distance(
    text: Float[Tensor, "A D"], image: Float[Tensor, "A D"], floor: float = 1e-3
) -> Float32[Tensor, " A"]:
    """The diagonal of `log_distance`, text i to image i, in O(A D). Same inputs, range, floor and errors.

        for i in pairs:  out[i] = log(max(floor, sqrt(2 - 2 * dot(text[i], image[i]))))

    By hand: orthogonal unit vectors have distance sqrt(2), which gives log(2) / 2 = 0.3466. Equal vectors give
    log(floor).
    """
    assert floor > 0, f"floor must be positive, not {floor}"
    cosine = (text.float() * image.float()).sum(dim=1)
    return 0.5 * (2 - 2 * cosine).clamp(min=floor**2).log()


def squared(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), squared: the square of each element. By hand: -3 gives 9."""
    return difference.float().square()


def absolute(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), absolute: the absolute value of each element. By hand: -3 gives 3."""
    return difference.float().abs()


def huber(difference: Float[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """The penalty rho of Eq. (6), huber: half the square up to 1, and the absolute value minus 1/2 beyond.

    Applied to each element. By hand: -3 gives 2.5, 0.5 gives 0.125.
    """
    size = difference.float().abs()
    return torch.where(size <= 1, 0.5 * size.square(), size - 0.5)


RHO: dict[str, Penalty] = {"squared": squared, "absolute": absolute, "huber": huber}
