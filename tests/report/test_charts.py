"""The charts of a report: what thinning keeps, where labels go, what an axis says."""

from xml.etree import ElementTree

import numpy as np
import pytest

from askew.report.charts import COLUMNS, ShareRow, StepCurve, curve_chart, power, share_chart, spread, thinned
from askew.report.figures import svg_of


def texts(figure):
    return ["".join(element.itertext()) for element in ElementTree.fromstring(svg_of(figure)).iter("text")]


def test_thinning_keeps_every_peak_that_a_picture_can_show():
    steps, values = np.arange(100_000.0), np.zeros(100_000)
    values[54_321], values[77_777] = 9.0, -9.0
    kept_steps, kept = thinned(steps, values)
    assert len(kept) <= 2 * COLUMNS + 2
    assert (kept_steps[kept == 9.0], kept_steps[kept == -9.0]) == (54_321, 77_777)
    assert (kept_steps[0], kept_steps[-1]) == (0, 99_999)
    assert (np.diff(kept_steps) > 0).all()


def test_thinning_by_hand():
    """Two columns of four points each: the first, each column's lowest and highest, the last."""
    steps, values = thinned(np.arange(8.0), np.array([5.0, 1, 9, 5, 2, 2, 8, 3]), columns=2)
    assert steps.tolist() == [0, 1, 2, 4, 6, 7]
    assert values.tolist() == [5, 1, 9, 2, 8, 3]
    few = np.arange(4.0)
    assert thinned(few, few, columns=2)[0] is few


@pytest.mark.parametrize(
    ("wanted", "places"),
    [
        ([0.5], [0.5]),
        ([0.5, 0.5], [0.6, 0.5]),  # the order of equals is that of the list, from below
        ([0.9, 1.0, 1.0], [0.8, 0.9, 1.0]),
        ([-3.0, 0.05], [0.0, 0.1]),  # outside of the axes
        ([0.2, 0.8], [0.2, 0.8]),
    ],
)
def test_labels_keep_apart_and_near_to_their_curves(wanted, places):
    assert sorted(spread(wanted, 0.1)) == pytest.approx(sorted(places))


def test_a_chart_says_what_it_shows():
    curves = [StepCurve("A", [1, 2, 3], [3.0, 2.0, 1.0]), StepCurve("B", [1, 2], [2.0, float("nan")], 1)]
    found = texts(curve_chart(curves, "loss", levels=[("chance", 2.5)]))
    assert {"A", "B", "chance", "step", "loss"} <= set(found)


def test_a_logarithmic_axis_only_where_the_values_allow_it():
    wide = curve_chart([StepCurve("", [1, 2, 3], [0.0, 1e-6, 1.0])], "x", log=True)
    assert wide.axes[0].get_yscale() == "linear"  # a third of the values is zero
    many = [0.0, *np.geomspace(1e-6, 1, 20)]
    assert curve_chart([StepCurve("", range(21), many)], "x", log=True).axes[0].get_yscale() == "log"
    narrow = curve_chart([StepCurve("", [1, 2], [1.0, 2.0])], "x", log=True)
    assert narrow.axes[0].get_yscale() == "linear"
    assert [power(10.0**e) for e in (-5, -3, 0, 4, 12)] == ["10⁻⁵", "0.001", "1", "10000", "10¹²"]


def test_one_point_and_no_number_at_all_are_drawn():
    assert "step" in texts(curve_chart([StepCurve("", [1], [2.0])], "y"))
    assert "step" in texts(curve_chart([StepCurve("A", [1, 2], [float("nan")] * 2)], "y", log=True))


def test_shares_stand_beside_their_task():
    rows = [
        ShareRow("names, top-1", [12.5, None], [(10.0, 15.0), None], 5.0),
        ShareRow("x", [1.0, 2.0], [None] * 2, None),
    ]
    figure = share_chart(rows, 2)
    assert {"names, top-1", "x"} <= set(texts(figure))
    lines = [line.get_xdata() for line in figure.axes[0].lines]
    assert any(list(line) == [10.0, 15.0] for line in lines)
    assert any(list(line) == [5.0, 5.0] for line in lines)
