"""Every macro of the page kit in Chromium: with plain texts, and with texts that try to be more than text."""

from pathlib import Path

import pytest
from jinja2 import ChoiceLoader, DictLoader
from opened import PHONE, WIDE, assert_sound
from PIL import Image

from askew.report import page
from askew.report.figures import blank, save_svg, style, svg_of
from askew.report.table import Table
from hostile import HOSTILE, RAW

SINK = (Path(__file__).parent / "sink.html").read_text(encoding="utf-8")
PLAIN = [
    "A red bicycle leans against a wall",
    "contrast",
    "Two dogs play in the snow, and a third one, which is smaller, looks on from behind a fence",
    "凧",
    "/data/photographs/2019/a-rather-long-name-of-a-file-0001234.jpg",
]


@pytest.fixture
def sink(tmp_path, monkeypatch):
    """Writes the page of everything with the given texts; returns its path."""
    environment = page._environment()
    monkeypatch.setattr(environment, "loader", ChoiceLoader([DictLoader({"sink.html": SINK}), environment.loader]))

    def write(texts):
        path = tmp_path / "sink.html"
        page.write_page(
            path,
            "sink.html",
            texts=texts,
            titles=[(f"section-{number}", text) for number, text in enumerate(texts) if text.strip()],
            stats=[(text, "0.123", text) for text in texts],
            pairs=[(text, text) for text in texts],
            table=Table(texts[0], (*texts[:2], "a", "b", "c", "d"), rows(texts), texts[:1], [1], texts[-1]),
            drawing=svg_of(drawing(texts)),
            uri=page.thumbnail(Image.new("RGB", (300, 200), "#336699")),
        )
        return path

    return write


def rows(texts):
    return [(text, text, "0.1234", "100,000", "-1.5 ± 0.2", "12 %") for text in texts]


def drawing(texts):
    """A figure with these texts one below the other, each as far as it fits."""
    with style():
        figure = blank(3.4, 0.25 * len(texts) + 0.5)
        for number, text in enumerate(texts):
            figure.text(0.02, (number + 0.5) / len(texts), page.shown(text, 20))
    return figure


def test_a_page_of_everything_has_no_faults(reader, sink):
    assert_sound(reader, sink(PLAIN))


def test_text_is_selected_by_a_mouse(reader, sink):
    one = reader.open(sink(PLAIN))
    for selector in ("h1", "td", "figcaption", "svg text"):
        assert one.drag_selects(selector).startswith("A red bicycle"), selector


def test_hostile_texts_are_shown_and_do_nothing(reader, sink):
    path = sink(RAW)
    one = reader.open(path, WIDE)
    assert one.faults("overflow") == []
    assert not one.ran()
    one.unfold()
    places = ("h2", "nav a", "summary", "details p", ".note", "dt", "dd", "td", "h3", "figcaption", ".card p", "bdi")
    assert [(place, name) for place in places for name in missing(one, place)] == []
    title = " ".join(one.page.title().split())
    assert [name for name, text in HOSTILE.items() if text.shown not in title] == []
    assert_sound(reader, path, widths=(PHONE,))
    assert one.all_incidents() == []


def missing(one, selector):
    """Hostile texts of which no such element shows what it should."""
    seen = one.all_seen(selector)
    return [name for name, text in HOSTILE.items() if not any(here.startswith(text.shown) for here in seen)]


def test_a_drawing_as_a_file_runs_nothing(reader, tmp_path):
    save_svg(drawing(RAW), tmp_path / "drawing.svg")
    one = reader.open(tmp_path / "drawing.svg")
    assert one.all_incidents() == []
    assert not one.ran()
    assert len(one.page.locator("text").all()) >= len(RAW) - 2  # nothing is drawn for nothing and for spaces
