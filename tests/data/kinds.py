"""Kinds of trouble with other people's files, each in every format where it can occur.

A case makes a source in an empty folder. It says which captions must be trained on and evaluated, or with which words
the source is refused. The pictures all differ, unless a case says otherwise.
"""

import io
import json
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def png(number: int, size: tuple[int, int] = (20, 16)) -> bytes:
    """A picture that no other number has."""
    pixels = np.random.default_rng(number).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def put(path: Path, data: bytes | str) -> Path:
    """A file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def images(folder: Path, count: int, first: int = 0) -> None:
    """0.png, 1.png, ..."""
    for number in range(first, first + count):
        put(folder / f"{number}.png", png(number))


def table(path: Path, rows: Sequence[Sequence[object]], columns: Sequence[str] = ("image", "caption")) -> Path:
    """A table of unquoted cells, or JSON lines."""
    if path.suffix == ".jsonl":
        return put(path, "\n".join(json.dumps(dict(zip(columns, row, strict=True))) for row in rows))
    separator = {".csv": ",", ".tsv": "\t"}[path.suffix]
    return put(path, "\n".join(separator.join(map(str, row)) for row in [columns, *rows]) + "\n")


def parquet(file: Path, /, **columns: object) -> Path:
    """A Parquet file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), file)  # type: ignore[arg-type]
    return file


def arrow(path: Path, **columns: object) -> Path:
    """A data set as `save_to_disk` writes it."""
    content = pa.table(columns)  # type: ignore[arg-type]
    path.mkdir(parents=True, exist_ok=True)
    with pa.ipc.new_stream(path / "data-00000-of-00001.arrow", content.schema) as writer:
        writer.write_table(content)
    put(path / "state.json", json.dumps({"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}))
    return path


def tar(path: Path, members: Sequence[tuple[str, bytes | str]]) -> Path:
    """A tar shard."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as file:
        for name, data in members:
            content = data if isinstance(data, bytes) else data.encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def pairs_of(first: int, count: int, folder: str = "", text: str = "a kite") -> list[tuple[str, bytes | str]]:
    """Members of a tar."""
    names = [(n, f"{folder}{n}") for n in range(first, first + count)]
    return [member for n, name in names for member in ((f"{name}.png", png(n)), (f"{name}.txt", f"{text} {n}"))]


@dataclass(frozen=True)
class Case:
    """A kind of trouble, and what is right.

    Attributes:
        kind: the fault that it belongs to.
        make: makes the source in an empty folder, and returns it.
        captions: what is trained on, in any order.
        evaluated: what is evaluated, if that is another split.
        bad: how many samples are counted under which cause.
        refused: words of the error; then there are no captions.
        note: words of a note that must be printed.
        images: how many images there are in evaluation, if fewer than captions.
    """

    kind: str
    make: Callable[[Path], Path | str]
    captions: tuple[str, ...] = ()
    evaluated: tuple[str, ...] | None = None
    bad: tuple[tuple[str, int], ...] = ()
    refused: str = ""
    note: str = ""
    images: int = 0


CASES: dict[str, Case] = {}


def case(name: str, kind: str, captions: Sequence[str] = (), **expected):
    """Register the function that makes a case."""

    def register(make):
        assert name not in CASES, name
        CASES[name] = Case(kind, make, tuple(captions), **expected)
        return make

    return register


def kites(*numbers: int) -> list[str]:
    """Captions that go with the pictures of these numbers."""
    return [f"a kite {number}" for number in numbers]


# Test rows are trained on

SPLIT = "splits"
TRAIN, TEST = kites(0, 1, 2), tuple(kites(3, 4))
split = {"evaluated": TEST, "note": "left out"}


def rows(first: int, count: int, folder: str = "") -> list[tuple[str, str]]:
    return [(f"{folder}{n}.png", f"a kite {n}") for n in range(first, first + count)]


@case("splits: Parquet by file name", SPLIT, TRAIN, **split)
def _(d):
    for first, count, name in ((0, 3, "train-00000-of-00001"), (3, 2, "test-00000-of-00001"), (5, 1, "validation-0")):
        numbers = range(first, first + count)
        parquet(d / f"{name}.parquet", image=[png(n) for n in numbers], caption=kites(*numbers))
    return d


@case("splits: Parquet in data/, by a pattern", SPLIT, TRAIN, **split)
def _(d):
    for first, count, name in ((0, 3, "Train_0"), (3, 2, "TEST_0")):
        numbers = range(first, first + count)
        parquet(d / "data" / f"{name}.parquet", image=[png(n) for n in numbers], caption=kites(*numbers))
    return f"{d}/data/*.parquet"


@case("splits: names that only look like splits", SPLIT, [*TRAIN, *TEST])
def _(d):
    for first, count, name in ((0, 3, "latest"), (3, 2, "contest")):
        numbers = range(first, first + count)
        parquet(d / f"{name}.parquet", image=[png(n) for n in numbers], caption=kites(*numbers))
    return d


@case("splits: tar shards", SPLIT, TRAIN, **split)
def _(d):
    tar(d / "cc3m-train-0000.tar", pairs_of(0, 3))
    tar(d / "cc3m-val-0000.tar", pairs_of(5, 1))
    tar(d / "cc3m-test-0000.tar", pairs_of(3, 2))
    return d


@case("splits: folders inside a tar", SPLIT, TRAIN, **split)
def _(d):
    return tar(d / "a.tar", [*pairs_of(0, 3, "train/"), *pairs_of(3, 2, "test/")])


@case("splits: tables of one folder", SPLIT, TRAIN, **split)
def _(d):
    images(d, 5)
    table(d / "train.csv", rows(0, 3))
    table(d / "test.csv", rows(3, 2))
    return d


@case("splits: a column", SPLIT, TRAIN, **split)
def _(d):
    images(d, 6)
    splits = ("train", "train", "train", "test", "test", "val")
    return table(d / "t.tsv", [(f"{n}.png", f"a kite {n}", splits[n]) for n in range(6)], ("image", "caption", "split"))


@case("splits: a column of JSON lines", SPLIT, TRAIN, **split)
def _(d):
    images(d, 5)
    content = [(f"{n}.png", f"a kite {n}", "Train" if n < 3 else "TEST") for n in range(5)]
    return table(d / "t.jsonl", content, ("image", "caption", "partition"))


@case("splits: a column of Parquet", SPLIT, TRAIN, **split)
def _(d):
    splits = ["train"] * 3 + ["test"] * 2
    return parquet(d / "a.parquet", image=[png(n) for n in range(5)], caption=kites(*range(5)), split=splits)


@case("splits: a column of a saved data set", SPLIT, TRAIN, **split)
def _(d):
    splits = ["training"] * 3 + ["test"] * 2
    return arrow(d / "a", image=[png(n) for n in range(5)], caption=kites(*range(5)), split=splits)


@case("splits: a saved DatasetDict", SPLIT, TRAIN, **split)
def _(d):
    arrow(d / "train", image=[png(n) for n in range(3)], caption=TRAIN)
    arrow(d / "test", image=[png(n) for n in (3, 4)], caption=list(TEST))
    put(d / "dataset_dict.json", json.dumps({"splits": ["train", "test"]}))
    return d


@case("splits: folders of images and texts", SPLIT, TRAIN, **split)
def _(d):
    for first, count, name in ((0, 3, "train"), (3, 2, "test"), (5, 1, "valid")):
        for n in range(first, first + count):
            put(d / name / f"{n}.png", png(n))
            put(d / name / f"{n}.txt", f"a kite {n}")
    return d


@case("splits: folders with metadata", SPLIT, TRAIN, **split)
def _(d):
    for first, count, name in ((0, 3, "train"), (3, 2, "test")):
        images(d / name, count, first)
        table(d / name / "metadata.csv", rows(first, count), ("file_name", "text"))
    return d


@case("splits: one metadata table above folders", SPLIT, TRAIN, **split)
def _(d):
    images(d / "train", 3)
    images(d / "test", 2, 3)
    table(d / "metadata.csv", [*rows(0, 3, "train/"), *rows(3, 2, "test/")], ("file_name", "text"))
    return d


@case("splits: some files name one and others do not", SPLIT, refused="name no split")
def _(d):
    for n, name in enumerate(("train-0", "test-0", "more")):
        parquet(d / f"{name}.parquet", image=[png(n)], caption=kites(n))
    return d


# Captions that are not text

TEXT = "captions"


@case("captions: bytes in Parquet", TEXT, kites(0, 1))
def _(d):
    return parquet(d / "a.parquet", image=[png(0), png(1)], caption=[b"a kite 0", b"a kite 1"])


@case("captions: bytes that are not UTF-8", TEXT, kites(1), bad=(("caption not UTF-8", 1),))
def _(d):
    return parquet(d / "a.parquet", image=[png(0), png(1)], caption=[b"B\xe4r", b"a kite 1"])


@case("captions: lists of bytes in a saved data set", TEXT, ["one", "two", "three"], images=2)
def _(d):
    return arrow(d / "a", image=[png(0), png(1)], caption=[[b"one", b"two"], [b"three"]])


@case("captions: numbers in Parquet", TEXT, refused="holds int64, not texts")
def _(d):
    return parquet(d / "a.parquet", image=[png(0), png(1)], text=[3, 4])


@case("captions: mappings in Parquet", TEXT, refused="not texts or lists of texts")
def _(d):
    return parquet(d / "a.parquet", image=[png(0)], caption=[{"raw": "a kite"}])


@case("captions: lists of lists in Parquet", TEXT, refused="not texts or lists of texts")
def _(d):
    return parquet(d / "a.parquet", image=[png(0)], caption=[[["a kite"]]])


@case("captions: other things in JSON lines", TEXT, kites(0), bad=(("caption not text", 5), ("no caption", 1)))
def _(d):
    images(d, 7)
    cells = ["a kite 0", 7, {"en": "a kite"}, [["a kite"]], True, ["a kite", 3], None]
    return table(d / "t.jsonl", [(f"{n}.png", cell) for n, cell in enumerate(cells)])


@case("captions: other things in the .json of a tar", TEXT, kites(0), bad=(("caption not text", 2),))
def _(d):
    members = []
    for n, cell in enumerate(["a kite 0", {"en": "x"}, 4]):
        members += [(f"{n}.png", png(n)), (f"{n}.json", json.dumps({"caption": cell}))]
    return tar(d / "a.tar", members)


@case("captions: other things in the .json beside an image", TEXT, kites(0), bad=(("caption not text", 1),))
def _(d):
    images(d, 2)
    put(d / "0.json", json.dumps({"caption": "a kite 0"}))
    put(d / "1.json", json.dumps({"caption": 1}))
    return d


@case(
    "captions: lists, bytes and mappings as Python writes them", TEXT, ["a", "b", "c"], bad=(("caption not text", 1),)
)
def _(d):
    images(d, 3)
    return put(d / "t.csv", "image,caption\n0.png,\"['a', 'b']\"\n1.png,b'c'\n2.png,\"{'raw': 'd'}\"\n")


@case("captions: nan and invisible ones", TEXT, kites(0), bad=(("no caption", 5),))
def _(d):
    images(d, 6)
    cells = ["a kite 0", "nan", "&nbsp;", "NULL", "\u200b", "&amp;nbsp;"]
    return table(d / "t.tsv", [(f"{n}.png", cell) for n, cell in enumerate(cells)])


@case("captions: half of a surrogate pair", TEXT, ["? kite"])
def _(d):
    return tar(d / "a.tar", [("0.png", png(0)), ("0.json", '{"caption": "\\ud83d kite"}')])


# An open quote swallows rows

QUOTES = "quotes"


@case("quotes: in a TSV they are letters", QUOTES, ['"Hello there', 'the end"', *kites(2)])
def _(d):
    images(d, 3)
    return table(d / "t.tsv", [("0.png", '"Hello there'), ("1.png", 'the end"'), *rows(2, 1)])


@case("quotes: tabs in a .csv", QUOTES, ['"Hello there', 'the end"', *kites(2)])
def _(d):
    images(d, 3)
    return put(d / "t.csv", 'image\tcaption\n0.png\t"Hello there\n1.png\tthe end"\n2.png\ta kite 2\n')


@case("quotes: bars", QUOTES, ['"Hello there', 'the end"'])
def _(d):
    images(d, 2)
    return put(d / "results.csv", 'image_name| comment_number| comment\n0.png| 0| "Hello there\n1.png| 0| the end"\n')


@case("quotes: a field of a CSV that holds a row", QUOTES, refused="line 2: a quote opens here")
def _(d):
    images(d, 3)
    return put(d / "t.csv", 'image,caption\n0.png,"Hello there\n1.png,a kite\n2.png,the end"\n')


@case("quotes: line breaks in a CSV that are meant", QUOTES, ["a kite,\nhigh up", *kites(1)])
def _(d):
    images(d, 2)
    return put(d / "t.csv", 'image,caption\n0.png,"a kite,\nhigh up"\n1.png,a kite 1\n')


@case("quotes: a caption that begins with a quoted word", QUOTES, refused="line 2: not a readable table")
def _(d):
    images(d, 1)
    return put(d / "t.csv", 'image,caption\n0.png,"Hello" he said\n')


# The same pairs in another format

SAME = "images"
THREE = [f"{word} {n}" for n in range(3) for word in ("a", "one", "some")]


@case("images: rows of one path in a CSV", SAME, THREE, images=3)
def _(d):
    images(d, 3)
    return table(d / "t.csv", [(f"{n // 3}.png", text) for n, text in enumerate(THREE)])


@case("images: a path with and without ./", SAME, THREE, images=3)
def _(d):
    images(d, 3)
    return table(d / "t.jsonl", [(f"{'./' * (n % 3)}{n // 3}.png", text) for n, text in enumerate(THREE)])


@case("images: rows of one path in Parquet", SAME, THREE, images=3)
def _(d):
    paths = [f"{n // 3}.png" for n in range(9)]
    return parquet(d / "a.parquet", image=[png(n // 3) for n in range(9)], caption=THREE, path=paths)


@case("images: equal bytes in Parquet, without a path", SAME, THREE, images=3)
def _(d):
    return parquet(d / "a.parquet", image=[png(n // 3) for n in range(9)], caption=THREE, id=list(range(9)))


@case("images: equal bytes in a saved data set", SAME, THREE, images=3)
def _(d):
    return arrow(d / "a", image=[{"bytes": png(n // 3), "path": None} for n in range(9)], caption=THREE)


@case("images: equal bytes in a tar", SAME, THREE, images=3)
def _(d):
    members = [m for n, text in enumerate(THREE) for m in ((f"{n}.png", png(n // 3)), (f"{n}.txt", text))]
    return tar(d / "a.tar", members)


@case("images: equal bytes in a folder", SAME, THREE, images=3)
def _(d):
    for n, text in enumerate(THREE):
        put(d / f"{n}.png", png(n // 3))
        put(d / f"{n}.txt", text)
    return d


@case("images: ids that restart in each file", SAME, kites(0, 1, 2, 3))
def _(d):
    for file in range(2):
        numbers = (2 * file, 2 * file + 1)
        parquet(d / f"{file}.parquet", image=[png(n) for n in numbers], caption=kites(*numbers), id=[0, 1])
    return d


@case("images: {bytes: null, path} is the file", SAME, kites(0, 1))
def _(d):
    images(d, 1)
    cells = [{"bytes": None, "path": "0.png"}, {"bytes": png(1), "path": "1.png"}]
    return parquet(d / "a.parquet", image=cells, caption=kites(0, 1))


# Hidden copies

HIDDEN = "hidden"


@case("hidden: in a folder", HIDDEN, kites(0, 1), note="left out: 4")
def _(d):
    for n in range(2):
        put(d / f"{n}.png", png(n))
        put(d / f"{n}.txt", f"a kite {n}")
    for name in (".ipynb_checkpoints/0-checkpoint", "__MACOSX/._0", "@eaDir/0", "._1"):
        put(d / f"{name}.png", png(9))
    return d


@case("hidden: in a tar", HIDDEN, kites(0, 1), note="left out: 3")
def _(d):
    odd = [("__MACOSX/._0.png", png(9)), (".ipynb_checkpoints/0-checkpoint.png", png(8)), ("@eaDir/1.txt", "x")]
    return tar(d / "a.tar", [*pairs_of(0, 2), *odd])


@case("hidden: rows of a table", HIDDEN, kites(0, 1), note="left out: 2")
def _(d):
    images(d, 2)
    put(d / ".ipynb_checkpoints" / "0-checkpoint.png", png(9))
    copies = [(".ipynb_checkpoints/0-checkpoint.png", "a kite 0"), ("__MACOSX/._1.png", "a kite 1")]
    return table(d / "t.csv", [*rows(0, 2), *copies])


@case("hidden: shards", HIDDEN, kites(0, 1), note="left out: 1")
def _(d):
    tar(d / "0.tar", pairs_of(0, 2))
    put(d / "._0.tar", b"rubbish")
    return f"{d}/*.tar"


@case("hidden: shards of a folder", HIDDEN, kites(0, 1), note="left out: 1")
def _(d):
    tar(d / "0.tar", pairs_of(0, 2))
    put(d / "._0.tar", b"rubbish")
    return d


# Paths

PATHS = "paths"


@case("paths: half of a surrogate pair", PATHS, kites(0), bad=(("missing file", 1),))
def _(d):
    images(d, 1)
    return put(d / "t.jsonl", '{"image": "0.png", "caption": "a kite 0"}\n{"image": "\\ud83d.png", "caption": "x"}\n')


@case("paths: backslashes", PATHS, kites(0, 1))
def _(d):
    images(d / "some" / "folder", 2)
    return table(d / "t.csv", [(f"some\\folder\\{n}.png", f"a kite {n}") for n in range(2)])


@case("paths: addresses", PATHS, refused="askew downloads nothing")
def _(d):
    return table(d / "t.csv", [(f"https://example.org/{n}.png", "a kite") for n in range(2)])


@case("paths: images as base64 text", PATHS, refused="base64")
def _(d):
    return table(d / "t.tsv", [("iVBORw0KGgo" + "A" * 200, "a kite")])


@case("paths: rows without one are each counted", PATHS, kites(0), bad=(("no image path", 2),))
def _(d):
    images(d, 1)
    return table(d / "t.csv", [*rows(0, 1), ("", "a kite 1"), ("", "a kite 2")])


# Layouts

LAYOUT = "layouts"


@case("layouts: img2dataset", LAYOUT, kites(0, 1, 2))
def _(d):
    for n in range(3):
        put(d / f"0000{n // 2}" / f"{n}.png", png(n))
        put(d / f"0000{n // 2}" / f"{n}.txt", f"a kite {n}")
        put(d / f"0000{n // 2}" / f"{n}.json", json.dumps({"caption": "x", "url": "y"}))
    for shard in range(2):
        parquet(d / f"0000{shard}.parquet", url=["y"], caption=["x"], status=["success"])
        put(d / f"0000{shard}_stats.json", "{}")
    return d


@case("layouts: images/ and texts/", LAYOUT, kites(0, 1))
def _(d):
    for n in range(2):
        put(d / "images" / f"{n}.png", png(n))
        put(d / "texts" / f"{n}.TXT", f"a kite {n}")
    return d


@case("layouts: Flickr8k", LAYOUT, [f"a kite, {n}" for n in range(4)], images=2)
def _(d):
    images(d / "Images", 2)
    put(d / "captions.txt", "image,caption\n" + "".join(f'{n // 2}.png,"a kite, {n}"\n' for n in range(4)))
    return d


@case("layouts: Flickr30k's bars, with its broken row", LAYOUT, kites(0, 1, 2), images=2, note="without a caption")
def _(d):
    images(d / "flickr30k_images", 2)
    lines = ["0.png| 0| a kite 0", "0.png| 1| a kite 1", "1.png| 0| a kite 2", "1.png| 4   a dog"]
    put(d / "results.csv", "\n".join(["image_name| comment_number| comment", *lines]))
    return d


@case("layouts: an array of records", LAYOUT, kites(0, 1))
def _(d):
    images(d, 2)
    return put(d / "a.json", json.dumps([{"image": f"{n}.png", "caption": [f"a kite {n}"]} for n in range(2)]))


@case("layouts: several caption columns", LAYOUT, ["a", "b", "c", "d"], images=2, note="2 columns")
def _(d):
    images(d, 2)
    content = [("0.png", "a", "b"), ("1.png", "c", "d")]
    return table(d / "t.csv", content, ("image", "caption_1", "caption_2"))


@case("layouts: semicolons", LAYOUT, ["a kite, high"])
def _(d):
    images(d, 1)
    return put(d / "t.csv", "image;caption\n0.png;a kite, high\n")


@case("layouts: sep= of a spreadsheet", LAYOUT, ["a kite; high"])
def _(d):
    images(d, 1)
    return put(d / "t.csv", "sep=,\r\nimage,caption\r\n0.png,a kite; high\r\n")


@case("layouts: no names of columns", LAYOUT, refused="the first line holds a pair (0.png)")
def _(d):
    images(d, 2)
    return put(d / "t.csv", "0.png,a kite\n1.png,a dog\n")


@case("layouts: two columns of one name", LAYOUT, refused="two columns are called 'caption'")
def _(d):
    return put(d / "t.csv", "image,caption,caption\n0.png,a,b\n")


@case("layouts: a linked folder", LAYOUT, kites(0))
def _(d):
    put(d / "real" / "0.png", png(0))
    put(d / "real" / "0.txt", "a kite 0")
    (d / "data").mkdir()
    (d / "data" / "linked").symlink_to(d / "real", target_is_directory=True)
    (d / "data" / "linked" / "up").symlink_to(d / "data", target_is_directory=True)
    return d / "data"


@case("layouts: a table beside images that have texts", LAYOUT, refused="can be read in two ways")
def _(d):
    images(d, 2)
    put(d / "0.txt", "a kite")
    table(d / "t.csv", rows(0, 2))
    return d


@case("layouts: files of two kinds", LAYOUT, refused="files of several kinds")
def _(d):
    tar(d / "a.tar", pairs_of(0, 1))
    parquet(d / "b.parquet", image=[png(1)], caption=["x"])
    return d


@case("layouts: other columns in another file", LAYOUT, refused="no column 'caption'")
def _(d):
    parquet(d / "a.parquet", image=[png(0)], caption=["x"])
    parquet(d / "b.parquet", image=[png(1)], title=["x"])
    return d


@case("layouts: JSON rows with other keys", LAYOUT, kites(0, 1))
def _(d):
    images(d, 2)
    first, second = {"image": "0.png", "caption": "a kite 0"}, {"file_name": "1.png", "text": "a kite 1"}
    return put(d / "t.jsonl", f"{json.dumps(first)}\n{json.dumps(second)}\n")


@case("layouts: a missing part", LAYOUT, kites(0, 2), note="train-00001-of-00003.parquet")
def _(d):
    for n in (0, 2):
        parquet(d / f"train-0000{n}-of-00003.parquet", image=[png(n)], caption=kites(n))
    return d


@case("layouts: a part without rows", LAYOUT, kites(0), note="files without rows: 1")
def _(d):
    parquet(d / "a.parquet", image=[png(0)], caption=kites(0))
    parquet(d / "b.parquet", image=pa.array([], pa.null()), caption=pa.array([], pa.null()))
    return d


@case("layouts: a tar that is cut off between samples", LAYOUT, kites(0), note="without an end mark")
def _(d):
    path = tar(d / "a.tar", pairs_of(0, 2))
    with tarfile.open(path) as file:
        end = file.getmembers()[2].offset
    return put(path, path.read_bytes()[:end])


@case("layouts: other image files in a tar", LAYOUT, kites(0), bad=(("no image", 1),))
def _(d):
    return tar(d / "a.tar", [*pairs_of(0, 1), ("001.xcf", b"gimp"), ("001.txt", "a kite")])


@case("layouts: a pointer of Git LFS", LAYOUT, refused="git lfs pull")
def _(d):
    return put(d / "a.parquet", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
