"""The page of an inspection and its figures, from plain data."""

import pytest

from askew.report.inspect import (
    InspectionPage,
    OperationEffect,
    PairCard,
    limits_of,
    noise_figure,
    operation_figure,
    operations_figure,
    write_inspection,
)

EFFECTS = [
    OperationEffect(model, name, strength, "share", mean, mean - 0.1, mean + 0.2, 9, strength == 1, untouched=0)
    for model in ("student", "teacher")
    for name, strength, mean in (("blur", 0.5, 0.3), ("blur", 1.0, 0.6), ("<flip>", 1.0, -0.2))
]


def page(**changed):
    card = PairCard("data:image/webp;base64,AA==", "a.png", "a <b>cat</b>", [("noise", "0.300")], "a dog", "of b.png")
    values = {
        "model": "run", "data": "pairs.csv", "stats": [("pairs", "3", "of 3 samples")], "facts": [("Pool", "3")],
        "noise": {"student": ([0, 1, 2], [3, 4])}, "ranked_by": "noise", "worst": [card], "best": [card],
        "effects": EFFECTS, "notes": ["1 of 3 samples cannot be used"],
    }  # fmt: skip
    return InspectionPage(**(values | changed))


def test_the_page_shows_everything_and_escapes_it(tmp_path):
    paths = write_inspection(page(), tmp_path / "inspect.html")
    assert [path.name for path in paths] == ["inspect.html", "noise.svg", "operations.svg"]
    made = paths[0].read_text(encoding="utf-8")
    for words in ("a &lt;b&gt;cat&lt;/b&gt;", "Nearer: ", "&lt;flip&gt;", "1 of 3 samples cannot be used"):
        assert words in made
    assert "<b>cat" not in made
    assert made.count("<figure") == 3


def test_what_was_not_measured_is_left_out(tmp_path):
    paths = write_inspection(page(effects=(), noise={}), tmp_path / "inspect.html")
    assert [path.name for path in paths] == ["inspect.html"]
    made = paths[0].read_text(encoding="utf-8")
    assert "nothing to compare pairs with" in made
    assert "What image operations do" not in made


def test_curves_pass_through_what_is_untouched():
    """Strengths 0, 0.5 and 1 of the blur; the flip has no strength, and its models stand side by side."""
    blur, flip = (
        operation_figure([e for e in EFFECTS if e.operation == name], (-1, 1)).axes[0] for name in ("blur", "<flip>")
    )
    curves = [container.lines[0].get_xydata().tolist() for container in blur.containers]
    assert curves == [[[0, 0], [0.5, 0.3], [1, 0.6]]] * 2
    assert [container.lines[0].get_xdata().tolist() for container in flip.containers] == [[0], [1]]


def test_all_panels_have_one_axis():
    figure = operations_figure(EFFECTS)
    assert limits_of(EFFECTS) == pytest.approx((-0.355, 0.855))
    assert {ax.get_ylim() for ax in figure.axes if ax.axison} == {limits_of(EFFECTS)}


def test_intervals_without_an_end_have_no_limit():
    endless = OperationEffect("student", "flip", 1, "", 0.2, -float("inf"), float("inf"), 1, True)
    assert limits_of([endless]) == (-0.01, 0.01)
    assert operation_figure([endless], (-1, 1)).axes[0].get_ylim() == (-1, 1)


def test_the_noise_of_two_models_has_a_legend():
    both = {"student": ([0, 1, 2], [3, 4]), "teacher": ([0, 1], [7])}
    assert [text.get_text() for text in noise_figure(both).axes[0].get_legend().get_texts()] == ["student", "teacher"]
    assert noise_figure({"student": both["student"]}).axes[0].get_legend() is None
