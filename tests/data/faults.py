"""The corpus of faults: odd things that users' data contain, and how each must be counted.

Faults of a sample are written in every format. Faults of a file or folder have one format each.
"""

import io
import os
import struct
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from formats import Pair, arrow_table, write_csv, write_folder, write_imagefolder, write_images, write_tar
from PIL import Image

RNG_SIZE = (40, 30)


def picture(mode: str = "RGB", size: tuple[int, int] = RNG_SIZE) -> Image.Image:
    noise = np.random.default_rng(0).integers(0, 256, size=(size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(noise, "RGBA").convert("RGB").convert(mode)


def encoded(kind: str, mode: str = "RGB", size: tuple[int, int] = RNG_SIZE, **options) -> bytes:
    buffer = io.BytesIO()
    picture(mode, size).save(buffer, kind, **options)
    return buffer.getvalue()


def animated(kind: str) -> bytes:
    return encoded(kind, save_all=True, append_images=[picture(size=RNG_SIZE).rotate(90)], duration=50)


def half(kind: str) -> bytes:
    data = encoded(kind, size=(200, 150))
    return data[: len(data) // 2]


def png_that_declares(width: int, height: int) -> bytes:
    content = b"\x89PNG\r\n\x1a\n"
    for kind, data in ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IDAT", b"x")):
        content += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return content


def png16() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50).save(buffer, "PNG")
    return buffer.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return encoded("JPEG", exif=tags)


def absurd_exif() -> bytes:
    data = encoded("JPEG")
    rubbish = b"Exif\0\0MM\0\x2a\xff\xff\xff\xff" + bytes(range(256))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(rubbish) + 2) + rubbish + data[2:]


GOOD = "fine"
TORN = ("truncated image", "not an image", "unreadable image")  # not every format lets Pillow tell these apart
NO_LINES = ("tokens", "tsv")  # where a line is a caption
NO_BYTES = ("csv", "tsv", "jsonl", "imagefolder", "coco", "karpathy", "tokens")  # text files, all of them UTF-8
Causes = tuple[str, ...]


@dataclass(frozen=True)
class SampleFault:
    """One odd sample: its image, caption and name, and the causes it may be counted under. Without any it is usable."""

    image: bytes = field(default_factory=lambda: encoded("PNG"))
    text: str | bytes = "a kite"
    name: str = "odd.png"
    causes: Causes = ()
    not_in: tuple[str, ...] = ()


SAMPLE_FAULTS: dict[str, SampleFault] = {
    "image of zero bytes": SampleFault(b"", causes=("empty image",)),
    "truncated PNG": SampleFault(half("PNG"), causes=TORN),
    "truncated JPEG": SampleFault(half("JPEG"), name="odd.jpg", causes=TORN),
    "truncated WebP": SampleFault(half("WEBP"), name="odd.webp", causes=TORN),
    "truncated GIF": SampleFault(half("GIF"), causes=TORN),
    "one byte": SampleFault(b"\x89", causes=("not an image",)),
    "text named .jpg": SampleFault(b"<html>404</html>", name="odd.jpg", causes=("not an image",)),
    "bomb: a PNG of 10 gigapixels": SampleFault(png_that_declares(100_000, 100_000), causes=("too many pixels",)),
    "bomb: a PNG of 2^31 pixels per side": SampleFault(
        png_that_declares(2**31 - 1, 2**31 - 1), causes=("too many pixels", *TORN)
    ),
    "PNG of size zero": SampleFault(png_that_declares(0, 0), causes=("empty image", *TORN)),
    "CMYK JPEG": SampleFault(encoded("JPEG", "CMYK"), name="odd.jpg"),
    "progressive JPEG": SampleFault(encoded("JPEG", progressive=True), name="odd.jpeg"),
    "JPEG followed by rubbish": SampleFault(encoded("JPEG") + b"rubbish" * 99, name="odd.jpg"),
    "grayscale JPEG": SampleFault(encoded("JPEG", "L"), name="odd.jpg"),
    "absurd EXIF": SampleFault(absurd_exif(), name="odd.jpg"),
    "EXIF with an unknown orientation": SampleFault(exif(99), name="odd.jpg"),
    "EXIF that turns the image": SampleFault(exif(6), name="odd.jpg"),
    "16-bit PNG": SampleFault(png16()),
    "1-bit PNG": SampleFault(encoded("PNG", "1")),
    "palette PNG with transparency": SampleFault(encoded("PNG", "P", transparency=3)),
    "grayscale PNG with alpha": SampleFault(encoded("PNG", "LA")),
    "animated GIF": SampleFault(animated("GIF")),
    "animated WebP": SampleFault(animated("WEBP"), name="odd.webp"),
    "one pixel": SampleFault(encoded("PNG", size=(1, 1))),
    "a line of 1 x 5000 pixels": SampleFault(encoded("PNG", size=(1, 5000))),
    "a suffix in upper case": SampleFault(encoded("JPEG"), name="ODD.JPG"),
    "a format other than the suffix": SampleFault(encoded("WEBP"), name="odd.jpg"),
    "empty caption": SampleFault(text="", causes=("no caption",)),
    "blank caption": SampleFault(text=" \t ", causes=("no caption",)),
    "caption of 100 kB": SampleFault(text="very " * 20_000 + "long"),
    "quotes and commas": SampleFault(text='a "red", \'old\' kite; 5" \\ 3'),
    "line breaks in a caption": SampleFault(text="a kite,\nhigh\r\nup", not_in=NO_LINES),
    "control codes in a caption": SampleFault(text="\x1b[2Ja\x07 kite"),
    "a formula": SampleFault(text="=cmd|' /C calc'!A0"),
    "other scripts": SampleFault(text="凧 🪁 عربي é"),
    "caption in another encoding": SampleFault(text=b"B\xe4r", causes=("caption not UTF-8",), not_in=NO_BYTES),
    "a name with blanks and quotes": SampleFault(name='it\'s a "b" , c.png'),
    "a name in another script": SampleFault(name="凧 é.png"),
    "a name with special characters": SampleFault(name="-a#b%20&c=+{1..2}*[x].png"),
    "a name with dots": SampleFault(name="a.b.c..d.png"),
    "a name of 200 letters": SampleFault(name="x" * 200 + ".png"),
    "a deep folder": SampleFault(name="/".join("abcdefgh") + "/odd.png"),
}


@dataclass(frozen=True)
class Made:
    """A source with a fault: what `askew` is given, and how the fault must be counted, or refused.

    Attributes:
        unusable: samples by cause.
        notes: causes that are noted when the source is opened.
        refused: words of the message with which the source is refused.
        later: called once the source is open, which then changes while in use.
    """

    source: str
    unusable: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: str = ""
    later: Callable[[], object] | None = None


SOURCE_FAULTS: dict[str, Callable[[Path, list[Pair]], Made]] = {}


def fault(what: str):
    """Register a function that makes a faulty source from good pairs, in an empty folder."""

    def register(make):
        SOURCE_FAULTS[what] = make
        return make

    return register


def tar_of(folder: Path, members, name: str = "a.tar") -> str:
    with tarfile.open(folder / name, "w") as tar:
        for member_name, data in members:
            member = tarfile.TarInfo(member_name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return str(folder / name)


def members_of(pairs: list[Pair], text: str = ".txt"):
    for name, image, caption in pairs:
        yield name, image
        yield name.rpartition(".")[0] + text, str(caption).encode()


@fault("truncated tar")
def truncated_tar(folder, pairs):
    path = Path(tar_of(folder, members_of(pairs)))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]
    path.write_bytes(path.read_bytes()[: last.offset_data + 50])
    return Made(str(path), {"truncated tar": 1}, ("truncated tar",))


@fault("a damaged header")
def damaged_tar(folder, pairs):
    path = Path(tar_of(folder, members_of(pairs)))
    with tarfile.open(path) as tar:
        last = tar.getmembers()[-2]
    data = bytearray(path.read_bytes())
    data[last.offset : last.offset + 300] = b"?" * 300
    path.write_bytes(data)
    return Made(str(path), {}, ("damaged tar",))


@fault("tar without captions")
def tar_without_captions(folder, pairs):
    return Made(tar_of(folder, [pair[:2] for pair in pairs]), {"no caption": len(pairs)})


@fault("captions without images")
def captions_without_images(folder, pairs):
    members = [m for m in members_of(pairs) if m[0].endswith(".txt")]
    return Made(tar_of(folder, members), {"no image": len(pairs)})


@fault("one caption without an image")
def caption_without_image(folder, pairs):
    return Made(tar_of(folder, [*members_of(pairs), ("lonely.txt", b"alone")]), {"no image": 1})


@fault("duplicate keys")
def duplicate_keys(folder, pairs):
    return Made(tar_of(folder, [*members_of(pairs), (pairs[0][0], pairs[0][1])]), {}, ("duplicate key",))


@fault("a link in a tar")
def link_in_tar(folder, pairs):
    path = tar_of(folder, members_of(pairs))
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("/etc/passwd.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "../../../etc/passwd"
        tar.addfile(link)
    return Made(path, {}, ("link in tar",))


@fault("text that is not JSON")
def not_json(folder, pairs):
    members = [(n, b"{" if n.endswith(".json") else d) for n, d in members_of(pairs[:3], ".json")]
    return Made(tar_of(folder, members), {"caption not JSON": 3})


@fault("json without a caption")
def json_without_caption(folder, pairs):
    members = [(n, b'{"url": "x"}' if n.endswith(".json") else d) for n, d in members_of(pairs[:3], ".json")]
    return Made(tar_of(folder, members), {"no caption": 3})


@fault("gzipped tar")
def gzipped(folder, pairs):
    with tarfile.open(folder / "a.tar.gz", "w:gz"):
        pass
    (folder / "a.tar.gz").rename(folder / "a.tar")
    return Made(str(folder / "a.tar"), refused="compressed with gzip")


@fault("tar of zero bytes")
def empty_tar(folder, pairs):
    (folder / "a.tar").write_bytes(b"")
    return Made(str(folder / "a.tar"), refused="no samples")


@fault("a shard that is missing")
def missing_shard(folder, pairs):
    write_tar(folder, pairs)
    return Made(str(folder / "{00000..00002}.tar"), refused="1 of the 3 files")


@fault("a shard that changes while in use")
def changing_shard(folder, pairs):
    path = Path(tar_of(folder, members_of(pairs)))
    size = path.stat().st_size
    return Made(str(path), {"shard changed": len(pairs)}, later=lambda: path.write_bytes(b"y" * size))


@fault("a shard that shrinks while in use")
def shrinking_shard(folder, pairs):
    path = Path(tar_of(folder, members_of(pairs)))
    return Made(str(path), {"shard changed": len(pairs)}, later=lambda: path.write_bytes(b""))


@fault("a shard that is removed while in use")
def removed_shard(folder, pairs):
    path = Path(tar_of(folder, members_of(pairs)))
    return Made(str(path), {"shard gone": len(pairs)}, later=path.unlink)


def table(folder: Path, pairs: list[Pair], lines: str) -> str:
    """A good table with more lines at its end."""
    path = Path(write_csv(folder, pairs))
    path.write_text(path.read_text(encoding="utf-8") + lines, encoding="utf-8")
    return str(path)


@fault("an image that is missing")
def missing_image(folder, pairs):
    return Made(table(folder, pairs, "none.png,a kite\nhttps://example.org/a.png,a kite\n"), {"missing file": 2})


@fault("an image that is a folder, and one that is a pipe")
def not_regular(folder, pairs):
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    return Made(table(folder, pairs, "folder.png,a\npipe.png,b\n"), {"not a regular file": 2})


@fault("a file that links to itself")
def link_loop(folder, pairs):
    (folder / "loop.png").symlink_to(folder / "loop.png")
    return Made(table(folder, pairs, "loop.png,a\n"), {"link loop": 1})


@fault("absolute paths and paths with ..")
def outside(folder, pairs):
    lines = f"{folder / pairs[0][0]},a\n../x.png,b\na/../../x.png,c\n/etc/passwd,d\n"
    return Made(table(folder, pairs, lines), {"path outside the folder": 4}, ("path outside the folder",))


@fault("a path that no file can have")
def no_file(folder, pairs):
    return Made(table(folder, pairs, f"{'x' * 5000},a\n ,b\n"), {"missing file": 1, "no image path": 1})


@fault("a NUL in a path")
def nul_in_path(folder, pairs):
    write_images(folder, pairs[:2])
    (folder / "t.jsonl").write_text(
        f'{{"image": "{pairs[0][0]}", "text": "a"}}\n{{"image": "x\\u0000.png", "text": "b"}}\n', encoding="utf-8"
    )
    return Made(str(folder / "t.jsonl"), {"missing file": 1})


@fault("a file that is too large")
def too_large(folder, pairs):
    with (folder / "huge.png").open("wb") as file:
        file.truncate(2**30)  # takes no space on the disk
    return Made(table(folder, pairs, "huge.png,a\n"), {"file too large": 1})


@fault("a row that is too short")
def short_row(folder, pairs):
    (folder / "more.png").write_bytes(pairs[0][1])
    return Made(table(folder, pairs, "more.png\n"), {"no caption": 1})


@fault("a row that is too long")
def long_row(folder, pairs):
    (folder / "most.png").write_bytes(pairs[0][1])
    return Made(table(folder, pairs, "most.png,a,b,c\n"), refused="4 fields under 2 names")


@fault("a byte order mark and Windows line ends")
def bom_and_crlf(folder, pairs):
    path = Path(write_csv(folder, pairs))
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    return Made(str(path))


@fault("no caption column")
def no_column(folder, pairs):
    (folder / "t.csv").write_text("image,words\na.png,b\n", encoding="utf-8")
    return Made(str(folder / "t.csv"), refused="no caption column")


@fault("a table in another encoding")
def latin1(folder, pairs):
    (folder / "t.csv").write_bytes(b"image,caption\na.png,B\xe4r\n")
    return Made(str(folder / "t.csv"), refused="not UTF-8 text")


@fault("a table of zero bytes")
def empty_table(folder, pairs):
    (folder / "t.csv").write_bytes(b"")
    return Made(str(folder / "t.csv"), refused="the table is empty")


@fault("a table without rows")
def no_rows(folder, pairs):
    (folder / "t.csv").write_text("image,caption\n", encoding="utf-8")
    return Made(str(folder / "t.csv"), refused="no rows")


@fault("a line that is not JSON")
def bad_line(folder, pairs):
    (folder / "t.jsonl").write_text('{"image": "a.png", "caption": "x"}\n{"image": \n', encoding="utf-8")
    return Made(str(folder / "t.jsonl"), refused="line 2: not valid JSON")


@fault("captions that are null or NaN")
def null_captions(folder, pairs):
    write_images(folder, pairs[:3])
    lines = zip(pairs[:3], ("null", "NaN", "7"), strict=True)
    text = "\n".join(f'{{"image": "{pair[0]}", "caption": {value}}}' for pair, value in lines)
    (folder / "t.jsonl").write_text(text, encoding="utf-8")
    return Made(str(folder / "t.jsonl"), {"no caption": 2, "caption not text": 1})


@fault("a folder with a text and an image on their own, and a loop")
def lonely(folder, pairs):
    write_folder(folder, pairs)
    (folder / "lonely.txt").write_text("alone", encoding="utf-8")
    (folder / "bare.png").write_bytes(pairs[0][1])
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    return Made(str(folder), {"no caption": 1}, ("text without image",))


@fault("an imagefolder that lists too much")
def listed_too_much(folder, pairs):
    write_imagefolder(folder, pairs)
    (folder / pairs[2][0]).unlink()
    return Made(str(folder), {"missing file": 1})


@fault("a null image in Parquet")
def null_image(folder, pairs):
    images = [None if n == 1 else pair[1] for n, pair in enumerate(pairs)]
    columns = {"image": pa.array(images, pa.binary()), "caption": [pair[2] for pair in pairs]}
    pq.write_table(pa.table(columns), folder / "a.parquet")
    return Made(str(folder / "a.parquet"), {"empty image": 1})


@fault("a damaged row group in Parquet")
def damaged_group(folder, pairs):
    path = folder / "a.parquet"
    pq.write_table(arrow_table(pairs), path, row_group_size=4, compression="snappy", use_dictionary=False)
    column = pq.read_metadata(path).row_group(1).column(1)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    return Made(str(path), {"damaged Parquet": 4}, ("damaged Parquet",))


@fault("Parquet cut off")
def cut_parquet(folder, pairs):
    pq.write_table(arrow_table(pairs), folder / "a.parquet")
    (folder / "a.parquet").write_bytes((folder / "a.parquet").read_bytes()[:-50])
    return Made(str(folder / "a.parquet"), refused="not a readable Parquet file")


@fault("a file that is not Arrow")
def no_arrow(folder, pairs):
    (folder / "a.arrow").write_bytes(b"not Arrow" * 50)
    return Made(str(folder / "a.arrow"), refused="not a readable Arrow file")
