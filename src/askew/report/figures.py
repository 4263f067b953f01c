"""Figures for reports and papers. They draw what they are given, in one style that colour-blind readers can read too.

As part of a page, a figure takes on the page's colours and font (`svg_of`); as a file it stands alone (`save_svg`). A
page forbids `style` attributes, so what matplotlib writes as style becomes attributes there. Text stays text.
matplotlib is imported inside the functions: the command line must start at once.
"""

import hashlib
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from askew.data.files import write_text

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

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
    "svg.fonttype": "none",  # text stays text
}
RIGHT, WRONG = "#009E73", "#999999"  # frames around what was found
SVG, XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
LEFT_OUT = {"font-family", "font-stretch", "font-variant", "stroke-linejoin"}  # of a page: it has its own
FONT = re.compile(r"(?:(?P<weight>bold|\d{3}) )?(?P<size>[\d.]+)px .*")  # matplotlib's shorthand
NUMBER = re.compile(r"-?\d+\.\d{2,}")


@contextmanager
def style(**settings: Any) -> Iterator[None]:
    """Inside, matplotlib draws in the style of askew's figures, and does not warn of letters that its fonts lack.

    Those are only measured with: the text of a figure stays text, and a page has other fonts.
    """
    import matplotlib

    with matplotlib.rc_context(STYLE | settings), warnings.catch_warnings():  # type: ignore[arg-type]
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        yield


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
    content = io.StringIO()
    with style(**{"svg.hashsalt": "askew"}):
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
