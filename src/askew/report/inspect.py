"""What the page of `askew inspect` draws: plain data, and figures made from plain numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from askew.report.figures import COLOURS, FAINT, blank, save_svg, style, svg_of
from askew.report.table import Table

if TYPE_CHECKING:
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
        figure = blank(6.4, 2.6)
        ax = figure.subplots()
        for model, (edges, counts) in noise.items():
            ax.stairs(counts, edges, color=MODEL_COLOURS[model], label=model, linewidth=1.4)
        ax.axvline(0, color=FAINT, linewidth=0.8)
        ax.set_xlabel("noise, in nats: farther apart than its neighbours →")
        ax.set_ylabel("pairs")
        if len(noise) > 1:
            ax.legend()
        figure.tight_layout()
    return figure


def operations_figure(effects: Sequence[OperationEffect]) -> "Figure":
    """Mean misalignment over strength, one panel per operation with the same vertical axis, one line per model."""
    names = list(dict.fromkeys(effect.operation for effect in effects))
    rows = -(-len(names) // ACROSS)
    with style():
        figure = blank(2.4 * ACROSS, 2.1 * rows)
        grid = figure.subplots(rows, ACROSS, squeeze=False, sharey=True).flat
        for ax in grid[len(names) :]:
            ax.axis("off")
        for ax, name in zip(grid, names, strict=False):
            ax.axhline(0, color=FAINT, linewidth=0.8)
            shown = [effect for effect in effects if effect.operation == name]
            for shift, model in enumerate(dict.fromkeys(effect.model for effect in shown)):
                points = sorted((e for e in shown if e.model == model), key=lambda e: e.strength)
                at = [point.strength for point in points] if len(points) > 1 else [float(shift)]
                means = [point.mean for point in points]
                ends = [[p.mean - p.low for p in points], [p.high - p.mean for p in points]]
                ax.errorbar(
                    at, means, ends, color=MODEL_COLOURS[model], marker="o", markersize=3, linewidth=1.2, label=model
                )
            if len({effect.strength for effect in shown}) == 1:
                ax.set_xlim(-1, 2)
                ax.set_xticks([])
            ax.set_title(name)
            ax.set_xlabel(shown[0].unit)
        for ax in figure.axes[::ACROSS]:
            ax.set_ylabel("nats")
        if len({effect.model for effect in effects}) > 1:
            figure.axes[0].legend()
        figure.tight_layout()
    return figure


def drawn(page: InspectionPage) -> "dict[str, Figure]":
    """The figures of a page, by name."""
    figures = {"noise": noise_figure(page.noise)} if page.noise else {}
    if page.effects:
        figures["operations"] = operations_figure(page.effects)
    return figures


def write_inspection(page: InspectionPage, path: Path) -> list[Path]:
    """Write the page, and each of its figures beside it as NAME.svg. Returns the paths, the page first."""
    from askew.report.page import write_page

    figures = drawn(page)
    svg = {name: svg_of(figure) for name, figure in figures.items()}
    write_page(path, "inspect.html", page=page, figures=svg)
    paths = [path]
    for name, figure in figures.items():
        paths.append(path.with_name(f"{name}.svg"))
        save_svg(figure, paths[-1])
    return paths
