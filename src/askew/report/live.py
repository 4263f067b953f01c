"""The live lines of training on a terminal: a bar, what there is to know of the run, and the curve of every term.

A curve is a line of Unicode blocks, eight levels high, from the first logged step to the last. Each has its own scale:
its lowest value is the lowest block. Where the terminal does not take them, values are shown without curves. What does
not fit into the width of the terminal is left out, last first: nothing wraps.
"""

import math
from collections.abc import Mapping, Sequence

from rich.cells import cell_len, set_cell_size
from rich.console import Console as RichConsole
from rich.console import ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table as RichTable
from rich.text import Text

from askew.errors import printable

BLOCKS = "▁▂▃▄▅▆▇█"
MOST_POINTS = 256  # that a curve keeps, of a run of any length
SHORTEST, LONGEST = 8, 32  # columns of a curve
LONGEST_NAME = 16  # columns of a term's name
GAP = 2  # columns between two terms
BAR_FROM = 60  # columns of a terminal that has room for a bar beside the facts


class Curve:
    """The values of a quantity over a run, in bounded memory: when it is full, every two points become their mean."""

    def __init__(self) -> None:
        self._points: list[float] = []
        self._waiting: list[float] = []  # values of the next point
        self._per_point = 1

    def add(self, value: float) -> None:
        """One more value. One that is not finite is passed over."""
        if not math.isfinite(value):
            return
        self._waiting.append(value)
        if len(self._waiting) < self._per_point:
            return
        self._points.append(_mean(self._waiting))
        self._waiting = []
        if len(self._points) == MOST_POINTS:
            self._points = [_mean(self._points[n : n + 2]) for n in range(0, MOST_POINTS, 2)]
            self._per_point *= 2

    @property
    def points(self) -> list[float]:
        """At most MOST_POINTS means of equally many values, oldest first; the last may be of fewer."""
        return [*self._points, _mean(self._waiting)] if self._waiting else list(self._points)


def sparkline(values: Sequence[float], width: int) -> str:
    """Finite values as at most `width` blocks, oldest first. Equal values are the lowest block, and so is one alone."""
    if not values or width < 1:
        return ""
    num = min(width, len(values))
    means = [_mean(values[n * len(values) // num : (n + 1) * len(values) // num]) for n in range(num)]
    low, high = min(means), max(means)
    steps = (len(BLOCKS) - 1) / (high - low) if high > low else 0.0
    return "".join(BLOCKS[round((value - low) * steps)] for value in means)


class TrainingDisplay:
    """The live lines, from the start of training to its end; then they are gone.

    Args:
        console: a terminal that can move its cursor.
        completed: steps taken before this session.
    """

    def __init__(self, console: RichConsole, completed: int):
        self._completed, self._total = completed, 0
        self._facts: list[str] = ["starting"]
        self._curves: dict[str, Curve] = {}
        self._shown: dict[str, str] = {}
        self._widest = 0  # of all values so far: a sign that comes and goes moves nothing
        self._live = Live(self, console=console, transient=True, auto_refresh=False)
        self._live.start(refresh=True)

    def update(self, step: int, total: int, facts: Sequence[str], values: Mapping[str, tuple[float, str]]) -> None:
        """One logged step of `total`.

        Args:
            facts: short texts, the most important first.
            values: the value of every term, by its name, and how it is written.
        """
        self._completed, self._total, self._facts = step, total, list(facts)
        for name, (value, text) in values.items():
            self._curves.setdefault(name, Curve()).add(value)
            self._shown[name] = text
            self._widest = max(self._widest, len(text))
        self._live.refresh()

    def pause(self, text: str) -> None:
        """What training waits for, in place of the facts of the last step."""
        self._facts = [text]
        self._live.refresh()

    def stop(self) -> None:
        """Remove the lines."""
        self._live.stop()

    def __rich_console__(self, console: RichConsole, options: ConsoleOptions) -> RenderResult:
        """The lines as wide as the terminal is now, and no more than half as high."""
        width = options.max_width
        bar = width // 5 if width >= BAR_FROM else 0
        facts = _fitting(self._facts, width - bar - bool(bar))
        if bar:
            grid = RichTable.grid(padding=(0, 1, 0, 0))
            grid.add_row(ProgressBar(self._total or None, self._completed, width=bar), _line(facts))
            yield grid
        else:
            yield _line(facts)
        rows = max(1, console.size.height // 2 - 1)
        yield from self._terms(width, rows, curves=not options.ascii_only)

    def _terms(self, width: int, rows: int, curves: bool) -> list[Text]:
        """Terms in columns: name, curve, value."""
        if not self._shown:
            return []
        names = min(LONGEST_NAME, max(cell_len(printable(name)) for name in self._shown))
        fixed = names + 1 + self._widest + bool(curves)
        columns = min(len(self._shown), max(1, (width + GAP) // (fixed + SHORTEST * curves + GAP)))
        room = (width + GAP) // columns - GAP - fixed
        room = min(LONGEST, room) if curves and room >= SHORTEST // 2 else 0
        cells = [self._cell(name, names, room) for name in self._shown]
        lines = []
        for start in range(0, min(len(cells), rows * columns), columns):
            lines.append(_line("").append_text(Text(" " * GAP).join(cells[start : start + columns])))
        return lines

    def _cell(self, name: str, names: int, room: int) -> Text:
        """One term, as wide as all the others."""
        safe = printable(name)
        cell = Text(set_cell_size(safe if cell_len(safe) <= names else safe[: names - 1] + "…", names), style="dim")
        if room:
            cell.append(" " + sparkline(self._curves[name].points, room).ljust(room), style="not dim cyan")
        return cell.append(" " + self._shown[name].rjust(self._widest), style="not dim")


def _fitting(facts: Sequence[str], width: int) -> str:
    """As many facts as fit, the first ones first."""
    text = ""
    for fact in facts:
        longer = f"{text}  {fact}" if text else fact
        if text and cell_len(longer) > width:
            break
        text = longer
    return text


def _line(text: str) -> Text:
    """Text that is cut where the terminal ends."""
    return Text(text, no_wrap=True, overflow="crop", end="\n")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
