"""Figures for reports and papers. They draw what they are given, in one style that colour-blind readers can read too.

matplotlib is imported inside the functions: the command line must start at once.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image

# Okabe and Ito's palette, without its yellow, which is too pale for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")
STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.fonttype": "none",
}
RIGHT, WRONG = "#009E73", "#999999"  # frames around what was found


@dataclass(frozen=True)
class Found:
    """What a model found for one text: images from best to worst, and whether each belongs to the text."""

    text: str
    images: Sequence["Image"]
    right: Sequence[bool]


def curves(lines: Sequence[Mapping[str, float]], panels: Mapping[str, Sequence[str]]) -> "Figure":
    """Logged values over training steps, one panel per title, one line per name that was logged.

    Args:
        lines: of metrics.jsonl.
        panels: names of values by title; a panel of which nothing was logged is left out.
    """
    shown = {title: [name for name in names if name in lines[-1]] for title, names in panels.items()}
    shown = {title: names for title, names in shown.items() if names}
    with _style():
        figure = _figure(3.2 * len(shown), 2.6)
        for ax, (title, names) in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown.items(), strict=True):
            for colour, name in zip(COLOURS, names, strict=False):
                points = [(line["step"], line[name]) for line in lines if name in line]
                ax.plot(*zip(*points, strict=True), color=colour, label=name.replace("_", " "), linewidth=1.4)
            ax.set_title(title)
            ax.set_xlabel("step")
            ax.set_ylim(bottom=0)
            ax.legend()
        figure.tight_layout()
    return figure


def retrievals(found: Sequence[Found], title: str) -> "Figure":
    """One row per text: the images that a model ranks highest for it, framed green if they belong to the text."""
    columns = max(len(one.images) for one in found)
    width, height, side = 0.8 * columns + 2.2, 0.8 * len(found) + 0.4, 2.1
    with _style():
        figure = _figure(width, height)
        grid = figure.subplots(len(found), columns, squeeze=False)
        for axes, one in zip(grid, found, strict=True):
            for ax in axes:
                ax.axis("off")
            axes[0].text(-0.25, 0.5, one.text, transform=axes[0].transAxes, ha="right", va="center")
            for ax, image, right in zip(axes, one.images, one.right, strict=False):
                ax.imshow(image)
                ax.axis("on")
                ax.set(xticks=[], yticks=[])
                for spine in ax.spines.values():
                    spine.set(visible=True, color=RIGHT if right else WRONG, linewidth=2.5 if right else 0.8)
        figure.suptitle(title, x=0.01, ha="left", fontsize=STYLE["axes.titlesize"], fontweight="bold")
        figure.subplots_adjust(left=side / width, right=0.99, top=1 - 0.45 / height, bottom=0.02)
    return figure


def _style() -> AbstractContextManager:
    import matplotlib

    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


def _figure(width: float, height: float) -> "Figure":
    """A figure of that size in inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))
