"""The live lines of training: curves in blocks, widths of terminals, and terminals that cannot show them."""

import io
import math
import re

import pytest
from rich.cells import cell_len
from rich.console import Console as RichConsole

from askew.report.console import Console
from askew.report.live import BLOCKS, MOST_POINTS, Curve, TrainingDisplay, sparkline

TERMS = ("contrast", "positive", "negative", "noisy", "alpha", "momentum", "mlm")


class Stream(io.StringIO):
    """A terminal's stream of a given encoding."""

    def __init__(self, encoding="utf-8"):
        super().__init__()
        self._encoding = encoding

    @property
    def encoding(self):
        return self._encoding


def logged(step, **values):
    """A line of metrics: all terms fall from 1 to 0 over 100 steps."""
    terms = dict.fromkeys(TERMS, 1 - step / 100)
    speed = {"samples": 8 * step, "samples_per_second": 20.0, "data_wait": 0.25}
    return {"step": step, "loss": 2.0, **speed, **terms, **values}


def terminal(width=80, height=24, encoding="utf-8"):
    """A terminal that writes plain text."""
    return RichConsole(
        file=Stream(encoding), force_terminal=True, width=width, height=height, color_system=None, legacy_windows=False
    )


def lines_at(width, height=24, encoding="utf-8", steps=range(1, 50), terms=TERMS, **values):
    """What a display shows at last, line by line."""
    console = Console()
    console.err = terminal(width, height, encoding)
    with console.training_bar(0):
        for step in steps:
            console.progress(logged(step, **values), terms, 100)
        other = terminal(width, height, encoding)
        other.print(console._training)
    return other.file.getvalue().splitlines()


# Curves


def test_a_sparkline_by_hand():
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8) == BLOCKS
    assert sparkline([7, 0], 8) == "█▁"
    assert sparkline([0, 2, 6, 8, 14, 14], 3) == "▁▄█"  # means 1, 7, 14: the middle is 6/13 of seven steps, so 3
    assert sparkline([-1e-9, 1e-9], 2) == "▁█"


def test_the_extremes_of_a_sparkline():
    assert sparkline([], 8) == ""
    assert sparkline([3.0], 0) == ""
    assert sparkline([3.0], 8) == "▁"
    assert sparkline([3.0] * 20, 8) == "▁" * 8
    assert sparkline([1e308, -1e308 / 2], 2) == "█▁"


def test_a_curve_of_a_long_run_is_bounded_and_keeps_its_shape():
    curve = Curve()
    for step in range(100_000):
        curve.add(float(step))
        assert step % 9999 or len(curve.points) <= MOST_POINTS
    assert MOST_POINTS // 2 <= len(curve.points) <= MOST_POINTS
    assert curve.points == sorted(curve.points)
    assert sparkline(curve.points, 8) == BLOCKS


def test_a_curve_shows_every_value_from_the_first_on():
    curve = Curve()
    curve.add(1.0)
    assert curve.points == [1.0]
    for _ in range(MOST_POINTS):
        curve.add(1.0)
    curve.add(5.0)
    assert curve.points[-1] == 3.0  # from now on a point is the mean of two values: (1 + 5) / 2


def test_values_that_are_not_finite_are_passed_over():
    curve = Curve()
    for value in (1.0, math.nan, math.inf, 2.0):
        curve.add(value)
    assert curve.points == [1.0, 2.0]


# Widths


@pytest.mark.parametrize("width", [1, 7, 20, 40, 59, 60, 80, 120, 300])
def test_no_line_is_wider_than_the_terminal(width):
    lines = lines_at(width)
    assert all(cell_len(line) <= width for line in lines)
    assert len(lines) <= 12  # half of the height


def test_at_80_columns_there_are_a_bar_facts_and_all_curves():
    first, *rest = lines_at(80)
    assert "━" in first
    assert "step 49/100  0:20 left  20 samples/s  data wait 25%" in first
    shown = "\n".join(rest)
    assert [name for name in ("loss", *TERMS) if name not in shown] == []
    assert "contrast █▇▆" in shown.replace("█▇▇", "█▇▆")
    assert "2.000" in shown
    assert len(rest) == 3


def test_at_40_columns_there_is_one_term_per_line_and_what_matters_most():
    first, *rest = lines_at(40)
    assert first.rstrip() == "step 49/100  0:20 left  20 samples/s"
    assert [line.split()[0] for line in rest] == ["loss", *TERMS]
    assert all("█" in line or "▁" in line for line in rest)


def test_a_low_terminal_shows_the_first_terms():
    assert [line.split()[0] for line in lines_at(40, height=8)] == ["step", "loss", "contrast", "positive"]


def test_names_are_cut_and_shown_as_text():
    shown = "\n".join(lines_at(80, terms=("[red]", "a" * 40), **{"[red]": 1.0, "a" * 40: 1.0}))
    assert "[red]" in shown
    assert "a" * 15 + "…" in shown


# Terminals


def test_without_unicode_there_are_values_and_no_curves():
    lines = lines_at(80, encoding="iso-8859-1")
    assert "\n".join(lines).isascii()
    assert "contrast" in "\n".join(lines)
    assert "0.51" in "\n".join(lines)


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {}])
def test_plain_lines_where_the_cursor_cannot_move(variables, monkeypatch, capsys):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    console = Console()
    if variables:
        console.err = RichConsole(file=Stream(), force_terminal=True, width=200, color_system=None)
    with console.training_bar(0):
        console.progress(logged(50), ("contrast",), 100)
    printed = console.err.file.getvalue() if variables else capsys.readouterr().err
    assert printed == "step 50/100  0:20 left  20 samples/s  data wait 25%  loss 2.000  contrast 0.5\n"


@pytest.mark.parametrize("no_color", ["", "1"])
def test_no_color_is_respected(no_color, monkeypatch):
    monkeypatch.setenv("NO_COLOR", no_color)
    console = Console()
    console.err = RichConsole(file=Stream(), force_terminal=True, width=80, color_system="standard")
    with console.training_bar(0):
        console.progress(logged(50), TERMS, 100)
    shown = console.err.file.getvalue()
    assert "▁" in shown
    assert bool(re.search(r"\x1b\[(\d+;)*3[0-7]m", shown)) == (not no_color)


def test_messages_stay_above_and_the_lines_are_gone_at_the_end():
    console = Console()
    console.err = terminal()
    with console.training_bar(0):
        console.progress(logged(1), TERMS, 100)
        console.warn("something")
    shown = console.err.file.getvalue()
    assert "warning: something\n" in shown.replace("\r", "")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1
    assert shown.rstrip().endswith("\x1b[2K")  # erased


def test_a_display_that_starts_says_so():
    display = TrainingDisplay(terminal(), 0)
    other = terminal()
    other.print(display)
    display.stop()
    assert "starting" in other.file.getvalue()
