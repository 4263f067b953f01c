"""The charts of a report: curves over steps, and shares with their intervals. Labels are at the marks, not in legends.

matplotlib is imported inside the functions: the command line must start at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from askew.report.figures import COLOURS, FAINT, INK, blank, style
from askew.report.page import shown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 320  # of pixels that a curve is wide: more points than two in each cannot be seen
GAP = 0.1  # between two labels, of the height of the axes
WIDTH, HEIGHT = 3.6, 2.25  # inches
ROW = 0.4  # inches
SIZE = 9  # of letters, in points
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


@dataclass(frozen=True)
class StepCurve:
    """A value over steps.

    Attributes:
        label: what is written at its end; "" for nothing.
        colour: its place in the palette.
    """

    label: str
    steps: Sequence[float]
    values: Sequence[float]
    colour: int = 0
    dashed: bool = False


@dataclass(frozen=True)
class ShareRow:
    """Shares of one task, in percent, one per run; None where a run has none.

    Attributes:
        ranges: the ends of the 95 % intervals, None where there are none.
        chance: what guessing gives, None where that is not known.
    """

    name: str
    values: Sequence[float | None]
    ranges: Sequence[tuple[float, float] | None]
    chance: float | None


@dataclass(frozen=True)
class DrawnFigure:
    """A figure with its words; `name` is that of its file."""

    name: str
    title: str
    caption: str
    figure: "Figure"


def thinned(steps: np.ndarray, values: np.ndarray, columns: int = COLUMNS) -> tuple[np.ndarray, np.ndarray]:
    """The points that a picture of so many columns can show: the lowest and the highest value of each column.

    The first and the last point stay. Steps (n,) must rise. No more than 2 columns + 2 points are left.
    """
    if len(steps) <= 2 * columns:
        return steps, values
    place = np.minimum((steps - steps[0]) * columns // max(steps[-1] - steps[0], 1), columns - 1)
    bounds = np.r_[np.flatnonzero(np.diff(place, prepend=-1)), len(steps)]
    kept = {0, len(steps) - 1}
    for start, end in pairwise(bounds):
        kept |= {int(start + values[start:end].argmin()), int(start + values[start:end].argmax())}
    chosen = sorted(kept)
    return steps[chosen], values[chosen]


def curve_chart(
    curves: Sequence[StepCurve],
    y_label: str,
    levels: Sequence[tuple[str, float]] = (),
    log: bool = False,
    bottom: float | None = None,
    x_label: str = "step",
) -> "Figure":
    """Curves over steps, or over what `x_label` says.

    Args:
        levels: named values that are drawn as dashed lines across.
        log: a logarithmic axis, where the values allow it; what is not above zero is then left out.
        bottom: the lowest value of the axis; None fits the values.
    """
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    log = log and _spans_decades(curves)
    with style():
        figure = blank(WIDTH, HEIGHT)
        ax = figure.subplots()
        ends: list[tuple[float, str, str]] = []
        for curve in curves:
            steps, values = _finite(curve, above_zero=log)
            if not len(steps):
                continue
            colour = COLOURS[curve.colour % len(COLOURS)]
            dashes: Any = (0, (4, 1.6)) if curve.dashed else "solid"
            few = len(steps) <= 12
            ax.plot(steps, values, color=colour, linewidth=1.4, linestyle=dashes, marker="o" if few else "", ms=3)
            ax.plot(steps[-1:], values[-1:], color=colour, marker="o", ms=3.5)
            if curve.label:
                ends.append((float(values[-1]), curve.label, colour))
        for name, value in levels:
            ax.axhline(value, color=FAINT, linewidth=1, linestyle=(0, (3, 2)))
            ends.append((value, name, FAINT))
        if log:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: power(value)))
            ax.minorticks_off()
        elif bottom is not None:
            ax.set_ylim(bottom=bottom)
        ax.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        ax.set_xlabel(x_label)
        ax.set_ylabel(fitted(y_label, 110))
        _label_ends(ax, ends)
        figure.tight_layout(pad=0.4)
    return figure


def share_chart(rows: Sequence[ShareRow], num_runs: int) -> "Figure":
    """Shares in percent with their 95 % intervals, one row per task, one colour per run; a bar marks chance."""
    with style():
        figure = blank(WIDTH, ROW * (len(rows) + 0.35 * len(rows) * (num_runs - 1)) + 0.5)
        ax = figure.subplots()
        for place, row in enumerate(rows):
            for run, (value, ends) in enumerate(zip(row.values, row.ranges, strict=True)):
                at = place + (run - (num_runs - 1) / 2) * 0.55 / max(num_runs, 2)
                colour = COLOURS[run % len(COLOURS)]
                if ends is not None:
                    ax.plot(ends, [at, at], color=colour, linewidth=1.6, solid_capstyle="butt")
                if value is not None:
                    ax.plot([value], [at], color=colour, marker="o", ms=4)
            if row.chance is not None:
                ax.plot([row.chance] * 2, [place - 0.3, place + 0.3], color=INK, linewidth=1)
            ax.text(0, place - 0.38, fitted(row.name, 215), va="bottom", fontsize=8)
        ax.set_yticks([])
        ax.set_ylim(len(rows) - 0.5, -0.9)
        ax.set_xlim(left=0)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
        ax.set_xlabel("%")
        figure.tight_layout(pad=0.4)
    return figure


def _finite(curve: StepCurve, above_zero: bool) -> tuple[np.ndarray, np.ndarray]:
    """What of a curve can be drawn, thinned."""
    steps, values = np.asarray(curve.steps, dtype=float), np.asarray(curve.values, dtype=float)
    kept = np.isfinite(values) & ((values > 0) | (not above_zero))
    return thinned(steps[kept], values[kept])


def _spans_decades(curves: Sequence[StepCurve]) -> bool:
    """Whether nearly all values are above zero, and the largest is 50 times the smallest."""
    values = np.concatenate([np.asarray(curve.values, dtype=float) for curve in curves])
    values = values[np.isfinite(values)]
    above = values[values > 0]
    return len(above) > 1 and len(above) >= 0.9 * len(values) and bool(above.max() > 50 * above.min())


def _label_ends(ax: Any, ends: Sequence[tuple[float, str, str]]) -> None:
    """Write (value, label, colour) at the right, as near to the values as labels that do not overlap can be."""
    if not ends:
        return
    low, high = ax.get_ylim()
    scale = np.log if ax.get_yscale() == "log" else np.asarray
    wanted = [float((scale(value) - scale(low)) / (scale(high) - scale(low))) for value, _, _ in ends]
    for place, (_, label, colour) in zip(spread(wanted, GAP), ends, strict=True):
        ax.text(1.035, place, fitted(label, 90), transform=ax.transAxes, va="center")
        ax.plot([1.015], [place], marker="s", ms=4, color=colour, transform=ax.transAxes, clip_on=False)


def fitted(text: str, width: float) -> str:
    """Text from data as a page shows it, cut to about so many points."""
    room, kept = width / SIZE, ""
    for letter in shown(text, 80):
        room -= 1.0 if letter in "mwMW@%" or ord(letter) > 0x2E80 else 0.72 if letter.isupper() else 0.62
        if room < 0:
            return kept[:-1] + "…"
        kept += letter
    return kept


def power(value: float) -> str:
    """A power of ten as a tick shows it: 0.01, 1, 1000, and 10⁻⁵ where the digits would be many."""
    exponent = round(float(np.log10(value)))
    return f"{value:g}" if -3 <= exponent <= 4 else f"10{str(exponent).translate(SUPERSCRIPTS)}"


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Places in [0, 1] at least `gap` apart where there is room, in the order of the wanted ones and near to them."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    places = [min(max(wanted[i], 0.0), 1.0) for i in order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    limit = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], limit)
        limit = places[i] - gap
    found = [0.0] * len(wanted)
    for i, place in zip(order, places, strict=True):
        found[i] = place
    return found
