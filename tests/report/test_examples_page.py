"""Examples on a page and in figures: what is shown, where, and that text from data is never interpreted."""

import io
import math
import re
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from jinja2 import ChoiceLoader, DictLoader
from PIL import Image

from askew.report import joint_map, page
from askew.report.example_figures import examples_figures, histogram
from askew.report.examples import (
    AttractedView,
    Examples,
    Gallery,
    GallerySample,
    GalleryView,
    Hit,
    InnatePair,
    JointMap,
    MappedPair,
    OperationEffect,
    RetrievalDirection,
    RetrievalExamples,
    ShownQuery,
    WrongName,
    WrongNames,
)
from askew.report.examples_view import SCRIPTS, STYLES, ExamplesView, RatioBars, views_of
from askew.report.figures import svg_of

HOSTILE = '<script>document.title = "run"</script> "&\u202e$x$\x07'
PAGE = """{% extends "base.html" %}{% import "examples.html" as examples %}
{% block content %}{% for view in views %}{{ examples.sections(view) }}{% endfor %}{% endblock %}"""


def dot(level):
    return page.thumbnail(Image.new("RGB", (8, 4), (level, 0, 0)))


def direction(texts_are_queries):
    hits = (Hit(1, 0.5, False), Hit(0, 0.25, True))
    shown = (ShownQuery("best", 0, 1, (Hit(0, 0.75, True), Hit(1, 0.5, False)), Hit(0, 0.75, True)),)
    shown += (ShownQuery("worst", 1, 7, hits[:1], Hit(1, -0.125, True)),)
    return RetrievalDirection(12, 1234, {1: 0.125, 5: 0.5, 10: 1.0}, 3.5, shown)


def example(text="a red dot", teacher=True):
    ratios = (0.8, 1.0, 1.6)
    seen = tuple(
        GalleryView(dot(9), ("crop 23 % of the area", "grayscale"), r, r if teacher else None, 0.5) for r in ratios
    )
    gallery = Gallery(
        (GallerySample(text, dot(1), 1.25, seen), GallerySample("blue", dot(2), 1.5, seen)),
        ratios * 2,
        ratios * 2 if teacher else None,
        0.875 if teacher else None,
        (OperationEffect("crop", 1.0, 0.5, 0.25, 0.75), OperationEffect("odd", 0.5, None, None, None)),
        (AttractedView(text, "a green dot", dot(3), dot(4), ("flipped",), 0.625, 0.5 if teacher else None),),
        (InnatePair(text, "a gray dot", dot(5), 1.125, 1.25 if teacher else None),),
    )
    return Examples(
        "student", "drawings", False, ("1 of 3 samples could not be used; the first: " + text,), (dot(0), dot(1)),
        (text, "blue"), RetrievalExamples(direction(True), direction(False)),
        WrongNames((WrongName(0, 0, 1, 1, 2, 3, 0.375),), 2, 3),
        JointMap((MappedPair(0, 0, (1, 1), (-1, 0), 0.5), MappedPair(1, 1, (1, 0), (-1, -1), 0.875)), (0.5, 0.25), 0.6),
        gallery,
    )  # fmt: skip


def rendered(monkeypatch, *examples):
    environment = page._environment()
    monkeypatch.setattr(environment, "loader", ChoiceLoader([environment.loader, DictLoader({"test.html": PAGE})]))
    return page.render("test.html", STYLES, SCRIPTS, views=views_of(examples))


def test_the_page_says_what_is_shown(monkeypatch):
    text = re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", "", rendered(monkeypatch, ("", example())))))
    for said in (
        "12 texts among 1,234 images; recall at 1, 5, 10: 12.5, 50.0, 100.0 %; median rank 3.5",
        "2 of 3 images have a wrong text at least as near",
        "The axes hold 50 % and 25 % of the variance",
        "mean text, is 0.60",
        "crop 23 % of the area, grayscale",
        "student 1.60 teacher 1.60",
        "a green dot student 0.62 teacher 0.50 flipped",
        "student 1.12 teacher 1.25 nearest: a gray dot",
        "2 out of 2.",  # samples
        "is 0.88.",
    ):
        assert said in text, said
    assert "remembers" not in text


def test_a_match_below_the_first_candidates_is_shown_with_its_rank(monkeypatch):
    content = rendered(monkeypatch, ("", example()))
    assert re.search(r'<li class="right own">.*?-0\.12 <span>rank 7</span>', content, re.DOTALL)
    assert '<li class="right own" value="7">' in content


def test_captions_are_shown_and_never_interpreted(monkeypatch):
    content = rendered(monkeypatch, ("", example(HOSTILE)))
    body = content[content.index("<main>") : content.index("</main>")]
    assert "<script" not in body
    assert "\u202e" not in body
    assert "\x07" not in body
    assert body.count("&lt;script&gt;document.title") >= 6
    assert r"\u202e$x$\x07" in body
    assert " style=" not in content, "the policy forbids style attributes"
    assert set(re.findall(r'(?:src|href)="([^"#]{5})', content)) == {"data:"}


def test_two_runs_on_a_page_have_names_and_ids_of_their_own(monkeypatch):
    content = rendered(monkeypatch, ("first", example()), ("second", example(teacher=False)))
    ids = re.findall(r' id="(examples-[^"]+)"', content)
    assert len(ids) == len(set(ids))
    assert "Misalignment gallery of second" in content
    assert "This method has no teacher." in content


def test_what_is_missing_has_a_reason(monkeypatch):
    reasons = {name: f"<{name}> is gone" for name in ("retrieval", "names", "map", "gallery")}
    content = rendered(monkeypatch, ("", Examples("student", "", True, missing=reasons)))
    for name in reasons:
        assert f"Not shown: <bdi>&lt;{name}&gt; is gone" in content


def test_images_that_were_trained_on_are_said_to_be(monkeypatch):
    assert "how well the model remembers" in rendered(monkeypatch, ("", replace(example(), trained_on=True)))


class TestMap:
    def test_one_scale_serves_both_axes(self):
        drawn = JointMap((MappedPair(0, 0, (2, 0), (-2, 0), 0), MappedPair(0, 0, (0, 1), (0, -1), 0)), (0.5, 0.5), 0)
        found = {(mark.kind, mark.pair): (mark.x, mark.y) for mark in joint_map.marks(drawn, ("a",))}
        middle = joint_map.WIDTH / 2, joint_map.HEIGHT / 2
        half = joint_map.WIDTH / 2 - joint_map.MARGIN
        assert found["image", 0] == (middle[0] + half, middle[1])
        assert found["text", 0] == (middle[0] - half, middle[1])
        assert found["image", 1] == (middle[0], middle[1] - half / 2), "up is up"

    def test_pictures_and_labels_cover_one_another_nowhere(self):
        rng = np.random.default_rng(0)
        places = rng.normal(size=(80, 2, 2)).tolist()
        pairs = tuple(MappedPair(0, 0, tuple(image), tuple(text), 0) for image, text in places)
        marks = joint_map.marks(JointMap(pairs, (0.5, 0.5), 0), ("a caption that is far too long for a label",))
        large = [mark for mark in marks if mark.large]
        labels = [mark for mark in marks if mark.label]
        assert len(marks) == 160
        assert len(large) > 20
        assert 0 < len(labels) <= joint_map.LABELS
        assert all(len(mark.label) <= joint_map.LETTERS for mark in labels)
        for one in large:
            for other in large:
                near = abs(one.x - other.x) < joint_map.PICTURE and abs(one.y - other.y) < joint_map.PICTURE
                assert one is other or not near
        assert all(0 < mark.x < joint_map.WIDTH and 0 < mark.y < joint_map.HEIGHT for mark in marks)

    def test_points_that_are_all_one(self):
        marks = joint_map.marks(JointMap((MappedPair(0, 0, (0, 0), (0, 0), 1),), (0, 0), 0), ("a",))
        assert {(mark.x, mark.y) for mark in marks} == {(joint_map.WIDTH / 2, joint_map.HEIGHT / 2)}

    def test_the_nearest_pair_is_shown_first(self):
        assert ExamplesView(example()).first_pair == 1


def test_bars_have_one_logarithmic_scale():
    bars = RatioBars(0.5, 2.0)
    assert (bars.at(0.5), bars.one, bars.at(2)) == (0, 50, 100)
    assert (bars.start(2), bars.width(2)) == (50, 50)
    assert (bars.start(0.5), bars.width(0.5)) == (0, 50)
    assert bars.width(1.0) == 1, "visible"
    assert RatioBars(1.0, 1.0).at(1.0) == 0
    assert ExamplesView(example()).bars == RatioBars(0.8, 1.6)


class TestFigures:
    def test_every_part_has_a_figure_whose_text_can_be_selected(self):
        made = examples_figures(example(HOSTILE))
        assert set(made) == {
            "retrieval_text_to_image", "retrieval_image_to_text", "wrong_names", "map", "misalignment_gallery",
            "misalignment_ratios", "misalignment_operations", "misalignment_other_captions",
            "misalignment_from_the_start",
        }  # fmt: skip
        for name, figure in made.items():
            content = svg_of(figure)
            assert "<text" in content, name
            assert "<script" not in content, name
            assert "\u202e" not in content, name
        assert svg_of(made["misalignment_gallery"]).count("<image") == 8

    def test_nothing_is_drawn_of_what_is_missing(self):
        assert examples_figures(Examples("student", "", False)) == {}

    @pytest.mark.parametrize("ratios", [(1.0,), (1e-3, 1.0, 1e3), (2.0, 2.0)])
    def test_ratios_of_any_size_have_a_histogram(self, ratios):
        figure = histogram(Gallery((), ratios, None, None, ()))
        low, high = figure.axes[0].get_xlim()
        assert low < min(ratios)
        assert max(ratios) < high
        assert math.isfinite(high)
        content = io.BytesIO()
        figure.savefig(content, format="svg")
        assert content.tell() > 1000
