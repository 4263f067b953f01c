"""Decoding, once per sample: colour, orientation and safe sizes. Large JPEGs are scaled down while decoding."""

import io
import logging
import math
import re
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from askew.data.containers import SIGNATURE, formats, png_picture, repair, unidentified
from askew.data.modes import to_rgb
from askew.data.quiet import ignore_pillow_warnings
from askew.errors import Unusable

SHRINKS = (8, 4, 2)  # scales 1/s at which libjpeg decodes a JPEG faster than in full
ORIENTATION = 0x0112  # EXIF tag, 1 to 8
FAULTS = (  # what Pillow's readers raise on bad files
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)
logging.getLogger("PIL").addHandler(logging.NullHandler())  # every worker would print Pillow's remarks on bad files
MIN_BYTES = 256 * 2**20  # of an encoded image, the limit is no lower than this


@dataclass(frozen=True)
class PixelLimit:
    """How large an image may be. An image that declares more pixels is refused before any of them is decoded.

    Attributes:
        megapixels: millions of pixels.
        remedy: how the user raises it, with {} for the number; a part of messages.
    """

    megapixels: float = 64
    remedy: str = "data.max_megapixels={}"

    @property
    def pixels(self) -> int:
        """The largest number of pixels."""
        return int(self.megapixels * 1e6)

    @property
    def bytes(self) -> int:
        """The largest encoded image: the uncompressed size of that many pixels, and no less than MIN_BYTES."""
        return max(MIN_BYTES, 4 * self.pixels)

    def apply(self) -> None:
        """Make it the limit of this process. Pillow gets it too: some readers look into containers themselves."""
        global _limit
        _limit = self
        Image.MAX_IMAGE_PIXELS = self.pixels  # Pillow warns above this size and raises above twice this size

    def exceeded(self, size: str, pixels: int) -> Unusable:
        """The fault of an image of that many pixels."""
        needed = math.ceil(pixels / 1e6)
        message = f"{size} pixels are over the limit of {self.pixels:,}; raise it with {self.remedy.format(needed)}"
        return Unusable(message, "too many pixels")


_limit = PixelLimit()
_limit.apply()


def pixel_limit() -> PixelLimit:
    """The limit of this process."""
    return _limit


class Picture:
    """An image whose size is known and whose pixels are decoded on demand; upright, as a viewer shows it.

    Attributes:
        width, height: of the whole image, after its orientation tag is applied.
        scalable: whether `pixels` can give a smaller size (a JPEG).
    """

    def __init__(self, data: bytes):
        """Raises Unusable if the image is empty, of no known format, or over the limit of bytes or pixels."""
        image = _open(data)
        self.width, self.height = image.size
        self._orientation = _orientation(image)
        if self._orientation > 4:
            self.width, self.height = image.height, image.width
        self.scalable = image.format in ("JPEG", "MPO")
        self._image: Image.Image | None = image
        self._kept: Tensor | None = None

    def pixels(self, shrink: int = 1) -> Tensor:
        """(4, ceil(H / shrink), ceil(W / shrink)) uint8: red, green, blue and a meaningless byte. Do not change it.

        Transparent pixels show white. `shrink` is 1, or, if scalable, one of SHRINKS: then each pixel covers shrink x
        shrink pixels of the whole image. A picture can be decoded only once.

        Raises:
            Unusable: truncated or otherwise damaged.
        """
        if self._kept is not None:
            assert shrink == 1, "a kept picture is whole"
            return self._kept
        assert self._image is not None, "decoded before; keep() a picture that is needed again"
        assert shrink == 1 or self.scalable, "only a JPEG is decoded at another size"
        image, self._image = self._image, None
        if shrink > 1:
            image.draft(None, (image.width // shrink, image.height // shrink))
        shown = decoded(image)
        del image  # a large one takes as much memory as what it was converted to
        return _upright(_tensor(shown), self._orientation)

    @property
    def nbytes(self) -> int:
        """The size in bytes of the whole image's pixels."""
        return 4 * self.width * self.height

    def keep(self) -> int:
        """Decode the whole image now and hold its pixels; returns their size in bytes."""
        self._kept = self.pixels()
        return self.nbytes


def decode(data: bytes) -> Image.Image:
    """The whole RGB image from encoded bytes, for evaluation: the same pixels as `Picture` has, except for turning.

    Transparent pixels show white, an animation gives its first frame, and docs/sources.md has the rule of every mode.
    A camera's orientation tag is ignored, as by open_clip's preprocessing and the evaluations behind published numbers.

    Raises:
        Unusable: empty, truncated, of no known format, over the limit of bytes or pixels, or of pixels without a rule.
    """
    return decoded(_open(data))


def _open(data: bytes) -> Image.Image:
    """The image with its header read and no pixel decoded."""
    if not data:
        raise Unusable(cause="empty image", message="empty image")
    if len(data) > _limit.bytes:
        message = f"an image of {len(data):,} bytes is over the limit of {_limit.bytes:,}"
        raise Unusable(cause="too many bytes", message=message)
    exif = b""
    if data.startswith(SIGNATURE):
        data, exif = png_picture(data)
    try:
        ignore_pillow_warnings()
        image = Image.open(io.BytesIO(data), formats=formats())
        if image.width * image.height > _limit.pixels:
            raise _limit.exceeded(f"{image.width}x{image.height}", image.width * image.height)
        repair(image, data, _limit.pixels)
    except UnidentifiedImageError as error:
        raise unidentified(data) from error
    except FAULTS as error:
        raise _unusable(error) from error
    if exif:
        image.info["exif"] = exif
    return image


def decoded(image: Image.Image) -> Image.Image:
    """An image that Pillow has opened, in RGB by the same rules. The result shares no memory with it.

    Raises:
        Unusable: truncated or otherwise damaged, or of pixels without a rule.
    """
    try:
        ignore_pillow_warnings()
        return to_rgb(image)
    except FAULTS as error:
        raise _unusable(error) from error


def _tensor(image: Image.Image) -> Tensor:
    """(4, H, W) uint8 of a decoded RGB image: Pillow's own memory, with one unused byte per pixel, not a copy."""
    try:
        rows = torch.from_dlpack(pa.array(image).flatten())
    except ValueError:  # Pillow keeps images of 16 MB and more in several blocks
        pixels = np.empty((image.height, image.width, 4), dtype=np.uint8)
        step = max(1, 2**20 // image.width)
        for top in range(0, image.height, step):
            strip = image.crop((0, top, image.width, min(top + step, image.height)))
            pixels[top : top + step] = np.asarray(strip.convert("RGBX"))
        rows = torch.from_numpy(pixels)
    return rows.view(image.height, image.width, 4).permute(2, 0, 1)


def _unusable(error: Exception) -> Unusable:
    """The fault behind an exception that Pillow raised; one of ours stays as it is."""
    if isinstance(error, Unusable):
        return error
    message = str(error) or type(error).__name__
    if isinstance(error, Image.DecompressionBombError):
        found = re.search(r"(\d+) pixels", message)
        pixels = int(found[1]) if found else 2 * _limit.pixels
        return _limit.exceeded(f"{pixels:,}", pixels)
    if isinstance(error, EOFError) and "truncated" not in message:
        message = f"truncated: {message}"
    return Unusable(cause="truncated image" if "truncated" in message.lower() else "unreadable image", message=message)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) to 8; 1 if it is missing or invalid, and for TIFF, which Pillow turns."""
    if "exif" not in image.info or image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        exif.load(image.info["exif"])
        found = exif.get(ORIENTATION, 1)
    except Exception:  # EXIF blocks may hold anything; the pixels are not affected
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    """(C, H, W) turned upright: orientations 2 to 4 mirror and turn, 5 to 8 swap the sides first."""
    if orientation > 4:
        pixels = pixels.transpose(1, 2)
    sides = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return pixels.flip(sides) if sides else pixels
