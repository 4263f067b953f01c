"""Decoding: whatever a file holds becomes RGB, or a clear reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from askew.data.images import MAX_PIXELS, decode
from askew.errors import Unusable


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def colours(image):
    """The corners of a decoded image."""
    assert image.mode == "RGB"
    return [image.getpixel((x, y)) for x in (0, image.width - 1) for y in (0, image.height - 1)]


def test_rgb_comes_back_as_it_was():
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    assert np.array_equal(np.asarray(decode(encoded(Image.fromarray(pixels)))), pixels)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    clear = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    half = Image.new(mode, (4, 4), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    assert set(colours(decode(encoded(clear)))) == {(255, 255, 255)}
    assert set(colours(decode(encoded(half)))) == {(127, 127, 127)}


def test_a_palette_with_a_transparent_colour_is_laid_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((3, 3)) == (0, 0, 255)


def test_grey_and_cmyk_become_rgb():
    assert set(colours(decode(encoded(Image.new("L", (4, 4), 90))))) == {(90, 90, 90)}
    cmyk = colours(decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)))
    for red, green, blue in cmyk:
        assert red > 240
        assert max(green, blue) < 15


def test_sixteen_bit_grey_keeps_its_brightness():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    decoded = decode(encoded(Image.fromarray(ramp)))
    assert np.array_equal(np.asarray(decoded)[..., 0], np.arange(256).reshape(16, 16))


def test_the_first_frame_of_an_animation_is_taken():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    decoded = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert set(colours(decoded)) == {(255, 0, 0)}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty image"),
        (b"\0" * 100, "cannot identify"),
        (b"<html>not found</html>", "cannot identify"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], "truncated"),
        (encoded(Image.effect_noise((64, 64), 50))[:900], "truncated"),
    ],
    ids=["empty", "zeros", "html", "jpeg", "png"],
)
def test_what_cannot_be_decoded_says_why_and_never_where_in_memory(data, reason):
    with pytest.raises(OSError, match=reason) as error:
        decode(data)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_bomb_is_refused_by_its_declared_size(side):
    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    with pytest.raises(Unusable, match=f"pixels are over the limit of {MAX_PIXELS:,}") as error:
        decode(bomb)
    assert error.value.cause == "too many pixels"
