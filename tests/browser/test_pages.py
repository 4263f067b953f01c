"""Every page that askew writes, in Chromium: of ordinary data, and of data whose texts try to be more than text."""

from dataclasses import replace

import made
import pytest
from opened import PHONE, WIDE, assert_sound

from askew.report.console import Console
from askew.runs.inspect import InspectRequest, inspect
from askew.runs.report import report
from askew.runs.search import SearchRequest, search
from askew.runs.stored import StoreRequest
from askew.runs.studies.page import publish
from askew.runs.studies.record import Record
from hostile import HOSTILE, RAW
from made_records import growing, study, written

INVISIBLE = "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u200b-\\u200f\\u2028-\\u202e\\u2060-\\u2069\\ufeff]"
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """An ordinary run, its data, and a cache."""
    return made.plain_run(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory, plain):
    """A run that is hostile wherever data has text."""
    return made.hostile_run(tmp_path_factory.mktemp("hostile"), plain)


@pytest.fixture(scope="module")
def report_page(plain):
    """Its report."""
    report([str(plain.run)], None, QUIET)
    return plain.run / "report.html"


def stored(one):
    return StoreRequest(str(one.run), str(one.table), cache=one.cache)


def inspected(one, folder):
    asked = InspectRequest(
        str(one.run), str(one.table), folder, pool=16, neighbours=4, operation_pairs=2, keep=0.5, cache=one.cache
    )
    inspect(asked, QUIET)
    return folder / "inspect.html"


def assert_harmless(reader, path, least):
    """Nothing ran, nothing is out of place, and at least so many of the hostile texts are seen as text."""
    one = reader.open(path, WIDE)
    assert not one.ran()
    assert one.all_incidents() == []
    one.unfold()
    seen = " ".join(one.all_seen("body"))
    found = [name for name, text in HOSTILE.items() if text.shown and text.shown in seen]
    assert len(found) >= least, set(HOSTILE) - set(found)
    raw = "p => document.documentElement.textContent.match(new RegExp(p))"
    assert one.page.evaluate(raw, INVISIBLE) is None
    assert_sound(reader, path)
    assert not one.ran()


def test_the_report_of_a_run(reader, report_page):
    assert_sound(reader, report_page)
    one = reader.open(report_page)
    for selector in ("h1", "dd", "svg text", "td"):
        assert one.drag_selects(selector).strip(), selector


@pytest.fixture(scope="module")
def hostile_report(plain, hostile, tmp_path_factory):
    """A report of the hostile run beside the ordinary one."""
    page = tmp_path_factory.mktemp("reports") / "<b>.html"
    report([str(hostile.run), str(plain.run)], page, QUIET)
    return page


def test_the_report_of_a_hostile_run_beside_an_ordinary_one(reader, hostile_report):
    assert_harmless(reader, hostile_report, 45)


def test_drawings_of_a_hostile_run_are_harmless_as_files(reader, hostile_report):
    """What is saved for papers may be opened in a browser, where nothing forbids scripts."""
    drawings = sorted(hostile_report.parent.rglob("*.svg"))
    hostile = [one for one in drawings if "askewWasHere" in one.read_text(encoding="utf-8")]
    assert len(drawings) > 10
    assert hostile
    for drawing in hostile[:5]:
        one = reader.open(drawing)
        assert not one.ran()
        assert one.all_incidents() == []


@pytest.mark.parametrize("width", [PHONE, WIDE])
def test_the_map_is_read_with_a_finger_and_with_keys(reader, report_page, width):
    one = reader.open(report_page, width)
    svg = one.page.locator(".joint-map svg")
    svg.scroll_into_view_if_needed()
    points = svg.locator("[data-pair]")
    assert points.count() > 4
    panel = one.page.locator(".joint-map .point")
    seen = set()
    for number in range(0, points.count(), 5):
        box = points.nth(number).bounding_box()
        one.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        seen.add(panel.inner_text())
        assert panel.locator("img").count() == 1
    assert len(seen) > 3  # points that lie on one another are reached by keys
    svg.focus()
    before = panel.inner_text()
    one.page.keyboard.press("Enter")
    assert panel.inner_text() != before
    reached = set()
    for key in ["ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"] * 4:
        one.page.keyboard.press(key)
        reached.add(panel.inner_text())
    assert len(reached) > 3
    assert one.all_incidents() == []


def test_the_page_of_an_inspection(reader, plain, tmp_path):
    page = inspected(plain, tmp_path / "inspection")
    assert_sound(reader, page)
    one = reader.open(page)
    for selector in ("h1", ".card p:visible", ".card dd:visible", "svg text"):
        assert one.drag_selects(selector).strip(), selector


def test_the_page_of_a_hostile_inspection(reader, hostile, tmp_path):
    assert_harmless(reader, inspected(hostile, tmp_path / "<b> ${a}"), 40)


def test_the_page_of_a_search(reader, plain, tmp_path):
    image = next(plain.table.parent.glob("*.png"))
    page = tmp_path / "found.html"
    search(SearchRequest(stored(plain), ("a red bicycle", "the sea"), (image,), top=6, html=page), QUIET)
    assert_sound(reader, page)
    assert reader.open(page).drag_selects("h2") == "a red bicycle"


def test_the_page_of_a_hostile_search(reader, hostile, tmp_path):
    queries = tuple(raw for raw in RAW if raw.strip())
    images = tuple(sorted(hostile.table.parent.glob("*.png"))[:6])
    page = tmp_path / '"><b>.html'
    search(SearchRequest(stored(hostile), queries, images, "captions", 2, page), QUIET)
    assert_harmless(reader, page, 45)


def test_the_page_of_a_study(reader, tmp_path):
    page = publish(growing(tmp_path), QUIET)[1]
    assert_sound(reader, page)
    one = reader.open(page)
    for selector in ("h1", ".stat dd", "svg text", "td"):
        assert one.drag_selects(selector).strip(), selector


def test_the_page_of_a_hostile_study(reader, tmp_path):
    record = growing(tmp_path)
    rows = dict(zip(record.study.rows, [raw for raw in RAW if raw.strip()], strict=False))
    runs = tuple(replace(run, row=rows[run.row]) for run in record.runs)
    others = [raw for raw in RAW if raw.strip() and raw not in rows.values()]
    planned = study({row: {"recipe": raw} for row, raw in zip(rows.values(), others, strict=False)}, name=RAW[0])
    baseline = planned.model_copy(update={"baseline": [next(iter(rows.values()))], "settings": others[8:]})
    assert_harmless(reader, publish(written(Record(baseline, runs, tmp_path)), QUIET)[1], 12)
