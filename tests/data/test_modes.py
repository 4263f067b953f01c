"""Every kind of pixels that a file can have: converted by the rule that docs/sources.md states, or refused by name.

Each row of the page's table has its files here, with the values that they show worked out by hand: a number is a gray
level, a tuple a colour, and a text the cause under which the file is refused.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pixel_files import FILL, MAP, SMAX, SMIN, SUBSAMPLING, bmp, png, shorts, tiff, webp_frames

from askew.data.images import Picture, decode
from askew.errors import Unusable

PAGE = Path(__file__).parents[2] / "docs" / "sources.md"
RANGE, FORMAT = "unsupported pixel range", "unsupported pixel format"


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def filled(mode, colour, kind, **options):
    return saved(Image.new(mode, (16, 16), colour), kind, **options)


def u8(*values):
    return np.array(values, np.uint8)


def colours8(*colours):
    return np.array([colours], np.uint8)


DEEP = np.array([0, 257, 25700, 65535], np.uint16)  # 0, 1, 100 and 255 in 8 bits
UNIT = np.array([0, 0.25, 0.5, 1], np.float32)  # 0, 64, 128 and 255
RGB16 = np.array([[[0, 25700, 65535], [65535, 511, 255]]], np.uint16)
BYTE_ORDERS = [(order, packed) for order in "<>" for packed in (False, True)]


def everywhere(pixels, shown, **options):
    """The same pixels in both byte orders, packed or not."""
    return [(tiff(pixels, order=order, packed=packed, **options), shown) for order, packed in BYTE_ORDERS]


def part_of_a_gif(**options):
    """A GIF of 4 x 1 pixels, whose first frame covers the two in the middle, in blue; index 0 is red."""
    frame = Image.new("P", (2, 1), 1)
    frame.putpalette([255, 0, 0, 0, 0, 255])
    data = bytearray(saved(frame, "GIF", **options))
    data[6:8] = (4).to_bytes(2, "little")
    place = data.index(b"\x2c\0\0\0\0\2\0\1\0")
    data[place + 1] = 1
    return bytes(data)


BLUE = saved(Image.new("RGB", (2, 2), (0, 0, 255)), "WEBP", lossless=True)
PALETTE16 = [0, 65535, *[0] * 254, 0, 0, *[0] * 254, 0, 257 * 9, *[0] * 254]  # 0 is black, 1 is (255, 0, 9)
PLTE = (b"PLTE", bytes([255, 0, 0, 0, 255, 0, 0, 0, 255]))
MASKS = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
BLACK_WHITE = [(0, 0, 0), (255, 255, 255)]

ROWS: dict[str, list] = {
    "1 bit": [
        (png(b"\x40", 2, 1, 0), [0, 255]),
        (tiff(u8(0, 0), bits=1, raw=b"\x40"), [0, 255]),
        (tiff(u8(0, 0), photometric=0, bits=1, raw=b"\x40"), [255, 0]),
        (b"P1 4 1\n0 1 1 0", [255, 0, 0, 255]),
        (b"P4 4 1\n\x60", [255, 0, 0, 255]),
        (bmp(bytes([0b01100000]), 4, 1, BLACK_WHITE), [0, 255, 255, 0]),
        (bmp(bytes([0b01100000]), 4, 1, BLACK_WHITE[::-1]), [255, 0, 0, 255]),
        (bmp(bytes([0, 1, 1, 0, 1]), 5, 8, BLACK_WHITE), [0, 255, 255, 0, 255]),
    ],
    "gray of 2, 4 and 8 bits": [
        (png(b"\x1b", 4, 2, 0), [0, 85, 170, 255]),
        (png(b"\x1f", 2, 4, 0), [17, 255]),
        (png(bytes([0, 1, 255]), 3, 8, 0), [0, 1, 255]),
        (b"P5 4 1 15\n" + bytes([0, 1, 8, 15]), [0, 17, 136, 255]),
        (b"P2 4 1 3\n0 1 2 3", [0, 85, 170, 255]),
        (bmp(bytes([0, 1, 2, 3]), 4, 8, [(i, i, i) for i in range(16)]), [0, 1, 2, 3]),
        *everywhere(u8(0, 1, 100, 255), [0, 1, 100, 255]),
        *everywhere(u8(0, 1, 100, 255), [0, 1, 100, 255], extra=()),
    ],
    "palette": [
        (png(bytes([0, 1, 2]), 3, 8, 3, [PLTE]), [(255, 0, 0), (0, 255, 0), (0, 0, 255)]),
        *everywhere(u8(0, 1), [0, (255, 0, 9)], photometric=3, tags=[(MAP, 3, PALETTE16)]),
        *everywhere(u8(0, 1), [0, (255, 0, 9)], photometric=3, tags=[(MAP, 3, [v // 257 for v in PALETTE16])]),
        (png(bytes([0, 1, 2]), 3, 8, 3), "unreadable image"),
    ],
    "RGB of 8 bits": [
        (png(bytes([1, 2, 3, 255, 0, 7]), 2, 8, 2), [(1, 2, 3), (255, 0, 7)]),
        (b"P6 1 1 255\n\1\2\3", [(1, 2, 3)]),
        (b"P3 1 1 31\n0 16 31", [(0, 132, 255)]),
        (bmp(bytes([3, 2, 1, 0]), 1, 32), [(1, 2, 3)]),
        *everywhere(colours8((1, 2, 3), (255, 0, 7)), [(1, 2, 3), (255, 0, 7)], photometric=2),
        *everywhere(colours8((1, 2, 3), (255, 0, 7)), [(1, 2, 3), (255, 0, 7)], photometric=2, planar=2),
        *everywhere(colours8((1, 2, 3, 0)), [(1, 2, 3)], photometric=2, extra=[0]),
    ],
    "RGB of 16 bits": [
        (png(shorts(*RGB16.ravel()), 2, 16, 2), [(0, 100, 255), (255, 1, 0)]),
        *everywhere(RGB16, [(0, 100, 255), (255, 1, 0)], photometric=2),
        (tiff(RGB16, 2, packed=True, planar=2), [(0, 100, 255), (255, 1, 0)]),
        (b"P6 1 1 65535\n" + shorts(0, 25700, 65535), [(0, 100, 255)]),
        (b"P6 1 1 1023\n" + shorts(0, 512, 1023), [(0, 128, 255)]),
    ],
    "alpha, or a transparent colour": [
        (png(bytes([50, 0, 0, 128, 9, 9, 9, 0]), 2, 8, 6), [(152, 127, 127), 255]),
        (png(bytes([50, 128, 9, 0, 9, 255]), 3, 8, 4), [152, 255, 9]),
        (png(shorts(100 * 257, 128 * 257, 7, 0), 2, 16, 4), [177, 255]),
        (png(shorts(50 * 257, 0, 0, 128 * 257), 1, 16, 6), [(152, 127, 127)]),
        (png(bytes([0, 1, 2]), 3, 8, 3, [PLTE, (b"tRNS", b"\x80\0")]), [(255, 127, 127), 255, (0, 0, 255)]),
        (png(bytes([1, 2]), 2, 8, 0, [(b"tRNS", shorts(2))]), [1, 255]),
        (png(b"\x1b", 4, 2, 0, [(b"tRNS", shorts(2))]), [0, 85, 255, 255]),
        (png(b"\x1f", 2, 4, 0, [(b"tRNS", shorts(1))]), [255, 255]),
        (png(b"\x40", 2, 1, 0, [(b"tRNS", shorts(0))]), [255, 255]),
        (png(shorts(*DEEP), 4, 16, 0, [(b"tRNS", shorts(25700))]), [0, 1, 255, 255]),
        (png(bytes([1, 2, 3, 4, 5, 6]), 2, 8, 2, [(b"tRNS", shorts(4, 5, 6))]), [(1, 2, 3), 255]),
        *everywhere(colours8((50, 128), (9, 0)), [152, 255], extra=[2]),
        *everywhere(colours8((1, 255), (0, 0)), [(255, 0, 9), 255], photometric=3, extra=[2],
                    tags=[(MAP, 3, PALETTE16)]),
        *everywhere(colours8((50, 0, 0, 128)), [(152, 127, 127)], photometric=2, extra=[2]),
        (filled("LA", (50, 128), "JPEG2000", irreversible=False), [152] * 256),
    ],
    "alpha, premultiplied": [
        *everywhere(colours8((50, 128), (0, 0), (100, 255)), [177, 255, 100], extra=[1]),
        *everywhere(colours8((50, 0, 0, 128), (0, 0, 0, 0)), [(177, 127, 127), 255], photometric=2, extra=[1]),
    ],
    "CMYK": [
        (filled("CMYK", (0, 255, 255, 0), "JPEG", quality=95), [(255, 0, 0)] * 256),
        *everywhere(colours8((0, 255, 255, 0), (0, 0, 0, 255)), [(255, 0, 0), 0], photometric=5),
        *everywhere(np.array([[[0, 65535, 65535, 0]]], np.uint16), [(255, 0, 0)], photometric=5),
        (filled("CMYK", (0, 255, 255, 0), "JPEG2000", irreversible=False), [(255, 0, 0)] * 256),
    ],
    "YCbCr": everywhere(
        colours8((76, 85, 255), (150, 44, 21)), [(254, 0, 0), (0, 255, 1)], photometric=6,
        tags=[(SUBSAMPLING, 3, [1, 1])],
    ),
    "YCbCr, fewer colours than pixels": [
        (tiff(np.zeros((2, 2, 3), np.uint8), 6, raw=bytes([10, 100, 200, 255, 128, 128])), FORMAT),
        (tiff(np.zeros((2, 2, 3), np.uint8), 6, packed=True, raw=bytes([10, 100, 200, 255, 128, 128])),
         [10, 100, 200, 255]),
    ],
    "CIELAB": everywhere(colours8((128, 0, 0)), [119], photometric=8),
    "gray of 16 bits": [
        (png(shorts(*DEEP), 4, 16, 0), [0, 1, 100, 255]),
        *everywhere(DEEP, [0, 1, 100, 255]),
        (saved(Image.fromarray(np.tile(DEEP, (4, 1))), "JPEG2000", irreversible=False), [0, 1, 100, 255] * 4),
        (b"P5 4 1 65535\n" + shorts(*DEEP), [0, 1, 100, 255]),
        (b"P5 4 1 1023\n" + shorts(0, 4, 512, 1023), [0, 1, 128, 255]),
        (b"P2 4 1 4095\n0 16 2048 4095", [0, 1, 128, 255]),
    ],
    "gray of 12 bits": [
        (tiff(u8(0, 0, 0, 0), bits=12, raw=bytes([0xFF, 0xF8, 0x00, 0x10, 0x08, 0x00])), [255, 128, 16, 128])
    ],
    "white is zero": [
        *everywhere(u8(0, 1, 100, 255), [255, 254, 155, 0], photometric=0),
        (tiff(DEEP, 0), [255, 254, 155, 0]),
        (tiff(DEEP, 0, packed=True), [255, 254, 155, 0]),
        (tiff(DEEP, 0, order=">"), FORMAT),
        *everywhere(UNIT, [255, 191, 127, 0], photometric=0),
    ],
    "a stated range": [
        *everywhere(np.array([0, 1, 2048, 4095], np.uint16), [0, 0, 128, 255], tags=[(SMAX, 3, [4095])]),
        *everywhere(np.array([-5, 0, 5], np.int32), [0, 128, 255], tags=[(SMIN, 9, [-5]), (SMAX, 9, [5])]),
        *everywhere(np.array([0, 128, 255], np.int16), [0, 128, 255], tags=[(SMIN, 8, [0]), (SMAX, 8, [255])]),
        *everywhere(np.array([-128, 0, 127], np.int8), [0, 128, 255], tags=[(SMIN, 12, [-128.0]), (SMAX, 12, [127.0])]),
        (tiff(np.array([0, 2**31, 2**32 - 1], np.uint32), tags=[(SMIN, 4, [0]), (SMAX, 4, [2**32 - 1])]),
         [0, 128, 255]),
        *everywhere(np.array([-5, 0, 5], np.float32), [0, 128, 255], tags=[(SMIN, 11, [-5.0]), (SMAX, 11, [5.0])]),
        (tiff(np.array([0, 4096], np.uint16), tags=[(SMAX, 3, [4095])]), [0, 255]),
        *everywhere(RGB16, RANGE, photometric=2, tags=[(SMAX, 3, [4095] * 3)]),
        *everywhere(RGB16, [(0, 100, 255), (255, 1, 0)], photometric=2, tags=[(SMAX, 3, [65535] * 3)]),
        (tiff(np.array([0, 9000], np.uint16), tags=[(SMAX, 3, [4095])]), RANGE),
        (tiff(np.array([0, 9000], np.uint16), tags=[(SMIN, 3, [7]), (SMAX, 3, [7])]), RANGE),
    ],
    "integers of 32 bits, or signed": [
        *everywhere(np.array([0, 255, 70_000], np.int32), RANGE),
        *everywhere(np.array([0, 255], np.int16), RANGE),
        *everywhere(np.array([0, 100], np.int8), RANGE),
        (tiff(np.array([0, 255], np.uint32)), RANGE),
        (tiff(np.array([0, 255], np.uint32), order=">"), FORMAT),
    ],
    "gray floats": [
        *everywhere(UNIT, [0, 64, 128, 255]),
        *everywhere(np.array([0, 128, 255], np.float32), RANGE),
        *everywhere(np.array([-0.5, 0.5], np.float32), RANGE),
        *everywhere(np.array([0.5, np.nan], np.float32), RANGE),
        *everywhere(np.array([0.5, np.inf], np.float32), RANGE),
        (tiff(np.array([-0.001, 1.0000001], np.float32)), [0, 255]),
        (b"Pf 4 1 -1.0\n" + UNIT.tobytes(), [0, 64, 128, 255]),
        (b"Pf 4 1 1.0\n" + UNIT.astype(">f4").tobytes(), [0, 64, 128, 255]),
        (b"Pf 4 1 -2.0\n" + UNIT.tobytes(), RANGE),
    ],
    "other numbers": [
        *everywhere(np.zeros((2, 2, 3), np.float32), FORMAT, photometric=2),
        *everywhere(np.zeros((2, 2, 3), np.int16), FORMAT, photometric=2),
        *everywhere(np.zeros((2, 2, 2), np.uint16), FORMAT, extra=[0]),
        *everywhere(np.zeros((2, 2), np.float16), FORMAT),
        *everywhere(np.zeros((2, 2), np.float64), FORMAT),
        (b"PF 1 1 -1.0\n" + UNIT[:3].tobytes(), FORMAT),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 3\nMAXVAL 255\nTUPLTYPE RGB\nENDHDR\n\1\2\3", FORMAT),
    ],
    "channels stored apart": [
        (tiff(RGB16, 2, planar=2), FORMAT),
        (tiff(colours8((50, 128)), extra=[2], planar=2), FORMAT),
        (tiff(colours8((50, 128)), extra=[2], planar=2, packed=True), FORMAT),
        (tiff(colours8((50, 0, 0, 128)), 2, extra=[1], planar=2), FORMAT),
        (tiff(colours8((50, 0, 0, 128)), 2, extra=[1], planar=2, packed=True), [(177, 127, 127)]),
        (tiff(u8(0, 255), 0, planar=2), FORMAT),
        (tiff(u8(0, 255), planar=2), [0, 255]),
        (tiff(DEEP, planar=2), FORMAT),
        (tiff(DEEP, planar=2, packed=True), [0, 1, 100, 255]),
        (tiff(UNIT, planar=2, order=">"), FORMAT),
    ],
    "16-bit RGB, a transparent colour": [
        (png(shorts(*RGB16.ravel()), 2, 16, 2, [(b"tRNS", shorts(0, 25700, 65535))]), FORMAT)
    ],
    "a first frame that covers a part": [
        (part_of_a_gif(), [255, (0, 0, 255), (0, 0, 255), 255]),
        (part_of_a_gif(transparency=0), [255, (0, 0, 255), (0, 0, 255), 255]),
        (webp_frames(BLUE, 2, (4, 2), alpha=False), [255, 255, (0, 0, 255), (0, 0, 255)] * 2),
        (webp_frames(BLUE, 2, (4, 2), alpha=True), [255, 255, (0, 0, 255), (0, 0, 255)] * 2),
    ],
    "BMP with alpha": [
        (bmp(bytes([3, 2, 1, 255, 9, 9, 9, 0]), 2, 32, masks=MASKS), [(1, 2, 3), 255]),
        (bmp(bytes([3, 2, 1, 0, 9, 8, 7, 0]), 2, 32, masks=MASKS), [(1, 2, 3), (7, 8, 9)]),
    ],
    "4-bit BMP with grays only": [
        (bmp(bytes([0x01, 0x10]), 4, 4, BLACK_WHITE), FORMAT),
        (bmp(bytes([0x01, 0x1F]), 4, 4, [(i, i, i) for i in range(16)]), FORMAT),
        (bmp(bytes([0x01]), 2, 4, [(255, 0, 0), (0, 0, 255)]), [(255, 0, 0), (0, 0, 255)]),
    ],
}  # fmt: skip


def read(data):
    """The pixels (H, W, 3) in evaluation and in training, or the causes."""
    for path in (lambda: np.asarray(decode(data)), lambda: Picture(data).pixels()[:3].permute(1, 2, 0).numpy()):
        try:
            yield path()
        except Unusable as error:
            yield error


@pytest.mark.parametrize("row", ROWS)
def test_pixels_are_converted_by_their_rule_or_refused_by_name(row):
    for number, (data, expected) in enumerate(ROWS[row]):
        for found in read(data):
            if isinstance(expected, str):
                assert isinstance(found, Unusable), (number, found)
                assert (found.cause, "\n" in str(found)) == (expected, False), number
                assert expected == "unreadable image" or "save it as 8-bit RGB or gray" in str(found)
                continue
            assert not isinstance(found, Unusable), (number, found)
            right = [[one] * 3 if isinstance(one, int) else list(one) for one in expected]
            assert found.reshape(-1, 3).tolist() == right, number


def test_the_page_has_these_rows():
    section = PAGE.read_text(encoding="utf-8").split("\n## Images\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1].strip() for line in section.splitlines() if line.startswith("| ")]
    assert rows[0] == "pixels"
    assert rows[2:] == list(ROWS)


@pytest.mark.parametrize("fill", [1, 2])
def test_the_order_of_bits_is_heeded(fill):
    tags = [(FILL, 3, [fill])]
    assert np.asarray(decode(tiff(u8(0b00000001), tags=tags)))[0, 0, 0] == (1 if fill == 1 else 128)


@pytest.mark.parametrize("kind", ["deep", "float", "clear"])
def test_a_large_picture_is_converted_in_parts_to_the_same_pixels(kind):
    """2.7 million pixels, which are more than one strip, against NumPy."""
    rng = np.random.default_rng(0)
    if kind == "deep":
        pixels = rng.integers(0, 65536, (900, 3001), dtype=np.uint16)
        data, expected = tiff(pixels), np.repeat((pixels >> 8)[..., None], 3, axis=2)
    elif kind == "float":
        pixels = rng.random((900, 3001), dtype=np.float32)
        data, expected = tiff(pixels), np.repeat(np.rint(pixels.astype(float) * 255)[..., None], 3, axis=2)
    else:
        pixels = rng.integers(0, 256, (900, 3001, 4), dtype=np.uint8)
        data = saved(Image.fromarray(pixels), "PNG", compress_level=1)
        alpha = pixels[..., 3:].astype(float) / 255
        expected = np.rint(pixels[..., :3] * alpha + 255 * (1 - alpha))
    found = np.asarray(decode(data)).astype(float)
    assert np.abs(found - expected).max() <= (1 if kind == "clear" else 0)
    assert np.array_equal(Picture(data).pixels()[:3].permute(1, 2, 0).numpy(), found)
