"""Figures of examples for papers, and those of them that a page shows too."""

import base64
import io
import math
from typing import TYPE_CHECKING

from askew.errors import printable
from askew.report.figures import COLOURS, FAINT, RIGHT, WRONG, blank, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from PIL.Image import Image

    from askew.report.examples import Examples, Gallery, GalleryView, JointMap, RetrievalDirection, WrongNames

STUDENT, TEACHER = COLOURS[0], COLOURS[1]
IMAGE, TEXT = COLOURS[0], COLOURS[1]
LINE = 26  # letters of a line under a picture


def examples_figures(examples: "Examples") -> dict[str, "Figure"]:
    """Every figure that can be drawn, by the name of its file without ending."""
    made: dict[str, Figure] = {}
    pictures, texts = examples.pictures, examples.texts
    if examples.retrieval is not None:
        if examples.retrieval.text_to_image is not None:
            made["retrieval_text_to_image"] = found_images(examples.retrieval.text_to_image, pictures, texts)
        if examples.retrieval.image_to_text is not None:
            made["retrieval_image_to_text"] = found_texts(examples.retrieval.image_to_text, pictures, texts)
    if examples.names is not None:
        made["wrong_names"] = wrong_names(examples.names, pictures, texts)
    if examples.map is not None:
        made["map"] = plane(examples.map, pictures)
    if examples.gallery is not None:
        made["misalignment_gallery"] = views(examples.gallery)
        made["misalignment_ratios"] = histogram(examples.gallery)
        if any(effect.correlation is not None for effect in examples.gallery.operations):
            made["misalignment_operations"] = effects(examples.gallery)
    return made


# Retrieval and names


def found_images(direction: "RetrievalDirection", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """One row per text: the images that rank highest, framed green if they belong to it, and its rank."""
    columns = max(len(query.hits) for query in direction.shown)
    with style():
        figure, grid = _grid(len(direction.shown), columns, left=2.4, side=0.8, gap=0.25)
        for axes, query in zip(grid, direction.shown, strict=True):
            label = f"{_short(texts[query.query], 40)}\n{query.kind}, rank {query.rank:,}"
            axes[0].text(-0.15, 0.5, label, transform=axes[0].transAxes, ha="right", va="center", fontsize=8)
            for ax, hit in zip(axes, query.hits, strict=False):
                _show(ax, pictures[hit.index], RIGHT if hit.right else WRONG, 2.5 if hit.right else 0.8)
    return figure


def found_texts(direction: "RetrievalDirection", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """One row per image: the texts that rank highest, bold if they belong to it, and the rank of its best own text."""
    with style():
        figure, grid = _grid(len(direction.shown), 1, left=0.1, side=0.8, gap=0.25, right=4.4)
        for (ax,), query in zip(grid, direction.shown, strict=True):
            _show(ax, pictures[query.query])
            lines = [(f"{query.kind}, rank {query.rank:,} of {direction.candidates:,}", FAINT, "normal")]
            lines += [
                (_short(texts[hit.index], 56), RIGHT if hit.right else "black", "bold" if hit.right else "normal")
                for hit in query.hits
            ]
            for number, (line, colour, weight) in enumerate(lines):
                y = 1 - (number + 0.5) / len(lines)
                ax.text(
                    1.15, y, line, transform=ax.transAxes, va="center", fontsize=7.5, color=colour, fontweight=weight
                )
    return figure


def wrong_names(found: "WrongNames", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """Right name and wrong name, each under an image of it, for the names that are confused most."""
    columns = min(3, len(found.names))
    rows = -(-len(found.names) // columns)
    with style():
        figure, grid = _grid(rows, 2 * columns, left=0.1, side=1.0, gap=0.55)
        axes = grid.reshape(-1, 2)
        for pair, one in zip(axes, found.names, strict=False):
            _show(pair[0], pictures[one.picture], RIGHT, 1.5)
            _under(pair[0], [texts[one.right]])
            if one.wrong_picture is not None:
                _show(pair[1], pictures[one.wrong_picture], WRONG, 0.8)
            _under(pair[1], [texts[one.wrong], f"{one.margin:+.2f}"])
    return figure


# The map


def plane(drawn: "JointMap", pictures: tuple[str, ...]) -> "Figure":
    """Images as small pictures, texts as points, and a line between the two of a pair."""
    from matplotlib.offsetbox import AnnotationBbox, OffsetImage

    with style():
        figure = blank(6.4, 4.8)
        ax = figure.subplots()
        for pair in drawn.pairs:
            ax.plot(*zip(pair.image_at, pair.text_at, strict=True), color=FAINT, linewidth=0.3, alpha=0.4, zorder=1)
        for kind, colour, marker in (("image", IMAGE, "o"), ("text", TEXT, "D")):
            points = [pair.image_at if kind == "image" else pair.text_at for pair in drawn.pairs]
            ax.scatter(*zip(*points, strict=True), s=9, color=colour, marker=marker, label=f"{kind}s", zorder=3)
        for pair in drawn.pairs[:60]:
            small = OffsetImage(_decoded(pictures[pair.picture]), zoom=0.2)
            ax.add_artist(AnnotationBbox(small, pair.image_at, frameon=False, pad=0, zorder=2))
        ax.set_xlabel(f"first component, {drawn.explained[0]:.0%} of the variance")
        ax.set_ylabel(f"second component, {drawn.explained[1]:.0%}")
        ax.set_aspect("equal", adjustable="datalim")
        ax.set(xticks=[], yticks=[])
        ax.legend()
        figure.tight_layout()
    return figure


# Misalignment


def views(gallery: "Gallery") -> "Figure":
    """One row per sample: caption, original, and augmented views with what was done and both ratios."""
    columns = 1 + max(len(sample.views) for sample in gallery.samples)
    with style():
        figure, grid = _grid(len(gallery.samples), columns, left=1.7, side=1.05, gap=0.75)
        for axes, sample in zip(grid, gallery.samples, strict=True):
            label = "\n".join(_lines(sample.caption, LINE, 4))
            axes[0].text(-0.12, 0.5, label, transform=axes[0].transAxes, ha="right", va="center", fontsize=8)
            _show(axes[0], sample.original)
            _under(axes[0], ["original view"])
            for ax, view in zip(axes[1:], sample.views, strict=False):
                _show(ax, view.picture)
                _under(ax, [_ratios(view), *_lines(", ".join(view.changes) or "unchanged", LINE, 3)])
    return figure


def _ratios(view: "GalleryView") -> str:
    teacher = "" if view.teacher is None else f", teacher {view.teacher:.2f}"
    return f"student {view.student:.2f}{teacher}"


def histogram(gallery: "Gallery") -> "Figure":
    """How many views have which ratio, on a logarithmic axis: student, and teacher if there is one."""
    import numpy as np
    from matplotlib.ticker import FuncFormatter, NullLocator

    every = [("student", gallery.student, STUDENT, "-")]
    every += [("teacher", gallery.teacher, TEACHER, "--")] if gallery.teacher is not None else []
    low, high = (pick(pick(ratios) for _, ratios, _, _ in every) for pick in (min, max))
    edges = np.geomspace(low * 0.99, high * 1.01, 31)
    with style():
        figure = blank(4.2, 2.6)
        ax = figure.subplots()
        for name, ratios, colour, line in every:
            ax.hist(ratios, edges, histtype="step", color=colour, linestyle=line, linewidth=1.4, label=name)
        ax.axvline(1, color=FAINT, linewidth=0.8)
        ax.set_xscale("log")
        ticks = [tick for tick in _ticks(low, high) if low * 0.99 <= tick <= high * 1.01]
        ax.set_xticks(ticks)
        ax.xaxis.set_minor_locator(NullLocator())
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.4g}"))
        ax.set_xlabel("distance to the caption, view over original")
        ax.set_ylabel("augmented views")
        if len(every) > 1:
            ax.legend()
        figure.tight_layout()
    return figure


def _ticks(low: float, high: float) -> list[float]:
    """A few round ratios between the two, with 1 among them."""
    step = next(step for step in (0.05, 0.1, 0.2, 0.25, 0.5, 1, 2, 5, math.inf) if (high - low) / step <= 6)
    if step == math.inf or low < 0.3:
        return [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50]
    first = math.floor((1 - low) / step)
    return [round(1 + step * number, 4) for number in range(-first, math.ceil((high - 1) / step) + 1)]


def effects(gallery: "Gallery") -> "Figure":
    """Rank correlation of each operation's strength with the student's ratio, with its interval."""
    shown = [effect for effect in gallery.operations if effect.correlation is not None][::-1]
    with style():
        figure = blank(4.2, 0.6 + 0.25 * len(shown))
        ax = figure.subplots()
        for y, effect in enumerate(shown):
            if effect.low is not None and effect.high is not None:
                ax.plot([effect.low, effect.high], [y, y], color=STUDENT, linewidth=1.4)
            ax.plot([effect.correlation], [y], "o", color=STUDENT, markersize=4)
        ax.axvline(0, color=FAINT, linewidth=0.8)
        ax.set_yticks(range(len(shown)), [_short(effect.name, 24) for effect in shown])
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_xlabel("rank correlation of strength and ratio")
        figure.tight_layout()
    return figure


# Pictures in a grid


def _grid(rows: int, columns: int, left: float, side: float, gap: float, right: float = 0.1):
    """A figure with square axes of `side` inches, `gap` inches of text under each row, and (rows, columns) axes."""
    width, height = left + columns * (side + 0.12) + right, rows * (side + gap) + 0.05
    figure = blank(width, height)
    grid = figure.subplots(rows, columns, squeeze=False)
    for row, axes in enumerate(grid):
        top = height - 0.05 - row * (side + gap)
        for column, ax in enumerate(axes):
            x = left + column * (side + 0.12)
            ax.set_position((x / width, (top - side) / height, side / width, side / height))
            ax.axis("off")
    return figure, grid


def _show(ax: "Axes", uri: str, colour: str = FAINT, width: float = 0.5) -> None:
    ax.imshow(_decoded(uri), aspect="equal")
    ax.axis("on")
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(visible=True, color=colour, linewidth=width)


def _under(ax: "Axes", lines: list[str]) -> None:
    ax.text(0, -0.06, "\n".join(_short(line, LINE) for line in lines), transform=ax.transAxes, va="top", fontsize=6.5)


def _decoded(uri: str) -> "Image":
    """The image of a data: URI."""
    from PIL import Image

    return Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB")


def _short(text: str, letters: int) -> str:
    return printable(text, letters)


def _lines(text: str, letters: int, most: int) -> list[str]:
    """Text in lines of at most so many letters; the last one ends in an ellipsis if there is more."""
    import textwrap

    return textwrap.wrap(printable(text, 1000), letters, max_lines=most, placeholder=" \N{HORIZONTAL ELLIPSIS}") or [""]
