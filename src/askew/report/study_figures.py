"""The figures of a study: differences with their intervals, learning curves, and cost against score.

They draw plain numbers; shares are in percent. matplotlib is imported inside the functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite, nan
from typing import TYPE_CHECKING, Any

from askew.report.charts import GAP, HEIGHT, ROW, WIDTH, fitted, spread
from askew.report.figures import COLOURS, FAINT, INK, blank, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABEL_WIDTH = 215  # points
PLOT, NAMES, LINE = 2.6, 1.85, 0.16  # inches: the costs, the names beside them, and one name


@dataclass(frozen=True)
class ForestRow:
    """One row's difference to a baseline, in points.

    Attributes:
        low, high: the 95 % interval; nan where it is not known.
        clear: whether it excludes zero.
        alone: whether it is of one seed only.
    """

    label: str
    mean: float
    low: float
    high: float
    clear: bool
    alone: bool


@dataclass(frozen=True)
class GrowthLine:
    """One line of a learning curve.

    Attributes:
        runs: (x, score) of every run.
        means: (x, low, mean, high) of every size; low and high are nan where they are not known.
        fits: curves through the points, each a sequence of (x, score).
        band: (x, low, high) around them.
    """

    label: str
    colour: int
    runs: Sequence[tuple[float, float]]
    means: Sequence[tuple[float, float, float, float]]
    fits: Sequence[Sequence[tuple[float, float]]] = field(default=())
    band: Sequence[tuple[float, float, float]] = field(default=())


@dataclass(frozen=True)
class CostPoint:
    """What one row cost and reached; nan for an interval that is not known."""

    label: str
    cost: float
    mean: float
    low: float
    high: float


def forest_chart(rows: Sequence[ForestRow], axis: str) -> "Figure":
    """Differences beside the line at 0, and what the axis is called. Hollow: the interval contains zero."""
    from matplotlib.ticker import MaxNLocator

    with style():
        figure = blank(WIDTH, ROW * len(rows) + 0.65)
        ax = figure.subplots()
        # The line at 0 leaves room for the names, which stand above their points
        beside = [end for place in range(len(rows)) for end in (place - 0.14, place + 0.42, nan)]
        ax.plot([0.0, 0.0, nan] * len(rows), beside, color=INK, linewidth=0.8)
        for place, row in enumerate(rows):
            colour = (COLOURS[2] if row.mean > 0 else COLOURS[1]) if row.clear else FAINT
            if isfinite(row.low):
                dashes: Any = (0, (2, 1.4)) if row.alone else "solid"
                ax.plot([row.low, row.high], [place] * 2, color=colour, linewidth=1.6, linestyle=dashes)
            face = colour if row.clear else "none"
            ax.plot([row.mean], [place], marker="o", ms=4.5, color=colour, markerfacecolor=face)
            ax.text(0, place - 0.22, fitted(row.label, LABEL_WIDTH), transform=ax.get_yaxis_transform(), fontsize=8)
        ax.set_yticks([])
        ax.set_ylim(len(rows) - 0.5, -0.8)
        ax.spines["left"].set_visible(False)
        ax.grid(axis="x", color=FAINT, alpha=0.25, linewidth=0.6)
        ax.xaxis.set_major_locator(MaxNLocator(7, prune="both"))  # at the ends there is no room for a number
        ax.set_xlabel(fitted(axis, LABEL_WIDTH))
        figure.tight_layout(pad=0.4)
    return figure


def growth_chart(lines: Sequence[GrowthLine], x_label: str, y_label: str = "%") -> "Figure":
    """Learning curves over a logarithmic axis: runs as small points, means with their intervals, fits and a band."""
    with style():
        figure = blank(WIDTH + 0.8, HEIGHT + 0.35)
        ax = figure.subplots()
        ax.set_xscale("log")
        ends = []
        for line in lines:
            colour = COLOURS[line.colour % len(COLOURS)]
            if line.band:
                at, lows, highs = (list(values) for values in zip(*line.band, strict=True))
                ax.fill_between(at, lows, highs, color=colour, alpha=0.16, linewidth=0)
            for fit in line.fits:
                ax.plot(*zip(*fit, strict=True), color=colour, linewidth=1.2)
            for x, low, mean, high in line.means:
                if isfinite(low):
                    ax.plot([x, x], [low, high], color=colour, linewidth=0.9)
                ax.plot([x], [mean], marker="o", ms=4.5, color=colour)
            if not line.fits:
                ax.plot([one[0] for one in line.means], [one[2] for one in line.means], color=colour, linewidth=1.2)
            ax.plot(*zip(*line.runs, strict=True), linestyle="", marker="o", ms=2.2, color=colour, alpha=0.55)
            last = line.fits[0][-1][1] if line.fits else line.means[-1][2]
            ends.append((last, line.label, colour))
        _decimal(ax)
        ax.set_ylim(bottom=0)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        _name_ends(ax, ends, width=140)
        figure.tight_layout(pad=0.4)
    return figure


def cost_chart(points: Sequence[CostPoint], x_label: str, y_label: str) -> "Figure":
    """What every row reached over what it cost, on a logarithmic axis, with its interval and its name.

    The highest point comes first. Where there are more points than colours, they have numbers.
    """
    points = sorted(points, key=lambda point: -point.mean)
    numbered, height = len(points) > len(COLOURS), max(HEIGHT * 1.4, LINE * len(points) + 0.6)
    with style():
        figure = blank(PLOT + NAMES, height)
        ax = figure.subplots()
        ax.set_xscale("log")
        for number, point in enumerate(points):
            colour = COLOURS[number % len(COLOURS)]
            if isfinite(point.low):
                ax.plot([point.cost] * 2, [point.low, point.high], color=colour, linewidth=1, alpha=0.7)
            ax.plot([point.cost], [point.mean], marker="o", ms=5, color=colour)
        _decimal(ax)
        ax.set_ylim(bottom=0)
        ax.margins(x=0.08)
        ax.set_xlabel(x_label)
        ax.set_ylabel(y_label)
        figure.tight_layout(pad=0.4)
        figure.subplots_adjust(right=PLOT / (PLOT + NAMES), top=1 - LINE / 2 / height)  # half a line above the first
        names = [f"{number}  {p.label}" if numbered else p.label for number, p in enumerate(points, 1)]
        ends = [(p.mean, names[n], COLOURS[n % len(COLOURS)]) for n, p in enumerate(points)]
        room = 72 * NAMES - 11  # points, less the mark before a name
        _name_ends(ax, ends, LINE / (height * ax.get_position().height), room)
        if numbered:
            _number(ax, points)
    return figure


def _number(ax: "Axes", points: Sequence[CostPoint]) -> None:
    """A number beside each point, in the first of four places that is free; none in a crowd that leaves no place."""
    taken: list[tuple[float, float, float]] = []
    for number, point in enumerate(points, 1):
        x, y = ax.transData.transform((point.cost, point.mean)) * 72 / ax.figure.dpi  # in points, as letters are
        width = 7.0 * len(str(number))
        for right, up in ((4, 2), (-4 - width, 2), (4, -11), (-4 - width, -11)):
            left, low = x + right, y + up
            if all(left > other + w or left + width < other or abs(low - at) > 12 for other, at, w in taken):
                taken.append((left, low, width))
                ax.annotate(str(number), (point.cost, point.mean), (right, up), textcoords="offset points")
                break


def _decimal(ax: "Axes") -> None:
    """Ticks of a logarithmic axis as numbers that can be read: 1k, 20k, 1M."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    low, high = ax.get_xlim()
    ax.xaxis.set_major_locator(LogLocator(10, subs=(1, 2, 5) if high < 40 * low else (1,), numticks=12))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short_count(value)))
    ax.grid(axis="y", color=FAINT, alpha=0.25, linewidth=0.6)


def short_count(value: float) -> str:
    """A count with a letter for its thousands: 500, 2k, 1M, 40G, 3T, 1P."""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9999 * size:
            return f"{value / size:,.3g}{letter}"
    return f"{value:.3g}"


def _name_ends(ax: "Axes", ends: Sequence[tuple[float, str, str]], gap: float = GAP, width: float = 90) -> None:
    """Write (value, label, colour) at the right, as near to the values as labels that do not overlap can be."""
    low, high = ax.get_ylim()
    wanted = [(value - low) / (high - low) for value, _, _ in ends]
    for place, (_, label, colour) in zip(spread(wanted, gap), ends, strict=True):
        ax.text(1.035, place, fitted(label, width), transform=ax.transAxes, va="center")
        ax.plot([1.015], [place], marker="s", ms=4, color=colour, transform=ax.transAxes, clip_on=False)
