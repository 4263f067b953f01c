"""What a user may give as images and texts, and what it means."""

import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from askew.data.files import home_path
from askew.data.images import decode, decoded
from askew.data.sources.base import read_file
from askew.errors import Unusable, UserError, printable

ImageInput = str | os.PathLike[str] | bytes | Image.Image | np.ndarray | Tensor
"""A path; the bytes of an image file; a Pillow image; an array (H, W, 3) of uint8; or a tensor (3, H, W), either of
uint8 or of floats in [0, 1]."""

T = TypeVar("T")
TOLERANCE = 0.01  # of the length of an embedding: one that was kept as bfloat16 is off by less
ACCEPTED = "give a path, bytes, a Pillow image, an array (H, W, 3) or a tensor (3, H, W)"


class ImageError(UserError):
    """An image that cannot be used.

    Attributes:
        index: its place among the images that were given, from 0.

    Examples:
        >>> try:
        ...     model.encode_images(["photos/1.jpg", b"no image"])
        ... except askew.ImageError as error:
        ...     print(error.index, error)
        1 images[1]: cannot identify the image: no known format
    """

    def __init__(self, message: str, index: int):
        super().__init__(message)
        self.index = index

    def __reduce__(self) -> tuple[type["ImageError"], tuple[str, int]]:
        """For pickle, which would call the class with the message alone."""
        return type(self), (str(self), self.index)


@dataclass(frozen=True)
class PendingImage:
    """An image that has been taken from the user, and waits for a thread.

    Attributes:
        rgb: reads and decodes what is not decoded yet. Raises OSError if that fails.
        nbytes: the memory that it holds meanwhile.
    """

    rgb: Callable[[], Image.Image]
    nbytes: int


def each(given: Iterable[T], what: str) -> Iterator[T]:
    """An iterator over several images or texts.

    Args:
        what: "images" or "texts", for messages.

    Raises:
        UserError: a single one, whose parts nobody means, or what is no collection at all.
    """
    image: Any = given
    single = isinstance(image, str | bytes | os.PathLike | Image.Image)
    if single or (isinstance(image, np.ndarray | Tensor) and image.ndim == 3):
        raise UserError(f"{what}: a single {type(given).__name__}; put it into a list, also if it is the only one")
    try:
        return iter(given)
    except TypeError as error:
        raise UserError(f"{what}: {_kind(given)} cannot be iterated over; give a list") from error


def each_text(given: Iterable[str], what: str = "texts") -> list[str]:
    """The texts, with the surrogates of undecodable bytes replaced, as in every source.

    Raises:
        UserError: a single string, or an item that is none.
    """
    texts = list(each(given, what))
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise UserError(f"{what}[{index}]: {_kind(text)} is no text; give strings")
    return [text.encode("utf-8", "replace").decode() for text in texts]


def given_embeddings(given: Any, width: int, what: str) -> np.ndarray | None:
    """Embeddings (n, D) that are given in place of images or texts, as float32; None if they are none.

    Args:
        width: D of the model.
        what: "images" or "texts", for messages.

    Raises:
        UserError: embeddings of another width, or not of unit length.
    """
    if not isinstance(given, np.ndarray | Tensor) or given.ndim != 2:
        return None
    if isinstance(given, Tensor):
        given = given.detach().cpu().float().numpy() if given.is_floating_point() else given.cpu().numpy()
    if given.dtype.kind != "f":
        return None
    if given.shape[1] != width:
        raise UserError(f"{what}: embeddings {_shape(given.shape)} of another model; this one makes (n, {width})")
    embeddings = given.astype(np.float32, copy=False)
    lengths = np.linalg.norm(embeddings, axis=1)
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= TOLERANCE))  # also where a number is none
    if len(wrong):
        found = f"{what}[{wrong[0]}]: an embedding of length {lengths[wrong[0]]:.3g}"
        raise UserError(f"{found}; give embeddings of unit length, as the model makes them")
    return embeddings


def setting(key: str, value: Any) -> Any:
    """A value of `overrides` as YAML would hold it: paths as texts, tuples as lists.

    Raises:
        UserError: it is none of these.
    """
    try:
        return json.loads(json.dumps(value, default=os.fspath))
    except TypeError as error:
        what = f"overrides[{key!r}]: {_kind(value)} is no setting"
        raise UserError(f"{what}; give numbers, texts, lists or mappings of these") from error


@contextmanager
def named(index: int, item: ImageInput) -> Iterator[None]:
    """Turn a fault of an image into one line that says which image it is.

    Raises:
        ImageError: in place of an OSError.
    """
    try:
        yield
    except OSError as error:
        path = f" ({printable(os.fspath(item), 400)})" if isinstance(item, str | os.PathLike) else ""
        reason = printable(error.strerror or str(error), 300)
        raise ImageError(f"images[{index}]{path}: {reason}", index) from error


def taken(item: ImageInput) -> PendingImage:
    """Take over an image. Arrays, tensors and Pillow images are copied: a generator may reuse their memory.

    Raises:
        Unusable: no image, or one that cannot be used. Files and bytes raise that later.
    """
    if isinstance(item, str | os.PathLike):
        return PendingImage(lambda: decode(_contents(item)), 0)
    if isinstance(item, bytes):
        return PendingImage(lambda: decode(item), len(item))
    if isinstance(item, Image.Image):
        _check_size(*item.size)
        image = decoded(item)
    elif isinstance(item, np.ndarray):
        image = _from_array(item)
    elif isinstance(item, Tensor):
        image = _from_tensor(item)
    else:
        raise Unusable(f"{_kind(item)} is no image; {ACCEPTED}", "not an image")
    return PendingImage(lambda: image, 4 * image.width * image.height)


def _contents(path: str | os.PathLike[str]) -> bytes:
    try:
        return read_file(home_path(path))
    except ValueError as error:  # no file can have this name
        raise Unusable(str(error), "not a path") from error


def _from_array(array: np.ndarray) -> Image.Image:
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        found = f"an array {_shape(array.shape)} of {array.dtype}"
        raise Unusable(f"{found} is no image; give (H, W, 3) of uint8", "wrong array")
    _check_size(array.shape[1], array.shape[0])
    return Image.fromarray(array)


def _from_tensor(tensor: Tensor) -> Image.Image:
    """Floats are rounded to 8 bits, of which preprocessing is made: k / 255 is k again."""
    floats = tensor.is_floating_point()
    if not (floats or tensor.dtype == torch.uint8) or tensor.ndim != 3 or tensor.shape[0] != 3:
        found = f"a tensor {_shape(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
        raise Unusable(f"{found} is no image; give (3, H, W), of uint8 or of floats in [0, 1]", "wrong tensor")
    _check_size(tensor.shape[2], tensor.shape[1])
    pixels = tensor.detach().cpu()
    if floats:
        low, high = pixels.min().item(), pixels.max().item()
        if not (low >= 0 and high <= 1):  # also where a number is none
            found = f"a tensor of floats from {low:g} to {high:g}"
            raise Unusable(f"{found}, and pixels are in [0, 1]; give them before they are normalized", "wrong range")
        pixels = pixels.float().mul(255).round().to(torch.uint8)
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())


def _check_size(width: int, height: int) -> None:
    if min(width, height) < 1:
        raise Unusable(f"{width}x{height} pixels are no image", "no pixels")


def _shape(shape: Iterable[int]) -> str:
    return f"({', '.join(map(str, shape))})"


def _kind(value: Any) -> str:
    return f"a value of type {type(value).__name__}"
