"""The results of a report: every measure with its interval and chance, the paper's tables, paired comparisons."""

from collections.abc import Sequence

from askew.errors import UserError, printable
from askew.evaluation.results import Result
from askew.report.charts import DrawnFigure, ShareRow, share_chart
from askew.report.table import Table
from askew.runs.compare import compared
from askew.runs.reporting.read import ReadRun, Scored
from askew.runs.tables import chance_of, comparison_table, measure_title, measures_of, paper_tables, percent

MAIN = (  # tasks to see first, where they were run: data that training did not have
    "imagenet/zero_shot", "flickr30k/text_to_image", "naming/unseen_style", "naming/unseen_concept/test",
    "naming/unseen_both/test", "retrieval/unseen_style/name", "scenery", "group/unseen_both",
)  # fmt: skip
MOST = 4  # results in the headline
STUDENT = "student"


def main_results(runs: Sequence[ReadRun]) -> list[tuple[str, str, str]]:
    """The results to see first: (task and measure, percent, interval and chance) of the first run that has them."""
    scored = {one.result.task: one for run in reversed(runs) for one in run.results.get(STUDENT, [])}
    names = [task for task in MAIN if task in scored]
    names += [task for task in scored if task not in names and task not in MAIN]
    shown = []
    for task in names:
        one = scored[task]
        measures = measures_of(one.result.values)
        if measures and len(shown) < MOST:
            measure, chance = measures[0], chance_of(one.result, measures[0])
            detail = [f"95 % interval {_interval(one, measure)}"] if _interval(one, measure) else []
            detail += [f"chance {100 * chance:.2g} %"] if chance is not None else []
            name = task.replace("/", " / ").replace("_", " ")
            shown.append((f"{name}, {_title(measure)}", f"{percent(one.result.values[measure])} %", "; ".join(detail)))
    return shown


def result_tables(run: ReadRun) -> list[Table]:
    """Of one run on a page: a table per kind of weights, and the paper's where the run was tested on their data."""
    return [
        table
        for weights in run.results
        for table in (measures_table([run], weights, run.before if weights == STUDENT else {}), *_papers(run, weights))
    ]


def side_by_side(runs: Sequence[ReadRun]) -> list[Table]:
    """Of several runs: a table per kind of weights, with columns for each run that has them, and the paper's."""
    kinds = dict.fromkeys(weights for run in runs for weights in run.results)
    tables = [measures_table([run for run in runs if weights in run.results], weights, {}) for weights in kinds]
    return tables + [table for run in runs for weights in run.results for table in _papers(run, weights)]


def _papers(run: ReadRun, weights: str) -> list[Table]:
    """The paper's tables; the last one repeats every result, which is in a table already."""
    name = printable(run.name if weights == STUDENT else f"{run.name} ({weights})", 40)
    results = [one.result for one in run.results[weights]]
    return paper_tables(results, name)[:-1]


def result_chart(runs: Sequence[ReadRun]) -> list[DrawnFigure]:
    """The first measure of every task, with intervals and chance; none without results."""
    scored = [{one.result.task: one for one in run.results.get(STUDENT, [])} for run in runs]
    firsts: dict[str, str] = {}
    for result in (one.result for tasks in scored for one in tasks.values()):
        if measures := measures_of(result.values):
            firsts.setdefault(result.task, measures[0])
    rows = [_row(task, measure, [tasks.get(task) for tasks in scored]) for task, measure in firsts.items()]
    if not rows:
        return []
    text = "The first measure of every task with its 95 % interval. The upright bar is chance: an interval that holds "
    text += "it is no better than guessing."
    return [DrawnFigure("results", "Results", text, share_chart(rows, len(runs)))]


def comparisons(runs: Sequence[ReadRun]) -> tuple[list[tuple[str, Table]], list[str]]:
    """Every further run against the first, as `askew compare` does it; and why some could not be compared."""
    made, refused = [], []
    for other in runs[1:]:
        names = [str(run.directory.path) for run in (runs[0], other)]
        try:
            found = compared(*names)
        except UserError as error:
            refused.append(f"{runs[0].label} and {other.label} cannot be compared: {error}")
            continue
        refused += found.refused
        if found.differences:
            table = comparison_table(found.differences, *(printable(name, 400) for name in names))
            called = "" if other is runs[1] else " (B in the table)"
            made.append((f"{other.label}{called} against {runs[0].label}", table))
    return made, refused


def measures_table(runs: Sequence[ReadRun], weights: str, before: dict[str, Result]) -> Table:
    """One row per task and measure: percent and interval of each run, and chance.

    Args:
        before: results of the weights that training started from; where there are any, they get a column.
    """
    scored = [{one.result.task: one for one in run.results[weights]} for run in runs]
    rows = []
    for task in dict.fromkeys(task for tasks in scored for task in tasks):
        found = [tasks.get(task) for tasks in scored]
        measures = dict.fromkeys(m for one in found if one is not None for m in measures_of(one.result.values))
        for number, measure in enumerate(measures):
            first = next(one.result for one in found if one is not None and measure in one.result.values)
            chance, former = chance_of(first, measure), before.get(task)
            row = [task if number == 0 else "", _title(measure)]
            row += [cell for one in found for cell in _cells(one, measure)]
            row += ["" if chance is None else f"{100 * chance:.2f}", f"{first.values['n']:,.0f}"]
            row += [percent(former.values[measure]) if former and measure in former.values else ""] if before else []
            rows.append(row)
    labels = [f"{run.label}, %" if run.label else "%" for run in runs]
    shares = [column for label in labels for column in (label, "95 % interval")]
    columns = ["task", "measure", *shares, "chance, %", "queries", *(["before, %"] if before else [])]
    has_intervals = any(one.intervals for tasks in scored for one in tasks.values())
    text = "Intervals: Wilson's of independent items, a bootstrap of clusters and of means over classes."
    return Table(f"Results ({weights})", columns, rows, left=columns[:2], caption=text if has_intervals else "")


def _cells(one: Scored | None, measure: str) -> tuple[str, str]:
    if one is None or measure not in one.result.values:
        return "", ""
    return percent(one.result.values[measure]), _interval(one, measure)


def _row(task: str, measure: str, scored: Sequence[Scored | None]) -> ShareRow:
    values = [None if one is None or measure not in one.result.values else 100 * one.result.values[measure]
              for one in scored]  # fmt: skip
    ranges = [one.intervals.get(measure) if one is not None else None for one in scored]
    levels = (chance_of(one.result, measure) for one in scored if one is not None)
    chance = next((level for level in levels if level is not None), None)
    return ShareRow(
        f"{printable(task, 60)}, {_title(measure)}",
        values,
        [None if ends is None else (100 * ends[0], 100 * ends[1]) for ends in ranges],
        None if chance is None else 100 * chance,
    )


def _title(measure: str) -> str:
    """What a measure is called, its direction included."""
    direction, _, rest = measure.rpartition("/")
    words = {"image_to_text": "image to text, ", "text_to_image": "text to image, "}
    return words.get(direction, f"{direction}, " if direction else "") + measure_title(rest).replace("r@", "R@")


def _interval(one: Scored, measure: str) -> str:
    if measure not in one.intervals:
        return ""
    low, high = one.intervals[measure]
    return f"{percent(low)} to {percent(high)}"
