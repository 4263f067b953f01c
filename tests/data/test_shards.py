"""Tar shards: every layout that tar writers use, the index file, and everything that can go wrong with a shard."""

import io
import json
import os
import pickle
import tarfile
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from askew.data.sources import SourceOptions, open_source, stable_id
from askew.data.sources import index as index_module
from askew.data.sources import shards as shards_module
from askew.data.sources.index import SUFFIX
from askew.data.sources.positioned import PositionedFile
from askew.data.sources.tar import Damaged, members
from askew.errors import Unusable, UserError


def write_tar(path: Path, contents, format=tarfile.USTAR_FORMAT) -> Path:
    """A tar of (name, bytes) pairs."""
    with tarfile.open(path, "w", format=format) as tar:
        for name, data in contents:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def pairs(count, start=0, text=".txt"):
    """Members of `count` samples with images of different sizes."""
    made = []
    for n in range(start, start + count):
        caption = json.dumps({"caption": f"text {n}"}) if text == ".json" else f"text {n}"
        made += [(f"{n:05d}.jpg", b"x" * (500 + 37 * n)), (f"{n:05d}{text}", caption.encode())]
    return made


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "askew"


NAMES = [
    "a.jpg",
    "b" * 96 + ".jpg",
    "d/" * 60 + "e.jpg",
    "f" * 300 + ".jpg",
    "üñí 🦉.jpg",
    "with space 'and\" quotes.jpg",
]


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_members_are_those_that_tarfile_finds(tmp_path, format):
    names = [n for n in NAMES if format != tarfile.USTAR_FORMAT or len(n) < 250]
    sizes = (0, 1, 511, 512, 513, 5000)[: len(names)]
    contents = [(name, bytes(size)) for name, size in zip(names, sizes, strict=True)]
    path = write_tar(tmp_path / "a.tar", contents, format)
    with PositionedFile(path) as file, tarfile.open(path) as tar:
        found = list(members(file))
        assert [(m.name, m.size, m.block * 512) for m in found] == [(m.name, m.size, m.offset_data) for m in tar]


def test_a_size_in_base_256_and_joined_tars(tmp_path):
    one = bytearray(write_tar(tmp_path / "a.tar", [("a.jpg", b"123")]).read_bytes())
    one[124:136] = bytes([0x80]) + (3).to_bytes(11, "big")
    one[148:156] = b"%06o\0 " % (sum(one[:512]) - sum(one[148:156]) + 256)
    both = tmp_path / "both.tar"
    both.write_bytes(bytes(one) + write_tar(tmp_path / "b.tar", [("b.jpg", b"4567")]).read_bytes())
    with PositionedFile(both) as file:
        assert [(m.name, m.size) for m in members(file)] == [("a.jpg", 3), ("b.jpg", 4)]


@pytest.mark.parametrize("text", [".txt", ".caption", ".json"])
def test_samples_of_shards_in_their_order(tmp_path, text):
    for shard in range(3):
        write_tar(tmp_path / f"{shard:03d}.tar", pairs(4 + shard, 10 * shard, text))
    source = open_source(str(tmp_path / "{000..002}.tar"))
    assert len(source) == 15
    numbers = [*range(4), *range(10, 15), *range(20, 26)]
    for sample, n in zip((source[i] for i in range(15)), numbers, strict=True):
        assert sample.image == b"x" * (500 + 37 * n)
        assert sample.captions == (f"text {n}",)
        assert sample.id == stable_id(f"{n:05d}.jpg")
    assert source[4].name == "001.tar/00010.jpg"
    assert source.describe == f"3 tar shards 000.tar to 002.tar: 15 images, 15 texts ({text})"
    again = pickle.loads(pickle.dumps(source))  # as it goes to a spawned worker
    assert [again[i] for i in range(15)] == [source[i] for i in range(15)]


@pytest.mark.parametrize("pattern", ["{0..1}.tar", "{1,0}.tar", "*.tar", "?.tar", "[01].tar", ""])
def test_patterns(tmp_path, pattern):
    for shard in range(2):
        write_tar(tmp_path / f"{shard}.tar", pairs(2, 10 * shard))
    source = open_source(str(tmp_path / pattern))
    first = "text 10" if pattern == "{1,0}.tar" else "text 0"
    assert len(source) == 4
    assert source[0].captions == (first,)


def test_members_may_be_anywhere_in_the_shard(tmp_path):
    made = pairs(5)
    source = open_source(str(write_tar(tmp_path / "a.tar", made[::2] + made[1::2][::-1])))
    assert [source[i].captions for i in range(5)] == [(f"text {n}",) for n in range(5)]


def test_the_text_is_chosen_by_option(tmp_path):
    fields = {"caption": "from json", "alt": ["one", "two", ""], "n": 7}
    contents = [("a.jpg", b"1"), ("a.txt", b"from txt"), ("a.json", json.dumps(fields).encode())]
    path = str(write_tar(tmp_path / "a.tar", contents))
    for column, captions in {
        "": ("from txt",), "txt": ("from txt",), "json": ("from json",), "alt": ("one", "two"), "no": (),
    }.items():  # fmt: skip
        assert open_source(path, SourceOptions(caption_column=column))[0].captions == captions
    with pytest.raises(Unusable, match="the caption is a number, not a text: 7"):
        open_source(path, SourceOptions(caption_column="n"))[0]
    with pytest.raises(UserError, match=r"no member is a .caption .*there are 1 .image, 1 .txt, 1 .json"):
        open_source(path, SourceOptions(caption_column="caption"))


def test_a_name_in_two_shards_means_two_images(tmp_path):
    for shard in range(2):
        write_tar(tmp_path / f"{shard}.tar", pairs(3))
    source = open_source(str(tmp_path / "*.tar"))
    assert len({source[i].id for i in range(6)}) == 6
    assert "ids by shard and name" in source.describe


def test_an_index_is_kept_beside_the_shard_and_made_again_when_it_changes(tmp_path, monkeypatch):
    path, calls = write_tar(tmp_path / "a.tar", pairs(3)), []
    layout = shards_module.layout
    monkeypatch.setattr(shards_module, "layout", lambda path: calls.append(path.name) or layout(path))
    for _ in range(2):
        assert len(open_source(str(path))) == 3
    assert calls == ["a.tar"]
    assert (tmp_path / f"a.tar{SUFFIX}").is_file()
    write_tar(path, pairs(4))
    assert len(open_source(str(path))) == 4
    assert calls == ["a.tar"] * 2
    os.utime(path, ns=(1, 1))
    assert len(open_source(str(path))) == 4
    assert calls == ["a.tar"] * 3
    (tmp_path / f"a.tar{SUFFIX}").write_bytes((tmp_path / f"a.tar{SUFFIX}").read_bytes()[:300])  # damaged
    assert len(open_source(str(path))) == 4
    assert calls == ["a.tar"] * 4


def test_a_long_wait_for_indices_says_how_far_it_is(tmp_path, monkeypatch, caplog):
    for number in range(3):
        write_tar(tmp_path / f"{number}.tar", pairs(2, start=2 * number))
    layout, go_on = shards_module.layout, threading.Event()

    def last_is_slow(path):
        if path.name == "2.tar":
            assert go_on.wait(30)
        return layout(path)

    def said(line):
        if "2 of 3" in line.getMessage():
            go_on.set()
        return True

    monkeypatch.setattr(shards_module, "layout", last_is_slow)
    monkeypatch.setattr(shards_module, "NEXT_LINE", 0.05)
    caplog.handler.addFilter(said)
    assert len(open_source(str(tmp_path / "{0..2}.tar"))) == 6
    assert caplog.messages[-1] == "data: 2 of 3 shards are indexed (no wait where an index was kept by an earlier run)"
    caplog.clear()
    assert len(open_source(str(tmp_path / "{0..2}.tar"))) == 6  # now it is there
    assert not caplog.messages


def test_the_first_shard_that_cannot_be_indexed_is_named_and_others_are_not_begun(tmp_path, monkeypatch):
    for number in range(9):
        write_tar(tmp_path / f"{number}.tar", pairs(1, start=number))
    begun = []

    def layout(path):
        begun.append(path.name)
        time.sleep(0.2 * (path.name != "0.tar"))
        raise OSError(5, f"no luck with {path.name}")

    monkeypatch.setattr(shards_module, "layout", layout)
    monkeypatch.setattr(shards_module.TarSource, "index_threads", 1)
    with pytest.raises(UserError, match=r"0\.tar: cannot be read \(no luck with 0"):
        open_source(str(tmp_path / "{0..8}.tar"))
    assert len(begun) < 9


def test_if_the_folder_cannot_be_written_to_the_index_is_in_the_cache_or_in_memory(tmp_path, cache, monkeypatch):
    path = write_tar(tmp_path / "a.tar", pairs(3))
    save = index_module.save
    monkeypatch.setattr(index_module, "save", lambda place, table: place.parent == cache and save(place, table))
    assert len(open_source(str(path))) == 3
    assert [file.name.endswith(f"-a.tar{SUFFIX}") for file in cache.iterdir()] == [True]
    monkeypatch.setattr(shards_module, "layout", lambda path: pytest.fail("the index in the cache is not used"))
    assert len(open_source(str(path))) == 3
    monkeypatch.undo()
    monkeypatch.setattr(index_module, "save", lambda place, table: False)
    write_tar(path, pairs(5))
    source = open_source(str(path))
    assert len(source) == 5
    assert source[4].captions == ("text 4",)


def test_an_index_takes_less_than_40_bytes_per_sample(tmp_path):
    path = write_tar(tmp_path / "a.tar", [m for n in range(2000) for m in ((f"{n}.jpg", b""), (f"{n}.txt", b"x"))])
    open_source(str(path))
    before = pa.total_allocated_bytes()
    source = open_source(str(path))
    source[0]
    arrays = [*source._ids, *source._arrays.values()]
    assert sum(array.nbytes for array in arrays) == 2000 * 24
    assert (tmp_path / f"a.tar{SUFFIX}").stat().st_size < 2000 * 41 + 3000  # with every kind of text; mapped, not read
    assert all(array.flags.owndata is False and array.flags.writeable is False for array in arrays)
    assert pa.total_allocated_bytes() - before < 2000


def test_what_cannot_be_used_keeps_its_place_and_has_a_cause(tmp_path):
    contents = [
        ("a.jpg", b"1"), ("a.txt", b"whole"), ("b.jpg", b"2"), ("c.txt", b"alone"), ("d.jpg", b"4"), ("d.txt", b"\xff"),
        ("e.jpg", b""), ("e.txt", b""), ("._a.jpg", b"apple"), ("a.seg.png", b"mask"), ("readme.md", b"hello"),
    ]  # fmt: skip
    source = open_source(str(write_tar(tmp_path / "a.tar", contents)))
    assert len(source) == 5
    assert source[0].captions == ("whole",)
    assert source[1].captions == ()
    assert source[4].image == b""
    for index, cause in ((2, "no image"), (3, "caption not UTF-8")):
        with pytest.raises(Unusable) as error:
            source[index]
        assert error.value.cause == cause
    assert source.notes == ("hidden files and system files left out: 1, for example a.tar: ._a.jpg",)


def test_duplicate_keys_and_links_are_noted(tmp_path):
    contents = [("a.jpg", b"old"), ("a.txt", b"text"), ("a.png", b"second"), ("a.jpg", b"new")]
    path = write_tar(tmp_path / "a.tar", contents)
    with tarfile.open(path, "a") as tar:
        link = tarfile.TarInfo("b.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "a.jpg"
        tar.addfile(link)
    source = open_source(str(path))
    assert len(source) == 1
    assert source[0].image == b"new"  # as tar unpacks it
    assert source.notes == (
        "duplicate key: 2, for example a.tar: a.png, a.tar: a.jpg",
        "link in tar: 1, for example a.tar: b.jpg",
    )


def test_a_tar_that_is_cut_off_or_damaged_gives_the_samples_before(tmp_path):
    whole = write_tar(tmp_path / "whole.tar", pairs(4)).read_bytes()
    with tarfile.open(tmp_path / "whole.tar") as tar:
        last = tar.getmember("00003.jpg")
    cut = tmp_path / "cut.tar"
    cut.write_bytes(whole[: last.offset_data + 100])
    source = open_source(str(cut))
    assert [source[i].captions for i in range(3)] == [(f"text {n}",) for n in range(3)]
    with pytest.raises(Unusable, match="cut off") as error:
        source[3]
    assert error.value.cause == "truncated tar"
    assert "truncated tar: 1" in source.notes[0]
    cut.write_bytes(whole[: last.offset + 100])
    assert "the file ends inside a header" in open_source(str(cut)).notes[0]
    cut.write_bytes(whole[: last.offset] + b"garbage!" * 64 + whole[last.offset + 512 :])
    damaged = open_source(str(cut))
    assert len(damaged) == 3
    assert "damaged tar: 1, for example cut.tar: byte" in damaged.notes[0]


def test_a_shard_that_changes_or_goes_away_while_in_use(tmp_path):
    path = write_tar(tmp_path / "a.tar", pairs(3))
    source = open_source(str(path))
    with path.open("r+b") as file:
        file.write(b"other" * 100)
    with pytest.raises(Unusable, match="changed while in use") as error:
        source[0]
    assert error.value.cause == "shard changed"
    assert source[1].captions == ("text 1",)
    path.unlink()
    assert source[2].captions == ("text 2",)  # this process has it open
    path = write_tar(tmp_path / "b.tar", pairs(3))
    source = open_source(str(path))
    path.unlink()
    with pytest.raises(Unusable) as error:
        source[0]
    assert error.value.cause == "shard gone"


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.tar", b"\x1f\x8b" + bytes(600), "compressed with gzip"),
        ("a.tar.gz", b"", "compressed"),
        ("a.tar", b"", "no samples; members are named KEY.jpg"),
        ("a.tar", b"not a tar file" * 60, "no samples.*no tar header"),
    ],
)
def test_what_is_not_a_tar_is_one_line(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=words) as error:
        open_source(str(tmp_path / name))
    assert "\n" not in str(error.value)


def test_shards_that_are_missing_are_named(tmp_path):
    for shard in (0, 3):
        write_tar(tmp_path / f"{shard}.tar", pairs(1))
    with pytest.raises(UserError, match=r"4 of the 6 files of .* do not exist: .*1.tar, .*2.tar, .*4.tar, ..."):
        open_source(str(tmp_path / "{0..5}.tar"))
    with pytest.raises(UserError, match="does not exist"):
        open_source(str(tmp_path / "x*.tar"))


def test_walking_the_headers_reports_damage(tmp_path):
    path = tmp_path / "a.tar"
    good = write_tar(path, [("a.jpg", b"1")], tarfile.PAX_FORMAT).read_bytes()
    pax = write_tar(path, [("ü.jpg", b"1")], tarfile.PAX_FORMAT).read_bytes()
    for data in (good[:100], good[:512] + good[512:1100] + b"z" * 1000, pax[:512] + b"x" + pax[513:]):
        path.write_bytes(data)
        with PositionedFile(path) as file, pytest.raises(Damaged):
            list(members(file))
