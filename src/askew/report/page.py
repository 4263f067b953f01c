"""Pages: one self-contained HTML file each, which opens offline and asks nothing of the network.

Templates are in `templates/`. Everything is escaped (Jinja's autoescape), and text from data goes through `shown`. A
Content-Security-Policy allows the page's own style and script by their hashes, and images within the page, and nothing
else: markup that got in regardless could not run. It forbids `style` attributes too: use classes.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from askew import __version__
from askew.data.files import write_text
from askew.errors import printable

if TYPE_CHECKING:
    from jinja2 import Environment
    from PIL.Image import Image

LETTERS_THAT_SHOW_NOTHING = "\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0"  # and count as printable
QUALITY = 75  # of thumbnails, of 100


def render(template: str, styles: Sequence[str] = (), scripts: Sequence[str] = (), **values: Any) -> str:
    """A whole page.

    Args:
        template: its file's name in `templates/`; it extends base.html and finds macros.html as `kit`.
        styles, scripts: files in `templates/` that go into the page after style.css and page.js.
        values: what the template draws. One that it names and does not get is an error.
    """
    from markupsafe import Markup

    environment = _environment()
    style, script = (
        "".join(_asset(environment, name) for name in names)
        for names in (("style.css", *styles), ("page.js", *scripts))
    )
    return environment.get_template(template).render(
        style=Markup(style),
        script=Markup(script),
        policy=f"default-src 'none'; img-src data:; style-src {_allowed(style)}; script-src {_allowed(script)}; "
        "base-uri 'none'; form-action 'none'",
        version=__version__,
        **values,
    )


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write a page in place of an earlier one. See `render`."""
    write_text(path, render(template, **values))


def shown(text: object, limit: int = 400) -> str:
    """Text from data as a page shows it: control codes, marks of direction and letters without width as escapes.

    Args:
        limit: characters after which it is cut.
    """
    safe = printable(str(text), limit)
    return "".join(f"\\u{ord(c):04x}" if c in LETTERS_THAT_SHOW_NOTHING else c for c in safe)


def thumbnail(image: "Image", side: int = 96) -> str:
    """An image as a data: URI, no larger than `side` pixels in either direction."""
    small = image.convert("RGB")
    small.thumbnail((side, side))
    content = io.BytesIO()
    small.save(content, format="WEBP", quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(content.getvalue()).decode()}"


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("askew.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["shown"] = shown
    made.filters["named"] = _named
    made.globals["kit"] = made.get_template("macros.html").module
    return made


def _named(svg: str, name: str) -> str:
    """An <svg> element with a name for readers who do not see it. What is not marked as safe stays as it is."""
    from markupsafe import Markup, escape

    if not isinstance(svg, Markup):
        return svg
    return Markup(str(svg).replace("<svg ", f'<svg aria-label="{escape(shown(name, 120))}" ', 1))


def _asset(environment: "Environment", name: str) -> str:
    """A file of `templates/` as it is."""
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0]


def _allowed(content: str) -> str:
    """The entry of a Content-Security-Policy for this content."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
