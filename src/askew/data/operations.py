"""The table of image operations: what each is called, how it is drawn, recorded and applied.

A view of an image is a function of the numbers that were recorded for it, one column per entry of OPERATIONS. Their
names, the values of an untouched image, the order of the batch stage and the table in docs/views.md all come from here.
A new operation is one entry at the end (and its settings in config.ViewSettings and ImageView), or a custom one from
another module (`custom_operations`).

Crop and flip are geometry and belong to the sample stage (views.py). All others belong to the batch stage
(batch_stage.py), which applies them in the order of the table. torchvision draws the order of the four colour changes
anew for each image; docs/deviations.md says why it is fixed here. Grayscale before or after blur makes no difference,
since both are linear.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from math import inf
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from askew.data.pixels import blur_, brightness_, contrast_, hue_, saturation_
from askew.errors import RunFailed, UserError, imported, printable

Random = np.random.Generator
# Settings that are probabilities, in the order in which they are drawn: first, and together. An operation with another
# probability draws its chance just before its amount.
CHANCES = ("flip", "jitter_probability", "grayscale", "blur")


def once(rng: Random, strength: Any) -> float:
    """1: an operation that is applied or not, and always to the same degree."""
    return 1.0


def share_of_largest(rng: Random, largest: float) -> float:
    """A share of the largest change, in [-1, 1]; 0 if no change is allowed."""
    share = 2 * rng.random() - 1
    return share if largest > 0 else 0.0


def half_sigma(rng: Random, sigmas: tuple[float, float]) -> float:
    """Half of a standard deviation in pixels, drawn from a range."""
    smallest, largest = sigmas
    return (smallest + (largest - smallest) * rng.random()) / 2


@dataclass(frozen=True)
class Operation:
    """One operation, and its column of the recorded numbers.

    Attributes:
        name: of the column.
        description: one line: what the recorded number means.
        range: smallest and largest number that may be recorded.
        untouched: the number of an image that the operation leaves as it is; recorded unless the operation happens.
        probability: how often it happens: a setting of views (`config.ViewSettings`), or a number.
        strength: a setting of views (or one number of several: `jitter[2]`), or, of a custom operation, any value;
            `draw` and `apply` receive it.
        draw: (rng, strength) -> the number to record. Called once per view, whether the operation happens or not.
        apply: (image, recorded, strength) -> image: float32 (B, 3, H, W) in [0, 1] and recorded numbers (B,), none of
            them `untouched`. It may work in place, and treats each sample alone. Geometry has none.
        origin: `module:NAME` of a custom operation.
    """

    name: str
    description: str
    range: tuple[float, float] = (0.0, 1.0)
    untouched: float = 0.0
    probability: str | float = 1.0
    strength: Any = 1.0
    draw: Callable[[Random, Any], float] = once
    apply: Callable[[Tensor, Tensor, Any], Tensor] | None = None
    origin: str = ""

    def __reduce__(self) -> tuple[Callable, tuple]:
        """A custom operation travels to other processes by name, so that its functions may be of any kind."""
        if self.origin:
            return _imported, (self.origin, self.probability)
        return Operation, tuple(getattr(self, field.name) for field in fields(self))


def _brightness(image: Tensor, share: Tensor, largest: float) -> Tensor:
    return brightness_(image, largest * share + 1)


def _contrast(image: Tensor, share: Tensor, largest: float) -> Tensor:
    return contrast_(image, largest * share + 1)


def _saturation(image: Tensor, share: Tensor, largest: float) -> Tensor:
    return saturation_(image, largest * share + 1)


def _hue(image: Tensor, share: Tensor, largest: float) -> Tensor:
    return hue_(image, largest * share)


def _blur(image: Tensor, half: Tensor, sigmas: tuple[float, float]) -> Tensor:
    return blur_(image, 2 * half)


def _grayscale(image: Tensor, recorded: Tensor, strength: float) -> Tensor:
    return saturation_(image, 1 - recorded)


def _jitter(name: str, place: int, what: str, apply: Callable[[Tensor, Tensor, Any], Tensor]) -> Operation:
    """One of the four colour changes, which happen together."""
    description = f"change of {what}, as a share of the largest"
    return Operation(name, description, (-1, 1), 0, "jitter_probability", f"jitter[{place}]", share_of_largest, apply)


OPERATIONS = (
    Operation("crop_x", "left edge of the crop, as a share of the image's width", strength="scale"),
    Operation("crop_y", "top edge of the crop, as a share of the image's height", strength="scale"),
    Operation("crop_w", "width of the crop, as a share of the image's", untouched=1, strength="scale"),
    Operation("crop_h", "height of the crop, as a share of the image's", untouched=1, strength="scale"),
    _jitter("brightness", 0, "brightness, a factor", _brightness),
    _jitter("contrast", 1, "contrast, a factor", _contrast),
    _jitter("saturation", 2, "saturation, a factor", _saturation),
    _jitter("hue", 3, "hue, in turns", _hue),
    Operation(
        "blur", "half of the Gaussian's standard deviation in pixels", (0, inf), 0, "blur", "blur_sigma",
        half_sigma, _blur,
    ),
    Operation("flip", "1 if mirrored left to right", probability="flip"),
    Operation("grayscale", "1 if without colour", probability="grayscale", apply=_grayscale),
)  # fmt: skip
PARAMETERS = tuple(operation.name for operation in OPERATIONS)  # columns of the recorded numbers, (B, P = 11)
NUM_PARAMETERS = len(PARAMETERS)


def identity(custom: Sequence[Operation] = ()) -> tuple[float, ...]:
    """The recorded numbers of an untouched image: (P,), one per operation of the table and custom operation."""
    return tuple(float(operation.untouched) for operation in (*OPERATIONS, *custom))


IDENTITY = identity()


class Bound(NamedTuple):
    """An operation with the probability and the strength that it has in one view."""

    operation: Operation
    probability: float
    strength: Any


def bind(view: Any, custom: Sequence[Operation] = ()) -> tuple[Bound, ...]:
    """Every operation of a view, in the order of the recorded numbers; `view` has the settings as attributes."""

    def value(operation: Operation, setting: Any) -> Any:
        if operation.origin or not isinstance(setting, str):
            return setting
        name, _, place = setting.rstrip("]").partition("[")
        return getattr(view, name)[int(place)] if place else getattr(view, name)

    every = (*OPERATIONS, *custom)
    return tuple(Bound(one, value(one, one.probability), value(one, one.strength)) for one in every)


def draw(bound: Sequence[Bound], box: tuple[float, float, float, float], rng: Random) -> list[float]:
    """The P numbers to record for one view. `box` is x, y, w, h of the crop, as shares of the image, drawn before.

    The settings do not change how many random numbers are drawn: first all CHANCES, then the amounts, then chance and
    amount of each custom operation. So a custom operation changes no number of any other.

    Raises:
        RunFailed: a custom operation drew a number outside its range.
    """
    chances: dict[Any, float] = dict(zip(CHANCES, rng.random(len(CHANCES)).tolist(), strict=True))
    recorded: list[float] = [*box]
    for operation, probability, strength in bound[len(box) :]:
        chance = chances.get(operation.probability)
        if chance is None:
            chance = rng.random()
        number = operation.draw(rng, strength)
        if operation.origin and not operation.range[0] <= number <= operation.range[1]:
            raise RunFailed(f"views.operations: {_outside(operation, number)}")
        recorded.append(number if chance < probability else operation.untouched)
    return recorded


def custom_operations(settings: Mapping[str, float]) -> tuple[Operation, ...]:
    """The custom operations of `views.operations`, which maps `module:NAME` to a probability.

    Each is tried out once, on two small images.

    Raises:
        UserError: not an Operation, a name that exists already, a number outside the range, an `apply` that fails.
    """
    found: list[Operation] = []
    for origin, probability in settings.items():
        operation = _imported(origin, probability)
        where = f"views.operations: {printable(origin)}"
        if operation.name in (*PARAMETERS, *(other.name for other in found)):
            raise UserError(f"{where}: there is an operation {operation.name!r} already; give it another name")
        _try_out(operation, where)
        found.append(operation)
    return tuple(found)


def _imported(origin: str, probability: float) -> Operation:
    found = imported(origin, "views.operations")
    if not isinstance(found, Operation):
        kind = type(found).__name__
        raise UserError(
            f"views.operations: {printable(origin)}: {kind} found, askew.data.operations.Operation expected"
        )
    return replace(found, probability=probability, origin=origin)


def _outside(operation: Operation, number: float) -> str:
    low, high = operation.range
    return f"{printable(operation.origin)}: {number!r} is outside its range of {low:g} to {high:g}"


def _try_out(operation: Operation, where: str) -> None:
    low, high = operation.range
    if not low <= operation.untouched <= high:
        raise UserError(f"views.operations: {_outside(operation, operation.untouched)} (untouched)")
    if operation.apply is None:
        raise UserError(f"{where}: has no `apply`; see docs/views.md")
    rng, image = np.random.default_rng(0), torch.full((2, 3, 8, 8), 0.5)
    try:
        drawn = [float(operation.draw(rng, operation.strength)) for _ in range(100)]
        made = operation.apply(image, torch.tensor(drawn[:2]), operation.strength)
    except Exception as error:  # the functions are not ours: anything may happen in them
        raise UserError(f"{where}: {type(error).__name__}: {printable(str(error), 300)}") from error
    for number in drawn:
        if not low <= number <= high:
            raise UserError(f"views.operations: {_outside(operation, number)}; `draw` must keep to it")
    if not isinstance(made, Tensor) or made.shape != image.shape or made.dtype != image.dtype:
        raise UserError(f"{where}: `apply` must return images like those that it is given, float32 (B, 3, H, W)")
