"""What the page of `askew inspect` draws: plain data, and figures made from plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from askew.report.figures import COLOURS, FAINT, blank, save_svg, style, svg_of
from askew.report.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MODEL_COLOURS = {"student": COLOURS[0], "teacher": COLOURS[1]}
ACROSS = 4  # panels side by side


@dataclass(frozen=True)
class PairCard:
    """One pair of the gallery.

    Attributes:
        picture: a data: URI; "" where the image could not be read again.
        name: where the pair comes from.
        caption: its text.
        numbers: (name, value) of each number.
        better: the nearest other caption of the data set; "" where none is nearer than its own.
        better_of: whose caption that is, and how near.
    """

    picture: str
    name: str
    caption: str
    numbers: Sequence[tuple[str, str]]
    better: str = ""
    better_of: str = ""


@dataclass(frozen=True)
class OperationEffect:
    """The mean misalignment by one operation at one strength under one model, in nats.

    Attributes:
        model: student or teacher.
        strength: the number on the axis, with its `unit`.
        low, high: the 95 % interval of the mean.
        count: pairs.
        strongest: whether words were looked for at this strength.
        untouched: the strength at which nothing happens.
    """

    model: str
    operation: str
    strength: float
    unit: str
    mean: float
    low: float
    high: float
    count: int
    strongest: bool
    untouched: float = 0.0


@dataclass(frozen=True)
class InspectionPage:
    """Everything on the page.

    Attributes:
        model, data: what was inspected.
        stats: (label, value, detail) of the numbers to see first.
        facts: (name, text) of how it was measured.
        noise: for each model, edges (B + 1,) of bins and how many pairs are in each.
        ranked_by: what `worst` and `best` are ranked by, for a reader.
        worst, best: the most and the least misaligned pairs.
        effects: of operations.
        words: tables of words.
        notes: what a reader should know: samples that could not be used, what was not measured.
    """

    model: str
    data: str
    stats: Sequence[tuple[str, str, str]]
    facts: Sequence[tuple[str, str]]
    noise: Mapping[str, tuple[Sequence[float], Sequence[int]]]
    ranked_by: str
    worst: Sequence[PairCard]
    best: Sequence[PairCard]
    effects: Sequence[OperationEffect] = ()
    words: Sequence[Table] = ()
    notes: Sequence[str] = field(default=())


def noise_figure(noise: Mapping[str, tuple[Sequence[float], Sequence[int]]]) -> "Figure":
    """How many pairs have which noise, one outline per model. 0 is marked: to its right, neighbours are nearer."""
    with style():
        figure = blank(4.2, 2.4)
        ax = figure.subplots()
        for model, (edges, counts) in noise.items():
            ax.stairs(counts, edges, color=MODEL_COLOURS[model], label=model, linewidth=1.4)
        ax.axvline(0, color=FAINT, linewidth=0.8)
        ax.set_xlabel("noise, in nats")
        ax.set_ylabel("pairs")
        if len(noise) > 1:
            ax.legend()
        figure.tight_layout()
    return figure


def operation_figure(effects: Sequence[OperationEffect], limits: tuple[float, float]) -> "Figure":
    """Mean misalignment by one operation over its strength, one line per model."""
    with style():
        figure = blank(3.4, 2.3)
        _panel(figure.subplots(), effects, limits)
        figure.tight_layout()
    return figure


def operations_figure(effects: Sequence[OperationEffect]) -> "Figure":
    """The same for all operations, one panel each with the same vertical axis."""
    panels = by_operation(effects)
    rows = -(-len(panels) // ACROSS)
    with style():
        figure = blank(2.4 * ACROSS, 2.1 * rows)
        grid = list(figure.subplots(rows, ACROSS, squeeze=False).flat)
        for ax in grid[len(panels) :]:
            ax.axis("off")
        for ax, (name, found) in zip(grid, panels.items(), strict=False):
            _panel(ax, found, limits_of(effects))
            ax.set_title(name)
        figure.tight_layout()
    return figure


def by_operation(effects: Sequence[OperationEffect]) -> dict[str, list[OperationEffect]]:
    """The effects of each operation, in order."""
    names = dict.fromkeys(effect.operation for effect in effects)
    return {name: [effect for effect in effects if effect.operation == name] for name in names}


def limits_of(effects: Sequence[OperationEffect]) -> tuple[float, float]:
    """The vertical axis that all operations share: what their intervals need, with 0."""
    ends = [end for effect in effects for end in (effect.low, effect.high) if isfinite(end)] + [0.0]
    room = 0.05 * (max(ends) - min(ends)) or 0.01
    return min(ends) - room, max(ends) + room


def _panel(ax: "Axes", effects: Sequence[OperationEffect], limits: tuple[float, float]) -> None:
    ax.axhline(0, color=FAINT, linewidth=0.8)
    models = list(dict.fromkeys(effect.model for effect in effects))
    for place, model in enumerate(models):
        points = sorted((e for e in effects if e.model == model), key=lambda e: e.strength)
        drawn = [(point.strength, point.mean, point.low, point.high) for point in points]
        if len(points) > 1:
            drawn = sorted([*drawn, (points[0].untouched, 0.0, 0.0, 0.0)])
        else:  # applied or not: there is no strength to draw
            drawn = [(float(place), *drawn[0][1:])]
        at, means, lows, highs = (list(values) for values in zip(*drawn, strict=True))
        ends = [
            [m - low for m, low in zip(means, lows, strict=True)],
            [h - m for m, h in zip(means, highs, strict=True)],
        ]
        colour = MODEL_COLOURS[model]
        ax.errorbar(at, means, ends, color=colour, marker="o", markersize=3, linewidth=1.2, label=model)
    if len({effect.strength for effect in effects}) == 1:
        ax.set_xlim(-1, len(models))
        ax.set_xticks([])
    ax.set_ylim(*limits)
    ax.set_xlabel(effects[0].unit)
    ax.set_ylabel("nats")
    if len(models) > 1:
        ax.legend()


def drawn(page: InspectionPage) -> "dict[str, Figure]":
    """The figures that are saved beside a page, by name."""
    figures = {"noise": noise_figure(page.noise)} if page.noise else {}
    if page.effects:
        figures["operations"] = operations_figure(page.effects)
    return figures


def write_inspection(page: InspectionPage, path: Path) -> list[Path]:
    """Write the page, and figures beside it as NAME.svg. Returns the paths, the page first."""
    from askew.report.page import write_page

    figures, limits = drawn(page), limits_of(page.effects)
    panels = by_operation(page.effects) if "operations" in figures else {}
    write_page(
        path,
        "inspect.html",
        page=page,
        noise=svg_of(figures["noise"]) if "noise" in figures else "",
        operations={name: svg_of(operation_figure(found, limits)) for name, found in panels.items()},
    )
    paths = [path]
    for name, figure in figures.items():
        paths.append(path.with_name(f"{name}.svg"))
        save_svg(figure, paths[-1])
    return paths
