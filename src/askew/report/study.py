"""What the page of a study draws: plain data, and the figures of study_figures.py."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from askew.report.charts import DrawnFigure
from askew.report.figures import save_svg, svg_of
from askew.report.table import Table


@dataclass(frozen=True)
class DifferencePart:
    """How rows differ: the figures and the tables. `baseline` is empty for what the study asks for itself."""

    baseline: str
    figures: Sequence[DrawnFigure]
    tables: Sequence[Table]


@dataclass(frozen=True)
class CurvePart:
    """The learning curves of one measure, and what they say."""

    measure: str
    figures: Sequence[DrawnFigure]
    words: Sequence[str]


@dataclass(frozen=True)
class StudyPage:
    """Everything on the page.

    Attributes:
        name: of the study.
        lead: how much of it is finished.
        stats: (label, value, detail) of the best row of each measure.
        notes: what a reader should know before believing a number.
        scores: tables of what every row reached.
        rows: the table of what each row is.
        cost: the table of costs.
        facts: (name, text) of how it was measured.
    """

    name: str
    lead: str
    stats: Sequence[tuple[str, str, str]]
    notes: Sequence[str]
    scores: Sequence[Table]
    rows: Table
    cost: Table
    facts: Sequence[tuple[str, str]]
    differences: Sequence[DifferencePart] = field(default=())
    curves: Sequence[CurvePart] = field(default=())
    cost_figures: Sequence[DrawnFigure] = field(default=())


def write_study(page: StudyPage, path: Path, saved: Sequence[str]) -> list[Path]:
    """Write the page, and figures beside it as NAME.svg. Returns the paths, the page first.

    Args:
        saved: the names of the figures that are written as files.
    """
    from askew.report.page import write_page

    figures = [figure for part in (*page.differences, *page.curves) for figure in part.figures] + [*page.cost_figures]
    paths, svg = [path], {}
    for one in figures:
        if one.name in saved:
            paths.append(path.with_name(f"{one.name}.svg"))
            svg[one.name] = save_svg(one.figure, paths[-1])
        else:
            svg[one.name] = svg_of(one.figure)
    write_page(path, "study.html", page=page, svg=svg)
    return paths
