"""What `askew report` does: one page that shows a run, or several side by side, and every figure as a file."""

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from askew.data.files import home_path
from askew.errors import UserError, printable, writing
from askew.report.charts import DrawnFigure
from askew.report.console import Console
from askew.report.example_figures import examples_figures
from askew.report.examples_view import SCRIPTS, STYLES, views_of
from askew.report.figures import save_svg
from askew.report.page import write_page
from askew.runs.directory import RunDirectory
from askew.runs.examples import examples_of
from askew.runs.reporting import words
from askew.runs.reporting.curves import (
    COLLAPSE_PANELS,
    OPTIMISATION_PANELS,
    SCHEDULE_PANELS,
    SPEED_PANELS,
    draw,
    evaluation_panels,
    term_panels,
)
from askew.runs.reporting.read import ReadRun, read_run
from askew.runs.reporting.scores import comparisons, main_results, result_chart, result_tables, side_by_side

SUFFIXES = (".html", ".htm")
TEMPLATE = "report.html"
GROUPS = (  # section, its title, and what to know before looking
    ("terms", "Loss", "Each value is that of one logged step. All terms are means over the batch."),
    ("evaluated", "Evaluation during training", "One point for every time that the run was evaluated."),
    ("schedules", "Schedules", "What follows the clock of the run, not the data."),
    ("optimisation", "Optimisation", ""),
    ("speed", "Speed and memory", ""),
    ("collapse", "Signs of collapse", "The loss alone does not show whether the embeddings shrink to few directions, "
     "or whether images and texts stay apart. These do. They are measured on the batch of the step."),
)  # fmt: skip


def report(names: Sequence[str], out: Path | None, console: Console) -> None:
    """Write the page of one run, or of several.

    Args:
        names: run directories.
        out: the page's file. None: report.html in the run's directory, or for several in the working directory.

    Raises:
        UserError: no such run, one that is named twice, or a file that cannot be written.
    """
    directories = [RunDirectory.open(home_path(name)) for name in names]
    if len({directory.path.resolve() for directory in directories}) < len(directories):
        raise UserError("a run is named twice; name different ones")
    if len(directories) > len(string.ascii_uppercase):
        raise UserError(f"{len(directories)} runs are too many for one page; name at most 26")
    target = home_path(out) if out is not None else directories[0].report if len(names) == 1 else Path(TEMPLATE)
    if target.suffix.lower() not in SUFFIXES:
        raise UserError(f"--out {printable(str(target), 400)}: a report is a page; name a file that ends in .html")
    figures = write_report(directories, target, console)
    console.say(f"figures  {figures_folder(target)}: {figures} as SVG")
    console.say(f"report   {target}")


def figures_folder(page: Path) -> Path:
    """Where the figures of a page are: a folder of its name beside it."""
    return page.with_suffix("")


def write_report(directories: Sequence[RunDirectory], page: Path, console: Console) -> int:
    """Write the page and its figures. Returns the number of figures.

    Raises:
        UserError: the disk is full or read-only.
    """
    letters = string.ascii_uppercase if len(directories) > 1 else [""]
    runs = [read_run(directory, letter) for directory, letter in zip(directories, letters, strict=False)]
    groups = _groups(runs)
    chart = result_chart(runs)
    values = _values(runs)
    examples = [(run, found) for run in runs if (found := examples_of(run.directory, console)) is not None]
    values["examples"] = views_of([(run.label and run.name, found) for run, found in examples])
    with writing("the report", page):
        folder = figures_folder(page)
        folder.mkdir(parents=True, exist_ok=True)
        shown = {name: [_drawn(figure, folder) for figure in figures] for name, figures in groups.items()}
        values |= {"groups": [(*group, shown[group[0]]) for group in GROUPS if shown[group[0]]]}
        values |= {"result_figures": [_drawn(figure, folder) for figure in chart]}
        saved = [
            save_svg(figure, folder / "-".join(filter(None, (run.label, f"{name}.svg"))))
            for run, found in examples
            for name, figure in examples_figures(found).items()
        ]
        values["contents"] = _contents(values)
        write_page(page, TEMPLATE, styles=STYLES, scripts=SCRIPTS, **values)
    return sum(map(len, shown.values())) + len(chart) + len(saved)


def _groups(runs: Sequence[ReadRun]) -> dict[str, list[DrawnFigure]]:
    """Figures by section."""
    return {
        "terms": draw(term_panels(runs), runs),
        "evaluated": draw(evaluation_panels(runs), runs),
        "schedules": draw(SCHEDULE_PANELS, runs),
        "optimisation": draw(OPTIMISATION_PANELS, runs),
        "speed": draw(SPEED_PANELS, runs),
        "collapse": draw(COLLAPSE_PANELS, runs),
    }


def _drawn(drawn: DrawnFigure, folder: Path) -> tuple[str, str, str]:
    """A figure for the page: its SVG, title and caption. It is written as a file too."""
    return save_svg(drawn.figure, folder / f"{drawn.name}.svg"), drawn.title, drawn.caption


def _values(runs: Sequence[ReadRun]) -> dict[str, Any]:
    """What the template draws, without figures."""
    several = len(runs) > 1
    compared, refused = comparisons(runs) if several else ([], [])
    return {
        "title": words.headline(runs),
        "lead": "" if several else f"{words.subject(runs[0])} {words.state(runs[0])}".strip(),
        "overview": words.overview(runs) if several else None,
        "stats": [] if several else main_results(runs) + words.training_stats(runs[0]),
        "runs": [
            {
                "name": run.name,
                "facts": words.facts(run),
                "command": words.command(run),
                "recipe": words.recipe_lines(run),
                "missing": words.missing(run),
            }
            for run in runs
        ],
        "tables": side_by_side(runs) if several else result_tables(runs[0]),
        "settings": words.differing_settings(runs) if several else None,
        "comparisons": compared,
        "refused": refused,
    }


def _contents(values: dict[str, Any]) -> list[tuple[str, str]]:
    """The sections that the page has."""
    has_results = values["tables"] or values["comparisons"]
    return [
        ("what", "What was trained"),
        *((name, title) for name, title, _, _ in values["groups"]),
        *([("results", "Results")] if has_results else []),
        *([(f"{values['examples'][0].prefix}-retrieval", "Examples")] if values["examples"] else []),
        ("missing", "What is not here"),
    ]
