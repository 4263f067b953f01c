"""What Pillow's readers need help with: files that they misread, refuse without need, or cannot read at all."""

import importlib.util
import io
import zlib
from functools import cache

import numpy as np
from PIL import BmpImagePlugin, Image, ImagePalette, PngImagePlugin, TiffImagePlugin

from askew.data.modes import LARGEST, LEAST, RANGE, REMEDY
from askew.errors import Unusable

# Not every format that Pillow knows: icons hide images of any size, and PostScript runs another program
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Pillow names the order of the file's bytes, but libtiff has turned them into the machine's
NATIVE = {"F;32BF": "F;32NF", "I;16BS": "I;16NS", "I;32BS": "I;32NS"}
TILE_WIDTH, TILE_HEIGHT, PLANAR, SUBSAMPLING, REFERENCE = 322, 323, 284, 530, 532  # TIFF tags
UNSUPPORTED = "unsupported pixel format"


def formats() -> tuple[str, ...]:
    """The formats of FORMATS that can be read here: HEIF only with the extra `heic`."""
    if "WEBP" not in Image.OPEN:
        Image.init()  # a tenth of a second, once
    _register_heif()
    return tuple(name for name in FORMATS if name in Image.OPEN)


@cache
def _register_heif() -> None:
    if importlib.util.find_spec("pillow_heif") is not None:
        importlib.import_module("pillow_heif").register_heif_opener()


def png_picture(data: bytes) -> tuple[bytes, bytes]:
    """A PNG without the chunks that do not change its pixels, and its EXIF block.

    Pillow unpacks texts and colour profiles, and refuses a picture if they are large or damaged. It looks for the EXIF
    block in front of the pixels only. An animation loses its other frames.
    """
    view, exif, at = memoryview(data), b"", len(SIGNATURE)
    kept = [view[:at]]
    while at + 12 <= len(data):
        end = at + 12 + int.from_bytes(view[at : at + 4], "big")
        kind = bytes(view[at + 4 : at + 8])
        if end > len(data):
            break
        if kind[:1].isupper() or kind == b"tRNS":  # a capital letter marks what a reader must not leave out
            kept.append(view[at:end])
        elif kind == b"eXIf" and zlib.crc32(view[at + 4 : end - 4]) == int.from_bytes(view[end - 4 : end], "big"):
            exif = exif or b"Exif\0\0" + bytes(view[at + 8 : end - 4])
        at = end
        if kind == b"IEND":
            return b"".join(kept), exif
    return b"".join([*kept, view[at:]]), exif  # cut off: Pillow says where


def repair(image: Image.Image, data: bytes, limit: int) -> None:
    """Correct what Pillow misreads, of an image that is open and not yet decoded.

    Args:
        limit: the largest number of pixels.

    Raises:
        Unusable: it would be misread and cannot be corrected.
    """
    if isinstance(image, PngImagePlugin.PngImageFile):
        _repair_png(image)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        _repair_tiff(image, limit)
    elif isinstance(image, BmpImagePlugin.BmpImageFile):
        _repair_bmp(image, data)
    elif image.format == "WEBP" and getattr(image, "rawmode", "") == "RGBX" and getattr(image, "is_animated", False):
        image.rawmode, image._mode = "RGBA", "RGBA"  # type: ignore[attr-defined]  # clear where the first frame is not


def _repair_png(image: PngImagePlugin.PngImageFile) -> None:
    kind = image.tile[0].args if image.tile else ""
    if image.mode == "P" and image.palette is None:
        raise Unusable("a PNG with indexed colours and no palette", "unreadable image")
    clear = image.info.get("transparency")
    if clear is None:
        return
    if kind == "RGB;16B":
        raise Unusable(f"a 16-bit colour PNG with a transparent colour (tRNS); {REMEDY}", UNSUPPORTED)
    if kind in ("L;2", "L;4"):  # Pillow spreads the gray levels over 0..255, but not the transparent one
        bits = int(kind[-1])
        image.info["transparency"] = (clear & (2**bits - 1)) * (255 // (2**bits - 1))


def _repair_bmp(image: BmpImagePlugin.BmpImageFile, data: bytes) -> None:
    """Pillow takes a palette of grays for the grays themselves, but reads 4 or 8 bits per pixel as 1 or 8."""
    bits = int.from_bytes(data[28:30] if data[14] != 12 else data[24:26], "little")
    first = image.tile[0]
    if first.codec_name != "raw":
        return
    kind = first.args[0]  # type: ignore[index]
    if kind == "1" and bits == 8:
        image.tile = [first._replace(args=("1;8", *first.args[1:]))]  # type: ignore[index]
    elif (kind, bits) == ("1", 4) or (kind, bits) == ("L", 4):
        raise Unusable(f"a 4-bit BMP with a palette of grays; {REMEDY}", UNSUPPORTED)


def _repair_tiff(image: TiffImagePlugin.TiffImageFile, limit: int) -> None:
    tags = image.tag_v2
    width, height = tags.get(TILE_WIDTH, 0), tags.get(TILE_HEIGHT, 0)
    tile = width * height if isinstance(width, int) and isinstance(height, int) else 0
    if tile > limit:  # Pillow allocates a whole tile, however small the picture is
        raise Unusable(f"a TIFF in tiles of {tile:,} pixels, over the limit of {limit:,}", "too many pixels")
    kind = image.tile[0].args[0] if image.tile else ""  # type: ignore[index]
    packed = bool(image.tile) and image.tile[0].codec_name == "libtiff"
    if packed and kind in NATIVE:
        image.tile = [one._replace(args=(NATIVE[kind], *one.args[1:])) for one in image.tile]  # type: ignore[index]
    if tags.get(PLANAR) == 2:
        _check_planes(image, packed)
    if image.mode in ("RGB", "RGBA", "CMYK") and 16 in tags.get(TiffImagePlugin.BITSPERSAMPLE, ()):
        low, high = (np.ravel(tags.get(tag, whole)) for tag, whole in ((LEAST, 0), (LARGEST, 65535)))
        if (low != 0).any() or (high != 65535).any():  # Pillow has left only the upper eight bits
            raise Unusable(f"a TIFF of 16-bit colours with a stated range; {REMEDY}", RANGE)
    if image.mode == "YCbCr":
        _check_chroma(image)
    if image.mode in ("P", "PA"):
        colours = tags[TiffImagePlugin.COLORMAP]
        if max(colours) < 256:  # written as bytes by mistake, and black if read as 16 bits; libtiff has the same rule
            image.palette = ImagePalette.raw("RGB;L", bytes(colours))


def _check_planes(image: TiffImagePlugin.TiffImageFile, packed: bool) -> None:
    """Pillow reads a plane per channel by the channel's letter alone, as 8 bits that are not inverted."""
    tags, bands = image.tag_v2, len(image.getbands())
    depths = set(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)))
    plain = image.mode in ("RGB", "RGBA", "CMYK") and (packed or depths == {8})
    premultiplied = tags.get(TiffImagePlugin.EXTRASAMPLES) == (1,) and not packed
    single = bands == 1 and (
        packed or (image.mode, depths, tags.get(262), tags.get(266, 1)) in (("L", {8}, 1, 1), ("P", {8}, 3, 1))
    )
    if not single and (not plain or premultiplied):
        raise Unusable(f"a TIFF whose channels are stored apart, of mode {image.mode}; {REMEDY}", UNSUPPORTED)


def _check_chroma(image: TiffImagePlugin.TiffImageFile) -> None:
    """Pillow reads YCbCr that is not compressed as one colour per pixel, in the full range."""
    tags = image.tag_v2
    pixels, stored = image.width * image.height, sum(tags.get(TiffImagePlugin.STRIPBYTECOUNTS, ()))
    whole = tags[SUBSAMPLING] == (1, 1) if SUBSAMPLING in tags else stored == 3 * pixels
    if not whole:
        raise Unusable(f"a TIFF of YCbCr with fewer colours than pixels, not compressed; {REMEDY}", UNSUPPORTED)
    if REFERENCE in tags and [float(v) for v in tags[REFERENCE]] != [0, 255, 128, 255, 128, 255]:
        raise Unusable(f"a TIFF of YCbCr with a black and white of its own; {REMEDY}", RANGE)


def unidentified(data: bytes) -> Unusable:
    """Why an image is of no known format."""
    if data[4:8] == b"ftyp" and HEIC_BRANDS & _brands(data) and "HEIF" not in Image.OPEN:
        message = "a HEIC image: install its reader with pip install 'askew[heic]'"
        return Unusable(message, "HEIC without its reader")
    if data.startswith(tuple(TiffImagePlugin.PREFIXES)) and (found := _unread_tiff(data)):
        return Unusable(f"a TIFF of {found}, which Pillow cannot read; {REMEDY}", UNSUPPORTED)
    if data.startswith((b"PF\n", b"PF ", b"P7\n")):
        return Unusable(f"a colour PFM or a PAM, which Pillow cannot read; {REMEDY}", UNSUPPORTED)
    return Unusable("cannot identify the image: no known format", "not an image")


def _unread_tiff(data: bytes) -> str:
    """The kind of pixels of a TIFF in words, if that is why Pillow does not read it; otherwise ""."""
    try:
        TiffImagePlugin.TiffImageFile(io.BytesIO(data))
        return ""
    except SyntaxError as error:
        if str(error) not in ("unknown pixel mode", "unknown data organization", "Invalid value for samples per pixel"):
            return ""
    except Exception:  # of a damaged file; what is wrong with it is not known
        return ""
    tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if 43 in data[2:4] else 8])
    file = io.BytesIO(data)
    file.seek(tags.next)
    tags.load(file)
    bits, kind = tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,)), tags.get(TiffImagePlugin.SAMPLEFORMAT, (1,))
    numbers = {1: "integers", 2: "signed integers", 3: "floats"}.get(kind[0], "numbers of an unknown kind")
    order = "big-endian " if data.startswith(b"MM") else ""
    return f"{tags.get(TiffImagePlugin.SAMPLESPERPIXEL, len(bits))} x {order}{bits[0]}-bit {numbers}"


def _brands(data: bytes) -> set[bytes]:
    """The main and the compatible brands that an ISO media file starts with."""
    box = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    return {box[at : at + 4] for at in range(0, len(box), 4)}
