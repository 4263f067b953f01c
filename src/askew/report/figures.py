"""Figures for reports and papers. They draw what they are given, in one style that colour-blind readers can read too.

As part of a page, a figure takes on the page's colours and font (`svg_of`); as a file it stands alone (`save_svg`). A
page forbids `style` attributes, so what matplotlib writes as style becomes attributes there. Text stays text.
matplotlib is imported inside the functions: the command line must start at once.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from askew.data.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure
    from PIL.Image import Image

INK = "#1d1f22"  # of text in a file; on a page it is the colour of the text around it
FAINT = "#8a9099"  # of axes, and of what is only there for comparison

# Okabe and Ito's palette, without its yellow, which is too pale for lines
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", INK)
STYLE = {
    "font.size": 9,
    "text.color": INK,
    "text.parse_math": False,  # a name with two dollar signs is no formula
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
}
RIGHT, WRONG = "#009E73", "#999999"  # frames around what was found
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
LEFT_OUT = {"font-family", "font-stretch", "font-variant", "stroke-linejoin"}  # of a page: it has its own
FONT = re.compile(r"(?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+)px .*")  # matplotlib's shorthand
NUMBER = re.compile(r"-?\d+\.\d{2,}")


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
    with style():
        figure = blank(3.2 * len(shown), 2.6)
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
    with style():
        figure = blank(width, height)
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


def style() -> AbstractContextManager:
    """Inside, matplotlib draws in the style of askew's figures."""
    import matplotlib

    return matplotlib.rc_context(STYLE)  # type: ignore[arg-type]


def blank(width: float, height: float) -> "Figure":
    """An empty figure of that size in inches, which needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


# As SVG


def svg_of(figure: "Figure") -> "Markup":
    """An <svg> element for a page. It has a view box and no size of its own: it is as wide as what it stands in."""
    return _for_pages(_written(figure))


def save_svg(figure: "Figure", path: Path) -> "Markup":
    """Write a figure as a file of its own, with dark lines and text on no background. Returns what `svg_of` gives."""
    text = _written(figure)
    write_text(path, text)
    return _for_pages(text)


def _for_pages(text: str) -> "Markup":
    from markupsafe import Markup

    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{SVG}metadata", f"{SVG}style"):
                parent.remove(child)
    for element in root.iter():
        _plain(element)
    for size in ("width", "height", "version"):
        root.attrib.pop(size, None)
    root.set("role", "img")
    _name_apart(root)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _written(figure: "Figure") -> str:
    """What matplotlib writes; the same figure gives the same text."""
    import matplotlib

    content = io.StringIO()
    settings = {"svg.fonttype": "none", "svg.hashsalt": "askew"}
    with matplotlib.rc_context(settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # only measured with: a page has other fonts
        figure.savefig(content, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator")))
    return content.getvalue()


def _plain(element: ElementTree.Element) -> None:
    """Attributes in place of styles, the colour of the surrounding text in place of ours, and short numbers."""
    element.tag = element.tag.removeprefix(SVG)
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name == "font" and (font := FONT.fullmatch(value)):
            element.set("font-size", font["size"])
            if font["weight"]:
                element.set("font-weight", font["weight"])
        elif name == "font-size":
            element.set(name, value.removesuffix("px"))
        elif name and name not in LEFT_OUT:
            element.set(name, value)
    if (target := element.attrib.pop(f"{XLINK}href", None)) is not None:
        element.set("href", target)
    for name, value in element.attrib.items():
        if name in ("d", "x", "y", "transform", "points"):
            value = NUMBER.sub(lambda found: f"{float(found[0]):.1f}", value)
            element.set(name, " ".join(value.split()))
        elif value == INK:
            element.set(name, "currentColor")


def _name_apart(root: ElementTree.Element) -> None:
    """Keep the ids that something refers to, and make them this figure's own: a page holds many figures."""
    text = ElementTree.tostring(root, encoding="unicode")
    named = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))
    prefix = "f" + hashlib.sha256(text.encode()).hexdigest()[:10]
    for element in root.iter():
        if (name := element.attrib.pop("id", None)) in named:
            element.set("id", f"{prefix}-{name}")
        for key, value in element.attrib.items():
            if key == "href" and value.startswith("#"):
                element.set(key, f"#{prefix}-{value[1:]}")
            elif value.startswith("url(#"):
                element.set(key, f"url(#{prefix}-{value[5:]}")
