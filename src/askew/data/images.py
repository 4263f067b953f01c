"""Decoding, once per sample: colour, orientation and size safety; large JPEGs scaled while they are decoded."""

import io
import struct
import warnings
import zlib

import numpy as np
import pyarrow as pa
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from askew.errors import Unusable

MAX_PIXELS = 64_000_000  # larger declared sizes are refused before a pixel is decoded
MAX_BYTES = 4 * MAX_PIXELS  # of an encoded image: what so many pixels take uncompressed
Image.MAX_IMAGE_PIXELS = MAX_PIXELS  # Pillow warns from here and raises from twice this size, also inside containers
# Not every format that Pillow knows: an icon hides images of any size, PostScript starts another program
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")
SHRINKS = (8, 4, 2)  # scales 1/s at which libjpeg decodes a JPEG for less than its whole price
ORIENTATION = 0x0112  # EXIF tag, 1 to 8
FAULTS = (  # what Pillow's readers raise on bad files
    *(OSError, EOFError, SyntaxError, ValueError, LookupError, TypeError, ArithmeticError, RuntimeError),
    *(struct.error, zlib.error, Image.DecompressionBombError),
)


class Picture:
    """An image whose size is known and whose pixels are decoded when they are asked for; upright, as a viewer shows it.

    Attributes:
        width, height: of the whole image, after its orientation tag.
        scalable: whether `pixels` may be asked for a smaller size (a JPEG).
    """

    def __init__(self, data: bytes):
        """Raises Unusable: empty, of no known format, or over MAX_BYTES or MAX_PIXELS."""
        image = _open(data)
        self.width, self.height = image.size
        self._orientation = _orientation(image)
        if self._orientation > 4:
            self.width, self.height = image.height, image.width
        self.scalable = image.format in ("JPEG", "MPO")
        self._image: Image.Image | None = image
        self._kept: Tensor | None = None

    def pixels(self, shrink: int = 1) -> Tensor:
        """(4, ceil(H / shrink), ceil(W / shrink)) uint8: red, green, blue and a byte of no meaning; not to be changed.

        Transparency is laid on white. `shrink` is 1, or of SHRINKS if scalable: a pixel then stands for shrink x
        shrink pixels of the whole image. A picture is decoded once.

        Raises:
            Unusable: truncated or otherwise broken.
        """
        if self._kept is not None:
            assert shrink == 1, "a kept picture is whole"
            return self._kept
        assert self._image is not None, "decoded before; keep() a picture that is needed again"
        assert shrink == 1 or self.scalable, "only a JPEG is decoded at another size"
        image, self._image = self._image, None
        if shrink > 1:
            image.draft(None, (image.width // shrink, image.height // shrink))
        return _upright(_tensor(_rgb(image)), self._orientation)

    @property
    def nbytes(self) -> int:
        """Of the pixels of the whole image."""
        return 4 * self.width * self.height

    def keep(self) -> int:
        """Decode the whole image now and hold its pixels; their size in bytes."""
        self._kept = self.pixels()
        return self.nbytes


def decode(data: bytes) -> Image.Image:
    """The whole RGB image from encoded bytes, for evaluation: transparency on white, the first frame of an animation.

    16-bit grey keeps its upper eight bits. A camera's orientation tag is left alone: so do open_clip's preprocessing
    and the evaluations that published numbers come from.

    Raises:
        Unusable: empty, truncated, of no known format, over MAX_BYTES or MAX_PIXELS.
    """
    return _rgb(_open(data))


def _open(data: bytes) -> Image.Image:
    """The header read, no pixel decoded."""
    if not data:
        raise Unusable(cause="empty image", message="empty image")
    if len(data) > MAX_BYTES:
        message = f"an image of {len(data):,} bytes is over the limit of {MAX_BYTES:,}"
        raise Unusable(cause="too many bytes", message=message)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's remarks on odd metadata would be printed by every worker
            image = Image.open(io.BytesIO(data), formats=_formats())
    except FAULTS as error:
        raise _unusable(error) from error
    if image.width * image.height > MAX_PIXELS:
        message = f"{image.width}x{image.height} pixels are over the limit of {MAX_PIXELS:,}"
        raise Unusable(cause="too many pixels", message=message)
    return image


def _rgb(image: Image.Image) -> Image.Image:
    """Decoded, laid on white, RGB."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PNG"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")  # 16-bit grey
            if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
                image = image.convert("RGBA")
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
            return image.convert("RGB")
    except FAULTS as error:
        raise _unusable(error) from error


def _tensor(image: Image.Image) -> Tensor:
    """(4, H, W) uint8 of a decoded RGB image: Pillow's own memory, a byte of each pixel unused, not a copy."""
    try:
        rows = torch.from_dlpack(pa.array(image).flatten())
    except ValueError:  # from 16 MB on Pillow keeps an image in several blocks
        rows = torch.from_numpy(np.array(image.convert("RGBX")))
    return rows.view(image.height, image.width, 4).permute(2, 0, 1)


def _unusable(error: Exception) -> Unusable:
    """The kind of fault behind what Pillow raised."""
    message = str(error) or type(error).__name__
    if isinstance(error, UnidentifiedImageError):
        return Unusable(cause="not an image", message="cannot identify the image: no known format")
    if isinstance(error, Image.DecompressionBombError):
        message = f"more than {2 * MAX_PIXELS:,} pixels are over the limit of {MAX_PIXELS:,}"
        return Unusable(cause="too many pixels", message=message)
    if isinstance(error, ValueError) and "too large" in message.lower():  # a PNG's compressed text or colour profile
        return Unusable(cause="too many bytes", message=message)
    if isinstance(error, EOFError) and "truncated" not in message:
        message = f"truncated: {message}"
    return Unusable(cause="truncated image" if "truncated" in message.lower() else "unreadable image", message=message)


def _formats() -> tuple[str, ...]:
    if "WEBP" not in Image.OPEN:
        Image.init()  # a tenth of a second, once
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF since Pillow 11.3


def _orientation(image: Image.Image) -> int:
    """1 (upright) to 8, of the EXIF block; 1 where there is none or it makes no sense. TIFF: Pillow turns it itself."""
    if "exif" not in image.info or image.format == "TIFF":
        return 1
    exif = Image.Exif()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exif.load(image.info["exif"])
            found = exif.get(ORIENTATION, 1)
    except Exception:  # EXIF blocks hold anything, and say nothing about the pixels
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def _upright(pixels: Tensor, orientation: int) -> Tensor:
    """(C, H, W) turned as the tag says: 2 to 4 mirror and turn, 5 to 8 swap the sides first."""
    if orientation > 4:
        pixels = pixels.transpose(1, 2)
    sides = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return pixels.flip(sides) if sides else pixels
