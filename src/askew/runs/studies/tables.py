"""The tables of a study: what every row reached, how it differs from a baseline, and what it cost.

A row of the study is a line, a measure a column. All shares are in percent.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from statistics import mean

from askew.errors import printable
from askew.evaluation.seeds import Estimate, SeedScores, difference, holm, share_interval
from askew.report.table import Table
from askew.runs.studies.measures import Measure
from askew.runs.studies.record import Record
from askew.runs.tables import star

WIDTH = 100  # characters of a line of Markdown
ALONE = "†"  # one seed
LABEL = 40  # characters of a row's name
COSTS = ("pairs", "samples", "GFLOP per sample", "× {}", "TFLOP in all", "× {}", "seconds", "memory, MB")
SHORT_COSTS = ("pairs", "samples", "GFLOP/sample", "×", "TFLOP", "×", "seconds", "MB")
SPREAD = "Mean ± standard deviation over seeds, in percent."
MARKS = "* The interval excludes zero."


@dataclass(frozen=True)
class BesideBaseline:
    """One row beside a baseline in one measure. `holm`: clear even though all rows of the measure are looked at."""

    row: str
    estimate: Estimate
    holm: bool

    @property
    def clear(self) -> bool:
        """Whether the interval excludes zero as it is shown; never with one seed."""
        return self.estimate.num_seeds > 1 and bool(star(self.estimate.low, self.estimate.high).strip())

    @property
    def marks(self) -> str:
        """`*` if the interval excludes zero, `**` if it does after Holm's correction, a dagger for one seed."""
        if self.estimate.num_seeds == 1:
            return ALONE
        return ("**" if self.holm else "*") if self.clear else ""


# What every row reached


def score_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """Mean and standard deviation of every row, chance in the last line; as many tables as lines can hold."""
    made = []
    for group, found in by_group(measures).items():
        columns = {m.title: _column(record, m, [_spread(m.rows.get(row)) for row in rows_of(record)]) for m in found}
        made += _packed(f"{group}, %", {**_labels(record, "chance"), **columns}, 2, _seeds_note(record))
    return made


def interval_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """The same with the 95 % interval of each mean, one table per group, as wide as it is."""
    made = []
    for group, found in by_group(measures).items():
        columns = {m.title: _column(record, m, [_whole(m.rows.get(row)) for row in rows_of(record)]) for m in found}
        caption = f"{SPREAD} In brackets the 95 % interval of the mean, of other seeds and other items. " + _seeds_note(
            record, ""
        )
        made.append(_table(f"{group}, %", {**_labels(record, "chance"), **columns}, caption.strip()))
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


# Differences to a baseline


def compare(measure: Measure, baseline: str) -> list[BesideBaseline]:
    """Every other row of a measure beside the baseline; rows without a seed in common with it are left out."""
    if baseline not in measure.rows:
        return []
    against = measure.rows[baseline]
    others = {row: difference(against, scores) for row, scores in measure.rows.items() if row != baseline}
    found = {row: estimate for row, estimate in others.items() if estimate is not None}
    several = {row: estimate for row, estimate in found.items() if estimate.num_seeds > 1}
    kept = dict(zip(several, holm([estimate.p for estimate in several.values()]), strict=True))
    return [BesideBaseline(row, estimate, kept.get(row, False)) for row, estimate in found.items()]


def difference_tables(record: Record, measures: Sequence[Measure], baseline: str) -> list[Table]:
    """Each row less the baseline, in points of percent, with its interval; as many tables as lines can hold."""
    made = []
    for group, found in by_group(measures).items():
        tables, caption = _differences(record, found, baseline)
        made += _packed(f"{group}: difference to {label(baseline)}, points", tables, 1, caption) if tables else []
    return made


def wide_difference_tables(record: Record, measures: Sequence[Measure], baseline: str) -> list[Table]:
    """The same, one table per group, as wide as it is."""
    made = []
    for group, found in by_group(measures).items():
        columns, caption = _differences(record, found, baseline)
        made += [_table(f"{group}: difference to {label(baseline)}, points", columns, caption)] if columns else []
    return made


def _differences(record: Record, measures: Sequence[Measure], baseline: str) -> tuple[dict[str, list[str]], str]:
    """Columns, the rows first, and what their marks mean."""
    rows = [row for row in rows_of(record) if row != baseline]
    found = {m.title: {one.row: one for one in compare(m, baseline)} for m in measures}
    if not rows or not any(found.values()):
        return {}, ""
    columns = {"row": [label(row) for row in rows]}
    columns |= {t: [_difference(of_measure.get(row)) for row in rows] for t, of_measure in found.items()}
    every = [one for of_measure in found.values() for one in of_measure.values()]
    tested = sum(one.estimate.num_seeds > 1 and not isnan(one.estimate.low) for one in every)
    most = max(sum(one.estimate.num_seeds > 1 for one in of_measure.values()) for of_measure in found.values())
    text = f"95 % intervals across seeds and items. {MARKS} ** Also after Holm's correction for all rows of its column "
    text += f"({most}). Here {'is 1 interval' if tested == 1 else f'are {tested} intervals'} with two seeds or more: "
    text += "one in twenty excludes zero by chance."
    if any(one.estimate.num_seeds == 1 for one in every):
        text += f" {ALONE} One seed: the interval is that of the items alone, and says nothing of other seeds."
    return columns, text


def _difference(one: BesideBaseline | None) -> str:
    if one is None:
        return ""
    return " ".join(part for part in (points(one.estimate.mean, "+"), ends(one.estimate, "+"), one.marks) if part)


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


# Layout


def _table(title: str, columns: dict[str, list[str]], caption: str) -> Table:
    rows = [list(cells) for cells in zip(*columns.values(), strict=True)]
    return Table(title, list(columns), rows, left=["row"], caption=caption)


def _packed(title: str, columns: dict[str, list[str]], fixed: int, caption: str) -> list[Table]:
    """As few tables as lines of WIDTH need in Markdown, each with the first `fixed` columns, and about equally many."""
    names = list(columns)
    widths = {name: max(len(text) for text in (name, *cells)) + 3 for name, cells in columns.items()}
    room = WIDTH - 1 - sum(widths[name] for name in names[:fixed])
    most = len(names)
    while True:
        parts = _parts(names[fixed:], widths, room, most)
        even = -(-(len(names) - fixed) // max(len(parts), 1))
        if even >= most or len(_parts(names[fixed:], widths, room, even)) > len(parts):
            break
        most = even
    return [_table(title, {name: columns[name] for name in [*names[:fixed], *part]}, caption) for part in parts]


def _parts(names: Sequence[str], widths: dict[str, int], room: int, most: int) -> list[list[str]]:
    """Names in order, in parts of at most so many and no wider than there is room for."""
    made: list[list[str]] = []
    for name in names:
        if not made or len(made[-1]) == most or sum(widths[one] for one in made[-1]) + widths[name] > room:
            made.append([])
        made[-1].append(name)
    return made
