"""Decoding: any file becomes RGB, upright for training, or gives a clear reason why not."""

import contextlib
import importlib.util
import io
import struct
import threading
import tomllib
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from pixel_files import chunk, tiff

from askew.data import containers, images
from askew.data.images import Picture, PixelLimit, decode, pixel_limit
from askew.data.sources.base import IMAGE_SUFFIXES
from askew.errors import Unusable

ROOT = Path(__file__).parents[2]


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
def test_transparent_pixels_show_white(mode):
    clear = Image.new(mode, (4, 4), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    half = Image.new(mode, (4, 4), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    assert set(colours(decode(encoded(clear)))) == {(255, 255, 255)}
    assert set(colours(decode(encoded(half)))) == {(127, 127, 127)}


def test_a_transparent_colour_of_a_palette_shows_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((0, 0), 0)
    decoded = decode(encoded(image, transparency=0))
    assert decoded.getpixel((0, 0)) == (255, 255, 255)
    assert decoded.getpixel((3, 3)) == (0, 0, 255)


def test_grayscale_and_cmyk_become_rgb():
    assert set(colours(decode(encoded(Image.new("L", (4, 4), 90))))) == {(90, 90, 90)}
    cmyk = colours(decode(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=95)))
    for red, green, blue in cmyk:
        assert red > 240
        assert max(green, blue) < 15


def test_16_bit_grayscale_keeps_its_brightness():
    ramp = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    decoded = decode(encoded(Image.fromarray(ramp)))
    assert np.array_equal(np.asarray(decoded)[..., 0], np.arange(256).reshape(16, 16))


def test_an_animation_gives_its_first_frame():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    decoded = decode(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert set(colours(decoded)) == {(255, 0, 0)}


def smooth(width=37, height=26, seed=0):
    """Colours that change slowly, so that lossy formats keep them."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def upright(data, shrink=1):
    """What training sees, as (H, W, 3)."""
    return Picture(data).pixels(shrink)[:3].permute(1, 2, 0).numpy()


def difference(one, other):
    """Mean absolute difference, out of 255."""
    return np.abs(np.asarray(one, dtype=float) - np.asarray(other, dtype=float)).mean()


CLEAR = smooth().convert("RGBA")
CLEAR.putalpha(128)
ON_WHITE = Image.fromarray(((np.asarray(smooth(), dtype=int) + 255) // 2).astype(np.uint8))
GRAY = smooth().convert("L")
DEEP = Image.fromarray(np.asarray(GRAY).astype(np.uint16) * 257)
ANIMATED = {"save_all": True, "append_images": [Image.new("RGB", (37, 26), "blue")]}
FORMATS = {  # (encoded, what it shows, tolerance: mean difference out of 255)
    "jpeg": (encoded(smooth(), "JPEG", quality=95), smooth(), 3),
    "jpeg-progressive": (encoded(smooth(), "JPEG", quality=95, progressive=True), smooth(), 3),
    "jpeg-444": (encoded(smooth(), "JPEG", quality=95, subsampling=0), smooth(), 3),
    "jpeg-grayscale": (encoded(GRAY, "JPEG", quality=95), GRAY.convert("RGB"), 3),
    "jpeg-cmyk": (encoded(smooth().convert("CMYK"), "JPEG", quality=95), smooth(), 3),
    "png": (encoded(smooth()), smooth(), 0),
    "png-optimised": (encoded(smooth(), "PNG", optimize=True), smooth(), 0),
    "png-palette": (encoded(smooth().quantize(256)), smooth(), 8),
    "png-one-bit": (encoded(GRAY.convert("1")), GRAY.convert("1").convert("RGB"), 0),
    "png-sixteen-bit": (encoded(DEEP), GRAY.convert("RGB"), 0),
    "png-alpha": (encoded(CLEAR), ON_WHITE, 1),
    "webp": (encoded(smooth(), "WEBP", quality=95), smooth(), 5),
    "webp-lossless-alpha": (encoded(CLEAR, "WEBP", lossless=True), ON_WHITE, 1),
    "webp-animated": (encoded(smooth(), "WEBP", lossless=True, **ANIMATED), smooth(), 1),
    "gif-animated": (encoded(smooth(), "GIF", **ANIMATED), smooth(), 8),
    "bmp": (encoded(smooth(), "BMP"), smooth(), 0),
    "tiff": (encoded(smooth(), "TIFF", compression="tiff_lzw"), smooth(), 0),
    "tiff-sixteen-bit": (encoded(DEEP, "TIFF"), GRAY.convert("RGB"), 0),
    "tiff-cmyk": (encoded(smooth().convert("CMYK"), "TIFF"), smooth(), 3),
    "ppm": (encoded(smooth(), "PPM"), smooth(), 0),
    "jpeg2000": (encoded(smooth(), "JPEG2000", irreversible=False), smooth(), 0),
    "avif": (encoded(smooth(), "AVIF", quality=95), smooth(), 5),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_shows_the_same_in_training_and_evaluation(name):
    data, expected, tolerance = FORMATS[name]
    whole = np.asarray(decode(data))
    assert whole.shape == (26, 37, 3)
    assert difference(whole, expected) <= tolerance
    assert np.array_equal(upright(data), whole)


# Orientation


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_training_sees_photographs_upright_and_evaluation_as_open_clip_does(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth(), kind, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    picture = Picture(data)
    assert (picture.width, picture.height) == expected.size
    assert np.array_equal(upright(data), np.asarray(expected))
    assert decode(data).size == (37, 26)


@pytest.mark.parametrize("block", [b"Exif\0\0", b"Exif\0\0MM\0*\xff\xff\xff\xff", b"Exif\0\0II*\0" + b"\x01" * 60])
def test_absurd_exif_is_ignored(block):
    assert np.array_equal(upright(encoded(smooth(), "JPEG", exif=block)), upright(encoded(smooth(), "JPEG")))


@pytest.mark.parametrize("orientation", [0, 9, 300])
def test_an_unknown_orientation_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert upright(encoded(smooth(), "JPEG", exif=exif)).shape == (26, 37, 3)


# Smaller while decoding


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("shrink", [2, 4, 8])
def test_a_shrunk_jpeg_is_the_mean_of_its_pixels(mode, shrink):
    """Also for sizes that 8 does not divide. libjpeg's scaled transform is close to the mean over squares of pixels."""
    data = encoded(smooth(163, 90).convert(mode), "JPEG", quality=95)
    small = upright(data, shrink)
    assert small.shape == (-(-90 // shrink), -(-163 // shrink), 3)
    inner = upright(data)[: 90 // shrink * shrink, : 163 // shrink * shrink]
    means = inner.reshape(90 // shrink, shrink, 163 // shrink, shrink, 3).mean(axis=(1, 3))
    assert difference(small[: 90 // shrink, : 163 // shrink], means) < 1


def test_a_shrunk_photograph_is_upright():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(smooth(80, 48), "JPEG", quality=95, exif=exif)
    assert upright(data, 4).shape == (20, 12, 3)
    assert difference(upright(data, 4), np.asarray(Image.fromarray(upright(data)).reduce(4))) < 1


def test_only_jpegs_are_scalable():
    assert {name for name, (data, _, _) in FORMATS.items() if Picture(data).scalable} == {
        name for name in FORMATS if name.startswith("jpeg") and name != "jpeg2000"
    }


def test_a_picture_in_several_blocks_of_memory_is_decoded_the_same():
    image = smooth(2500, 1700)  # 17 MB of Pillow's memory
    assert np.array_equal(upright(encoded(image, "BMP")), np.asarray(image))


# What cannot be used


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
def test_what_cannot_be_decoded_gives_a_reason_without_memory_addresses(data, reason):
    with pytest.raises(OSError, match=reason) as error:
        decode(data)
    assert "0x" not in str(error.value)


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "empty image"),
        (b"plain text named .jpg", "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (encoded(Image.new("RGBA", (16, 16)), "ICO"), "not an image"),
        (encoded(smooth(), "JPEG")[:-200], "truncated image"),
        (encoded(smooth())[:-200], "truncated image"),
        (encoded(smooth(), "GIF")[:-200], "truncated image"),
        (encoded(smooth(), "BMP")[:-200], "truncated image"),
        (encoded(smooth(), "WEBP")[:-200], "unreadable image"),
    ],
    ids=["empty", "text", "postscript", "icon", "jpeg", "png", "gif", "bmp", "webp"],
)
def test_every_fault_has_its_cause(data, cause):
    for read in (decode, upright):
        with pytest.raises(Unusable) as error:
            read(data)
        assert error.value.cause == cause


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF"])
def test_damage_gives_pixels_or_a_cause_and_nothing_else(kind):
    rng, data = np.random.default_rng(0), encoded(smooth(), kind)
    causes = set()
    for _ in range(60):
        damaged = bytearray(data)
        damaged[int(rng.integers(len(data)))] = int(rng.integers(256))
        damaged = bytes(damaged[: int(rng.integers(1, 2 * len(data)))])
        try:
            assert upright(damaged).shape[2] == 3
        except Unusable as error:
            causes.add(error.cause)
    known = {"not an image", "truncated image", "unreadable image", "too many pixels"}
    assert causes <= known | {"unsupported pixel format", "unsupported pixel range"}
    assert len(causes) > 1


PICTURELESS = {  # chunks that change no pixel: of any size, damaged or not, they must not cost the picture
    "zTXt": b"Comment\0\0" + zlib.compress(bytes(20_000_000)),
    "iTXt": b"Comment\0\1\0\0\0" + zlib.compress(bytes(20_000_000)),
    "iCCP": b"profile\0\0" + zlib.compress(bytes(20_000_000)),
    "iCCP of another method": b"profile\0\7rubbish",
    "iCCP damaged": b"profile\0\0rubbish",
    "iCCP empty": b"",
    "tEXt": b"Comment\0" + bytes(70_000_000),
    "eXIf": b"MM\0*" + bytes(20_000_000),
    "gAMA": b"\0",
    "cHRM": b"",
    "acTL": b"",
}


@pytest.mark.parametrize("name", PICTURELESS)
@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
def test_a_png_keeps_its_picture_whatever_else_it_holds(name, before):
    data = encoded(smooth())
    at = data.index(before) - 4
    full = data[:at] + chunk(name[:4].encode(), PICTURELESS[name]) + data[at:]
    damaged = full[: at + 9] + bytes([full[at + 9] ^ 1]) + full[at + 10 :]  # its checksum is wrong
    for one in (full, damaged):
        assert np.array_equal(np.asarray(decode(one)), np.asarray(smooth()))
        assert np.array_equal(upright(one), np.asarray(smooth()))


def test_many_texts_of_a_png_are_left_out_together():
    texts = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(900_000))) * 100
    data = encoded(smooth())
    at = data.index(b"IDAT") - 4
    assert np.array_equal(np.asarray(decode(data[:at] + texts + data[at:])), np.asarray(smooth()))


@pytest.mark.parametrize("cut", [10, 300, 5_000])
def test_a_png_that_ends_in_a_text_or_in_its_pixels_is_truncated(cut):
    data = encoded(smooth(200, 150))
    at = data.index(b"IEND") - 4
    whole = data[:at] + chunk(b"tEXt", b"Comment\0" + bytes(200)) + data[at:]
    with pytest.raises(Unusable) as error:
        decode(whole[:-cut] if cut > 10 else whole[: at + 50])
    assert error.value.cause == "truncated image"


def test_the_exif_block_of_a_png_may_follow_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(smooth())
    at = data.index(b"IEND") - 4
    late = data[:at] + chunk(b"eXIf", exif.tobytes()[6:]) + data[at:]
    assert np.array_equal(upright(late), np.asarray(smooth().transpose(Image.Transpose.ROTATE_270)))
    assert decode(late).size == (37, 26)


def test_the_default_image_of_an_animated_png_is_shown_whole():
    """Pillow reads it with the size of the first frame, which a file may give as smaller than the picture."""
    data = encoded(smooth(), **ANIMATED)
    assert np.array_equal(np.asarray(decode(data)), np.asarray(smooth()))
    at = data.index(b"fcTL")
    small = data[at : at + 8] + struct.pack(">II", 20, 9) + data[at + 16 : at + 30]
    broken = data[:at] + small + struct.pack(">I", zlib.crc32(small)) + data[at + 34 :]
    assert np.array_equal(np.asarray(decode(broken)), np.asarray(smooth()))


def test_the_first_picture_of_several_is_shown():
    """Pages of a TIFF, and the pictures of a stereo photograph (MPO), whose gain maps are left out as well."""
    for kind in ("TIFF", "MPO"):
        data = encoded(smooth(), kind, save_all=True, append_images=[Image.new("RGB", (90, 80), "blue")])
        assert difference(decode(data), smooth()) < 6
        assert np.array_equal(upright(data), np.asarray(decode(data)))


def test_colour_profiles_are_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for kind in ("PNG", "TIFF"):
        assert np.array_equal(np.asarray(decode(encoded(smooth(), kind, icc_profile=profile))), np.asarray(smooth()))


def test_a_tiff_is_turned_by_pillow_in_both_paths():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(smooth(), "TIFF", exif=exif)
    assert decode(data).size == (26, 37)
    assert np.array_equal(upright(data), np.asarray(decode(data)))


# HEIC

HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)


@pytest.mark.parametrize("data", [HEIC, HEIC.replace(b"ftypheic", b"ftypmif1"), HEIC.replace(b"heic", b"heix")])
def test_heic_without_its_reader_names_the_extra(data, monkeypatch):
    monkeypatch.delitem(Image.OPEN, "HEIF", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for read in (decode, upright):
        with pytest.raises(
            Unusable, match=r"a HEIC image: install its reader with pip install 'askew\[heic\]'"
        ) as error:
            read(data)
        assert error.value.cause == "HEIC without its reader"


def test_the_extra_of_the_message_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["optional-dependencies"]["heic"] == ["pillow-heif>=0.18"]


def test_heic_with_its_reader_is_decoded_and_stands_upright():
    heif = pytest.importorskip("pillow_heif")
    heif.register_heif_opener()
    data = encoded(smooth(), "HEIF", quality=95)
    assert difference(decode(data), smooth()) < 8
    assert np.array_equal(upright(data), np.asarray(decode(data)))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(smooth(), "HEIF", quality=95, exif=exif.tobytes())
    assert decode(turned).size == (26, 37)
    assert np.array_equal(upright(turned), np.asarray(decode(turned)))
    with pytest.raises(Unusable):
        decode(data[:-200])


# Suffixes and formats

SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png", ".apng"),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "BMP": (".bmp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf"),
    "AVIF": (".avif",),
    "HEIF": (".heic", ".heif", ".hif"),
}


def test_the_suffixes_that_sources_look_for_are_those_of_the_formats():
    assert tuple(SUFFIXES) == containers.FORMATS
    assert sorted(suffix for suffixes in SUFFIXES.values() for suffix in suffixes) == sorted(IMAGE_SUFFIXES)
    Image.init()
    known = {suffix: kind for suffix, kind in Image.EXTENSION.items() if kind in SUFFIXES}
    for kind, suffixes in SUFFIXES.items():
        assert kind == "HEIF" or kind in Image.OPEN
        assert {known.get(suffix, kind) for suffix in suffixes} == {kind}


# Limits


@pytest.fixture
def limited():
    yield lambda megapixels, remedy="--set data.max_megapixels={}": PixelLimit(megapixels, remedy).apply()
    PixelLimit().apply()


def test_the_limit_can_be_raised_and_lowered(limited):
    data = encoded(Image.new("L", (1_000, 1_100)))
    limited(1.1)
    assert decode(data).size == (1_000, 1_100)
    limited(1)
    with pytest.raises(Unusable) as error:
        Picture(data)
    assert error.value.cause == "too many pixels"
    assert str(error.value) == (
        "1000x1100 pixels are over the limit of 1,000,000; raise it with --set data.max_megapixels=2"
    )


def test_a_photograph_of_108_megapixels_can_be_used(limited):
    data = encoded(Image.new("RGB", (12_000, 9_000), "red"), "JPEG")
    with pytest.raises(Unusable, match=r"raise it with data\.max_megapixels=108"):
        decode(data)
    limited(108)
    assert Picture(data).pixels(8).shape == (4, 1125, 1500)
    assert decode(data).getpixel((11_999, 8_999)) == (254, 0, 0)


def test_pillows_own_limit_gives_the_same_message(limited):
    limited(0.01)
    with pytest.raises(Unusable, match="over the limit of 10,000; raise it with --set data") as error:
        decode(encoded(Image.new("L", (300, 300))))
    assert error.value.cause == "too many pixels"


def test_a_tiff_in_enormous_tiles_is_refused():
    """44 kB that take 2 GB: Pillow allocates a whole tile."""
    data = tiff(
        np.zeros((16, 16), np.uint8), tags=[(322, 4, [46_000]), (323, 4, [46_000]), (324, 4, [8]), (325, 4, [9])]
    )
    with pytest.raises(Unusable, match="tiles of 2,116,000,000 pixels, over the limit of 64,000,000") as error:
        decode(data)
    assert error.value.cause == "too many pixels"


def test_a_file_of_too_many_bytes_is_refused_unread(monkeypatch):
    monkeypatch.setattr(images, "MIN_BYTES", 1_000)
    monkeypatch.setattr(images, "_limit", PixelLimit(0.0001))
    with pytest.raises(Unusable, match="an image of 1,001 bytes is over the limit of 1,000") as error:
        decode(bytes(1_001))
    assert error.value.cause == "too many bytes"


def test_gif_and_webp_bombs_are_refused_by_their_declared_size():
    gif = bytearray(encoded(smooth(), "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    webp = bytearray(encoded(CLEAR, "WEBP", lossless=True, save_all=True, append_images=[smooth().convert("RGBA")]))
    webp[24:30] = (16_382).to_bytes(3, "little") * 2  # the canvas size minus one, in the VP8X header
    for bomb in (gif, webp):
        with pytest.raises(Unusable) as error:
            decode(bytes(bomb))
        assert error.value.cause == "too many pixels"


@pytest.mark.parametrize("side", [9_000, 60_000])
def test_a_bomb_is_refused_by_its_declared_size(side):
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    with pytest.raises(Unusable, match=f"pixels are over the limit of {pixel_limit().pixels:,}") as error:
        decode(bomb)
    assert error.value.cause == "too many pixels"


def test_decoding_in_a_thread_takes_no_warning_away(monkeypatch):
    """A decoder that began before the user's `catch_warnings` and ends inside it."""
    data, opened, go_on = encoded(Image.new("RGB", (8, 8))), threading.Event(), threading.Event()
    original = Image.open

    def waiting(*args, **options):
        opened.set()
        assert go_on.wait(10)
        return original(*args, **options)

    monkeypatch.setattr(images.Image, "open", waiting)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(decode, data)
        assert opened.wait(10)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            go_on.set()
            assert found.result().size == (8, 8)
            warnings.warn("of the user", stacklevel=1)
    assert [str(one.message) for one in caught] == ["of the user"]


def test_warnings_of_pillow_are_not_shown():
    data = bytearray(tiff(np.zeros((4, 4), dtype=np.uint8)))
    place = data.find(b"\x06\x01\x03\x00")  # the entry of the photometric interpretation: the file ends in its list
    assert place > 0
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for cut in range(place, len(data)):
            with contextlib.suppress(Exception):
                Image.open(io.BytesIO(bytes(data[:cut]))).load()
        assert caught  # Pillow's own
        caught.clear()
        for cut in range(place, len(data)):
            with contextlib.suppress(Unusable):
                decode(bytes(data[:cut]))
    assert not caught
