"""Image files written byte by byte, with pixels that are known, where Pillow has no writer."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

TYPES = {1: "B", 3: "H", 4: "I", 5: "I", 8: "h", 9: "i", 11: "f", 12: "d"}  # of TIFF tags, by their number
SMIN, SMAX, MAP, SUBSAMPLING, FILL = 340, 341, 320, 530, 266


def tiff(
    pixels,
    photometric: int = 1,
    order: str = "<",
    packed: bool = False,
    bits: int = 0,
    extra: Sequence[int] = (),
    tags: Sequence[tuple[int, int, list]] = (),
    raw: bytes = b"",
    planar: int = 1,
) -> bytes:
    """A TIFF of one strip per plane; pixels (W,), (H, W) or (H, W, C) in their own type.

    Args:
        photometric: 0 MinIsWhite, 1 MinIsBlack, 2 RGB, 3 palette, 5 CMYK, 6 YCbCr, 8 CIELAB.
        order: "<" or ">".
        packed: whether it is deflated.
        raw: the strip itself, in place of the pixels.
    """
    pixels = np.atleast_2d(np.asarray(pixels))
    pixels = pixels if pixels.ndim == 3 else pixels[..., None]
    height, width, channels = pixels.shape
    ordered = pixels.astype(pixels.dtype.newbyteorder(order))
    strips = [raw or ordered.tobytes()]
    if planar == 2:
        strips = [ordered[..., channel].tobytes() for channel in range(channels)]
    if packed:
        strips = [zlib.compress(strip) for strip in strips]
    form = {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    depth = bits or 8 * pixels.dtype.itemsize
    content = b""
    places = []
    for strip in strips:
        places.append(8 + len(content))
        content += strip + b"\0" * (len(strip) % 2)
    entries: list[tuple[int, int, list]] = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [depth] * channels), (259, 3, [8 if packed else 1]),
        (262, 3, [photometric]), (273, 4, places), (277, 3, [channels]), (278, 4, [height]),
        (279, 4, [len(strip) for strip in strips]), (284, 3, [planar]), (339, 3, [form] * channels), *tags,
    ]  # fmt: skip
    entries += [(338, 3, list(extra))] if extra else []
    start = 8 + len(content)
    beyond, directory = b"", struct.pack(order + "H", len(entries))
    for tag, kind, values in sorted(entries):
        packed_values = struct.pack(order + TYPES[kind] * len(values), *values)
        place = packed_values.ljust(4, b"\0")
        if len(packed_values) > 4:
            place = struct.pack(order + "I", start + 6 + 12 * len(entries) + len(beyond))
            beyond += packed_values + b"\0" * (len(packed_values) % 2)
        directory += struct.pack(order + "HHI", tag, kind, len(values) // (2 if kind == 5 else 1)) + place
    header = (b"II" if order == "<" else b"MM") + struct.pack(order + "HI", 42, start)
    return header + content + directory + struct.pack(order + "I", 0) + beyond


def chunk(kind: bytes, content: bytes) -> bytes:
    """A PNG's chunk."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(row: bytes, width: int, depth: int, colour: int, before=(), after=()) -> bytes:
    """A PNG of one row. `colour` is 0 gray, 2 RGB, 3 palette, 4 gray and alpha, 6 RGB and alpha.

    `before` and `after` are chunks (kind, content) before and after the pixels.
    """
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, 1, depth, colour, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(b"\0" + row))
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", header, *(chunk(*one) for one in before), pixels, *(chunk(*one) for one in after),
         chunk(b"IEND", b"")]
    )  # fmt: skip


def shorts(*values: int) -> bytes:
    """16-bit big-endian."""
    return struct.pack(f">{len(values)}H", *values)


def bmp(row: bytes, width: int, bits: int, palette=(), masks=()) -> bytes:
    """A BMP of one row, with a palette of RGB tuples, or with four bit masks."""
    header = struct.pack("<IiiHHIIiiII", 124 if masks else 40, width, 1, 1, bits, 3 if masks else 0, 0, 0, 0,
                         len(palette), 0)  # fmt: skip
    header = (header + struct.pack(f"<{len(masks)}I", *masks)).ljust(124 if masks else 40, b"\0")
    colours = b"".join(bytes([blue, green, red, 0]) for red, green, blue in palette)
    row = row.ljust(-(-len(row) // 4) * 4, b"\0")
    start = 14 + len(header) + len(colours)
    return b"BM" + struct.pack("<IHHI", start + len(row), 0, 0, start) + header + colours + row


def webp_frames(frame: bytes, left: int, size: tuple[int, int], alpha: bool) -> bytes:
    """An animated WebP of two frames, the 2 x 2 pixels of a still WebP, `left` pixels from the edge of the canvas."""

    def block(kind: bytes, content: bytes) -> bytes:
        return kind + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)

    def three(number: int) -> bytes:
        return struct.pack("<I", number)[:3]

    shown = three(left // 2) + three(0) + three(1) + three(1) + three(100) + b"\0" + frame[12:]
    flags = bytes([0x12 if alpha else 0x02, 0, 0, 0])
    body = b"WEBP" + block(b"VP8X", flags + three(size[0] - 1) + three(size[1] - 1))
    body += block(b"ANIM", bytes(6)) + block(b"ANMF", shown) * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body
