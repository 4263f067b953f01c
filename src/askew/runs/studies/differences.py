"""How the rows of a study differ: each from a baseline, and in the weighted sums that the study asks for.

A difference is a line, a measure a column, in points of percent. Runs are paired by seed, and items with themselves.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan

from askew.errors import printable
from askew.evaluation.seeds import Estimate, combine, difference, holm, interval
from askew.report.table import Table
from askew.runs.studies.layout import packed, table_of
from askew.runs.studies.measures import Measure
from askew.runs.studies.record import Record
from askew.runs.studies.tables import by_group, ends, label, points, rows_of
from askew.runs.tables import star

ALONE = "†"  # one seed
MARKS = "* The interval excludes zero."
ASKED = 60  # characters of the name of a difference that the study asks for


@dataclass(frozen=True)
class Judged:
    """A difference in one measure. `holm`: clear even though all differences of the measure are looked at."""

    name: str
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


def compare(measure: Measure, baseline: str) -> list[Judged]:
    """Every other row of a measure beside the baseline; rows without a seed in common with it are left out."""
    if baseline not in measure.rows:
        return []
    against = measure.rows[baseline]
    return _judged({row: difference(against, scores) for row, scores in measure.rows.items() if row != baseline})


def asked(measure: Measure, differences: Mapping[str, Mapping[str, float]]) -> list[Judged]:
    """The weighted sums of a measure's rows, by label; those of which a row or a common seed is missing are left out.

    Args:
        differences: {label: {row: weight}}.
    """
    found = {}
    for name, weights in differences.items():
        if all(row in measure.rows for row in weights):
            sums = combine([(weight, measure.rows[row]) for row, weight in weights.items()])
            found[name] = None if sums is None else interval(sums)
    return _judged(found)


def _judged(estimates: Mapping[str, Estimate | None]) -> list[Judged]:
    found = {name: estimate for name, estimate in estimates.items() if estimate is not None}
    several = {name: estimate for name, estimate in found.items() if estimate.num_seeds > 1}
    kept = dict(zip(several, holm([estimate.p for estimate in several.values()]), strict=True))
    return [Judged(name, estimate, kept.get(name, False)) for name, estimate in found.items()]


# As tables


def difference_tables(record: Record, measures: Sequence[Measure], baseline: str) -> list[Table]:
    """Each row less the baseline, with its interval; as many tables as lines can hold."""
    return _packed(_of_baseline(record, measures, baseline))


def wide_difference_tables(record: Record, measures: Sequence[Measure], baseline: str) -> list[Table]:
    """The same, one table per group, as wide as it is."""
    return [table_of(*parts) for parts in _of_baseline(record, measures, baseline)]


def asked_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """The differences that the study asks for; as many tables as lines can hold."""
    return _packed(_of_study(record, measures))


def wide_asked_tables(record: Record, measures: Sequence[Measure]) -> list[Table]:
    """The same, one table per group, as wide as it is."""
    return [table_of(*parts) for parts in _of_study(record, measures)]


_Parts = tuple[str, dict[str, list[str]], str]  # title, columns, caption


def _packed(found: Sequence[_Parts]) -> list[Table]:
    return [table for title, columns, caption in found for table in packed(title, columns, 1, caption)]


def _of_baseline(record: Record, measures: Sequence[Measure], baseline: str) -> list[_Parts]:
    names = {row: label(row) for row in rows_of(record) if row != baseline}
    made = []
    for group, of_group in by_group(measures).items():
        found = {m.title: compare(m, baseline) for m in of_group}
        made += _parts(f"{group}: difference to {label(baseline)}, points", "row", names, found)
    return made


def _of_study(record: Record, measures: Sequence[Measure]) -> list[_Parts]:
    differences = record.study.differences
    made = []
    for group, of_group in by_group(measures).items():
        found = {m.title: asked(m, differences) for m in of_group}
        there = {one.name for of_measure in found.values() for one in of_measure}
        names = {name: printable(name, ASKED) for name in differences if name in there}
        made += _parts(f"{group}: differences between rows, points", "difference", names, found)
    return made


def _parts(title: str, first: str, names: Mapping[str, str], found: Mapping[str, Sequence[Judged]]) -> list[_Parts]:
    """One table: its title, its columns, the names first, and what their marks mean. None without any difference."""
    every = [one for of_measure in found.values() for one in of_measure]
    if not names or not every:
        return []
    columns = {first: list(names.values())}
    for measure, of_measure in found.items():
        by_name = {one.name: one for one in of_measure}
        columns[measure] = [_cell(by_name.get(name)) for name in names]
    tested = sum(one.estimate.num_seeds > 1 and not isnan(one.estimate.low) for one in every)
    most = max(sum(one.estimate.num_seeds > 1 for one in of_measure) for of_measure in found.values())
    text = f"95 % intervals across seeds and items. {MARKS} ** Also after Holm's correction for all rows of its column "
    text += f"({most}). Here {'is 1 interval' if tested == 1 else f'are {tested} intervals'} with two seeds or more: "
    text += "one in twenty excludes zero by chance."
    if any(one.estimate.num_seeds == 1 for one in every):
        text += f" {ALONE} One seed: the interval is that of the items alone, and says nothing of other seeds."
    return [(title, columns, text)]


def _cell(one: Judged | None) -> str:
    if one is None:
        return ""
    return " ".join(part for part in (points(one.estimate.mean, "+"), ends(one.estimate, "+"), one.marks) if part)
