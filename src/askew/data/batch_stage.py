"""The batch stage of a view: colour, blur and normalisation of whole batches, on any device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from askew.data.operations import OPERATIONS, PARAMETERS, Bound
from askew.data.pixels import beside

CHUNK = 2**20  # values that a CPU works on at a time: what its caches hold; results do not depend on it
BLUR = PARAMETERS.index("blur")
JITTER = [place for place, operation in enumerate(OPERATIONS) if operation.probability == "jitter_probability"]


def finish(image: Tensor, parameters: Tensor, bound: Sequence[Bound], normalise: Callable[[Tensor], Tensor]) -> Tensor:
    """uint8 (B, 3, H, W) and recorded numbers (B, P) to float32, normalised, channels last.

    Each operation works only on the samples that it was drawn for. Which ones they are is read where the numbers are:
    if they are on the CPU, a GPU that has the images is not waited for. `normalise` works in place.
    """
    chunk = max(1, CHUNK // image[0].numel())
    if image.device.type != "cpu" or chunk >= len(image):
        values = normalise(_operate(image.float().div_(255), parameters, bound))
        return values.contiguous(memory_format=torch.channels_last)
    made = torch.empty(image.shape, memory_format=torch.channels_last)
    # Samples with the same operations and similar blurs become neighbours, so that a part of a chunk is a slice, not a
    # copy
    jittered, blur = parameters[:, JITTER].ne(0).any(dim=1), parameters[:, BLUR]
    order = torch.argsort(torch.where(jittered, 4 - blur, blur), stable=True)
    for rows in order.split(chunk):
        values = image.index_select(0, rows).float().div_(255)
        values = normalise(_operate(values, parameters[rows], bound))
        for row, value in zip(rows.tolist(), values, strict=True):
            made[row] = value
    return made


def _operate(image: Tensor, parameters: Tensor, bound: Sequence[Bound]) -> Tensor:
    """Every operation in its order, in place, on the samples whose recorded number is not that of an untouched one."""
    for (operation, _, strength), recorded in zip(bound, parameters.unbind(dim=1), strict=True):
        if operation.apply is None:
            continue
        wanted = recorded.ne(operation.untouched).nonzero(as_tuple=True)[0]
        if len(wanted) == 0:
            continue
        first, last = int(wanted[0]), int(wanted[-1]) + 1
        neighbours = last - first == len(wanted)  # a slice needs no copy
        rows = slice(first, last) if neighbours else beside(image, wanted)
        part, numbers = image[rows], recorded[first:last] if neighbours else recorded[wanted]
        if operation.origin:
            part.clamp_(0, 1)  # rounding in the operations before may have left values just outside
            numbers = beside(image, numbers)
        made = operation.apply(part, numbers, strength)
        if not neighbours:
            image[rows] = made
        elif made is not part:
            part.copy_(made)
    return image
