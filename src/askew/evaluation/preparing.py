"""A preprocessing in two parts: what is done to one image, by a thread, and what is done to a batch at once.

open_clip's preprocessing ends with ToTensor and Normalize. For small images these take more time than the encoder, and
all but a little of it goes into calling them. Done to a batch they give the same bits, and until then an image is a
quarter as large. Images that are stored as pixels, in the size that the model takes, need no first part at all.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import CenterCrop, Compose, Normalize, ToTensor

from askew.evaluation.datasets.base import Images
from askew.evaluation.preprocess import Trimmed, resized_size
from askew.evaluation.reading_ahead import problem_of

Preprocess = Callable[[Image.Image], Tensor]


class Preparation(Protocol):
    """Two parts that give, one after the other, what `preprocess` gives."""

    def one(self, images: Images, index: int) -> Tensor:
        """Read an image and do the first part. Raises what reading and preprocessing raise."""
        ...

    def picture(self, image: Image.Image) -> Tensor:
        """The first part, for an RGB image that is decoded. Raises what preprocessing raises."""
        ...

    def batch(self, made: Sequence[Tensor]) -> Tensor:
        """The second part: (n, 3, H, W) for the encoder."""
        ...


class Whole:
    """Any preprocessing, as it is."""

    def __init__(self, preprocess: Preprocess):
        self.preprocess = preprocess

    def one(self, images: Images, index: int) -> Tensor:
        """The preprocessed image."""
        return self.picture(images[index])

    def picture(self, image: Image.Image) -> Tensor:
        """The preprocessed image."""
        return self.preprocess(image)

    def batch(self, made: Sequence[Tensor]) -> Tensor:
        """The images stacked."""
        return torch.stack(list(made))


class Parted:
    """open_clip's preprocessing. The first part gives pixels (H, W, 3) uint8.

    Args:
        first: the steps before ToTensor.
        normalize: the last step.
    """

    def __init__(self, first: Trimmed, normalize: Normalize):
        self.first = first
        self.mean, self.std = (
            torch.as_tensor(values, dtype=torch.float32).view(1, -1, 1, 1) for values in (normalize.mean, normalize.std)
        )
        self._untouched: dict[tuple[int, int], bool] = {}

    def one(self, images: Images, index: int) -> Tensor:
        """Pixels of the image, resized and cropped."""
        pixels = getattr(images, "pixels", None)
        if pixels is not None:
            array = pixels(index)
            if self.leaves((array.shape[1], array.shape[0])):
                return torch.from_numpy(array)
        return self.picture(images[index])

    def picture(self, image: Image.Image) -> Tensor:
        """Pixels of the image, resized and cropped."""
        shown: Any = self.first(image)
        return torch.from_numpy(np.array(shown))

    def batch(self, made: Sequence[Tensor]) -> Tensor:
        """As ToTensor and Normalize: the same operations in the same order, on all pixels at once."""
        stacked = torch.stack(list(made)).permute(0, 3, 1, 2)
        values = stacked.to(torch.float32, memory_format=torch.contiguous_format)
        return values.div_(255).sub_(self.mean).div_(self.std)

    def leaves(self, size: tuple[int, int]) -> bool:
        """Whether the first part does nothing to an RGB image of this width and height."""
        if size not in self._untouched:
            steps = self.first.inner.transforms  # type: ignore[attr-defined]
            crops = [tuple(step.size) for step in steps if isinstance(step, CenterCrop)]
            blank = Image.new("RGB", size)
            resized = resized_size(steps[0], blank)
            self._untouched[size] = resized == size and crops in ([], [size[::-1]]) and _knows(steps)
        return self._untouched[size]


def prepared(images: Images, indices: Sequence[int], preparation: Preparation) -> list[tuple[Tensor | None, str]]:
    """Of each image the first part and "", or None and what is wrong with it."""
    return [_prepared(images, index, preparation) for index in indices]


def _prepared(images: Images, index: int, preparation: Preparation) -> tuple[Tensor | None, str]:
    try:
        return preparation.one(images, index), ""
    except OSError as error:
        return None, problem_of(images.keys[index], error.strerror or str(error))


def preparation_of(preprocess: Preprocess) -> Preparation:
    """The two parts of a preprocessing: `Parted` for open_clip's, `Whole` for any other."""
    steps = list(getattr(getattr(preprocess, "inner", None), "transforms", ()))
    if isinstance(preprocess, Trimmed) and len(steps) > 2:
        *first, to_tensor, normalize = steps
        converts = any(_converts(step) for step in first)
        if isinstance(to_tensor, ToTensor) and isinstance(normalize, Normalize) and converts:
            return Parted(Trimmed(Compose(first)), normalize)
    return Whole(preprocess)


def _converts(step: Any) -> bool:
    """Whether a step makes RGB of any image, so that there are three channels."""
    name = getattr(step, "__name__", type(step).__name__)
    return name in ("_convert_to_rgb", "MaybeConvertMode")


def _knows(steps: Sequence[Any]) -> bool:
    """Whether there is no step but resizing, cropping the centre, and making RGB."""
    return all(isinstance(step, CenterCrop) or _converts(step) for step in steps[1:])
