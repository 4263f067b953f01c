"""A study's tables in the terminal, as table.md, and as a page with figures: all of it from the record alone."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import wrap

from askew.data.files import write_text
from askew.errors import printable, writing
from askew.evaluation.seeds import difference, share_interval
from askew.report.charts import DrawnFigure
from askew.report.console import Console
from askew.report.markdown import markdown
from askew.report.study import CurvePart, DifferencePart, StudyPage, write_study
from askew.report.study_figures import CostPoint, ForestRow, cost_chart, forest_chart, growth_chart
from askew.report.table import Table
from askew.runs.studies.curves import MILLION, OPERATIONS, PAIRS, curve_lines, drawn, extrapolated, words
from askew.runs.studies.differences import (
    Judged,
    asked,
    asked_tables,
    compare,
    difference_tables,
    wide_asked_tables,
    wide_difference_tables,
)
from askew.runs.studies.layout import WIDTH
from askew.runs.studies.measures import Measure, measures
from askew.runs.studies.record import Record
from askew.runs.studies.tables import (
    cost_table,
    ends,
    interval_tables,
    label,
    mean_cost,
    points,
    rows_of,
    score_tables,
)

TABLE, PAGE = "table.md", "study.html"
NAMED = 4  # rows with one seed that the warning names; of more it says how many
INTERVALS = (
    "Of a mean over runs that have a seed each and answer the same items. The variance of the items' part is the mean "
    "covariance of two seeds' runs over items (captions of one image together, or within classes); that of the seeds' "
    "part is the sample variance over the number of seeds. Each has a t of its own, weighted by its variance. Three "
    "seeds say little of how much seeds differ, so such intervals are wide. AUROC has no items here: it is compared "
    "over seeds alone."
)


def publish(record: Record, console: Console) -> list[Path]:
    """Print the tables, and write table.md, study.html and its figures into the record. Returns the paths.

    Raises:
        UserError: the record is damaged, or cannot be written to.
    """
    found, notes = measures(record)
    differences = [*_against_baselines(record, found), *asked_tables(record, found)]
    tables = [*score_tables(record, found), *differences, *_cost(record)]
    for table in tables:
        console.table(table)
    headline = [measure for measure in found if measure.headline]
    curves = [_curve_part(record, measure) for measure in headline] if record.study.curves else []
    curves = [part for part in curves if part.figures]
    for note in notes:
        console.warn(note)
    page = _page(record, found, notes, curves)
    with writing("the tables of a study", record.folder):
        write_text(record.folder / TABLE, _as_markdown(record, tables, notes, curves))
        return [record.folder / TABLE, *write_study(page, record.folder / PAGE, _saved(page, headline))]


def _against_baselines(record: Record, found: Sequence[Measure]) -> list[Table]:
    return [table for row in record.study.baseline for table in difference_tables(record, found, row)]


def _cost(record: Record) -> list[Table]:
    return [cost_table(record, short=True)] if record.runs else []


def _as_markdown(record: Record, tables: Sequence[Table], notes: Sequence[str], curves: Sequence[CurvePart]) -> str:
    """Tables under headings, with their captions, in lines of at most WIDTH where cells allow it."""
    parts = [f"# {printable(record.study.name)}", "", *wrap(_lead(record), WIDTH)]
    for number, table in enumerate(tables):
        again = number > 0 and tables[number - 1].title == table.title
        last = number + 1 == len(tables) or tables[number + 1].title != table.title
        parts += [""] if again else ["", f"## {table.title}", ""]
        parts += [markdown(table), *(["", *wrap(table.caption, WIDTH)] if table.caption and last else [])]
    for part in curves:
        parts += ["", f"## Learning curve: {part.measure}"]
        for line in part.words:
            parts += ["", *wrap(line, WIDTH)]
    for note in notes:
        parts += ["", *wrap(f"Note: {note}.", WIDTH)]
    return "\n".join(parts) + "\n"


# The page


def _page(record: Record, found: Sequence[Measure], notes: Sequence[str], curves: Sequence[CurvePart]) -> StudyPage:
    headline = [measure for measure in found if measure.headline]
    return StudyPage(
        name=record.study.name,
        lead=_lead(record),
        stats=[stat for measure in headline for stat in _best(measure)],
        notes=[*notes, *_warnings(record)],
        scores=interval_tables(record, found),
        rows=_settings(record),
        cost=cost_table(record),
        facts=_facts(record),
        differences=_difference_parts(record, found),
        curves=curves,
        cost_figures=[figure for measure in headline[:1] for figure in _cost_figure(record, measure)],
    )


def _lead(record: Record) -> str:
    planned = len(list(record.study.runs()))
    rows = f"{len(record.study.rows)} row{'s' if len(record.study.rows) > 1 else ''}"
    done = "all are finished" if len(record.runs) == planned else f"{len(record.runs)} are finished"
    return f"{rows}, {planned} run{'s' if planned > 1 else ''}: {done}."


def _warnings(record: Record) -> list[str]:
    planned, rows = len(list(record.study.runs())), list(rows_of(record))
    alone, told = [row for row in rows if len(record.of(row)) == 1], []
    if len(record.runs) < planned:
        told.append(f"{planned - len(record.runs)} of {planned} runs are not finished; what is here may change")
    if 1 < len(alone) == len(rows):
        told.append("every row has one seed, which says nothing of others")
    elif len(alone) > NAMED:
        told.append(f"{len(alone)} of {len(rows)} rows have one seed, which says nothing of others")
    elif alone:
        told.append(f"one seed, which says nothing of others: {'; '.join(map(label, alone))}")
    return told


def _best(measure: Measure) -> list[tuple[str, str, str]]:
    """The row with the highest mean, and how it stands against the next."""
    order = sorted(measure.rows, key=lambda row: -measure.rows[row].values.mean())
    if not order:
        return []
    found = share_interval(measure.rows[order[0]])
    detail = f"{label(order[0])} {ends(found)}".strip()
    if len(order) > 1:
        lead = difference(measure.rows[order[1]], measure.rows[order[0]])
        if lead is not None:
            detail += f"; {points(lead.mean, '+')} {ends(lead, '+')} over {label(order[1])}".replace("  ", " ")
            detail += "" if lead.clear else ": no clear lead"
    return [(measure.name, f"{points(found.mean)} %", detail)]


def _settings(record: Record) -> Table:
    """What each row is."""
    rows = [
        [label(row), printable(one.recipe), printable(", ".join(one.settings)), ", ".join(map(str, one.seeds))]
        for row, one in record.study.rows.items()
    ]
    shared = ", ".join(record.study.settings)
    caption = f"Of all rows: {printable(shared, 800)}" if shared else ""
    return Table("What each row is", ["row", "recipe", "set", "seeds"], rows, ["row", "recipe", "set"], caption=caption)


def _facts(record: Record) -> list[tuple[str, str]]:
    versions = dict.fromkeys(", ".join(f"{k} {v}" for k, v in run.versions.items()) for run in record.runs)
    processors = dict.fromkeys(str(run.cost["processor"]) for run in record.runs if run.cost.get("processor"))
    facts = [
        ("Seeds", ", ".join(map(str, record.study.seeds))),
        ("Intervals", INTERVALS),
        ("Mean recall", "The mean of R@1, R@5 and R@10 from image to text and from text to image."),
        ("Weights", "The student's."),
        ("Versions", "; ".join(versions)),
        ("Processor", "; ".join(processors)),
        ("These tables again", "askew study RECORD, where RECORD is this page's folder"),
    ]
    return [(name, printable(text, 2000)) for name, text in facts if text]


def _difference_parts(record: Record, found: Sequence[Measure]) -> list[DifferencePart]:
    """Each baseline, and then what the study asks for; those that have figures."""
    headline = [measure for measure in found if measure.headline]
    parts = []
    for row in record.study.baseline:
        axis = f"points more than {label(row)}"
        figures = [one for m in headline for one in _forest(_slug(row), m, compare(m, row), axis)]
        parts.append(DifferencePart(label(row), figures, wide_difference_tables(record, found, row)))
    figures = [one for m in headline for one in _forest("asked", m, asked(m, record.study.differences), "points")]
    parts.append(DifferencePart("", figures, wide_asked_tables(record, found)))
    return [part for part in parts if part.figures]


def _forest(slug: str, measure: Measure, found: Sequence[Judged], axis: str) -> list[DrawnFigure]:
    """The figure of a measure's differences; none without any."""
    rows = [
        ForestRow(
            one.name,
            100 * one.estimate.mean,
            100 * one.estimate.low,
            100 * one.estimate.high,
            one.clear,
            one.estimate.num_seeds == 1,
        )
        for one in found
    ]
    name = f"difference-{slug}-{_slug(measure.name)}"
    return [DrawnFigure(name, measure.name, "", forest_chart(rows, axis))] if rows else []


def _curve_part(record: Record, measure: Measure) -> CurvePart:
    """Against pairs, against operations, and on to a million pairs."""
    over_pairs, over_operations = (curve_lines(record, measure, axis) for axis in (PAIRS, OPERATIONS))
    slug, figures = _slug(measure.name), []
    for lines, axis, title, x in (
        (over_pairs, "pairs", "Against pairs", "pairs of the training data"),
        (over_operations, "operations", "Against operations", "floating-point operations of training"),
    ):
        if lines:
            figure = growth_chart(drawn(lines), x, f"{measure.title}, %")
            caption = "Small points are runs, large ones their means with intervals; the curve is the best fit."
            figures.append(DrawnFigure(f"curve-{slug}-{axis}", title, caption, figure))
    if any(line.curve for line in over_pairs):
        figure = growth_chart(extrapolated(over_pairs, MILLION), "pairs of the training data", f"{measure.title}, %")
        caption = "Every curve that the points allow. The band holds the intervals of all of them."
        figures.append(DrawnFigure(f"curve-{slug}-million", "What it may be at a million pairs", caption, figure))
    return CurvePart(measure.name, figures, words(over_pairs))


def _cost_figure(record: Record, measure: Measure) -> list[DrawnFigure]:
    found = []
    for row, scores in measure.rows.items():
        cost, estimate = mean_cost(record, row, OPERATIONS), share_interval(scores)
        if cost:
            ends_of = (100 * estimate.low, 100 * estimate.high)
            found.append(CostPoint(label(row), cost, 100 * estimate.mean, *ends_of))
    if not found:
        return []
    figure = cost_chart(found, "floating-point operations of training", f"{measure.title}, %")
    return [DrawnFigure("cost", f"{measure.name}, against cost", "Bars are 95 % intervals of the mean.", figure)]


def _saved(page: StudyPage, headline: Sequence[Measure]) -> list[str]:
    """The figures that are files too: those of the first measure, and every curve against pairs."""
    first = _slug(headline[0].name) if headline else ""
    every = [figure.name for part in (*page.differences, *page.curves) for figure in part.figures]
    of_first = [name for name in every if name.endswith(first) or name.startswith(f"curve-{first}-")]
    return [*dict.fromkeys([*of_first, *(name for name in every if name.endswith("-pairs"))]), "cost"]


def _slug(text: str) -> str:
    """A part of a file's name."""
    plain = "".join(c if c.isascii() and c.isalnum() else " " for c in text.lower())
    return "-".join(plain.split())[:60] or "row"
