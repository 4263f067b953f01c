"""The figures of a study, from plain numbers."""

from math import isnan, nan

import pytest

from askew.report.study_figures import (
    CostPoint,
    ForestRow,
    GrowthLine,
    cost_chart,
    forest_chart,
    growth_chart,
    short_count,
)


def test_a_forest_has_a_point_and_an_interval_per_row():
    rows = [ForestRow("A", 2.0, 1.0, 3.0, True, False), ForestRow("B", -1.0, nan, nan, False, True)]
    lines = forest_chart(rows, "C").axes[0].lines
    zero, *drawn = [list(line.get_xdata()) for line in lines]
    assert [x for x in zero if not isnan(x)] == [0, 0, 0, 0]  # beside each point, and not through the names
    assert drawn == [[1.0, 3.0], [2.0], [-1.0]]  # A with its interval, B
    assert lines[2].get_markerfacecolor() != "none"
    assert lines[3].get_markerfacecolor() == "none"


def test_a_learning_curve_has_its_runs_means_fit_and_band():
    runs = [(100.0, 9.0), (100.0, 11.0), (200.0, 15.0)]
    means = [(100.0, 8.0, 10.0, 12.0), (200.0, nan, 15.0, nan)]
    whole = GrowthLine("A", 0, runs, means, [[(100.0, 10.0), (200.0, 15.0)]], [(100.0, 8.0, 12.0), (200.0, 13.0, 17.0)])
    ax = growth_chart([whole, GrowthLine("B", 1, runs, means)], "pairs").axes[0]
    assert len(ax.collections) == 1  # the band
    assert [len(line.get_xdata()) for line in ax.lines].count(3) == 2  # the runs
    assert ax.get_xscale() == "log"
    assert {"A", "B"} <= {text.get_text() for text in ax.texts}


def test_costs_are_on_a_logarithmic_axis():
    ax = cost_chart([CostPoint("A", 1e12, 10, 9, 11), CostPoint("B", 1e13, 12, nan, nan)], "operations", "%").axes[0]
    assert ax.get_xscale() == "log"
    assert {"A", "B"} <= {text.get_text() for text in ax.texts}


@pytest.mark.parametrize(
    ("value", "text"),
    [(5, "5"), (1000, "1k"), (20_000, "20k"), (1e6, "1M"), (2.5e12, "2.5T"), (3e15, "3P"), (0.5, "0.5")],
)
def test_counts_are_short(value, text):
    assert short_count(value) == text
