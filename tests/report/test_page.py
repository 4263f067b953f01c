"""Pages: what they allow, and how text from data looks on them."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import pytest
from jinja2 import UndefinedError
from PIL import Image

from askew.report.page import _environment, render, shown, thumbnail, write_page
from askew.report.table import Table

HOSTILE = "<script>alert(1)</script>"
TABLE = Table(
    "Numbers, %",
    ["method", "top-1"],
    [["CLIP", "1.0"], ["<b>|ours|</b> [red]", "12.5"]],
    left=["method"],
    emphasized=[1],
    caption="of 100 items",
)


class Elements(HTMLParser):
    """Tags with their attributes, and text."""

    def __init__(self, page: str):
        super().__init__()
        self.tags, self.texts, self.attributes = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes).get("class")))
        self.attributes.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts += [data.strip()] if data.strip() else []


def drawn(source: str, **values) -> Elements:
    """A template's text, drawn with the kit."""
    return Elements(_environment().from_string(source).render(**values))


def test_a_table_shows_text_and_never_interprets_it():
    found = drawn("{{ kit.table(table) }}", table=TABLE)
    assert found.texts == [
        "Numbers, %", "of 100 items", "method", "top-1", "CLIP", "1.0", "<b>|ours|</b> [red]", "12.5",
    ]  # fmt: skip
    assert ("b", None) not in found.tags
    assert ("tr", "emphasized") in found.tags
    assert found.tags.count(("td", "number")) == 2
    assert found.tags.count(("td", None)) == 2


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\u202eb", "a\\u202eb"),  # right to left
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),  # no width
        ("a\x1b[31m\x00\n", "a\\x1b[31m\\x00\\n"),
        ("a\u3164b", "a\\u3164b"),  # a letter that shows nothing
        ("\ud800", "\\ud800"),  # half of a pair
        ("naïve 猫 \U0001f408 عربي", "naïve 猫 \U0001f408 عربي"),
        ("x" * 500, "x" * 399 + "…"),
        (0.5, "0.5"),
    ],
)
def test_codes_in_text_are_shown_and_letters_stay(text, seen):
    assert shown(text) == seen
    shown(text).encode("utf-8")


def test_every_macro_escapes_what_it_is_given():
    found = drawn(
        "{{ kit.text(x) }}{{ kit.facts([(x, x)]) }}{{ kit.stats([(x, x, x)]) }}{{ kit.command(x) }}"
        "{{ kit.contents([('a', x)]) }}{{ kit.figure('<svg onload=alert(1)>', x, x) }}"
        "{{ kit.card('data:,', x, [x], [(x, x)]) }}{{ kit.picture('data:,', x) }}"
        "{% call kit.section('a', x) %}{{ x }}{% endcall %}{% call kit.card('data:,', x) %}{{ x }}{% endcall %}",
        x=HOSTILE,
    )
    tags = {tag for tag, _ in found.tags}
    assert not tags & {"script", "svg"}  # an <svg> must come from svg_of
    assert found.texts.count(HOSTILE) == 16
    assert {a["alt"] for tag, a in found.attributes if tag == "img"} == {HOSTILE}
    assert not any(name.startswith("on") or name == "style" for _, a in found.attributes for name in a)


def test_a_page_allows_its_own_style_and_script_and_nothing_else():
    page = render("base.html")
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1].replace("&#39;", "'")
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag in ("style", "script"):
        content = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert rules[f"{tag}-src"] == f"'sha256-{digest}'"
    assert "http" not in page.replace('http-equiv="Content-Security-Policy"', "")


def test_more_scripts_and_styles_go_behind_those_of_every_page():
    page = render("base.html", styles=["style.css"], scripts=["page.js"])
    assert page.count("use strict") == 2
    assert page.count("color-scheme") >= 2 * render("base.html").count("color-scheme") > 0


def test_a_value_that_a_template_names_must_be_given(tmp_path):
    with pytest.raises(UndefinedError):
        drawn("{{ missing }}")
    write_page(tmp_path / "page.html", "base.html")
    assert (tmp_path / "page.html").read_text("utf-8") == render("base.html")
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(("mode", "size", "small"), [("RGBA", (400, 100), (96, 24)), ("L", (10, 20), (10, 20))])
def test_a_thumbnail_fits_its_side_and_keeps_its_shape(mode, size, small):
    uri = thumbnail(Image.new(mode, size))
    kind, content = uri.split(",")
    assert kind == "data:image/webp;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == small
