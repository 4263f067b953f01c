"""Figures as SVG: within a page, and as files."""

import re
from xml.etree import ElementTree

from askew.report.figures import INK, blank, save_svg, style, svg_of

NAME = "<script>$x$</script> & 猫"


def a_figure(slope=1):
    with style():
        figure = blank(3, 2)
        ax = figure.subplots()
        ax.plot([0, 1], [0, slope], marker="o")
        ax.set_title(NAME)
    return figure


def test_on_a_page_a_figure_has_no_styles_and_the_colour_of_the_text():
    svg = svg_of(a_figure())
    root = ElementTree.fromstring(svg)
    assert root.attrib.keys() == {"viewBox", "role"}
    assert "style" not in svg  # which the page's policy forbids
    assert {e.get("fill") for e in root.iter("text")} == {"currentColor"}
    assert INK not in svg
    assert NAME in {"".join(e.itertext()) for e in root.iter("text")}  # selectable, and no formula
    assert all(e.get("font-size") for e in root.iter("text"))
    assert svg == svg_of(a_figure())


def test_two_figures_on_a_page_share_no_names():
    one, other = svg_of(a_figure()), svg_of(a_figure(slope=2))
    ids = [set(re.findall(r' id="([^"]+)"', svg)) for svg in (one, other)]
    assert all(ids)
    assert not ids[0] & ids[1]
    for svg, found in zip((one, other), ids, strict=True):
        assert set(re.findall(r'(?:href="#|url\(#)([^")]+)', svg)) == found


def test_a_file_stands_alone(tmp_path):
    assert save_svg(a_figure(), tmp_path / "a.svg") == svg_of(a_figure())
    root = ElementTree.parse(tmp_path / "a.svg").getroot()
    assert root.get("width") == "216pt"
    assert INK in (tmp_path / "a.svg").read_text("utf-8")


def test_letters_that_the_fonts_lack_cost_no_warning(recwarn):
    with style():
        figure = a_figure()
        figure.tight_layout()
    save = svg_of(figure)
    assert "猫" in save
    assert not list(recwarn)
