"""Figures of examples for papers, and those of them that a page shows too."""

import base64
import io
import math
from typing import TYPE_CHECKING, Any

from askew.errors import printable
from askew.report.figures import COLOURS, FAINT, RIGHT, WRONG, blank, style

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure

    from askew.report.examples import (
        AttractedView,
        Examples,
        Gallery,
        GalleryView,
        InnatePair,
        JointMap,
        RetrievalDirection,
        WrongNames,
    )

STUDENT, TEACHER = COLOURS[0], COLOURS[1]
IMAGE, TEXT = COLOURS[0], COLOURS[1]
LETTERS = 21  # of a line under a picture


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
        if examples.gallery.attracted:
            made["misalignment_other_captions"] = attracted(examples.gallery)
        if examples.gallery.innate:
            made["misalignment_from_the_start"] = innate(examples.gallery)
        if any(effect.correlation is not None for effect in examples.gallery.operations):
            made["misalignment_operations"] = effects(examples.gallery)
    return made


# Retrieval and names


def found_images(direction: "RetrievalDirection", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """One row per text: the images that rank highest, framed green if they belong to it, and its rank."""
    columns = max(len(query.hits) for query in direction.shown)
    sheet = Sheet(2.4 + columns * 0.9, len(direction.shown) * 1.0)
    for row, query in enumerate(direction.shown):
        lines = _lines(texts[query.query], 36, 3)
        sheet.write(2.25, row + 0.4, [*lines, f"{query.kind}, rank {query.rank:,}"], ha="right", va="center")
        for column, hit in enumerate(query.hits):
            frame = (RIGHT, 2.5) if hit.right else (WRONG, 0.8)
            sheet.place(2.4 + 0.9 * column, row + 0.05, 0.8, pictures[hit.index], *frame)
    return sheet.figure


def found_texts(direction: "RetrievalDirection", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """One row per image: the texts that rank highest, bold if they belong to it, and the rank of its best own text."""
    sheet = Sheet(5.6, len(direction.shown) * 1.1)
    for row, query in enumerate(direction.shown):
        sheet.place(0.1, 1.1 * row + 0.05, 0.95, pictures[query.query])
        head = f"{query.kind}, rank {query.rank:,} of {direction.candidates:,}"
        sheet.write(1.2, 1.1 * row + 0.04, [head], color=FAINT)
        for number, hit in enumerate(query.hits, 1):
            weight = {"color": RIGHT, "fontweight": "bold"} if hit.right else {}
            sheet.write(1.2, 1.1 * row + 0.04 + 0.16 * number, [printable(texts[hit.index], 60)], **weight)
    return sheet.figure


def wrong_names(found: "WrongNames", pictures: tuple[str, ...], texts: tuple[str, ...]) -> "Figure":
    """Right name and wrong name, each under an image of it, for the names that are confused most."""
    columns = min(3, len(found.names))
    sheet = Sheet(columns * 2.4, -(-len(found.names) // columns) * 1.65)
    for number, one in enumerate(found.names):
        x, y = 2.4 * (number % columns) + 0.1, 1.65 * (number // columns) + 0.05
        sheet.place(x, y, 1.0, pictures[one.picture], RIGHT, 1.5)
        sheet.write(x, y + 1.05, _lines(texts[one.right], LETTERS, 3))
        if one.wrong_picture is not None:
            sheet.place(x + 1.1, y, 1.0, pictures[one.wrong_picture], WRONG)
        sheet.write(x + 1.1, y + 1.05, [*_lines(texts[one.wrong], LETTERS, 3), f"{one.margin:+.2f}"])
    return sheet.figure


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
    most = max(len(sample.views) for sample in gallery.samples)
    sheet = Sheet(1.8 + 1.2 * (1 + most), 1.9 * len(gallery.samples))
    for row, sample in enumerate(gallery.samples):
        y = 1.9 * row + 0.05
        sheet.write(1.65, y + 0.5, _lines(sample.caption, 26, 5), ha="right", va="center")
        sheet.place(1.8, y, 1.1, sample.original)
        sheet.write(1.8, y + 1.15, ["original view"])
        for column, view in enumerate(sample.views, 1):
            done = _lines(", ".join(view.changes) or "unchanged", LETTERS, 4)
            sheet.place(1.8 + 1.2 * column, y, 1.1, view.picture)
            sheet.write(1.8 + 1.2 * column, y + 1.15, [*_ratios(view), *done])
    return sheet.figure


def attracted(gallery: "Gallery") -> "Figure":
    """Original and caption, then the augmented view and the caption of another sample that it came near."""
    columns = min(2, len(gallery.attracted))
    sheet = Sheet(columns * 2.6, -(-len(gallery.attracted) // columns) * 2.2)
    for number, one in enumerate(gallery.attracted):
        x, y = 2.6 * (number % columns) + 0.1, 2.2 * (number // columns) + 0.05
        done = _lines(", ".join(one.changes), LETTERS, 3)
        sheet.place(x, y, 1.1, one.original)
        sheet.write(x, y + 1.15, _lines(one.caption, LETTERS, 6))
        sheet.place(x + 1.2, y, 1.1, one.picture)
        sheet.write(x + 1.2, y + 1.15, [*_lines(one.other, LETTERS, 3), *_ratios(one), *done])
    return sheet.figure


def innate(gallery: "Gallery") -> "Figure":
    """Image and caption of pairs that do not fit, with ratios and the nearest caption of another sample."""
    columns = min(4, len(gallery.innate))
    sheet = Sheet(columns * 1.3, -(-len(gallery.innate) // columns) * 2.2)
    for number, one in enumerate(gallery.innate):
        x, y = 1.3 * (number % columns) + 0.1, 2.2 * (number // columns) + 0.05
        sheet.place(x, y, 1.1, one.original)
        near = _lines(f"nearest: {one.other}", LETTERS, 4)
        sheet.write(x, y + 1.15, [*_lines(one.caption, LETTERS, 3), *_ratios(one), *near])
    return sheet.figure


def _ratios(one: "GalleryView | AttractedView | InnatePair") -> list[str]:
    return [f"student {one.student:.2f}", *([] if one.teacher is None else [f"teacher {one.teacher:.2f}"])]


def histogram(gallery: "Gallery") -> "Figure":
    """How many views have which ratio, on a logarithmic axis: student, and teacher if there is one."""
    import numpy as np
    from matplotlib.ticker import FuncFormatter, NullLocator

    every = [("student", gallery.student, STUDENT, "-")]
    every += [("teacher", gallery.teacher, TEACHER, "--")] if gallery.teacher is not None else []
    low, high = (pick(pick(ratios) for _, ratios, _, _ in every) for pick in (min, max))
    edges = np.geomspace(low * 0.99, high * 1.01, 31).tolist()
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
    shown = [(effect, effect.correlation) for effect in gallery.operations[::-1] if effect.correlation is not None]
    with style():
        figure = blank(4.2, 0.6 + 0.25 * len(shown))
        ax = figure.subplots()
        for y, (effect, correlation) in enumerate(shown):
            if effect.low is not None and effect.high is not None:
                ax.plot([effect.low, effect.high], [y, y], color=STUDENT, linewidth=1.4)
            ax.plot([correlation], [y], "o", color=STUDENT, markersize=4)
        ax.axvline(0, color=FAINT, linewidth=0.8)
        ax.set_yticks(range(len(shown)), [printable(effect.name, 24) for effect, _ in shown])
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_xlabel("rank correlation of strength and ratio")
        figure.tight_layout()
    return figure


# Pictures and text in inches from the top left corner


class Sheet:
    """A figure without axes. It is one plot, since a plot for each picture takes seconds to write.

    Args:
        width, height: in inches.
    """

    def __init__(self, width: float, height: float):
        with style():
            self.figure = blank(width, height)
            self._ax = self.figure.add_axes((0, 0, 1, 1))
        self.figure.suppressComposite = True  # else all pictures become one, at 72 dots per inch
        self._ax.set(xlim=(0, width), ylim=(height, 0))
        self._ax.axis("off")

    def place(self, x: float, y: float, side: float, uri: str, colour: str = FAINT, width: float = 0.5) -> None:
        """An image of a data: URI in the middle of a square, in a frame of that width in points."""
        image = _decoded(uri)
        high, wide = (side * length / max(image.shape) for length in image.shape[:2])
        left, top = x + (side - wide) / 2, y + (side - high) / 2
        self._ax.imshow(image, extent=(left, left + wide, top + high, top), aspect="auto", interpolation="none")
        corners = [(left, top), (left + wide, top), (left + wide, top + high), (left, top + high), (left, top)]
        self._ax.plot(*zip(*corners, strict=True), color=colour, linewidth=width, solid_joinstyle="miter")
        self._ax.set(xlim=(0, self.figure.get_figwidth()), ylim=(self.figure.get_figheight(), 0))

    def write(self, x: float, y: float, lines: list[str], **settings: Any) -> None:
        """Lines of text, below y unless `va` says otherwise."""
        with style():
            self._ax.text(x, y, "\n".join(lines), **({"va": "top", "fontsize": 6.5, "linespacing": 1.25} | settings))


def _decoded(uri: str) -> "np.ndarray":
    """The pixels of a data: URI, (H, W, 3) uint8."""
    import numpy as np
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))).convert("RGB"))


def _lines(text: str, letters: int, most: int) -> list[str]:
    """Text in lines of at most so many letters; the last one ends in an ellipsis if there is more."""
    import textwrap

    return textwrap.wrap(printable(text, 1000), letters, max_lines=most, placeholder=" \N{HORIZONTAL ELLIPSIS}") or [""]
