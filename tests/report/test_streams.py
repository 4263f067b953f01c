"""Nothing that is printed can end a command."""

import errno
import io
import os
import subprocess
import sys

import pytest

import forked
from askew.report.console import Console
from askew.report.streams import Unfailing, unfailing
from askew.report.table import Table
from helpers import write_pairs
from micro_runs import askew

HARD = "凧é ├ \ud83d – ☃ 👋"


class Full(io.StringIO):
    """A file on a full disk."""

    def write(self, text):
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8", "koi8-r"])
def test_what_an_encoding_lacks_is_escaped_everywhere(encoding, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2))
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with unfailing():
        console = Console()
        for show in (console.say, console.warn, console.error, console.print):
            show(HARD)
        console.table(Table(HARD, [HARD], [[HARD]], caption=HARD))
        console.images_done(HARD, 1, 1, 1.0)
        console.fits_done(HARD, 1, 1, "")
        sys.stdout.writelines([HARD, "\n"])
        print(HARD, file=sys.stderr)
    assert (sys.stdout, sys.stderr) == (out, err)
    for stream in (out, err):
        stream.flush()
        printed = stream.buffer.getvalue().decode(encoding)
        assert printed.count("\\ud83d") >= 3
        assert ("凧" if encoding == "utf-8" else "\\u51e7") in printed


def test_a_stream_of_another_kind_is_escaped_too():
    class Narrow(io.StringIO):
        encoding = "ascii"

        def write(self, text):
            text.encode("ascii")
            return super().write(text)

    narrow = Narrow()
    Unfailing(narrow).write("é\n")
    assert narrow.getvalue() == "\\xe9\n"


def test_a_stream_that_nobody_reads_falls_silent():
    reading, writing = os.pipe()
    os.close(reading)
    stream = Unfailing(os.fdopen(writing, "w"))
    for _ in range(3):
        stream.write("x" * 10_000)
        stream.flush()
    assert stream.lost is None
    stream._stream.close()
    stream.write("closed")
    stream.flush()


def test_a_full_disk_is_remembered():
    stream = Unfailing(Full())
    stream.write("x")
    assert stream.lost.errno == errno.ENOSPC


def run(*arguments, program=sys.executable, **variables):
    """The command line with other variables; its standard output goes where the caller says."""
    out = variables.pop("stdout", subprocess.PIPE)
    return subprocess.run(
        [program, "-m", "askew", *map(str, arguments)],
        stdout=out, stderr=subprocess.PIPE, env={**os.environ, **variables}, timeout=120,
    )  # fmt: skip


def test_a_reader_that_leaves_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = run("recipes", stdout=writing, program=forked.python())
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_results_that_could_not_be_written_are_an_error():
    with open("/dev/full", "w") as full:
        done = run("--version", stdout=full)
    assert done.returncode == 2
    assert done.stderr.decode() == "error: standard output: No space left on device; send it where there is room\n"


@pytest.mark.parametrize("variables", [{"PYTHONIOENCODING": "ascii"}, {"PYTHONUTF8": "0", "LC_ALL": "C"}])
def test_help_and_wrong_options_are_shown(variables):
    assert run("train", "--help", **variables).returncode == 0
    done = run("train", "--凧", **variables)
    assert done.returncode == 2
    assert b"Traceback" not in done.stderr


def test_data_check_names_a_file_that_the_terminal_cannot_show(tmp_path, monkeypatch):
    table = write_pairs(tmp_path, 4)
    table.write_text(table.read_text(encoding="utf-8") + "凧é.png,missing\n", encoding="utf-8")
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    done = subprocess.run(
        [forked.python(), "-m", "askew", "data", "check", str(table), "--set", "towers.vision_cfg.image_size=32"],
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "missing file: 1; \\u51e7é.png".encode("cp1252") in done.stdout


def test_the_version_is_printed():
    assert askew("--version").stdout.startswith("askew ")
