"""Files are written whole or not at all, also after a crash in the middle and with several writers."""

import hashlib
import os
import subprocess
import sys

import pytest

from askew.data import files
from askew.data.files import replacing_directory, replacing_file, sha256_of, write_text

# Dies in the middle of replacing a file or a folder, as a killed process does: nothing is cleaned up
CRASH = """
import os, sys
from pathlib import Path
from askew.data.files import replacing_directory, replacing_file
path = Path(sys.argv[2])
if sys.argv[1] == "file":
    with replacing_file(path) as temporary:
        temporary.write_text("half of the n")
        os._exit(9)
with replacing_directory(path) as temporary:
    (temporary / "a").write_text("half of the n")
    os._exit(9)
"""
# Replaces one file many times by contents that are all one letter
WRITER = """
import sys
from pathlib import Path
from askew.data.files import write_text
for _ in range(50):
    write_text(Path(sys.argv[1]), sys.argv[2] * 100_000)
"""


def crash(kind, path):
    assert subprocess.run([sys.executable, "-c", CRASH, kind, str(path)]).returncode == 9


def fail_in_a_file(path, error):
    with replacing_file(path) as temporary:
        temporary.write_text("half of the n")
        raise error


def fail_in_a_folder(path, error):
    with replacing_directory(path) as temporary:
        (temporary / "a").write_text("half of the n")
        raise error


def entries(folder):
    return sorted(entry.name for entry in folder.iterdir())


def test_text_is_utf8_and_replaces_what_was_there(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    write_text(tmp_path / "a.txt", "Ångström\n")
    assert (tmp_path / "a.txt").read_bytes() == "Ångström\n".encode()
    assert entries(tmp_path) == ["a.txt"]


def test_a_file_can_be_read_by_those_that_the_umask_allows(tmp_path):
    (tmp_path / "plain").write_text("")
    write_text(tmp_path / "replaced", "")
    assert (tmp_path / "replaced").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_crash_in_the_middle_of_a_file_leaves_the_old_one(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    crash("file", tmp_path / "a.txt")
    assert (tmp_path / "a.txt").read_text() == "old"
    assert all(name == "a.txt" or name.endswith(".tmp") for name in entries(tmp_path))
    write_text(tmp_path / "a.txt", "new")
    assert (tmp_path / "a.txt").read_text() == "new"


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_error_in_the_middle_of_a_file_leaves_the_old_one_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(type(error)):
        fail_in_a_file(tmp_path / "a.txt", error)
    assert (tmp_path / "a.txt").read_text() == "old"
    assert entries(tmp_path) == ["a.txt"]


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(FileNotFoundError), replacing_file(tmp_path / "a.txt"):
        pass
    assert (tmp_path / "a.txt").read_text() == "old"


def test_a_file_in_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_text(tmp_path / "missing" / "a.txt", "new")
    assert entries(tmp_path) == []


def test_a_file_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files, "sync", lambda path: done.append(("sync", path.suffix)))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append(("rename", new.suffix)), replace(old, new)))
    write_text(tmp_path / "a.txt", "new")
    assert done == [("sync", ".tmp"), ("rename", ".txt")]


def test_several_processes_write_one_file_at_once(tmp_path):
    """A reader sees the whole contents of one of them at any time, and nothing is left beside the file."""
    path = tmp_path / "a.txt"
    write_text(path, "x" * 100_000)
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), letter]) for letter in "abc"]
    while any(writer.poll() is None for writer in writers):
        seen = path.read_text()
        assert len(seen) == 100_000
        assert len(set(seen)) == 1
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert path.read_text()[0] in "abc"
    assert entries(tmp_path) == ["a.txt"]


def test_a_folder_replaces_the_old_one_whole(tmp_path):
    folder = tmp_path / "parents" / "model"
    for name in ("old", "new"):
        with replacing_directory(folder) as temporary:
            assert temporary.name == "model.tmp"
            assert entries(temporary) == []
            (temporary / name).write_text(name)
            (temporary / "inner").mkdir()
            (temporary / "inner" / "file").write_text(name)
    assert entries(folder) == ["inner", "new"]
    assert (folder / "inner" / "file").read_text() == "new"
    assert entries(folder.parent) == ["model"]


@pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt()])
def test_an_error_in_the_middle_of_a_folder_leaves_the_old_one_and_nothing_else(tmp_path, error):
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "a").write_text("old")
    with pytest.raises(type(error)):
        fail_in_a_folder(tmp_path / "model", error)
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert entries(tmp_path) == ["model"]


def test_a_crash_in_the_middle_of_a_folder_leaves_the_old_one(tmp_path):
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "a").write_text("old")
    crash("directory", tmp_path / "model")
    assert (tmp_path / "model" / "a").read_text() == "old"
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "b").write_text("new")
    assert entries(tmp_path / "model") == ["b"]
    assert entries(tmp_path) == ["model"]


def test_a_crash_between_the_two_renames_loses_nothing(tmp_path):
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "a").write_text("old")
    os.replace(tmp_path / "model", tmp_path / "model.old.tmp")  # the first of them
    with pytest.raises(ValueError, match="a bug"):
        fail_in_a_folder(tmp_path / "model", ValueError("a bug"))
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert entries(tmp_path) == ["model"]


def test_a_folder_that_cannot_be_renamed_leaves_the_old_one(tmp_path, monkeypatch):
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "a").write_text("old")
    replace = os.replace

    def fail(old, new):
        if old.name == "model.tmp":
            raise OSError(5, "Input/output error")
        replace(old, new)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output"), replacing_directory(tmp_path / "model") as temporary:
        (temporary / "a").write_text("new")
    assert (tmp_path / "model" / "a").read_text() == "old"
    assert entries(tmp_path) == ["model"]


def test_everything_in_a_folder_is_on_disk_before_it_is_renamed(tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(files, "sync", lambda path: done.append(path.name))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda old, new: (done.append("rename"), replace(old, new)))
    with replacing_directory(tmp_path / "model") as temporary:
        (temporary / "inner").mkdir()
        (temporary / "inner" / "file").write_text("new")
    assert set(done[:2]) == {"inner", "file"}
    assert done[2:] == ["model.tmp", "rename", tmp_path.name]


def test_the_hash_of_a_file(tmp_path):
    """The sha256 of `abc` is in FIPS 180-2, appendix B.1."""
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    (tmp_path / "a").write_bytes(bytes(3_000_000))
    assert sha256_of(tmp_path / "a") == hashlib.sha256(bytes(3_000_000)).hexdigest()
