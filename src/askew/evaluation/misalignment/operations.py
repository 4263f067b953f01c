"""What each image operation does to the distance between an image and its caption.

The misalignment of a pair under an operation is a log-ratio as in Eq. (7): log( d(t, v') / d(t, v) ), in nats, with t
the caption, v the image and v' the same image after the operation. 0: nothing happens. Positive: they move apart.

Every operation is applied alone, to what the model sees of an image: the square that its preprocessing crops.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy.special import stdtrit
from torch import Tensor

from askew.data.operations import OPERATIONS, Operation
from askew.data.sources.base import stable_id
from askew.data.views import Normalise
from askew.evaluation.misalignment.pairs import log_distances

LEVEL = 0.95  # of intervals
CROPS = (0.9, 0.7, 0.5, 0.3, 0.1)  # shares of the area
SIGNED = (-1.0, -0.5, -0.25, 0.25, 0.5, 1.0)  # shares of the largest change
BLURS = (0.005, 0.01, 0.02, 0.04, 0.08)  # standard deviations, as shares of the side
LARGEST = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue": 0.5}  # change of a factor; hue: turns
NUM_STRENGTHS = 5  # of a custom operation
DRAWS = 1000  # of a custom operation without a finite range
STREAM = 7  # of the random places of crops


@dataclass(frozen=True)
class Condition:
    """One operation at one strength.

    Attributes:
        operation: its name.
        strength: the number on the axis of a figure; `unit` says what it is.
        unit: of the strength, for a reader.
        strongest: whether the words whose captions suffer are looked for at this strength.
        apply: (images, recorded numbers) -> images, float32 (B, 3, S, S) in [0, 1]; None for a crop.
        recorded: the number that is recorded for the operation at this strength.
        untouched: the strength at which nothing happens.
    """

    operation: str
    strength: float
    unit: str
    strongest: bool
    apply: Callable[[Tensor, Tensor], Tensor] | None = None
    recorded: float = 1.0
    untouched: float = 0.0


def conditions(custom: Sequence[Operation], side: int) -> tuple[Condition, ...]:
    """Every operation of the table at every strength, then the custom ones.

    Args:
        side: pixels per side of what the model sees; blurs are shares of it.
    """
    table = {operation.name: operation for operation in OPERATIONS}
    made = [Condition("crop", share, "share of the area", share == min(CROPS), untouched=1.0) for share in CROPS]
    for name, largest in LARGEST.items():
        unit = "turns" if name == "hue" else "change of the factor"
        shares = SIGNED[1:] if name == "hue" else SIGNED  # half a turn is the same in both directions
        strongest = {"brightness": -0.5, "contrast": -0.5}.get(name, 1.0)  # -1 leaves nothing to see
        made += [
            Condition(name, share * largest, unit, share == strongest, _bound(table[name], largest), share)
            for share in shares
        ]
    for share in BLURS:
        sigma = share * side
        made.append(
            Condition("blur", share, "share of the side", share == max(BLURS), _bound(table["blur"], None), sigma / 2)
        )
    made.append(Condition("flip", 1.0, "", True, lambda image, recorded: image.flip(3)))
    made.append(Condition("grayscale", 1.0, "", True, _bound(table["grayscale"], None)))
    return (*made, *(condition for operation in custom for condition in _of_custom(operation)))


def _bound(operation: Operation, strength: Any) -> Callable[[Tensor, Tensor], Tensor]:
    apply = operation.apply
    assert apply is not None, f"{operation.name} is geometry"
    return lambda image, recorded: apply(image, recorded, strength)


def _of_custom(operation: Operation) -> Iterator[Condition]:
    """Evenly from the untouched number to both ends of the range; quantiles of what is drawn where it has no end."""
    low, high = operation.range
    if np.isfinite([low, high]).all():
        ends = [end for end in (low, high) if end != operation.untouched]
        steps = NUM_STRENGTHS // len(ends) if ends else 0
        numbers = [np.linspace(operation.untouched, end, steps + 1)[1:] for end in ends]
        found = np.unique(np.concatenate(numbers)) if numbers else np.empty(0)
    else:
        rng = np.random.default_rng(0)
        drawn = [operation.draw(rng, operation.strength) for _ in range(DRAWS)]
        found = np.unique(np.quantile(drawn, np.linspace(0, 1, NUM_STRENGTHS)))
    found = found[found != operation.untouched]
    farthest = found[np.abs(found - operation.untouched).argmax()] if len(found) else 0
    for number in found:
        apply = _bound(operation, operation.strength)
        yield Condition(
            operation.name, float(number), "recorded number", bool(number == farthest), apply, float(number),
            float(operation.untouched),
        )  # fmt: skip


def crop_box(width: int, height: int, share: float, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of a square with `share` of the area of the central square, at a random place in it."""
    side = min(width, height)
    cut = max(1, round(side * share**0.5))
    left, top = (int(rng.integers(0, side - cut + 1)) for _ in range(2))
    left, top = left + (width - side) // 2, top + (height - side) // 2
    return left, top, left + cut, top + cut


class Operator:
    """Applies conditions to images and measures what they do.

    Args:
        preprocess: PIL image to normalised (3, S, S), as the model wants it.
        normalise: the last step of it.
        encode: normalised images (B, 3, S, S) to unit-length embeddings (B, D), one array for each model.
    """

    def __init__(
        self,
        preprocess: Callable[[Image.Image], Tensor],
        normalise: Normalise,
        encode: Callable[[Tensor], Sequence[np.ndarray]],
    ):
        self.preprocess, self.normalise, self.encode = preprocess, normalise, encode

    def misalignment(
        self, images: Sequence[Image.Image], keys: Sequence[str], text: np.ndarray, wanted: Sequence[Condition]
    ) -> np.ndarray:
        """log( d(t, v') / d(t, v) ) of every pair under every condition: (models, conditions, B), in nats.

        Args:
            images: B of them.
            keys: one of each image; the place of its crops depends on it alone.
            text: (B, D) embeddings of the captions, of unit length.
        """
        seen = torch.stack([self.preprocess(image) for image in images])
        before = [_own(text, made) for made in self.encode(seen)]
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.normalise.mean, self.normalise.std))
        pixels = (seen * std + mean).clamp_(0, 1)
        found = np.empty((len(before), len(wanted), len(images)), dtype=np.float32)
        for place, condition in enumerate(wanted):
            if condition.apply is None:
                changed = torch.stack([self._cropped(*pair, condition) for pair in zip(images, keys, strict=True)])
            else:
                numbers = torch.full((len(images),), condition.recorded)
                changed = self.normalise(condition.apply(pixels.clone(), numbers).clone())
            for model, made in enumerate(self.encode(changed)):
                found[model, place] = _own(text, made) - before[model]
        return found

    def _cropped(self, image: Image.Image, key: str, condition: Condition) -> Tensor:
        rng = np.random.default_rng([STREAM, stable_id(key), round(1000 * condition.strength)])
        return self.preprocess(image.crop(crop_box(*image.size, condition.strength, rng)))


def _own(text: np.ndarray, image: np.ndarray) -> np.ndarray:
    return log_distances(torch.from_numpy((text * image).sum(axis=1))).numpy()


def mean_with_interval(values: np.ndarray) -> tuple[float, float, float]:
    """The mean of independent values, and its 95 % interval by Student's t; infinite for fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, -np.inf, np.inf
    half = stdtrit(len(values) - 1, (1 + LEVEL) / 2) * np.std(values, ddof=1) / len(values) ** 0.5
    return mean, mean - float(half), mean + float(half)
