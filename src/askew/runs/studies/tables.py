"""The tables of a study: what every row reached, and what it cost.

A row of the study is a line, a measure a column. All shares are in percent.
"""

from collections.abc import Sequence
from math import isnan
from statistics import mean

from askew.errors import printable
from askew.evaluation.seeds import Estimate, SeedScores, share_interval
from askew.report.table import Table
from askew.runs.studies.layout import packed, table_of
from askew.runs.studies.measures import Measure
from askew.runs.studies.record import Record

LABEL = 40  # characters of a row's name
COSTS = ("pairs", "samples", "GFLOP per sample", "× {}", "TFLOP in all", "× {}", "seconds", "memory, MB")
SHORT_COSTS = ("pairs", "samples", "GFLOP/sample", "×", "TFLOP", "×", "seconds", "MB")
SPREAD = "Mean ± standard deviation over seeds, in percent."


# What every row reached


def score_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """Mean and standard deviation of every row, chance in the last line; as many tables as lines can hold."""
    made = []
    for group, found in by_group(measures).items():
        columns = {m.title: _column(record, m, [_spread(m.rows.get(row)) for row in rows_of(record)]) for m in found}
        made += packed(f"{group}, %", {**_labels(record, "chance"), **columns}, 2, _seeds_note(record))
    return made


def interval_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """The same with the 95 % interval of each mean, one table per group, as wide as it is."""
    made = []
    for group, found in by_group(measures).items():
        columns = {m.title: _column(record, m, [_whole(m.rows.get(row)) for row in rows_of(record)]) for m in found}
        caption = f"{SPREAD} In brackets the 95 % interval of the mean, of other seeds and other items. " + _seeds_note(
            record, ""
        )
        made.append(table_of(f"{group}, %", {**_labels(record, "chance"), **columns}, caption.strip()))
    return made


def by_group(measures: Sequence[Measure]) -> dict[str, list[Measure]]:
    """Measures by their group."""
    return {group: [m for m in measures if m.group == group] for group in dict.fromkeys(m.group for m in measures)}


def rows_of(record: Record) -> list[str]:
    """The rows that have a finished run, in the study's order."""
    finished = {run.row for run in record.runs}
    return [row for row in record.study.rows if row in finished]


def label(row: str) -> str:
    """The name of a row as it is shown."""
    return printable(row, LABEL)


def points(share: float, sign: str = "") -> str:
    """A share in percent with one digit."""
    return f"{100 * share:{sign}.1f}"


def ends(found: Estimate, sign: str = "") -> str:
    """An interval in percent; nothing where it is not known."""
    return "" if isnan(found.low) else f"({points(found.low, sign)} to {points(found.high, sign)})"


def _labels(record: Record, last: str) -> dict[str, list[str]]:
    """The first two columns: the rows, and how many seeds of each are finished."""
    rows = rows_of(record)
    counts = [(len(record.of(row)), len(record.study.seeds_of(row))) for row in rows]
    seeds = [str(done) if done == planned else f"{done} of {planned}" for done, planned in counts]
    return {"row": [*map(label, rows), last], "seeds": [*seeds, ""]}


def _column(record: Record, measure: Measure, cells: list[str]) -> list[str]:
    return [*cells, "" if measure.chance is None else f"{100 * measure.chance:.2g}"]


def _spread(scores: SeedScores | None) -> str:
    if scores is None:
        return ""
    found = points(float(scores.values.mean()))
    return found if len(scores.values) == 1 else f"{found} ± {points(float(scores.values.std(ddof=1)))}"


def _whole(scores: SeedScores | None) -> str:
    return "" if scores is None else f"{_spread(scores)} {ends(share_interval(scores))}".strip()


def _seeds_note(record: Record, start: str = SPREAD) -> str:
    """What a reader should know of the seeds."""
    fewest = min((len(record.of(row)) for row in rows_of(record)), default=0)
    alone = " A row with one seed says nothing of other seeds." if fewest == 1 else ""
    return f"{start}{alone}".strip()


# What it cost


def cost_table(record: Record, short: bool = False) -> Table:
    """Samples, operations, time and memory of each row: means over its runs.

    Args:
        short: with narrow titles, as Markdown needs them.
    """
    rows = rows_of(record)
    first = next((row for row in record.study.baseline if row in rows), rows[0] if rows else "")
    base = {key: mean_cost(record, first, key) for key in ("flops_per_sample", "flops")}
    cells = []
    for row in rows:
        per_sample, whole = (mean_cost(record, row, key) for key in ("flops_per_sample", "flops"))
        cells.append(
            [
                label(row),
                _count(mean_cost(record, row, "pairs")),
                _count(mean_cost(record, row, "samples")),
                _scaled(per_sample, 1e9),
                _ratio(per_sample, base["flops_per_sample"]),
                _scaled(whole, 1e12),
                _ratio(whole, base["flops"]),
                _count(mean_cost(record, row, "seconds")),
                _count(mean_cost(record, row, "peak_memory_mb")),
            ]
        )
    names = SHORT_COSTS if short else [name.replace("{}", label(first)) for name in COSTS]
    caption = (
        f"Means over seeds; × is as many times {label(first)}'s. Operations are floating-point operations of training, "
        "forward and backward. Seconds and memory are of the runs as they were: times that were taken beside other "
        "work mean nothing, and memory is that of the main process."
    )
    return Table("Cost", ["row", *names], cells, left=["row"], caption=caption)


def mean_cost(record: Record, row: str, key: str) -> float | None:
    """The mean over the row's runs; None if none has it. 0 stands for what was not counted."""
    values = [value for run in record.of(row) if isinstance(value := run.cost.get(key), int | float) and value]
    return mean(values) if values else None


def _count(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def _scaled(value: float | None, unit: float) -> str:
    """Three digits, or as many as there are before the point."""
    if value is None:
        return ""
    number = value / unit
    return f"{number:,.0f}" if number >= 100 else f"{number:#.3g}"


def _ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else ""
