"""What a person sees in the terminal: messages, progress, tables. Plain lines where the output is not a terminal."""

import io
import math
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import table as rich_table
from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from askew.errors import printable
from askew.report.live import TrainingDisplay
from askew.report.table import Table

PIPE_WIDTH = 180  # columns of a table that goes to a file or another program, which have no width of their own
QUIET_SECONDS = 10.0  # between two lines of progress where there is no bar


class Console:
    """Messages go to standard error, results to standard output. `quiet` prints only warnings (ranks other than 0)."""

    def __init__(self, quiet: bool = False):
        self.out = RichConsole(highlight=False, emoji=False)  # :cat: in a caption is no picture
        self.err = RichConsole(stderr=True, highlight=False, emoji=False)
        self.quiet = quiet
        self._training: TrainingDisplay | None = None
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._said = time.monotonic()

    # Messages

    def say(self, text: str) -> None:
        """One line of information."""
        if not self.quiet:
            self.err.print(escape(printable(text, 2000)), soft_wrap=True)

    def warn(self, text: str) -> None:
        """One line that a user should not miss."""
        self.err.print(f"[yellow]warning:[/] {escape(printable(text, 2000))}", soft_wrap=True)

    def error(self, text: str, label: str = "error") -> None:
        """The one line that says what went wrong."""
        self.close()
        self.err.print(f"[red]{label}:[/] {escape(printable(text, 4000))}", soft_wrap=True)

    # Progress

    @contextmanager
    def training_bar(self, completed: int) -> Iterator[None]:
        """Inside, training shows a bar and curves if there is a terminal."""
        self.close()
        if self._is_live:
            self._training = TrainingDisplay(self.err, completed)
        try:
            yield
        finally:
            self.close()

    def progress(self, line: dict[str, Any], terms: Sequence[str], total_steps: int) -> None:
        """One logged step of `total_steps`; `terms` are the terms of the loss, under the method's own names."""
        if self.quiet:
            return
        left = (total_steps - line["step"]) * line["samples"] / line["step"] / line["samples_per_second"]
        facts = [f"step {line['step']}/{total_steps}", f"{clock(left)} left"]
        facts += [f"{line['samples_per_second']:.0f} samples/s", f"data wait {line['data_wait']:.0%}"]
        values = {"loss": f"{line['loss']:.3f}", **{name: f"{line[name]:.3g}" for name in terms}}
        if self._training is not None:
            values |= {name: f"{line[name]:.3g}" for name in first_measures(line)}
            shown = {name: (line[name], text) for name, text in values.items()}
            self._training.update(line["step"], total_steps, facts, shown)
        else:
            text = "  ".join([*facts, *(f"{name} {text}" for name, text in values.items())])
            self.err.print(escape(text), soft_wrap=True)

    def images_done(self, name: str, done: int, total: int, rate: float) -> None:
        """How far a pass over images is: a bar on a terminal, else a line every ten seconds and one at the end."""
        rated = f", {rate:.0f} images/s" if rate else ""
        self._advance(f"{name}: {done:,} of {total:,} images{rated}", done, total)

    def evaluating(self, name: str, done: int, total: int) -> None:
        """How far the evaluation is that training waits for."""
        if self._training is not None:
            self._training.pause(f"evaluating {printable(name, 60)}: {done:,} of {total:,} images")
        elif time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            self.say(f"eval     {name}: {done:,} of {total:,} images")

    def fits_done(self, name: str, done: int, total: int, about: str) -> None:
        """How far a linear probe is, shown like `images_done`; `about` is what the present fit does."""
        self._advance(f"{name}: probe, {done} of {total} fits{about}", done, total)

    def _advance(self, text: str, done: int, total: int) -> None:
        if self._is_live:
            if self._bar is None:
                self._start_bar(text, 0)
            assert self._bar is not None
            self._bar.update(self._task, completed=done, total=total, description=escape(text))
        elif done >= total or time.monotonic() - self._said > QUIET_SECONDS:
            self._said = time.monotonic()
            self.say(text)

    @property
    def _is_live(self) -> bool:
        """Whether there is a terminal whose cursor can be moved, so that what is shown can change."""
        return self.err.is_terminal and not self.err.is_dumb_terminal and not self.quiet

    def _start_bar(self, text: str, completed: int) -> None:
        self._bar = Progress(BarColumn(), TextColumn("{task.description}"), console=self.err, transient=True)
        self._task = self._bar.add_task(escape(text), total=None, completed=completed)
        self._bar.start()

    def close(self) -> None:
        """Remove the progress bar."""
        if self._training is not None:
            self._training.stop()
            self._training = None
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    # Results

    def print(self, text: str) -> None:
        """One line on standard output."""
        self.close()
        self.out.print(text, markup=False, soft_wrap=True)

    def table(self, table: Table) -> None:
        """A table on standard output. Where that is no terminal it is printed in full, never cut to 80 columns."""
        self.close()
        out = self.out if self.out.is_terminal else RichConsole(width=PIPE_WIDTH, highlight=False, emoji=False)
        out.print(_drawn(table))


def as_text(tables: Iterable[Table]) -> str:
    """Tables as they are printed where there is no terminal."""
    text = io.StringIO()
    out = RichConsole(file=text, width=PIPE_WIDTH, highlight=False, emoji=False, force_jupyter=False)
    for table in tables:
        out.print(_drawn(table))
    return text.getvalue().removesuffix("\n")


def first_measures(line: dict[str, Any]) -> list[str]:
    """Of a logged line with an evaluation, the first measure of every task: `eval/TASK/MEASURE`."""
    firsts: dict[str, str] = {}
    for name in line:
        if name.startswith("eval/"):
            firsts.setdefault(name.rpartition("/")[0], name)
    return list(firsts.values())


def _drawn(table: Table) -> rich_table.Table:
    """The table as rich draws it."""
    drawn = rich_table.Table(
        title=escape(table.title), title_justify="left", caption=escape(table.caption), caption_justify="left"
    )
    for column in table.columns:
        drawn.add_column(escape(column), justify="left" if column in table.left else "right")
    for number, row in enumerate(table.rows):
        strong = number in table.emphasized
        if strong and number - 1 not in table.emphasized:
            drawn.add_section()
        cells = (escape(printable(cell, 2000)) for cell in row)
        drawn.add_row(*(f"[bold]{cell}[/]" if strong else cell for cell in cells))
    return drawn


def clock(seconds: float) -> str:
    """Hours, minutes, seconds."""
    if not math.isfinite(seconds):
        return "?"
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
