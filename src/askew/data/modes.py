"""From the pixels that Pillow can give to 8-bit RGB: one rule for each mode. docs/sources.md has the table.

Whatever no rule covers is refused by name: pixels are never clipped, wrapped or made black in silence.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from askew.errors import Unusable

PLAIN = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "LAB")  # without transparency, Pillow's own conversion is right
CLEAR = ("LA", "PA", "RGBA", "La", "RGBa")  # with an alpha channel; the last two are premultiplied by it
STRIP = 2**20  # pixels that are converted at once, so that a large image needs little besides itself and its result
BITS, PHOTOMETRIC, SAMPLE_FORMAT, LEAST, LARGEST = 258, 262, 339, 340, 341  # TIFF tags; the last two state a range
UNSIGNED, SIGNED = 1, 2  # values of SAMPLE_FORMAT
REMEDY, RANGE = "save it as 8-bit RGB or gray", "unsupported pixel range"


@dataclass(frozen=True)
class Levels:
    """What the numbers of a picture with one channel mean.

    Attributes:
        what: the numbers in words, for messages.
        low, high: black and white; None if the file does not say.
        bits: of an unsigned integer whose whole range is used; 0 otherwise.
        dtype: how the memory of a pixel is to be read; "" as it is.
        inverted: whether the lowest number is white.
        clear: the number that is transparent, if any.
    """

    what: str
    low: float | None
    high: float | None
    bits: int = 0
    dtype: str = ""
    inverted: bool = False
    clear: int | None = None


def to_rgb(image: Image.Image) -> Image.Image:
    """The RGB picture, decoded, with white behind transparent pixels and where an animation's first frame has none.

    Raises:
        Unusable: no rule covers the mode, or the range of the numbers. Pillow's own errors pass through.
    """
    tiles = getattr(image, "tile", None)
    frame = tiles[0][1] if image.format == "GIF" and tiles else None
    levels = levels_of(image)
    image.load()
    if levels is not None:
        shown = _by_strips(image, lambda strip: _gray(strip, levels), "L").convert("RGB")
    elif image.mode in CLEAR or (image.mode in PLAIN and "transparency" in image.info):
        shown = image.convert("RGB") if _forgotten_alpha(image) else _by_strips(image, _on_white, "RGB")
    elif image.mode in PLAIN:
        shown = image.convert("RGB")
    else:
        raise Unusable(f"pixels of Pillow's mode {image.mode} have no rule; {REMEDY}", "unsupported pixel format")
    if frame is not None and tuple(frame) != (0, 0, *image.size):
        white = Image.new("RGB", image.size, "white")
        white.paste(shown.crop(frame), frame)
        return white
    return shown


def levels_of(image: Image.Image) -> Levels | None:
    """What the numbers of a picture of more than 8 bits, or of signed ones, mean; None for all others.

    Integers have the range of their type, unless the file states another one. That of 32-bit and of signed integers is
    never what a picture uses, so these need a stated one. Floats are in [0, 1], or in a stated range.
    """
    if image.format == "TIFF":
        return _tiff_levels(image)
    if image.mode == "F":  # PFM
        scale = image.info.get("scale", 1.0)
        if scale != 1:  # some programs multiply by it, and others divide
            raise Unusable(f"32-bit floats with a scale of {scale:g}, and only 1 is clear; {REMEDY}", RANGE)
        return Levels("32-bit floats", 0.0, 1.0)
    if image.mode == "I" or image.mode.startswith("I;16"):  # Pillow scales every PGM of more than 8 bits to 16
        clear = image.info.get("transparency")
        return Levels("16-bit integers", 0, 65535, bits=16, clear=clear if isinstance(clear, int) else None)
    return None


def _tiff_levels(image: Image.Image) -> Levels | None:
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, form = _first(tags.get(BITS, 1)), _first(tags.get(SAMPLE_FORMAT, UNSIGNED))
    signed = form == SIGNED
    if not (image.mode in ("I", "F") or image.mode.startswith("I;16") or (image.mode == "L" and signed)):
        return None
    low, high = (None if tags.get(tag) is None else float(_first(tags[tag])) for tag in (LEAST, LARGEST))
    inverted = tags.get(PHOTOMETRIC) == 0 and image.mode != "L"
    if image.mode == "F":
        if low is None and high is None:
            low, high = 0.0, 1.0
        return Levels("32-bit floats", low, high, inverted=inverted)
    what = f"{'signed ' if signed else ''}{bits}-bit integers"
    if signed or bits > 16:
        kind = {"L": "int8", "I": "int32" if signed else "uint32"}[image.mode]
        return Levels(what, low, high, dtype=kind, inverted=inverted)
    whole = low in (None, 0) and high in (None, 2**bits - 1)
    high = 2**bits - 1 if high is None else high
    return Levels(what, low or 0.0, high, bits=bits if whole else 0, inverted=inverted)


def _first(value: object) -> int:
    return value[0] if isinstance(value, tuple) else value  # type: ignore[return-value]


def _gray(strip: Image.Image, levels: Levels) -> Image.Image:
    """One 8-bit channel."""
    numbers = np.asarray(strip)
    if levels.dtype:
        numbers = np.ascontiguousarray(numbers).view(levels.dtype)
    if levels.bits:
        shown = (numbers >> (levels.bits - 8)).astype(np.uint8)
    else:
        shown = _scaled(numbers, levels)
    if levels.inverted:
        shown = 255 - shown
    if levels.clear is not None:
        shown = np.where(numbers == levels.clear, np.uint8(255), shown)
    return Image.fromarray(shown)


def _scaled(numbers: np.ndarray, levels: Levels) -> np.ndarray:
    """Rounded to 0..255 between black and white."""
    low, high = levels.low, levels.high
    if low is None or high is None or not low < high or not np.isfinite([low, high]).all():
        says = "which the file does not state" if low is None or high is None else f"not from {low:g} to {high:g}"
        message = f"{levels.what} need a range from black to white, {says}"
        raise Unusable(f"{message}; set SMinSampleValue and SMaxSampleValue, or {REMEDY}", RANGE)
    part = np.rint((numbers.astype(np.float64) - low) * (255 / (high - low)))
    if not ((part >= 0) & (part <= 255)).all():  # also where a number is none
        least, most = (f"{bound(numbers):g}" for bound in (np.nanmin, np.nanmax))
        if np.isnan(numbers).any():
            most += " with NaN"
        message = f"{levels.what} from {least} to {most} leave the range from black to white, {low:g} to {high:g}"
        raise Unusable(f"{message}; {REMEDY}", RANGE)
    return part.astype(np.uint8)


def _on_white(strip: Image.Image) -> Image.Image:
    if strip.mode in ("La", "RGBa"):
        strip = strip.convert(strip.mode.upper())
    strip = strip.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", strip.size, "white"), strip).convert("RGB")


def _forgotten_alpha(image: Image.Image) -> bool:
    """Whether a BMP's alpha is 0 everywhere: its writer left the byte empty, and browsers show the picture."""
    return image.format == "BMP" and image.mode == "RGBA" and image.getchannel("A").getbbox() is None


def _by_strips(image: Image.Image, convert: Callable[[Image.Image], Image.Image], mode: str) -> Image.Image:
    """`convert` applied to STRIP pixels at a time."""
    rows = max(1, STRIP // image.width)
    if rows >= image.height:
        return convert(image)
    made = Image.new(mode, image.size)
    for top in range(0, image.height, rows):
        made.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return made
