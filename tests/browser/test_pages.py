"""Every page that askew writes, in Chromium: of ordinary data, and of data whose texts try to be more than text."""

import made
import pytest
from opened import WIDE, faults_of

from askew.report.console import Console
from askew.runs.report import report
from hostile import HOSTILE

INVISIBLE = "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An ordinary run."""
    return made.plain_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, plain):
    """A run that is hostile wherever data has text."""
    return made.hostile_run(tmp_path_factory.mktemp("hostile"), plain)


def assert_harmless(reader, path, least):
    """Nothing ran, nothing broke, and at least so many of the hostile texts are seen as text."""
    assert faults_of(reader, path) == []
    one = reader.open(path, WIDE)
    one.unfold()
    seen = " ".join(one.all_seen("body"))
    assert sum(text.shown != "" and text.shown in seen for text in HOSTILE.values()) >= least
    assert one.page.evaluate("p => document.documentElement.textContent.match(new RegExp(p))", INVISIBLE) is None
    assert not one.ran()
    assert one.all_incidents() == []


def test_the_report_of_a_run(reader, plain):
    report([str(plain)], None, Console(quiet=True))
    page = plain / "report.html"
    assert faults_of(reader, page) == []
    one = reader.open(page)
    for selector in ("h1", "dd", "svg text", "td"):
        assert one.drag_selects(selector).strip(), selector


def test_the_report_of_a_hostile_run_beside_an_ordinary_one(reader, plain, hostile, tmp_path):
    page = tmp_path / "<b>.html"
    report([str(hostile), str(plain)], page, Console(quiet=True))
    assert_harmless(reader, page, 30)
